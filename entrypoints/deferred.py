# ruff: noqa: PLC0414 - the aliases export the names to type checkers
"""What the container makes only if it is asked for, each imported when it is first named here.

A command of the command line needs a few use cases, and to import all of them takes longer than it
runs. So the container names those that not every service needs with `later`.
"""

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from traffic_storage.application.access_urls import AccessUrls as AccessUrls
    from traffic_storage.application.analyse_quality import AnalyseQuality as AnalyseQuality
    from traffic_storage.application.analyse_storage import AnalyseStorage as AnalyseStorage
    from traffic_storage.application.analyse_violations import (
        AnalyseViolations as AnalyseViolations,
    )
    from traffic_storage.application.apply_events import ApplyEvents as ApplyEvents
    from traffic_storage.application.archive import Archive as Archive
    from traffic_storage.application.catalogue_upkeep import CatalogueUpkeep as CatalogueUpkeep
    from traffic_storage.application.check_invariants import CheckInvariants as CheckInvariants
    from traffic_storage.application.clean_up import CleanUp as CleanUp
    from traffic_storage.application.copy_file import CopyFile as CopyFile
    from traffic_storage.application.copy_jobs import CopyJobs as CopyJobs
    from traffic_storage.application.decode_stored_images import (
        DecodeStoredImages as DecodeStoredImages,
    )
    from traffic_storage.application.delete_files import DeleteFiles as DeleteFiles
    from traffic_storage.application.examine_quarantine import (
        ExamineQuarantine as ExamineQuarantine,
    )
    from traffic_storage.application.explain import Explain as Explain
    from traffic_storage.application.export import Export as Export
    from traffic_storage.application.export_jobs import ExportJobs as ExportJobs
    from traffic_storage.application.export_journal import ExportJournal as ExportJournal
    from traffic_storage.application.find_due_copies import FindDueCopies as FindDueCopies
    from traffic_storage.application.heal_replica import HealReplica as HealReplica
    from traffic_storage.application.jobs import Jobs as Jobs
    from traffic_storage.application.label_files import LabelFiles as LabelFiles
    from traffic_storage.application.legal_holds import LegalHolds as LegalHolds
    from traffic_storage.application.measure import Measure as Measure
    from traffic_storage.application.migration_jobs import MigrationJobs as MigrationJobs
    from traffic_storage.application.migration_sides import MigrationSource as MigrationSource
    from traffic_storage.application.migration_sides import MigrationTarget as MigrationTarget
    from traffic_storage.application.package import MakePackage as MakePackage
    from traffic_storage.application.produce_evidence import ProduceEvidence as ProduceEvidence
    from traffic_storage.application.promote import Promote as Promote
    from traffic_storage.application.purge import Purge as Purge
    from traffic_storage.application.read_back import ReadBack as ReadBack
    from traffic_storage.application.read_files import ReadFiles as ReadFiles
    from traffic_storage.application.rebuild_catalogue import RebuildCatalogue as RebuildCatalogue
    from traffic_storage.application.recompute_retention import (
        RecomputeRetention as RecomputeRetention,
    )
    from traffic_storage.application.reconcile import Reconcile as Reconcile
    from traffic_storage.application.reconcile_store import ReconcileStore as ReconcileStore
    from traffic_storage.application.release_copy import ReleaseCopy as ReleaseCopy
    from traffic_storage.application.replay_journal import ReplayJournal as ReplayJournal
    from traffic_storage.application.replica_reader import ReplicaReader as ReplicaReader
    from traffic_storage.application.restore_file import RestoreFile as RestoreFile
    from traffic_storage.application.restore_rows import RestoreRows as RestoreRows
    from traffic_storage.application.retain import Retain as Retain
    from traffic_storage.application.retarget_copies import RetargetCopies as RetargetCopies
    from traffic_storage.application.review_incidents import ReviewIncidents as ReviewIncidents
    from traffic_storage.application.rules_in_force import ChangeRules as ChangeRules
    from traffic_storage.application.schedules import Schedules as Schedules
    from traffic_storage.application.sealing import Sealing as Sealing
    from traffic_storage.application.sightings import Sightings as Sightings
    from traffic_storage.application.snapshots.create import CreateSnapshot as CreateSnapshot
    from traffic_storage.application.snapshots.delete import DeleteSnapshot as DeleteSnapshot
    from traffic_storage.application.snapshots.drill import DrillSnapshot as DrillSnapshot
    from traffic_storage.application.snapshots.jobs import SnapshotJobs as SnapshotJobs
    from traffic_storage.application.snapshots.location import SnapshotLocation as SnapshotLocation
    from traffic_storage.application.snapshots.objects import SnapshotObjects as SnapshotObjects
    from traffic_storage.application.snapshots.restore import FindDestroyed as FindDestroyed
    from traffic_storage.application.snapshots.restore import RestoreSnapshot as RestoreSnapshot
    from traffic_storage.application.snapshots.restore_database import (
        RestoreDatabase as RestoreDatabase,
    )
    from traffic_storage.application.snapshots.rows import WriteRows as WriteRows
    from traffic_storage.application.snapshots.verify import VerifySnapshot as VerifySnapshot
    from traffic_storage.application.spill import Spill as Spill
    from traffic_storage.application.statistics import Statistics as Statistics
    from traffic_storage.application.store_evidence import StoreEvidence as StoreEvidence
    from traffic_storage.application.store_files import StoreFiles as StoreFiles
    from traffic_storage.application.store_keyed import StoreKeyed as StoreKeyed
    from traffic_storage.application.store_many import StoreMany as StoreMany
    from traffic_storage.application.store_unit import StoreUnit as StoreUnit
    from traffic_storage.application.store_units import StoreUnits as StoreUnits
    from traffic_storage.application.sync_backends import SyncBackends as SyncBackends
    from traffic_storage.application.validate import Validate as Validate
    from traffic_storage.application.validate_evidence import ValidateEvidence as ValidateEvidence
    from traffic_storage.application.validate_on_store import ValidateOnStore as ValidateOnStore
    from traffic_storage.application.verified_bodies import VerifiedBodies as VerifiedBodies
    from traffic_storage.application.verify_replicas import VerifyReplicas as VerifyReplicas
    from traffic_storage.entrypoints.analysis_files import analyses as analyses
    from traffic_storage.entrypoints.jobs_of_service import handlers as handlers
    from traffic_storage.entrypoints.jobs_of_service import make_sync_worker as make_sync_worker
    from traffic_storage.entrypoints.jobs_of_service import make_worker as make_worker
    from traffic_storage.entrypoints.jobs_of_service import periodic_jobs as periodic_jobs
    from traffic_storage.entrypoints.settings.profiles_file import (
        configured_profiles as configured_profiles,
    )

