"""`StorageService`: the Python interface of the system, for use without a server."""

from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Callable,
    Collection,
    Coroutine,
    Generator,
    Iterable,
    Mapping,
)
from datetime import datetime
from functools import wraps
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from traffic_storage.domain.canonical import Json
from traffic_storage.domain.encoding import Encoding
from traffic_storage.domain.files import FileKind, FileState
from traffic_storage.domain.image_layout import ChannelOrder
from traffic_storage.domain.jobs import JobState
from traffic_storage.domain.pixels import Pixels
from traffic_storage.domain.placement import StorageStrategy
from traffic_storage.domain.query import Cursor, Page
from traffic_storage.domain.violation import ViolationRecord
from traffic_storage.entrypoints.container import Container, build
from traffic_storage.entrypoints.fixity_views import FixityView, IncidentView, IntegrityView
from traffic_storage.entrypoints.retention_views import (
    CleanUpView,
    ExplanationView,
    PlanView,
    RetentionView,
    RulesView,
    StagedRulesView,
)
from traffic_storage.entrypoints.service.arguments import Given, LeftOut, check_type
from traffic_storage.entrypoints.service.blocking import BlockingFileStream, OwnLoop
from traffic_storage.entrypoints.service.bulk import (
    BulkLoad,
    ItemResult,
    NewItem,
    blocking_stored_each,
    stored_each,
)
from traffic_storage.entrypoints.service.deletions import ACTOR, ServiceDeletions
from traffic_storage.entrypoints.service.files import Files, FileStream
from traffic_storage.entrypoints.service.fixity import Fixity
from traffic_storage.entrypoints.service.jobs import ServiceJobs
from traffic_storage.entrypoints.service.maintenance import Maintenance
from traffic_storage.entrypoints.service.parts import Parts
from traffic_storage.entrypoints.service.retention import Retention
from traffic_storage.entrypoints.service.violations import Violations
from traffic_storage.entrypoints.settings import StorageConfig
from traffic_storage.entrypoints.views import (
    CertificateView,
    DeletionView,
    HoldView,
    JobView,
    PlacedHoldView,
    RebuildView,
    ReconciliationView,
    StatisticsView,
    StoredFileView,
    SyncView,
    ViolationView,
    file_view,
    violation_view,
)

P = ParamSpec("P")
R = TypeVar("R")


