"""Traffic Storage: storage and data management for the evidence of traffic violations.

The public names below are resolved when they are first used, so that `import traffic_storage`
costs next to nothing and an embedder pays only for the parts that it names.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from traffic_storage.domain.errors import TrafficStorageError as TrafficStorageError

__all__ = ["TrafficStorageError", "__version__"]

# Public name → module and name there. The imports above tell type checkers the same.
_PLACES = {
    "TrafficStorageError": "traffic_storage.domain.errors:TrafficStorageError",
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