T = TypeVar("T")

_PLACES = {
    "AccessUrls": "traffic_storage.application.access_urls",
    "AnalyseQuality": "traffic_storage.application.analyse_quality",
    "AnalyseStorage": "traffic_storage.application.analyse_storage",
    "AnalyseViolations": "traffic_storage.application.analyse_violations",
    "ApplyEvents": "traffic_storage.application.apply_events",
    "Archive": "traffic_storage.application.archive",
    "CatalogueUpkeep": "traffic_storage.application.catalogue_upkeep",
    "CheckInvariants": "traffic_storage.application.check_invariants",
    "CleanUp": "traffic_storage.application.clean_up",
    "CopyFile": "traffic_storage.application.copy_file",
    "CopyJobs": "traffic_storage.application.copy_jobs",
    "DecodeStoredImages": "traffic_storage.application.decode_stored_images",
    "DeleteFiles": "traffic_storage.application.delete_files",
    "ExamineQuarantine": "traffic_storage.application.examine_quarantine",
    "Explain": "traffic_storage.application.explain",
    "Export": "traffic_storage.application.export",
    "ExportJobs": "traffic_storage.application.export_jobs",
    "ExportJournal": "traffic_storage.application.export_journal",
    "LabelFiles": "traffic_storage.application.label_files",
    "FindDueCopies": "traffic_storage.application.find_due_copies",
    "HealReplica": "traffic_storage.application.heal_replica",
    "Jobs": "traffic_storage.application.jobs",
    "LegalHolds": "traffic_storage.application.legal_holds",
    "Measure": "traffic_storage.application.measure",
    "MigrationJobs": "traffic_storage.application.migration_jobs",
    "MigrationSource": "traffic_storage.application.migration_sides",
    "MigrationTarget": "traffic_storage.application.migration_sides",
    "MakePackage": "traffic_storage.application.package",
    "ProduceEvidence": "traffic_storage.application.produce_evidence",
    "Promote": "traffic_storage.application.promote",
    "Purge": "traffic_storage.application.purge",
    "ReadBack": "traffic_storage.application.read_back",
    "ReadFiles": "traffic_storage.application.read_files",
    "RebuildCatalogue": "traffic_storage.application.rebuild_catalogue",
    "RecomputeRetention": "traffic_storage.application.recompute_retention",
    "Reconcile": "traffic_storage.application.reconcile",
    "ReconcileStore": "traffic_storage.application.reconcile_store",
    "ReleaseCopy": "traffic_storage.application.release_copy",
    "ReplayJournal": "traffic_storage.application.replay_journal",
    "ReplicaReader": "traffic_storage.application.replica_reader",
    "RestoreFile": "traffic_storage.application.restore_file",
    "RestoreRows": "traffic_storage.application.restore_rows",
    "Retain": "traffic_storage.application.retain",
    "RetargetCopies": "traffic_storage.application.retarget_copies",
    "ReviewIncidents": "traffic_storage.application.review_incidents",
    "ChangeRules": "traffic_storage.application.rules_in_force",
    "Schedules": "traffic_storage.application.schedules",
    "Sealing": "traffic_storage.application.sealing",
    "Sightings": "traffic_storage.application.sightings",
    "CreateSnapshot": "traffic_storage.application.snapshots.create",
    "DeleteSnapshot": "traffic_storage.application.snapshots.delete",
    "DrillSnapshot": "traffic_storage.application.snapshots.drill",
    "SnapshotJobs": "traffic_storage.application.snapshots.jobs",
    "SnapshotLocation": "traffic_storage.application.snapshots.location",
    "SnapshotObjects": "traffic_storage.application.snapshots.objects",
    "FindDestroyed": "traffic_storage.application.snapshots.restore",
    "RestoreSnapshot": "traffic_storage.application.snapshots.restore",
    "RestoreDatabase": "traffic_storage.application.snapshots.restore_database",
    "WriteRows": "traffic_storage.application.snapshots.rows",
    "VerifySnapshot": "traffic_storage.application.snapshots.verify",
    "Spill": "traffic_storage.application.spill",
    "Statistics": "traffic_storage.application.statistics",
    "StoreEvidence": "traffic_storage.application.store_evidence",
    "StoreFiles": "traffic_storage.application.store_files",
    "StoreKeyed": "traffic_storage.application.store_keyed",
    "StoreMany": "traffic_storage.application.store_many",
    "StoreUnit": "traffic_storage.application.store_unit",
    "StoreUnits": "traffic_storage.application.store_units",
    "SyncBackends": "traffic_storage.application.sync_backends",
    "Validate": "traffic_storage.application.validate",
    "ValidateEvidence": "traffic_storage.application.validate_evidence",
    "ValidateOnStore": "traffic_storage.application.validate_on_store",
    "VerifiedBodies": "traffic_storage.application.verified_bodies",
    "VerifyReplicas": "traffic_storage.application.verify_replicas",
    "analyses": "traffic_storage.entrypoints.analysis_files",
    "handlers": "traffic_storage.entrypoints.jobs_of_service",
    "make_worker": "traffic_storage.entrypoints.jobs_of_service",
    "make_sync_worker": "traffic_storage.entrypoints.jobs_of_service",
    "periodic_jobs": "traffic_storage.entrypoints.jobs_of_service",
    "configured_profiles": "traffic_storage.entrypoints.settings.profiles_file",
}


def later(named: Callable[[], Callable[..., T]]) -> Callable[..., T]:
    """Return a callable that calls what `named` returns, which is imported at the first call only."""

    def made(*arguments: object, **parts: object) -> T:
        return named()(*arguments, **parts)

    return made


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)
