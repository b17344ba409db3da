"""Prepare: takes the input of callers in, hashes, checks and encodes it. Nothing becomes visible.

The received bytes (bodies of the spool) are entered on the stack that the caller passes; the caller
closes that stack in every case.
"""

import asyncio
import logging
from collections.abc import AsyncIterable, Callable, Mapping
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from os import PathLike
from pathlib import Path
from zoneinfo import ZoneInfo

from attrs import evolve, frozen

from traffic_storage.application.drafts import Draft
from traffic_storage.application.examine_video import (
    ExaminedVideo,
    checked_duration,
    video_info,
    watched,
)
from traffic_storage.application.inputs import (
    ArrayImage,
    FileAttributes,
    Source,
    Upload,
    check_declared_type,
    metadata_text,
)
from traffic_storage.application.tasks import unless_gone
from traffic_storage.application.validate_on_store import ValidateOnStore
from traffic_storage.domain.canonical import Json, canonical_json
from traffic_storage.domain.digests import Digests, Sha256
from traffic_storage.domain.encoding import Encoding
from traffic_storage.domain.errors import (
    DigestMismatch,
    InvalidInput,
    TooLarge,
)
from traffic_storage.domain.files import Coding, FileKind, MediaInfo
from traffic_storage.domain.identifiers import (
    DeviceId,
    FileId,
    ViolationId,
    derived_file_id,
)
from traffic_storage.domain.image_checks import VerifyImages
from traffic_storage.domain.media import (
    ContentType,
)
from traffic_storage.domain.quality.note import with_damage
from traffic_storage.domain.times import Moment, instant, time_problem
from traffic_storage.ports.clock import Clock
from traffic_storage.ports.compressor import Compressor
from traffic_storage.ports.images import ImageInfo, Images
from traffic_storage.ports.spool import Body, FileBody, MemoryBody, Spool, admitted

logger = logging.getLogger("traffic_storage.prepare")

WORTH_COMPRESSING_BYTES = 4096
"""Smaller files occupy one disk block in any case; compressing them would only cost time."""
JSON_TYPE = "application/json"


@frozen
class Limits:
    """The configured limits on the inputs of callers, and which inputs are accepted."""

    image_bytes: int
    video_bytes: int
    metadata_bytes: int
    pixels: int
    max_clock_ahead: timedelta
    accept_unknown_video: bool = False
    accept_damaged_video: bool = False
    compress: bool = True
    verify_images: VerifyImages = VerifyImages.ALWAYS


def taken_over(bodies: AsyncExitStack | None) -> AsyncExitStack:
    """Move all contexts of `bodies` to a new stack and return it; `bodies` is empty afterwards."""
    return AsyncExitStack() if bodies is None else bodies.pop_all()


