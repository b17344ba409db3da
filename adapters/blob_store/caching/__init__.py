"""A cache on local disk for a remote blob store."""

from traffic_storage.adapters.blob_store.caching.store import CachingBlobStore

__all__ = ["CachingBlobStore"]
