"""The testing kit, public as `traffic_storage.testing`: for embedders and adapter writers.

In-memory adapters, a whole service made of them, decorators of the ports that inject faults,
Hypothesis strategies for every value, and the contract suites as importable classes. A name is
resolved when it is first used, so that the kit needs only what a test takes from it (the suites
need the extra `testing`).
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from traffic_storage.adapters.blob_store.memory import InMemoryBlobStore as InMemoryBlobStore
    from traffic_storage.adapters.cache.memory import InProcessCache as InProcessCache
    from traffic_storage.adapters.clock.manual import ManualClock as ManualClock
    from traffic_storage.adapters.record_repo.memory import InMemoryRecordRepo as InMemoryRecordRepo
    from traffic_storage.adapters.spool.memory import InMemorySpool as InMemorySpool
    from traffic_storage.entrypoints.testing.containers import (
        in_memory_container as in_memory_container,
    )

# Public name → module and name there. The imports above tell type checkers the same.
_PLACES = {
    "InMemoryBlobStore": "traffic_storage.adapters.blob_store.memory:InMemoryBlobStore",
    "InMemoryRecordRepo": "traffic_storage.adapters.record_repo.memory:InMemoryRecordRepo",
    "InMemorySpool": "traffic_storage.adapters.spool.memory:InMemorySpool",
    "InProcessCache": "traffic_storage.adapters.cache.memory:InProcessCache",
    "ManualClock": "traffic_storage.adapters.clock.manual:ManualClock",
    "in_memory_container": "traffic_storage.entrypoints.testing.containers:in_memory_container",
}

__all__ = [
    "InMemoryBlobStore",
    "InMemoryRecordRepo",
    "InMemorySpool",
    "InProcessCache",
    "ManualClock",
    "in_memory_container",
]


def __dir__() -> list[str]:
    return sorted(__all__)


if not TYPE_CHECKING:  # or a misspelt name would pass as an object

    def __getattr__(name: str) -> object:
        if name not in _PLACES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        module, _, attribute = _PLACES[name].partition(":")
        globals()[name] = value = getattr(import_module(module), attribute)
        return value
