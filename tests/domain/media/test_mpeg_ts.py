import pytest

from tests.domain.media.parts import association, packet, pcr_packet, table_packet
from tests.domain.media.samples import outcome, walk
from traffic_storage.domain.media import ContainerInfo, ContentType, MalformedMedia, sniff

SECOND = 27_000_000
WRAP = 300 << 33
PROGRAM = 0x100
CLOCK = 0x101
PAT = association([(1, PROGRAM)])
FRAME = packet(0x102, b"\0\0\1\xe0\0\0\x80\0\0", begins=True)
FILLER = packet(0x1FFF) + FRAME + packet(0x1FFF)


def program_map(*streams: tuple[int, int], described: int = 0) -> bytes:
    body = (0xE000 | CLOCK).to_bytes(2) + (0xF000 | described).to_bytes(2) + bytes(described)
    for stream_type, pid in streams:
        body += bytes([stream_type]) + (0xE000 | pid).to_bytes(2) + (0xF000).to_bytes(2)
    return table_packet(PROGRAM, 2, body)


def clock(*ticks: int) -> bytes:
    return b"".join(pcr_packet(CLOCK, tick) for tick in ticks)


def stamped(film: bytes) -> bytes:
    """As M2TS: each packet behind four bytes."""
    return b"".join(b"\1\2\3\4" + film[at : at + 188] for at in range(0, len(film), 188))


def manifest_of(film: bytes) -> ContainerInfo:
    facts = walk(ContentType.MPEG_TS, film)
    assert walk(ContentType.MPEG_TS, stamped(film)) == facts
    return facts


def fault_of(film: bytes) -> MalformedMedia:
    with pytest.raises(MalformedMedia) as caught:
        walk(ContentType.MPEG_TS, film)
    return caught.value


def seconds_of(film: bytes) -> float | None:
    return manifest_of(PAT + FILLER + film).duration_seconds


