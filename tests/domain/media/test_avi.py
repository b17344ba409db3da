import pytest

from tests.domain.media.parts import chunk
from tests.domain.media.samples import sample, walk
from traffic_storage.domain.media import ContainerInfo, ContentType, MalformedMedia


def numbers(*values: int) -> bytes:
    return b"".join(value.to_bytes(4, "little") for value in values)


AVIH = chunk(b"avih", numbers(40_000, 0, 0, 0, 50, 0, 1, 0, 64, 48, 0, 0, 0, 0))
SOUND = chunk(b"LIST", b"strl" + chunk(b"strh", b"auds" + bytes(52)) + chunk(b"strf", bytes(18)))
VIDEO = chunk(
    b"LIST",
    b"strl"
    + chunk(b"strh", b"vids" + bytes(52))
    + chunk(b"strf", numbers(40, 64, 48, 0) + b"MJPG"),
)
HEADERS = chunk(b"LIST", b"hdrl" + AVIH + VIDEO)
FRAMES = chunk(b"LIST", b"movi" + chunk(b"00dc", bytes(33)))
INDEX = chunk(b"idx1", bytes(16))
FACTS = ContainerInfo(ContentType.AVI, 2.0, 64, 48, "MJPG")


def riff(content: bytes, form: bytes = b"AVI ") -> bytes:
    return chunk(b"RIFF", form + content)


def fault_of(film: bytes) -> MalformedMedia:
    with pytest.raises(MalformedMedia) as caught:
        walk(ContentType.AVI, film)
    return caught.value


@pytest.mark.parametrize(
    "film",
    [
        riff(HEADERS + FRAMES + INDEX),
        riff(chunk(b"JUNK", bytes(7)) + HEADERS + chunk(b"JUNK", bytes(5)) + FRAMES),
        riff(chunk(b"LIST", b"hdrl" + AVIH + SOUND + VIDEO) + FRAMES),
        riff(HEADERS + FRAMES) + riff(FRAMES, b"AVIX") * 2,
        riff(HEADERS + FRAMES + chunk(b"JUNK", bytes(3))[:-1]),
        riff(HEADERS + FRAMES + chunk(b"JUNK", bytes(3))[:-1])[:-1],
        riff(HEADERS + FRAMES + bytes(6)),
    ],
    ids=str.split("plain junk sound-first opendml pad-missing-inside pad-missing-at-end leftover"),
)
def test_forms_of_the_same_film(film: bytes) -> None:
    assert walk(ContentType.AVI, film) == FACTS


def test_opendml_counts_the_frames_of_all_riffs() -> None:
    extended = chunk(b"LIST", b"odml" + chunk(b"dmlh", numbers(150) + bytes(244)))
    headers = chunk(b"LIST", b"hdrl" + AVIH + VIDEO + extended)
    film = riff(headers + FRAMES) + riff(FRAMES, b"AVIX")
    assert walk(ContentType.AVI, film).duration_seconds == 6.0


def test_a_real_film_that_continues_in_a_second_riff() -> None:
    film = sample("avi")
    assert walk(ContentType.AVI, film + riff(FRAMES, b"AVIX")) == walk(ContentType.AVI, film)
    assert fault_of(film + riff(FRAMES, b"AVIX")[:-1]).reason.startswith("the file ends inside")


@pytest.mark.parametrize(
    ("header", "info"),
    [
        (numbers(0, 0, 0, 0, 50, 0, 1, 0, 64, 48), ContainerInfo(ContentType.AVI, None, 64, 48)),
        (
            numbers(0xFFFFFFFF, 0, 0, 0, 0xFFFFFFFF, 0, 1, 0, 64, 0xFFFFFFFF),
            ContainerInfo(ContentType.AVI),
        ),
    ],
)
def test_implausible_headers_are_none(header: bytes, info: ContainerInfo) -> None:
    film = riff(chunk(b"LIST", b"hdrl" + chunk(b"avih", header)) + FRAMES)
    assert walk(ContentType.AVI, film) == info


WHOLE = riff(HEADERS + FRAMES)


