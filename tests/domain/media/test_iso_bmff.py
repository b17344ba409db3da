import pytest

from tests.domain.media.parts import box, large_box, last_box, movie_header, numbers, track
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


def fragment(count: int, *, ticks: int = 0, size: int = 20, default: bool = False) -> bytes:
    """A `moof` of track 0 with samples of one duration and size."""
    if default:
        head = box(b"tfhd", numbers(0x18, 0, ticks, size))
        run = box(b"trun", numbers(0, count))
    else:
        head = box(b"tfhd", numbers(0, 0))
        run = box(b"trun", numbers(0x301, count, 99) + numbers(ticks, size) * count)
    return box(b"moof", box(b"traf", head + run))


FRAGMENTED = track(sizes=(), offsets=(), times=(1000, 0))


@pytest.mark.parametrize("default", [False, True])
@pytest.mark.parametrize(
    ("declared", "ticks", "seconds"),
    [
        (b"", 500, 2.5),
        (box(b"mvex", box(b"mehd", bytes(4) + (4000).to_bytes(4))), 500, 2.5),
        (box(b"mvex", box(b"mehd", bytes(4) + (4000).to_bytes(4))), 0, 4.0),
        (box(b"mvex", box(b"mehd", b"\1\0\0\0" + (4000).to_bytes(8))), 0, 4.0),
        (box(b"mvex", box(b"trex", numbers(0, 0, 1, 500, 20, 0))), 500, 2.5),
        (b"", 0, None),
    ],
)
def test_the_samples_of_a_fragmented_movie_tell_its_duration(
    declared: bytes, ticks: int, seconds: float | None, default: bool
) -> None:
    moov = box(b"moov", HEADER + declared + FRAGMENTED)
    runs = [fragment(3, ticks=ticks, default=default), fragment(2, ticks=ticks, default=default)]
    assert manifest_of(FTYP, moov, runs[0], MDAT, runs[1], MDAT).duration_seconds == seconds


@pytest.mark.parametrize(
    "boxes",
    [
        (FTYP, box(b"moov", HEADER + track(sizes=())), MDAT),
        (FTYP, box(b"moov", HEADER + track(sizes=(0, 0))), MDAT),
        (FTYP, box(b"moov", HEADER + track()), box(b"mdat")),
        (FTYP, box(b"moov", HEADER + track()), box(b"mdat", bytes(29))),
        (FTYP, box(b"moov", HEADER + track(offsets=(999_999,))), MDAT),
        (FTYP, box(b"moov", HEADER + track(offsets=(999_999, 8))), MDAT),
        (FTYP, box(b"moov", HEADER + SOUND + track(sizes=())), MDAT),
        (FTYP, box(b"moov", HEADER + FRAGMENTED), box(b"moof"), MDAT),
        (FTYP, box(b"moov", HEADER + FRAGMENTED), fragment(0), MDAT),
        (FTYP, box(b"moov", HEADER + FRAGMENTED), fragment(3), box(b"mdat")),
        (FTYP, box(b"moov", HEADER + FRAGMENTED), fragment(3), MDAT, fragment(3)),
        (FTYP, box(b"moov", HEADER + FRAGMENTED), fragment(3, default=True)),
    ],
    ids=str.split(
        "no-sample empty-samples empty-media short-media offset-behind first-offset-behind "
        "sound-only empty-moof no-run empty-fragment last-fragment-empty fragment-without-media"
    ),
)
def test_a_movie_without_a_frame_or_its_bytes_is_refused(boxes: tuple[bytes, ...]) -> None:
    assert "the file ends" in fault_of(*boxes).reason


@pytest.mark.parametrize("far", [0, 40_000])
def test_a_fragment_whose_header_is_damaged_is_no_trailer(far: int) -> None:
    moov = box(b"moov", HEADER + FRAGMENTED)
    whole = (FTYP, moov, fragment(3, ticks=1000), MDAT)
    damaged = bytes(8) + fragment(2, ticks=1000)[8:] + b"\1" * far
    assert "before a part of the movie" in fault_of(*whole, damaged, MDAT).reason
    assert manifest_of(*whole, damaged).duration_seconds == 3.0


def test_media_to_the_end_of_the_file_that_is_cut_is_refused() -> None:
    film = sample("mp4-faststart")
    at = film.index(b"mdat") - 4
    film = film[:at] + bytes(4) + film[at + 4 :]
    assert walk(ContentType.MP4, film) == walk(ContentType.MP4, sample("mp4-faststart"))
    for end in ((at + len(film)) // 2, len(film) - 1):
        with pytest.raises(MalformedMedia, match="before the media data"):
            walk(ContentType.MP4, film[:end])


@pytest.mark.parametrize(
    ("units", "edits", "seconds"),
    [
        (0, (), 2.0),
        (0xFFFFFFFF, (), 2.0),
        (32_400_000, (), 2.0),
        (2000, (1200, 300), 1.5),
    ],
)
def test_a_track_knows_its_duration(units: int, edits: tuple[int, ...], seconds: float) -> None:
    movie_box = movie_header(timescale=1000, duration=units) + track(
        times=(90_000, 90_000), edits=edits
    )
    assert manifest_of(FTYP, box(b"moov", movie_box), MDAT).duration_seconds == seconds


def test_the_size_is_that_of_the_coded_pixels() -> None:
    info = manifest_of(FTYP, box(b"moov", HEADER + track(presented=(1024, 48))), MDAT)
    assert (info.width, info.height) == (64, 48)
    info = manifest_of(FTYP, box(b"moov", HEADER + track(coded=(0, 0))), MDAT)
    assert (info.width, info.height) == (64, 48)


@pytest.mark.parametrize(
    "trailer",
    [b"\x11", b"\x11\x22\x33", bytes(9), bytes(1 << 16), b"Camera 7\r\n" * 50, b"\xff" * 5000],
    ids=str.split("byte three zeros many-zeros text ones"),
)
def test_bytes_after_a_whole_movie_are_stored(trailer: bytes) -> None:
    assert manifest_of(FTYP, MOOV, MDAT, trailer) == FACTS


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
    assert manifest_of(FTYP, box(b"moov", HEADER + SOUND + nest), MDAT) == ContainerInfo(
        ContentType.MP4, 2.5
    )
