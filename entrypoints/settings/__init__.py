"""Settings: `StorageConfig`, its rules and its sources."""

from traffic_storage.entrypoints.settings.config import StorageConfig
from traffic_storage.entrypoints.settings.rules import BucketRoute
from traffic_storage.entrypoints.settings.secret import Secret

__all__ = ["BucketRoute", "Secret", "StorageConfig"]
