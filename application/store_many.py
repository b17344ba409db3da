"""Storing many violations and files, batch by batch: while one is written, the next is prepared."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from typing import TypeAlias
from zoneinfo import ZoneInfo

from attrs import define, evolve, field, frozen

from traffic_storage.application.drafts import Draft, DraftUnit
from traffic_storage.application.inputs import ArrayImage, FileAttributes, Upload
from traffic_storage.application.prepare import Prepare
from traffic_storage.application.store_evidence import StoreEvidence
from traffic_storage.application.store_unit import StoredUnit
from traffic_storage.application.store_units import StoreUnits, UnitResult
from traffic_storage.application.tasks import OwnedTasks
from traffic_storage.domain.canonical import Json
from traffic_storage.domain.errors import InvalidInput, TrafficStorageError
from traffic_storage.domain.files import FileKind
from traffic_storage.domain.quality.assessment import ValidationMode
from traffic_storage.domain.times import instant
from traffic_storage.domain.violation import ViolationRecord
from traffic_storage.ports.concurrency import together
from traffic_storage.ports.errors import CatalogueUnavailable
from traffic_storage.ports.spool import FileBody, MemoryBody

BATCH_WEIGHT = 512
"""How much one batch may weigh: a record 1, a media file 32, and each as much more as it holds memory
and, less by far, space in the folder of received files."""
_MEDIA_WEIGHT = 32
_BYTES_A_WEIGHT = 64 * 1024
_RECEIVED_BYTES_A_WEIGHT = 1024 * 1024
_ITEMS_A_TURN = 16


@frozen
class ViolationItem:
    """A violation that is to be stored; the arguments of `StoreEvidence`."""

    record: ViolationRecord
    image: ArrayImage | Upload | None = None
    video: Upload | None = None
    video_duration_seconds: float | None = None
    historic: bool = False

    @property
    def media(self) -> Sequence[ArrayImage | Upload]:
        """Its image and its video."""
        return [one for one in (self.image, self.video) if one is not None]


@frozen
class FileItem:
    """A file that is to be stored: an image, a video, or a JSON object as metadata."""

    kind: FileKind
    content: ArrayImage | Upload | Mapping[str, Json]
    attributes: FileAttributes
    duration_seconds: float | None = None

    @property
    def media(self) -> Sequence[ArrayImage | Upload]:
        """The image or video, if it is one."""
        return [self.content] if isinstance(self.content, ArrayImage | Upload) else []

    @property
    def video(self) -> Upload | None:
        """The video, if it is one."""
        if self.kind is FileKind.VIDEO and isinstance(self.content, Upload):
            return self.content
        return None


Item: TypeAlias = ViolationItem | FileItem
Place: TypeAlias = tuple[str, datetime]
"""The device and the time of a violation."""


@frozen
class ItemOutcome:
    """What became of one item: `index` counts them from 0.

    `unit` is what was prepared, and `stored` the rows of it; `error` says why it was not stored.
    """

    index: int
    unit: DraftUnit | None = None
    stored: StoredUnit | None = None
    error: TrafficStorageError | None = None


class StoreMany:
    """Stores many items in bounded memory, many with one journal entry and one commit.

    Each item is stored as by `StoreEvidence` or `StoreFiles`: completely or not at all, and once,
    however often it is given. What an outcome says is stored is durable.
    """

    def __init__(
        self,
        *,
        prepare: Prepare,
        store_evidence: StoreEvidence,
        store_units: StoreUnits,
        tasks: OwnedTasks,
        zone: ZoneInfo,
        validation: ValidationMode,
    ) -> None:
        self._prepare = prepare
        self._store_evidence = store_evidence
        self._store_units = store_units
        self._tasks = tasks
        self._zone = zone
        self._validation = validation

    def begin(self) -> "Load":
        """Return an empty load; the caller adds items to it, and closes it."""
        return Load(self)

    async def prepared(self, item: Item, bodies: AsyncExitStack) -> DraftUnit | TrafficStorageError:
        """Return an item that is ready to be stored, or why it can't be; its bytes are on `bodies`.

        Raises:
            CatalogueUnavailable: the database can't be reached.
        """
        try:
            return await self._unit(item, bodies)
        except CatalogueUnavailable:
            raise
        except TrafficStorageError as error:
            return error

    async def received(self, item: Item, bodies: AsyncExitStack) -> Item | TrafficStorageError:
        """Return an item whose image is on `bodies`, or why it can't be read."""
        try:
            if isinstance(item, ViolationItem):
                if isinstance(item.image, Upload):
                    return evolve(item, image=await self._prepare.received(item.image, bodies))
            elif item.kind is FileKind.IMAGE and isinstance(item.content, Upload):
                return evolve(item, content=await self._prepare.received(item.content, bodies))
        except TrafficStorageError as error:
            return error
        return item

    def place_of(self, item: Item) -> Place | None:
        """Return what a violation is compared by with others that are stored before it, if it is."""
        if self._validation is ValidationMode.OFF or not isinstance(item, ViolationItem):
            return None
        try:
            return item.record.device_id, instant(item.record.timestamp, self._zone).at
        except InvalidInput:
            return None

    async def store(self, batch: "_Batch") -> Sequence[ItemOutcome]:
        """Store the prepared items of a batch; the caller may be cancelled meanwhile."""
        return await self._tasks.run(self._stored(batch))

    async def _unit(self, item: Item, bodies: AsyncExitStack) -> DraftUnit:
        if isinstance(item, ViolationItem):
            return await self._store_evidence.unit(
                item.record,
                item.image,
                item.video,
                bodies,
                video_duration_seconds=item.video_duration_seconds,
                historic=item.historic,
            )
        return DraftUnit((await self._draft(item, bodies),))

    async def _draft(self, item: FileItem, bodies: AsyncExitStack) -> Draft:
        content, attributes = item.content, item.attributes
        if isinstance(content, Mapping):
            return await self._prepare.json(content, attributes)
        if isinstance(content, Upload) and item.kind is FileKind.VIDEO:
            return await self._prepare.video(content, attributes, bodies, item.duration_seconds)
        return await self._prepare.image(content, attributes, bodies)

    async def _stored(self, batch: "_Batch") -> Sequence[ItemOutcome]:
        async with batch.bodies:
            self._tasks.check_open()
            results: dict[int, UnitResult] = {}
            for entries in _rounds(batch.entries):
                units = [unit for _, unit in entries]
                stored = await self._store_units(units)
                results |= dict(zip((number for number, _ in entries), stored, strict=True))
        return [entry.outcome(results.get(entry.index)) for entry in batch.entries]


