"""Fault injection for catalogues."""

from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import date, datetime, timedelta
from typing import Any, Protocol, TypeVar
from uuid import UUID

from traffic_storage.domain.changes import Change
from traffic_storage.domain.database_backup import DatabaseForm, Loaded, Loading
from traffic_storage.domain.deletion import Certificate, Deletion, Removal
from traffic_storage.domain.duplicates import Content
from traffic_storage.domain.events import RecordedEvent
from traffic_storage.domain.files import BlobKey, FileKind, StoredFile, Tier
from traffic_storage.domain.fixity import DuePosition, FixityDay, StoreCoverage
from traffic_storage.domain.holds import Hold, HoldReach
from traffic_storage.domain.identifiers import (
    AttemptId,
    CatalogueId,
    DeviceId,
    FileId,
    StoreId,
    ViolationId,
)
from traffic_storage.domain.identity import RegisteredStore
from traffic_storage.domain.incidents import Incident, IncidentsQuery
from traffic_storage.domain.ingest import Attempt, ClaimedIds, ExistingRows
from traffic_storage.domain.jobs import (
    Claim,
    Job,
    JobKind,
    NewJob,
    Progress,
    Renewal,
    Run,
    RunEnd,
    Schedule,
)
from traffic_storage.domain.journal import JournalCursor
from traffic_storage.domain.migration import MigrationCursor, MigrationId
from traffic_storage.domain.pressure import RecordedPressure
from traffic_storage.domain.quarantine import Quarantined
from traffic_storage.domain.query import (
    MAX_LIMIT,
    Cursor,
    FilesQuery,
    HoldsQuery,
    JobsQuery,
    Page,
    ViolationQuery,
)
from traffic_storage.domain.readings import DueRetention, WaitingJobs
from traffic_storage.domain.rebuild import RebuildCursor
from traffic_storage.domain.reconcile import Recorded, RecordedPage
from traffic_storage.domain.retention_plans import DueFile, RetentionPlan
from traffic_storage.domain.rules_in_force import RetainedFile, RulesRevision, StagedRules
from traffic_storage.domain.seal import Seal
from traffic_storage.domain.snapshot import SnapshotPin
from traffic_storage.domain.tabular import Batch, Column, RenderedBatch, TableForm
from traffic_storage.domain.usage import CatalogueUsage, DailyUsage, DeviceUsage
from traffic_storage.domain.violation import StoredViolation
from traffic_storage.entrypoints.testing.faults.plans import Failing
from traffic_storage.ports.errors import CatalogueUnavailable
from traffic_storage.ports.record_repo import RecordRepo
from traffic_storage.ports.retention import Position
from traffic_storage.ports.snapshots import Moment
from traffic_storage.ports.violation_table import RenderedPages

T = TypeVar("T")


