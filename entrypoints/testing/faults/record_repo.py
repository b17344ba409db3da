"""A catalogue that fails on purpose, before or after it has done its work."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime
from typing import Any, TypeVar

from attrs import frozen

from traffic_storage.domain.files import BlobKey, ReplicaState, StoredFile, Tier
from traffic_storage.domain.identifiers import (
    AttemptId,
    CatalogueId,
    FileId,
    StoreId,
    ViolationId,
)
from traffic_storage.domain.identity import EnrolledStore
from traffic_storage.domain.query import Page, ViolationQuery
from traffic_storage.domain.unit import Attempt, CatalogueUsage, Holdings, Names, Unit
from traffic_storage.domain.violation import StoredViolation
from traffic_storage.entrypoints.testing.faults.blob_store import When
from traffic_storage.ports.errors import CatalogueUnavailable
from traffic_storage.ports.record_repo import RecordRepo

T = TypeVar("T")


@frozen
class RecordFault:
    """What happens to some calls of one method.

    Attributes:
        method: a method of the port, as `commit`.
        error: makes the error that the call ends with; None: it only waits for `gate`.
        nth: the first of the calls that it happens to, counted from the time it was planned.
        times: to how many calls in a row; None: to all from then on.
        when: whether the inner catalogue did its work before the error. A commit that fails
            afterwards is visible: make it fail with `OutcomeUnknown`.
        gate: waited for before anything else is done.
    """

    method: str
    error: Callable[[], Exception] | None = lambda: CatalogueUnavailable("failed on purpose")
    nth: int = 1
    times: int | None = 1
    when: When = When.BEFORE
    gate: asyncio.Event | None = None


class FailingRecordRepo(RecordRepo):
    """`inner` with failures where they are planned; everything else is the inner one's answer.

    `FailingRecordRepo(inner, after=2)` fails every call after the first two.
    """

    def __init__(self, inner: RecordRepo, *, after: int | None = None) -> None:
        self.inner = inner
        self.calls: Counter[str] = Counter()
        """How often each method was called."""
        self._down = ""
        self._left = after
        self._plans: list[_Plan] = []

    def plan(self, *faults: RecordFault) -> None:
        """Add faults; where several meet, the oldest counts."""
        self._plans += [_Plan(fault) for fault in faults]

    def go_down(self, obstacle: str = "taken down on purpose") -> None:
        """From now on every call fails."""
        self._down = obstacle

    def come_back(self) -> None:
        """Undo `go_down`, and forget what was planned."""
        self._down = ""
        self._left = None
        self._plans.clear()

    async def begin(self, attempt: Attempt, names: Names) -> Holdings:
        return await self._do("begin", lambda: self.inner.begin(attempt, names))

    async def commit(self, attempt: AttemptId, unit: Unit) -> None:
        await self._do("commit", lambda: self.inner.commit(attempt, unit))

    async def condemn(self, now: datetime, limit: int = 100) -> Sequence[Attempt]:
        return await self._do("condemn", lambda: self.inner.condemn(now, limit))

    async def forget(self, attempt: AttemptId) -> None:
        await self._do("forget", lambda: self.inner.forget(attempt))

    async def file(self, file_id: FileId) -> StoredFile | None:
        return await self._do("file", lambda: self.inner.file(file_id))

    async def files_of(self, violation_id: ViolationId) -> Sequence[StoredFile]:
        return await self._do("files_of", lambda: self.inner.files_of(violation_id))

    async def violation(self, violation_id: ViolationId) -> StoredViolation | None:
        return await self._do("violation", lambda: self.inner.violation(violation_id))

    async def violations(self, query: ViolationQuery) -> Page[StoredViolation]:
        return await self._do("violations", lambda: self.inner.violations(query))

    async def usage(self) -> CatalogueUsage:
        return await self._do("usage", self.inner.usage)

    async def mark(
        self,
        file_id: FileId,
        store_id: StoreId,
        key: BlobKey,
        state: ReplicaState,
        at: datetime,
    ) -> bool:
        return await self._do("mark", lambda: self.inner.mark(file_id, store_id, key, state, at))

    async def catalogue_id(self) -> CatalogueId:
        return await self._do("catalogue_id", self.inner.catalogue_id)

    async def enrol(self, location: str, tier: Tier, proposed: StoreId) -> EnrolledStore:
        return await self._do("enrol", lambda: self.inner.enrol(location, tier, proposed))

    async def enrolled(self, store_id: StoreId) -> EnrolledStore | None:
        return await self._do("enrolled", lambda: self.inner.enrolled(store_id))

    async def relocate(self, store_id: StoreId, location: str) -> None:
        await self._do("relocate", lambda: self.inner.relocate(store_id, location))

    async def note_marked(self, store_id: StoreId) -> None:
        await self._do("note_marked", lambda: self.inner.note_marked(store_id))

    async def upgrade(self) -> None:
        await self._do("upgrade", self.inner.upgrade)

    async def pending(self) -> Sequence[str]:
        return await self._do("pending", self.inner.pending)

    async def ping(self) -> None:
        await self._do("ping", self.inner.ping)

    async def aclose(self) -> None:
        await self.inner.aclose()

    async def _do(self, method: str, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        self.calls[method] += 1
        fault = self._fault(method)
        if fault and fault.gate:
            await fault.gate.wait()
        if fault and fault.error and fault.when is When.BEFORE:
            raise fault.error()
        found = await call()
        if fault and fault.error:
            raise fault.error()
        return found

    def _fault(self, method: str) -> RecordFault | None:
        taking = [plan.fault for plan in self._plans if plan.takes(method)]
        if self._down:
            raise CatalogueUnavailable(self._down)
        if self._left is not None:
            if self._left == 0:
                raise CatalogueUnavailable("failed on purpose")
            self._left -= 1
        return taking[0] if taking else None


class _Plan:
    """A fault and how many calls it has seen."""

    def __init__(self, fault: RecordFault) -> None:
        self.fault = fault
        self._seen = 0

    def takes(self, method: str) -> bool:
        if method != self.fault.method:
            return False
        self._seen += 1
        past = self._seen - self.fault.nth
        return past >= 0 and (self.fault.times is None or past < self.fault.times)
