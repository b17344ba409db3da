"""Adapters of the port Spool: in memory, and on disk."""
