"""Spool: in memory, or on disk."""
