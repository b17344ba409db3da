"""Adapters of the port Spool, which keeps uploaded bytes until they are stored: memory, disk."""
