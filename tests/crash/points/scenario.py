"""What a scenario is: a state, an operation that is killed, and what must hold afterwards."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, ClassVar

from tests.crash.faults import Point
from tests.crash.points.place import Place, Setup, repo_of
from tests.support.jobs import do_jobs
from tests.support.media import shipped_jpeg
from traffic_storage import StorageService, StorageStrategy
from traffic_storage.domain.changes import Change
from traffic_storage.domain.files import BlobKey, Replica, StoredFile, blob_key
from traffic_storage.domain.identifiers import StoreId
from traffic_storage.domain.jobs import JobKind, NewJob
from traffic_storage.entrypoints.container import Container
from traffic_storage.entrypoints.testing.blobs import NEVER
from traffic_storage.ports.errors import CatalogueUnavailable
from traffic_storage.ports.spool import MemoryBody

ALONE: Mapping[Setup, StorageStrategy] = {
    "embedded": StorageStrategy.LOCAL_ONLY,
    "full": StorageStrategy.CLOUD_ONLY,
}
"""One store: the folder, or the bucket."""
BOTH: Mapping[Setup, StorageStrategy] = dict.fromkeys(ALONE, StorageStrategy.HYBRID)
WHY = "a test"


class Scenario:
    """One kind of operation: how it is prepared, run, completed after a crash, and judged.

    `prepare` and all after the crash happen in the process that kills; `arrange` and `act` in the
    one that is killed, in a service that was started. The fault points are in `act` only, or with
    `from_start` in the start of the service too.

    Attributes:
        kinds: the kinds of jobs that are done to their end.
        later: by how much the clock of the killed process is ahead.
        settings: further settings of the killed process and of those after it.
        by_hand: whether a restart alone makes nothing whole, because `prepare` has damaged it.
        tested: the point at which the tests kill.
    """

    name: ClassVar[str]
    kinds: ClassVar[Sequence[JobKind]] = ()
    strategies: ClassVar[Mapping[Setup, StorageStrategy]] = ALONE
    later: ClassVar[timedelta] = timedelta()
    settings: ClassVar[Mapping[str, Any]] = {}
    from_start: ClassVar[bool] = False
    by_hand: ClassVar[bool] = False
    tested: ClassVar[Point] = Point("finish", "before")

    def strategy(self, setup: Setup) -> StorageStrategy:
        """The strategy of the killed process."""
        return self.strategies[setup]

    async def prepare(self, place: Place) -> None:
        """Make the state."""

    async def arrange(self, container: Container, notes: Mapping[str, Any]) -> None:
        """Make what only the process that is killed can make."""

    async def act(self, container: Container, notes: Mapping[str, Any]) -> None:
        """Run the operation."""
        await do_jobs(container)

    async def complete(self, container: Container, place: Place) -> list[str]:
        """Do what is left to do after the crash; what could not be done."""
        return await place.resume(container)

    async def check(self, container: Container, place: Place) -> list[str]:
        """What is not as if nothing had been killed."""
        return []


def unless(right: bool, wrong: str) -> list[str]:
    """The finding `wrong`, unless it is right."""
    return [] if right else [wrong]


def image(number: int) -> bytes:
    """An image that no other number gives."""
    return shipped_jpeg() + number.to_bytes(2)


def written_store(container: Container) -> StoreId:
    """The first store that the strategy writes."""
    ids = [one.store_id for one in container.stores() if one.configured.written and one.store_id]
    return ids[0]


async def enqueue(container: Container, kind: JobKind, **arguments: Any) -> None:
    """Write a job; one with a `store_id` needs that store."""
    store = arguments.get("store_id")
    job = NewJob(container.ids().uuid7(), kind, arguments, store_id=store)
    await repo_of(container).enqueue([job])


async def events(place: Place, *kinds: str) -> list[str]:
    """The kinds of all events, or of those of these kinds, in their order."""
    rows = await place.query("SELECT kind FROM event ORDER BY sequence")
    return [kind for (kind,) in rows if not kinds or kind in kinds]


async def state_of(place: Place, file_id: str) -> str | None:
    """The state of a file."""
    rows = await place.query(f"SELECT state FROM file WHERE file_id = '{file_id}'")
    return rows[0][0] if rows else None


async def leave_attempt(container: Container, name: str) -> None:
    """Leave an attempt whose blob is published and whose row is not, as a crash does."""
    repo = repo_of(container)
    original: Callable[[Change], Awaitable[bool]] = repo.apply

    async def away(_change: Change) -> bool:
        raise CatalogueUnavailable("away")

    repo.apply = away  # type: ignore[method-assign,assignment]
    with suppress(CatalogueUnavailable):
        await StorageService(container=container).store_image(image(0), name)
    repo.apply = original  # type: ignore[method-assign,assignment]


async def double(container: Container, file: StoredFile) -> BlobKey:
    """Write the bytes of a file once more into its store, under a key that no row has."""
    replica: Replica = file.readable[0]
    store = container.stores().trusted(replica.store_id)
    manifest = (await store.head(replica.key)).manifest
    assert manifest is not None
    data = await store.read(replica.key, file.stored)
    key = blob_key(file.kind, container.ids().uuid7(), file.stored.sha256)
    await store.put(key, MemoryBody(data, file.stored), manifest, deadline=NEVER)
    return key


async def all_told(container: Container, place: Place) -> None:
    """Wait until the outbox returns all events."""
    ((count,),) = await place.query("SELECT count(*) FROM event")
    await outbox_returns(container, count)


async def outbox_returns(container: Container, count: int) -> None:
    """Wait until the outbox returns so many events; other transactions on the server delay them."""
    async with asyncio.timeout(60):
        while len(await repo_of(container).events(0, count)) < count:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.05)
