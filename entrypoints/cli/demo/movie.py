"""A small MP4 writer: JPEG frames in an ISO base media file (ISO/IEC 14496-12).

The frames are declared as MPEG-4 visual with object type 0x6C, JPEG (ISO/IEC 14496-1, table 5),
which any ffmpeg plays. The same frames give the same bytes.
"""

from collections.abc import Sequence

_TIMESCALE = 600
_UNITY = (0x00010000, 0, 0, 0, 0x00010000, 0, 0, 0, 0x40000000)
_JPEG = 0x6C
_LANGUAGE_UNDEFINED = 0x55C4


def movie(frames: Sequence[bytes], width: int, height: int, frames_per_second: int) -> bytes:
    """An MP4 file of these JPEG frames, with its index first."""
    media = b"".join(frames)
    kind = _box(b"ftyp", b"isom", _u32(0x200), b"isom", b"iso2", b"mp41")
    # The size of the index does not depend on the offset that it holds.
    start = len(kind) + len(_index(frames, width, height, frames_per_second, 0)) + 8
    index = _index(frames, width, height, frames_per_second, start)
    return kind + index + _box(b"mdat", media)


def _index(frames: Sequence[bytes], width: int, height: int, rate: int, start: int) -> bytes:
    step = _TIMESCALE // rate
    duration = step * len(frames)
    return _box(
        b"moov",
        _movie_header(duration),
        _box(
            b"trak",
            _track_header(duration, width, height),
            _box(
                b"mdia",
                _full(b"mdhd", _u32(0, 0, _TIMESCALE, duration), _u16(_LANGUAGE_UNDEFINED, 0)),
                _full(b"hdlr", _u32(0), b"vide", _u32(0, 0, 0), b"video\0"),
                _box(
                    b"minf",
                    _full(b"vmhd", _u16(0, 0, 0, 0), flags=1),
                    _box(b"dinf", _full(b"dref", _u32(1), _full(b"url ", flags=1))),
                    _sample_table(frames, width, height, step, start),
                ),
            ),
        ),
    )


def _movie_header(duration: int) -> bytes:
    return _full(
        b"mvhd",
        _u32(0, 0, _TIMESCALE, duration, 0x00010000),
        _u16(0x0100, 0),
        _u32(0, 0, *_UNITY, *[0] * 6, 2),
    )


def _track_header(duration: int, width: int, height: int) -> bytes:
    return _full(
        b"tkhd",
        _u32(0, 0, 1, 0, duration, 0, 0),
        _u16(0, 0, 0, 0),
        _u32(*_UNITY, width << 16, height << 16),
        flags=3,
    )


def _sample_table(frames: Sequence[bytes], width: int, height: int, step: int, start: int) -> bytes:
    sizes = [len(frame) for frame in frames]
    return _box(
        b"stbl",
        _full(b"stsd", _u32(1), _sample_entry(width, height)),
        _full(b"stts", _u32(1, len(frames), step)),
        _full(b"stsc", _u32(1, 1, len(frames), 1)),
        _full(b"stsz", _u32(0, len(frames), *sizes)),
        _full(b"stco", _u32(1, start)),
    )


def _sample_entry(width: int, height: int) -> bytes:
    name = b"\x0bMotion JPEG".ljust(32, b"\0")
    return _box(
        b"mp4v",
        bytes(6),
        _u16(1),
        bytes(16),
        _u16(width, height),
        _u32(0x00480000, 0x00480000, 0),
        _u16(1),
        name,
        _u16(24, 0xFFFF),
        _full(b"esds", _elementary_stream()),
    )


def _elementary_stream() -> bytes:
    decoder = _descriptor(4, bytes([_JPEG, 0x11]), bytes(3), _u32(0, 0))
    return _descriptor(3, _u16(1), bytes(1), decoder, _descriptor(6, b"\x02"))


def _descriptor(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return bytes([tag, len(content)]) + content


def _full(kind: bytes, *parts: bytes, flags: int = 0) -> bytes:
    return _box(kind, _u32(flags), *parts)


def _box(kind: bytes, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return _u32(len(content) + 8) + kind + content


def _u32(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(4) for number in numbers)


def _u16(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(2) for number in numbers)
