"""The blob store in an S3-compatible bucket."""

from traffic_storage.adapters.blob_store.object_store.store import ObjectStoreBlobStore
from traffic_storage.adapters.s3.settings import S3Settings

__all__ = ["ObjectStoreBlobStore", "S3Settings"]
