"""Examples: a service that embeds Traffic Storage, and an adapter for a new kind of store."""
