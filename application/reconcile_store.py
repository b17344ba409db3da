"""ReconcileStore: compares a store with the catalogue and acts on the differences.

1. The store must prove its identity.
2. Its listing is merged with the catalogue's replicas (`Survey`). An error ends the run.
3. The store must prove its identity again. If there are too many differences (`Breaker`), the run
   ends, and nothing was changed.
4. Each difference is looked up once more, in the catalogue, in the ingest journal and in the store,
   and then recorded. Nothing is deleted from the store.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import TypeVar

from attrs import define, evolve, field, frozen

from traffic_storage.application.stores import Stores
from traffic_storage.application.survey import Comparison, Survey
from traffic_storage.domain.changes import ObserveReplica
from traffic_storage.domain.errors import TrafficStorageError
from traffic_storage.domain.files import ReplicaState, StoredFile
from traffic_storage.domain.identifiers import StoreId
from traffic_storage.domain.jobs import Progress
from traffic_storage.domain.quarantine import EnterQuarantine, Quarantined, QuarantineReason
from traffic_storage.domain.reconcile import (
    MIN_AGE,
    Breaker,
    Finding,
    Listed,
    Recorded,
    Tally,
    judge,
)
from traffic_storage.ports.blob_store import closing
from traffic_storage.ports.changes import Changes
from traffic_storage.ports.clock import Clock
from traffic_storage.ports.errors import BlobCorrupt, BlobMissing
from traffic_storage.ports.reconciliation import Reconciliation

logger = logging.getLogger("traffic_storage.reconcile")

Report = Callable[[Progress], None]
T = TypeVar("T")

BATCH = 500
MOST_FINDINGS = 20_000
"""How many differences one run acts on; the next run continues. This bounds the memory."""

_REPORT_EVERY = 1000
_UNRECORDED = frozenset({Finding.UNRECORDED, Finding.RETURNED})


@frozen
class Reconciled:
    """What a run has found in a store, and what it has done.

    Attributes:
        aborted: why nothing was done; empty if the run acted on its findings.
        quarantined: unrecorded blobs that got an entry in the quarantine.
        missing: replicas that were recorded as missing.
        corrupt: replicas that were recorded as corrupt, after their bytes were read.
        present: replicas that were recorded as missing before, and are verified now.
        unexplained: differences that were gone, or could not be checked, at the second look.
        remaining: differences that are left to the next run.
    """

    store_id: StoreId
    location: str
    dry_run: bool
    tally: Tally
    aborted: str = ""
    quarantined: int = 0
    missing: int = 0
    corrupt: int = 0
    present: int = 0
    unexplained: int = 0
    remaining: int = 0


@define
class _Findings:
    """The differences of one run; at most `MOST_FINDINGS` are kept, all are counted."""

    tally: Tally = field(factory=Tally)
    kept: list[tuple[Finding, Comparison]] = field(factory=list)
    remaining: int = 0

    def keep(self, finding: Finding, comparison: Comparison) -> None:
        """Keep a difference to act on."""
        if len(self.kept) < MOST_FINDINGS:
            self.kept.append((finding, comparison))
        else:
            self.remaining += 1

    def of(self, *wanted: Finding) -> list[Comparison]:
        """Return the kept differences of these kinds."""
        return [comparison for finding, comparison in self.kept if finding in wanted]


class ReconcileStore:
    """Compares one store with the catalogue. Concurrent and repeated runs do no harm."""

    def __init__(
        self,
        *,
        stores: Stores,
        catalogue: Reconciliation,
        changes: Changes,
        clock: Clock,
        breaker: Breaker,
    ) -> None:
        self._stores = stores
        self._catalogue = catalogue
        self._changes = changes
        self._clock = clock
        self._breaker = breaker

    async def __call__(
        self,
        store_id: StoreId,
        report: Report,
        *,
        dry_run: bool = False,
        override_limit: bool = False,
    ) -> Reconciled:
        """Compare a store with the catalogue; with `dry_run`, change nothing.

        With `override_limit`, the run acts whatever the number of differences is.

        Raises:
            StorageUnavailable: the store is not trusted, or its listing can't be completed; nothing
                was changed.
            CatalogueUnavailable: the database can't be reached.
        """
        await self._stores.confirm(store_id)
        findings = await self._compare(store_id, report)
        await self._stores.confirm(store_id)
        location = self._stores.blob_store(store_id).location
        found = Reconciled(
            store_id, location, dry_run, findings.tally, remaining=findings.remaining
        )
        objection = self._breaker.objection(findings.tally)
        if objection and not override_limit:
            logger.error(
                "reconciling %s was aborted and nothing was changed: %s", location, objection
            )
            return evolve(found, aborted=objection)
        if dry_run:
            return found
        return await self._act(found, findings)

    async def _compare(self, store_id: StoreId, report: Report) -> _Findings:
        before = self._clock.now() - MIN_AGE
        findings, unrecorded = _Findings(), list[tuple[Finding, Comparison]]()
        survey = Survey(store_id, self._stores, self._catalogue)
        async with closing(survey.comparisons()) as comparisons:
            async for one in comparisons:
                finding = judge(one.listed, one.recorded, before)
                findings.tally.count(one.listed, one.recorded, finding)
                if finding in _UNRECORDED:
                    unrecorded.append((finding, one))
                elif finding not in {Finding.AGREES, Finding.YOUNG}:
                    findings.keep(finding, one)
                if len(unrecorded) == BATCH:
                    await self._keep_new(store_id, unrecorded, findings)
                if findings.tally.listed % _REPORT_EVERY == 0:
                    report(Progress(findings.tally.listed, bytes=findings.tally.listed_bytes))
        await self._keep_new(store_id, unrecorded, findings)
        findings.tally.foreign = survey.foreign
        return findings

    async def _keep_new(
        self, store_id: StoreId, unrecorded: list[tuple[Finding, Comparison]], findings: _Findings
    ) -> None:
        """Keep the unrecorded blobs that have no entry in the quarantine yet; empty the list."""
        keys = [one.listed.key for _, one in unrecorded if one.listed]
        known = await self._catalogue.quarantine_entries(store_id, keys)
        findings.tally.quarantined += len(known)
        for finding, one in unrecorded:
            if one.listed is not None and one.listed.key not in known:
                findings.keep(finding, one)
        unrecorded.clear()

    async def _act(self, found: Reconciled, findings: _Findings) -> Reconciled:
        for some in in_batches(findings.of(*_UNRECORDED)):
            blobs = [one.listed for one in some if one.listed is not None]
            entered = await self._quarantine(found.store_id, blobs)
            found = evolve(
                found,
                quarantined=found.quarantined + entered,
                unexplained=found.unexplained + len(some) - entered,
            )
        for some in in_batches(findings.of(Finding.MISSING, Finding.DAMAGED, Finding.REAPPEARED)):
            replicas = [one.recorded for one in some if one.recorded is not None]
            for state in await self._look_again(found.store_id, replicas):
                found = _counted(found, state)
        return found

    async def _quarantine(self, store_id: StoreId, blobs: Sequence[Listed]) -> int:
        """Enter blobs that are still unrecorded, and that no attempt may commit."""
        now = self._clock.now()
        recorded = await self._catalogue.replicas([blob.replica_id for blob in blobs])
        tried = await self._catalogue.attempted(store_id, [blob.key for blob in blobs])
        entries = tuple(
            _entry(store_id, blob, recorded.get(blob.replica_id), now)
            for blob in blobs
            if blob.key not in tried and _is_dark(recorded.get(blob.replica_id))
        )
        for entry in entries:
            logger.warning(
                "the blob %s in %s is %s: it was entered into the quarantine",
                entry.key,
                store_id,
                entry.reason,
            )
        if entries:
            await self._changes.apply(EnterQuarantine(entries))
        return len(entries)

    async def _look_again(
        self, store_id: StoreId, replicas: Sequence[Recorded]
    ) -> Sequence[ReplicaState | None]:
        """Look replicas up in the catalogue and the store again; return the states recorded."""
        now = await self._catalogue.replicas([one.replica_id for one in replicas])
        unchanged = [one for one in replicas if now.get(one.replica_id) == one]
        files = await self._catalogue.files_by_id({one.file_id for one in unchanged})
        states: list[ReplicaState | None] = [None] * (len(replicas) - len(unchanged))
        for one in unchanged:
            file = files.get(one.file_id)
            states.append(None if file is None else await self._observe(store_id, one, file))
        return states

    async def _observe(
        self, store_id: StoreId, replica: Recorded, file: StoredFile
    ) -> ReplicaState | None:
        """Read a replica and record the state in which it is; return it if it is a new one."""
        store = self._stores.blob_store(store_id)
        missing: BlobMissing | None = None
        try:
            if replica.state is ReplicaState.PRESENT and (
                (await store.head(replica.key)).size_bytes == file.stored.size_bytes
            ):
                return None
            await store.verify(replica.key, file.stored)
            state = ReplicaState.PRESENT
        except BlobMissing as error:
            missing, state = error, ReplicaState.MISSING
        except BlobCorrupt:
            state = ReplicaState.CORRUPT
        try:
            await self._stores.confirm(store_id, missing)
            at = self._clock.now()
            change = ObserveReplica(file.file_id, replica.replica_id, state, at, _FOUND)
            is_new = await self._changes.apply(change)
        except TrafficStorageError as error:
            logger.warning("the state of %s can't be recorded: %s", replica.key, str(error))
            return None
        if is_new:
            logger.error(
                "the copy of %s in %s is %s: %s", file.file_id, store_id, state, replica.key
            )
        return state if is_new else None


_FOUND = "found by a comparison of the store with the catalogue"


def in_batches(items: Sequence[T], size: int = BATCH) -> Iterator[Sequence[T]]:
    """Yield consecutive parts of a sequence."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _is_dark(recorded: Recorded | None) -> bool:
    return recorded is None or recorded.state is ReplicaState.GONE


def _entry(
    store_id: StoreId, blob: Listed, recorded: Recorded | None, now: datetime
) -> Quarantined:
    if recorded is None:
        return Quarantined(store_id, blob.key, QuarantineReason.UNRECORDED, now, blob.size_bytes)
    return Quarantined(
        store_id, blob.key, QuarantineReason.RETURNED, now, blob.size_bytes, recorded.file_id
    )


def _counted(found: Reconciled, state: ReplicaState | None) -> Reconciled:
    match state:
        case ReplicaState.MISSING:
            return evolve(found, missing=found.missing + 1)
        case ReplicaState.CORRUPT:
            return evolve(found, corrupt=found.corrupt + 1)
        case ReplicaState.PRESENT:
            return evolve(found, present=found.present + 1)
        case _:
            return evolve(found, unexplained=found.unexplained + 1)
