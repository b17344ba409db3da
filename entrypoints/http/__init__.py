"""The HTTP service: `create_storage_app(config)` is the ASGI application.

Endpoints of the hot paths are plain ASGI classes, described by FastAPI; all middleware is pure
ASGI. Routes that an embedder adds declare their access by `requires` or `public`.
"""

from traffic_storage.entrypoints.http.app import create_storage_app
from traffic_storage.entrypoints.http.security.access import public, requires

__all__ = ["create_storage_app", "public", "requires"]
