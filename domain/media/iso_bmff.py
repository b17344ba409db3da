"""MP4 and QuickTime: ISO base media files (ISO/IEC 14496-12).

A file is a sequence of boxes (section 4.2): 32-bit size, four-character type, then, for size 1, a
64-bit size; size 0 reaches to the end of the file. QuickTime (Apple's QuickTime File Format
specification) calls a box an atom; older QuickTime files have no `ftyp`.
"""

from array import array
from collections.abc import Callable
from operator import mul

from attrs import Factory, define

from traffic_storage.domain.media.content_types import ContentType
from traffic_storage.domain.media.script import Part, Script, ScriptedWalker, Skip, Take
from traffic_storage.domain.media.walker import ContainerInfo

QUICKTIME_BRAND = b"qt  "
"""The major brand in the `ftyp` box of a QuickTime file."""

OLD_QUICKTIME_FIRST = frozenset({b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"})
"""The types of atom (box) that may be the first in an old QuickTime file, without `ftyp`."""

_HEADER = 8
_SMALLEST = {b"uuid": 16}


# Boxes that a file may have beside `ftyp`. Behind a whole file, anything else may be cut.
_SEGMENT_FIRST = frozenset({b"styp", b"moof", b"sidx", b"emsg", b"prft"})
_TOP_LEVEL = OLD_QUICKTIME_FIRST | {b"ftyp", b"styp", b"moof", b"sidx", b"mfra", b"uuid", b"meta"}
# Tables are read in pieces of so many bytes, so that a long film needs no more memory.
_PIECE_BYTES = 1 << 15
_FRAGMENTED = frozenset({b"mvex", b"moof"})
# The sizes of so many samples at the end of a track are kept, to find where its last chunk ends.
_LAST_SAMPLES = 1 << 14
_MOST_TRACKS = 1024
# The byte order of arrays is that of the machine.
_LITTLE_ENDIAN = array("H", [1]).tobytes() == b"\1\0"
_MOST_EDITS = 4096


def is_media_segment(head: bytes) -> bool:
    """Return whether a file begins as a media segment (`.m4s`) without its initialization segment."""
    return head[4:8] in _SEGMENT_FIRST and int.from_bytes(head[:4]) >= 8


@define
class _Track:
    number: int = 0
    handler: bytes = b""
    codec: bytes = b""
    presented: tuple[int, int] = (0, 0)
    coded: tuple[int, int] = (0, 0)
    timescale: int = 0
    media_units: int = 0
    edit_units: int = 0
    samples: int = 0
    sample_bytes: int = 0
    fixed_bytes: int = 0
    last_sizes: "array[int]" = Factory(lambda: array("I"))
    samples_a_chunk: int = 0
    last_chunk: int = 0
    furthest_chunk: int = -1
    default_units: int = 0
    default_bytes: int = 0

    def end(self) -> int:
        """Return the byte at which the last sample ends, or that it ends behind at least."""
        if self.furthest_chunk < 0:
            return 0
        if self.fixed_bytes:
            last = self.fixed_bytes * min(self.samples_a_chunk, self.samples)
        else:
            last = sum(self.last_sizes[-self.samples_a_chunk :]) if self.samples_a_chunk else 0
        return max(self.furthest_chunk + 1, self.last_chunk + last)


class IsoBmffWalker(ScriptedWalker):
    """Checks that each box of an MP4 or QuickTime file is complete, with `moov` and media data.

    There must be a sample (frame): `stsz` or `trun` counts them, and they end in the file and have
    no more bytes than its `mdat` boxes. Bytes behind a whole file that are no box are skipped.

    The duration is that of the longest track: of its edits (`elst`), else of its samples (`stts`,
    `trun`); without these, that of `mehd` or `mvhd`. Width and height are in coded pixels,
    those of the sample entry (ISO/IEC 14496-12, section 12.1.3), or of `tkhd` (8.3.2), the size to
    show, where the entry has none.
    """

    def __init__(self) -> None:
        self._seen: set[bytes] = set()
        self._timescale = 0
        self._movie_units = 0
        self._fragmented_units = 0
        self._track = _Track()
        self._video: _Track | None = None
        self._tracks: dict[int, _Track] = {}
        self._media_bytes = 0
        self._media_start: int | None = None
        self._sample_end = 0
        self._sample_bytes = 0
        super().__init__(ContentType.MP4)

    def script(self) -> Script[ContainerInfo]:
        box = yield from self.part(None)
        self._check_first(box)
        while box is not None:
            yield from self._top_level(box)
            yield from self.leave(box)
            if box.kind == b"mdat":
                self._media_bytes += self.offset - box.start - _HEADER
            box = yield from self._next_box()
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

    def _next_box(self) -> Script[Part | None]:
        """Read the header of the next box; None at the end, or at bytes that are no box."""
        if not {b"moov", b"mdat"} <= self._seen:
            return (yield from self.part(None))
        start = self.offset
        head = yield Take(_HEADER, "a box header", may_be_short=True)
        size, kind = int.from_bytes(head[:4]), head[4:]
        if len(head) < _HEADER:
            return None
        if kind not in _TOP_LEVEL:
            # A box of a vendor, or a trailer that is none; what comes next decides.
            if size < _HEADER or not kind.isalnum():
                if self._seen & _FRAGMENTED:
                    yield from self._check_end(head)
                yield Skip(None, "the bytes after the last box")
                return None
            self.count_part()
            return Part(kind, start, start + size)
        self.count_part()
        if size == 0:
            return Part(kind, start, None)
        if size == 1:
            size = int.from_bytes((yield Take(8, "a box header")))
        if size < self.offset - start + _SMALLEST.get(kind, 0):
            raise self.malformed(f"{self.name(kind)} has the impossible size {size}", start)
        return Part(kind, start, start + size)

    def _check_end(self, head: bytes) -> Script[None]:
        """Refuse a part of a movie in what stands for a trailer: the header before it is damaged.

        Only the fragments themselves say how many there are.
        """
        seen = head
        while len(seen) >= _HEADER:
            piece = yield Take(_PIECE_BYTES, "the bytes after the last box", may_be_short=True)
            if any(kind in seen + piece for kind in (b"moof", b"mdat")):
                raise self.malformed("bytes that are no box stand before a part of the movie")
            seen = piece[-_HEADER:] if len(piece) == _PIECE_BYTES else b""

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
        elif box.kind == b"moof":
            yield from self.inside(box, {b"traf": self._traf})
        if box.kind in {b"moov", b"mdat", b"moof"}:
            self._seen.add(box.kind)
        if box.kind == b"mdat" and self._media_start is None:
            self._media_start = self.offset

    def _mvhd(self, box: Part) -> Script[None]:
        wide = (yield from self.take(box, 4))[0] == 1
        fields = yield from self.take(box, 28 if wide else 16)
        at = 16 if wide else 8
        self._timescale = int.from_bytes(fields[at : at + 4])
        self._movie_units = _units(fields[at + 4 :])

    def _mvex(self, box: Part) -> Script[None]:
        self._seen.add(box.kind)
        yield from self.inside(box, {b"mehd": self._mehd, b"trex": self._trex})

    def _mehd(self, box: Part) -> Script[None]:
        wide = (yield from self.take(box, 4))[0] == 1
        self._fragmented_units = _units((yield from self.take(box, 8 if wide else 4)))

    def _trex(self, box: Part) -> Script[None]:
        fields = yield from self.take(box, 24)
        track = self._by_number(int.from_bytes(fields[4:8]))
        track.default_units = int.from_bytes(fields[12:16])
        track.default_bytes = int.from_bytes(fields[16:20])

    def _by_number(self, number: int) -> _Track:
        """Return the track with this number, a new one if there is none yet."""
        if number not in self._tracks and len(self._tracks) >= _MOST_TRACKS:
            raise self.malformed(f"there are more than {_MOST_TRACKS} tracks")
        return self._tracks.setdefault(number, _Track(number))

    def _trak(self, box: Part) -> Script[None]:
        self._track = _Track()
        visitors = {b"tkhd": self._tkhd, b"mdia": self._mdia, b"edts": self._edts}
        yield from self.inside(box, visitors)
        track = self._track
        if self._video is None and track.handler == b"vide":
            self._video = track
        known = self._tracks.get(track.number)
        if known is None or not known.samples:
            self._by_number(track.number)
            if known is not None:
                track.default_units, track.default_bytes = known.default_units, known.default_bytes
            self._tracks[track.number] = track
        self._sample_end = max(self._sample_end, track.end())
        self._sample_bytes = max(self._sample_bytes, track.sample_bytes)

    def _tkhd(self, box: Part) -> Script[None]:
        wide = (yield from self.take(box, 4))[0] == 1
        fields = yield from self.take(box, 92 if wide else 80)
        self._track.number = int.from_bytes(fields[16:20] if wide else fields[8:12])
        # Fixed-point numbers, 16 bits before the point and 16 after.
        width, height = int.from_bytes(fields[-8:-4]), int.from_bytes(fields[-4:])
        self._track.presented = (width >> 16, height >> 16)

    def _edts(self, box: Part) -> Script[None]:
        yield from self.inside(box, {b"elst": self._elst})

    def _elst(self, box: Part) -> Script[None]:
        wide = (yield from self.take(box, 4))[0] == 1
        width = 20 if wide else 12
        count = int.from_bytes((yield from self.take(box, 4)))
        for _ in range(min(count, _MOST_EDITS)):
            entry = yield from self.take(box, width)
            self._track.edit_units += _units(entry[: 8 if wide else 4])

    def _mdia(self, box: Part) -> Script[None]:
        visitors = {b"mdhd": self._mdhd, b"hdlr": self._hdlr, b"minf": self._minf}
        yield from self.inside(box, visitors)

    def _mdhd(self, box: Part) -> Script[None]:
        wide = (yield from self.take(box, 4))[0] == 1
        fields = yield from self.take(box, 20 if wide else 12)
        self._track.timescale = int.from_bytes(fields[16:20] if wide else fields[8:12])

    def _minf(self, box: Part) -> Script[None]:
        yield from self.inside(box, {b"stbl": self._stbl})

    def _stbl(self, box: Part) -> Script[None]:
        visitors = {
            b"stsd": self._stsd,
            b"stts": self._stts,
            b"stsz": self._stsz,
            b"stz2": self._stz2,
            b"stsc": self._stsc,
            b"stco": self._stco,
            b"co64": self._co64,
        }
        yield from self.inside(box, visitors)

    def _rows(
        self, box: Part, count: int, code: str, width: int, use: "Callable[[array[int]], None]"
    ) -> Script[None]:
        """Read `count` rows of `width` numbers of an array type; pass them on in pieces."""
        row = array(code).itemsize * width
        left = min(count, ((box.end or 0) - self.offset) // row) if box.end is not None else count
        while left:
            rows = min(left, _PIECE_BYTES // row)
            numbers = array(code, (yield from self.take(box, rows * row)))
            if _LITTLE_ENDIAN:
                numbers.byteswap()
            use(numbers)
            left -= rows

    def _stts(self, box: Part) -> Script[None]:
        track, fields = self._track, (yield from self.take(box, 8))

        def use(rows: "array[int]") -> None:
            track.media_units += sum(map(mul, rows[::2], rows[1::2]))

        yield from self._rows(box, int.from_bytes(fields[4:]), "I", 2, use)

    def _stsz(self, box: Part) -> Script[None]:
        track, fields = self._track, (yield from self.take(box, 12))
        track.fixed_bytes = int.from_bytes(fields[4:8])
        count = int.from_bytes(fields[8:])
        track.samples = count
        if track.fixed_bytes:
            track.sample_bytes = count * track.fixed_bytes
            return

        def use(sizes: "array[int]") -> None:
            track.sample_bytes += sum(sizes)
            track.last_sizes = (track.last_sizes + sizes)[-_LAST_SAMPLES:]

        yield from self._rows(box, count, "I", 1, use)

    def _stz2(self, box: Part) -> Script[None]:
        fields = yield from self.take(box, 12)
        # Compact sizes of 4, 8 or 16 bits: only counted.
        self._track.samples = self._track.sample_bytes = int.from_bytes(fields[8:])

    def _stsc(self, box: Part) -> Script[None]:
        track, fields = self._track, (yield from self.take(box, 8))

        def use(rows: "array[int]") -> None:
            track.samples_a_chunk = rows[-2]

        yield from self._rows(box, int.from_bytes(fields[4:]), "I", 3, use)

    def _stco(self, box: Part) -> Script[None]:
        yield from self._chunks(box, "I")

    def _co64(self, box: Part) -> Script[None]:
        yield from self._chunks(box, "Q")

    def _chunks(self, box: Part, code: str) -> Script[None]:
        track, fields = self._track, (yield from self.take(box, 8))

        def use(offsets: "array[int]") -> None:
            track.last_chunk = offsets[-1]
            furthest = max(offsets)
            track.furthest_chunk = max(track.furthest_chunk, furthest)

        yield from self._rows(box, int.from_bytes(fields[4:]), code, 1, use)

    def _traf(self, box: Part) -> Script[None]:
        self._track = _Track()
        yield from self.inside(box, {b"tfhd": self._tfhd, b"trun": self._trun})

    def _tfhd(self, box: Part) -> Script[None]:
        fields = yield from self.take(box, 8)
        flags = int.from_bytes(fields[1:4])
        track = self._track = self._by_number(int.from_bytes(fields[4:8]))
        yield from self.take(box, (8 if flags & 1 else 0) + (4 if flags & 2 else 0))
        if flags & 8:
            track.default_units = int.from_bytes((yield from self.take(box, 4)))
        if flags & 16:
            track.default_bytes = int.from_bytes((yield from self.take(box, 4)))

    def _trun(self, box: Part) -> Script[None]:
        track, fields = self._track, (yield from self.take(box, 8))
        flags, count = int.from_bytes(fields[1:4]), int.from_bytes(fields[4:8])
        yield from self.take(box, (4 if flags & 1 else 0) + (4 if flags & 4 else 0))
        width = (flags >> 8 & 15).bit_count()
        timed, sized = bool(flags & 0x100), bool(flags & 0x200)
        before = track.sample_bytes

        def use(rows: "array[int]") -> None:
            track.media_units += sum(rows[::width]) if timed else 0
            track.sample_bytes += sum(rows[timed::width]) if sized else 0

        if width:
            yield from self._rows(box, count, "I", width, use)
        track.samples += count
        track.media_units += 0 if timed else count * track.default_units
        track.sample_bytes += 0 if sized else count * track.default_bytes
        self._sample_bytes += track.sample_bytes - before

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
        tracks = [self._video] if self._video else list(self._tracks.values())
        if not any(track.samples and track.sample_bytes for track in tracks):
            raise self.malformed("the file ends without a frame: its tables list no sample")
        if self._sample_end > self.offset or self._sample_bytes > self._media_bytes:
            raise self.malformed(
                "the file ends before the media data that its tables list: samples reach to byte "
                f"{self._sample_end} and have {self._sample_bytes} bytes, "
                f"the 'mdat' boxes {self._media_bytes}"
            )
        return self._told()

    def salvaged(self) -> ContainerInfo | None:
        """Return what the file tells if its media data began: a killed recorder writes no `moov`."""
        return self._told() if self._media_bytes or self._in_media() else None

    def _in_media(self) -> bool:
        return self._media_start is not None and self.offset > self._media_start

    def _told(self) -> ContainerInfo:
        track = self._video or _Track()
        width, height = track.coded if all(track.coded) else track.presented
        return ContainerInfo.claimed(
            self.container,
            duration_seconds=self._duration_seconds(),
            width=width,
            height=height,
            video_codec=track.codec,
        )

    def _duration_seconds(self) -> float | None:
        longest = max((self._track_seconds(track) for track in self._tracks.values()), default=0.0)
        if longest:
            return longest
        # The `mvhd` of a fragmented file may cover its first fragment only.
        units = self._fragmented_units if b"moof" in self._seen else self._movie_units
        return units / self._timescale if self._timescale else None

    def _track_seconds(self, track: _Track) -> float:
        if track.edit_units and self._timescale and b"moof" not in self._seen:
            return track.edit_units / self._timescale
        return track.media_units / track.timescale if track.timescale else 0.0


def _units(field: bytes) -> int:
    """Return the number in a duration field; 0 if all bits are 1, which means unknown."""
    return 0 if field == b"\xff" * len(field) else int.from_bytes(field)
