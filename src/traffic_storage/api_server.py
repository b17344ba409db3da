"""`create_storage_app`, under the name of the module from which the source document imports it."""

from traffic_storage.entrypoints.http import create_storage_app

__all__ = ["create_storage_app"]
