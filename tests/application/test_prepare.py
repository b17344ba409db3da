"""Preparing: real media in, checked; what is refused leaves nothing behind."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.application.rig import Rig, film, outcome, picture, streamed, violation_record
from tests.support import media
from traffic_storage.adapters.images.pillow import PillowImages
from traffic_storage.adapters.spool.disk import DiskSpool
from traffic_storage.application.inputs import ArrayImage, FileAttributes, Upload
from traffic_storage.application.store_files import StoreFiles
from traffic_storage.domain.digests import sha256_of
from traffic_storage.domain.encoding import Encoding, ImageFormat
from traffic_storage.domain.errors import (
    DigestMismatch,
    InvalidInput,
    TooLarge,
    TrafficStorageError,
    UndecodableMedia,
    UnsupportedMedia,
)
from traffic_storage.domain.files import FileKind
from traffic_storage.domain.identifiers import FileId
from traffic_storage.domain.image_layout import ChannelOrder
from traffic_storage.domain.placement import StorageStrategy
from traffic_storage.entrypoints.testing.containers import NOON
from traffic_storage.entrypoints.testing.contracts.spool import Source, pieces, taking
from traffic_storage.ports.spool import FileBody, MemoryBody

MAX_PIXELS = 2_500_000


def with_pillow(**settings: Any) -> Rig:
    return Rig(images=PillowImages(MAX_PIXELS, threads=1), max_pixels=MAX_PIXELS, **settings)


def check_nothing(rig: Rig) -> None:
    assert (dict(rig.files), rig.attempts, rig.spool.held) == ({}, [], [])
    assert not any(store.blobs for store in rig.at_rest.values())


@pytest.mark.parametrize("name", ["astronaut", "camera"])
@pytest.mark.parametrize("order", ChannelOrder)
async def test_a_photograph_as_an_array_is_encoded_and_comes_back(
    name: media.Photograph, order: ChannelOrder
) -> None:
    frame = media.photograph(name)
    rig = with_pillow(image_lossless=True)
    async with rig.running() as service:
        store = service.container.store_files().image
        stored = await store(ArrayImage(frame, order), FileAttributes.of(file_id="f"))
        assert stored.file.content_type == "image/webp"
        decoded, file = await service.read.image("f")
        assert decoded.pixels.shape == frame.shape
        assert np.array_equal(decoded.pixels, frame)
        assert file.media.channel_order == (order if frame.ndim == 3 else None)
        if frame.ndim == 3:
            other, _ = await service.read.image("f", ChannelOrder.RGB)
            expected = frame if order is ChannelOrder.RGB else frame[..., ::-1]
            assert np.array_equal(other.pixels, expected)


async def test_an_encoding_of_ones_own_wins_over_the_setting() -> None:
    rig = with_pillow()
    async with rig.running() as service:
        given = ArrayImage(media.photograph("chelsea"), encoding=Encoding(ImageFormat.JPEG))
        stored = await service.container.store_files().image(given, FileAttributes.of())
        assert stored.file.content_type == "image/jpeg"


@pytest.mark.parametrize("name", ["rocket", "hubble"])
async def test_a_jpeg_is_kept_byte_for_byte(name: media.ShippedJpeg) -> None:
    data = media.shipped_jpeg(name)
    async with with_pillow().running() as service:
        given = Upload(streamed(data, 65_536), "image/jpg", sha256_of(data))
        stored = await service.container.store_files().image(given, FileAttributes.of(file_id="f"))
        assert stored.file.content_type == "image/jpeg"
        assert stored.file.content.sha256 == sha256_of(data)
        assert (await service.read.whole("f"))[0] == data
        decoded, _ = await service.read.image("f")
        shown = stored.file.media
        assert decoded.pixels.shape == (shown.height, shown.width, shown.channels)


@pytest.mark.parametrize("container", ["mp4", "mov", "mkv", "webm", "ts", "avi"])
@pytest.mark.parametrize("chunk_bytes", [1_000, 10_000_000])
async def test_a_video_is_walked_while_it_comes(
    container: media.Container, chunk_bytes: int
) -> None:
    data = media.video(container)
    async with Rig(accept_unknown_video=False).running() as service:
        stored = await service.video(streamed(data, chunk_bytes), "v")
        assert stored.file.content_type.startswith("video/")
        assert (await service.read.whole("v"))[0] == data
        if stored.file.media.width is not None:
            size = (stored.file.media.width, stored.file.media.height)
            assert size == media.VIDEO_SIZE


async def test_a_duration_that_is_said_wins_over_the_containers() -> None:
    async with Rig().running() as service:
        store = service.container.store_files().video
        data = media.video("mp4")
        said = await store(Upload(data), FileAttributes.of(), duration_seconds=1.5)
        assert said.file.media.duration_seconds == 1.5
        found = await store(Upload(data), FileAttributes.of(file_id="b"))
        assert found.file.media.duration_seconds == pytest.approx(2.0, abs=0.2)


IMAGES: list[tuple[Any, type[InvalidInput], str]] = [
    (b"", InvalidInput, "image: is empty"),
    (streamed(b""), InvalidInput, "image: is empty"),
    (b"\x00" * 5_000, UnsupportedMedia, "image"),
    (media.truncated(media.shipped_jpeg("rocket")), UndecodableMedia, "image"),
    (media.truncated(media.shipped_jpeg("rocket"), 0.001), UndecodableMedia, "image"),
    (media.video("mp4"), UnsupportedMedia, "image"),
    (media.bomb_png(5_000), TooLarge, "image"),
    (np.zeros((2_000, 2_000, 3), np.uint8), TooLarge, "image: has 4000000 pixels"),
    (np.zeros((4, 4), np.float64), InvalidInput, "image: has dtype float64"),
    (np.zeros((0, 4, 3), np.uint8), InvalidInput, "image: is empty"),
    (b"x" * 3_000_000, TooLarge, "image: has 3000000 bytes"),
    (streamed(b"x" * 3_000_000, 100_000), TooLarge, "image: has more than 2000000 bytes"),
    (12, InvalidInput, "image: is a int"),
    (None, InvalidInput, "image: is a NoneType"),
    (Path("/nonexistent/photo.jpg"), InvalidInput, "/nonexistent/photo.jpg"),
    (Path("/dev"), InvalidInput, "/dev"),
]


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [pytest.param(*row, id=f"{row[1].__name__}-{n}") for n, row in enumerate(IMAGES)],
)
async def test_a_bad_image_is_refused_with_its_field_and_a_remedy(
    source: Any, error: type[InvalidInput], message: str
) -> None:
    rig = with_pillow(max_image_bytes=2_000_000)
    async with rig.running() as service:
        refusal = await outcome(service.image(source, "X"))
        assert isinstance(refusal, error)
        assert message in str(refusal)
        assert refusal.remedy
    check_nothing(rig)


async def _texts() -> AsyncIterator[Any]:
    yield "text"


# A box that claims to be shorter than its own head.
BROKEN_MP4 = media.video("mp4")[:32] + b"\0\0\0\3mdat" + b"\0" * 10_000
VIDEOS: list[tuple[Any, type[InvalidInput], str]] = [
    (b"", InvalidInput, "video: is empty"),
    (media.truncated(media.video("mp4")), UndecodableMedia, "video"),
    (media.truncated(media.video("mkv"), 0.9), UndecodableMedia, "video"),
    (streamed(media.truncated(media.video("avi"), 0.7), 999), UndecodableMedia, "video"),
    (b"\x00" * 5_000, UnsupportedMedia, "not a known video container"),
    (media.shipped_jpeg("rocket"), UnsupportedMedia, "video: is image/jpeg"),
    (streamed(b"x" * 3_000_000, 100_000), UnsupportedMedia, "video"),
    (media.video("mp4") + b"\x00" * 3_000_000, TooLarge, "video: has"),
    (streamed(BROKEN_MP4, 100), UndecodableMedia, "video"),
    (_texts(), InvalidInput, "video: yielded a chunk of type str, not bytes"),
    ("/nonexistent/segment.mp4", InvalidInput, "/nonexistent/segment.mp4"),
    (["bytes"], InvalidInput, "video: is a list"),
]


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [pytest.param(*row, id=f"{row[1].__name__}-{n}") for n, row in enumerate(VIDEOS)],
)
async def test_a_bad_video_is_refused_with_its_field_and_a_remedy(
    source: Any, error: type[InvalidInput], message: str
) -> None:
    rig = Rig(accept_unknown_video=False, max_video_bytes=2_000_000)
    async with rig.running() as service:
        refusal = await outcome(service.video(source, "X"))
        assert isinstance(refusal, error)
        assert message in str(refusal)
        assert refusal.remedy
    check_nothing(rig)


async def test_an_unknown_video_is_taken_where_the_setting_says_so() -> None:
    async with Rig(accept_unknown_video=True).running() as service:
        stored = await service.video(film(), "X")
        assert stored.file.content_type == "application/octet-stream"
        assert stored.file.media.width is None


async def test_a_binary_file_that_begins_like_markup_is_taken_as_an_unknown_video() -> None:
    recording = b"<vRECORDER" + bytes(range(256)) * 40
    async with Rig(accept_unknown_video=True).running() as service:
        assert (await service.video(recording, "X")).file.content_type == "application/octet-stream"


@pytest.mark.parametrize(
    "rubbish",
    [
        b"<html><body>401 Unauthorized</body></html>",
        "<!DOCTYPE html><p>Zugriff verweigert für Gäste".encode("latin-1"),
        b'{"statusString": "Device Busy"}',
        "Device Busy".encode("utf-16"),
        b"x",
        bytes(3),
        b"%PDF-1.7\n\xe2\xe3\xcf\xd3" + bytes(90),
        b"PK\x03\x04" + bytes(90),
        b"RIFF\x24\0\0\0WAVEfmt " + bytes(90),
        media.encoded(),
        media.encoded(image_format="PNG"),
    ],
    ids=str.split("html latin-1 json utf-16 letter zeros pdf zip wave jpeg png"),
)
async def test_what_is_known_to_be_no_video_is_refused_whatever_the_setting(rubbish: bytes) -> None:
    rig = Rig(accept_unknown_video=True)
    async with rig.running() as service:
        refusal = await outcome(service.video(rubbish, "X"))
        assert isinstance(refusal, UnsupportedMedia)
        assert refusal.remedy
    check_nothing(rig)


@pytest.mark.parametrize("first", [b"styp", b"moof", b"sidx", b"emsg", b"prft"])
async def test_a_segment_without_its_initialization_segment_is_named(first: bytes) -> None:
    segment = b"\0\0\0\x18" + first + bytes(16) + b"\0\0\0\x10mdat" + bytes(8)
    rig = Rig(accept_unknown_video=False)
    async with rig.running() as service:
        with pytest.raises(UnsupportedMedia, match="without its initialization segment") as refused:
            await service.video(segment, "X")
        assert "in front of it" in refused.value.remedy
    check_nothing(rig)


@pytest.mark.parametrize("declared", ["video/x-motion-jpeg", "Video/MJPEG; x=y"])
async def test_a_sequence_of_jpeg_images_is_a_video_where_it_is_declared(declared: str) -> None:
    dump = media.encoded() * 3
    async with Rig(accept_unknown_video=True).running() as service:
        given = Upload(dump, declared)
        store = service.container.store_files().video
        stored = await store(given, FileAttributes.of(file_id="X"))
        assert stored.file.content_type == "application/octet-stream"
        assert (await service.read.whole("X"))[0] == dump


@pytest.mark.parametrize(
    ("declared", "good"),
    [
        (None, True),
        ("", True),
        ("application/octet-stream", True),
        ("VIDEO/MP4; codecs=avc1", True),
        ("video/quicktime", True),
        ("video/webm", False),
        ("image/jpeg", False),
        ("\u202e" * 500, False),
    ],
)
async def test_a_declared_type_that_the_bytes_contradict_is_refused(
    declared: str | None, good: bool
) -> None:
    rig = Rig(accept_unknown_video=False)
    async with rig.running() as service:
        given = Upload(media.video("mp4"), declared)
        result = await outcome(
            service.container.store_files().video(given, FileAttributes.of(file_id="X"))
        )
        if good:
            assert result.file.content_type == "video/mp4"
            return
        assert isinstance(result, UnsupportedMedia)
        assert str(result).isascii()
        assert len(str(result)) < 300
    check_nothing(rig)


@pytest.mark.parametrize("kind", ["image", "video"])
async def test_a_declared_digest_that_the_bytes_contradict_is_refused(kind: str) -> None:
    data = media.shipped_jpeg("rocket") if kind == "image" else media.video("mp4")
    rig = with_pillow()
    async with rig.running() as service:
        files: StoreFiles = service.container.store_files()
        store: Any = files.image if kind == "image" else files.video
        wrong = Upload(media.flipped(data, 0.9), sha256=sha256_of(data))
        with pytest.raises(DigestMismatch, match=f"sha256: the {kind} has SHA-256"):
            await store(wrong, FileAttributes.of(file_id="X"))
        check_nothing(rig)
        assert (
            await store(Upload(data, sha256=sha256_of(data)), FileAttributes.of(file_id="X"))
        ).created


@pytest.mark.parametrize("data", [{"a": float("nan")}, {"a": b""}, [], "{}", None, {1: 2}])
async def test_metadata_that_is_no_json_object_is_refused(data: Any) -> None:
    rig = Rig()
    async with rig.running() as service:
        with pytest.raises(InvalidInput, match="data"):
            await service.json(data, "X")
    check_nothing(rig)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"quality": 0}, "image_quality"),
        ({"quality": 101}, "image_quality"),
        ({"effort": 7}, "image_effort"),
        ({"effort": -1}, "image_effort"),
        ({"format": ImageFormat.JPEG, "lossless": True}, "image_lossless"),
        ({"format": "tiff"}, "image_format"),
        ({"format": None}, "image_format"),
        ({"quality": "high"}, "image_quality"),
        ({"quality": True}, "image_quality"),
        ({"effort": None}, "image_effort"),
    ],
)
def test_an_encoding_that_no_format_has_is_refused(given: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Encoding(**given)
    (problem,) = caught.value.problems
    assert problem.field == field
    assert problem.remedy


def test_a_format_may_be_named() -> None:
    assert Encoding(format="jpeg").format is ImageFormat.JPEG


async def test_metadata_has_a_limit() -> None:
    rig = Rig(max_metadata_bytes=100)
    async with rig.running() as service:
        with pytest.raises(TooLarge, match=r"data: has 1\d\d bytes .*max_metadata_bytes"):
            await service.json({"a": "x" * 100})
    check_nothing(rig)


@pytest.mark.parametrize(
    "seconds", [-1, float("nan"), float("inf"), 10**400, 1e9, True, "10", b"", [1]]
)
async def test_a_duration_that_cannot_be_is_refused_before_anything_is_taken(seconds: Any) -> None:
    rig = Rig()
    async with rig.running() as service:
        with pytest.raises(InvalidInput, match="duration_seconds"):
            await service.container.store_files().video(
                Upload(film()), FileAttributes.of(), duration_seconds=seconds
            )
    check_nothing(rig)


# What happens to what was taken in


def source_of(data: bytes, error: BaseException | None = None) -> Source:
    """A stream of pieces of 1,000 bytes."""
    return Source(pieces(data, 1_000), error)


@pytest.mark.parametrize(
    "error", [ConnectionResetError("gone"), asyncio.CancelledError(), InvalidInput.of("a", "b")]
)
async def test_a_source_that_breaks_leaves_nothing(error: BaseException) -> None:
    rig = Rig()
    async with rig.running() as service:
        for store in (service.image, service.video):
            source = source_of(film(size=5_000), error)
            with pytest.raises(type(error)):
                await store(source)
            assert source.closed
    check_nothing(rig)


async def test_a_stream_that_is_wrong_is_not_read_to_its_end() -> None:
    rig = Rig(accept_unknown_video=False)
    source = source_of(b"no video " * 1_000_000)
    async with rig.running() as service:
        with pytest.raises(UnsupportedMedia):
            await service.video(source)
    assert source.closed
    assert source.given < 10
    check_nothing(rig)


async def test_a_stream_that_is_too_long_is_not_read_to_its_end() -> None:
    rig = Rig(max_video_bytes=20_000)
    source = source_of(b"\x00" * 1_000_000)
    async with rig.running() as service:
        with pytest.raises(TooLarge):
            await service.video(source)
    assert source.closed
    assert source.given == 21  # the piece with which it became too long is the last
    check_nothing(rig)


BAD: dict[str, Any] = {
    "a wrong time": {"timestamp": NOON + timedelta(days=30)},
    "a wrong duration": {"duration_seconds": -1},
    "a wrong digest": {"sha256": "0" * 64},
    "a wrong type": {"content_type": "image/tiff"},
}


@pytest.mark.parametrize("what", BAD)
@pytest.mark.parametrize("how", ["alone", "evidence"])
async def test_a_body_that_a_caller_took_in_is_released_whatever_fails(what: str, how: str) -> None:
    """HTTP takes files in before it knows what is said about them."""
    bad = BAD[what]
    rig = Rig(accept_unknown_video=False)
    async with rig.running() as service:
        bodies = AsyncExitStack()
        body = await bodies.enter_async_context(
            taking(service.container.spool(), streamed(media.video("mp4")))
        )
        video = Upload(body, bad.get("content_type"), bad.get("sha256"))
        work: Any
        if how == "alone":
            attributes = FileAttributes(captured_at=bad.get("timestamp"))
            seconds = bad.get("duration_seconds")
            work = service.container.store_files().video(
                video, attributes, duration_seconds=seconds, bodies=bodies
            )
        else:
            record = violation_record(timestamp=bad.get("timestamp", NOON))
            work = service.container.store_evidence()(
                record,
                ArrayImage(picture()),
                video,
                video_duration_seconds=bad.get("duration_seconds"),
                bodies=bodies,
            )
        assert len(rig.spool.held) == 1
        assert isinstance(await outcome(work), InvalidInput)
        assert rig.spool.held == []
    check_nothing(rig)


async def test_bodies_of_evidence_are_released_when_the_other_file_is_wrong() -> None:
    rig = Rig()
    async with rig.running() as service:
        spool = service.container.spool()
        for turns in range(1, 20):
            bodies = AsyncExitStack()
            video = await bodies.enter_async_context(taking(spool, streamed(film())))
            image = await bodies.enter_async_context(taking(spool, streamed(b"no picture")))
            work = service.container.store_evidence()(
                violation_record(), Upload(image), Upload(video), bodies=bodies
            )
            task = asyncio.ensure_future(outcome(work))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await service.container.tasks().settled()
            assert rig.spool.held == []
    check_nothing(rig)


async def test_a_body_is_stored_without_being_copied_or_taken_in_again() -> None:
    rig = Rig()
    async with rig.running() as service:
        data = film(size=10_000)
        async with taking(service.container.spool(), streamed(data)) as body:
            before = len(rig.script.steps)
            assert (await service.video(body, "X")).created
            assert "spool.take" not in {step.call for step in rig.script.steps[before:]}
        assert (await service.read.whole("X"))[0] == data
        with pytest.raises(InvalidInput, match="video: is empty"):
            await service.video(await service.container.spool().wrap(b""), "Y")


async def test_large_streams_go_through_a_file_and_small_ones_do_not(tmp_path: Path) -> None:
    data = hashlib.shake_256(b"large").digest(3_000_000)
    rig = Rig(StorageStrategy.LOCAL_ONLY)
    service = rig.boot()
    spool = DiskSpool(tmp_path / "spool")
    rig.spool.inner = spool
    await service.start()
    taken: list[Any] = []

    @asynccontextmanager
    async def watched(source: Any, **given: Any) -> AsyncIterator[Any]:
        async with spool_take(source, **given) as body:
            taken.append(body)
            yield body

    spool_take, spool.take = spool.take, watched  # type: ignore[method-assign]
    for name, content in (("large", data), ("small", data[:1_000])):
        await service.video(streamed(content, 100_000), name)
        assert (await service.read.whole(name))[0] == content
    assert [type(body) for body in taken] == [FileBody, MemoryBody]
    assert rig.spool.held == []
    assert not list((tmp_path / "spool").iterdir())
    await service.aclose()


async def test_the_first_error_is_raised_alone_and_the_rest_is_stopped() -> None:
    rig = Rig(accept_unknown_video=False)
    endless = source_of(media.video("mp4") + b"\x00" * 10_000_000)
    async with rig.running() as service:
        refusal = await outcome(service.evidence(violation_record(), b"no picture", endless))
        assert isinstance(refusal, TrafficStorageError)
        assert "image" in str(refusal)
    assert endless.closed
    assert endless.given < 10_000_000
    check_nothing(rig)


async def test_kinds_are_what_was_asked_for() -> None:
    rig = Rig()
    async with rig.running() as service:
        await service.evidence(violation_record(), picture(), film())
        kinds = {name: file.kind for name, file in rig.files.items()}
        assert kinds == {FileId(f"V001~{kind}"): kind for kind in FileKind}
