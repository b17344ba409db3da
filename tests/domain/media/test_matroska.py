import struct

import pytest

from tests.domain.media.parts import (
    CLUSTER,
    EBML,
    INFO,
    SEGMENT,
    SIMPLE_BLOCK,
    TRACKS,
    UNKNOWN_SIZE,
    VOID,
    ebml_header,
    element,
)
from tests.domain.media.samples import RECIPES, sample, walk
from traffic_storage.domain.media import ContainerInfo, ContentType, MalformedMedia

SCALE = element(b"\x2a\xd7\xb1", (1_000_000).to_bytes(3))
DURATION = element(b"\x44\x89", struct.pack(">d", 2500))
INFORMATION = element(INFO, SCALE + DURATION)


def track_entry(kind: int = 1, codec: bytes = b"V_VP8", width: int = 64, height: int = 48) -> bytes:
    sides = element(b"\xb0", width.to_bytes(8)) + element(b"\xba", height.to_bytes(2))
    return element(
        b"\xae",
        element(b"\x83", bytes([kind])) + element(b"\x86", codec) + element(b"\xe0", sides),
    )


TRACK_LIST = element(TRACKS, track_entry())
BLOCKS = element(b"\xe7", b"\0") + element(SIMPLE_BLOCK, bytes(50)) * 3
KNOWN_CLUSTER = element(CLUSTER, BLOCKS)
OPEN_CLUSTER = element(CLUSTER, BLOCKS, size=UNKNOWN_SIZE)
CONTENT = INFORMATION + TRACK_LIST + KNOWN_CLUSTER
FACTS = ContainerInfo(ContentType.WEBM, 2.5, 64, 48, "V_VP8")


def manifest_of(*parts: bytes) -> ContainerInfo:
    return walk(ContentType.WEBM, b"".join(parts))


def fault_of(*parts: bytes) -> MalformedMedia:
    with pytest.raises(MalformedMedia) as caught:
        manifest_of(*parts)
    return caught.value


def with_segment(content: bytes) -> bytes:
    return ebml_header() + element(SEGMENT, content)


@pytest.mark.parametrize(
    "film",
    [
        with_segment(CONTENT),
        with_segment(KNOWN_CLUSTER + TRACK_LIST + INFORMATION),
        with_segment(INFORMATION + TRACK_LIST + OPEN_CLUSTER),
        with_segment(OPEN_CLUSTER + OPEN_CLUSTER + INFORMATION + TRACK_LIST),
        with_segment(element(b"\xbf", bytes(4)) + element(VOID, bytes(9)) + CONTENT),
        with_segment(CONTENT) + element(VOID, bytes(9)),
        with_segment(CONTENT) + ebml_header(b"matroska") + element(SEGMENT, CONTENT),
        ebml_header() + element(VOID) + element(SEGMENT, CONTENT),
        ebml_header() + element(SEGMENT, CONTENT, size=UNKNOWN_SIZE),
        ebml_header() + element(SEGMENT, CONTENT, size=b"\xff"),
        ebml_header()
        + element(SEGMENT, INFORMATION + TRACK_LIST + OPEN_CLUSTER * 3, size=UNKNOWN_SIZE),
        (ebml_header() + element(SEGMENT, CONTENT + OPEN_CLUSTER, size=UNKNOWN_SIZE)) * 2,
        with_segment(INFORMATION + element(TRACKS, track_entry(2) + track_entry()) + KNOWN_CLUSTER),
        with_segment(
            INFORMATION + element(TRACKS, track_entry() + track_entry(1, b"V_X", 9, 9)) + CONTENT
        ),
    ],
    ids=str.split(
        "known clusters-first open-cluster open-clusters void-inside void-after two-documents "
        "void-before-segment open-segment open-segment-short-size all-open open-documents "
        "sound-first two-videos"
    ),
)
def test_forms_of_the_same_film(film: bytes) -> None:
    assert manifest_of(film) == FACTS


def test_the_doc_type_decides_which_of_the_two_it_is() -> None:
    film = ebml_header(b"matroska") + element(SEGMENT, CONTENT)
    assert manifest_of(film).container is ContentType.MATROSKA


