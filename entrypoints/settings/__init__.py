"""Settings: `StorageConfig`, and where its values come from."""

from traffic_storage.entrypoints.settings.config import StorageConfig
from traffic_storage.entrypoints.settings.rules import BucketRoute
from traffic_storage.entrypoints.settings.secret import Secret

__all__ = ["BucketRoute", "Secret", "StorageConfig"]
