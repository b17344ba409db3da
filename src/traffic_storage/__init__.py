"""Traffic Storage: storage and data management for the evidence of traffic violations.

The public names below are resolved when they are first used, so that `import traffic_storage`
costs next to nothing and an embedder pays only for the parts that it names.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from traffic_storage.domain.errors import TrafficStorageError as TrafficStorageError
    from traffic_storage.domain.pixels import ChannelOrder as ChannelOrder
    from traffic_storage.domain.placement import StorageStrategy as StorageStrategy
    from traffic_storage.domain.query import Cursor as Cursor
    from traffic_storage.domain.query import ViolationQuery as ViolationQuery
    from traffic_storage.domain.violation import ViolationRecord as ViolationRecord
    from traffic_storage.entrypoints.embedded import StorageService as StorageService
    from traffic_storage.entrypoints.http import create_storage_app as create_storage_app
    from traffic_storage.entrypoints.settings import BucketRoute as BucketRoute
    from traffic_storage.entrypoints.settings import StorageConfig as StorageConfig

__all__ = [
    "BucketRoute",
    "ChannelOrder",
    "Cursor",
    "StorageConfig",
    "StorageService",
    "StorageStrategy",
    "TrafficStorageError",
    "ViolationQuery",
    "ViolationRecord",
    "__version__",
    "create_storage_app",
]

# Public name → module and name there. The imports above tell type checkers the same.
_PLACES = {
    "BucketRoute": "traffic_storage.entrypoints.settings:BucketRoute",
    "ChannelOrder": "traffic_storage.domain.pixels:ChannelOrder",
    "Cursor": "traffic_storage.domain.query:Cursor",
    "StorageConfig": "traffic_storage.entrypoints.settings:StorageConfig",
    "StorageService": "traffic_storage.entrypoints.embedded:StorageService",
    "StorageStrategy": "traffic_storage.domain.placement:StorageStrategy",
    "TrafficStorageError": "traffic_storage.domain.errors:TrafficStorageError",
    "ViolationQuery": "traffic_storage.domain.query:ViolationQuery",
    "ViolationRecord": "traffic_storage.domain.violation:ViolationRecord",
    "create_storage_app": "traffic_storage.entrypoints.http:create_storage_app",
}

__version__: str


def __dir__() -> list[str]:
    return sorted(__all__)


def _resolve(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("traffic-storage")
    from importlib import import_module

    module, _, attribute = _PLACES[name].partition(":")
    return getattr(import_module(module), attribute)


if not TYPE_CHECKING:  # or a misspelt name would pass as an object

    def __getattr__(name: str) -> object:
        if name != "__version__" and name not in _PLACES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value = _resolve(name)
        return value
