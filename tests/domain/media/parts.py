"""Containers put together by hand, for what no muxer at hand writes."""

from collections.abc import Iterable

UNKNOWN_SIZE = b"\x01" + b"\xff" * 7

EBML = b"\x1a\x45\xdf\xa3"
DOC_TYPE = b"\x42\x82"
SEGMENT = b"\x18\x53\x80\x67"
INFO = b"\x15\x49\xa9\x66"
TRACKS = b"\x16\x54\xae\x6b"
CLUSTER = b"\x1f\x43\xb6\x75"
SIMPLE_BLOCK = b"\xa3"
VOID = b"\xec"


def box(kind: bytes, payload: bytes = b"") -> bytes:
    """An ISO base media box with a 32-bit size."""
    return (8 + len(payload)).to_bytes(4) + kind + payload


def large_box(kind: bytes, payload: bytes = b"") -> bytes:
    """The same with a 64-bit size."""
    return (1).to_bytes(4) + kind + (16 + len(payload)).to_bytes(8) + payload


def last_box(kind: bytes, payload: bytes = b"") -> bytes:
    """The same with size 0: up to the end of the file."""
    return bytes(4) + kind + payload


def movie_header(*, timescale: int, duration: int, version: int = 0) -> bytes:
    """An `mvhd` box."""
    width = 8 if version else 4
    times = bytes(2 * width) + timescale.to_bytes(4) + duration.to_bytes(width)
    return box(b"mvhd", bytes([version, 0, 0, 0]) + times + bytes(80))


def track(
    *,
    handler: bytes = b"vide",
    presented: tuple[float, float] = (64, 48),
    coded: tuple[int, int] = (64, 48),
    codec: bytes = b"avc1",
    version: int = 0,
    sizes: tuple[int, ...] = (10, 20),
    offsets: tuple[int, ...] = (8,),
    times: tuple[int, int] | None = None,
    edits: tuple[int, ...] = (),
) -> bytes:
    """A `trak` box with what a walker reads of it; its samples are in one chunk at each offset.

    `times` are timescale and ticks a sample, `edits` the durations of an edit list in ticks of the
    movie.
    """
    fixed = b"".join(int(side * 65536).to_bytes(4) for side in presented)
    header = bytes([version, 0, 0, 7]) + bytes((32 if version else 20) + 52) + fixed
    entry = box(codec, bytes(24) + coded[0].to_bytes(2) + coded[1].to_bytes(2) + bytes(50))
    a_chunk = len(sizes) // max(1, len(offsets))
    scale, ticks = times or (0, 0)
    table = box(
        b"stbl",
        box(b"stsd", bytes(4) + (1).to_bytes(4) + entry)
        + box(b"stts", numbers(0, 1, len(sizes), ticks))
        + box(b"stsc", numbers(0, 1, 1, a_chunk, 1))
        + box(b"stsz", numbers(0, 0, len(sizes), *sizes))
        + box(b"stco", numbers(0, len(offsets), *offsets)),
    )
    listed = (number.to_bytes(4) + numbers(0, 1 << 16) for number in edits)
    edited = box(b"edts", box(b"elst", numbers(0, len(edits)) + b"".join(listed)))
    media = (
        box(b"mdhd", numbers(0, 0, 0, scale, 0, 0))
        + box(b"hdlr", bytes(8) + handler + bytes(13))
        + box(b"minf", table)
    )
    return box(b"trak", box(b"tkhd", header) + (edited if edits else b"") + box(b"mdia", media))


def numbers(*values: int) -> bytes:
    """Big-endian numbers of 32 bits."""
    return b"".join(value.to_bytes(4) for value in values)


def chunk(kind: bytes, payload: bytes = b"") -> bytes:
    """A RIFF chunk, padded."""
    return kind + len(payload).to_bytes(4, "little") + payload + bytes(len(payload) % 2)


def element(kind: bytes, payload: bytes = b"", *, size: bytes | None = None) -> bytes:
    """An EBML element; `size` replaces the coded size."""
    coded = (1 << 28 | len(payload)).to_bytes(4) if size is None else size
    return kind + coded + payload


def ebml_header(doc_type: bytes = b"webm") -> bytes:
    """An EBML header that names this DocType."""
    return element(EBML, element(DOC_TYPE, doc_type))


def pcr_packet(pid: int, ticks: int, *, jump: bool = False) -> bytes:
    """A transport stream packet whose clock reference is so many ticks of 27 MHz, wrapped."""
    base, extension = divmod(ticks % (300 << 33), 300)
    clock = (base << 15 | 0x3F << 9 | extension).to_bytes(6)
    flags = 0x90 if jump else 0x10
    return packet(pid, bytes([7, flags]) + clock, control=0x30)


def packet(pid: int, content: bytes = b"", *, begins: bool = False, control: int = 0x10) -> bytes:
    """A transport stream packet, filled up or cut to its size."""
    head = bytes([0x47, (0x40 if begins else 0) | pid >> 8, pid & 0xFF, control])
    return (head + content).ljust(188, b"\xff")[:188]


def table_packet(pid: int, table: int, body: bytes) -> bytes:
    """A packet that begins with a section of a table (without a right CRC)."""
    length = 5 + len(body) + 4
    header = bytes([0, table, 0xB0 | length >> 8, length & 0xFF]) + bytes(5)
    return packet(pid, header + body + bytes(4), begins=True)


def association(programs: Iterable[tuple[int, int]]) -> bytes:
    """A program association table: pairs of program number and PID."""
    entries = (
        number.to_bytes(2) + (0xE000 | program_pid).to_bytes(2) for number, program_pid in programs
    )
    return table_packet(0, 0, b"".join(entries))
