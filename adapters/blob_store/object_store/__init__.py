"""The blob store in an S3-compatible bucket."""

from traffic_storage.adapters.blob_store.object_store.settings import S3Settings
from traffic_storage.adapters.blob_store.object_store.store import ObjectStoreBlobStore

__all__ = ["ObjectStoreBlobStore", "S3Settings"]