class StorageService:
    """The Python interface of the system: stores, finds and returns violations and files.

    `StorageService(config, strategy)` connects on first use. `async with` connects at once and
    closes the service at the end; without it, call `aclose`. The argument `strategy` overrides the
    setting. `container` replaces both arguments: it has settings, a strategy and all adapters. The
    service starts a given container and does not close it. All coroutines may be called
    concurrently, on one event loop.

    A coroutine copies arrays and buffers before its first suspension. The caller may change them
    when it has awaited the coroutine, or when the coroutine's task has run once. A file given by
    its path must not change until the coroutine has ended; otherwise the call fails.

    Errors of all coroutines:
        CatalogueUnavailable: the database can't be reached. Calls succeed again, without a
            restart of the service, when the database is available.

    Raises:
        ConfigurationError: the strategy needs settings that are missing; the error names them.
        ValueError: `container` is given together with `config` or `strategy`.
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
            raise ValueError("give either `container`, or `config` and `strategy`, not both")
        self._owns_container = container is None
        self._container = container or build(config or StorageConfig(), strategy)
        self._parts = parts = Parts(self._container)
        self._started = parts.started
        self._files = Files(parts)
        self._violations = Violations(parts)
        self._maintenance = Maintenance(parts)
        self._fixity = Fixity(parts)
        self._jobs = ServiceJobs(parts)
        self._deletions = ServiceDeletions(parts)
        self._retention = Retention(parts)

    @staticmethod
    def sync(
        config: StorageConfig | None = None,
        strategy: StorageStrategy | str | None = None,
        *,
        container: Container | None = None,
    ) -> "BlockingStorageService":
        """Return a service whose methods wait instead of being awaited, for scripts and notebooks.

        Arguments and errors are those of `StorageService(...)`:

            with StorageService.sync(config) as storage:
                stored = storage.store_image(frame, channel_order="BGR")
        """
        return BlockingStorageService(config, strategy, container=container)

    @property
    def parts(self) -> Parts:
        """The use cases of this service, for the other classes of this package."""
        return self._parts

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
        """Wait for running writes, then free all resources. The service can't be used afterwards.

        A container passed to the constructor stays open; its creator closes it.
        """
        if self._owns_container:
            await self._container.runtime().aclose()

    async def store_violation_evidence(
        self,
        violation_record: ViolationRecord,
        image: Given | LeftOut = LeftOut.IT,
        video_segment: Given | None = None,
        *,
        channel_order: ChannelOrder | str = ChannelOrder.RGB,
        encoding: Encoding | None = None,
        duration_seconds: float | None = None,
        historic: bool = False,
        accept_damaged_video: bool = False,
    ) -> dict[str, StoredFileView]:
        """Store a violation with its files, atomically: all become visible, or none does.

        `image` is an array (`uint8`; `(H, W)`, `(H, W, 3)` or `(H, W, 4)` in `channel_order`),
        or encoded bytes, a path or a stream; without an image, leave the argument out: None is
        refused, because `cv2.imread` returns it for a missing file. Encoded images and `video_segment` are stored byte
        for byte. Repeating a call changes nothing; a repetition with a file that the first call
        lacked adds this file. Retention counts from the timestamp, or from receipt if the timestamp
        is not plausible (see `store_image`). `accept_damaged_video` is as in `store_video_segment`.

        Returns:
            The metadata of each stored file: of the record under `metadata`, and of the files under
            `image` and `video` if they were given.

        Raises:
            InvalidInput: the record's time or a file is not valid; the error names every
                wrong field.
            Conflict: the violation exists with another record or other files.
            StorageFull, StorageUnavailable: no store accepts the files.
        """
        return await self._violations.store(
            violation_record,
            image,
            video_segment,
            channel_order=channel_order,
            encoding=encoding,
            duration_seconds=duration_seconds,
            historic=historic,
            accept_damaged_video=accept_damaged_video,
        )

    async def store_image(
        self,
        image: Given,
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
        """Store an image: encode an array (WebP by default), keep encoded bytes unchanged.

        `image` is a `uint8` array of shape `(H, W)`, `(H, W, 3)` or `(H, W, 4)` in `channel_order`
        ("RGB" or "BGR", in either case; OpenCV has BGR), or an encoded image: bytes, a path, an
        asynchronous iterator of bytes, a file that is open for reading bytes (it is read from its
        position on, and stays open), or the `uint8` array of shape `(N,)` that `cv2.imencode` gives.
        `device_id`, `violation_id` and `timestamp` in `metadata` become attributes of the file. If
        `file_id` is None, the id is derived from the content and these attributes. `filename` is
        kept as the file's original name; if it is None and `image` is a path, the name of the path
        is kept. Retention counts from `timestamp`. It counts from receipt if `timestamp` is before
        `earliest_capture`, or more than `max_backdating` before receipt and `historic`, which
        confirms an old timestamp, is false.

        Of a file that is stored already, a `device_id`, `violation_id` or `timestamp` that it lacks is
        added to it; `labels_added` in the result names them.

        Raises:
            InvalidInput: the image or an attribute is not valid, or the bytes contradict the
                declared type or digest.
            Conflict: a file with this id and other content or labels exists.
            StorageFull, StorageUnavailable: no store accepts the file.
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
        video_data: Given,
        file_id: str | None = None,
        duration_seconds: float | None = None,
        metadata: Mapping[str, Json | datetime] | None = None,
        *,
        content_type: str | None = None,
        sha256: str | None = None,
        historic: bool = False,
        filename: str | None = None,
        accept_damaged_video: bool = False,
    ) -> StoredFileView:
        """Store a video segment byte for byte.

        `video_data` is bytes, a path, an asynchronous iterator of bytes or an open file (see
        `store_image`). With `accept_damaged_video`,
        or the setting of this name, a file of a killed recorder is stored as it is: a video that is cut
        or damaged behind its first frame. Its `quality` then has `integrity: damaged` and what is
        `missing`. A `duration_seconds` that differs from that of the container by more than a second
        and 5 % is refused.

        The other arguments are as in `store_image`.

        Raises:
            InvalidInput: the bytes are not a complete file in a supported video container; or as
                in `store_image`.
            Conflict: a file with this id and other content or labels exists.
            StorageFull, StorageUnavailable: no store accepts the file.
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
            accept_damaged_video=accept_damaged_video,
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
        """Store a JSON object as canonical JSON.

        The JSON is compressed if compression is enabled and makes it smaller.

        The other arguments are as in `store_image`.

        Raises:
            InvalidInput: `data` contains NaN or a type that JSON lacks; or as in `store_image`.
            Conflict: a file with this id and other content or labels exists.
            StorageFull, StorageUnavailable: no store accepts the file.
        """
        return await self._files.store_metadata(
            data, file_id, metadata, historic=historic, filename=filename
        )

    def store_many(
        self, items: Iterable[NewItem] | AsyncIterable[NewItem]
    ) -> AsyncGenerator[ItemResult, None]:
        """Store very many violations and files; yield the result of each, in their order.

        `items` are records, for violations without image and video, or `NewViolation` and `NewFile`,
        which have the arguments of the other methods. They are read one by one and stored in batches,
        in bounded memory. Each is stored as by its own call: completely or not at all, and once,
        however often it is given. What a result says is stored is durable. A refused item has its
        error, a `Conflict` with its cause for example, in its result, and does not stop the others:

            async for result in storage.store_many(records):
                if result.error is not None:
                    print(result.item.violation_id, result.error)

        An item is taken some hundred items before its result comes. If the iteration ends early, the
        items without a result may be stored or not; giving them again finds that out.

        Raises (while iterated):
            CatalogueUnavailable: the database can't be reached.
            StorageFull: the database has no space.
            WrongState: this service is read only.
        """
        return stored_each(BulkLoad(self._parts), items)

    async def retrieve_file(
        self, file_id: str, *, evidence: bool = False
    ) -> tuple[bytes, StoredFileView]:
        """Return all bytes of a file, verified, and its metadata. For large files use `open_file`.

        With `evidence`, one copy in a durable store is verified first, past every cache, and it is
        recorded that its bytes were handed out. A bad copy is not handed out; another one is
        verified in its place. If none is good, `NoGoodReplica.incident_id` names the incident.

        Raises:
            NotFound: no file has this id.
            StorageUnavailable: the undamaged copies of the file can't be reached; the error names
                the store.
            NoGoodReplica: all copies of the file are corrupt or missing.
        """
        return await self._files.retrieve(file_id, evidence=evidence)

    async def open_file(self, file_id: str, *, evidence: bool = False) -> FileStream:
        """Open a file for reading in chunks or ranges, in bounded memory.

        With `evidence`, a copy is verified and recorded before this returns, as in `retrieve_file`.

        Raises:
            NotFound: no file has this id.
            StorageUnavailable, NoGoodReplica: with `evidence`, as in `retrieve_file`.
        """
        return await self._files.open(file_id, evidence=evidence)

    async def retrieve_image(
        self, file_id: str, channel_order: ChannelOrder | str | None = None
    ) -> tuple[Pixels, StoredFileView]:
        """Return an image as a `uint8` array, and its metadata.

        The array has the shape `(H, W)`, `(H, W, 3)` or `(H, W, 4)`. If `channel_order` is None,
        the array has the order in which it was stored, or RGB if it was stored encoded.

        Of samples of more than 8 bits the high 8 are kept. A camera that keeps 12 bits in samples of
        16 uses the low ones, so its array is dark, from 0 to 15: `retrieve_file` gives the file itself.
        An orientation in Exif is not applied: the array is as the sensor was read.

        Raises:
            InvalidInput: `channel_order` is not a channel order.
            NotFound: no file has this id.
            UnsupportedMedia: the file is not an image.
            StorageUnavailable, NoGoodReplica: as in `retrieve_file`.
        """
        return await self._files.retrieve_image(file_id, channel_order)

    def generate_access_url(self, file_id: str, expires_in: float = 3600) -> str:
        """Return a URL at which anybody can read a file for `expires_in` seconds by HTTP.

        The call does no I/O, except that the first one may read or create the file of the signing
        key. The HTTP service looks the file up when the URL is opened, so the URL stays valid if
        the file moves between tiers.

        Raises:
            InvalidInput: `file_id` is malformed, or `expires_in` is out of range.
        """
        return self._container.signer().url(file_id, expires_in).url

    async def get_file(self, file_id: str) -> StoredFileView:
        """Return the metadata of a file, without reading its bytes.

        Raises:
            NotFound: no file has this id.
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
        """Return a page of at most `limit` files (1 to 1,000), the latest received first.

        A file must match all filters, and `start_time ≤ created_at < end_time`. Naive times are
        interpreted in the configured zone. `page.items` are the files. Pass `page.next` as `after`
        to get the next page; it is None on the last page.

        Raises:
            InvalidInput: a filter has a value that no file can have, or `limit` is out of range.
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
        """Return at most `limit` violations (1 to 1,000), newest first.

        A violation must match all filters, and `start_time ≤ timestamp < end_time`. Naive times
        are interpreted in the configured zone. For pages use `find_violations`.

        Raises:
            InvalidInput: a filter has a value that no violation can have, or `limit` is out of
                range.
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
        """Return the violations of `get_violation_records` in pages.

        `page.items` are the violations. Pass `page.next` as `after` to get the next page; it is
        None on the last page.

        Raises:
            InvalidInput: a filter has a value that no violation can have, or `limit` is out of
                range.
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
        """Return a violation and the files with its `violation_id`.

        The violation's own image, video and metadata file come first. At most 1,000 other files
        follow, the latest received first; `find_violation_files` returns all in pages.

        Raises:
            InvalidInput: `violation_id` is malformed.
            NotFound: no violation has this id.
        """
        found = await self._violations.get(violation_id)
        return violation_view(found.violation), [file_view(file) for file in found.files]

    async def find_violation_files(
        self, violation_id: str, limit: int = 100, *, after: Cursor | None = None
    ) -> Page[StoredFileView]:
        """Return a page of the files with this `violation_id`, the violation's own files first.

        `page.items` are its own image, video and metadata file (in the first page, beyond `limit`),
        and at most `limit` other files (1 to 1,000), the latest received first. Pass `page.next` as
        `after` to get the next page; it is None on the last page.

        Raises:
            InvalidInput: `violation_id` is malformed, or `limit` is out of range.
            NotFound: no violation has this id.
        """
        found = await self._violations.get(violation_id, limit, after)
        return Page(tuple(map(file_view, found.files)), found.others.next)

    async def place_hold(
        self,
        case_reference: str,
        reason: str,
        *,
        file_id: str | None = None,
        violation_id: str | None = None,
        device_id: str | None = None,
        start_time: datetime | None = None,
        end_time: datetime | None = None,
        kind: FileKind | str | None = None,
        violation_type: str | None = None,
        include_future: bool = False,
        until: datetime | None = None,
        actor: str = ACTOR,
    ) -> PlacedHoldView:
        """Place a legal hold in the name of `actor`; nothing that it covers is deleted while it is active.

        It covers a file, a violation with all files that name it, or the files of a device whose
        capture, receipt or start of retention lies in the range from `start_time` to `end_time`
        (excluded). Such a range may be limited to a kind or to a type of violations; with
        `include_future` it covers files that are received later too. The hold ends at `until`, or
        when it is released.

        The result counts the covered files that are deleted already: those whose purge the hold
        stops (`tombstoned`), and those that it comes too late for (`purging`).

        Raises:
            InvalidInput: not exactly one of file, violation and device is given, or a field is
                wrong; the error names every wrong field.
            NotFound: there is no such file or violation.
            Deleted: the file or violation is purged.
        """
        return await self._deletions.place_hold(
            case_reference,
            reason,
            file_id=file_id,
            violation_id=violation_id,
            device_id=device_id,
            start_time=start_time,
            end_time=end_time,
            kind=kind,
            violation_type=violation_type,
            include_future=include_future,
            until=until,
            actor=actor,
        )

    async def release_hold(self, hold_id: str, reason: str, *, actor: str = ACTOR) -> HoldView:
        """Release a hold in the name of `actor`, and return it.

        Raises:
            InvalidInput: `hold_id` is not a UUID, or the reason is missing.
            NotFound: there is no such hold.
            WrongState: the hold was released before.
        """
        return await self._deletions.release_hold(hold_id, reason, actor)

    async def list_holds(
        self, active: bool = True, limit: int = 100, *, after: Cursor | None = None
    ) -> Page[HoldView]:
        """Return a page of at most `limit` holds (1 to 1,000), those placed last first.

        With `active`, holds that were released or have ended are left out. Pass `page.next` as
        `after` to get the next page; it is None on the last page.

        Raises:
            InvalidInput: `limit` is out of range.
        """
        return await self._deletions.list_holds(active=active, limit=limit, after=after)

    async def delete_file(
        self, file_id: str, reason: str, *, override: bool = False, actor: str = ACTOR
    ) -> DeletionView:
        """Delete a file in the name of `actor`. Repeating the call changes nothing.

        It can be undeleted until `purge_after` (`deletion_grace_days`); then it is erased.
        `override` deletes a file inside its retention.

        Raises:
            InvalidInput: `file_id` is malformed, or the reason is missing.
            NotFound: there is no such file.
            Deleted: the file is purged.
            Held: a legal hold covers the file; `override` does not change this.
            InsideRetention: its retention has not ended, and `override` is False.
        """
        return await self._deletions.delete_file(file_id, reason, override=override, actor=actor)

    async def delete_violation(
        self, violation_id: str, reason: str, *, override: bool = False, actor: str = ACTOR
    ) -> DeletionView:
        """Delete a violation and all files that name it, as `delete_file` deletes a file.

        Raises:
            As `delete_file`, for any of its files.
        """
        return await self._deletions.delete_violation(
            violation_id, reason, override=override, actor=actor
        )

    async def undelete_file(
        self, file_id: str, reason: str, *, actor: str = ACTOR
    ) -> StoredFileView:
        """Make a deleted file available again; it is kept for 30 days at least.

        Raises:
            InvalidInput: `file_id` is malformed, or the reason is missing.
            NotFound: there is no such file.
            Deleted: the file is purged.
            NotDeleted: the file is available, or its purge has begun.
        """
        return await self._deletions.undelete_file(file_id, reason, actor)

    async def undelete_violation(
        self, violation_id: str, reason: str, *, actor: str = ACTOR
    ) -> ViolationView:
        """Make a deleted violation available again, with its deleted files, as `undelete_file`.

        Raises:
            As `undelete_file`.
        """
        return await self._deletions.undelete_violation(violation_id, reason, actor)

    async def destruction_certificate(self, file_id: str) -> CertificateView:
        """Return the certificate of an erased file: what was removed, where, when and why.

        Raises:
            InvalidInput: `file_id` is malformed.
            NotFound: there is no such file, or it is not purged.
        """
        return await self._deletions.certificate(file_id)

    async def violation_destruction_certificate(self, violation_id: str) -> CertificateView:
        """Return the certificate of an erased violation: that of its metadata file.

        Raises:
            InvalidInput: `violation_id` is malformed.
            NotFound: there is no such violation, or it is not purged.
        """
        return await self._deletions.violation_certificate(violation_id)

    async def find_jobs(
        self,
        state: JobState | str | None = None,
        kind: str | None = None,
        limit: int = 100,
        *,
        after: Cursor | None = None,
    ) -> Page[JobView]:
        """Return a page of at most `limit` jobs (1 to 1,000) of a state and a kind, newest first.

        Pass `page.next` as `after` to get the next page; it is None on the last page.

        Raises:
            InvalidInput: there is no such state, or `limit` is out of range.
        """
        return await self._jobs.find(state, kind, limit, after)

    async def get_job(self, job_id: str) -> JobView:
        """Return a job. Its progress is at most 10 s old.

        Raises:
            InvalidInput: `job_id` is not a UUID.
            NotFound: there is no such job; ended jobs are deleted after `keep_jobs_days`.
        """
        return await self._jobs.get(job_id)

    async def cancel_job(self, job_id: str) -> JobView:
        """Cancel a job, and return it; a running one ends within 10 s, what it has changed stays.

        Raises:
            InvalidInput: `job_id` is not a UUID.
            NotFound: there is no such job.
            WrongState: the job has ended.
        """
        return await self._jobs.cancel(job_id)

    async def retry_job(self, job_id: str) -> JobView:
        """Make a dead or cancelled job ready again, with all its attempts; return it.

        Raises:
            InvalidInput: `job_id` is not a UUID.
            NotFound: there is no such job.
            WrongState: the job is neither dead nor cancelled, or another job does the same work.
        """
        return await self._jobs.retry(job_id)

    async def sync_backends(self, *, dry_run: bool = False) -> SyncView:
        """Copy files that are due in another store now, and move files that must leave local disk.

        HYBRID copies what it stored locally to the cloud. LOCAL_THEN_CLOUD moves the oldest files to
        the cloud, from above `high_water` until `low_water`; HYBRID lets those go that are verified
        in the cloud. Every copy is read back at its store before it counts, and nothing leaves a
        store while its only other copy is unverified. Workers do the same in the background; what
        they do meanwhile is not counted.

        With `dry_run`, nothing is done: `remaining` files, with `bytes` to copy, are due.

        Returns:
            `copied` files, `moved` files, `failed` tries (repeated later), copied `bytes`, and
            `remaining` files; those wait where a store is unavailable or has no space.
        """
        return await self._maintenance.sync(dry_run=dry_run)

    async def verify_data_integrity(
        self, sample: int | None = None, *, heal: bool = True
    ) -> IntegrityView:
        """Read and hash all copies of all files, and replace bad copies where another is good.

        With `sample`, at most this many files are verified: those whose verification is oldest. A
        bad copy is replaced by a new one, made from a copy that was verified in the same call; no
        other copy is changed. Copies in a store that can't be reached are `unknown`, not bad.

        Returns:
            `files_checked`, `replicas_checked`, `corrupted`, `missing`, `healed`, `unknown` and
            `bytes_checked`; all but the first count copies of files, and bytes. `recorded` is false
            if the catalogue can be read but not written: nothing was recorded or healed then.

        Raises:
            InvalidInput: `sample` is not a whole number from 1 to 100,000.
        """
        return await self._fixity.verify(sample, heal=heal)

    async def get_fixity(self) -> FixityView:
        """Return how current the verification of the copies is, and what was found each day."""
        return await self._fixity.fixity()

    async def find_incidents(
        self,
        open: bool | None = True,  # noqa: A002 - the name in all interfaces
        file_id: str | None = None,
        limit: int = 100,
        *,
        after: Cursor | None = None,
    ) -> Page[IncidentView]:
        """Return a page of at most `limit` incidents (damage that was found), newest first.

        `open` None selects open and closed ones. Pass `page.next` as `after` for the next page.

        Raises:
            InvalidInput: `file_id` is malformed, or `limit` is out of range.
        """
        return await self._fixity.incidents(open, file_id, limit, after)

    async def close_incident(self, incident_id: str, resolution: str) -> IncidentView:
        """Close an open incident, and record why; return it.

        Raises:
            InvalidInput: the id is not a UUID, or `resolution` is empty or too long.
            NotFound: there is no such incident.
            WrongState: the incident is closed.
        """
        return await self._fixity.close_incident(incident_id, resolution)

    async def reconcile_stores(
        self, *, dry_run: bool = False, override_limit: bool = False
    ) -> list[ReconciliationView]:
        """Compare each store with the catalogue and act on the differences; return them by store.

        A blob that the catalogue does not know is entered into the quarantine and stays where it
        is. At least a day later it is recorded again if its manifest describes a file that the
        catalogue lacks; it is deleted after `quarantine_days` if the catalogue proves that it is
        not needed. A copy without a blob is recorded as missing. If there are more differences than
        `reconcile_max_count` and `reconcile_max_share` allow, nothing is changed, unless
        `override_limit` is true. With `dry_run`, nothing is changed.

        Raises:
            StorageUnavailable: the listing of a store can't be completed; nothing was changed.
        """
        return await self._maintenance.reconcile(dry_run=dry_run, override_limit=override_limit)

    async def rebuild_catalogue(
        self, dry_run: bool = False, *, read: bool = False, take_over: Collection[str] = ()
    ) -> RebuildView:
        """Record the files and violations that are in the stores and not in the catalogue.

        For an empty database, after the loss of the old one, or for one that was restored from a
        backup. Nothing is deleted. Stores of another catalogue are taken over if the database has
        no files, or if `take_over` has their locations. A repeated call goes on where an
        interrupted one was. With `read`, the bytes of every file are compared with its manifest.
        With `dry_run`, nothing is changed.

        Raises:
            StorageUnavailable: the listing of a store can't be completed.
        """
        return await self._maintenance.rebuild(dry_run=dry_run, read=read, take_over=take_over)

    async def plan_retention(self) -> PlanView:
        """Return how much retention would delete now, by rule and kind; delete nothing."""
        return await self._retention.plan()

    async def apply_retention(self, plan_id: str, *, override_limit: bool = False) -> RetentionView:
        """Delete what is due by the cut-off of a plan, then purge what has passed its grace.

        Each file is looked at again: what is held, or must be kept longer by now, stays. Repeating
        the call goes on with what is left.

        Raises:
            InvalidInput: `plan_id` is not a UUID.
            NotFound: there is no such plan.
            WrongState: the rules were changed since the plan was made; or the plan is larger than
                both `max_deletion_share` and `max_deletion_files`, and `override_limit` is False.
        """
        return await self._retention.apply(plan_id, override_limit=override_limit)

    async def apply_retention_policies(
        self, dry_run: bool = False, *, override_limit: bool = False
    ) -> RetentionView:
        """Delete what is due now, then purge what has passed its grace.

        With `dry_run`, nothing is deleted, and the result says what would be.

        Raises:
            WrongState: more is due than both limits allow, and `override_limit` is False.
        """
        return await self._retention.policies(dry_run=dry_run, override_limit=override_limit)

    async def cleanup_expired_data(
        self, dry_run: bool = True, *, override_limit: bool = False
    ) -> CleanUpView:
        """Do what `apply_retention_policies` does, and remove what else no longer serves a purpose.

        That is what has been in the quarantine for `quarantine_days`, and blobs of interrupted store
        operations. With `dry_run`, which is the default, nothing is done.

        Raises:
            WrongState: as in `apply_retention_policies`.
        """
        return await self._retention.clean_up(dry_run=dry_run, override_limit=override_limit)

    async def get_retention_rules(self) -> RulesView:
        """Return the retention rules in force: since when, by whom, why."""
        return await self._retention.rules()

    async def stage_retention_rules(
        self,
        rules: Iterable[Mapping[str, Json]],
        sites: Iterable[Mapping[str, Json]] = (),
        *,
        reason: str = "",
    ) -> StagedRulesView:
        """Stage other retention rules: return what they would do, and change nothing.

        They replace all rules but the default ones, whose days are settings. `rules` have the keys
        `rule_id`, `days`, and optionally `kind`, `violation_type`, `device`, `site`, `jurisdiction`,
        `legal_source`, `priority`; `sites` have `site_id`, `devices` and optionally `jurisdiction`.
        Of all rules that apply to a file the longest decides. Every available file is looked at.

        Raises:
            InvalidInput: rules or sites are wrong; the error names every wrong field.
        """
        return await self._retention.stage(rules, sites, reason)

    async def enter_retention_rules(self, change_id: str) -> RulesView:
        """Put a staged change in force; a job then recomputes until when each file is kept.

        Raises:
            InvalidInput: `change_id` is not a UUID.
            NotFound: there is no such change.
            WrongState: other rules were entered since it was staged, or it is a day old.
        """
        return await self._retention.enter(change_id)

    async def explain(self, file_id: str) -> ExplanationView:
        """Return why a file is kept, until when, by which rule and clock; also of a deleted file.

        Raises:
            InvalidInput: `file_id` is malformed.
            NotFound: no file has this id.
        """
        return await self._retention.explain(file_id)

    async def get_storage_statistics(self) -> StatisticsView:
        """Return the usage of each tier (local, cloud) and the operation counts of this process.

        Files and bytes are read from counters in the catalogue, not counted at each call.
        """
        return await self._maintenance.statistics()


def _blocking(
    method: Callable[Concatenate[StorageService, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate["BlockingStorageService", P], R]:
    """Return a method that runs a coroutine of the service and waits for it."""

    @wraps(method)
    def call(self: "BlockingStorageService", /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.run(method(self.service, *args, **kwargs))

    return call


class BlockingStorageService:
    """The methods of `StorageService`, each of which returns when it is done.

    `StorageService.sync(config, strategy)` makes one. It has an event loop of its own in a thread of
    its own, so that it works where a loop runs already, as in a notebook, and may be called from
    several threads at once. Ctrl-C cancels the call that waits. `with` closes it at the end; without
    it, call `close`. Arguments, results and errors are those of `StorageService`.
    """

    def __init__(
        self,
        config: StorageConfig | None = None,
        strategy: StorageStrategy | str | None = None,
        *,
        container: Container | None = None,
    ) -> None:
        self.service = StorageService(config, strategy, container=container)
        self._loop = OwnLoop()

    def __enter__(self) -> Self:
        try:
            self.run(self.service.__aenter__())
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.close()

    def run(self, coroutine: Coroutine[Any, Any, R]) -> R:
        """Run a coroutine on the loop of this service, and return its result.

        For the other classes: `storage.run(DataAnalyzer(storage.service).analyze_data_quality())`.

        Raises:
            RuntimeError: the service is closed, also while this waits; it was made by another
                process, before a fork; or this is the thread of its loop.
        """
        return self._loop.run(coroutine)

    def close(self) -> None:
        """Wait for running writes, then free all resources. The service can't be used afterwards.

        A call of another thread that waits for something else, as for the bytes of a slow reader,
        ends with `RuntimeError`. In a process that was forked this has no effect.
        """
        self._loop.close(self.service.aclose())

    def open_file(self, file_id: str, *, evidence: bool = False) -> BlockingFileStream:
        """Open a file for reading in chunks, as `StorageService.open_file` does."""
        return BlockingFileStream(
            self._loop, self.run(self.service.open_file(file_id, evidence=evidence))
        )

    def store_many(self, items: Iterable[NewItem]) -> Generator[ItemResult, None, None]:
        """Store very many violations and files, as `StorageService.store_many` does.

        `items` are read in the thread of the caller, who may read them from a database, say.
        """
        return blocking_stored_each(self._loop, BulkLoad(self.service.parts), items)

    def generate_access_url(self, file_id: str, expires_in: float = 3600) -> str:
        """Return a signed link, as `StorageService.generate_access_url` does."""
        return self.service.generate_access_url(file_id, expires_in)

    store_violation_evidence = _blocking(StorageService.store_violation_evidence)
    store_image = _blocking(StorageService.store_image)
    store_video_segment = _blocking(StorageService.store_video_segment)
    store_metadata = _blocking(StorageService.store_metadata)
    retrieve_file = _blocking(StorageService.retrieve_file)
    retrieve_image = _blocking(StorageService.retrieve_image)
    get_file = _blocking(StorageService.get_file)
    find_files = _blocking(StorageService.find_files)
    get_violation_records = _blocking(StorageService.get_violation_records)
    find_violations = _blocking(StorageService.find_violations)
    get_violation = _blocking(StorageService.get_violation)
    find_violation_files = _blocking(StorageService.find_violation_files)
    place_hold = _blocking(StorageService.place_hold)
    release_hold = _blocking(StorageService.release_hold)
    list_holds = _blocking(StorageService.list_holds)
    delete_file = _blocking(StorageService.delete_file)
    delete_violation = _blocking(StorageService.delete_violation)
    undelete_file = _blocking(StorageService.undelete_file)
    undelete_violation = _blocking(StorageService.undelete_violation)
    destruction_certificate = _blocking(StorageService.destruction_certificate)
    violation_destruction_certificate = _blocking(StorageService.violation_destruction_certificate)
    find_jobs = _blocking(StorageService.find_jobs)
    get_job = _blocking(StorageService.get_job)
    cancel_job = _blocking(StorageService.cancel_job)
    retry_job = _blocking(StorageService.retry_job)
    sync_backends = _blocking(StorageService.sync_backends)
    verify_data_integrity = _blocking(StorageService.verify_data_integrity)
    get_fixity = _blocking(StorageService.get_fixity)
    find_incidents = _blocking(StorageService.find_incidents)
    close_incident = _blocking(StorageService.close_incident)
    reconcile_stores = _blocking(StorageService.reconcile_stores)
    rebuild_catalogue = _blocking(StorageService.rebuild_catalogue)
    plan_retention = _blocking(StorageService.plan_retention)
    apply_retention = _blocking(StorageService.apply_retention)
    apply_retention_policies = _blocking(StorageService.apply_retention_policies)
    cleanup_expired_data = _blocking(StorageService.cleanup_expired_data)
    get_retention_rules = _blocking(StorageService.get_retention_rules)
    stage_retention_rules = _blocking(StorageService.stage_retention_rules)
    enter_retention_rules = _blocking(StorageService.enter_retention_rules)
    explain = _blocking(StorageService.explain)
    get_storage_statistics = _blocking(StorageService.get_storage_statistics)
