"""The testing kit, public as `traffic_storage.testing`: for embedders and authors of adapters.

* Contract suites (`BlobStoreContract`, …): test classes that check the promises of a port. The
  author of an adapter inherits from them. State machines (`BlobStoreMachine`, …) make random
  sequences of calls and compare the adapter with a model.
* `in_memory_container`: a complete service that uses no disk, no network and no system clock. Its
  adapters are public too: `InMemoryBlobStore`, `InMemoryRecordRepo`, `InMemorySpool`,
  `InProcessCache`, `IdentityCompressor`, `ManualClock`, `SeededIds`.
* Fault injection (`FailingBlobStore`, …): wrappers of adapters that fail at planned calls.
* Test data: `new_blob`, `random_blob`, `uuid7_at`, `units` (files and violations to be stored), and
  Hypothesis `strategies` for all domain values.

A name is imported on first use, so a test needs only the dependencies of the names it uses. The
suites need the extra `testing`. Their fixtures are asynchronous: run pytest with
`asyncio_mode = "auto"`, or declare them with `@pytest_asyncio.fixture`.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from traffic_storage.adapters.blob_store.memory import InMemoryBlobStore as InMemoryBlobStore
    from traffic_storage.adapters.cache.memory import InProcessCache as InProcessCache
    from traffic_storage.adapters.clock.manual import ManualClock as ManualClock
    from traffic_storage.adapters.clock.system import SystemClock as SystemClock
    from traffic_storage.adapters.compressor.identity import (
        IdentityCompressor as IdentityCompressor,
    )
    from traffic_storage.adapters.record_repo.memory import InMemoryRecordRepo as InMemoryRecordRepo
    from traffic_storage.adapters.spool.memory import InMemorySpool as InMemorySpool
    from traffic_storage.entrypoints.testing import strategies as strategies
    from traffic_storage.entrypoints.testing import units as units
    from traffic_storage.entrypoints.testing.blobs import NEVER as NEVER
    from traffic_storage.entrypoints.testing.blobs import Blob as Blob
    from traffic_storage.entrypoints.testing.blobs import new_blob as new_blob
    from traffic_storage.entrypoints.testing.blobs import random_blob as random_blob
    from traffic_storage.entrypoints.testing.containers import (
        in_memory_container as in_memory_container,
    )
    from traffic_storage.entrypoints.testing.contracts.blob_store import (
        BlobStoreContract as BlobStoreContract,
    )
    from traffic_storage.entrypoints.testing.contracts.blob_store import (
        BlobStoreMachine as BlobStoreMachine,
    )
    from traffic_storage.entrypoints.testing.contracts.cache import CacheContract as CacheContract
    from traffic_storage.entrypoints.testing.contracts.cache import CacheMachine as CacheMachine
    from traffic_storage.entrypoints.testing.contracts.compressor import (
        CompressorContract as CompressorContract,
    )
    from traffic_storage.entrypoints.testing.contracts.images import (
        ImagesContract as ImagesContract,
    )
    from traffic_storage.entrypoints.testing.contracts.record_repo import (
        RecordRepoContract as RecordRepoContract,
    )
    from traffic_storage.entrypoints.testing.contracts.record_repo import (
        RecordRepoMachine as RecordRepoMachine,
    )
    from traffic_storage.entrypoints.testing.contracts.spool import SpoolContract as SpoolContract
    from traffic_storage.entrypoints.testing.contracts.spool import SpoolMachine as SpoolMachine
    from traffic_storage.entrypoints.testing.contracts.store_identity import (
        StoreIdentityContract as StoreIdentityContract,
    )
    from traffic_storage.entrypoints.testing.faults.blob_store import Damage as Damage
    from traffic_storage.entrypoints.testing.faults.blob_store import (
        FailingBlobStore as FailingBlobStore,
    )
    from traffic_storage.entrypoints.testing.faults.blob_store import damaged as damaged
    from traffic_storage.entrypoints.testing.faults.blob_store import tamper as tamper
    from traffic_storage.entrypoints.testing.faults.cache import FailingCache as FailingCache
    from traffic_storage.entrypoints.testing.faults.plans import Fault as Fault
    from traffic_storage.entrypoints.testing.faults.plans import When as When
    from traffic_storage.entrypoints.testing.faults.record_repo import (
        FailingRecordRepo as FailingRecordRepo,
    )
    from traffic_storage.entrypoints.testing.faults.spool import FailingSpool as FailingSpool
    from traffic_storage.entrypoints.testing.ids import SeededIds as SeededIds
    from traffic_storage.entrypoints.testing.ids import uuid7_at as uuid7_at

# Public name → module and name in it (or the module itself). The imports above repeat this table
# for type checkers.
_PLACES = {
    "Blob": "traffic_storage.entrypoints.testing.blobs:Blob",
    "Fault": "traffic_storage.entrypoints.testing.faults.plans:Fault",
    "BlobStoreContract": "traffic_storage.entrypoints.testing.contracts.blob_store:BlobStoreContract",
    "BlobStoreMachine": "traffic_storage.entrypoints.testing.contracts.blob_store:BlobStoreMachine",
    "CacheContract": "traffic_storage.entrypoints.testing.contracts.cache:CacheContract",
    "CacheMachine": "traffic_storage.entrypoints.testing.contracts.cache:CacheMachine",
    "CompressorContract": "traffic_storage.entrypoints.testing.contracts.compressor:CompressorContract",
    "Damage": "traffic_storage.entrypoints.testing.faults.blob_store:Damage",
    "FailingBlobStore": "traffic_storage.entrypoints.testing.faults.blob_store:FailingBlobStore",
    "FailingCache": "traffic_storage.entrypoints.testing.faults.cache:FailingCache",
    "FailingRecordRepo": "traffic_storage.entrypoints.testing.faults.record_repo:FailingRecordRepo",
    "FailingSpool": "traffic_storage.entrypoints.testing.faults.spool:FailingSpool",
    "IdentityCompressor": "traffic_storage.adapters.compressor.identity:IdentityCompressor",
    "ImagesContract": "traffic_storage.entrypoints.testing.contracts.images:ImagesContract",
    "InMemoryBlobStore": "traffic_storage.adapters.blob_store.memory:InMemoryBlobStore",
    "InMemoryRecordRepo": "traffic_storage.adapters.record_repo.memory:InMemoryRecordRepo",
    "InMemorySpool": "traffic_storage.adapters.spool.memory:InMemorySpool",
    "InProcessCache": "traffic_storage.adapters.cache.memory:InProcessCache",
    "ManualClock": "traffic_storage.adapters.clock.manual:ManualClock",
    "NEVER": "traffic_storage.entrypoints.testing.blobs:NEVER",
    "RecordRepoContract": "traffic_storage.entrypoints.testing.contracts.record_repo:RecordRepoContract",
    "RecordRepoMachine": "traffic_storage.entrypoints.testing.contracts.record_repo:RecordRepoMachine",
    "SeededIds": "traffic_storage.entrypoints.testing.ids:SeededIds",
    "SpoolContract": "traffic_storage.entrypoints.testing.contracts.spool:SpoolContract",
    "SpoolMachine": "traffic_storage.entrypoints.testing.contracts.spool:SpoolMachine",
    "StoreIdentityContract": "traffic_storage.entrypoints.testing.contracts.store_identity:StoreIdentityContract",
    "SystemClock": "traffic_storage.adapters.clock.system:SystemClock",
    "When": "traffic_storage.entrypoints.testing.faults.plans:When",
    "damaged": "traffic_storage.entrypoints.testing.faults.blob_store:damaged",
    "in_memory_container": "traffic_storage.entrypoints.testing.containers:in_memory_container",
    "new_blob": "traffic_storage.entrypoints.testing.blobs:new_blob",
    "random_blob": "traffic_storage.entrypoints.testing.blobs:random_blob",
    "strategies": "traffic_storage.entrypoints.testing.strategies",
    "tamper": "traffic_storage.entrypoints.testing.faults.blob_store:tamper",
    "uuid7_at": "traffic_storage.entrypoints.testing.ids:uuid7_at",
    "units": "traffic_storage.entrypoints.testing.units",
}

__all__ = [
    "NEVER",
    "Blob",
    "BlobStoreContract",
    "BlobStoreMachine",
    "CacheContract",
    "CacheMachine",
    "CompressorContract",
    "Damage",
    "FailingBlobStore",
    "FailingCache",
    "FailingRecordRepo",
    "FailingSpool",
    "Fault",
    "IdentityCompressor",
    "ImagesContract",
    "InMemoryBlobStore",
    "InMemoryRecordRepo",
    "InMemorySpool",
    "InProcessCache",
    "ManualClock",
    "RecordRepoContract",
    "RecordRepoMachine",
    "SeededIds",
    "SpoolContract",
    "SpoolMachine",
    "StoreIdentityContract",
    "SystemClock",
    "When",
    "damaged",
    "in_memory_container",
    "new_blob",
    "random_blob",
    "strategies",
    "tamper",
    "units",
    "uuid7_at",
]


def __dir__() -> list[str]:
    return sorted(__all__)


if not TYPE_CHECKING:  # With a visible `__getattr__`, type checkers would accept misspelt names.

    def __getattr__(name: str) -> object:
        if name not in _PLACES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        module, _, attribute = _PLACES[name].partition(":")
        found = import_module(module)
        globals()[name] = value = getattr(found, attribute) if attribute else found
        return value
