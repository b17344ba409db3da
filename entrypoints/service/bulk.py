"""`store_many`: the part of `StorageService` for storing very many violations and files."""

from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Generator,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import suppress
from datetime import datetime
from typing import Any, TypeAlias, cast

from attrs import evolve, field, fields, frozen

from traffic_storage.application.inputs import FileAttributes, Upload
from traffic_storage.application.store_many import (
    FileItem,
    Item,
    ItemOutcome,
    Load,
    ViolationItem,
)
from traffic_storage.domain.canonical import Json, json_copy
from traffic_storage.domain.encoding import Encoding
from traffic_storage.domain.errors import FieldProblem, InvalidInput, TrafficStorageError
from traffic_storage.domain.files import FileKind
from traffic_storage.domain.image_layout import ChannelOrder
from traffic_storage.domain.violation import ViolationRecord
from traffic_storage.entrypoints.service.arguments import (
    Given,
    LeftOut,
    check_type,
    declared,
    flag,
    image_of,
    name_of,
    upload_of,
    word_of,
)
from traffic_storage.entrypoints.service.blocking import LoopUnusable, OwnLoop
from traffic_storage.entrypoints.service.deletions import ACTOR
from traffic_storage.entrypoints.service.parts import Parts
from traffic_storage.entrypoints.views import StoredFileView, file_view

_RECORDS_A_CALL = 32


@frozen
class NewViolation:
    """A violation with its files, for `store_many`.

    The fields are the arguments of `StorageService.store_violation_evidence`.
    """

    violation_record: ViolationRecord
    image: Given | LeftOut = field(default=LeftOut.IT, repr=False, eq=False)
    video_segment: Given | None = field(default=None, repr=False, eq=False)
    channel_order: ChannelOrder | str = field(default=ChannelOrder.RGB, kw_only=True)
    encoding: Encoding | None = field(default=None, kw_only=True)
    duration_seconds: float | None = field(default=None, kw_only=True)
    historic: bool = field(default=False, kw_only=True)
    accept_damaged_video: bool = field(default=False, kw_only=True)


@frozen
class NewFile:
    """A file of a kind ("image", "video", "metadata"), for `store_many`.

    The fields are the arguments of `store_image`, `store_video_segment` and `store_metadata`; the
    `content` of metadata is a mapping.
    """

    kind: FileKind | str
    content: Given | Mapping[str, Json] = field(repr=False, eq=False)
    file_id: str | None = None
    metadata: Mapping[str, Json | datetime] | None = None
    channel_order: ChannelOrder | str = field(default=ChannelOrder.RGB, kw_only=True)
    encoding: Encoding | None = field(default=None, kw_only=True)
    content_type: str | None = field(default=None, kw_only=True)
    sha256: str | None = field(default=None, kw_only=True)
    duration_seconds: float | None = field(default=None, kw_only=True)
    historic: bool = field(default=False, kw_only=True)
    filename: str | None = field(default=None, kw_only=True)
    accept_damaged_video: bool = field(default=False, kw_only=True)


NewItem: TypeAlias = ViolationRecord | NewViolation | NewFile
"""What `store_many` takes; a record alone is a violation without image and video."""


@frozen
class ItemResult:
    """What became of one item that was given to `store_many`.

    Attributes:
        index: the number of the item, from 0.
        item: the item as it was given.
        created: whether something was stored by this call; False also if all was stored before, and
            this call has only added labels (`labels_added` in `files`).
        error: why it was not stored, and nothing of it is; None if it is stored, durably.
    """

    index: int
    item: NewItem
    created: bool
    error: TrafficStorageError | None
    _outcome: ItemOutcome = field(repr=False)

    @property
    def files(self) -> dict[str, StoredFileView]:
        """The metadata of the stored files, by kind; empty if the item was refused."""
        unit, stored = self._outcome.unit, self._outcome.stored
        if unit is None or stored is None:
            return {}
        return {
            draft.kind.value: file_view(
                stored.files[draft.file_id], stored.labels_added.get(draft.file_id, ())
            )
            for draft in unit.drafts
        }


