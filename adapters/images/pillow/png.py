"""Whether a PNG file is whole: Pillow reads pixels without their checksums, and misses the end."""

import zlib
from typing import BinaryIO

_SIGNATURE_BYTES = 8
_PIECE_BYTES = 1024 * 1024


def check_chunks(stream: BinaryIO) -> None:
    """Walk all chunks from the signature to IEND (PNG, third edition, section 5).

    What follows IEND is not looked at. Leaves the stream somewhere.

    Raises:
        ValueError: a chunk is cut off or its CRC is wrong, or the file ends before IEND.
    """
    stream.seek(_SIGNATURE_BYTES)
    name = b""
    while name != b"IEND":
        length = int.from_bytes(_exactly(stream, 4))
        name = _exactly(stream, 4)
        crc = zlib.crc32(name)
        while length:
            piece = _exactly(stream, min(length, _PIECE_BYTES))
            crc = zlib.crc32(piece, crc)
            length -= len(piece)
        if crc != int.from_bytes(_exactly(stream, 4)):
            raise ValueError(f"the checksum of chunk {name!r} is wrong")


def _exactly(stream: BinaryIO, count: int) -> bytes:
    data = stream.read(count)
    if len(data) < count:
        raise ValueError("it ends before its last chunk")
    return data
