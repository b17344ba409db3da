"""Processes that introduce incarnations in any interleaving, and die at any step of it."""

import inspect
from collections.abc import Coroutine, Generator
from datetime import timedelta
from types import coroutine
from typing import Any, cast
from uuid import UUID

from attrs import define
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from traffic_storage.adapters.blob_store.memory import InMemoryBlobStore
from traffic_storage.adapters.clock.manual import ManualClock
from traffic_storage.adapters.record_repo.memory import InMemoryRecordRepo
from traffic_storage.application.stores.directory import (
    BoundStore,
    ConfiguredStore,
    Identity,
    StoreLimits,
)
from traffic_storage.application.stores.identity import Identities
from traffic_storage.domain.identifiers import StoreId
from traffic_storage.entrypoints.testing.containers import NOON
from traffic_storage.ports.clock import Ids

MOST_PROCESSES = 4
MOST_FOLDERS = 3
MOST_STEPS = 2000


@coroutine
def _pause() -> Generator[None, None, None]:
    yield


class Stepwise:
    """A port each of whose calls stops before and after its work: there the process may die."""

    def __init__(self, port: object) -> None:
        self._port = port

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        if not inspect.iscoroutinefunction(found):
            return found

        async def called(*args: object, **kwargs: object) -> Any:
            await _pause()
            result = await found(*args, **kwargs)
            await _pause()
            return result

        return called


class CountedIds(Ids):
    """Ids in order."""

    def __init__(self) -> None:
        self._made = 0

    def uuid7(self) -> UUID:
        self._made += 1
        return UUID(int=self._made)


@define(eq=False)
class Process:
    """A process with one store, and what it is about to do."""

    identities: Identities
    bound: BoundStore
    running: Coroutine[None, None, Identity] | None = None

    def begin(self) -> None:
        """Begin to identify the store, unless that is under way."""
        self.running = self.running or self.identities.identify(self.bound, ())

    def step(self) -> bool:
        """Go on to the next call of a port; whether the identification ended with it."""
        if self.running is None:
            return False
        try:
            self.running.send(None)
        except StopIteration as ended:
            self.bound.identity = ended.value
            self.running = None
            return True
        return False

    def run(self) -> Identity:
        """Identify the store while no other process does anything."""
        self.begin()
        while not self.step():
            pass
        return self.bound.identity

    def die(self) -> None:
        """End here: what was done stays done."""
        if self.running is not None:
            self.running.close()


class IdentityMachine(RuleBasedStateMachine):
    """One catalogue, one store, and what may become of them."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock(NOON)
        self.ids = CountedIds()
        self.repo = InMemoryRecordRepo()
        self.folders = [InMemoryBlobStore(self.clock, location="/blobs")]
        self.processes: list[Process] = []
        self.is_tampered = False

    def _process(self, folder: InMemoryBlobStore) -> Process:
        identities = Identities(cast("Any", Stepwise(self.repo)), self.repo, self.clock, self.ids)
        configured = ConfiguredStore(cast("Any", Stepwise(folder)), StoreLimits())
        return Process(identities, BoundStore(configured))

    @precondition(lambda self: len(self.processes) < MOST_PROCESSES)
    @rule(data=st.data())
    def start(self, data: st.DataObject) -> None:
        """A process starts on one of the folders."""
        process = self._process(data.draw(st.sampled_from(self.folders)))
        process.begin()
        self.processes.append(process)

    @precondition(lambda self: self.processes)
    @rule(data=st.data(), steps=st.integers(1, 12))
    def go_on(self, data: st.DataObject, steps: int) -> None:
        """A process takes some steps."""
        process = data.draw(st.sampled_from(self.processes))
        for _ in range(steps):
            if process.step():
                self._check(process)

    @precondition(lambda self: self.processes)
    @rule(data=st.data())
    def sweep(self, data: st.DataObject) -> None:
        """A process begins to look again."""
        data.draw(st.sampled_from(self.processes)).begin()

    @precondition(lambda self: self.processes)
    @rule(data=st.data())
    def die(self, data: st.DataObject) -> None:
        """A process dies where it is."""
        process = data.draw(st.sampled_from(self.processes))
        process.die()
        self.processes.remove(process)

    @rule(minutes=st.sampled_from([1, 59, 61]))
    def wait(self, minutes: int) -> None:
        """Time passes."""
        self.clock.advance(timedelta(minutes=minutes))

    @precondition(lambda self: len(self.folders) < MOST_FOLDERS and self.folders[0]._marker)
    @rule(data=st.data())
    def copy(self, data: st.DataObject) -> None:
        """A folder is copied."""
        source = data.draw(st.sampled_from(self.folders))
        copy = InMemoryBlobStore(self.clock, location=f"/copy-{len(self.folders)}")
        copy._marker = source._marker
        self.folders.append(copy)
        self.is_tampered = True

    @rule(data=st.data())
    def start_undisturbed(self, data: st.DataObject) -> None:
        """From a whole start on, the catalogue means this folder and no copy of it."""
        folder = data.draw(st.sampled_from(self.folders))
        identity = self._process(folder).run()
        if not self.is_tampered:
            assert identity.untrusted_reason == ""
        if identity.untrusted_reason == "":
            assert self._doubt(folder) == ""
            others = [other for other in self.folders if other is not folder]
            assert all("disagree" in self._doubt(other) for other in others)

    @precondition(lambda self: self.folders[0]._marker)
    @rule(data=st.data())
    def restore_an_old_catalogue(self, data: st.DataObject) -> None:
        """What a start has introduced since the backup gives the old catalogue away."""
        folder = data.draw(st.sampled_from(self.folders))
        backup = dict(self.repo._stores)
        if self._process(folder).run().untrusted_reason:
            return
        self.repo._stores = backup
        self.is_tampered = True
        assert "disagree" in self._doubt(folder)
        assert "disagree" in self._process(folder).run().untrusted_reason

    @rule(data=st.data())
    def adopt(self, data: st.DataObject) -> None:
        """An operator says which folder is the store."""
        folder = data.draw(st.sampled_from(self.folders))
        if folder._marker is None:
            return
        _finished(
            self._process(folder).identities.adopt(
                BoundStore(ConfiguredStore(folder, StoreLimits()))
            )
        )
        assert self._doubt(folder) == ""

    @invariant()
    def store_and_catalogue_agree(self) -> None:
        """At each moment, whoever may have died before it; unless somebody meddled."""
        marker = self.folders[0]._marker
        if marker is not None and not self.is_tampered:
            assert self.repo._stores[marker.store_id].admits(marker)

    def teardown(self) -> None:
        """All die."""
        for process in self.processes:
            process.die()

    def _check(self, process: Process) -> None:
        """Nobody is in doubt for what other processes of the same catalogue do."""
        if self.is_tampered:
            return
        marker = self.folders[0]._marker
        assert marker is not None
        assert process.bound.identity == Identity(StoreId(marker.store_id), "")

    def _doubt(self, folder: InMemoryBlobStore) -> str:
        return cast("str", _finished(self._process(folder).identities.doubt(folder)))


def _finished(work: Coroutine[None, None, Any]) -> object:
    for _ in range(MOST_STEPS):
        try:
            work.send(None)
        except StopIteration as ended:
            return ended.value
    raise AssertionError("it never ends")


IdentityMachine.TestCase.settings = settings(
    max_examples=100, stateful_step_count=30, deadline=None
)
TestIdentityMachine = IdentityMachine.TestCase
