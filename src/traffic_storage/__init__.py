"""Traffic Storage: storage and data management for the evidence of traffic violations.

The public names below are imported when they are first used. `import traffic_storage` is fast, and
an embedder loads only the modules of the names that it uses.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from traffic_storage.adapters.blob_store.local_disk import (
        LocalDiskBlobStore as LocalStorageManager,
    )
    from traffic_storage.adapters.blob_store.object_store import (
        ObjectStoreBlobStore as CloudStorageManager,
    )
    from traffic_storage.adapters.cache.redis import RedisCache as CacheManager
    from traffic_storage.adapters.record_repo.sql.repo import SqlRecordRepo as DatabaseManager
    from traffic_storage.application.inputs import ArrayImage as ArrayImage
    from traffic_storage.application.inputs import FileAttributes as FileAttributes
    from traffic_storage.application.inputs import Upload as Upload
    from traffic_storage.application.runtime import WrongHome as WrongHome
    from traffic_storage.domain.encoding import Encoding as Encoding
    from traffic_storage.domain.encoding import ImageFormat as ImageFormat
    from traffic_storage.domain.errors import AccessDenied as AccessDenied
    from traffic_storage.domain.errors import ConfigurationError as ConfigurationError
    from traffic_storage.domain.errors import Conflict as Conflict
    from traffic_storage.domain.errors import DigestMismatch as DigestMismatch
    from traffic_storage.domain.errors import IncompleteEvidence as IncompleteEvidence
    from traffic_storage.domain.errors import InvalidInput as InvalidInput
    from traffic_storage.domain.errors import LowQuality as LowQuality
    from traffic_storage.domain.errors import NoGoodReplica as NoGoodReplica
    from traffic_storage.domain.errors import NotFound as NotFound
    from traffic_storage.domain.errors import StorageFull as StorageFull
    from traffic_storage.domain.errors import StorageUnavailable as StorageUnavailable
    from traffic_storage.domain.errors import TooLarge as TooLarge
    from traffic_storage.domain.errors import TrafficStorageError as TrafficStorageError
    from traffic_storage.domain.errors import Unavailable as Unavailable
    from traffic_storage.domain.errors import UndecodableMedia as UndecodableMedia
    from traffic_storage.domain.errors import UnsupportedMedia as UnsupportedMedia
    from traffic_storage.domain.errors import WrongState as WrongState
    from traffic_storage.domain.image_layout import ChannelOrder as ChannelOrder
    from traffic_storage.domain.placement import StorageStrategy as StorageStrategy
    from traffic_storage.domain.profiles import EXAMPLE_PROFILES as EXAMPLE_PROFILES
    from traffic_storage.domain.profiles import ClockProof as ClockProof
    from traffic_storage.domain.profiles import CompletenessProfile as CompletenessProfile
    from traffic_storage.domain.quality.assessment import Finding as Finding
    from traffic_storage.domain.quality.assessment import Part as Part
    from traffic_storage.domain.quality.assessment import Severity as Severity
    from traffic_storage.domain.quality.image import IMAGE_CHECKS as IMAGE_CHECKS
    from traffic_storage.domain.quality.image_metrics import ImageMetrics as ImageMetrics
    from traffic_storage.domain.quality.record import RECORD_CHECKS as RECORD_CHECKS
    from traffic_storage.domain.quality.record import JudgedRecord as JudgedRecord
    from traffic_storage.domain.quality.video import VIDEO_CHECKS as VIDEO_CHECKS
    from traffic_storage.domain.quality.video import VideoMetrics as VideoMetrics
    from traffic_storage.domain.query import Cursor as Cursor
    from traffic_storage.domain.query import FilesQuery as FilesQuery
    from traffic_storage.domain.query import Page as Page
    from traffic_storage.domain.query import ViolationQuery as ViolationQuery
    from traffic_storage.domain.violation import ViolationRecord as ViolationRecord
    from traffic_storage.entrypoints.container import Container as Container
    from traffic_storage.entrypoints.container import build as build
    from traffic_storage.entrypoints.container import running as running
    from traffic_storage.entrypoints.http import create_storage_app as create_storage_app
    from traffic_storage.entrypoints.http.protocol import StorageProtocol as StorageProtocol
    from traffic_storage.entrypoints.service.analyzer import DataAnalyzer as DataAnalyzer
    from traffic_storage.entrypoints.service.bulk import ItemResult as ItemResult
    from traffic_storage.entrypoints.service.bulk import NewFile as NewFile
    from traffic_storage.entrypoints.service.bulk import NewViolation as NewViolation
    from traffic_storage.entrypoints.service.exporter import DataExporter as DataExporter
    from traffic_storage.entrypoints.service.lifecycle import (
        DataLifecycleManager as DataLifecycleManager,
    )
    from traffic_storage.entrypoints.service.migration import (
        DataMigrationManager as DataMigrationManager,
    )
    from traffic_storage.entrypoints.service.service import (
        BlockingStorageService as BlockingStorageService,
    )
    from traffic_storage.entrypoints.service.service import StorageService as StorageService
    from traffic_storage.entrypoints.service.validator import DataValidator as DataValidator
    from traffic_storage.entrypoints.settings import BucketRoute as BucketRoute
    from traffic_storage.entrypoints.settings import StorageConfig as StorageConfig
    from traffic_storage.ports.errors import CatalogueUnavailable as CatalogueUnavailable
    from traffic_storage.ports.errors import DeadlinePassed as DeadlinePassed
    from traffic_storage.ports.errors import OutcomeUnknown as OutcomeUnknown

__all__ = [
    "EXAMPLE_PROFILES",
    "IMAGE_CHECKS",
    "RECORD_CHECKS",
    "VIDEO_CHECKS",
    "AccessDenied",
    "ArrayImage",
    "BlockingStorageService",
    "BucketRoute",
    "CacheManager",
    "CatalogueUnavailable",
    "ChannelOrder",
    "ClockProof",
    "CloudStorageManager",
    "CompletenessProfile",
    "ConfigurationError",
    "Conflict",
    "Container",
    "Cursor",
    "DataAnalyzer",
    "DataExporter",
    "DataLifecycleManager",
    "DataMigrationManager",
    "DataValidator",
    "DatabaseManager",
    "DeadlinePassed",
    "DigestMismatch",
    "Encoding",
    "FileAttributes",
    "FilesQuery",
    "Finding",
    "ImageFormat",
    "ImageMetrics",
    "IncompleteEvidence",
    "InvalidInput",
    "ItemResult",
    "JudgedRecord",
    "LocalStorageManager",
    "LowQuality",
    "NewFile",
    "NewViolation",
    "NoGoodReplica",
    "NotFound",
    "OutcomeUnknown",
    "Page",
    "Part",
    "Severity",
    "StorageConfig",
    "StorageFull",
    "StorageProtocol",
    "StorageService",
    "StorageStrategy",
    "StorageUnavailable",
    "TooLarge",
    "TrafficStorageError",
    "Unavailable",
    "UndecodableMedia",
    "UnsupportedMedia",
    "Upload",
    "VideoMetrics",
    "ViolationQuery",
    "ViolationRecord",
    "WrongHome",
    "WrongState",
    "__version__",
    "build",
    "create_storage_app",
    "running",
]

# Public name → module and name in it. The managers are adapters under the names of the
# specification. The imports above give type checkers the same names.
_PLACES = {
    "IncompleteEvidence": "traffic_storage.domain.errors:IncompleteEvidence",
    "LowQuality": "traffic_storage.domain.errors:LowQuality",
    "EXAMPLE_PROFILES": "traffic_storage.domain.profiles:EXAMPLE_PROFILES",
    "ClockProof": "traffic_storage.domain.profiles:ClockProof",
    "CompletenessProfile": "traffic_storage.domain.profiles:CompletenessProfile",
    "ItemResult": "traffic_storage.entrypoints.service.bulk:ItemResult",
    "NewFile": "traffic_storage.entrypoints.service.bulk:NewFile",
    "NewViolation": "traffic_storage.entrypoints.service.bulk:NewViolation",
    "DataValidator": "traffic_storage.entrypoints.service.validator:DataValidator",
    "Finding": "traffic_storage.domain.quality.assessment:Finding",
    "Part": "traffic_storage.domain.quality.assessment:Part",
    "Severity": "traffic_storage.domain.quality.assessment:Severity",
    "IMAGE_CHECKS": "traffic_storage.domain.quality.image:IMAGE_CHECKS",
    "ImageMetrics": "traffic_storage.domain.quality.image_metrics:ImageMetrics",
    "RECORD_CHECKS": "traffic_storage.domain.quality.record:RECORD_CHECKS",
    "JudgedRecord": "traffic_storage.domain.quality.record:JudgedRecord",
    "VIDEO_CHECKS": "traffic_storage.domain.quality.video:VIDEO_CHECKS",
    "VideoMetrics": "traffic_storage.domain.quality.video:VideoMetrics",
    "AccessDenied": "traffic_storage.domain.errors:AccessDenied",
    "ArrayImage": "traffic_storage.application.inputs:ArrayImage",
    "BlockingStorageService": "traffic_storage.entrypoints.service.service:BlockingStorageService",
    "BucketRoute": "traffic_storage.entrypoints.settings:BucketRoute",
    "CacheManager": "traffic_storage.adapters.cache.redis:RedisCache",
    "CatalogueUnavailable": "traffic_storage.ports.errors:CatalogueUnavailable",
    "ChannelOrder": "traffic_storage.domain.image_layout:ChannelOrder",
    "CloudStorageManager": "traffic_storage.adapters.blob_store.object_store:ObjectStoreBlobStore",
    "ConfigurationError": "traffic_storage.domain.errors:ConfigurationError",
    "Conflict": "traffic_storage.domain.errors:Conflict",
    "WrongState": "traffic_storage.domain.errors:WrongState",
    "Container": "traffic_storage.entrypoints.container:Container",
    "Cursor": "traffic_storage.domain.query:Cursor",
    "DataAnalyzer": "traffic_storage.entrypoints.service.analyzer:DataAnalyzer",
    "DataLifecycleManager": "traffic_storage.entrypoints.service.lifecycle:DataLifecycleManager",
    "DataMigrationManager": "traffic_storage.entrypoints.service.migration:DataMigrationManager",
    "DataExporter": "traffic_storage.entrypoints.service.exporter:DataExporter",
    "DatabaseManager": "traffic_storage.adapters.record_repo.sql.repo:SqlRecordRepo",
    "DeadlinePassed": "traffic_storage.ports.errors:DeadlinePassed",
    "DigestMismatch": "traffic_storage.domain.errors:DigestMismatch",
    "Encoding": "traffic_storage.domain.encoding:Encoding",
    "FileAttributes": "traffic_storage.application.inputs:FileAttributes",
    "FilesQuery": "traffic_storage.domain.query:FilesQuery",
    "ImageFormat": "traffic_storage.domain.encoding:ImageFormat",
    "InvalidInput": "traffic_storage.domain.errors:InvalidInput",
    "LocalStorageManager": "traffic_storage.adapters.blob_store.local_disk:LocalDiskBlobStore",
    "NoGoodReplica": "traffic_storage.domain.errors:NoGoodReplica",
    "NotFound": "traffic_storage.domain.errors:NotFound",
    "OutcomeUnknown": "traffic_storage.ports.errors:OutcomeUnknown",
    "Page": "traffic_storage.domain.query:Page",
    "StorageConfig": "traffic_storage.entrypoints.settings:StorageConfig",
    "StorageFull": "traffic_storage.domain.errors:StorageFull",
    "StorageProtocol": "traffic_storage.entrypoints.http.protocol:StorageProtocol",
    "StorageService": "traffic_storage.entrypoints.service.service:StorageService",
    "StorageStrategy": "traffic_storage.domain.placement:StorageStrategy",
    "StorageUnavailable": "traffic_storage.domain.errors:StorageUnavailable",
    "TooLarge": "traffic_storage.domain.errors:TooLarge",
    "TrafficStorageError": "traffic_storage.domain.errors:TrafficStorageError",
    "Unavailable": "traffic_storage.domain.errors:Unavailable",
    "UndecodableMedia": "traffic_storage.domain.errors:UndecodableMedia",
    "UnsupportedMedia": "traffic_storage.domain.errors:UnsupportedMedia",
    "Upload": "traffic_storage.application.inputs:Upload",
    "ViolationQuery": "traffic_storage.domain.query:ViolationQuery",
    "ViolationRecord": "traffic_storage.domain.violation:ViolationRecord",
    "WrongHome": "traffic_storage.application.runtime:WrongHome",
    "build": "traffic_storage.entrypoints.container:build",
    "create_storage_app": "traffic_storage.entrypoints.http:create_storage_app",
    "running": "traffic_storage.entrypoints.container:running",
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


if not TYPE_CHECKING:  # with __getattr__, a type checker would accept misspelt names

    def __getattr__(name: str) -> object:
        if name != "__version__" and name not in _PLACES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value = _resolve(name)
        return value
