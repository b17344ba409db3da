"""The packet sizes of MPEG transport stream files (ISO/IEC 13818-1, section 2.4.3.2)."""

PACKET = 188
"""The size of a transport stream packet in bytes."""

STAMPED_PACKET = 192
"""The size in bytes of a packet with its 4-byte time stamp in M2TS files (Blu-ray, AVCHD)."""

SYNC_BYTE = 0x47
"""The value of the first byte of each transport stream packet."""

LAYOUT_BYTES = 5 * STAMPED_PACKET
"""The number of bytes at the start of a file from which `packet_size` finds the packet size."""

_FEWEST_PACKETS = 3


def packet_size(head: bytes) -> int | None:
    """Return the packet size (188 or 192) of the stream that starts with `head`; None if neither.

    Each packet of that size must start with the sync byte. `head` must have at least three packet
    starts, because the sync byte is also the letter G.
    """
    for size in (PACKET, STAMPED_PACKET):
        syncs = head[size - PACKET :: size]
        if len(syncs) >= _FEWEST_PACKETS and syncs == bytes([SYNC_BYTE]) * len(syncs):
            return size
    return None
