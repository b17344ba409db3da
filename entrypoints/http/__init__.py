"""The HTTP service: `create_storage_app(config)` is the ASGI application.

Of the hot paths each endpoint is a plain ASGI class, mounted in the FastAPI application; all
middleware is pure ASGI. `routes` is the table of what is served.
"""

from traffic_storage.entrypoints.http.app import create_storage_app

__all__ = ["create_storage_app"]
