"""The packet sizes of MPEG transport stream files (ISO/IEC 13818-1, section 2.4.3.2)."""

from typing import NamedTuple

PACKET = 188
"""The size of a transport stream packet in bytes."""

STAMPED_PACKET = 192
"""The size in bytes of a packet with its 4-byte time stamp in M2TS files (Blu-ray, AVCHD)."""

SYNC_BYTE = 0x47
"""The value of the first byte of each transport stream packet."""

PARITY_PACKET = 204
"""The size in bytes of a packet followed by 16 bytes of error correction (DVB)."""

LAYOUT_BYTES = 4096
"""The number of bytes at the start of a file from which `packet_layout` finds the packets."""

_LAYOUTS = ((PACKET, 0), (STAMPED_PACKET, STAMPED_PACKET - PACKET), (PARITY_PACKET, 0))
_FEWEST_PACKETS = 3
# Behind a part of a packet, more are asked for, because any file has some bytes 0x47.
_FEWEST_LATER = 8


class Layout(NamedTuple):
    """Where packets begin: `skip` bytes into the file, then every `size` bytes.

    `sync` is the place of the sync byte in a packet.
    """

    skip: int
    size: int
    sync: int


def packet_layout(head: bytes) -> Layout | None:
    """Return the layout of the stream that starts with `head`; None if it is none.

    Each packet (188 bytes, 192 in M2TS, 204 with error correction) must have its sync byte.
    `head` must have at least three packet starts, because the sync byte is also the letter G. A
    stream may begin inside a packet; then `head` must have eight.
    """
    head = head[:LAYOUT_BYTES]
    for size, sync in _LAYOUTS:
        if _in_step(head, sync, size, _FEWEST_PACKETS):
            return Layout(0, size, sync)
    for size, sync in _LAYOUTS:
        for skip in range(1, size):
            if _in_step(head, skip + sync, size, _FEWEST_LATER):
                return Layout(skip, size, sync)
    return None


def _in_step(head: bytes, first: int, size: int, fewest: int) -> bool:
    syncs = head[first::size]
    return len(syncs) >= fewest and syncs.count(SYNC_BYTE) == len(syncs)
