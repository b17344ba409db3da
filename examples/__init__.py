"""Code of somebody else's: a service that embeds Traffic Storage, and a store for it."""
