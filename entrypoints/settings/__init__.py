"""Settings: `StorageConfig`, and where its values come from."""

from traffic_storage.entrypoints.settings.config import StorageConfig
from traffic_storage.entrypoints.settings.kinds import BucketRoute

__all__ = ["BucketRoute", "StorageConfig"]
