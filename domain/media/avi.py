"""AVI: RIFF files of form `AVI ` (Multimedia Programming Interface 1.0; OpenDML 1.02).

A file is a RIFF chunk of form `AVI `, in OpenDML followed by more of form `AVIX`. A chunk is a
four-character code, a 32-bit little-endian size and as many bytes as the size states,
padded to an even number.
"""

from traffic_storage.domain.media.content_types import ContentType
from traffic_storage.domain.media.script import Part, Script, ScriptedWalker, Skip, Take
from traffic_storage.domain.media.walker import ContainerInfo

_HEADER = 8
_LISTS = frozenset({b"RIFF", b"LIST"})
# Chunks beside the headers and the frames. Other bytes behind a whole file are no part of it.
_OUTER = _LISTS | {b"idx1", b"JUNK"}


class AviWalker(ScriptedWalker):
    """Checks that each chunk of an AVI file is complete and that headers and a frame exist.

    Recorders write the size of the RIFF chunk 8 bytes too large or too small, or leave it at 0.
    So its chunks are followed to the end of the file; a file that ends more than 8 bytes before a
    stated size is refused. Bytes behind a whole file that are no chunk of AVI are skipped. The pad
    byte of a chunk may be missing at the end of the enclosing chunk.

    The duration is the number of frames (`dmlh` in OpenDML, else `strh`, else `avih`) times the
    duration of a frame (`strh`, else `avih`). Width and height are those of `avih`, else of `strf`.
    """

    def __init__(self) -> None:
        self._seen: set[bytes] = set()
        self._frame_us = 0
        self._frames = 0
        self._all_frames = 0
        self._stream_frames = 0
        self._stream_frame_seconds = 0.0
        self._width = 0
        self._height = 0
        self._coded = (0, 0)
        self._is_video = False
        self._has_video = False
        self._codec = b""
        self._riff_end = 0
        super().__init__(ContentType.AVI)

    def script(self) -> Script[ContainerInfo]:
        head = yield Take(12, "a chunk header", may_be_short=True)
        if head[:4] != b"RIFF" or head[8:] != b"AVI ":
            raise self.malformed("the file doesn't begin with a RIFF chunk of form 'AVI '", 0)
        self._riff_end = _HEADER + _dword(head, 4)
        while (chunk := (yield from self._outer())) is not None:
            if chunk.kind == b"LISThdrl":
                yield from self._hdrl(chunk)
            elif chunk.kind == b"LISTmovi":
                yield from self._movi(chunk)
            yield from self.leave(chunk)
        if self._riff_end > self.offset + _HEADER:
            short = self._riff_end - self.offset
            raise self.malformed(f"the file ends inside chunk 'RIFF', {short} bytes short")
        return self._info()

    def _outer(self) -> Script[Part | None]:
        """Read the header of the next chunk in or behind a RIFF chunk; None at the end."""
        while True:
            if self.offset % 2:
                yield Take(1, "a pad byte", may_end=True)
            start, past = self.offset, self.offset >= self._riff_end
            # Fewer bytes than a header are padding where the RIFF chunk ends or states no end.
            head = yield Take(_HEADER, "a chunk header", may_be_short=True)
            if len(head) < _HEADER:
                return None
            self.count_part()
            kind, end = head[:4], self.offset + _dword(head, 4)
            if past and {b"avih", b"frame"} <= self._seen and kind not in _OUTER:
                yield Skip(None, "the bytes after the last chunk")
                return None
            if kind not in _LISTS:
                return Part(kind, start, end)
            form = yield Take(4, self.name(kind))
            if kind == b"RIFF" and form == b"AVIX":
                self._riff_end = end
                continue
            if kind == b"RIFF" and past:
                yield Skip(None, "the bytes after the last chunk")
                return None
            if end < self.offset:
                raise self.malformed(
                    f"{self.name(kind)} has the impossible size {end - start - 8}", start
                )
            return Part(kind + form, start, end)

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

    def _hdrl(self, chunk: Part) -> Script[None]:
        visitors = {b"avih": self._avih, b"LISTstrl": self._strl, b"LISTodml": self._odml}
        yield from self.inside(chunk, visitors)

    def _movi(self, chunk: Part) -> Script[None]:
        """Look for the first frame; what follows it is skipped by the caller."""
        self._seen.add(b"movi")
        while b"frame" not in self._seen:
            part = yield from self.part(chunk.end)
            if part is None:
                return
            if part.kind == b"LISTrec ":
                continue
            coded = part.kind[:2].isalnum() and part.kind[2:] not in {b"wb", b"tx"}
            full = part.end is None or part.end > self.offset
            if full and (coded or not self._has_video) and part.kind[:2] not in {b"ix", b"JU"}:
                self._seen.add(b"frame")
            yield from self.leave(part)

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
        if self._is_video and not self._has_video and (chunk.end or 0) - self.offset >= 32:
            fields = yield from self.take(chunk, 32)
            scale, rate = _dword(fields, 16), _dword(fields, 20)
            self._stream_frame_seconds = scale / rate if rate else 0.0
            self._stream_frames = _dword(fields, 28)
        self._has_video |= self._is_video

    def _strf(self, chunk: Part) -> Script[None]:
        if self._is_video and not self._codec:
            # biWidth, biHeight (negative: top row first) and biCompression of a BITMAPINFOHEADER.
            fields = yield from self.take(chunk, 20)
            height = int.from_bytes(fields[8:12], "little", signed=True)
            self._coded, self._codec = (_dword(fields, 4), abs(height)), fields[16:]

    def _odml(self, chunk: Part) -> Script[None]:
        yield from self.inside(chunk, {b"dmlh": self._dmlh})

    def _dmlh(self, chunk: Part) -> Script[None]:
        self._all_frames = _dword((yield from self.take(chunk, 4)), 0)

    def _info(self) -> ContainerInfo:
        for needed, what in (
            (b"avih", "the main header 'avih'"),
            (b"movi", "the list 'movi' of frames"),
            (b"frame", "a frame: the list 'movi' has none"),
        ):
            if needed not in self._seen:
                raise self.malformed(f"the file ends without {what}")
        return self._told()

    def salvaged(self) -> ContainerInfo | None:
        return self._told() if {b"avih", b"frame"} <= self._seen else None

    def _told(self) -> ContainerInfo:
        sized = self._width and self._height
        frames = self._all_frames or self._stream_frames or self._frames
        frame_seconds = self._stream_frame_seconds or self._frame_us / 1_000_000
        return ContainerInfo.claimed(
            self.container,
            duration_seconds=frames * frame_seconds,
            width=self._width if sized else self._coded[0],
            height=self._height if sized else self._coded[1],
            video_codec=self._codec,
        )


def _dword(fields: bytes, at: int) -> int:
    return int.from_bytes(fields[at : at + 4], "little")
