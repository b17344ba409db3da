"""`StorageService`: the whole system in a process of one's own, without a server."""

from collections.abc import AsyncGenerator, Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import numpy as np
from attrs import evolve, frozen

from traffic_storage.application.inputs import ArrayImage, FileAttributes, Source, Upload
from traffic_storage.application.read_files import OpenFile
from traffic_storage.application.violations import violation_with_files
from traffic_storage.domain.canonical import Json, json_copy
from traffic_storage.domain.digests import declared_sha256
from traffic_storage.domain.encoding import Encoding, ImageFormat
from traffic_storage.domain.errors import InvalidInput, shown
from traffic_storage.domain.files import StoredFile
from traffic_storage.domain.numeric import plain_number
from traffic_storage.domain.pixels import ChannelOrder, Pixels
from traffic_storage.domain.placement import StorageStrategy
from traffic_storage.domain.query import Cursor, Page, ViolationQuery
from traffic_storage.domain.times import instant
from traffic_storage.domain.verification import Span
from traffic_storage.domain.violation import StoredViolation, ViolationRecord
from traffic_storage.entrypoints.container import Container
from traffic_storage.entrypoints.settings import StorageConfig
from traffic_storage.entrypoints.views import (
    StatisticsView,
    StoredFileView,
    ViolationView,
    file_view,
    statistics_view,
    violation_view,
)

_ENCODING_REMEDY = (
    f"give an Encoding, as Encoding(ImageFormat.JPEG, quality=90); formats are "
    f"{', '.join(ImageFormat)}"
)


@frozen
class FileStream:
    """A file that is read piece by piece; iterate `chunks()`, and close it when leaving early."""

    metadata: StoredFileView
    _file: OpenFile

    def chunks(self, start: int = 0, stop: int | None = None) -> AsyncGenerator[bytes, None]:
        """Bytes `start` to `stop` (exclusive; None: the end), each verified before it is given.

        Raises:
            InvalidInput: no such span.
        """
        first = _offset("start", start)
        size = self._file.file.content.size_bytes
        return self._file.chunks(Span(first, size if stop is None else _offset("stop", stop)))