@pytest.mark.parametrize(
    ("information", "seconds"),
    [
        (element(b"\x44\x89", struct.pack(">f", 1500)), 1.5),
        (element(b"\x2a\xd7\xb1", (10_000_000).to_bytes(4)) + DURATION, 25.0),
        (DURATION + element(b"\x2a\xd7\xb1", (500_000).to_bytes(4)), 1.25),
        (element(b"\x2a\xd7\xb1", b"") + DURATION, None),
        (element(b"\x44\x89", struct.pack(">d", float("nan"))), None),
        (element(b"\x44\x89", struct.pack(">d", float("inf"))), None),
        (element(b"\x44\x89", struct.pack(">d", -1)), None),
        (
            element(b"\x2a\xd7\xb1", b"\xff" * 8) + element(b"\x44\x89", b"\x7f\xef" + b"\xff" * 6),
            None,
        ),
        (element(b"\x44\x89", b""), None),
        (element(b"\x44\x89", bytes(100)), None),
        (b"", None),
    ],
)
def test_durations(information: bytes, seconds: float | None) -> None:
    film = with_segment(element(INFO, information) + TRACK_LIST + KNOWN_CLUSTER)
    assert manifest_of(film).duration_seconds == seconds


@pytest.mark.parametrize(
    "entry",
    [
        track_entry(width=0),
        track_entry(width=1 << 16),
        track_entry(width=(1 << 64) - 1),
        track_entry(height=0),
    ],
)
def test_implausible_sides_are_none(entry: bytes) -> None:
    facts = manifest_of(with_segment(element(TRACKS, entry) + KNOWN_CLUSTER))
    assert facts == ContainerInfo(ContentType.WEBM, video_codec="V_VP8")


@pytest.mark.parametrize("codec", [b"", b"V\0V", b"V_" + b"X" * 63, "V_Ü".encode()])
def test_a_codec_that_is_no_short_text_is_none(codec: bytes) -> None:
    film = with_segment(element(TRACKS, track_entry(codec=codec)) + KNOWN_CLUSTER)
    assert manifest_of(film).video_codec is None


def test_a_film_without_video_track_has_no_size() -> None:
    film = with_segment(INFORMATION + element(TRACKS, track_entry(2)) + KNOWN_CLUSTER)
    assert manifest_of(film) == ContainerInfo(ContentType.WEBM, 2.5)


HEAD = len(ebml_header())


@pytest.mark.parametrize(
    ("film", "offset", "reason"),
    [
        (b"", 0, "the file is empty"),
        (element(VOID) + with_segment(CONTENT), 0, "there is no EBML header"),
        (element(EBML, b""), 0, "the EBML header names no DocType"),
        (ebml_header(b"webm2"), 8, "the DocType is neither matroska nor webm"),
        (ebml_header(b"x" * 99), 8, "the DocType is neither matroska nor webm"),
        (ebml_header(), HEAD, "no Segment follows the EBML header"),
        (ebml_header() + KNOWN_CLUSTER, HEAD + 8, "no Segment follows the EBML header"),
        (with_segment(TRACK_LIST), HEAD + 8 + len(TRACK_LIST), "the file ends without a Cluster"),
        (
            with_segment(KNOWN_CLUSTER),
            HEAD + 8 + len(KNOWN_CLUSTER),
            "the file ends without Tracks",
        ),
        (
            with_segment(CONTENT)[:-3],
            HEAD + 8 + len(CONTENT) - 3,
            "the file ends inside element 0x1F43B675, 3 bytes short",
        ),
        (with_segment(b"\x00\x81\x00"), HEAD + 8, "there is no valid element header"),
        (with_segment(b"\x08\x81\x00"), HEAD + 8, "there is no valid element header"),
        (with_segment(b"\xec\x00\x00"), HEAD + 8, "there is no valid element header"),
        (
            with_segment(element(INFO, size=UNKNOWN_SIZE)),
            HEAD + 8,
            "element 0x1549A966 has an unknown size, which is not allowed there",
        ),
        (
            with_segment(element(TRACKS, element(CLUSTER, size=UNKNOWN_SIZE))),
            HEAD + 16,
            "element 0x1F43B675 has an unknown size, which is not allowed there",
        ),
        (
            with_segment(element(INFO, element(VOID, size=b"\x85"))),
            HEAD + 16,
            "element 0xEC is larger than the element around it",
        ),
        (
            with_segment(CONTENT) + KNOWN_CLUSTER,
            HEAD + 8 + len(CONTENT),
            "there is no EBML header",
        ),
        (
            with_segment(CONTENT) + with_segment(CONTENT)[:-3],
            2 * len(with_segment(CONTENT)) - 3,
            "the file ends inside element 0x1F43B675, 3 bytes short",
        ),
    ],
)
def test_what_is_wrong_is_said_in_words(film: bytes, offset: int, reason: str) -> None:
    fault = fault_of(film)
    assert fault.offset_bytes == offset
    assert fault.reason == reason
    assert fault.container in {ContentType.MATROSKA, ContentType.WEBM}


