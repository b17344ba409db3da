"""MPEG transport streams, plain and as M2TS (ISO/IEC 13818-1).

Packets are processed in arrays of `uint8` of shape `(packets, 188)`.
"""

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from traffic_storage.domain.media.content_types import ContentType
from traffic_storage.domain.media.mpeg_ts_packets import (
    LAYOUT_BYTES,
    PACKET,
    SYNC_BYTE,
    Layout,
    packet_layout,
)
from traffic_storage.domain.media.walker import (
    ContainerInfo,
    MalformedMedia,
    RememberingWalker,
)

_Packets: TypeAlias = NDArray[np.uint8]

_WINDOW_BYTES = 1 << 20
# An array operation costs as much as many packets, so small chunks are collected first.
_ENOUGH_BYTES = 64 * 192

_CLOCK_HZ = 27_000_000
_CLOCK_WRAP = (1 << 33) * 300

_PAT_PID = 0
_PAT_TABLE = 0
_PMT_TABLE = 2
_VIDEO_STREAMS = {
    0x01: b"mp1v",
    0x02: b"mp2v",
    0x10: b"mp4v",
    0x1B: b"avc1",
    0x24: b"hvc1",
    0x33: b"vvc1",
}


class MpegTsWalker(RememberingWalker):
    """Checks that an MPEG transport stream consists of packets and has an association table and a frame.

    The file may begin and end inside a packet, as captures do. Each packet must have the sync byte, and
    there must be a program association table (PAT) and the start of a packet of an elementary stream.
    The duration is the time from the first to the last clock reference (PCR, section 2.4.3.5) with
    the packet id (PID) of the first one. A wrap-around of the clock is
    taken into account; announced discontinuities and steps back count as 0. The duration of the
    last frame is not included. The codec is that of the first video stream of the
    first program. The container has no width or height.
    """

    def __init__(self) -> None:
        super().__init__()
        self._offset = 0
        self._pending = bytearray()
        self._layout: Layout | None = None
        self._clock = _Clock()
        self._programs = _Programs()
        self._has_frames = False

    def look(self, view: memoryview) -> None:
        for start in range(0, len(view), _WINDOW_BYTES):
            self._pending += view[start : start + _WINDOW_BYTES]
            if len(self._pending) >= _ENOUGH_BYTES:
                self._walk_pending()

    def conclude(self) -> ContainerInfo:
        self._walk_pending()
        if not self._programs.listed:
            raise _malformed(self._offset, "the file ends without a program association table")
        if not self._has_frames:
            raise _malformed(
                self._offset, "the file ends without a frame: its packets have tables only"
            )
        return self._told()

    def salvaged(self) -> ContainerInfo | None:
        return self._told() if self._programs.listed and self._has_frames else None

    def _told(self) -> ContainerInfo:
        return ContainerInfo.claimed(
            ContentType.MPEG_TS,
            duration_seconds=self._clock.elapsed / _CLOCK_HZ,
            video_codec=self._programs.video_codec or b"",
        )

    def _walk_pending(self) -> None:
        """Process all whole packets and keep the first bytes of the next one."""
        if self._layout is None:
            self._layout = self._settle_layout()
            del self._pending[: self._layout.skip]
            self._offset = self._layout.skip
        size, sync = self._layout.size, self._layout.sync
        data, whole = self._pending, len(self._pending) // size
        self._pending = data[whole * size :]
        rows = np.frombuffer(data, np.uint8, whole * size).reshape(whole, size)
        packets = rows[:, sync : sync + PACKET]
        lost = np.flatnonzero(packets[:, 0] != SYNC_BYTE)
        if lost.size:
            whole = int(lost[0])
            packets = packets[:whole]
        self._programs.look(packets)
        self._clock.look(packets)
        self._has_frames = self._has_frames or _begins_a_frame(packets)
        if lost.size:
            at = self._offset + whole * size + sync
            raise _malformed(at, "there is no sync byte 0x47 where a packet should begin")
        self._offset += whole * size

    def _settle_layout(self) -> Layout:
        layout = packet_layout(bytes(self._pending[:LAYOUT_BYTES]))
        if layout is None:
            raise _malformed(
                0,
                "the file has no packets of 188, 192 or 204 bytes with the sync byte 0x47",
            )
        return layout


