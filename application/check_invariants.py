"""CheckInvariants: looks for what must never happen, in a part of all files, and changes nothing.

The numbers are those of the invariants in ARCHITECTURE.md.
"""

from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from uuid import UUID

from attrs import define, field, frozen

from traffic_storage.application.stores import Stores
from traffic_storage.application.survey import Comparison, Survey
from traffic_storage.domain.digests import Digests
from traffic_storage.domain.errors import BlobCorrupt, StorageUnavailable
from traffic_storage.domain.files import BlobKey, FileState, ReplicaState, StoredFile
from traffic_storage.domain.holds import HeldFile, HeldViolation, Hold
from traffic_storage.domain.identifiers import FileId, StoreId
from traffic_storage.domain.query import FilesQuery, HoldsQuery
from traffic_storage.domain.reconcile import (
    MIN_AGE,
    Finding,
    Listed,
    Recorded,
    judge,
    replica_id_of,
)
from traffic_storage.ports.blob_store import BlobStore, closing
from traffic_storage.ports.clock import Clock, Ids
from traffic_storage.ports.errors import BlobMissing
from traffic_storage.ports.record_repo import RecordRepo

_BATCH = 100
_MOST_NAMED = 20
_MOST_CACHED = 1000
_HALF = 2**62
_KEEPING = frozenset({FileState.AVAILABLE, FileState.TOMBSTONED})


@define
class InvariantCheck:
    """What was found about one invariant.

    Attributes:
        number: its number, as `I2`.
        rule: the invariant, in words.
        looked_at: how many items were checked.
        total: how many there are; None if that is unknown.
        broken: at most 20 breaks of the invariant, in words.
        broken_count: the number of all breaks that were found.
        unknown: items that could not be checked, because their store could not be read.
        unreadable: the stores that could not be walked along, and why.
    """

    number: str
    rule: str
    looked_at: int = 0
    total: int | None = None
    broken: list[str] = field(factory=list)
    broken_count: int = 0
    unknown: int = 0
    unreadable: list[str] = field(factory=list)

    def breaks(self, what: str) -> None:
        """Note a break of the invariant."""
        self.broken_count += 1
        if len(self.broken) < _MOST_NAMED:
            self.broken.append(what)


@frozen
class CheckBudget:
    """How long the check may last, and how many bytes it may read to verify digests."""

    seconds: float = 60.0
    bytes: int = 10**9


@define
class _Checks:
    available: InvariantCheck
    present: InvariantCheck
    explained: InvariantCheck
    held: InvariantCheck
    purged: InvariantCheck
    one_key: InvariantCheck
    cached: InvariantCheck
    last: Sequence[Comparison] = ()
    """The end of the last batch: the first of the next one may concern the same replica."""

    def __iter__(self) -> Iterator[InvariantCheck]:
        found = (self.available, self.present, self.explained, self.held, self.purged)
        return iter((*found, self.one_key, self.cached))


@define
class _Walk:
    """The walk along one store: its place, when it ends, and what it may read."""

    store_id: StoreId
    ends_at: float
    bytes_left: int

    async def error_of(self, store: BlobStore, key: BlobKey, stored: Digests) -> Exception | None:
        """Return what is wrong with a blob: with its bytes, or its size if no bytes may be read."""
        try:
            if stored.size_bytes > self.bytes_left:
                size = (await store.head(key)).size_bytes
                return None if size == stored.size_bytes else BlobCorrupt(f"has {size} bytes")
            self.bytes_left -= stored.size_bytes
            await store.verify(key, stored)
        except (BlobMissing, BlobCorrupt, StorageUnavailable) as error:
            return error
        return None


