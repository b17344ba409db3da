"""Adapters of the port BlobStore: local disk, S3, memory, and a cache for a remote store."""
