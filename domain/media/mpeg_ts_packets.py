"""How MPEG transport stream packets lie in a file (ISO/IEC 13818-1, section 2.4.3.2)."""

PACKET = 188
"""Bytes of a transport stream packet."""

STAMPED_PACKET = 192
"""Bytes of a packet behind a 4-byte time stamp, as M2TS files (Blu-ray, AVCHD) keep them."""

SYNC_BYTE = 0x47
"""The first byte of each packet."""

LAYOUT_BYTES = 5 * STAMPED_PACKET
"""The number of first bytes that decide the packet size."""

_FEWEST_PACKETS = 3


def packet_size(head: bytes) -> int | None:
    """188 or 192 when a sync byte stands wherever packets of that size begin, else None.

    It needs the begin of three packets at least: one letter G proves nothing.
    """
    for size in (PACKET, STAMPED_PACKET):
        syncs = head[size - PACKET :: size]
        if len(syncs) >= _FEWEST_PACKETS and syncs == bytes([SYNC_BYTE]) * len(syncs):
            return size
    return None
