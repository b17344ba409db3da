"""Reading: the original bytes of files, whole or in ranges, and the pixels of images.

Every byte is verified before it is returned: `ReplicaReader` reads and verifies the stored bytes,
and this module decodes them.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from attrs import frozen

from traffic_storage.application.find import Find
from traffic_storage.application.operation_counters import OperationCounters
from traffic_storage.application.promote import Promote
from traffic_storage.application.replica_reader import ReplicaReader
from traffic_storage.domain.errors import InvalidInput, NoGoodReplica, UnsupportedMedia
from traffic_storage.domain.files import Coding, FileKind, StoredFile
from traffic_storage.domain.pixels import ChannelOrder
from traffic_storage.domain.verification import Span, chunks_of
from traffic_storage.ports.compressor import Compressor
from traffic_storage.ports.errors import BlobCorrupt
from traffic_storage.ports.images import DecodedImage, Images


class ReadFiles:
    """Reads files by id.

    Errors of all methods:
        InvalidInput: the id is malformed.
        NotFound: no available file has this id.
        StorageUnavailable: every replica that may be good is in a store that can't be reached; the
            message names the stores.
        NoGoodReplica: every replica is corrupt or missing.
        CatalogueUnavailable: the database can't be reached.
    """

    def __init__(
        self,
        *,
        find: Find,
        replicas: ReplicaReader,
        compressor: Compressor,
        images: Images,
        counters: OperationCounters,
        promote: Promote,
    ) -> None:
        self._find = find
        self._replicas = replicas
        self._compressor = compressor
        self._images = images
        self._counters = counters
        self._promote = promote

    async def whole(self, file_id: str) -> tuple[bytes, StoredFile]:
        """Return the original bytes of a file and its row. For files that fit in memory."""
        file = await self._find.file(file_id)
        data = await self._content(file)
        self._count(len(data))
        return data, file

    async def open(self, file_id: str) -> "OpenFile":
        """Return an object that reads the bytes of a file in chunks."""
        return OpenFile(await self._find.file(file_id), self)

    async def image(
        self, file_id: str, channel_order: ChannelOrder | None = None
    ) -> tuple[DecodedImage, StoredFile]:
        """Return the pixels of an image and its row.

        `channel_order` None selects the order in which the array was given, else RGB.

        Raises:
            UnsupportedMedia: the file is not an image.
        """
        file = await self._find.file(file_id)
        if file.kind is not FileKind.IMAGE:
            raise UnsupportedMedia.of(
                "file_id",
                f"{file_id!r} is of kind {file.kind}, not an image",
                "read it with retrieve_file",
            )
        data = await self._content(file)
        self._count(len(data))
        order = channel_order or file.media.channel_order or ChannelOrder.RGB
        # The format may have changed the channels of an array: grey, or a fully opaque alpha.
        given = file.media.channels if file.media.pixel_sha256 is not None else None
        return await self._images.decode(data, order, given), file

    async def chunks(self, file: StoredFile, span: Span) -> AsyncGenerator[bytes, None]:
        """Yield the original bytes of a file in the range `span`, each verified before it is yielded."""
        if file.stored.segmented and file.coding is Coding.IDENTITY:
            async with aclosing(self._replicas.stream(file, span)) as stream:
                async for chunk in stream:
                    self._counters.bytes_retrieved += len(chunk)
                    yield chunk
            self._counters.files_retrieved += 1
            if not span.start:
                await self._promote(file)
        elif span.length:
            data = await self._content(file)
            self._count(span.length)
            for chunk in chunks_of(data, span):
                yield chunk

    async def _content(self, file: StoredFile) -> bytes:
        stored = await self._replicas.read(file)
        await self._promote(file)
        if file.coding is Coding.IDENTITY:
            return stored
        try:
            return await self._compressor.expand(stored, file.content)
        except BlobCorrupt as error:
            # The stored bytes have the recorded digest, so every other replica fails as well.
            raise NoGoodReplica(f"{file.file_id} can't be decoded: {error}") from error

    def _count(self, size_bytes: int) -> None:
        self._counters.files_retrieved += 1
        self._counters.bytes_retrieved += size_bytes


@frozen
class OpenFile:
    """Reads one file in chunks. `ReadFiles.open` returns it."""

    file: StoredFile
    _reader: ReadFiles

    def chunks(self, span: Span | None = None) -> AsyncGenerator[bytes, None]:
        """Return an iterator over the bytes in the range `span`, in verified chunks up to 4 MiB.

        If `span` is None, it yields all bytes.

        Close the iterator (`aclosing`) when leaving early. While iterated, it raises the errors of
        `ReadFiles`; bytes yielded before an error are correct.

        Raises:
            InvalidInput: the span ends after the end of the file.
        """
        size = self.file.content.size_bytes
        span = span or Span(0, size)
        if span.stop > size:
            raise InvalidInput.of(
                "span",
                f"ends at {span.stop}, but the file has {size} bytes",
                f"end at {size} or before",
            )
        return self._reader.chunks(self.file, span)
