"""VerifyReplicas: re-hashes the copies of files in their stores, records the results, and heals.

The bytes come from the disk or bucket itself, never from a cache. What is bad is recorded only
after the store has proved its identity. A good copy is not changed by a verification.
"""

import logging
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime, timedelta

from attrs import define, evolve, field, frozen

from traffic_storage.application.heal_replica import HealReplica
from traffic_storage.application.pace import Pace
from traffic_storage.application.stores import Stores
from traffic_storage.application.worker import Outcome, Report
from traffic_storage.domain.errors import InvalidInput
from traffic_storage.domain.files import Replica, ReplicaState, StoredFile
from traffic_storage.domain.fixity import (
    BAD,
    VERIFIED_FILES,
    VERIFIED_STATES,
    Coverage,
    DuePosition,
    Finding,
    FixityCounts,
    FixityDay,
    FixityPolicy,
    FoundReplica,
    RecordVerifications,
    Verdict,
    is_disputed,
    single,
    verdict_of,
)
from traffic_storage.domain.identifiers import FileId, StoreId
from traffic_storage.domain.jobs import Done, Job, JobKind, NewJob, Priority, Progress, Run
from traffic_storage.domain.times import parse_time
from traffic_storage.domain.usage import day_of
from traffic_storage.ports.catalogue import Catalogue
from traffic_storage.ports.changes import Changes
from traffic_storage.ports.clock import Clock, Ids
from traffic_storage.ports.errors import (
    BlobMissing,
    CatalogueReadOnly,
    StorageFull,
    StorageUnavailable,
)
from traffic_storage.ports.fixity import FixityRecords
from traffic_storage.ports.jobs import JobQueue
from traffic_storage.ports.reconciliation import Reconciliation

logger = logging.getLogger("traffic_storage.fixity")

VERIFY = JobKind("verify_store")
"""The job that verifies copies in one store: those that are due, or with `before` all of them."""

EVERY = timedelta(hours=1)
"""How often a job of this kind begins for each store."""

MAX_SAMPLE = 100_000
_PAGE = 1000
_BATCH_COPIES = 256
_BATCH_BYTES = 256 * 1024 * 1024


@frozen
class IntegrityReport:
    """What a verification has found. `files_checked` counts files, all else copies of files.

    `files_checked` includes the files of which a copy was found bad or could not be read.
    `is_recorded` is false if the catalogue could not be written: then bad copies are not healed
    either.
    """

    files_checked: int = 0
    counts: FixityCounts = field(factory=FixityCounts)
    is_recorded: bool = True


@define
class _Tally:
    """The results of a run so far.

    With `may_only_report`, a run goes on where the catalogue can't be written; `is_recorded` is then
    false.
    """

    files: int = 0
    counts: FixityCounts = field(factory=FixityCounts)
    total: int | None = None
    may_only_report: bool = False
    is_recorded: bool = True

    @property
    def seen(self) -> int:
        """The number of copies of which there is a result."""
        return self.counts.checked + self.counts.unknown

    def report(self) -> IntegrityReport:
        """Return the result of the run."""
        return IntegrityReport(self.files, self.counts, self.is_recorded)

    def progress(self, store_id: StoreId) -> Progress:
        """Return how far the run has come."""
        counts = self.counts
        bad = counts.corrupted + counts.missing + counts.altered
        return Progress(
            self.seen,
            self.total,
            counts.bytes,
            f"{store_id}: {bad} bad, {counts.healed} healed, {counts.unknown} unknown",
        )


