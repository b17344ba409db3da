"""Reading: the original bytes of files, whole or in ranges, and the pixels of images.

Every byte is verified before it is returned: `ReplicaReader` reads and verifies the stored bytes,
and this module decodes them.
"""

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing

from attrs import frozen

from traffic_storage.application.find import Find
from traffic_storage.application.heal_replica import HealReplica
from traffic_storage.application.operation_counters import OperationCounters
from traffic_storage.application.promote import Promote
from traffic_storage.application.replica_reader import ReplicaFilter, ReplicaReader, any_replica
from traffic_storage.application.tasks import OwnedTasks
from traffic_storage.domain.errors import InvalidInput, NoGoodReplica, UnsupportedMedia
from traffic_storage.domain.files import Coding, FileKind, Replica, StoredFile
from traffic_storage.domain.fixity import Finding, Verdict, single
from traffic_storage.domain.identifiers import FileId
from traffic_storage.domain.image_layout import ChannelOrder
from traffic_storage.domain.verification import Span, chunks_of
from traffic_storage.ports.compressor import Compressor
from traffic_storage.ports.errors import BlobCorrupt, CatalogueUnavailable
from traffic_storage.ports.images import DecodedImage, Images

logger = logging.getLogger("traffic_storage.read")


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
        heal: HealReplica,
        tasks: OwnedTasks,
    ) -> None:
        self._heal = heal
        self._tasks = tasks
        self._find = find
        self._replicas = replicas
        self._compressor = compressor
        self._images = images
        self._counters = counters
        self._promote = promote
        self._saving: set[FileId] = set()

    async def whole(self, file_id: str) -> tuple[bytes, StoredFile]:
        """Return the original bytes of a file and its row. For files that fit in memory."""
        file = await self._find.file(file_id)
        data = await self._content(file)
        self._count(len(data))
        return data, file

    async def open(self, file_id: str) -> "OpenFile":
        """Return an object that reads the bytes of a file in chunks."""
        return OpenFile(await self._find.file(file_id), self)

    def opened(self, file: StoredFile, replica: Replica) -> "OpenFile":
        """Return an object that reads the bytes of one replica of a file, past every cache."""
        return OpenFile(file, self, replica)

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

    async def chunks(
        self, file: StoredFile, span: Span, replica: Replica | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Yield the original bytes of a file in the range `span`, each verified before it is yielded.

        With `replica`, they are read from this one, past every cache.
        """
        if file.stored.segmented and file.coding is Coding.IDENTITY:
            streamed = self._replicas.stream(
                file, span, cached=replica is None, serving=_only(replica)
            )
            async with aclosing(streamed) as stream:
                async for chunk in stream:
                    self._counters.bytes_retrieved += len(chunk)
                    yield chunk
            self._counters.files_retrieved += 1
            if not span.start and replica is None:
                await self._promote(file)
            await self._save(file)
        elif span.length:
            data = await self._content(file, replica)
            self._count(span.length)
            for chunk in chunks_of(data, span):
                yield chunk

    async def _content(self, file: StoredFile, replica: Replica | None = None) -> bytes:
        stored = await self._stored(file, replica)
        if replica is None:
            await self._promote(file)
        if file.coding is Coding.IDENTITY:
            return stored
        try:
            return await self._compressor.expand(stored, file.content)
        except BlobCorrupt as error:
            # The stored bytes have the recorded digest, so every other replica fails as well.
            raise NoGoodReplica(f"{file.file_id} can't be decoded: {error}") from error

    async def _stored(self, file: StoredFile, replica: Replica | None) -> bytes:
        if replica is not None:
            return await self._replicas.read(file, cached=False, serving=_only(replica))
        try:
            data = await self._replicas.read(file)
        except NoGoodReplica:
            cached = await self._replicas.read_cached(file)
            if cached is None:
                raise
            data = cached
        await self._save(file)
        return data

    async def _save(self, file: StoredFile) -> None:
        """Make verified bytes a replica again, if they were read although no replica is present."""
        if file.readable or file.file_id in self._saving:
            return
        self._saving.add(file.file_id)
        try:
            await self._tasks.run(self._saved(file))
        except CatalogueUnavailable as error:
            logger.warning("%s can't be healed now: %s", file.file_id, str(error))
        finally:
            self._saving.discard(file.file_id)

    async def _saved(self, file: StoredFile) -> None:
        for replica in file.doubtful:
            # The bytes may be those of the replica itself, which is right again, as after a disk that
            # was not mounted: it needs no new copy.
            if not await self._replicas.restore(file, replica):
                await self._heal(Finding(single(file, replica), Verdict.CORRUPT))

    def _count(self, size_bytes: int) -> None:
        self._counters.files_retrieved += 1
        self._counters.bytes_retrieved += size_bytes


@frozen
class OpenFile:
    """Reads one file in chunks. `ReadFiles.open` returns it."""

    file: StoredFile
    _reader: ReadFiles
    _replica: Replica | None = None

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
        return self._reader.chunks(self.file, span, self._replica)


def _only(replica: Replica | None) -> ReplicaFilter:
    """Return the condition that admits this replica only; without one, all."""
    if replica is None:
        return any_replica
    return lambda one: one.replica_id == replica.replica_id