class CheckInvariants:
    """Checks the invariants on the files of the stores of this process, from a random place on.

    A store is walked along in the order of its keys, beginning at a random one, until the budget is
    used up or all of it was seen. Each difference is looked up once more before it counts, so that
    what runs at the same time is no break.
    """

    def __init__(self, *, repo: RecordRepo, stores: Stores, clock: Clock, ids: Ids) -> None:
        self._repo = repo
        self._stores = stores
        self._clock = clock
        self._ids = ids

    async def __call__(self, budget: CheckBudget) -> Sequence[InvariantCheck]:
        """Check all invariants within a budget, of which each store gets an equal share.

        Raises:
            CatalogueUnavailable: the database can't be reached.
        """
        checks = _Checks(
            InvariantCheck("I1", "an available file has a present copy in a durable store"),
            InvariantCheck("I2", "a present copy exists with the recorded size and digest"),
            InvariantCheck("I3", "a blob belongs to a copy, a store operation or the quarantine"),
            InvariantCheck("I4", "a held file is neither being purged nor purged"),
            InvariantCheck("I5", "a purged file has a destruction certificate"),
            InvariantCheck("I7", "a replica has one key, so that no key ever holds two contents"),
            InvariantCheck("I8", "no available file is in a cache alone"),
        )
        usage = await self._repo.usage()
        checks.available.total = sum(row.files for row in usage.files)
        checks.present.total = sum(row.replicas for row in usage.stores)
        await self._check_holds(checks.held)
        await self._check_purged(checks.purged)
        ids = [bound.store_id for bound in self._stores if bound.store_id is not None]
        for store_id in ids:
            ends_at = self._clock.monotonic() + budget.seconds / len(ids)
            await self._check_store(_Walk(store_id, ends_at, budget.bytes // len(ids)), checks)
            await self._check_cached(store_id, checks.cached)
        return list(checks)

    async def _check_store(self, walk: _Walk, checks: _Checks) -> None:
        try:
            await self._stores.confirm(walk.store_id)
            first = await self._random_place(walk.store_id)
            async with closing(self._batches(walk, first)) as batches:
                async for batch in batches:
                    await self._check_batch(walk, batch, checks)
                    if self._clock.monotonic() >= walk.ends_at:
                        return
        except StorageUnavailable as error:
            checks.present.unreadable.append(f"{walk.store_id}: {error.message}")

    async def _random_place(self, store_id: StoreId) -> UUID | None:
        """Return a replica id between the oldest one in the catalogue and now; None without any."""
        page = await self._repo.recorded(store_id, None, _BATCH)
        if not page.items:
            return None
        low, now = page.items[0].replica_id.int, self._ids.uuid7().int
        # The low half of a UUIDv7 is random.
        share = (now % _HALF) / _HALF
        return UUID(int=low + int(share * max(0, now - low)))

    async def _batches(
        self, walk: _Walk, first: UUID | None
    ) -> AsyncGenerator[Sequence[Comparison], None]:
        """Yield all comparisons of a store: those behind `first`, then those up to it."""
        for after, last in ((first, None), (None, first)):
            batch: list[Comparison] = []
            survey = Survey(walk.store_id, self._stores, self._repo)
            async with closing(survey.comparisons(after)) as comparisons:
                async for one in comparisons:
                    if last is not None and one.replica_id > last:
                        break
                    batch.append(one)
                    if len(batch) == _BATCH:
                        yield batch
                        batch = []
            if batch:
                yield batch
            if first is None:
                return

    async def _check_batch(self, walk: _Walk, batch: Sequence[Comparison], checks: _Checks) -> None:
        recorded = [one.recorded for one in batch if one.recorded is not None]
        files = await self._repo.files_by_id({one.file_id for one in recorded})
        for file in files.values():
            if file.state is FileState.AVAILABLE:
                checks.available.looked_at += 1
                if not file.readable and await self._has_no_copy(file):
                    checks.available.breaks(f"{file.file_id} has no present copy")
        _check_keys((*checks.last, *batch), checks.one_key)
        checks.one_key.looked_at += len(batch)
        checks.last = batch[-1:]
        await self._check_listed(walk, batch, checks.explained)
        await self._check_present(walk, recorded, files, checks.present)

    async def _check_listed(
        self, walk: _Walk, batch: Sequence[Comparison], check: InvariantCheck
    ) -> None:
        before = self._clock.now() - MIN_AGE
        dark = [one.listed for one in batch if one.listed and _is_dark(one, before)]
        check.looked_at += sum(one.listed is not None for one in batch)
        for blob in await self._unexplained(walk.store_id, dark):
            check.breaks(f"nothing explains {blob.key} in {walk.store_id}")

    async def _check_present(
        self,
        walk: _Walk,
        recorded: Sequence[Recorded],
        files: Mapping[FileId, StoredFile],
        check: InvariantCheck,
    ) -> None:
        store = self._stores.blob_store(walk.store_id).uncached
        for one in recorded:
            owner = files.get(one.file_id)
            if one.state is not ReplicaState.PRESENT or owner is None:
                continue
            if owner.state not in _KEEPING:
                continue
            check.looked_at += 1
            error = await walk.error_of(store, one.key, owner.stored)
            if isinstance(error, StorageUnavailable):
                check.unknown += 1
            elif error is not None and await self._is_still(one):
                check.breaks(f"{one.file_id} in {walk.store_id}: {error}")

    async def _check_cached(self, store_id: StoreId, check: InvariantCheck) -> None:
        """Check the files of the copies that a cache in front of the store has."""
        keys = await self._stores.blob_store(store_id).cached_keys()
        check.total = (check.total or 0) + len(keys)
        first = self._ids.uuid7().int % _HALF % max(1, len(keys) - _MOST_CACHED + 1)
        seen = keys[first : first + _MOST_CACHED]
        for begin in range(0, len(seen), _BATCH):
            part = seen[begin : begin + _BATCH]
            check.looked_at += len(part)
            recorded = await self._repo.replicas([replica_id_of(key) for key in part])
            files = await self._repo.files_by_id({one.file_id for one in recorded.values()})
            for file in files.values():
                if not file.readable and await self._has_no_copy(file):
                    check.breaks(f"{file.file_id} is in the cache of {store_id} alone")

    async def _has_no_copy(self, file: StoredFile) -> bool:
        now = await self._repo.file(file.file_id)
        return now is not None and now.state is FileState.AVAILABLE and not now.readable

    async def _is_still(self, replica: Recorded) -> bool:
        now = await self._repo.replicas([replica.replica_id])
        return now.get(replica.replica_id) == replica

    async def _unexplained(self, store_id: StoreId, dark: Sequence[Listed]) -> Sequence[Listed]:
        if not dark:
            return ()
        keys = [blob.key for blob in dark]
        known = await self._repo.quarantine_entries(store_id, keys)
        tried = await self._repo.attempted(store_id, keys)
        recorded = await self._repo.replicas([blob.replica_id for blob in dark])
        return [
            blob
            for blob in dark
            if blob.key not in known and blob.key not in tried and blob.replica_id not in recorded
        ]

    async def _check_holds(self, check: InvariantCheck) -> None:
        """Check the files of active holds: on a file, on a violation, and in a range of a device."""
        page = await self._repo.holds(HoldsQuery(self._clock.now(), limit=1000))
        check.total = None if page.next else len(page.items)
        for hold in page.items:
            check.looked_at += 1
            for file in await self._purged_of(hold):
                if (file.state_at or file.created_at) <= hold.placed_at:
                    continue
                if await self._may_have_begun_by(hold.placed_at, file):
                    check.unknown += 1
                else:
                    check.breaks(f"{file.file_id} is {file.state}, but held by {hold.hold_id}")

    async def _may_have_begun_by(self, at: datetime, file: StoredFile) -> bool:
        """Return whether the purge of a file that was purged later may have begun at `at` or before.

        A hold does not stop a purge that has begun. Of a purged file only its end is recorded; it
        began when the grace had ended, or later.
        """
        if file.state is not FileState.PURGED:
            return False
        deletion = (await self._repo.deletions([file.file_id])).get(file.file_id)
        return deletion is not None and deletion.purge_after <= at

    async def _purged_of(self, hold: Hold) -> Sequence[StoredFile]:
        match hold.scope:
            case HeldFile(file_id):
                named = await self._repo.file(file_id)
                files: Sequence[StoredFile] = () if named is None else (named,)
            case HeldViolation(violation_id):
                files = await self._repo.files_of(violation_id)
            case scope:
                queries = [
                    FilesQuery(device_id=scope.device_id, kind=scope.kind, state=state, limit=1000)
                    for state in (FileState.PURGING, FileState.PURGED)
                ]
                pages = [await self._repo.files(query) for query in queries]
                at = self._clock.now()
                files = [
                    file
                    for page in pages
                    for file in page.items
                    if hold in await self._repo.holds_on(file.file_id, at)
                ]
        return [file for file in files if file.state in {FileState.PURGING, FileState.PURGED}]

    async def _check_purged(self, check: InvariantCheck) -> None:
        page = await self._repo.files(FilesQuery(state=FileState.PURGED, limit=100))
        for file in page.items:
            check.looked_at += 1
            if await self._repo.certificate(file.file_id) is None:
                check.breaks(f"{file.file_id} is purged without a certificate")


def _check_keys(batch: Sequence[Comparison], check: InvariantCheck) -> None:
    """Check that a replica was listed and recorded under one key: the two are neighbours then."""
    for one, following in pairwise(batch):
        if one.replica_id == following.replica_id:
            check.breaks(f"the replica {one.replica_id} has two keys")


def _is_dark(one: Comparison, before: datetime) -> bool:
    finding = judge(one.listed, one.recorded, before)
    return finding in {Finding.UNRECORDED, Finding.RETURNED}