@pytest.mark.parametrize(
    ("film", "offset", "reason"),
    [
        (b"", 0, "the file doesn't begin with a RIFF chunk of form 'AVI '"),
        (
            riff(HEADERS + FRAMES, b"WAVE"),
            0,
            "the file doesn't begin with a RIFF chunk of form 'AVI '",
        ),
        (WHOLE[:-1], len(WHOLE) - 1, "the file ends inside chunk '00dc', 1 bytes short"),
        (riff(HEADERS), len(riff(HEADERS)), "the file ends without the list 'movi' of frames"),
        (riff(FRAMES), len(riff(FRAMES)), "the file ends without the main header 'avih'"),
        (
            WHOLE[: -len(FRAMES)],
            len(WHOLE) - len(FRAMES),
            f"the file ends inside chunk 'RIFF', {len(FRAMES)} bytes short",
        ),
        (b"RIFF" + bytes(4) + b"AVI ", 12, "the file ends without the main header 'avih'"),
        (riff(b"LIST" + bytes(8)), 12, "chunk 'LIST' has the impossible size 0"),
        (
            riff(b"JUNK\xff\xff\xff\xff"),
            20,
            "the file ends inside chunk 'JUNK', 4294967295 bytes short",
        ),
        (
            riff(chunk(b"LIST", b"hdrl" + chunk(b"avih", bytes(38)))),
            32,
            "chunk 'avih' is too short for its fields",
        ),
    ],
)
def test_what_is_wrong_is_said_in_words(film: bytes, offset: int, reason: str) -> None:
    fault = fault_of(film)
    assert (fault.container, fault.offset_bytes) == (ContentType.AVI, offset)
    assert fault.reason == reason


@pytest.mark.parametrize(
    "content",
    [
        b"",
        chunk(b"00dc"),
        chunk(b"JUNK", bytes(30)) + chunk(b"ix00", bytes(24)),
        chunk(b"01wb", bytes(30)),
        chunk(b"LIST", b"rec " + chunk(b"00dc") + chunk(b"01wb", bytes(8))),
    ],
    ids=str.split("empty empty-frame junk-and-index sound-only empty-record"),
)
def test_a_film_without_a_frame_is_refused(content: bytes) -> None:
    fault = fault_of(riff(HEADERS + chunk(b"LIST", b"movi" + content) + INDEX))
    assert fault.reason == "the file ends without a frame: the list 'movi' has none"


def test_a_frame_may_follow_sound_or_stand_in_a_record() -> None:
    for content in (
        chunk(b"01wb", bytes(9)) + chunk(b"00dc") + chunk(b"00dc", bytes(9)),
        chunk(b"LIST", b"rec " + chunk(b"01wb", bytes(8)) + chunk(b"00db", bytes(8))),
    ):
        assert walk(ContentType.AVI, riff(HEADERS + chunk(b"LIST", b"movi" + content))) == FACTS


@pytest.mark.parametrize("off", [8, -8, 4, -4, 1, None])
@pytest.mark.parametrize("rest", [b"", INDEX], ids=["no-index", "index"])
def test_a_riff_size_that_is_a_little_off_or_0(off: int | None, rest: bytes) -> None:
    film = riff(HEADERS + FRAMES + rest)
    size = 0 if off is None else len(film) - 8 + off
    assert walk(ContentType.AVI, film[:4] + numbers(size) + film[8:]) == FACTS


@pytest.mark.parametrize(
    "trailer",
    [
        b"\x11",
        b"\x11\x22\x33",
        bytes(9),
        bytes(1 << 16),
        b"Camera 7, firmware 1.2\r\n" * 50,
        b"\xff" * 5000,
        INDEX,
        riff(HEADERS + FRAMES),
    ],
    ids=str.split("byte three zeros many-zeros text ones index second-film"),
)
def test_bytes_after_a_whole_film_are_stored(trailer: bytes) -> None:
    film = riff(HEADERS + FRAMES + INDEX)
    assert walk(ContentType.AVI, film + trailer) == FACTS


@pytest.mark.parametrize(
    ("frame_us", "frames", "scale", "rate", "length", "seconds"),
    [
        (0, 50, 1, 25, 50, 2.0),
        (40_000, 0, 1, 25, 50, 2.0),
        (0, 0, 1001, 30_000, 300, 10.01),
        (40_000, 50, 0, 0, 0, 2.0),
        (40_000, 50, 1, 0, 0, 2.0),
        (0, 0, 0, 0, 0, None),
        (33_333, 50, 1, 10, 50, 5.0),
    ],
)
def test_the_stream_header_tells_frames_and_rate(
    frame_us: int, frames: int, scale: int, rate: int, length: int, seconds: float | None
) -> None:
    avih = chunk(b"avih", numbers(frame_us, 0, 0, 0, frames, 0, 1, 0, 0, 0))
    strh = chunk(b"strh", b"vids" + bytes(16) + numbers(scale, rate, 0, length) + bytes(20))
    strf = chunk(b"strf", numbers(40, 64, 0xFFFFFFD0, 0) + b"MJPG")
    headers = chunk(b"LIST", b"hdrl" + avih + chunk(b"LIST", b"strl" + strh + strf))
    info = walk(ContentType.AVI, riff(headers + FRAMES))
    assert info.duration_seconds == (None if seconds is None else pytest.approx(seconds))
    assert (info.width, info.height) == (64, 48)
