"""Durable files: each is complete or absent; no symbolic link is followed.

Several adapters use this package. Of `ports/` it imports only the error classes, the result types
of the blob store, and `Body` (the bytes of an upload).
"""