class StorageService:
    """The unified service: store, find, hand out.

    `StorageService(config, strategy)` connects on first use. `async with` opens and closes it
    deterministically; otherwise call `aclose` at the end. An argument `strategy` wins over the
    setting. `container` brings parts that are wired already, settings and strategy among them,
    and excludes both. Each coroutine is safe to call concurrently, on one event loop.

    What is given is copied before a coroutine first waits: whoever awaited it, or let a task of it
    take its first step, may fill an array or a buffer again. A path's file must not change until
    the coroutine has ended, or it is refused.

    Errors of all coroutines:
        CatalogueUnavailable: the database is away; it comes back without a restart.

    Raises:
        ConfigurationError: the strategy needs settings that are missing; they are named.
        ValueError: a container is given, and settings or a strategy besides.
    """

    def __init__(
        self,
        config: StorageConfig | None = None,
        strategy: StorageStrategy | str | None = None,
        *,
        container: Container | None = None,
    ) -> None:
        if container is None:
            if config is not None:
                _check_type("config", config, StorageConfig)
            settings = config or StorageConfig()
            container = Container(settings=settings, strategy=settings.effective_strategy(strategy))
        elif config is not None or strategy is not None:
            raise ValueError("give the settings or a container that has them, not both")
        self._container = container
        self._settings: StorageConfig = self._container.settings()

    async def __aenter__(self) -> Self:
        try:
            await self._container.runtime().start()
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Finish what is being stored and free everything. The service can't be used after."""
        await self._container.runtime().aclose()

    async def store_violation_evidence(
        self,
        violation_record: ViolationRecord,
        image: Pixels | Source | None = None,
        video_segment: Source | None = None,
        *,
        channel_order: ChannelOrder | str = ChannelOrder.RGB,
        encoding: Encoding | None = None,
        duration_seconds: float | None = None,
        historic: bool = False,
    ) -> dict[str, StoredFileView]:
        """Store a violation with its files: visible whole or not at all.

        `image` is an array (`uint8`; `(H, W)`, `(H, W, 3)` or `(H, W, 4)` in `channel_order`),
        or encoded bytes, a path or a stream, kept byte for byte; so is `video_segment`. The same
        again is a no-op; a file that was missing is added. Retention counts from the timestamp;
        from receipt where that is not plausible (see `store_image`).

        Returns:
            Stored-file metadata under `image`, `video` (for what was given) and `metadata`.

        Raises:
            InvalidInput: the record's time or a file; every wrong field is named.
            Conflict: the violation exists with another record or other files.
            StorageFull, StorageUnavailable: no place takes it.
        """
        _check_type("violation_record", violation_record, ViolationRecord)
        given = None if image is None else self._image(image, channel_order, encoding)
        video = None if video_segment is None else Upload(video_segment).held()
        await self._container.runtime().start()
        stored = await self._container.store_evidence()(
            violation_record,
            given,
            video,
            video_duration_seconds=duration_seconds,
            historic=_flag("historic", historic),
        )
        return {kind.value: self._view(file) for kind, file in stored.files.items()}

    async def store_image(
        self,
        image: Pixels | Source,
        file_id: str | None = None,
        metadata: Mapping[str, Json | datetime] | None = None,
        *,
        channel_order: ChannelOrder | str = ChannelOrder.RGB,
        encoding: Encoding | None = None,
        content_type: str | None = None,
        sha256: str | None = None,
        historic: bool = False,
    ) -> StoredFileView:
        """Store an image: an array is encoded (WebP by default), encoded bytes are kept.

        `device_id`, `violation_id` and `timestamp` in `metadata` become the file's own. Without
        a `file_id` one is derived from all that was given. Retention counts from `timestamp`; from
        receipt where that is before `earliest_capture`, or lies more than `max_backdating` before
        receipt and the caller does not state by `historic` that it is right.

        Raises:
            InvalidInput: the image, its attributes, or a declared type or digest that the bytes
                contradict.
            Conflict: `file_id` holds other content.
            StorageFull, StorageUnavailable: no place takes it.
        """
        given = self._image(image, channel_order, encoding)
        if isinstance(given, Upload):
            given = _declared(given, content_type, sha256)
        attributes = _attributes(file_id, metadata, historic)
        await self._container.runtime().start()
        return self._view((await self._container.store_files().image(given, attributes)).file)

    async def store_video_segment(
        self,
        video_data: Source,
        file_id: str | None = None,
        duration_seconds: float | None = None,
        metadata: Mapping[str, Json | datetime] | None = None,
        *,
        content_type: str | None = None,
        sha256: str | None = None,
        historic: bool = False,
    ) -> StoredFileView:
        """Store a video segment byte for byte: bytes, a path, or an asynchronous iterator.

        Raises:
            InvalidInput: no whole file of a container that is known, or as `store_image`.
            Conflict: `file_id` holds other content.
            StorageFull, StorageUnavailable: no place takes it.
        """
        video = _declared(Upload(video_data).held(), content_type, sha256)
        attributes = _attributes(file_id, metadata, historic)
        await self._container.runtime().start()
        stored = await self._container.store_files().video(
            video, attributes, duration_seconds=duration_seconds
        )
        return self._view(stored.file)

    async def store_metadata(
        self,
        data: Mapping[str, Json],
        file_id: str | None = None,
        metadata: Mapping[str, Json | datetime] | None = None,
        *,
        historic: bool = False,
    ) -> StoredFileView:
        """Store a JSON object as canonical JSON, compressed when that pays.

        Raises:
            InvalidInput: not JSON (NaN, other types), or as `store_image`.
            Conflict: `file_id` holds other content.
            StorageFull, StorageUnavailable: no place takes it.
        """
        attributes = _attributes(file_id, metadata, historic)
        held: Any = json_copy(data)
        await self._container.runtime().start()
        return self._view((await self._container.store_files().metadata(held, attributes)).file)

    async def retrieve_file(self, file_id: str) -> tuple[bytes, StoredFileView]:
        """All bytes of a file, verified, and its metadata. For large files use `open_file`.

        Raises:
            NotFound: no such file.
            StorageUnavailable: its good replicas can't be reached; the store is named.
            NoGoodReplica: all replicas are corrupt or missing.
        """
        await self._container.runtime().start()
        data, file = await self._container.read_files().whole(file_id)
        return data, self._view(file)

    async def open_file(self, file_id: str) -> FileStream:
        """A file to be read piece by piece, or in ranges, in bounded memory.

        Raises:
            NotFound: no such file.
        """
        await self._container.runtime().start()
        opened = await self._container.read_files().open(file_id)
        return FileStream(self._view(opened.file), opened)

    async def retrieve_image(
        self, file_id: str, channel_order: ChannelOrder | str | None = None
    ) -> tuple[Pixels, StoredFileView]:
        """An image as a `uint8` array of `(H, W)`, `(H, W, 3)` or `(H, W, 4)`, and its metadata.

        In the channel order it was stored with, unless another is asked for (RGB for encoded
        images).

        Raises:
            InvalidInput: there is no such channel order.
            NotFound, UnsupportedMedia: no such file, or it is no image.
            StorageUnavailable, NoGoodReplica: as `retrieve_file`.
        """
        order = None if channel_order is None else _channel_order(channel_order)
        await self._container.runtime().start()
        decoded, file = await self._container.read_files().image(file_id, order)
        return decoded.pixels, self._view(file)

    def generate_access_url(self, file_id: str, expires_in: float = 3600) -> str:
        """A URL of the HTTP service that opens this file for `expires_in` seconds, to anybody.

        No I/O (but for the key file at first need): the file is resolved when it is opened, so
        the URL stays valid when it moves between tiers.

        Raises:
            InvalidInput: no file can have this id, or the time is out of bounds.
        """
        return self._container.signer().url(file_id, expires_in).url

    async def get_violation_records(
        self,
        device_id: str | None = None,
        violation_type: str | None = None,
        start_time: datetime | None = None,
        end_time: datetime | None = None,
        limit: int = 100,
        *,
        vehicle_class: str | None = None,
        min_confidence: float | None = None,
        max_confidence: float | None = None,
    ) -> list[ViolationView]:
        """Violations, newest first; `start_time ≤ timestamp < end_time`; 1 to 1,000 of them.

        Naive times are read in the configured zone. For pages use `find_violations`.

        Raises:
            InvalidInput: a filter that nothing can meet, or `limit` out of range.
        """
        query = ViolationQuery(
            device_id=device_id,
            violation_type=violation_type,
            vehicle_class=vehicle_class,
            min_confidence=min_confidence,
            max_confidence=max_confidence,
            start_time=self._instant(start_time, "start_time"),
            end_time=self._instant(end_time, "end_time"),
            limit=limit,
        )
        return [
            violation_view(violation) for violation in (await self.find_violations(query)).items
        ]

    async def find_violations(
        self, query: ViolationQuery, after: Cursor | None = None
    ) -> Page[StoredViolation]:
        """The page of violations that `query` asks for; `page.next` continues it as `after`.

        Raises:
            InvalidInput: `query` or `after` is of another type.
        """
        _check_type("query", query, ViolationQuery)
        if after is not None:
            _check_type("after", after, Cursor)
        await self._container.runtime().start()
        asked = query if after is None else evolve(query, after=after)
        return await self._container.catalogue().violations(asked)

    async def get_violation(self, violation_id: str) -> tuple[ViolationView, list[StoredFileView]]:
        """A violation, and every file that names it, its own among them.

        Raises:
            InvalidInput: no violation can have this id.
            NotFound: there is no such violation.
        """
        await self._container.runtime().start()
        violation, files = await violation_with_files(self._container.catalogue(), violation_id)
        return violation_view(violation), [self._view(file) for file in files]

    async def get_storage_statistics(self) -> StatisticsView:
        """What is stored where, and what this process has done, from maintained counters."""
        await self._container.runtime().start()
        return statistics_view(await self._container.statistics()())

    def _image(
        self, image: Pixels | Source, channel_order: ChannelOrder | str, encoding: Encoding | None
    ) -> ArrayImage | Upload:
        order = _channel_order(channel_order)
        if encoding is not None and not isinstance(encoding, Encoding):
            raise InvalidInput.of("encoding", f"is {shown(encoding)}", _ENCODING_REMEDY)
        if isinstance(image, np.ndarray):
            return ArrayImage(image, order, encoding).held(self._settings.max_pixels)
        return Upload(image).held()

    def _view(self, file: StoredFile) -> StoredFileView:
        return file_view(file)

    def _instant(self, time: datetime | None, field: str) -> datetime | None:
        if time is None:
            return None
        _check_type(field, time, datetime)
        return instant(time, self._settings.zone, field).at