class BulkLoad:
    """Takes items and gives their results, in the same order. One call at a time."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._load: Load | None = None
        self._pending: deque[NewItem] = deque()

    async def add(self, items: Iterable[NewItem]) -> list[ItemResult]:
        """Take items; return the results that are new."""
        load = await self._started()
        outcomes: list[ItemOutcome] = []
        for item in items:
            self._pending.append(item)
            try:
                given = self._item(item)
            except TrafficStorageError as error:
                outcomes += await load.refuse(error)
            else:
                outcomes += await load.add(given)
        return self._results(outcomes)

    async def finish(self) -> list[ItemResult]:
        """Store what was taken; return all results that are left."""
        return self._results(await (await self._started()).finish())

    async def aclose(self) -> None:
        """Wait for what is being written; the items without a result may be stored or not."""
        if self._load is not None:
            await self._load.aclose()

    async def _started(self) -> Load:
        if self._load is None:
            self._load = (await self._parts.started()).store_many().begin()
        return self._load

    def _results(self, outcomes: Sequence[ItemOutcome]) -> list[ItemResult]:
        return [
            ItemResult(
                one.index,
                self._pending.popleft(),
                one.stored is not None and one.stored.created,
                one.error,
                one,
            )
            for one in outcomes
        ]

    def _item(self, item: NewItem) -> Item:
        if isinstance(item, ViolationRecord):
            return ViolationItem(item)
        if isinstance(item, NewViolation):
            return self._violation(item)
        if isinstance(item, NewFile):
            return self._file(item)
        raise InvalidInput.of(
            "item",
            f"is a {type(item).__name__}",
            "give a ViolationRecord, a NewViolation or a NewFile",
        )

    def _violation(self, item: NewViolation) -> ViolationItem:
        check_type("violation_record", item.violation_record, ViolationRecord)
        pixels = self._parts.settings.max_pixels
        image = video = None
        if item.image is not LeftOut.IT:
            image = image_of(item.image, item.channel_order, item.encoding, pixels)
            image = _readable(image) if isinstance(image, Upload) else image
        damaged = flag("accept_damaged_video", item.accept_damaged_video)
        if item.video_segment is not None:
            video = upload_of(item.video_segment, "video")
            video = _readable(evolve(video, accept_damaged_video=damaged))
        return ViolationItem(
            item.violation_record,
            image,
            video,
            item.duration_seconds,
            flag("historic", item.historic),
        )

    def _file(self, item: NewFile) -> FileItem:
        kind = word_of("kind", item.kind, FileKind)
        _check_used(item, kind)
        attributes = FileAttributes.of(
            file_id=item.file_id,
            metadata=item.metadata,
            historic=flag("historic", item.historic),
            original_name=name_of(item.content, item.filename),
            given_by=ACTOR,
        )
        if kind is FileKind.METADATA:
            check_type("content", item.content, Mapping)
            held = cast("Mapping[str, Json]", json_copy(item.content))
            return FileItem(kind, held, attributes)
        content = cast("Given", item.content)
        if kind is FileKind.IMAGE:
            pixels = self._parts.settings.max_pixels
            image = image_of(content, item.channel_order, item.encoding, pixels)
            if isinstance(image, Upload):
                image = _readable(declared(image, item.content_type, item.sha256))
            return FileItem(kind, image, attributes)
        video = declared(upload_of(content, "video"), item.content_type, item.sha256)
        damaged = flag("accept_damaged_video", item.accept_damaged_video)
        video = _readable(evolve(video, accept_damaged_video=damaged))
        return FileItem(kind, video, attributes, item.duration_seconds)


_OF_IMAGES = {"channel_order", "encoding", "content_type", "sha256"}
_OF_VIDEOS = {"content_type", "sha256", "duration_seconds", "accept_damaged_video"}
_USED: Mapping[FileKind, set[str]] = {FileKind.IMAGE: _OF_IMAGES, FileKind.VIDEO: _OF_VIDEOS}


def _check_used(item: NewFile, kind: FileKind) -> None:
    """Check that an item has no argument that its kind does not have.

    Raises:
        InvalidInput: it has some; each is named.
    """
    unused = (_OF_IMAGES | _OF_VIDEOS) - _USED.get(kind, set())
    defaults = {one.name: one.default for one in fields(NewFile)}
    if problems := [
        FieldProblem(name, f"does not apply to {kind}", "leave it out")
        for name in sorted(unused)
        if getattr(item, name) != defaults[name]
    ]:
        raise InvalidInput(problems)


def _readable(upload: Upload) -> Upload:
    """Return an upload of which an iterator that fails makes its item fail, not the whole load."""
    source = upload.source
    if not isinstance(source, AsyncIterable):
        return upload

    async def read() -> AsyncIterator[bytes]:
        try:
            async for chunk in source:
                yield chunk
        except TrafficStorageError:
            raise
        except Exception as error:
            raise InvalidInput.of(
                "content",
                f"can't be read: {type(error).__name__}: {error}",
                "give the item once more when its source can be read",
            ) from error

    return evolve(upload, source=read())


async def stored_each(
    load: BulkLoad, items: Iterable[NewItem] | AsyncIterable[NewItem]
) -> AsyncGenerator[ItemResult, None]:
    """Implement `StorageService.store_many`."""
    try:
        async for item in _each(items):
            for result in await load.add((item,)):
                yield result
        for result in await load.finish():
            yield result
    finally:
        await load.aclose()


def blocking_stored_each(
    loop: OwnLoop, load: BulkLoad, items: Iterable[NewItem]
) -> Generator[ItemResult, None, None]:
    """Implement `BlockingStorageService.store_many`; `items` are read in the caller's thread."""
    try:
        # A call of the loop's thread takes some time: records are given some at a time.
        some: list[NewItem] = []
        for item in items:
            some.append(item)
            if len(some) == _RECORDS_A_CALL or not isinstance(item, ViolationRecord):
                yield from loop.run(load.add(some))
                some = []
        yield from loop.run(load.add(some))
        yield from loop.run(load.finish())
    finally:
        # A loop that is closed has waited for what was being written.
        with suppress(LoopUnusable):
            loop.run(load.aclose())


async def _each(items: Iterable[NewItem] | AsyncIterable[NewItem]) -> AsyncIterator[NewItem]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
        return
    given: Any = items
    if not isinstance(given, Iterable):
        raise InvalidInput.of("items", f"is a {type(given).__name__}", "give an iterable of items")
    for item in given:
        yield item