def test_the_clock_tells_the_duration() -> None:
    assert seconds_of(clock(5 * SECOND, 6 * SECOND, 15 * SECOND // 2)) == 2.5


def test_the_clock_may_wrap_around_more_than_once() -> None:
    assert seconds_of(clock(WRAP - SECOND, WRAP + SECOND)) == 2.0
    third = WRAP // 3
    film = clock(*range(0, 3 * WRAP, third))
    assert seconds_of(film) == pytest.approx(8 * third / SECOND)


def test_a_jump_of_the_clock_counts_nothing() -> None:
    before, after = clock(0, SECOND), clock(99 * SECOND, 100 * SECOND)
    announced = pcr_packet(CLOCK, 99 * SECOND, jump=True)
    assert seconds_of(before + announced + after) == 2.0
    assert seconds_of(clock(50 * SECOND, 51 * SECOND) + clock(0, SECOND)) == 2.0


def test_only_one_clock_counts() -> None:
    other = pcr_packet(0x200, 500 * SECOND)
    assert seconds_of(clock(0) + other + clock(SECOND) + other) == 1.0
    # Also where the walker looks at some packets in which it doesn't tick.
    film = PAT + FILLER + clock(0) + packet(CLOCK) * 100 + other + packet(CLOCK) * 100
    facts = walk(ContentType.MPEG_TS, film + clock(SECOND), chunk_bytes=1000)
    assert facts.duration_seconds == 1.0


def test_a_packet_in_error_tells_no_time() -> None:
    wrong = bytearray(pcr_packet(CLOCK, 99 * SECOND))
    wrong[1] |= 0x80
    assert seconds_of(clock(0) + bytes(wrong) + clock(SECOND)) == 1.0


def test_without_a_clock_there_is_no_duration() -> None:
    assert seconds_of(FILLER) is None
    assert seconds_of(clock(SECOND)) is None


@pytest.mark.parametrize(
    ("tables", "codec"),
    [
        (program_map((0x0F, 0x102), (0x1B, 0x101)), "avc1"),
        (program_map((0x24, 0x101), described=9), "hvc1"),
        (program_map((0x02, 0x101), (0x1B, 0x102)), "mp2v"),
        (program_map((0x0F, 0x102)), None),
        (table_packet(PROGRAM, 5, bytes(9)) + program_map((0x1B, 0x101)), "avc1"),
        (program_map((0x1B, 0x101), described=170), None),
        (b"", None),
    ],
)
def test_the_program_map_tells_the_codec(tables: bytes, codec: str | None) -> None:
    assert manifest_of(PAT + tables + FILLER).video_codec == codec


def test_a_map_before_the_association_is_not_known_as_one() -> None:
    early = program_map((0x1B, 0x101))
    assert manifest_of(early + PAT + FILLER).video_codec is None
    assert manifest_of(early + PAT + FILLER + early).video_codec == "avc1"


def test_a_network_is_no_program() -> None:
    film = association([(0, 0x10), (7, PROGRAM)]) + program_map((0x1B, 0x101)) + FILLER
    assert manifest_of(film).video_codec == "avc1"
    assert manifest_of(association([(0, 0x10)]) + FILLER) == ContainerInfo(ContentType.MPEG_TS)


def test_an_association_may_come_late_and_behind_stuffing() -> None:
    section = PAT[4:60]
    late = packet(0, bytes([9, 0]) + bytes(8) + section, begins=True, control=0x30)
    assert manifest_of(FILLER * 200 + late) == ContainerInfo(ContentType.MPEG_TS)


@pytest.mark.parametrize(
    "others",
    [
        b"",
        packet(0x1FFF),
        packet(0x102),
        clock(0, SECOND),
        packet(0x102, b"\0\0\1\xe0", begins=True, control=0x20),
        packet(0x102, b"\xb7" + bytes(182) + b"\1", begins=True, control=0x30),
        packet(0x102, b"\0\1\1\xe0", begins=True),
    ],
)
def test_a_stream_of_tables_only_has_no_frame(others: bytes) -> None:
    tables = (PAT + program_map((0x1B, 0x102))) * 20
    assert "tables only" in fault_of(tables + others * 20).reason
    assert manifest_of(tables + others * 20 + FRAME).video_codec == "avc1"


def test_the_first_frame_may_be_scrambled_or_behind_an_adaptation() -> None:
    scrambled = packet(0x102, b"anything", begins=True, control=0xD0)
    adapted = packet(0x102, b"\7" + bytes(7) + b"\0\0\1\xe0", begins=True, control=0x30)
    for first in (scrambled, adapted):
        assert manifest_of(PAT * 9 + first) == ContainerInfo(ContentType.MPEG_TS)


@pytest.mark.parametrize(
    "almost",
    [
        packet(0),
        packet(0, begins=True),
        packet(0, begins=True, control=0x20),
        packet(0, b"\xb7", begins=True, control=0x30),
        packet(0, b"\xb6\0", begins=True, control=0x30),
        packet(0, b"\xff", begins=True, control=0x30),
        packet(0, b"\0\0\x30\x0d" + bytes(20), begins=True),
        packet(0, b"\0\0\xb0\x03" + bytes(20), begins=True),
        table_packet(0, 1, bytes(4)),
        association([(1, PROGRAM)])[:1] + b"\xc0" + association([(1, PROGRAM)])[2:],
    ],
)
def test_what_is_no_association_table_is_not_taken_for_one(almost: bytes) -> None:
    film = FILLER + almost
    fault = fault_of(film)
    assert (fault.container, fault.offset_bytes) == (ContentType.MPEG_TS, len(film))
    assert fault.reason == "the file ends without a program association table"


def test_each_packet_begins_with_its_sync_byte() -> None:
    film = bytearray(PAT + FRAME + packet(0x50) * 300)
    film[188 * 250] = 0x46
    fault = fault_of(bytes(film))
    assert fault.offset_bytes == 188 * 250
    assert "sync byte" in fault.reason
    late = bytearray(stamped(PAT + packet(0x50) * 300))
    late[192 * 250 + 4] = 0x46
    assert fault_of(bytes(late)).offset_bytes == 192 * 250 + 4


@pytest.mark.parametrize("film", [b"", b"G", PAT, PAT + PAT, bytes(5000), b"G" + bytes(5000)])
def test_without_packets_there_is_no_stream(film: bytes) -> None:
    fault = fault_of(film)
    assert fault.offset_bytes == 0
    assert "packets of 188, 192 or 204 bytes" in fault.reason


@pytest.mark.parametrize("size", [188, 192, 204])
@pytest.mark.parametrize(("begin", "end"), [(0, 0), (1, 0), (60, 0), (0, 1), (0, 100), (187, 187)])
def test_a_capture_may_begin_and_end_inside_a_packet(size: int, begin: int, end: int) -> None:
    film = packet(0x50) * 2 + PAT + FILLER * 20 + clock(0, SECOND, 3 * SECOND) + FILLER
    if size == 192:
        film = stamped(film)
    elif size == 204:
        film = b"".join(film[at : at + 188] + bytes(16) for at in range(0, len(film), 188))
    film = film[begin : len(film) - end]
    assert sniff(film) is ContentType.MPEG_TS
    facts = ContainerInfo(ContentType.MPEG_TS, 3.0)
    assert walk(ContentType.MPEG_TS, film) == facts
    assert walk(ContentType.MPEG_TS, film, chunk_bytes=1000) == facts


@pytest.mark.parametrize("chunk_bytes", [1, 187, 188, 1000, 4096, 100_000])
def test_long_streams_are_the_same_in_any_chunks(chunk_bytes: int) -> None:
    film = FILLER * 5 + PAT + program_map((0x1B, 0x101)) + clock(*range(0, SECOND, SECOND // 250))
    film = film if chunk_bytes > 1 else film[: 188 * 150]
    for data in (film, stamped(film), film[:-1], film[:3000] + film[3001:]):
        whole = outcome(ContentType.MPEG_TS, data)
        assert outcome(ContentType.MPEG_TS, data, chunk_bytes=chunk_bytes) == whole


def test_chunks_larger_than_the_window_are_taken() -> None:
    film = FILLER * 3000 + PAT + clock(0, SECOND)
    assert manifest_of(film) == ContainerInfo(ContentType.MPEG_TS, 1.0)
