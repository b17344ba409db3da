"""`StorageService`: the whole system in a process of one's own, without a server."""

from collections.abc import Mapping
from datetime import datetime
from types import TracebackType
from typing import Self

from traffic_storage.application.inputs import Source
from traffic_storage.domain.canonical import Json
from traffic_storage.domain.encoding import Encoding
from traffic_storage.domain.files import FileKind, FileState
from traffic_storage.domain.pixels import ChannelOrder, Pixels
from traffic_storage.domain.placement import StorageStrategy
from traffic_storage.domain.query import Cursor, Page
from traffic_storage.domain.violation import ViolationRecord
from traffic_storage.entrypoints.container import Container, build
from traffic_storage.entrypoints.service.arguments import check_type
from traffic_storage.entrypoints.service.files import Files, FileStream
from traffic_storage.entrypoints.service.maintenance import Maintenance
from traffic_storage.entrypoints.service.parts import Parts
from traffic_storage.entrypoints.service.violations import Violations
from traffic_storage.entrypoints.settings import StorageConfig
from traffic_storage.entrypoints.views import StatisticsView, StoredFileView, ViolationView


class StorageService:
    """The unified service: store, find, hand out.

    `StorageService(config, strategy)` connects on first use. `async with` opens and closes it
    deterministically; otherwise call `aclose` at the end. An argument `strategy` wins over the
    setting. `container` brings parts that are wired already, settings and strategy among them,
    and excludes both; the service starts that container and does not close it. Each coroutine is
    safe to call concurrently, on one event loop.

    Arrays and buffers are copied before a coroutine first waits; the caller may change them once
    it has awaited the coroutine or let its task take the first step. The file of a path must not
    change until the coroutine has ended, or it is refused.

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
        if config is not None:
            check_type("config", config, StorageConfig)
        if container is not None and (config is not None or strategy is not None):
            raise ValueError("give the settings or a container that has them, not both")
        self._owns_container = container is None
        self._container = container or build(config or StorageConfig(), strategy)
        parts = Parts(self._container)
        self._started = parts.started
        self._files = Files(parts)
        self._violations = Violations(parts)
        self._maintenance = Maintenance(parts)

    async def __aenter__(self) -> Self:
        try:
            await self._started()
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
        """Finish what is being stored and free everything. The service can't be used after.

        A container that was given to the service stays open: its maker closes it.
        """
        if self._owns_container:
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
        return await self._violations.store(
            violation_record,
            image,
            video_segment,
            channel_order=channel_order,
            encoding=encoding,
            duration_seconds=duration_seconds,
            historic=historic,
        )

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
        filename: str | None = None,
    ) -> StoredFileView:
        """Store an image: an array is encoded (WebP by default), encoded bytes are kept.

        `device_id`, `violation_id` and `timestamp` in `metadata` become the file's own. Without
        a `file_id` one is derived from the content and these attributes. `filename` is kept as the
        file's original name; None takes the name of a path. Retention counts from `timestamp`; from
        receipt where that is before `earliest_capture`, or lies more than `max_backdating` before
        receipt and the caller does not state by `historic` that it is right.

        Raises:
            InvalidInput: the image, its attributes, or a declared type or digest that the bytes
                contradict.
            Conflict: `file_id` holds other content.
            StorageFull, StorageUnavailable: no place takes it.
        """
        return await self._files.store_image(
            image,
            file_id,
            metadata,
            channel_order=channel_order,
            encoding=encoding,
            content_type=content_type,
            sha256=sha256,
            historic=historic,
            filename=filename,
        )

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
        filename: str | None = None,
    ) -> StoredFileView:
        """Store a video segment byte for byte: bytes, a path, or an asynchronous iterator.

        The arguments are as in `store_image`.

        Raises:
            InvalidInput: no whole file of a container that is known, or as `store_image`.
            Conflict: `file_id` holds other content.
            StorageFull, StorageUnavailable: no place takes it.
        """
        return await self._files.store_video(
            video_data,
            file_id,
            duration_seconds,
            metadata,
            content_type=content_type,
            sha256=sha256,
            historic=historic,
            filename=filename,
        )

    async def store_metadata(
        self,
        data: Mapping[str, Json],
        file_id: str | None = None,
        metadata: Mapping[str, Json | datetime] | None = None,
        *,
        historic: bool = False,
        filename: str | None = None,
    ) -> StoredFileView:
        """Store a JSON object as canonical JSON, compressed when that pays.

        Raises:
            InvalidInput: not JSON (NaN, other types), or as `store_image`.
            Conflict: `file_id` holds other content.
            StorageFull, StorageUnavailable: no place takes it.
        """
        return await self._files.store_metadata(
            data, file_id, metadata, historic=historic, filename=filename
        )

    async def retrieve_file(self, file_id: str) -> tuple[bytes, StoredFileView]:
        """All bytes of a file, verified, and its metadata. For large files use `open_file`.

        Raises:
            NotFound: no such file.
            StorageUnavailable: its good replicas can't be reached; the store is named.
            NoGoodReplica: all replicas are corrupt or missing.
        """
        return await self._files.retrieve(file_id)

    async def open_file(self, file_id: str) -> FileStream:
        """A file to be read piece by piece, or in ranges, in bounded memory.

        Raises:
            NotFound: no such file.
        """
        return await self._files.open(file_id)

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
        return await self._files.retrieve_image(file_id, channel_order)

    def generate_access_url(self, file_id: str, expires_in: float = 3600) -> str:
        """A URL of the HTTP service that opens this file for `expires_in` seconds, to anybody.

        No I/O (but for the key file at first need): the file is resolved when it is opened, so
        the URL stays valid when it moves between tiers.

        Raises:
            InvalidInput: no file can have this id, or the time is out of bounds.
        """
        return self._container.signer().url(file_id, expires_in).url

    async def get_file(self, file_id: str) -> StoredFileView:
        """The metadata of a file; its bytes are not read.

        Raises:
            NotFound: no such file.
        """
        return await self._files.get(file_id)

    async def find_files(
        self,
        kind: FileKind | str | None = None,
        device_id: str | None = None,
        violation_id: str | None = None,
        start_time: datetime | None = None,
        end_time: datetime | None = None,
        limit: int = 100,
        *,
        state: FileState | str = FileState.AVAILABLE,
        after: Cursor | None = None,
    ) -> Page[StoredFileView]:
        """A page of 1 to 1,000 files, the latest received first.

        Filters are joined by "and"; `start_time ≤ created_at < end_time`, naive times are read in
        the configured zone. `page.items` are the files; with `page.next` as `after` the same call
        gives the next page, and None means that there is none.

        Raises:
            InvalidInput: a filter that no file can meet, or `limit` out of range.
        """
        return await self._files.find(
            kind,
            device_id,
            violation_id,
            start_time,
            end_time,
            limit,
            state=state,
            after=after,
        )

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
        page = await self._violations.find(
            device_id,
            violation_type,
            start_time,
            end_time,
            limit,
            vehicle_class=vehicle_class,
            min_confidence=min_confidence,
            max_confidence=max_confidence,
        )
        return list(page.items)

    async def find_violations(
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
        after: Cursor | None = None,
    ) -> Page[ViolationView]:
        """The violations of `get_violation_records` by pages.

        `page.items` are the violations; with `page.next` as `after` the same call gives the next
        page, and None means that there is none.

        Raises:
            InvalidInput: a filter that no violation can meet, or `limit` out of range.
        """
        return await self._violations.find(
            device_id,
            violation_type,
            start_time,
            end_time,
            limit,
            vehicle_class=vehicle_class,
            min_confidence=min_confidence,
            max_confidence=max_confidence,
            after=after,
        )

    async def get_violation(self, violation_id: str) -> tuple[ViolationView, list[StoredFileView]]:
        """A violation, and the files that name it: its own image, video and metadata file first.

        At most 1,000 other files follow, the latest received first; `find_files` with
        `violation_id` gives all of them by pages.

        Raises:
            InvalidInput: no violation can have this id.
            NotFound: there is no such violation.
        """
        return await self._violations.get(violation_id)

    async def get_storage_statistics(self) -> StatisticsView:
        """What is stored where, and what this process has done, from maintained counters."""
        return await self._maintenance.statistics()