class Prepare:
    """Makes drafts (files that are ready to be stored) from the inputs of callers."""

    def __init__(
        self,
        *,
        spool: Spool,
        images: Images,
        compressor: Compressor,
        clock: Clock,
        limits: Limits,
        encoding: Encoding,
        zone: ZoneInfo,
        validate: ValidateOnStore,
    ) -> None:
        self._spool = spool
        self._images = images
        self._compressor = compressor
        self._clock = clock
        self._limits = limits
        self._encoding = encoding
        self._zone = zone
        self._validate = validate

    def held(self, image: ArrayImage | Upload) -> ArrayImage | Upload:
        """Return the image with mutable buffers copied, so that later changes have no effect.

        Raises:
            InvalidInput: an array does not have the shape and type of an image.
            TooLarge: an array has too many pixels.
        """
        if isinstance(image, ArrayImage):
            return image.held(self._limits.pixels)
        return image.held()

    async def received(self, image: Upload, bodies: AsyncExitStack) -> Upload:
        """Return an image whose bytes were read from its path or iterator; they are on `bodies`.

        Raises: what reading it raises in `image`.
        """
        return evolve(
            image, source=await self._take(image, self._limits.image_bytes, "image", bodies)
        )

    async def image(
        self, image: ArrayImage | Upload, attributes: FileAttributes, bodies: AsyncExitStack
    ) -> Draft:
        """Return the draft of an image: the file that is ready to be stored.

        An array is encoded. Encoded bytes are decoded once as a check, and kept unchanged; with
        `unless_vouched`, those whose SHA-256 is declared are decoded after they were stored.
        """
        moment = self._captured(attributes)
        if isinstance(image, ArrayImage):
            return await self._validate.draft(await self._array(image, attributes, moment))
        body = await self._take(image, self._limits.image_bytes, "image", bodies)
        self._check_declared(image, body.digests, "image")
        info, is_undecoded = await self._info(image, body)
        check_declared_type("image", image.content_type, ContentType(info.content_type))
        size = info.dimensions
        media = MediaInfo(width=size.width, height=size.height, channels=size.channels)
        draft = self._draft(FileKind.IMAGE, info.content_type, body, media, attributes, moment)
        name = attributes.original_name or image.original_name
        draft = evolve(draft, original_name=name, is_undecoded=is_undecoded)
        return await self._validate.draft(draft)

    async def video(
        self,
        video: Upload,
        attributes: FileAttributes,
        bodies: AsyncExitStack,
        duration_seconds: float | None = None,
    ) -> Draft:
        """Return the draft of a video: the file that is ready to be stored.

        The container of the video is parsed to its end while the bytes arrive. If a damaged one is
        accepted, the damage is in the draft's `quality`.
        """
        moment = self._captured(attributes)
        duration_seconds = checked_duration(duration_seconds)
        examined = ExaminedVideo(
            video.content_type,
            self._limits.accept_unknown_video,
            video.accept_damaged_video or self._limits.accept_damaged_video,
        )
        body = await self._take(video, self._limits.video_bytes, "video", bodies, examined)
        self._check_declared(video, body.digests, "video")
        content_type, info = examined.finish()
        media = video_info(info, duration_seconds, damaged=bool(examined.damage))
        draft = self._draft(FileKind.VIDEO, content_type, body, media, attributes, moment)
        name = attributes.original_name or video.original_name
        judged = await self._validate.draft(evolve(draft, original_name=name))
        if examined.damage is None:
            return judged
        logger.warning("%s is stored although it is damaged: %s", judged.file_id, examined.damage)
        return evolve(judged, quality=with_damage(judged.quality, examined.damage))

    async def json(self, data: Mapping[str, Json], attributes: FileAttributes) -> Draft:
        """Return the draft (the file that is ready to be stored) of a JSON object in canonical form."""
        if not isinstance(data, Mapping):
            raise InvalidInput.of("data", f"is a {type(data).__name__}", "give a JSON object")
        return await self.document(canonical_json(data, "data"), attributes)

    async def document(self, text: bytes, attributes: FileAttributes) -> Draft:
        """Return the draft of a canonical JSON text, compressed if that makes it smaller."""
        moment = self._captured(attributes)
        if len(text) > self._limits.metadata_bytes:
            raise TooLarge.of(
                "data",
                f"has {len(text)} bytes",
                f"use at most {self._limits.metadata_bytes} (the setting max_metadata_bytes)",
            )
        plain = await self._spool.wrap(text)
        body, coding = await self._compressed_if_smaller(plain)
        return self._draft(
            FileKind.METADATA,
            JSON_TYPE,
            body,
            MediaInfo(),
            attributes,
            moment,
            plain.digests,
            coding,
        )

    def moment(self, timestamp: datetime, field: str) -> Moment:
        """Convert a time that a caller gives to UTC, and check that it is not in the future.

        A time that is at most `max_clock_ahead` in the future is accepted and logged.

        Raises:
            InvalidInput: the time is not plausible as a capture time.
        """
        now = self._clock.now()
        moment = instant(timestamp, self._zone, field)
        ahead = self._limits.max_clock_ahead
        if problem := time_problem(field, moment.at, now=now, max_ahead=ahead):
            raise InvalidInput([problem])
        if moment.at > now:
            logger.warning(
                "%s %s was accepted although it is %s ahead of the clock of this host; the limit, "
                "max_clock_ahead, is %s",
                field,
                moment.at.isoformat(),
                moment.at - now,
                ahead,
            )
        return moment

    async def _info(self, image: Upload, body: Body) -> tuple[ImageInfo, bool]:
        """Return what an image is, and whether that was found without decoding it."""
        if image.sha256 is not None and self._limits.verify_images is VerifyImages.UNLESS_VOUCHED:
            glanced = await unless_gone(self._images.glance(body), image.gone)
            if glanced is not None:
                return glanced, True
        return await unless_gone(self._images.inspect(body), image.gone), False

    async def _array(
        self, image: ArrayImage, attributes: FileAttributes, moment: Moment | None
    ) -> Draft:
        held = image.held(self._limits.pixels)
        encoded = await self._images.encode(
            held.pixels, image.channel_order, image.encoding or self._encoding
        )
        size = encoded.dimensions
        media = MediaInfo(
            width=size.width,
            height=size.height,
            channels=size.channels,
            channel_order=image.channel_order if size.channels > 1 else None,
            pixel_sha256=encoded.pixel_sha256,
        )
        return self._draft(
            FileKind.IMAGE, encoded.content_type, encoded.body, media, attributes, moment
        )

    async def _take(
        self,
        upload: Upload,
        limit_bytes: int,
        field: str,
        bodies: AsyncExitStack,
        examined: ExaminedVideo | None = None,
    ) -> Body:
        watch = examined.feed if examined else None
        source = upload.source
        if isinstance(source, MemoryBody | FileBody):
            return await self._checked_body(source, limit_bytes, field, watch)
        if isinstance(source, bytes | bytearray | memoryview):
            data = bytes(source)
            _check_size(len(data), limit_bytes, field)
            return await self._checked_body(await self._spool.wrap(data), limit_bytes, field, watch)
        chunks = self._chunks(source, field)
        if watch:
            # `admitted` comes first, so that `watch` gets only bytes objects within the limit.
            chunks = watched(admitted(chunks, limit_bytes=limit_bytes, field_name=field), watch)
        taking = self._spool.take(chunks, limit_bytes=limit_bytes, field_name=field)
        body = await bodies.enter_async_context(taking)
        if body.digests.size_bytes == 0:
            raise _empty(field)
        return body

    async def _checked_body(
        self, body: Body, limit_bytes: int, field: str, watch: Callable[[bytes], None] | None
    ) -> Body:
        """Check the size and content of bytes that were received before (a body); return them."""
        _check_size(body.digests.size_bytes, limit_bytes, field)
        if watch:
            async for chunk in self._spool.chunks(body):
                watch(chunk)
                await asyncio.sleep(0)  # Other tasks run between the chunks of a long video.
        return body

    def _chunks(self, source: Source, field: str) -> AsyncIterable[bytes]:
        if isinstance(source, str | PathLike):
            return self._spool.read_path(Path(source), field_name=field)
        if isinstance(source, AsyncIterable):
            return source
        raise InvalidInput.of(
            field,
            f"is a {type(source).__name__}",
            "give bytes, a path or an asynchronous iterator of bytes; an image may be an array",
        )

    async def _compressed_if_smaller(self, plain: MemoryBody) -> tuple[Body, Coding]:
        if not self._limits.compress or len(plain.data) < WORTH_COMPRESSING_BYTES:
            return plain, Coding.IDENTITY
        coded = await self._compressor.compress(plain.data)
        if coded.digests.size_bytes >= plain.digests.size_bytes:
            return plain, Coding.IDENTITY
        return coded, self._compressor.coding

    def _captured(self, attributes: FileAttributes) -> Moment | None:
        if attributes.captured_at is None:
            return None
        return self.moment(attributes.captured_at, "captured_at")

    @staticmethod
    def _check_declared(upload: Upload, digests: Digests, field: str) -> None:
        if upload.sha256 is not None and upload.sha256 != digests.sha256:
            raise DigestMismatch.of(
                "sha256",
                f"the {field} has SHA-256 {digests.sha256}, but {upload.sha256} was declared",
                "send the bytes again: they changed in transit, or the digest is of other bytes",
            )

    def _draft(
        self,
        kind: FileKind,
        content_type: str,
        body: Body,
        media: MediaInfo,
        attributes: FileAttributes,
        moment: Moment | None,
        content: Digests | None = None,
        coding: Coding = Coding.IDENTITY,
    ) -> Draft:
        content = content or body.digests
        captured_at = moment.at if moment else None
        return Draft(
            file_id=_file_id(kind, content.sha256, media, attributes, captured_at),
            kind=kind,
            content_type=str(content_type),
            content=content,
            body=body,
            coding=coding,
            media=media,
            captured_at=captured_at,
            device_id=DeviceId(attributes.device_id) if attributes.device_id else None,
            violation_id=ViolationId(attributes.violation_id) if attributes.violation_id else None,
            metadata=None if attributes.metadata is None else metadata_text(attributes.metadata),
            historic=attributes.historic,
            original_name=attributes.original_name,
            given_by=attributes.given_by,
            may_add=attributes.may_add,
        )


def _file_id(
    kind: FileKind,
    sha256: Sha256,
    media: MediaInfo,
    attributes: FileAttributes,
    captured_at: datetime | None,
) -> FileId:
    if attributes.file_id is not None:
        return FileId(attributes.file_id)
    return derived_file_id(
        kind=kind,
        content_sha256=media.pixel_sha256 or sha256,
        device=attributes.device_id,
        violation=attributes.violation_id,
        captured_at=captured_at,
        metadata=attributes.metadata,
    )


def _check_size(size: int, limit_bytes: int, field: str) -> None:
    if size == 0:
        raise _empty(field)
    if size > limit_bytes:
        raise TooLarge.of(
            field,
            f"has {size} bytes",
            f"use at most {limit_bytes} (the setting max_{field}_bytes)",
        )


def _empty(field: str) -> InvalidInput:
    return InvalidInput.of(field, "is empty", "send the file's bytes")
