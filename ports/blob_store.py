"""BlobStore: immutable blobs (the stored bytes of files) under keys in one folder or bucket."""

from abc import abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Protocol, TypeVar

from attrs import frozen

from traffic_storage.domain.digests import Digests
from traffic_storage.domain.files import BlobKey, Tier
from traffic_storage.domain.manifest import BlobManifest
from traffic_storage.domain.verification import Span, check_measured
from traffic_storage.ports.errors import BlobCorrupt, BlobMissing, StorageUnavailable
from traffic_storage.ports.spool import Body, FileBody

T = TypeVar("T")


@frozen
class BlobHead:
    """The size of a blob, and its manifest (the catalogue row that the store keeps with the blob).

    `manifest` is None if it is unreadable. It is a summary (`sidecar_sha256` is set) if the sidecar,
    the blob with the whole manifest, is missing or altered.
    """

    size_bytes: int
    manifest: BlobManifest | None


@frozen
class BlobEntry:
    """A blob in a listing of a store. `modified_at` is in UTC, by the clock of the store."""

    key: BlobKey
    size_bytes: int
    modified_at: datetime


@frozen
class KeptVersion:
    """A version of a deleted blob that the store keeps nevertheless.

    Attributes:
        version_id: None if it is unknown whether there is one.
        reason: why the store keeps it, as a phrase.
    """

    version_id: str | None
    reason: str

    def __str__(self) -> str:
        if self.version_id is None:
            return self.reason
        return f"the store keeps the version {self.version_id}: {self.reason}"


@frozen
class Room:
    """The free and total space of a store's disk or bucket. None means unknown or unbounded."""

    free_bytes: int | None = None
    total_bytes: int | None = None
    free_inodes: int | None = None


@frozen
class NewBlob:
    """A blob that is to be written: its key, its bytes, and its manifest."""

    key: BlobKey
    body: Body
    manifest: BlobManifest


@frozen
class Examination:
    """The result of examining one blob.

    Attributes:
        error: None if all bytes are intact. StorageUnavailable if they could not be read, so that
            nothing is known about them.
        manifest: of an intact blob, as in `BlobHead`; otherwise None.
    """

    error: BlobMissing | BlobCorrupt | StorageUnavailable | None = None
    manifest: BlobManifest | None = None