class VerifyReplicas:
    """Verifies copies: periodically what is due, or on demand all of them or a sample.

    Errors of all methods:
        CatalogueUnavailable: the database can't be reached.
    """

    def __init__(
        self,
        *,
        records: FixityRecords,
        catalogue: Catalogue,
        lookups: Reconciliation,
        changes: Changes,
        queue: JobQueue,
        stores: Stores,
        heal: HealReplica,
        clock: Clock,
        ids: Ids,
        policy: FixityPolicy,
        pace: Pace,
    ) -> None:
        self._records = records
        self._catalogue = catalogue
        self._lookups = lookups
        self._changes = changes
        self._queue = queue
        self._stores = stores
        self._heal = heal
        self._clock = clock
        self._ids = ids
        self._policy = policy
        self._pace = pace

    async def __call__(
        self,
        sample: int | None = None,
        *,
        heal: bool = True,
        report: Report = lambda _progress: None,
    ) -> IntegrityReport:
        """Verify the copies in all stores, as fast as they can be read.

        Copies in a store that this process can't reach now are counted as unknown. A catalogue that
        can be read but not written, as of a read-only copy or on a full disk, is no failure: the
        results are returned, and the log says once that they are not recorded.

        With `sample`, at most this many files are verified: those that have the copy whose
        verification is oldest. With `heal`, bad copies are replaced where another copy is good.

        Raises:
            InvalidInput: `sample` is not a whole number from 1 to `MAX_SAMPLE`.
        """
        store_ids = self._reachable()
        if sample is not None:
            _check_sample(sample)
            return await self._verify_sample(store_ids, sample, heal=heal, report=report)
        usage = await self._catalogue.usage()
        copies: Counter[StoreId] = Counter()
        for row in usage.stores:
            copies[row.store_id] += row.replicas
        tally = _Tally(total=copies.total(), may_only_report=True)
        before = self._clock.now()
        for store_id in {**dict.fromkeys(store_ids), **copies}:
            seen = tally.seen
            try:
                async for batch in self._all(store_id, before):
                    await self._count_files(batch, store_ids, tally)
                    await self._verify(store_id, batch, tally, heal=heal)
                    report(tally.progress(store_id))
            except StorageUnavailable as error:
                logger.warning("copies in %s can't be verified now: %s", store_id, str(error))
                left = max(0, copies[store_id] - (tally.seen - seen))
                tally.counts += FixityCounts(unknown=left)
        return tally.report()

    async def one(self, file: StoredFile, replica: Replica) -> Finding:
        """Verify one copy of a file now, record the result, and return it; nothing is healed.

        Raises:
            StorageUnavailable: the store can't be reached, or is not the registered one.
        """
        findings = await self._verify(
            replica.store_id, [single(file, replica)], _Tally(), heal=False
        )
        gone = Finding(single(file, replica), Verdict.MISSING, "the copy was replaced or removed")
        return findings[0] if findings else gone

    async def start(self) -> Sequence[Job]:
        """Write a job for each store that has copies, which verifies all of them; return the jobs.

        A store for which such a job is waiting or running gets no second one; none is returned.
        """
        before = self._clock.now()
        usage = await self._catalogue.usage()
        jobs = [
            NewJob(
                self._ids.uuid7(),
                VERIFY,
                {"store_id": store_id, "before": before.isoformat()},
                key=f"verify:{store_id}",
                priority=Priority.BACKGROUND,
                store_id=store_id,
            )
            for store_id in sorted({row.store_id for row in usage.stores})
        ]
        await self._queue.enqueue(jobs)
        written = [await self._queue.job(job.job_id) for job in jobs]
        return [job for job in written if job is not None]

    async def run(self, run: Run, report: Report) -> Outcome:
        """Do a job of the kind `VERIFY`. It continues where an interrupted run ended."""
        store_id = StoreId(str(run.arguments["store_id"]))
        tally = _Tally()
        if isinstance(before := run.arguments.get("before"), str):
            batches = self._all(store_id, parse_time(before, "before"))
            tally.total = await self._copies_in([store_id])
        else:
            batches = self._due(store_id, tally)
        async for batch in batches:
            await self._pace.take(sum(copy.stored.size_bytes for copy in batch))
            await self._verify(store_id, batch, tally, heal=True)
            report(tally.progress(store_id))
        return Outcome(Done(tally.progress(store_id)))

    async def coverage(self) -> Coverage:
        """Return how many copies were verified within the interval, in each store."""
        now = self._clock.now()
        stores = await self._records.coverage(now - self._policy.interval)
        return Coverage(now, self._policy.interval, stores)

    async def history(self, days: int = 30) -> Sequence[FixityDay]:
        """Return what was verified on each of the last days (UTC), today included, oldest first."""
        today = day_of(self._clock.now())
        return await self._records.fixity_days(today - timedelta(days=days - 1), today)

    def _reachable(self) -> list[StoreId]:
        return [bound.store_id for bound in self._stores if bound.store_id is not None]

    async def _copies_in(self, store_ids: Sequence[StoreId]) -> int:
        usage = await self._catalogue.usage()
        return sum(row.replicas for row in usage.stores if row.store_id in store_ids)

    # What is verified.

    async def _all(self, store_id: StoreId, before: datetime) -> AsyncIterator[list[StoredFile]]:
        """Yield all copies in a store that were not verified since `before`, in batches."""
        batch = _Batch()
        async for copy in self._copies(store_id, before):
            if full := batch.add(copy):
                yield full
        if batch.copies:
            yield batch.copies

    async def _due(self, store_id: StoreId, tally: _Tally) -> AsyncIterator[list[StoredFile]]:
        """Yield the copies that a periodic run verifies in a store, in batches."""
        usage = await self._catalogue.usage()
        stored_bytes = sum(row.bytes for row in usage.stores if row.store_id == store_id)
        portion = self._policy.slice(self._clock.now(), EVERY, stored_bytes)
        batch = _Batch()
        async for copy in self._copies(store_id, portion.due_before):
            (replica,) = copy.replicas
            is_bad = replica.state is not ReplicaState.PRESENT
            if not is_bad and not portion.takes(replica, tally.counts.bytes + batch.size_bytes):
                # Those that follow were verified later.
                break
            if full := batch.add(copy):
                yield full
        if batch.copies:
            yield batch.copies

    async def _copies(self, store_id: StoreId, before: datetime) -> AsyncIterator[StoredFile]:
        """Yield the bad copies in a store, then the present ones that were verified before a time."""
        last: StoredFile | None = None
        while page := await self._records.doubtful_replicas(store_id, last, _PAGE):
            last = page[-1]
            for copy in page:
                yield copy
        after: DuePosition | None = None
        while page := await self._records.due_replicas(store_id, before, after, _PAGE):
            after = DuePosition.behind(page[-1].replicas[0])
            for copy in page:
                yield copy

    async def _verify_sample(
        self, store_ids: Sequence[StoreId], sample: int, *, heal: bool, report: Report
    ) -> IntegrityReport:
        chosen = await self._sampled(store_ids, sample)
        tally = _Tally(files=len(chosen), may_only_report=True)
        copies = [
            single(file, replica)
            for file in chosen.values()
            for replica in file.replicas
            if replica.state in VERIFIED_STATES
        ]
        tally.total = len(copies)
        for store_id in dict.fromkeys(copy.replicas[0].store_id for copy in copies):
            batch = _Batch()
            here = [copy for copy in copies if copy.replicas[0].store_id == store_id]
            for place, copy in enumerate(here, 1):
                full = batch.add(copy) or (batch.copies if place == len(here) else None)
                if full:
                    await self._verify_or_count(store_id, full, tally, heal=heal)
                    report(tally.progress(store_id))
        return tally.report()

    async def _sampled(
        self, store_ids: Sequence[StoreId], sample: int
    ) -> Mapping[FileId, StoredFile]:
        """Return the files of the copies whose verification is oldest, with all their copies."""
        now = self._clock.now()
        oldest: list[StoredFile] = []
        for store_id in store_ids:
            after: DuePosition | None = None
            found = 0
            while found < sample and (
                page := await self._records.due_replicas(
                    store_id, now, after, min(_PAGE, sample - found)
                )
            ):
                after = DuePosition.behind(page[-1].replicas[0])
                oldest += page
                found += len(page)
        oldest.sort(key=lambda copy: _age_rank(copy.replicas[0]))
        names = list(dict.fromkeys(copy.file_id for copy in oldest))[:sample]
        return await self._lookups.files_by_id(names)

    async def _count_files(
        self, batch: Sequence[StoredFile], store_ids: Sequence[StoreId], tally: _Tally
    ) -> None:
        """Count the files of a batch, each only with the first of its copies that the run verifies."""
        files = await self._lookups.files_by_id([copy.file_id for copy in batch])
        for copy in batch:
            if (file := files.get(copy.file_id)) is None:
                continue
            others = [one.replica_id for one in _verified_copies(file, store_ids)]
            tally.files += not others or others[0] == copy.replicas[0].replica_id

    # How it is verified.

    async def _verify_or_count(
        self, store_id: StoreId, copies: Sequence[StoredFile], tally: _Tally, *, heal: bool
    ) -> None:
        """Verify copies; count them as unknown if their store can't be reached."""
        try:
            await self._verify(store_id, copies, tally, heal=heal)
        except StorageUnavailable as error:
            logger.warning("copies in %s can't be verified now: %s", store_id, str(error))
            tally.counts += FixityCounts(unknown=len(copies))

    async def _verify(
        self, store_id: StoreId, copies: Sequence[StoredFile], tally: _Tally, *, heal: bool
    ) -> Sequence[Finding]:
        kept = [copy for copy in copies if copy.state in VERIFIED_FILES]
        findings = await self._current(await self._examined(store_id, kept))
        is_recorded = await self._record_or_report(store_id, findings, tally)
        tally.counts += FixityCounts.of(findings)
        if heal and is_recorded:
            for finding in findings:
                is_healable = finding.verdict in BAD and not finding.is_disputed
                if is_healable and await self._heal(finding):
                    tally.counts += FixityCounts(healed=1)
        return findings

    async def _examined(self, store_id: StoreId, copies: Sequence[StoredFile]) -> Sequence[Finding]:
        """Return what is found in a store.

        Raises:
            StorageUnavailable: nothing can be read there, or the store is not the registered one.
        """
        if not copies:
            return ()
        store = self._stores.trusted(store_id)
        found = await store.examine([(copy.replicas[0].key, copy.stored) for copy in copies])
        findings = [
            Finding(
                copy,
                *verdict_of(copy, one.error, one.manifest),
                is_disputed=is_disputed(copy, one.manifest),
            )
            for copy, one in zip(copies, found, strict=True)
        ]
        if all(finding.verdict is Verdict.UNKNOWN for finding in findings):
            await self._stores.confirm(store_id)
        if any(finding.verdict in BAD for finding in findings):
            await self._stores.confirm(store_id)
        return [_unproven(finding, one.error) for finding, one in zip(findings, found, strict=True)]

    async def _current(self, findings: Sequence[Finding]) -> Sequence[Finding]:
        """Leave out bad copies that were replaced or are being removed since the page was read."""
        bad = [finding.file.file_id for finding in findings if finding.verdict in BAD]
        if not bad:
            return findings
        rows = await self._lookups.files_by_id(bad)
        return [
            finding
            for finding in findings
            if finding.verdict not in BAD or _is_current(finding, rows.get(finding.file.file_id))
        ]

    async def _record_or_report(
        self, store_id: StoreId, findings: Sequence[Finding], tally: _Tally
    ) -> bool:
        """Record what was found; return False if the catalogue can't be written.

        Raises:
            CatalogueReadOnly, StorageFull: it can't be written, and the run may not go on without.
        """
        # A copy that is known to be bad was counted when it was found.
        counted = [one for one in findings if not _is_known(one)]
        is_recorded = True
        try:
            await self._record(store_id, findings, counted)
        except (CatalogueReadOnly, StorageFull) as error:
            if not tally.may_only_report:
                raise
            is_recorded = False
            if tally.is_recorded:
                logger.warning(
                    "the results of this verification are not recorded, and no bad copy is healed: %s",
                    str(error),
                )
            tally.is_recorded = False
        for one in counted:
            if one.verdict in BAD or one.verdict is Verdict.UNKNOWN:
                logger.error(
                    "the copy of %s in %s is %s: %s",
                    *(one.file.file_id, store_id, one.verdict, one.details),
                )
        return is_recorded

    async def _record(
        self, store_id: StoreId, findings: Sequence[Finding], counted: Sequence[Finding]
    ) -> None:
        at = self._clock.now()
        incidents = [finding.incident(self._ids.uuid7(), at) for finding in findings]
        change = RecordVerifications(
            self._ids.uuid7(),
            store_id,
            at,
            FixityCounts.of(counted),
            verified=tuple(
                one.replica.replica_id
                for one in findings
                if one.verdict is Verdict.GOOD and one.replica.state is ReplicaState.PRESENT
            ),
            found=tuple(
                FoundReplica(one.file.file_id, one.replica.replica_id, one.state)
                for one in findings
                if one.state is not None and one.state is not one.replica.state
            ),
            incidents=tuple(one for one in incidents if one is not None),
        )
        if findings:
            await self._changes.apply(change)


