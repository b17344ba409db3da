"""Snapshots: creating, listing, verifying, restoring and deleting them; one use case a module."""
