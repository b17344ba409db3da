"""A cache on local disk in front of a blob store that is far away."""

from traffic_storage.adapters.blob_store.caching.store import CachingBlobStore

__all__ = ["CachingBlobStore"]