class FailingRecordRepo(Failing, RecordRepo):
    """Wraps the adapter `inner`: fails at planned calls and forwards all others.

    `FailingRecordRepo(inner, after=2)` fails every call after the first two.
    """

    def __init__(self, inner: RecordRepo, *, after: int | None = None) -> None:
        super().__init__(CatalogueUnavailable, after)
        self.inner = inner

    async def table_page(
        self, query: ViolationQuery, columns: Sequence[Column], rows: int
    ) -> Batch:
        return await self._do("table_page", lambda: self.inner.table_page(query, columns, rows))

    def rendered_pages(self, form: TableForm) -> RenderedPages | None:
        inner = self.inner.rendered_pages(form)
        return None if inner is None else _FailingPages(self._do, inner)

    async def begin(self, attempt: Attempt, ids: ClaimedIds) -> ExistingRows:
        return await self._do("begin", lambda: self.inner.begin(attempt, ids))

    async def apply(self, change: Change) -> bool:
        return await self._do("apply", lambda: self.inner.apply(change))

    async def condemn(self, now: datetime, limit: int = 100) -> Sequence[Attempt]:
        return await self._do("condemn", lambda: self.inner.condemn(now, limit))

    async def forget(self, attempt: AttemptId) -> None:
        await self._do("forget", lambda: self.inner.forget(attempt))

    async def enqueue(self, jobs: Sequence[NewJob]) -> None:
        await self._do("enqueue", lambda: self.inner.enqueue(jobs))

    async def cancel_job(self, job_id: UUID) -> bool:
        return await self._do("cancel_job", lambda: self.inner.cancel_job(job_id))

    async def requeue_job(self, job_id: UUID) -> bool:
        return await self._do("requeue_job", lambda: self.inner.requeue_job(job_id))

    async def job(self, job_id: UUID) -> Job | None:
        return await self._do("job", lambda: self.inner.job(job_id))

    async def jobs(self, query: JobsQuery) -> Page[Job]:
        return await self._do("jobs", lambda: self.inner.jobs(query))

    async def live_jobs(
        self, kind: JobKind, after: Cursor | None = None, limit: int = MAX_LIMIT
    ) -> Page[Job]:
        return await self._do("live_jobs", lambda: self.inner.live_jobs(kind, after, limit))

    async def retarget(
        self,
        store_id: StoreId,
        kept: Collection[StoreId],
        target_id: StoreId,
        limit: int = MAX_LIMIT,
    ) -> bool:
        return await self._do(
            "retarget", lambda: self.inner.retarget(store_id, kept, target_id, limit)
        )

    async def claim(self, claim: Claim) -> Sequence[Run]:
        return await self._do("claim", lambda: self.inner.claim(claim))

    async def renew(
        self, runs: Mapping[UUID, Progress], lease_id: UUID, lease: timedelta
    ) -> Renewal:
        return await self._do("renew", lambda: self.inner.renew(runs, lease_id, lease))

    async def finish(self, run: Run, end: RunEnd, effect: Change | None = None) -> None:
        await self._do("finish", lambda: self.inner.finish(run, end, effect))

    async def write_due(self, schedules: Mapping[UUID, Schedule]) -> int:
        return await self._do("write_due", lambda: self.inner.write_due(schedules))

    async def forget_jobs(self, before: datetime, limit: int) -> None:
        await self._do("forget_jobs", lambda: self.inner.forget_jobs(before, limit))

    async def database_time(self) -> datetime:
        return await self._do("database_time", self.inner.database_time)

    async def wait_for_jobs(self, seconds: float) -> None:
        await self._do("wait_for_jobs", lambda: self.inner.wait_for_jobs(seconds))

    async def hold(self, hold_id: UUID) -> Hold | None:
        return await self._do("hold", lambda: self.inner.hold(hold_id))

    async def holds(self, query: HoldsQuery) -> Page[Hold]:
        return await self._do("holds", lambda: self.inner.holds(query))

    async def held(self, file_ids: Collection[FileId], at: datetime) -> frozenset[FileId]:
        return await self._do("held", lambda: self.inner.held(file_ids, at))

    async def holds_on(self, file_id: FileId, at: datetime) -> Sequence[Hold]:
        return await self._do("holds_on", lambda: self.inner.holds_on(file_id, at))

    async def hold_reach(self, hold: Hold) -> HoldReach:
        return await self._do("hold_reach", lambda: self.inner.hold_reach(hold))

    async def deletions(self, file_ids: Collection[FileId]) -> Mapping[FileId, Deletion]:
        return await self._do("deletions", lambda: self.inner.deletions(file_ids))

    async def due_for_purge(
        self, at: datetime, after: Cursor | None = None, limit: int = 100
    ) -> Page[Deletion]:
        return await self._do("due_for_purge", lambda: self.inner.due_for_purge(at, after, limit))

    async def removals(self, file_id: FileId) -> Sequence[Removal]:
        return await self._do("removals", lambda: self.inner.removals(file_id))

    async def certificate(self, file_id: FileId) -> Certificate | None:
        return await self._do("certificate", lambda: self.inner.certificate(file_id))

    async def events(self, after: int = 0, limit: int = 100) -> Sequence[RecordedEvent]:
        return await self._do("events", lambda: self.inner.events(after, limit))

    async def last_event(self) -> int:
        return await self._do("last_event", self.inner.last_event)

    async def forget_events(self, before: datetime, limit: int = 1000) -> None:
        await self._do("forget_events", lambda: self.inner.forget_events(before, limit))

    async def due_replicas(
        self, store_id: StoreId, before: datetime, after: DuePosition | None, limit: int
    ) -> Sequence[StoredFile]:
        return await self._do(
            "due_replicas", lambda: self.inner.due_replicas(store_id, before, after, limit)
        )

    async def doubtful_replicas(
        self, store_id: StoreId, after: StoredFile | None, limit: int
    ) -> Sequence[StoredFile]:
        return await self._do(
            "doubtful_replicas", lambda: self.inner.doubtful_replicas(store_id, after, limit)
        )

    async def coverage(self, overdue_before: datetime) -> Sequence[StoreCoverage]:
        return await self._do("coverage", lambda: self.inner.coverage(overdue_before))

    async def fixity_days(self, first: date, last: date) -> Sequence[FixityDay]:
        return await self._do("fixity_days", lambda: self.inner.fixity_days(first, last))

    async def incident(self, incident_id: UUID) -> Incident | None:
        return await self._do("incident", lambda: self.inner.incident(incident_id))

    async def incidents(self, query: IncidentsQuery) -> Page[Incident]:
        return await self._do("incidents", lambda: self.inner.incidents(query))

    async def rules_in_force(self) -> RulesRevision | None:
        return await self._do("rules_in_force", self.inner.rules_in_force)

    async def staged_rules(self, change_id: UUID) -> StagedRules | None:
        return await self._do("staged_rules", lambda: self.inner.staged_rules(change_id))

    async def device_usage(self) -> Sequence[DeviceUsage]:
        return await self._do("device_usage", self.inner.device_usage)

    async def daily_received(self, first: date, last: date) -> Sequence[DailyUsage]:
        return await self._do("daily_received", lambda: self.inner.daily_received(first, last))

    async def sample_files(self, kind: FileKind, limit: int, seed: int) -> Sequence[StoredFile]:
        return await self._do("sample_files", lambda: self.inner.sample_files(kind, limit, seed))

    async def sample_violations(self, limit: int, seed: int) -> Sequence[StoredViolation]:
        return await self._do(
            "sample_violations", lambda: self.inner.sample_violations(limit, seed)
        )

    async def newest_contents(self, kind: FileKind, limit: int) -> Sequence[Content]:
        return await self._do("newest_contents", lambda: self.inner.newest_contents(kind, limit))

    async def retained_files(self, kind: FileKind, after: Position) -> Sequence[RetainedFile]:
        return await self._do("retained_files", lambda: self.inner.retained_files(kind, after))

    async def due_files(self, as_of: datetime, after: Position, now: datetime) -> Sequence[DueFile]:
        return await self._do("due_files", lambda: self.inner.due_files(as_of, after, now))

    async def migration_cursor(self, migration: MigrationId) -> MigrationCursor | None:
        return await self._do("migration_cursor", lambda: self.inner.migration_cursor(migration))

    async def seal(self) -> Seal | None:
        return await self._do("seal", self.inner.seal)

    async def file_of_key(self, key: FileId) -> FileId | None:
        return await self._do("file_of_key", lambda: self.inner.file_of_key(key))

    async def retention_plan(self, plan_id: UUID) -> RetentionPlan | None:
        return await self._do("retention_plan", lambda: self.inner.retention_plan(plan_id))

    async def forget_reviews(self, before: datetime) -> None:
        await self._do("forget_reviews", lambda: self.inner.forget_reviews(before))

    async def waiting_jobs(self, kinds: Sequence[JobKind]) -> Sequence[WaitingJobs]:
        return await self._do("waiting_jobs", lambda: self.inner.waiting_jobs(kinds))

    async def due_retention(self, as_of: datetime) -> DueRetention:
        return await self._do("due_retention", lambda: self.inner.due_retention(as_of))

    async def recorded_pressures(self) -> Mapping[StoreId, RecordedPressure]:
        return await self._do("recorded_pressures", self.inner.recorded_pressures)

    @asynccontextmanager
    async def moment(self) -> AsyncIterator[Moment]:
        await self._do("moment", self.inner.ping)
        async with self.inner.moment() as moment:
            yield moment

    @property
    def form(self) -> DatabaseForm:
        return self.inner.form

    async def is_blank(self) -> bool:
        return await self._do("is_blank", self.inner.is_blank)

    async def load_database(self, chunks: AsyncIterator[bytes], loading: Loading) -> None:
        await self._do("load_database", lambda: self.inner.load_database(chunks, loading))

    async def loaded(self) -> Loaded | None:
        return await self._do("loaded", self.inner.loaded)

    async def pins(self) -> Sequence[SnapshotPin]:
        return await self._do("pins", self.inner.pins)

    async def file(self, file_id: FileId) -> StoredFile | None:
        return await self._do("file", lambda: self.inner.file(file_id))

    async def files_of(self, violation_id: ViolationId) -> Sequence[StoredFile]:
        return await self._do("files_of", lambda: self.inner.files_of(violation_id))

    async def files_of_each(
        self, violation_ids: Collection[ViolationId]
    ) -> Mapping[ViolationId, Sequence[StoredFile]]:
        return await self._do("files_of_each", lambda: self.inner.files_of_each(violation_ids))

    async def violation(self, violation_id: ViolationId) -> StoredViolation | None:
        return await self._do("violation", lambda: self.inner.violation(violation_id))

    async def violations(self, query: ViolationQuery) -> Page[StoredViolation]:
        return await self._do("violations", lambda: self.inner.violations(query))

    async def files(self, query: FilesQuery) -> Page[StoredFile]:
        return await self._do("files", lambda: self.inner.files(query))

    async def usage(self) -> CatalogueUsage:
        return await self._do("usage", self.inner.usage)

    async def daily_usage(
        self, first: date, last: date, device_id: DeviceId | None = None
    ) -> Sequence[DailyUsage]:
        return await self._do("daily_usage", lambda: self.inner.daily_usage(first, last, device_id))

    async def oldest_in(
        self, store_id: StoreId, after: UUID | None = None, limit: int = 100
    ) -> Sequence[StoredFile]:
        return await self._do("oldest_in", lambda: self.inner.oldest_in(store_id, after, limit))

    async def fold_counters(self) -> None:
        await self._do("fold_counters", self.inner.fold_counters)

    async def catalogue_id(self) -> CatalogueId:
        return await self._do("catalogue_id", self.inner.catalogue_id)

    async def register(self, store: RegisteredStore) -> None:
        await self._do("register", lambda: self.inner.register(store))

    async def registered(self, store_id: StoreId) -> RegisteredStore | None:
        return await self._do("registered", lambda: self.inner.registered(store_id))

    async def registered_at(self, tier: Tier, location: str) -> Sequence[RegisteredStore]:
        return await self._do("registered_at", lambda: self.inner.registered_at(tier, location))

    async def exchange(self, was: RegisteredStore, becomes: RegisteredStore) -> bool:
        return await self._do("exchange", lambda: self.inner.exchange(was, becomes))

    async def recorded(
        self, store_id: StoreId, after: UUID | None = None, limit: int = 1000
    ) -> RecordedPage:
        return await self._do("recorded", lambda: self.inner.recorded(store_id, after, limit))

    async def replicas(self, replica_ids: Collection[UUID]) -> Mapping[UUID, Recorded]:
        return await self._do("replicas", lambda: self.inner.replicas(replica_ids))

    async def metadata_files(
        self, after: UUID | None = None, limit: int = 1000
    ) -> tuple[Sequence[FileId], UUID | None]:
        return await self._do("metadata_files", lambda: self.inner.metadata_files(after, limit))

    async def files_by_id(self, file_ids: Collection[FileId]) -> Mapping[FileId, StoredFile]:
        return await self._do("files_by_id", lambda: self.inner.files_by_id(file_ids))

    async def violations_by_id(
        self, violation_ids: Collection[ViolationId]
    ) -> Mapping[ViolationId, StoredViolation]:
        return await self._do(
            "violations_by_id", lambda: self.inner.violations_by_id(violation_ids)
        )

    async def attempted(self, store_id: StoreId, keys: Collection[BlobKey]) -> Collection[BlobKey]:
        return await self._do("attempted", lambda: self.inner.attempted(store_id, keys))

    async def quarantined(
        self, store_id: StoreId, after: BlobKey | None = None, limit: int = 1000
    ) -> Sequence[Quarantined]:
        return await self._do("quarantined", lambda: self.inner.quarantined(store_id, after, limit))

    async def quarantine_entries(
        self, store_id: StoreId, keys: Collection[BlobKey]
    ) -> Mapping[BlobKey, Quarantined]:
        return await self._do(
            "quarantine_entries", lambda: self.inner.quarantine_entries(store_id, keys)
        )

    async def journal_cursor(self, store_id: StoreId) -> JournalCursor:
        return await self._do("journal_cursor", lambda: self.inner.journal_cursor(store_id))

    async def rebuild_cursors(self) -> Mapping[StoreId, RebuildCursor]:
        return await self._do("rebuild_cursors", self.inner.rebuild_cursors)

    async def upgrade(self, *, slow: bool = False) -> None:
        await self._do("upgrade", lambda: self.inner.upgrade(slow=slow))

    async def pending(self) -> Sequence[str]:
        return await self._do("pending", self.inner.pending)

    async def ping(self) -> None:
        await self._do("ping", self.inner.ping)

    async def aclose(self) -> None:
        await self.inner.aclose()


class _Do(Protocol):
    async def __call__(self, method: str, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Do a call of a method as the plans say."""


class _FailingPages(RenderedPages):
    """The pages of CSV of a repository; plans name the calls `page_end` and `rendered_page`."""

    def __init__(self, do: _Do, inner: RenderedPages) -> None:
        self._do = do
        self._inner = inner

    async def end(self, query: ViolationQuery, rows: int) -> Cursor | None:
        return await self._do("page_end", lambda: self._inner.end(query, rows))

    async def page(
        self, query: ViolationQuery, columns: Sequence[Column], last: Cursor | None
    ) -> RenderedBatch:
        return await self._do("rendered_page", lambda: self._inner.page(query, columns, last))
