"""The spools."""