class BlobStore(Protocol):
    """Reads and writes the blobs (stored bytes of files) in one store: a folder or a bucket.

    Every method but `unavailable_reason` does I/O, within the adapter's time limits. Many calls run
    concurrently on one event loop. The constructor does no I/O; the first call opens
    the store.

    Errors of all methods:
        StorageUnavailable: the store can't be reached or refuses the operation (credentials,
            read-only). The message names the cause and never contains a secret. Whether a write
            happened is unknown, unless the method states otherwise.

    Errors of all methods that take a key:
        InvalidInput: `key` does not have the form that `blob_key` produces
            (`domain.verification.check_key`).
    """

    @property
    @abstractmethod
    def tier(self) -> Tier:
        """The tier of this store: local disk or cloud."""

    @property
    @abstractmethod
    def location(self) -> str:
        """The location of the store as a text that never changes: `/folder`, `endpoint/bucket`."""

    @abstractmethod
    def unavailable_reason(self) -> str:
        """Return why the store is known to be unusable now; empty when it is usable. No I/O.

        The application writes nothing to a store that returns a reason. The reason must therefore
        expire by itself, so that a later call can find out whether the store works again.
        """

    @abstractmethod
    async def put(
        self, key: BlobKey, body: Body, manifest: BlobManifest, *, deadline: datetime
    ) -> None:
        """Write a new blob and its manifest.

        Returns when bytes and manifest are durable, whole and verified. A store that cannot keep
        every manifest beside a blob keeps it as `manifest.kept()`: the sidecar (a second blob, with
        the whole manifest) is durable before the blob is published.

        Create-only: no blob that exists is ever changed. If `key` already holds the same bytes (an
        earlier write of this call whose answer was ambiguous), the call succeeds and the existing
        manifest stays. Existing bytes are compared, not their digests.

        A partly written body is never visible under `key`. When the call returns, raises or is
        cancelled, no thread or task of the store publishes the blob any more, and the caller may
        release the body. A cancelled call may have published the blob.

        The digests of the body are correct, because a `Spool` computed them. The store checks the
        size of the body, because a file can be truncated.

        Raises:
            BlobConflict: `key` holds other bytes.
            BlobCorrupt: the body is shorter or longer than its digests state; nothing was published.
            DeadlinePassed: the blob was not published before `deadline` and never will be. If
                `deadline` has passed when the call begins, this error takes precedence over every
                other outcome, because recovery (the undoing of interrupted store operations) may
                already have entered the key into the quarantine, where it is deleted later.
            StorageFull: no space is left; nothing was published.
        """

    async def put_all(self, blobs: Sequence[NewBlob], *, deadline: datetime) -> None:
        """Write many new blobs, each as `put` does, as one write as far as the store can.

        Raises:
            BlobConflict, BlobCorrupt, DeadlinePassed, StorageFull: as `put`, for one of the blobs. Any
                of the others may be published; none will be later.
        """
        for blob in blobs:
            await self.put(blob.key, blob.body, blob.manifest, deadline=deadline)

    @abstractmethod
    async def read(self, key: BlobKey, digests: Digests) -> bytes:
        """Return all bytes of a blob, after checking them against `digests`.

        Raises:
            BlobMissing: no such blob.
            BlobCorrupt: the size or digest differs, or `key` names another digest; no byte is
                returned.
        """

    @abstractmethod
    def open(self, key: BlobKey, digests: Digests, span: Span) -> AsyncIterator[bytes]:
        """Yield the bytes of a blob in the range `span`, in order, each checked before it is yielded.

        If `digests` has no segments (parts of 1 MiB with their own digests), the blob is read and
        checked whole. Otherwise its size is checked, and then only the segments that `span`
        touches; and before the first byte, that the manifest beside the bytes, if it is readable,
        states the same digests (`domain.verification.check_witnesses`). Of a segment that the store
        has verified before, it may read a part, if the bytes that it yields are proven as strictly.
        Chunks have 1 byte to 4 MiB. Closing the iterator early frees all resources.

        Raises (while iterated):
            BlobMissing, BlobCorrupt: as `read`; bytes yielded before the error are correct.
            InvalidInput: `span.stop` exceeds `digests.size_bytes`.
        """

    @abstractmethod
    async def measure(self, key: BlobKey) -> Digests:
        """Compute and return the digests of the bytes that this store holds under `key`.

        Recorded digests are not used. All bytes are read, in bounded memory, from the disk or
        bucket itself, never from a cache.

        Raises:
            BlobMissing: no such blob.
        """

    async def verify(self, key: BlobKey, digests: Digests) -> None:
        """Read the blob as `measure` does, and check all its bytes against `digests`.

        Raises:
            BlobMissing: no such blob.
            BlobCorrupt: the size or digest differs, or `key` names another digest.
        """
        check_measured(key, await self.measure(key), digests)

    async def examine(self, blobs: Sequence[tuple[BlobKey, Digests]]) -> Sequence[Examination]:
        """Verify many blobs as `verify` does, and read the manifest of each.

        Returns one result for each blob, in the same order. The digests of segments (parts of a
        blob) are not compared. The error of one blob does not stop the examination of the others.
        """
        return [await examination(self, key, digests) for key, digests in blobs]

    @asynccontextmanager
    async def lend(self, key: BlobKey, digests: Digests) -> AsyncIterator[FileBody | None]:
        """Return a context with the open file of a blob, after a check of all its bytes.

        The body is valid inside the context, also when the blob is deleted meanwhile. It is None if
        the store has no files of blobs.

        Raises (on entry):
            BlobMissing: no such blob.
            BlobCorrupt: the size or digest differs, or `key` names another digest.
        """
        del key, digests
        yield None

    @property
    def uncached(self) -> "BlobStore":
        """The store whose methods return no bytes from a cache; it need not be closed."""
        return self

    async def forget(self, key: BlobKey) -> None:
        """Remove the copy of a blob that a cache in front of this store has, if any."""
        del key  # A store without a cache has no copy.

    async def cached_keys(self) -> Sequence[BlobKey]:
        """Return the keys of the blobs of which a cache in front of this store has copies."""
        return ()

    async def free_cache(self) -> None:
        """Remove copies from a cache in front of this store while its disk lacks free space."""
        return  # A store without a cache has no copies.

    @abstractmethod
    async def head(self, key: BlobKey) -> BlobHead:
        """Return the size of a blob, and its manifest (the catalogue row kept with the blob).

        Raises:
            BlobMissing: no such blob.
        """

    async def heads(self, keys: Sequence[BlobKey]) -> Sequence[BlobHead | BlobMissing]:
        """Return what `head` returns for each blob, or the error if it does not exist, in order.

        Any other error ends the call.
        """
        return [await head_or_missing(self, key) for key in keys]

    @abstractmethod
    async def delete(self, key: BlobKey) -> Sequence[KeptVersion]:
        """Remove a blob and its sidecar (the blob with its whole manifest, if any), durably.

        Earlier versions, which a bucket with versioning keeps, are removed too. Returns those that
        the store does not let go (a lock, a missing permission). Succeeds if the blob is absent.
        """

    @abstractmethod
    def list(self, prefix: str = "", after: str = "") -> AsyncIterator[BlobEntry]:
        """Yield all blobs whose key begins with `prefix` and is greater than `after`.

        In ascending order of key (code points), in bounded memory. Partly written blobs, sidecars
        (blobs with the manifests of others) and the store's identification file (marker) are never
        listed. A blob that is written or deleted during the listing may or may not be listed; every
        other blob is listed exactly once. If the listing can't be completed, it raises an error.
        """

    @abstractmethod
    async def room(self) -> Room:
        """Return the free and total space of the store's disk or bucket."""

    @abstractmethod
    async def aclose(self) -> None:
        """Wait until running calls end, then free threads and connections.

        A second call does nothing. The caller makes no other call afterwards.
        """


async def head_or_missing(store: BlobStore, key: BlobKey) -> BlobHead | BlobMissing:
    """Return the size and the manifest of a blob, or the error if it does not exist."""
    try:
        return await store.head(key)
    except BlobMissing as error:
        return error


async def examination(store: BlobStore, key: BlobKey, digests: Digests) -> Examination:
    """Verify one blob and read its manifest; return the result, also if the blob is bad."""
    try:
        await store.verify(key, digests)
        return Examination(manifest=(await store.head(key)).manifest)
    except (BlobMissing, BlobCorrupt, StorageUnavailable) as error:
        return Examination(error)


@asynccontextmanager
async def closing(iterator: AsyncIterator[T]) -> AsyncIterator[AsyncIterator[T]]:
    """Return a context that closes an iterator of a store at its exit, also after an error."""
    try:
        yield iterator
    finally:
        if aclose := getattr(iterator, "aclose", None):
            await aclose()


async def is_empty(store: BlobStore) -> bool:
    """Return whether a store contains no blob."""
    async with closing(store.list()) as listing:
        async for _ in listing:
            return False
    return True
