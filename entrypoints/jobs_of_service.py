"""The jobs of a service: what does each kind, what is done periodically, and the workers."""

import os
import socket
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta

from traffic_storage.application.copy_jobs import CopyJobs
from traffic_storage.application.decode_stored_images import DecodeStoredImages
from traffic_storage.application.export_jobs import KINDS as EXPORT_KINDS
from traffic_storage.application.export_jobs import ExportJobs
from traffic_storage.application.export_journal import JOURNAL, ExportJournal
from traffic_storage.application.find_due_copies import FindDueCopies
from traffic_storage.application.migration_jobs import MIGRATE, MigrationJobs
from traffic_storage.application.purge import PURGE, Purge
from traffic_storage.application.recompute_retention import (
    RECOMPUTE_VIOLATION,
    RecomputeRetention,
)
from traffic_storage.application.reconcile import RECONCILE, Reconcile
from traffic_storage.application.retain import APPLY_RETENTION, Retain
from traffic_storage.application.rules_in_force import RECOMPUTE, STAGE, ChangeRules
from traffic_storage.application.schedules import PeriodicJob, Schedules
from traffic_storage.application.snapshots.jobs import SCHEDULE as SCHEDULE_SNAPSHOT
from traffic_storage.application.snapshots.jobs import SnapshotJobs
from traffic_storage.application.spill import Spill
from traffic_storage.application.sweep import SWEEP, Sweep
from traffic_storage.application.sync_backends import SYNC_KINDS
from traffic_storage.application.verify_replicas import EVERY as VERIFY_EVERY
from traffic_storage.application.verify_replicas import VERIFY, VerifyReplicas
from traffic_storage.application.watch_pressure import WATCH_PRESSURE, WatchPressure
from traffic_storage.application.worker import Handler, Worker
from traffic_storage.domain.copies import FIND_DUE_COPIES, SPILL, SPILLING
from traffic_storage.domain.image_checks import DECODE_IMAGE
from traffic_storage.domain.jobs import JobKind, Priority
from traffic_storage.domain.placement import StorageStrategy
from traffic_storage.entrypoints.settings import StorageConfig
from traffic_storage.ports.clock import Ids
from traffic_storage.ports.jobs import JobSource

_JOBS_A_WORKER = 4


def handlers(
    *,
    sweep: Sweep,
    reconcile: Reconcile,
    export_journal: ExportJournal,
    stage: ChangeRules,
    recompute: RecomputeRetention,
    copy_jobs: CopyJobs,
    spill: Spill,
    find_due_copies: FindDueCopies,
    verify: VerifyReplicas,
    watch_pressure: WatchPressure,
    purge: Purge,
    retain: Retain,
    migrate: MigrationJobs,
    snapshot_jobs: SnapshotJobs,
    export_jobs: ExportJobs,
    decode_stored_images: DecodeStoredImages,
) -> Mapping[JobKind, Handler]:
    """Return what does the jobs of each kind."""
    return {
        SWEEP: sweep.run,
        RECONCILE: reconcile.run,
        JOURNAL: export_journal.run,
        RECOMPUTE: recompute.run,
        STAGE: stage.run,
        RECOMPUTE_VIOLATION: recompute.run_of_violation,
        SPILL: spill.run,
        FIND_DUE_COPIES: find_due_copies.run,
        **copy_jobs.handlers,
        VERIFY: verify.run,
        WATCH_PRESSURE: watch_pressure.run,
        PURGE: purge.run,
        APPLY_RETENTION: retain.run,
        MIGRATE: migrate.run,
        **snapshot_jobs.handlers,
        **export_jobs.handlers,
        DECODE_IMAGE: decode_stored_images.run,
    }


def periodic_jobs(settings: StorageConfig, strategy: StorageStrategy) -> Sequence[PeriodicJob]:
    """Return what is done periodically, as the settings and the strategy say."""
    every = timedelta(seconds=settings.sweep_interval_seconds)
    purged_every = timedelta(seconds=settings.purge_interval_seconds)
    compared_every = timedelta(hours=settings.reconcile_interval_hours)
    periodic = [
        PeriodicJob(SWEEP, every, priority=Priority.URGENT),
        PeriodicJob(WATCH_PRESSURE, every, priority=Priority.URGENT),
        PeriodicJob(PURGE, purged_every),
        PeriodicJob(JOURNAL, every, each_store=True, priority=Priority.URGENT),
        PeriodicJob(RECONCILE, compared_every, each_store=True, priority=Priority.BACKGROUND),
        PeriodicJob(VERIFY, VERIFY_EVERY, each_store=True, priority=Priority.BACKGROUND),
    ]
    if strategy is StorageStrategy.HYBRID:
        found_every = timedelta(days=1)
        periodic.append(PeriodicJob(FIND_DUE_COPIES, found_every, priority=Priority.BACKGROUND))
    if strategy in SPILLING:
        periodic.append(PeriodicJob(SPILL, every, priority=Priority.URGENT))
    if (snapshots_every := settings.snapshot_schedule.every) is not None:
        periodic.append(PeriodicJob(SCHEDULE_SNAPSHOT, snapshots_every))
    return periodic


def make_worker(
    settings: StorageConfig,
    source: JobSource,
    ids: Ids,
    handlers: Mapping[JobKind, Handler],
    schedules: Schedules,
) -> Worker:
    """Return the worker of a service."""
    return Worker(
        source=source,
        ids=ids,
        handlers=handlers,
        schedules=schedules,
        stores=schedules.needs_met,
        slots=settings.workers * _JOBS_A_WORKER,
        owner=f"{socket.gethostname()}:{os.getpid()}",
        numerous=(*SYNC_KINDS, *EXPORT_KINDS),
    )


def make_sync_worker(
    settings: StorageConfig, ids: Ids, copy_jobs: CopyJobs, schedules: Schedules
) -> Callable[[JobSource], Worker]:
    """Return what makes the worker of one synchronisation."""

    def make(source: JobSource) -> Worker:
        return Worker(
            source=source,
            ids=ids,
            handlers=copy_jobs.handlers,
            schedules=list,
            stores=schedules.needs_met,
            slots=4 * settings.copy_parallel,
            owner=f"{socket.gethostname()}:{os.getpid()}:sync",
        )

    return make
