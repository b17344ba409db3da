"""Blob stores: local disk, S3, memory, and a cache in front of a slow one."""