def _check_type(field: str, value: object, wanted: type) -> None:
    """Who has no type checker gets an error in words.

    Raises:
        InvalidInput: it is of another type.
    """
    if not isinstance(value, wanted):
        name = wanted.__name__
        raise InvalidInput.of(field, f"is a {type(value).__name__}, not a {name}", f"give a {name}")


def _channel_order(value: object) -> ChannelOrder:
    if isinstance(value, str) and value in tuple(ChannelOrder):
        return ChannelOrder(value)
    raise InvalidInput.of(
        "channel_order", f"is {shown(value)}", f"give {' or '.join(ChannelOrder)}"
    )


def _attributes(
    file_id: str | None, metadata: Mapping[str, Json | datetime] | None, historic: object
) -> FileAttributes:
    return FileAttributes.of(
        file_id=file_id, metadata=metadata, historic=_flag("historic", historic)
    )


def _flag(name: str, value: object) -> bool:
    if isinstance(value, bool | np.bool_):
        return bool(value)
    raise InvalidInput.of(name, f"is {shown(value)}", "give True or False")


def _offset(name: str, value: object) -> int:
    number = plain_number(value)
    if isinstance(number, int) and not isinstance(number, bool):
        return number
    raise InvalidInput.of(name, f"is {shown(value)}", "give a whole number of bytes")


def _declared(upload: Upload, content_type: str | None, sha256: str | None) -> Upload:
    digest = None if sha256 is None else declared_sha256(sha256)
    return evolve(upload, content_type=content_type, sha256=digest)