@define
class _Entry:
    """An item of a batch, and what it is prepared to, or why it can't be stored."""

    index: int
    item: Item | None
    prepared: DraftUnit | TrafficStorageError | None = None

    def outcome(self, result: UnitResult | None) -> ItemOutcome:
        """Return what became of the item."""
        unit = self.prepared if isinstance(self.prepared, DraftUnit) else None
        error = self.prepared if isinstance(self.prepared, TrafficStorageError) else None
        if isinstance(result, StoredUnit):
            return ItemOutcome(self.index, unit, result)
        return ItemOutcome(self.index, unit, error=result or error)


@define
class _Batch:
    """Items that are stored together, and their received bytes."""

    entries: list[_Entry] = field(factory=list)
    bodies: AsyncExitStack = field(factory=AsyncExitStack)
    places: set[Place] = field(factory=set)
    weight: int = 0


class Load:
    """Takes items one by one, and returns their outcomes in the same order, some items later.

    One call at a time. After an error that a call raised, and after `aclose`, no further item is
    taken: items without an outcome may be stored or not, and a repetition finds that out.
    """

    def __init__(self, store_many: StoreMany) -> None:
        self._store_many = store_many
        self._batch = _Batch()
        self._count = 0
        self._outcomes: list[ItemOutcome] = []
        self._storing: asyncio.Task[Sequence[ItemOutcome]] | None = None
        self._places: set[Place] = set()

    async def add(self, item: Item) -> Sequence[ItemOutcome]:
        """Take the next item, and return the outcomes that are new since the last call.

        Raises:
            CatalogueUnavailable: the database can't be reached.
            StorageFull: the database has no space.
        """
        place = self._store_many.place_of(item)
        if place is not None and place in self._batch.places | self._places:
            # Validating compares it with what is stored, so what it may repeat is stored before.
            await self._next_batch()
            await self._written()
        batch, entry = self._batch, self._entered(item)
        if place is not None:
            batch.places.add(place)
        # What a path or an iterator leads to may be something else once the caller goes on.
        if not item.media or (item.video is not None and _is_elsewhere(item.video)):
            await self._prepare(entry)
        elif any(map(_is_elsewhere, item.media)):
            received = await self._store_many.received(item, batch.bodies)
            if isinstance(received, TrafficStorageError):
                entry.prepared = received
            else:
                entry.item = item = received
        if entry.prepared is None:
            batch.weight += sum(map(_weight_of, item.media))
        else:
            batch.weight += _weight(entry.prepared)
        return await self._taken()

    async def take(
        self, prepared: DraftUnit | TrafficStorageError, bodies: AsyncExitStack
    ) -> Sequence[ItemOutcome]:
        """Take an item that is ready to be stored, or why it can't be; otherwise as `add`.

        Its received bytes are on `bodies`, which this load closes.
        """
        await self._batch.bodies.enter_async_context(bodies)
        self._entered(None).prepared = prepared
        self._batch.weight += _weight(prepared)
        return await self._taken()

    async def refuse(self, error: TrafficStorageError) -> Sequence[ItemOutcome]:
        """Take an item that can't be stored for this reason; otherwise as `add`."""
        return await self.take(error, AsyncExitStack())

    def _entered(self, item: Item | None) -> _Entry:
        entry = _Entry(self._count, item)
        self._count += 1
        self._batch.entries.append(entry)
        return entry

    async def _taken(self) -> Sequence[ItemOutcome]:
        if self._batch.weight >= BATCH_WEIGHT:
            await self._next_batch()
        elif not self._count % _ITEMS_A_TURN:
            # Meanwhile the batch before is written.
            await asyncio.sleep(0)
        return self._new()

    async def finish(self) -> Sequence[ItemOutcome]:
        """Store what was taken, and return all outcomes that are left. Errors are those of `add`."""
        await self._next_batch()
        await self._written()
        return self._new()

    async def aclose(self) -> Sequence[ItemOutcome]:
        """Wait until what is being written is written, and return its outcomes; drop all other items.

        Raises nothing: if the writing failed, there are no outcomes.
        """
        async with self._batch.bodies:
            self._batch = _Batch()
        storing, self._storing = self._storing, None
        if storing is not None:
            await asyncio.wait([storing])
            if not storing.cancelled() and storing.exception() is None:
                self._outcomes += storing.result()
        return self._new()

    async def _next_batch(self) -> None:
        batch = self._batch
        await together(*(self._prepare(entry) for entry in batch.entries if not entry.prepared))
        await self._written()
        if batch.entries:
            self._batch, self._places = _Batch(), batch.places
            self._storing = asyncio.ensure_future(self._store_many.store(batch))

    def _new(self) -> Sequence[ItemOutcome]:
        """Return the outcomes that no call has returned yet."""
        new, self._outcomes = self._outcomes, []
        return new

    async def _prepare(self, entry: _Entry) -> None:
        if entry.item is not None:
            entry.prepared = await self._store_many.prepared(entry.item, self._batch.bodies)
            # What was given, which can be large, is not needed any more.
            entry.item = None

    async def _written(self) -> None:
        if self._storing is not None:
            outcomes = await asyncio.shield(self._storing)
            self._storing, self._places = None, set()
            self._outcomes += outcomes


