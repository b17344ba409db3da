import pytest

from tests.domain.media.parts import box, large_box, last_box, movie_header, track
from tests.domain.media.samples import sample, walk
from traffic_storage.domain.media import ContainerInfo, ContentType, MalformedMedia

FTYP = box(b"ftyp", b"isom" + bytes(4) + b"isom")
MDAT = box(b"mdat", bytes(100))
HEADER = movie_header(timescale=1000, duration=2500)
WIDE_HEADER = movie_header(timescale=1000, duration=2500, version=1)
MOOV = box(b"moov", HEADER + track())
SOUND = track(handler=b"soun", codec=b"mp4a", presented=(0, 0))
FACTS = ContainerInfo(ContentType.MP4, 2.5, 64, 48, "avc1")


def manifest_of(*boxes: bytes) -> ContainerInfo:
    return walk(ContentType.MP4, b"".join(boxes))


def fault_of(*boxes: bytes) -> MalformedMedia:
    with pytest.raises(MalformedMedia) as caught:
        manifest_of(*boxes)
    return caught.value


@pytest.mark.parametrize(
    "boxes",
    [
        (FTYP, MOOV, MDAT),
        (FTYP, MDAT, MOOV),
        (FTYP, MOOV, large_box(b"mdat", bytes(100))),
        (FTYP, MOOV, last_box(b"mdat", bytes(100))),
        (FTYP, MDAT, large_box(b"moov", HEADER + track())),
        (FTYP, MDAT, last_box(b"moov", HEADER + track())),
        (FTYP, box(b"uuid", bytes(16)), MOOV, box(b"free"), MDAT, box(b"zzzz", bytes(3))),
        (FTYP, MOOV, MDAT, box(b"moov", movie_header(timescale=1, duration=99))),
        (FTYP, box(b"moov", WIDE_HEADER + track(version=1)), MDAT),
        (FTYP, box(b"moov", HEADER + SOUND + track()), MDAT),
        (FTYP, box(b"moov", HEADER + track() + track(presented=(8, 8), codec=b"hvc1")), MDAT),
        (FTYP, box(b"moov", HEADER + track(presented=(0, 0))), MDAT),
        # QuickTime ends some atoms with a zero.
        (FTYP, box(b"moov", HEADER + track() + bytes(4)), MDAT),
    ],
    ids=str.split(
        "media-last media-first large-media open-media large-moov open-moov unknown-boxes "
        "second-moov version-1 sound-first two-videos size-from-sample-entry terminator"
    ),
)
def test_forms_of_the_same_movie(boxes: tuple[bytes, ...]) -> None:
    assert manifest_of(*boxes) == FACTS


def test_a_movie_without_video_has_only_a_duration() -> None:
    moov = box(b"moov", HEADER + SOUND)
    assert manifest_of(FTYP, moov, MDAT) == ContainerInfo(ContentType.MP4, 2.5)


@pytest.mark.parametrize("first", [b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"])
def test_old_quicktime_has_no_ftyp(first: bytes) -> None:
    parts = {b"moov": MOOV, b"mdat": MDAT}
    facts = manifest_of(parts.get(first, box(first)), MOOV, MDAT)
    assert facts.container is ContentType.QUICKTIME
    assert facts.width == 64


def test_a_real_quicktime_file_without_ftyp() -> None:
    film = sample("mov")
    film = film[int.from_bytes(film[:4]) :]
    assert walk(ContentType.QUICKTIME, film).container is ContentType.QUICKTIME


@pytest.mark.parametrize(
    ("fragment", "duration_seconds"),
    [
        (box(b"mvex", box(b"mehd", bytes(4) + (4000).to_bytes(4))), 4.0),
        (box(b"mvex", box(b"mehd", b"\1\0\0\0" + (4000).to_bytes(8))), 4.0),
        (box(b"mvex", box(b"trex", bytes(24))), None),
        (b"", None),
    ],
)
def test_the_duration_of_a_fragmented_movie_is_the_declared_sum(
    fragment: bytes, duration_seconds: float | None
) -> None:
    moov = box(b"moov", HEADER + fragment + track())
    facts = manifest_of(FTYP, moov, box(b"moof", bytes(16)), MDAT)
    assert facts.duration_seconds == duration_seconds


@pytest.mark.parametrize(
    "header",
    [
        movie_header(timescale=0, duration=5),
        movie_header(timescale=1, duration=0),
        movie_header(timescale=1, duration=0xFFFFFFFF),
        movie_header(timescale=1, duration=(1 << 64) - 1, version=1),
        movie_header(timescale=1, duration=1 << 63, version=1),
        b"",
    ],
)
def test_an_implausible_duration_is_none(header: bytes) -> None:
    facts = manifest_of(FTYP, box(b"moov", header + track()), MDAT)
    assert facts == ContainerInfo(ContentType.MP4, None, 64, 48, "avc1")


@pytest.mark.parametrize("codec", [bytes(4), b"\xff\xff\xff\xff", b"a\0bc", b"\r\n\t\x7f"])
def test_a_codec_that_is_no_text_is_none(codec: bytes) -> None:
    assert manifest_of(FTYP, box(b"moov", HEADER + track(codec=codec)), MDAT).video_codec is None


@pytest.mark.parametrize(
    ("boxes", "offset", "reason"),
    [
        ((b"",), 0, "the file is empty"),
        ((FTYP[:5],), 5, "the file ends inside a box header, 3 bytes short"),
        ((box(b"styp"), MOOV, MDAT), 0, "box 'styp' can't be the first box"),
        ((FTYP, MDAT), 128, "the file ends without a 'moov' box"),
        (
            (FTYP, MOOV),
            len(FTYP + MOOV),
            "the file ends without media data: there is no 'mdat' and no 'moof' box",
        ),
        (
            (FTYP, MOOV, MDAT[:-1]),
            len(FTYP + MOOV + MDAT) - 1,
            "the file ends inside box 'mdat', 1 bytes short",
        ),
        ((FTYP, (7).to_bytes(4) + b"free"), 20, "box 'free' has the impossible size 7"),
        (
            (FTYP, b"\0\0\0\1free" + (15).to_bytes(8)),
            20,
            "box 'free' has the impossible size 15",
        ),
        ((FTYP, box(b"uuid", bytes(15))), 20, "box 'uuid' has the impossible size 23"),
        (
            (FTYP, box(b"moov", (99).to_bytes(4) + b"\xa9nam" + bytes(20)), MDAT),
            28,
            "box '\\xa9nam' is larger than the box around it",
        ),
        ((FTYP, box(b"moov", box(b"mvhd", b"\1\0\0\0"))), 40, "box 'mvhd' is too short"),
        ((box(b"ftyp", b"iso"),), 8, "box 'ftyp' is too short"),
    ],
)
def test_what_is_wrong_is_said_in_words(boxes: tuple[bytes, ...], offset: int, reason: str) -> None:
    fault = fault_of(*boxes)
    assert fault.offset_bytes == offset
    assert fault.reason.startswith(reason)
    assert fault.reason in str(fault)
    assert fault.container in {ContentType.MP4, ContentType.QUICKTIME}


def test_boxes_nested_without_end_cost_no_depth() -> None:
    nest = b""
    for _ in range(5000):
        nest = box(b"trak", nest)
    assert manifest_of(FTYP, box(b"moov", HEADER + nest), MDAT) == ContainerInfo(
        ContentType.MP4, 2.5
    )
