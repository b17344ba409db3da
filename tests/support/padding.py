"""MP4s of any size, without the libraries that make a first one."""

_HEADER_BYTES = 8


def padded(mp4: bytes, size_bytes: int, filling: bytes = b"\x5a") -> bytes:
    """The MP4 with a `free` box behind it, so that it has this size: still a whole file.

    The box holds `filling` again and again, so that files of one size differ by it.
    """
    room = size_bytes - len(mp4) - _HEADER_BYTES
    if room < 0:
        raise ValueError(f"{len(mp4)} bytes and a box don't fit into {size_bytes}")
    content = filling * (room // len(filling) + 1)
    return mp4 + (room + _HEADER_BYTES).to_bytes(4) + b"free" + content[:room]
