"""MP4 and QuickTime: ISO base media files (ISO/IEC 14496-12).

A file is a sequence of boxes (section 4.2): 32-bit size, four-character type, then, for size 1, a
64-bit size; size 0 reaches to the end of the file. QuickTime (Apple's QuickTime File Format
specification) calls a box an atom; older QuickTime files have no `ftyp`.
"""

from attrs import define

from traffic_storage.domain.media.content_types import ContentType
from traffic_storage.domain.media.script import Part, Script, ScriptedWalker, Take
from traffic_storage.domain.media.walker import ContainerInfo

QUICKTIME_BRAND = b"qt  "
"""The major brand in the `ftyp` box of a QuickTime file."""

OLD_QUICKTIME_FIRST = frozenset({b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"})
"""The types of atom (box) that may be the first in an old QuickTime file, without `ftyp`."""

_HEADER = 8
_SMALLEST = {b"uuid": 16}


@define
class _Track:
    handler: bytes = b""
    codec: bytes = b""
    presented: tuple[int, int] = (0, 0)
    coded: tuple[int, int] = (0, 0)


class IsoBmffWalker(ScriptedWalker):
    """Checks that each box of an MP4 or QuickTime file is complete, with `moov` and media data.

    Media data is `mdat` or `moof`. The duration is that of `mvhd` (section 8.2.2), or of `mehd`
    (8.8.2) in a fragmented file; a fragmented file without `mehd` has no known duration. Width and
    height are those of `tkhd` (8.3.2), or of the sample entry (12.1.3) where `tkhd` has none.
    """

    def __init__(self) -> None:
        self._seen: set[bytes] = set()
        self._timescale = 0
        self._movie_units = 0
        self._fragmented_units = 0
        self._track = _Track()
        self._video: _Track | None = None
        super().__init__(ContentType.MP4)

    def script(self) -> Script[ContainerInfo]:
        box = yield from self.part(None)
        self._check_first(box)
        while box is not None:
            yield from self._top_level(box)
            yield from self.leave(box)
            box = yield from self.part(None)
        return self._info()

    def part(self, limit: int | None) -> Script[Part | None]:
        if limit is not None and limit - self.offset < _HEADER:
            return None
        start = self.offset
        head = yield Take(_HEADER, "a box header", may_end=limit is None)
        if not head:
            return None
        self.count_part()
        size, kind = int.from_bytes(head[:4]), head[4:]
        if size == 0:
            return Part(kind, start, limit)
        if size == 1:
            size = int.from_bytes((yield Take(8, "a box header")))
        if size < self.offset - start + _SMALLEST.get(kind, 0):
            raise self.malformed(f"{self.name(kind)} has the impossible size {size}", start)
        if limit is not None and start + size > limit:
            raise self.malformed(f"{self.name(kind)} is larger than the box around it", start)
        return Part(kind, start, start + size)

    def name(self, kind: bytes) -> str:
        return f"box {kind.decode('latin-1')!a}"

    def _check_first(self, box: Part | None) -> None:
        if box is None:
            raise self.malformed("the file is empty")
        if box.kind in OLD_QUICKTIME_FIRST:
            self.container = ContentType.QUICKTIME
        elif box.kind != b"ftyp":
            raise self.malformed(f"{self.name(box.kind)} can't be the first box", box.start)

    def _top_level(self, box: Part) -> Script[None]:
        if box.kind == b"ftyp":
            brand = yield from self.take(box, 4)
            quicktime = brand == QUICKTIME_BRAND
            self.container = ContentType.QUICKTIME if quicktime else ContentType.MP4
        elif box.kind == b"moov" and b"moov" not in self._seen:
            visitors = {b"mvhd": self._mvhd, b"mvex": self._mvex, b"trak": self._trak}
            yield from self.inside(box, visitors)
        if box.kind in {b"moov", b"mdat", b"moof"}:
            self._seen.add(box.kind)

    def _mvhd(self, box: Part) -> Script[None]:
        wide = (yield from self.take(box, 4))[0] == 1
        fields = yield from self.take(box, 28 if wide else 16)
        at = 16 if wide else 8
        self._timescale = int.from_bytes(fields[at : at + 4])
        self._movie_units = _units(fields[at + 4 :])

    def _mvex(self, box: Part) -> Script[None]:
        yield from self.inside(box, {b"mehd": self._mehd})

    def _mehd(self, box: Part) -> Script[None]:
        wide = (yield from self.take(box, 4))[0] == 1
        self._fragmented_units = _units((yield from self.take(box, 8 if wide else 4)))

    def _trak(self, box: Part) -> Script[None]:
        self._track = _Track()
        yield from self.inside(box, {b"tkhd": self._tkhd, b"mdia": self._mdia})
        if self._video is None and self._track.handler == b"vide":
            self._video = self._track

    def _tkhd(self, box: Part) -> Script[None]:
        wide = (yield from self.take(box, 4))[0] == 1
        fields = yield from self.take(box, 92 if wide else 80)
        # Fixed-point numbers, 16 bits before the point and 16 after.
        width, height = int.from_bytes(fields[-8:-4]), int.from_bytes(fields[-4:])
        self._track.presented = (width >> 16, height >> 16)

    def _mdia(self, box: Part) -> Script[None]:
        yield from self.inside(box, {b"hdlr": self._hdlr, b"minf": self._minf})

    def _minf(self, box: Part) -> Script[None]:
        yield from self.inside(box, {b"stbl": self._stbl})

    def _stbl(self, box: Part) -> Script[None]:
        yield from self.inside(box, {b"stsd": self._stsd})

    def _hdlr(self, box: Part) -> Script[None]:
        self._track.handler = (yield from self.take(box, 12))[8:]

    def _stsd(self, box: Part) -> Script[None]:
        enough = 44
        room = enough if box.end is None else min(enough, box.end - self.offset)
        entry = (yield from self.take(box, room))[8:]
        self._track.codec = entry[4:8]
        self._track.coded = (int.from_bytes(entry[32:34]), int.from_bytes(entry[34:36]))

    def _info(self) -> ContainerInfo:
        if b"moov" not in self._seen:
            raise self.malformed("the file ends without a 'moov' box")
        if not self._seen & {b"mdat", b"moof"}:
            raise self.malformed(
                "the file ends without media data: there is no 'mdat' and no 'moof' box"
            )
        track = self._video or _Track()
        width, height = track.presented if all(track.presented) else track.coded
        return ContainerInfo.claimed(
            self.container,
            duration_seconds=self._duration_seconds(),
            width=width,
            height=height,
            video_codec=track.codec,
        )

    def _duration_seconds(self) -> float | None:
        # The `mvhd` of a fragmented file may cover its first fragment only.
        units = self._fragmented_units if b"moof" in self._seen else self._movie_units
        return units / self._timescale if self._timescale else None


def _units(field: bytes) -> int:
    """Return the number in a duration field; 0 if all bits are 1, which means unknown."""
    return 0 if field == b"\xff" * len(field) else int.from_bytes(field)
