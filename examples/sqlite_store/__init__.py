"""A store of somebody else's: how an adapter for Traffic Storage is written and tested."""
