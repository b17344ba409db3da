"""BlobStore: immutable bytes under keys of ours, in one place (a folder, a bucket)."""

from abc import abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Protocol, TypeVar

from attrs import frozen

from traffic_storage.domain.digests import Digests
from traffic_storage.domain.files import BlobKey, Tier
from traffic_storage.domain.manifest import BlobManifest
from traffic_storage.domain.verification import Span, check_measured
from traffic_storage.ports.spool import Body

T = TypeVar("T")


@frozen
class BlobHead:
    """What a store says of a blob without giving its bytes.

    `manifest` is None where it is unreadable, and a summary (`sidecar_sha256` is set) where the
    sidecar that it names is missing or altered.
    """

    size_bytes: int
    manifest: BlobManifest | None


@frozen
class BlobEntry:
    """A blob in a listing; `modified_at` is by the store's clock, UTC."""

    key: BlobKey
    size_bytes: int
    modified_at: datetime


@frozen
class Room:
    """What the medium has left; None: unknown or unbounded."""

    free_bytes: int | None = None
    total_bytes: int | None = None
    free_inodes: int | None = None


class BlobStore(Protocol):
    """One store. Every method but `unavailable_reason` does I/O, within the adapter's own deadlines.

    Many calls run at once, on one event loop. Making a store does no I/O; the first call opens it.

    Errors of all methods:
        StorageUnavailable: the store can't be reached or refuses (credentials, read-only);
            the message names the cause, and never a secret. Whether a write happened is unknown,
            except where a method says otherwise.

    Errors of all methods that take a key:
        InvalidInput: it is no key as `blob_key` makes them (`domain.verification.check_key`).
    """

    @property
    @abstractmethod
    def tier(self) -> Tier:
        """The class of this store."""

    @property
    @abstractmethod
    def location(self) -> str:
        """Where it is, in words that stay the same: `/folder`, `endpoint/bucket`."""

    @abstractmethod
    def unavailable_reason(self) -> str:
        """Why it can't be used at the moment, as far as is known; empty when it can. No I/O.

        Nothing is written to a store with an unavailable_reason, so it must end by itself after a while: a
        call has to find out that the store is back.
        """

    @abstractmethod
    async def put(
        self, key: BlobKey, body: Body, manifest: BlobManifest, *, deadline: datetime
    ) -> None:
        """Write a new blob and its manifest.

        Returns when bytes and manifest are durable, whole and verified. A store that has not room
        for every manifest beside a blob keeps it as `manifest.kept()`: the sidecar is durable
        before the blob is published. Create-only: no blob that exists is ever changed. A blob with the same bytes that is there already (our own write,
        answered ambiguously) counts as written. A body that is gone half-way is never visible
        under `key`. However a call ends, by an error or a cancellation too, it has ended: the
        store's own threads and tasks publish nothing afterwards, and what the body names may be
        released. A cancelled call may have published.

        The digests of the body are right (a `Spool` made them); its size is checked, for a file
        can be cut. A blob that is there already is compared by its bytes, and keeps its manifest.

        Raises:
            BlobConflict: `key` holds other bytes.
            BlobCorrupt: the body is shorter or longer than its digests say; nothing was published.
            DeadlinePassed: not published before `deadline`; it never will be. One that is past at
                the call comes before all other answers, for recovery may undo what is there.
            StorageFull: no room; nothing was published.
        """

    @abstractmethod
    async def read(self, key: BlobKey, digests: Digests) -> bytes:
        """The whole blob, checked against `digests`.

        Raises:
            BlobMissing: no such blob.
            BlobCorrupt: other size or digest; no byte is given.
        """

    @abstractmethod
    def open(self, key: BlobKey, digests: Digests, span: Span) -> AsyncIterator[bytes]:
        """The bytes of `span`, in order, each checked before it is given.

        A blob without segment digests is read and checked whole; one with them by its size and
        then segment by segment (1 MiB), only those that `span` touches. Gives chunks of at most
        4 MiB, never an empty one. Closing the iterator early frees everything at once.

        Raises (while iterated):
            BlobMissing, BlobCorrupt: as `read`; bytes given before stay right.
            InvalidInput: `span.stop` exceeds `digests.size_bytes`.
        """

    @abstractmethod
    async def measure(self, key: BlobKey) -> Digests:
        """The digests of the bytes that this store holds under `key`, whatever was recorded.

        Reads all bytes, in bounded memory, from the store itself: no cache answers.

        Raises:
            BlobMissing: no such blob.
        """

    async def verify(self, key: BlobKey, digests: Digests) -> None:
        """Check all bytes that this store holds under `key` against `digests`, read as by `measure`.

        Raises:
            BlobMissing: no such blob.
            BlobCorrupt: other size or digest.
        """
        check_measured(key, await self.measure(key), digests)

    @abstractmethod
    async def head(self, key: BlobKey) -> BlobHead:
        """Size and manifest of a blob.

        Raises:
            BlobMissing: no such blob.
        """

    @abstractmethod
    async def delete(self, key: BlobKey) -> None:
        """Remove a blob and its sidecar, durably. One that is not there is a success."""

    @abstractmethod
    def list(self, prefix: str = "", after: str = "") -> AsyncIterator[BlobEntry]:
        """All blobs whose key begins with `prefix` and is greater than `after`.

        In ascending order of key (code points), in bounded memory. Never shows a blob that is
        not wholly written, nor a sidecar, nor the marker. A blob written or deleted meanwhile may be missed or
        shown; any other is shown exactly once. An error ends the listing: it never ends early in
        silence.
        """

    @abstractmethod
    async def room(self) -> Room:
        """What the medium has left."""

    @abstractmethod
    async def aclose(self) -> None:
        """Free threads and connections; running calls end first.

        A second time does nothing. No other call comes after it.
        """


@asynccontextmanager
async def closing(iterator: AsyncIterator[T]) -> AsyncIterator[AsyncIterator[T]]:
    """An iterator of a store, closed when the block is left, however it is left."""
    try:
        yield iterator
    finally:
        if aclose := getattr(iterator, "aclose", None):
            await aclose()


async def is_empty(store: BlobStore) -> bool:
    """Whether a store holds no blob of ours."""
    async with closing(store.list()) as listing:
        async for _ in listing:
            return False
    return True