def _weight(prepared: DraftUnit | TrafficStorageError | None) -> int:
    if not isinstance(prepared, DraftUnit):
        return 1
    return 1 + sum(_weight_of_draft(draft) for draft in prepared.drafts)


def _weight_of_draft(draft: Draft) -> int:
    media = 0 if draft.kind is FileKind.METADATA else _MEDIA_WEIGHT
    is_held = isinstance(draft.body, MemoryBody)
    return media + draft.content.size_bytes // (
        _BYTES_A_WEIGHT if is_held else _RECEIVED_BYTES_A_WEIGHT
    )


def _weight_of(media: ArrayImage | Upload) -> int:
    held = 0
    if isinstance(media, ArrayImage):
        held = media.pixels.nbytes
    elif isinstance(media.source, MemoryBody):
        held = media.source.digests.size_bytes
    elif isinstance(media.source, bytes | bytearray | memoryview):
        held = len(media.source)
    return _MEDIA_WEIGHT + held // _BYTES_A_WEIGHT


def _is_elsewhere(media: ArrayImage | Upload) -> bool:
    """Return whether the bytes of an image or a video are still to be read, by path or iterator."""
    held = (bytes, bytearray, memoryview, MemoryBody, FileBody)
    return isinstance(media, Upload) and not isinstance(media.source, held)


def _rounds(entries: Sequence[_Entry]) -> Iterator[Sequence[tuple[int, DraftUnit]]]:
    """Divide prepared items so that no two of a round have an id in common, in their order."""
    waiting = [
        (entry.index, entry.prepared) for entry in entries if isinstance(entry.prepared, DraftUnit)
    ]
    while waiting:
        now: list[tuple[int, DraftUnit]] = []
        later: list[tuple[int, DraftUnit]] = []
        taken: set[str] = set()
        for index, unit in waiting:
            ids = {draft.file_id for draft in unit.drafts}
            (later if ids & taken else now).append((index, unit))
            taken |= ids
        yield now
        waiting = later