@define
class _Batch:
    """Copies that are verified together."""

    copies: list[StoredFile] = field(factory=list)
    size_bytes: int = 0

    def add(self, copy: StoredFile) -> list[StoredFile] | None:
        """Add a copy; return all copies and begin anew if the batch is full."""
        self.copies.append(copy)
        self.size_bytes += copy.stored.size_bytes
        if len(self.copies) < _BATCH_COPIES and self.size_bytes < _BATCH_BYTES:
            return None
        full, self.copies, self.size_bytes = self.copies, [], 0
        return full


def _verified_copies(file: StoredFile, store_ids: Sequence[StoreId]) -> list[Replica]:
    """Return the copies of a file that a run over these stores verifies."""
    there = [one for one in file.replicas if one.state in VERIFIED_STATES]
    return [one for store_id in store_ids for one in there if one.store_id == store_id]


def _unproven(finding: Finding, error: Exception | None) -> Finding:
    """Return the result that a missing copy is unknown if the folder that holds it is absent too.

    The folder may be a mount point that is not mounted.
    """
    if isinstance(error, BlobMissing) and error.absent_part:
        return evolve(
            finding,
            verdict=Verdict.UNKNOWN,
            details=f"the folder {error.absent_part} is absent: mount the medium that belongs there, "
            "or restore the folder",
        )
    return finding


def _is_known(finding: Finding) -> bool:
    return (
        finding.replica.state is not ReplicaState.PRESENT
        and finding.state is not ReplicaState.PRESENT
    )


def _is_current(finding: Finding, file: StoredFile | None) -> bool:
    if file is None or file.state not in VERIFIED_FILES:
        return False
    return any(
        one.replica_id == finding.replica.replica_id and one.state in VERIFIED_STATES
        for one in file.replicas
    )


def _age_rank(replica: Replica) -> tuple[bool, float]:
    at = replica.verified_at
    return at is not None, 0.0 if at is None else at.timestamp()


def _check_sample(sample: int) -> None:
    if type(sample) is not int or not 1 <= sample <= MAX_SAMPLE:
        raise InvalidInput.of(
            "sample", f"must be a whole number from 1 to {MAX_SAMPLE}", "leave it out for all files"
        )
