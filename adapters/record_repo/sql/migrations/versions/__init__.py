"""The migrations; the order of their names is their order in time."""
