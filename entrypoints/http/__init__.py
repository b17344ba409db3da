"""The HTTP service: `create_storage_app(config)` is the ASGI application.

The endpoints of frequent requests are plain ASGI classes; FastAPI only describes them in the
OpenAPI document. All middleware is pure ASGI. An embedder declares the access of the routes that it
adds with `requires` or `public`.
"""

from traffic_storage.entrypoints.http.app import create_storage_app
from traffic_storage.entrypoints.http.security.access import public, requires

__all__ = ["create_storage_app", "public", "requires"]
