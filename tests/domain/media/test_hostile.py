"""Whatever the bytes: info or `MalformedMedia`, the same in any chunks, in bounded time and room."""

import pickle
import sys
import tracemalloc
from collections.abc import Iterator
from types import FrameType

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.domain.media.parts import (
    CLUSTER,
    SEGMENT,
    SIMPLE_BLOCK,
    TRACKS,
    UNKNOWN_SIZE,
    association,
    box,
    chunk,
    ebml_header,
    element,
    large_box,
    movie_header,
    packet,
    pcr_packet,
    table_packet,
    track,
)
from tests.domain.media.samples import RECIPES, outcome, sample, walker_for
from traffic_storage.domain.media import (
    ACCEPTED_VIDEOS,
    ContainerInfo,
    ContentType,
    MalformedMedia,
)

FTYP = box(b"ftyp", b"isom" + bytes(4))
BEGINS = [
    b"",
    FTYP,
    FTYP + box(b"moov", movie_header(timescale=1, duration=1) + track()),
    b"\0\0\xff\xffmoov\0\0\xff\0trak",
    ebml_header(),
    ebml_header() + element(SEGMENT, size=UNKNOWN_SIZE),
    ebml_header() + element(SEGMENT, element(CLUSTER, size=UNKNOWN_SIZE), size=UNKNOWN_SIZE),
    b"RIFF\xff\xff\0\0AVI ",
    b"RIFF\xff\xff\0\0AVI LIST\xff\xff\0\0hdrl",
    association([(1, 256)]) + packet(256),
]
SIZES = [0, 1, 2, 7, 8, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, (1 << 63) - 1, (1 << 64) - 1]


@st.composite
def damaged(draw: st.DrawFn) -> tuple[ContentType, bytes]:
    """A real file with bits flipped, numbers replaced, and pieces cut out, doubled or moved."""
    name = draw(st.sampled_from(sorted(RECIPES)))
    film = bytearray(sample(name))
    for _ in range(draw(st.integers(1, 6))):
        # Most of what a walker reads stands at the begin.
        at = draw(st.integers(0, max(0, len(film) - 1)) | st.integers(0, min(900, len(film))))
        end = min(len(film), at + draw(st.integers(0, 400)))
        match draw(st.sampled_from(["flip", "size", "cut", "double", "insert"])):
            case "flip" if at < len(film):
                film[at] ^= 1 << draw(st.integers(0, 7))
            case "size":
                width = draw(st.sampled_from([1, 4, 8]))
                number = draw(st.sampled_from(SIZES)) % (1 << 8 * width)
                big_endian = number.to_bytes(width)
                film[at : at + width] = big_endian[:: draw(st.sampled_from([1, -1]))]
            case "cut":
                del film[at:end]
            case "double":
                film[at:at] = film[at:end]
            case _:
                film[at:at] = draw(st.binary(max_size=20))
    return RECIPES[name].content_type, bytes(film)


def is_in_bounds(found: ContainerInfo | tuple[ContentType, int, str], size: int) -> bool:
    """Whether what was found may be stored as it is, or is an error inside the file."""
    if not isinstance(found, ContainerInfo):
        return 0 <= found[1] <= size and bool(found[2]) and found[2].isprintable()
    return (
        (found.duration_seconds is None or 0 < found.duration_seconds <= 366 * 86400)
        and (found.width is None) == (found.height is None)
        and all(0 < side < 1 << 16 for side in (found.width, found.height) if side is not None)
        and (found.video_codec is None or found.video_codec.isprintable())
    )


@given(st.sampled_from(sorted(ACCEPTED_VIDEOS)), st.sampled_from(BEGINS), st.binary(max_size=2000))
@settings(deadline=None)
@example(ContentType.MP4, b"", b"\0\0\0\0" * 4)
def test_any_bytes_are_facts_or_malformed(kind: ContentType, begin: bytes, rest: bytes) -> None:
    found = outcome(kind, begin + rest)
    assert is_in_bounds(found, len(begin + rest))
    assert outcome(kind, begin + rest, chunk_bytes=7) == found


@given(damaged(), st.integers(1, 300))
@settings(deadline=None)
def test_a_damaged_film_is_facts_or_malformed(
    film: tuple[ContentType, bytes], chunk_bytes: int
) -> None:
    kind, data = film
    found = outcome(kind, data)
    assert is_in_bounds(found, len(data))
    assert outcome(kind, data, chunk_bytes=chunk_bytes) == found


@pytest.mark.parametrize("name", ["mp4-faststart", "mkv", "avi-mjpeg"])
def test_every_size_field_may_lie(name: str) -> None:
    """At every third byte, a number becomes 0, 1 and all ones of 32 and of 64 bits."""
    kind, film = RECIPES[name].content_type, sample(name)
    for at in range(0, min(1200, len(film)), 3):
        for lie in (bytes(4), b"\0\0\0\1", b"\xff" * 4, b"\xff" * 8):
            lied = film[:at] + lie + film[at + len(lie) :]
            assert is_in_bounds(outcome(kind, lied), len(lied))


@pytest.mark.parametrize("kind", sorted(ACCEPTED_VIDEOS))
def test_an_error_stays(kind: ContentType) -> None:
    walker = walker_for(kind)
    with pytest.raises(MalformedMedia) as first:
        walker.feed(b"no film at all" * 1000)
    for again in (lambda: walker.feed(b"more"), walker.finish):
        with pytest.raises(MalformedMedia) as later:
            again()
        assert later.value is first.value


@pytest.mark.parametrize("kind", sorted(ACCEPTED_VIDEOS))
def test_an_error_found_at_the_end_stays(kind: ContentType) -> None:
    walker = walker_for(kind)
    for _ in range(2):
        with pytest.raises(MalformedMedia):
            walker.finish()
    with pytest.raises(MalformedMedia):
        walker.feed(b"more")