def test_a_real_live_stream_has_a_segment_of_unknown_size() -> None:
    film = sample("mkv-live")
    at = film.index(SEGMENT) + 4
    assert film[at : at + 8] == UNKNOWN_SIZE
    assert walk(RECIPES["mkv-live"].content_type, film).width == 64


BLOCK_GROUP, BLOCK, TIME = b"\xa0", b"\xa1", element(b"\xe7", b"\0")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        TIME,
        TIME + element(SIMPLE_BLOCK),
        TIME + element(SIMPLE_BLOCK, b"\x81\0\0\0"),
        TIME + element(BLOCK_GROUP, element(b"\x9b", b"\1")),
        TIME + element(BLOCK_GROUP, element(BLOCK, b"\x81\0\0\0")),
        TIME + element(VOID, bytes(500)),
    ],
    ids=str.split("empty time empty-block block-header group empty-in-group void"),
)
@pytest.mark.parametrize("size", [None, UNKNOWN_SIZE], ids=["known", "open"])
def test_a_film_without_a_frame_is_refused(content: bytes, size: bytes | None) -> None:
    fault = fault_of(with_segment(INFORMATION + TRACK_LIST + element(CLUSTER, content, size=size)))
    assert fault.reason == "the file ends without a frame: no Cluster has a Block with content"


@pytest.mark.parametrize("size", [None, UNKNOWN_SIZE], ids=["known", "open"])
def test_a_frame_may_be_in_a_group_of_a_later_cluster(size: bytes | None) -> None:
    block = element(BLOCK_GROUP, element(b"\x9b", b"\1") + element(BLOCK, bytes(20)))
    clusters = element(CLUSTER, TIME, size=size) + element(CLUSTER, TIME + block, size=size)
    assert manifest_of(with_segment(INFORMATION + TRACK_LIST + clusters)) == FACTS


@pytest.mark.parametrize(
    "trailer",
    [b"\x11", b"\x11\x22\x33", bytes(5), bytes(1 << 16), b"Camera 7\r\n" * 50, b"\xff" * 5000],
    ids=str.split("byte three zeros many-zeros text ones"),
)
def test_bytes_after_a_whole_film_are_stored(trailer: bytes) -> None:
    assert manifest_of(with_segment(CONTENT), trailer) == FACTS


def test_a_long_live_film_of_small_blocks_is_stored() -> None:
    """15 minutes of a still scene with quiet sound: 28 bytes a block."""
    picture = element(SIMPLE_BLOCK, b"\x81\0\0\0" + bytes(36), size=b"\xa8")
    sound = element(SIMPLE_BLOCK, b"\x82\0\0\0" + bytes(14), size=b"\x92")
    second = element(CLUSTER, TIME + picture * 30 + sound * 50, size=UNKNOWN_SIZE)
    film = ebml_header() + element(SEGMENT, TRACK_LIST + second * 900, size=UNKNOWN_SIZE)
    assert manifest_of(film).width == 64
