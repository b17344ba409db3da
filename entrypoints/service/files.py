"""`Files`: the part of `StorageService` for files; `StorageService` describes the arguments."""

from collections.abc import AsyncGenerator, Mapping
from datetime import datetime
from typing import Any, Self
from weakref import WeakSet

from attrs import evolve, field, frozen

from traffic_storage.application.inputs import FileAttributes, Upload
from traffic_storage.application.read_files import OpenFile
from traffic_storage.application.store_files import Stored
from traffic_storage.domain.canonical import Json, json_copy
from traffic_storage.domain.encoding import Encoding
from traffic_storage.domain.files import FileKind, FileState
from traffic_storage.domain.image_layout import ChannelOrder
from traffic_storage.domain.pixels import Pixels
from traffic_storage.domain.query import Cursor, FilesQuery, Page
from traffic_storage.domain.verification import Span
from traffic_storage.entrypoints.service.arguments import (
    Given,
    byte_offset,
    check_type,
    declared,
    flag,
    image_of,
    instant_of,
    name_of,
    upload_of,
    word_of,
)
from traffic_storage.entrypoints.service.deletions import ACTOR
from traffic_storage.entrypoints.service.parts import Parts
from traffic_storage.entrypoints.views import StoredFileView, file_view

_PYTHON = "python"


@frozen
class FileStream:
    """A file opened for reading in chunks.

    A caller that stops before the end of the iterator `chunks()` must call its `aclose`, or use the
    stream as a context manager: `async with await storage.open_file(…) as stream`.
    """

    metadata: StoredFileView
    _file: OpenFile
    _begun: WeakSet[AsyncGenerator[bytes, None]] = field(
        factory=WeakSet, init=False, eq=False, repr=False
    )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the iterators of `chunks` that were not read to their end."""
        for chunks in list(self._begun):
            await chunks.aclose()

    def chunks(self, start: int = 0, stop: int | None = None) -> AsyncGenerator[bytes, None]:
        """Yield the bytes from `start` to `stop` (exclusive; None: the end of the file).

        Every byte is verified before it is yielded.

        Raises:
            InvalidInput: `start` or `stop` is not an integer or lies outside the file, or `stop` is
                less than `start`.
        """
        first = byte_offset("start", start)
        size = self._file.file.content.size_bytes
        last = size if stop is None else byte_offset("stop", stop)
        chunks = self._file.chunks(Span(first, last))
        self._begun.add(chunks)
        return chunks


class Files:
    """Store, read and find single files."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def store_image(
        self,
        image: Given,
        file_id: str | None,
        metadata: Mapping[str, Json | datetime] | None,
        *,
        channel_order: ChannelOrder | str,
        encoding: Encoding | None,
        content_type: str | None,
        sha256: str | None,
        historic: bool,
        filename: str | None,
    ) -> StoredFileView:
        """Implement `StorageService.store_image`."""
        given = image_of(image, channel_order, encoding, self._parts.settings.max_pixels)
        if isinstance(given, Upload):
            given = declared(given, content_type, sha256)
        attributes = _attributes(file_id, metadata, historic, name_of(image, filename))
        use_cases = await self._parts.started()
        return _view(await use_cases.store_files().image(given, attributes))

    async def store_video(
        self,
        video: Given,
        file_id: str | None,
        duration_seconds: float | None,
        metadata: Mapping[str, Json | datetime] | None,
        *,
        content_type: str | None,
        sha256: str | None,
        historic: bool,
        filename: str | None,
        accept_damaged_video: bool,
    ) -> StoredFileView:
        """Implement `StorageService.store_video_segment`."""
        given = declared(upload_of(video, "video"), content_type, sha256)
        damaged = flag("accept_damaged_video", accept_damaged_video)
        given = evolve(given, accept_damaged_video=damaged)
        attributes = _attributes(file_id, metadata, historic, name_of(video, filename))
        use_cases = await self._parts.started()
        stored = await use_cases.store_files().video(
            given, attributes, duration_seconds=duration_seconds
        )
        return _view(stored)

    async def store_metadata(
        self,
        data: Mapping[str, Json],
        file_id: str | None,
        metadata: Mapping[str, Json | datetime] | None,
        *,
        historic: bool,
        filename: str | None,
    ) -> StoredFileView:
        """Implement `StorageService.store_metadata`."""
        attributes = _attributes(file_id, metadata, historic, filename)
        held: Any = json_copy(data)
        use_cases = await self._parts.started()
        return _view(await use_cases.store_files().metadata(held, attributes))

    async def retrieve(self, file_id: str, *, evidence: bool) -> tuple[bytes, StoredFileView]:
        """Implement `StorageService.retrieve_file`."""
        check_type("evidence", evidence, bool)
        use_cases = await self._parts.started()
        if evidence:
            data, file = await use_cases.produce_evidence().whole(file_id, by=_PYTHON)
        else:
            data, file = await use_cases.read_files().whole(file_id)
        return data, file_view(file)

    async def open(self, file_id: str, *, evidence: bool) -> FileStream:
        """Implement `StorageService.open_file`."""
        check_type("evidence", evidence, bool)
        use_cases = await self._parts.started()
        if evidence:
            opened = await use_cases.produce_evidence().open(file_id, by=_PYTHON)
        else:
            opened = await use_cases.read_files().open(file_id)
        return FileStream(file_view(opened.file), opened)

    async def retrieve_image(
        self, file_id: str, channel_order: ChannelOrder | str | None
    ) -> tuple[Pixels, StoredFileView]:
        """Implement `StorageService.retrieve_image`."""
        order = channel_order and word_of("channel_order", channel_order, ChannelOrder)
        use_cases = await self._parts.started()
        decoded, file = await use_cases.read_files().image(file_id, order or None)
        return decoded.pixels, file_view(file)

    async def get(self, file_id: str) -> StoredFileView:
        """Implement `StorageService.get_file`."""
        use_cases = await self._parts.started()
        return file_view(await use_cases.find().file(file_id))

    async def find(
        self,
        kind: FileKind | str | None,
        device_id: str | None,
        violation_id: str | None,
        start_time: datetime | None,
        end_time: datetime | None,
        limit: int,
        *,
        state: FileState | str,
        after: Cursor | None,
    ) -> Page[StoredFileView]:
        """Implement `StorageService.find_files`."""
        if after is not None:
            check_type("after", after, Cursor)
        query = FilesQuery(
            kind=None if kind is None else word_of("kind", kind, FileKind),
            device_id=device_id,
            violation_id=violation_id,
            start_time=instant_of("start_time", start_time, self._parts.zone),
            end_time=instant_of("end_time", end_time, self._parts.zone),
            state=word_of("state", state, FileState),
            limit=limit,
            after=after,
        )
        use_cases = await self._parts.started()
        page = await use_cases.find().files(query)
        return Page(tuple(file_view(file) for file in page.items), page.next)


def _attributes(
    file_id: str | None,
    metadata: Mapping[str, Json | datetime] | None,
    historic: object,
    original_name: str | None,
) -> FileAttributes:
    return FileAttributes.of(
        file_id=file_id,
        metadata=metadata,
        historic=flag("historic", historic),
        original_name=original_name,
        given_by=ACTOR,
    )


def _view(stored: Stored) -> StoredFileView:
    return file_view(stored.file, stored.labels_added)
