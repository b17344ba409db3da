"""The packet sizes of MPEG transport stream files (ISO/IEC 13818-1, section 2.4.3.2)."""

PACKET = 188
"""Bytes of a transport stream packet."""

STAMPED_PACKET = 192
"""Bytes of a packet with its 4-byte time stamp in M2TS files (Blu-ray, AVCHD)."""

SYNC_BYTE = 0x47
"""The first byte of each packet."""

LAYOUT_BYTES = 5 * STAMPED_PACKET
"""The number of first bytes from which the packet size is determined."""

_FEWEST_PACKETS = 3


def packet_size(head: bytes) -> int | None:
    """188 or 192 when each packet of that size starts with a sync byte, else None.

    At least three packet starts are needed, because the sync byte is also the letter G.
    """
    for size in (PACKET, STAMPED_PACKET):
        syncs = head[size - PACKET :: size]
        if len(syncs) >= _FEWEST_PACKETS and syncs == bytes([SYNC_BYTE]) * len(syncs):
            return size
    return None