class _Clock:
    """Sums the 27 MHz ticks between the clock references of one packet id (PID)."""

    def __init__(self) -> None:
        self.elapsed = 0
        self._pid: int | None = None
        self._last: int | None = None

    def look(self, packets: _Packets) -> None:
        adapted = (packets[:, 3] & 0x20 != 0) & (packets[:, 1] < 0x80)
        heads = packets[adapted, :12].astype(np.int64)
        heads = heads[(heads[:, 4] >= 7) & (heads[:, 5] & 0x10 != 0)]
        if not len(heads):
            return
        pids = (heads[:, 1] & 0x1F) << 8 | heads[:, 2]
        if self._pid is None:
            self._pid = int(pids[0])
        self._count(heads[pids == self._pid])

    def _count(self, heads: NDArray[np.int64]) -> None:
        if not len(heads):
            return
        high, low, extension = heads[:, 6:10], heads[:, 10] >> 7, (heads[:, 10] & 1) << 8
        base = high @ np.array([1 << 25, 1 << 17, 1 << 9, 1 << 1]) + low
        ticks = base * 300 + extension + heads[:, 11]
        before = ticks[0] if self._last is None else self._last
        steps = np.diff(ticks, prepend=before) % _CLOCK_WRAP
        announced = heads[:, 5] & 0x80 != 0
        self.elapsed += int(steps[~announced & (steps < _CLOCK_WRAP // 2)].sum())
        self._last = int(ticks[-1])


class _Programs:
    """Finds the program association table (section 2.4.4.3) and the first program's video codec."""

    def __init__(self) -> None:
        self.listed = False
        self.video_codec: bytes | None = None
        self._map_pid: int | None = None

    def look(self, packets: _Packets) -> None:
        if not self.listed:
            packets = self._find_table(packets)
        if self._map_pid is not None and self.video_codec is None:
            for _, section in _sections(packets, self._map_pid, _PMT_TABLE):
                self.video_codec = _first_video(section)
                return

    def _find_table(self, packets: _Packets) -> _Packets:
        """Read the first program association table; return the packets after it (else none)."""
        for at, section in _sections(packets, _PAT_PID, _PAT_TABLE):
            self.listed = True
            self._map_pid = _first_program(section)
            return packets[at + 1 :]
        return packets[:0]


def _begins_a_frame(packets: _Packets) -> bool:
    """Return whether a packet has the start of an elementary stream's packet (PES, section 2.4.3.6).

    Scrambled packets count too: nobody can see what begins in them.
    """
    starts = packets[(packets[:, 1] & 0xC0 == 0x40) & (packets[:, 3] & 0x10 != 0)]
    if (starts[:, 3] & 0xC0).any():
        return True
    if not len(starts):
        return False
    adapted = starts[:, 3] & 0x20 != 0
    payload = np.where(adapted, 5 + starts[:, 4].astype(np.int64), 4)
    inside = payload <= PACKET - 3
    starts, payload = starts[inside], payload[inside]
    rows = np.arange(len(starts))
    code = [starts[rows, payload + n] for n in range(3)]
    return bool(((code[0] == 0) & (code[1] == 0) & (code[2] == 1)).any())


def _sections(packets: _Packets, pid: int, table: int) -> Iterator[tuple[int, bytes]]:
    """Yield the sections of a table with this table id and packet id (PID).

    Each is given with the index of the packet in which it starts, and only as far as this packet
    contains it.
    """
    begins = (packets[:, 1] & 0xDF == 0x40 | pid >> 8) & (packets[:, 2] == pid & 0xFF)
    for at in np.flatnonzero(begins & (packets[:, 3] & 0x10 != 0)):
        body = _section_body(packets[at].tobytes(), table)
        if body is not None:
            yield int(at), body


def _section_body(packet: bytes, table: int) -> bytes | None:
    """Return the content of the table section (section 2.4.4) that starts in a packet.

    The content is without header and CRC. None if no section of this table starts there.
    """
    payload = 5 + packet[4] if packet[3] & 0x20 else 4
    pointer = packet[payload : payload + 1]
    section = packet[payload + 1 + pointer[0] :] if pointer else b""
    if len(section) < 8 or section[0] != table or not section[1] & 0x80:
        return None
    end = 3 + (int.from_bytes(section[1:3]) & 0xFFF) - 4
    return section[8:end] if end >= 8 else None


def _first_program(table: bytes) -> int | None:
    """Return the packet id of the first program's map, from a program association table.

    Program number 0 is the network information and is skipped. None if there is no program.
    """
    for at in range(0, len(table) - 3, 4):
        if any(table[at : at + 2]):
            return int.from_bytes(table[at + 2 : at + 4]) & 0x1FFF
    return None


def _first_video(table: bytes) -> bytes:
    """Return the codec of a program map's first video stream (section 2.4.4.8); empty if none."""
    at = 4 + (int.from_bytes(table[2:4]) & 0xFFF)
    while at + 5 <= len(table):
        if table[at] in _VIDEO_STREAMS:
            return _VIDEO_STREAMS[table[at]]
        at += 5 + (int.from_bytes(table[at + 3 : at + 5]) & 0xFFF)
    return b""


def _malformed(offset: int, reason: str) -> MalformedMedia:
    return MalformedMedia(ContentType.MPEG_TS, offset, reason)
