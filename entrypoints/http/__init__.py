"""The HTTP service: `create_storage_app(config)` is the ASGI application.

The endpoints of frequent requests are plain ASGI classes; FastAPI only describes them in the
OpenAPI document. All middleware is pure ASGI. An embedder declares the access of the routes that it
adds with `requires` or `public`.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from traffic_storage.entrypoints.http.app import create_storage_app
    from traffic_storage.entrypoints.http.security.access import public, requires

__all__ = ["create_storage_app", "public", "requires"]

# What reads only the keys, as `keys list` does, need not load the web framework.
_PLACES = {"create_storage_app": "app", "public": "security.access", "requires": "security.access"}


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
