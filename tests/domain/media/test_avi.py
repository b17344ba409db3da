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
        (WHOLE[:-1], len(WHOLE) - 1, "the file ends inside chunk 'LISTmovi', 1 bytes short"),
        (riff(HEADERS), len(riff(HEADERS)), "the file ends without the list 'movi' of frames"),
        (riff(FRAMES), len(riff(FRAMES)), "the file ends without the main header 'avih'"),
        (WHOLE + INDEX, len(WHOLE), "chunk 'idx1' can't follow a RIFF chunk"),
        (WHOLE + WHOLE, len(WHOLE), "chunk 'RIFFAVI ' can't follow a RIFF chunk"),
        (b"RIFF" + bytes(4) + b"AVI ", 0, "chunk 'RIFF' has the impossible size 0"),
        (riff(b"LIST" + bytes(8)), 12, "chunk 'LIST' has the impossible size 0"),
        (riff(b"JUNK\xff\xff\xff\xff"), 12, "chunk 'JUNK' is larger than the chunk around it"),
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
