"""AVI: RIFF files of form `AVI ` (Multimedia Programming Interface 1.0; OpenDML 1.02).

A file is a RIFF chunk of form `AVI `, in OpenDML followed by more of form `AVIX`. A chunk is a
four-character code, a 32-bit little-endian size and as many bytes as the size states,
padded to an even number.
"""

from traffic_storage.domain.media.content_types import ContentType
from traffic_storage.domain.media.script import Part, Script, ScriptedWalker, Take
from traffic_storage.domain.media.walker import ContainerInfo

_HEADER = 8
_LISTS = frozenset({b"RIFF", b"LIST"})


class AviWalker(ScriptedWalker):
    """Checks that each chunk of an AVI file is complete and that headers and frames (`movi`) exist.

    The pad byte of a chunk may be missing at the end of the enclosing chunk. The duration is the
    number of frames times the microseconds of a frame, both from the main header `avih`. In an
    OpenDML file `dmlh` gives the number of frames, because `avih` counts those of the first RIFF.
    """

    def __init__(self) -> None:
        self._seen: set[bytes] = set()
        self._frame_us = 0
        self._frames = 0
        self._all_frames = 0
        self._width = 0
        self._height = 0
        self._is_video = False
        self._codec = b""
        super().__init__(ContentType.AVI)

    def script(self) -> Script[ContainerInfo]:
        riff = yield from self.part(None)
        if riff is None or riff.kind != b"RIFFAVI ":
            raise self.malformed("the file doesn't begin with a RIFF chunk of form 'AVI '", 0)
        yield from self.inside(riff, {b"LISThdrl": self._hdrl, b"LISTmovi": self._movi})
        while riff is not None:
            yield from self.leave(riff)
            if self.offset % 2:
                yield Take(1, "a pad byte", may_end=True)
            riff = yield from self._next_riff()
        return self._info()

    def part(self, limit: int | None) -> Script[Part | None]:
        if limit is not None and limit - self.offset < _HEADER:
            return None
        start = self.offset
        head = yield Take(_HEADER, "a chunk header", may_end=limit is None)
        if not head:
            return None
        self.count_part()
        kind, size = head[:4], int.from_bytes(head[4:], "little")
        end = self.offset + size
        if limit is not None and end > limit:
            raise self.malformed(f"{self.name(kind)} is larger than the chunk around it", start)
        if kind in _LISTS:
            if size < 4:
                raise self.malformed(f"{self.name(kind)} has the impossible size {size}", start)
            kind += yield Take(4, self.name(kind))
        return Part(kind, start, end if limit is None else min(end + size % 2, limit))

    def name(self, kind: bytes) -> str:
        return f"chunk {kind.decode('latin-1')!a}"

    def _next_riff(self) -> Script[Part | None]:
        riff = yield from self.part(None)
        if riff is None:
            return None
        if riff.kind != b"RIFFAVIX":
            raise self.malformed(f"{self.name(riff.kind)} can't follow a RIFF chunk", riff.start)
        yield from self.inside(riff, {})
        return riff

    def _hdrl(self, chunk: Part) -> Script[None]:
        visitors = {b"avih": self._avih, b"LISTstrl": self._strl, b"LISTodml": self._odml}
        yield from self.inside(chunk, visitors)

    def _movi(self, chunk: Part) -> Script[None]:
        self._seen.add(b"movi")
        yield from self.leave(chunk)

    def _avih(self, chunk: Part) -> Script[None]:
        fields = yield from self.take(chunk, 40)
        self._seen.add(b"avih")
        self._frame_us, self._frames = _dword(fields, 0), _dword(fields, 16)
        self._width, self._height = _dword(fields, 32), _dword(fields, 36)

    def _strl(self, chunk: Part) -> Script[None]:
        self._is_video = False
        yield from self.inside(chunk, {b"strh": self._strh, b"strf": self._strf})

    def _strh(self, chunk: Part) -> Script[None]:
        self._is_video = (yield from self.take(chunk, 4)) == b"vids"

    def _strf(self, chunk: Part) -> Script[None]:
        if self._is_video and not self._codec:
            # biCompression of a BITMAPINFOHEADER.
            self._codec = (yield from self.take(chunk, 20))[16:]

    def _odml(self, chunk: Part) -> Script[None]:
        yield from self.inside(chunk, {b"dmlh": self._dmlh})

    def _dmlh(self, chunk: Part) -> Script[None]:
        self._all_frames = _dword((yield from self.take(chunk, 4)), 0)

    def _info(self) -> ContainerInfo:
        for needed, what in (
            (b"avih", "the main header 'avih'"),
            (b"movi", "the list 'movi' of frames"),
        ):
            if needed not in self._seen:
                raise self.malformed(f"the file ends without {what}")
        return ContainerInfo.claimed(
            self.container,
            duration_seconds=(self._all_frames or self._frames) * self._frame_us / 1_000_000,
            width=self._width,
            height=self._height,
            video_codec=self._codec,
        )


def _dword(fields: bytes, at: int) -> int:
    return int.from_bytes(fields[at : at + 4], "little")