@pytest.mark.parametrize("name", ["mp4", "mkv", "ts", "avi"])
def test_a_walker_is_for_one_file(name: str) -> None:
    walker = walker_for(RECIPES[name].content_type)
    walker.feed(sample(name))
    assert walker.finish() == walker.finish()
    with pytest.raises(RuntimeError):
        walker.feed(sample(name))


@pytest.mark.parametrize("name", ["mp4", "mkv", "ts", "avi"])
def test_a_chunk_is_let_go(name: str) -> None:
    walker = walker_for(RECIPES[name].content_type)
    buffer = bytearray(sample(name))
    walker.feed(buffer)
    # A buffer that somebody still looks at can't change its size.
    buffer.clear()
    walker.finish()
    broken = walker_for(RECIPES[name].content_type)
    buffer.extend(b"broken" * 5000)
    with pytest.raises(MalformedMedia):
        broken.feed(buffer)
    buffer.clear()


def test_an_error_survives_a_process_boundary() -> None:
    error = MalformedMedia(ContentType.AVI, 7, "the file is empty")
    copy = pickle.loads(pickle.dumps(error))
    assert str(copy) == str(error)
    assert (copy.container, copy.offset_bytes, copy.reason) == (ContentType.AVI, 7, error.reason)


TINY_PARTS = {
    "boxes": (ContentType.MP4, FTYP, box(b"free")),
    "boxes in moov": (ContentType.MP4, FTYP + (1 << 30).to_bytes(4) + b"moov", box(b"mvex")),
    "tracks": (ContentType.MP4, FTYP + (1 << 30).to_bytes(4) + b"moov", track()),
    "elements": (ContentType.WEBM, BEGINS[6], b"\xec\x80"),
    "clusters": (ContentType.WEBM, BEGINS[5], CLUSTER + b"\x80"),
    "blocks": (ContentType.WEBM, BEGINS[6], element(SIMPLE_BLOCK, bytes(12))),
    "chunks": (ContentType.AVI, b"RIFF\xff\xff\xff\x7fAVI ", chunk(b"JUNK")),
    "lists": (
        ContentType.AVI,
        b"RIFF\xff\xff\xff\x7fAVI LIST\0\xff\xff\x7fhdrl",
        b"LIST\4\0\0\0strl",
    ),
    "associations": (ContentType.MPEG_TS, packet(1) * 64, packet(0, begins=True)),
    "maps": (ContentType.MPEG_TS, association([(1, 256)]), table_packet(256, 5, b"")),
    "clocks": (ContentType.MPEG_TS, association([(1, 256)]), pcr_packet(9, 1)),
}


def stream(begin: bytes, part: bytes, total_bytes: int) -> Iterator[bytes]:
    yield begin
    piece = part * ((1 << 20) // len(part) + 1)
    for _ in range(0, total_bytes, len(piece)):
        yield piece


def work_on(kind: ContentType, chunks: Iterator[bytes]) -> tuple[int, int]:
    """How many bytes the walker was fed, and how many calls it made, until it had or refused all.

    Calls, unlike seconds, are the same on every machine and under every tracer.
    """
    walker, fed_bytes, calls = walker_for(kind), 0, 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        for piece in chunks:
            fed_bytes += len(piece)
            walker.feed(piece)
    except MalformedMedia:
        pass
    finally:
        sys.setprofile(before)
    return fed_bytes, calls


@pytest.mark.parametrize("name", TINY_PARTS)
def test_a_file_of_tiny_parts_costs_bounded_work(name: str) -> None:
    kind, begin, part = TINY_PARTS[name]
    fed_bytes, calls = work_on(kind, stream(begin, part, 1 << 20))
    assert calls < 500_000 + 5 * fed_bytes


def test_a_file_of_nothing_but_parts_is_refused() -> None:
    for kind, begin, part in (TINY_PARTS["elements"], TINY_PARTS["clusters"]):
        found = outcome(kind, begin + part * (1 << 15))
        assert isinstance(found, tuple)
        assert "boxes, chunks or elements, too many" in found[2]


def element_size(size: int) -> bytes:
    """The longest form of a size."""
    return (1 << 56 | size).to_bytes(8)


HUGE = {
    "media": (ContentType.MP4, FTYP + large_box(b"mdat")[:8] + b"\xff" * 8),
    "movie": (ContentType.MP4, FTYP + b"\xff\xff\xff\xffmoov" + b"\xff\xff\xff\0mvhd"),
    "sample table": (ContentType.MP4, FTYP + b"\xff\xff\xff\xffmoov\xff\xff\xff\0trak"),
    "cluster": (ContentType.WEBM, BEGINS[5] + CLUSTER + element_size(1 << 50)),
    "codec": (
        ContentType.WEBM,
        BEGINS[5]
        + TRACKS
        + element_size(1 << 40)
        + b"\xae"
        + element_size(1 << 39)
        + b"\x86"
        + element_size(1 << 38),
    ),
    "frames": (ContentType.AVI, b"RIFF\xff\xff\xff\xffAVI LIST\0\xff\xff\xffmovi"),
    "packets": (ContentType.MPEG_TS, association([(1, 256)])),
}


@pytest.mark.parametrize("name", HUGE)
def test_a_huge_file_is_walked_in_little_room(name: str) -> None:
    kind, begin = HUGE[name]
    piece = packet(1) * 1000 if kind is ContentType.MPEG_TS else bytes(188_000)
    walker = walker_for(kind)
    walker.feed(begin)
    tracemalloc.start()
    try:
        for _ in range(200):
            walker.feed(piece)
        _, peak_bytes = tracemalloc.get_traced_memory()
    except MalformedMedia:
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < (2 << 20)
