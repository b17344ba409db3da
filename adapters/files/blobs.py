"""BlobFolder: blobs as files below one folder; each file is complete or absent.

Every method blocks, is thread-safe, and raises the errors of the ports.
"""

import errno
import hashlib
import os
import re
import secrets
import stat
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import TypeVar

from attrs import define, evolve, frozen

from traffic_storage.adapters.files.descriptors import (
    Descriptor,
    locked,
    read_all,
    write_all,
)
from traffic_storage.adapters.files.errors import translated
from traffic_storage.adapters.files.folders import Folders
from traffic_storage.adapters.files.pending import PendingFile
from traffic_storage.adapters.files.prefixes import Plan, Prefixes, PrefixMismatch
from traffic_storage.adapters.files.publish import Permit, Place, always, publish, publish_all
from traffic_storage.adapters.files.staging import FILE_MODE, STAGING, Staged, Staging, Unnamed
from traffic_storage.adapters.files.walk import walk
from traffic_storage.domain.digests import Digester, Digests, WholeDigester
from traffic_storage.domain.files import BlobKey
from traffic_storage.domain.journal import MAX_NOTE_BYTES
from traffic_storage.domain.manifest import (
    MAX_SIDECAR_BYTES,
    BlobManifest,
    KeptManifest,
    manifest_in,
    sidecar_key,
)
from traffic_storage.domain.verification import (
    Span,
    check_key,
    check_named,
    check_size,
    check_whole,
    check_witnesses,
    ended_early,
)
from traffic_storage.ports.blob_store import BlobEntry, BlobHead, Examination, NewBlob, Room
from traffic_storage.ports.errors import (
    BlobConflict,
    BlobCorrupt,
    BlobMissing,
    StorageUnavailable,
)
from traffic_storage.ports.spool import Body, FileBody, MemoryBody

_MANIFEST_ATTRIBUTE = "user.traffic_storage"
_MAX_NOTE_BYTES = 64 * 1024
_STEP_BYTES = 1024 * 1024
# So many blobs are read from the medium while one is hashed.
_FILES_AHEAD = 4
_MEASURE_BYTES = 4 * 1024 * 1024
# Locks of writers: enough that two keys written at the same time rarely share one.
_TURNS = 512
# O_NONBLOCK: opening a pipe must not block.
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
# The file system has no extended attributes, or no room for this one.
_NO_ATTRIBUTE = frozenset({errno.ENOTSUP, errno.ENOSPC, errno.E2BIG, errno.ERANGE})
# The spool's file can't be linked here: another file system, or it already had a name.
_NOT_LINKABLE = frozenset({errno.EXDEV, errno.ENOENT, errno.EPERM, errno.EMLINK})

_Item = TypeVar("_Item")


class OpenBlob:
    """A blob whose bytes are read in spans; its file closes with the last reference to it."""

    def __init__(
        self, key: BlobKey, digests: Digests, file: Descriptor, place: str, prefixes: Prefixes
    ) -> None:
        self._key = key
        self._digests = digests
        self._file = file
        self._place = place
        self._prefixes = prefixes

    def read(self, span: Span) -> bytes:
        """Return the bytes of a span, after a check of the segments that it touches."""
        try:
            return self._planned(self._prefixes.plan(span, self._digests))
        except PrefixMismatch:
            return self._planned(self._prefixes.plan(span, self._digests, whole=True))

    def _planned(self, plan: Plan) -> bytes:
        before, data, after = map(self._bytes, (plan.before, plan.span, plan.after))
        plan.check(self._key, before, data, after)
        return data

    def _bytes(self, span: Span) -> bytes:
        if not span.length:
            return b""
        with translated(self._place):
            data = read_all(self._file.fd, span.length, span.start)
        if len(data) != span.length:
            raise ended_early(self._key, span.start + len(data))
        return data


class Measurement:
    """The digests of one open file, computed in steps of some MiB; it closes with the last reference.

    `digester` decides which digests.
    """

    def __init__(self, file: Descriptor, place: str, digester: Digester | WholeDigester) -> None:
        self._file = file
        self._place = place
        self._digester = digester

    @property
    def fd(self) -> int:
        """The descriptor of the open file."""
        return self._file.fd

    def step(self) -> bool:
        """Hash the next bytes of the file; return False at its end."""
        with translated(self._place):
            data = os.pread(self._file.fd, _MEASURE_BYTES, self._digester.size_bytes)
        self._digester.update(data)
        return bool(data)

    def digests(self) -> Digests:
        """Return the digests of the bytes hashed so far."""
        return self._digester.finish()


@frozen
class _Opened:
    """A blob that is about to be examined, with the manifest that is kept with it."""

    key: BlobKey
    digests: Digests
    file: Descriptor
    manifest: BlobManifest | None


@define(eq=False)
class _Draft:
    """A blob in a file that has no name yet; its sidecar, if it has one, is published before it."""

    key: BlobKey
    digests: Digests
    place: Place
    file: Staged
    _is_published: bool = False

    def keep_sidecar(self) -> None:
        """Note that the blob is published, and needs its sidecar."""
        self._is_published = True

    def remove_sidecar(self) -> None:
        """Remove the sidecar, unless the blob is published."""
        if not self._is_published:
            _sidecar_of(self.place).unlink()


class GrowingBlob:
    """A blob written piece by piece; the caller ends it with one `publish` or `discard`.

    The first piece opens the file. One call at a time, in any thread; `give_up` at any time.
    """

    def __init__(self, stage: Callable[[], Staged], target: Callable[[], Place], root: str) -> None:
        self._file = PendingFile(stage)
        self._target = target
        self._root = root

    def write(self, piece: bytes) -> None:
        """Append a piece to the blob."""
        with translated(self._root), self._file.use() as staged:
            write_all(staged.fd, piece)

    def publish(self) -> None:
        """Give the complete file its name; discard the file if a blob with this name exists."""
        with translated(self._root), self._file.use() as staged:
            try:
                publish(staged, self._target(), self._file.check_wanted)
            finally:
                self._file.discard()

    def give_up(self) -> bool:
        """Write and publish no more; return whether `discard` must follow. Does not block.

        A late call discards the pieces itself at its end.
        """
        return self._file.give_up()

    def discard(self) -> None:
        """Delete the pieces written so far."""
        with translated(self._root):
            self._file.discard()


_OF_NOBODY = {STAGING, "lost+found"}


class BlobFolder:
    """The blobs below `root`, each with its manifest.

    The summary of a manifest is an extended attribute of the blob's file. A manifest that does not
    fit there is in the sidecar, a file beside the blob (`sidecar_key`). If `attributes` is false,
    or the file system has no extended attributes, the sidecar holds the whole manifest.

    `durable`: every write must survive a power cut. If `unnamed` is false, or the file system has
    no unnamed files, new files are in a staging folder until they are complete. With `notes_use`,
    each `read` and `open` sets the blob's modification time.
    """

    def __init__(
        self,
        root: Path,
        *,
        durable: bool,
        attributes: bool = True,
        unnamed: bool = True,
        notes_use: bool = False,
    ) -> None:
        self.place = str(root)
        self._durable = durable
        self._attributes = attributes
        self._notes_use = notes_use
        self._folders = Folders(root, durable=durable)
        self._staging = Staging(unnamed=unnamed)
        self._prefixes = Prefixes()
        self._marker: bytes | None = None
        self._turns = tuple(threading.Lock() for _ in range(_TURNS))

    def write(
        self,
        key: BlobKey,
        body: Body,
        manifest: BlobManifest | None = None,
        permit: Permit = always,
    ) -> None:
        """Publish a blob and its manifest under `key`.

        `permit` is a check that raises if it is too late to publish.
        """
        path, name = _parts(key)
        kept = None if manifest is None else manifest.kept()
        with translated(self.place), self._turn(key):
            place = Place(self._folders.for_writing(path), name, self._durable)
            if not self._publish_spooled(key, body, place, kept, permit):
                with self._staged(place.folder) as staged:
                    _fill(staged.fd, key, body)
                    self._publish(staged, key, body.digests, place, kept, permit)

    def write_all(self, blobs: Sequence[NewBlob], permit: Permit) -> None:
        """Publish many blobs from memory, each as `write` does, with few syncs.

        If it fails, none of them is published, except those whose bytes another call had published.
        """
        with translated(self.place), ExitStack() as held:
            for turn in sorted({self._turn_of(blob.key) for blob in blobs}):
                held.enter_context(self._turns[turn])
            drafts = [self._draft(blob, held) for blob in blobs]
            published = publish_all([(one.file, one.place) for one in drafts], permit)
            for draft, is_new in zip(drafts, published, strict=True):
                if is_new:
                    draft.keep_sidecar()
                else:
                    self._check_taken(draft.key, draft.digests, draft.place)

    def grow(self, key: BlobKey) -> GrowingBlob:
        """Return a new blob without manifest, to be written piece by piece. Opens no file."""
        path, name = _parts(key)

        def target() -> Place:
            return Place(self._folders.for_writing(path), name, self._durable)

        def stage() -> Staged:
            return self._staging.new(target().folder, self._folders.root)

        return GrowingBlob(stage, target, self.place)

    def read(self, key: BlobKey, digests: Digests) -> bytes:
        """Return the whole blob, checked against `digests`."""
        with translated(self.place):
            file, size_bytes = self._open_for_use(key)
            check_size(key, size_bytes, digests)
            data = read_all(file.fd, size_bytes)
        check_whole(key, data, digests)
        return data

    def open(self, key: BlobKey, digests: Digests) -> OpenBlob:
        """Open a blob for reads of spans; checks its size, its key and its manifest."""
        with translated(self.place):
            file, size_bytes = self._open_for_use(key)
            check_size(key, size_bytes, digests)
            check_witnesses(key, self._noted(key, file), digests)
        return OpenBlob(key, digests, file, self.place, self._prefixes)

    def read_first(self, key: BlobKey, digests: Digests, span: Span) -> tuple[bytes, OpenBlob]:
        """Open a blob as `open` does; return the checked bytes of a span, and the open blob."""
        blob = self.open(key, digests)
        return blob.read(span), blob

    def measure(self, key: BlobKey, *, segments: bool, fresh: bool = True) -> Measurement:
        """Open a blob to compute its digests step by step, with or without those of segments.

        With `fresh`, asks the system to drop the pages of the file from its cache.
        """
        with translated(self.place):
            file, _ = self._open(key)
            if fresh:
                _drop_pages(file)
        return Measurement(file, self.place, Digester() if segments else WholeDigester())

    def examine(
        self, blobs: Iterable[tuple[BlobKey, Digests]], stopped: Callable[[], bool]
    ) -> list[Examination]:
        """Verify blobs and read their manifests, as `BlobStore.examine` promises.

        When `stopped` returns True, the call ends early; its results must then not be used.
        """
        buffer = memoryview(bytearray(_STEP_BYTES))
        opened = (self._opened(key, digests) for key, digests in blobs if not stopped())
        return [self._examination(one, buffer, stopped) for one in _ahead(opened, _FILES_AHEAD)]

    def describe(self, key: BlobKey) -> BlobHead:
        """Return the size and the manifest of a blob."""
        with translated(self.place):
            file, size_bytes = self._open(key)
            return BlobHead(size_bytes, self._manifest(key, file))

    def remove(self, key: BlobKey) -> None:
        """Remove a blob and its manifest; do nothing if the blob does not exist.

        Raises:
            StoreReplaced: if durable, the root's path leads to another folder, or to none; nothing
                was removed.
        """
        path, name = _parts(key)
        with translated(self.place):
            if self._durable:
                self._folders.check(self._folders.root)
            else:
                self._folders.root_at_path()
            try:
                folder = self._folders.for_reading(path, fresh=True)
            except FileNotFoundError:
                return
            place = Place(folder, name, self._durable)
            place.unlink()
            _sidecar_of(place).unlink()
            place.sync()

    def entries(self, prefix: str = "", after: str = "") -> Iterator[BlobEntry]:
        """Yield the blobs in ascending order of key, as `BlobStore.list` promises."""
        with translated(self.place):
            yield from walk(self._folders.root, prefix, after)

    def room(self) -> Room:
        """Return the free and total bytes and the free inodes of the file system."""
        with translated(self.place):
            found = os.fstatvfs(self._folders.root.fd)
        unit = found.f_frsize
        # A file system without a fixed number of inodes reports a total of 0.
        inodes = found.f_favail if found.f_files else None
        return Room(found.f_bavail * unit, found.f_blocks * unit, inodes)

    def marker(self, name: str) -> bytes | None:
        """Return the content of the store's identification file (marker); None if there is none.

        Reads it in the folder that the root's path leads to now. If that is another folder than
        before, it becomes the root, provided that its marker names the same store, or that this
        object has neither read nor written a marker before.

        Raises:
            StoreReplaced: the other folder has no marker, or one that names another store; or the
                root's path leads to no folder.
        """
        with translated(self.place):
            there = self._folders.at_path()
            text = _note(there, name)
            if there is not self._folders.root:
                if self._marker is not None and not _name_one_store(text, self._marker):
                    raise self._folders.replaced()
                self._staging.close()
                self._folders.move_to(there)
            self._marker = text or self._marker
            return text

    def exchange_marker(self, name: str, expected: Sequence[bytes | None], becomes: bytes) -> None:
        """Replace the store's identification file (marker), if its content is in `expected`.

        `becomes` is the new content. None in `expected` stands for a missing file. A lock
        on the root makes this a compare-and-set among processes.

        Raises:
            BlobConflict: the file has other content; it is unchanged.
            StoreReplaced: the root's path leads to another folder, or to none.
        """
        with translated(self.place):
            root = self._folders.root
            self._folders.check(root)
            with locked(root):
                held = _note(root, name)
                if held not in expected:
                    raise BlobConflict(
                        f"{self.place} has another identification file (marker) than expected"
                    )
                if held != becomes:
                    self._replace(root, name, becomes)
            self._marker = becomes

    def put_note(self, path: str, name: str, text: bytes) -> None:
        """Publish a small file in the folder `path`, which is made, unless it exists with this text.

        Raises:
            BlobConflict: the file exists with another text.
        """
        with translated(self.place):
            place = Place(self._folders.for_writing(path), name, self._durable)
            with self._staged(place.folder) as staged:
                write_all(staged.fd, text)
                if publish(staged, place, always):
                    return
        if self.note(path, name, len(text) + 1) != text:
            raise BlobConflict(f"{self.place} has another note {name}")

    def note(self, path: str, name: str, limit_bytes: int = MAX_NOTE_BYTES) -> bytes | None:
        """Return the content of a small file in the folder `path`; None if it does not exist.

        What is behind `limit_bytes` is left out.
        """
        with translated(self.place):
            try:
                folder = self._folders.for_reading(path, fresh=True)
                file = Descriptor(os.open(name, _OPEN, dir_fd=folder.fd))
            except FileNotFoundError:
                return None
            return read_all(file.fd, min(os.fstat(file.fd).st_size, limit_bytes))

    def notes(self, path: str) -> list[str]:
        """Return the names of the small files in the folder `path`, in ascending order."""
        with translated(self.place):
            try:
                folder = self._folders.for_reading(path, fresh=True)
            except FileNotFoundError:
                return []
            return sorted(os.listdir(folder.fd))

    def is_unused(self) -> bool:
        """Return whether the folder contains nothing but what its file system and staging put there."""
        with translated(self.place):
            return not set(os.listdir(self._folders.root.fd)) - _OF_NOBODY

    def remove_note(self, path: str, name: str) -> None:
        """Remove a small file in the folder `path`; do nothing if it does not exist."""
        with translated(self.place):
            try:
                folder = self._folders.for_reading(path, fresh=True)
            except FileNotFoundError:
                return
            place = Place(folder, name, self._durable)
            place.unlink()
            place.sync()

    def close(self) -> None:
        """Close all folders and the staging folder; the next call opens them again."""
        self._staging.close()
        self._folders.close()

    def _replace(self, root: Descriptor, name: str, text: bytes) -> None:
        """Publish a small file at the root durably, replacing any file of this name.

        Also removes temporary files of processes that were killed during a replacement.
        """
        for left_over in os.listdir(root.fd):
            if re.fullmatch(rf"{re.escape(name)}\.[0-9a-f]{{16}}", left_over):
                os.unlink(left_over, dir_fd=root.fd)
        place = Place(root, f"{name}.{secrets.token_hex(8)}", self._durable)
        with self._staged(root) as staged:
            write_all(staged.fd, text)
            publish(staged, place, always)
        try:
            os.rename(place.name, name, src_dir_fd=root.fd, dst_dir_fd=root.fd)
        except BaseException:
            os.unlink(place.name, dir_fd=root.fd)
            raise
        place.sync()

    def _turn(self, key: BlobKey) -> threading.Lock:
        """Return the lock that makes concurrent writers of the blob `key` wait for each other.

        Without it a writer could find the name taken and report success, and then the writer that
        made the name could fail and remove it.
        """
        return self._turns[self._turn_of(key)]

    @staticmethod
    def _turn_of(key: BlobKey) -> int:
        return hash(key) % _TURNS

    def _draft(self, blob: NewBlob, held: ExitStack) -> "_Draft":
        """Return a blob in a file without a name; `held` discards it if it gets none."""
        path, name = _parts(blob.key)
        place = Place(self._folders.for_writing(path), name, self._durable)
        file = held.enter_context(self._staged(place.folder))
        _fill(file.fd, blob.key, blob.body)
        draft = _Draft(blob.key, blob.body.digests, place, file)
        if self._attach(file, blob.manifest.kept(), place):
            held.callback(draft.remove_sidecar)
        return draft

    @contextmanager
    def _staged(self, folder: Descriptor) -> Iterator[Staged]:
        staged = self._staging.new(folder, self._folders.root)
        try:
            yield staged
        finally:
            staged.discard()

    def _publish_spooled(
        self, key: BlobKey, body: Body, place: Place, manifest: KeptManifest | None, permit: Permit
    ) -> bool:
        """Publish the spool's file under the blob's name without copying its bytes.

        Returns False if that is not possible, for example because the spool is on another file
        system.
        """
        if not isinstance(body, FileBody):
            return False
        found = os.fstat(body.fd)
        check_size(key, found.st_size, body.digests)
        # A file that has a name may be written to by others.
        if found.st_nlink:
            return False
        # An earlier put that failed may have made the file read-only.
        os.fchmod(body.fd, FILE_MODE)
        try:
            self._publish(Unnamed(body.fd), key, body.digests, place, manifest, permit)
        except OSError as error:
            if error.errno in _NOT_LINKABLE:
                return False
            raise
        return True

    def _publish(
        self,
        file: Staged,
        key: BlobKey,
        digests: Digests,
        place: Place,
        manifest: KeptManifest | None,
        permit: Permit,
    ) -> None:
        has_new_sidecar = manifest is not None and self._attach(file, manifest, place)
        published = False
        try:
            published = publish(file, place, permit)
        finally:
            if has_new_sidecar and not published:
                _sidecar_of(place).unlink()
        if not published:
            self._check_taken(key, digests, place)

    def _check_taken(self, key: BlobKey, digests: Digests, place: Place) -> None:
        """Make the existing blob of this name durable if it holds the same bytes.

        Raises:
            BlobConflict: it holds other bytes, or it is not a regular file.
        """
        try:
            file, size_bytes = _open_regular(key, place.folder, place.name)
            is_same = _sha256_of(file, size_bytes) == digests.sha256
        except BlobCorrupt as error:
            raise BlobConflict(error.message) from error
        if not is_same:
            raise BlobConflict(f"{key} already holds other bytes")
        place.sync()

    def _attach(self, file: Staged, manifest: KeptManifest, place: Place) -> bool:
        """Store the manifest of a blob that is to be published.

        Return whether a new sidecar (a file beside the blob, with its manifest) was made.
        """
        sidecar = manifest.sidecar
        if not self._set_summary(file, manifest.summary):
            sidecar = sidecar or manifest.summary.encode()
        return sidecar is not None and self._put_sidecar(sidecar, place)

    def _set_summary(self, file: Staged, summary: str) -> bool:
        if not self._attributes:
            return False
        try:
            os.setxattr(file.fd, _MANIFEST_ATTRIBUTE, summary.encode())
        except OSError as error:
            if error.errno not in _NO_ATTRIBUTE:
                raise
            self._attributes = error.errno != errno.ENOTSUP
            return False
        return True

    def _put_sidecar(self, data: bytes, place: Place) -> bool:
        """Publish the sidecar of a blob and return True; False if the blob already exists."""
        beside = _sidecar_of(place)
        with self._staged(place.folder) as staged:
            write_all(staged.fd, data)
            if publish(staged, beside, always):
                return True
            if place.exists():
                return False
            # The sidecar is a remnant of a put that failed before it published the blob.
            beside.unlink()
            return publish(staged, beside, always)

    def _opened(self, key: BlobKey, digests: Digests) -> "_Opened | Examination":
        """Open a blob to be examined, and ask the system to begin to read it from the medium."""
        try:
            with translated(self.place):
                file, size_bytes = self._open(key)
                check_named(key, digests)
                check_size(key, size_bytes, digests)
                manifest = self._manifest(key, file)
                _drop_pages(file)
                _begin_to_read(file, 0)
        except (BlobMissing, BlobCorrupt, StorageUnavailable) as error:
            return Examination(error)
        return _Opened(key, digests, file, manifest)

    def _examination(
        self, opened: "_Opened | Examination", buffer: memoryview, stopped: Callable[[], bool]
    ) -> Examination:
        if isinstance(opened, Examination):
            return opened
        try:
            with translated(self.place):
                sha256 = _hashed(opened.file, opened.digests.size_bytes, buffer, stopped)
                # The bytes that were read displace nothing in the cache.
                _drop_pages(opened.file)
        except (BlobMissing, BlobCorrupt, StorageUnavailable) as error:
            return Examination(error)
        if sha256 != opened.digests.sha256:
            return Examination(
                BlobCorrupt(f"{opened.key} does not have the digest that was recorded for it")
            )
        return Examination(manifest=opened.manifest)

    def _manifest(self, key: BlobKey, file: Descriptor) -> BlobManifest | None:
        manifest = self._noted(key, file)
        if manifest is not None and manifest.sidecar_sha256 is not None:
            return manifest.completed(self._sidecar(key))
        return manifest

    def _noted(self, key: BlobKey, file: Descriptor) -> BlobManifest | None:
        """Return the manifest of a blob, or the summary of it if there is one."""
        return manifest_in(_summary_of(file) or _text(self._sidecar(key)))

    def _sidecar(self, key: BlobKey) -> bytes | None:
        path, name = _parts(key)
        folder = self._folders.for_reading(path, fresh=True)
        try:
            file = Descriptor(os.open(sidecar_key(BlobKey(name)), _OPEN, dir_fd=folder.fd))
        except FileNotFoundError:
            return None
        return read_all(file.fd, min(os.fstat(file.fd).st_size, MAX_SIDECAR_BYTES))

    def _open_for_use(self, key: BlobKey) -> tuple[Descriptor, int]:
        file, size_bytes = self._open(key)
        if self._notes_use:
            os.utime(file.fd)
        return file, size_bytes

    def _open(self, key: BlobKey) -> tuple[Descriptor, int]:
        path, name = _parts(key)
        try:
            try:
                return _open_regular(key, self._folders.for_reading(path), name)
            except FileNotFoundError:
                # Another folder may have replaced the one that is kept open.
                return self._open_fresh(key, path, name)
        except FileNotFoundError as error:
            raise BlobMissing(f"{self.place} has no blob {key}") from error

    def _open_fresh(self, key: BlobKey, path: str, name: str) -> tuple[Descriptor, int]:
        try:
            folder = self._folders.for_reading(path, fresh=True)
        except FileNotFoundError as error:
            raise BlobMissing(
                f"{self.place} has no blob {key}", absent_part=f"{self.place}/{path}"
            ) from error
        return _open_regular(key, folder, name)


def _sidecar_of(place: Place) -> Place:
    return evolve(place, name=sidecar_key(BlobKey(place.name)))


def _summary_of(file: Descriptor) -> str | None:
    try:
        return _text(os.getxattr(file.fd, _MANIFEST_ATTRIBUTE))
    except OSError as error:
        if error.errno not in (errno.ENODATA, errno.ENOTSUP):
            raise
        return None


def _drop_pages(file: Descriptor) -> None:
    """Ask the system to drop the pages of a file from its cache."""
    os.posix_fadvise(file.fd, 0, 0, os.POSIX_FADV_DONTNEED)


def _begin_to_read(file: Descriptor, start: int) -> None:
    """Ask the system to read the step of a file that begins at `start` into its cache meanwhile."""
    os.posix_fadvise(file.fd, start, _STEP_BYTES, os.POSIX_FADV_WILLNEED)


def _ahead(items: Iterator[_Item], count: int) -> Iterator[_Item]:
    """Yield the items; each of them is taken from the iterator `count` items before its turn."""
    taken = deque(islice(items, count))
    while taken:
        taken.extend(islice(items, 1))
        yield taken.popleft()


def _hashed(
    file: Descriptor, size_bytes: int, buffer: memoryview, stopped: Callable[[], bool]
) -> str:
    """Return the SHA-256 of the first `size_bytes` of a file, read through `buffer`."""
    whole = hashlib.sha256()
    start = 0
    while start < size_bytes and not stopped():
        if not (count := os.preadv(file.fd, [buffer], start)):
            break
        start += count
        if start < size_bytes:
            _begin_to_read(file, start)
        whole.update(buffer[:count])
    return whole.hexdigest()


def _text(data: bytes | None) -> str | None:
    return None if data is None else data.decode(errors="replace")


def _note(folder: Descriptor, name: str) -> bytes | None:
    try:
        file = Descriptor(os.open(name, _OPEN, dir_fd=folder.fd))
    except FileNotFoundError:
        return None
    return read_all(file.fd, _MAX_NOTE_BYTES)


def _name_one_store(one: bytes | None, other: bytes) -> bool:
    """Return whether two identification files (markers) name the same store.

    They do if they differ only in their last part, a random id (incarnation) that is renewed
    regularly.
    """
    return one is not None and one.rpartition(b":")[0] == other.rpartition(b":")[0]


def _parts(key: BlobKey) -> tuple[str, str]:
    """Return the folder and the name of a blob; raises if `key` is not a well-formed key."""
    check_key(key)
    path, _, name = key.rpartition("/")
    return path, name


def _fill(fd: int, key: BlobKey, body: Body) -> None:
    match body:
        case MemoryBody(data=data):
            check_size(key, len(data), body.digests)
            write_all(fd, data)
        case FileBody(fd=source):
            check_size(key, os.fstat(source).st_size, body.digests)
            _copy(source, fd, key, body.digests)


def _copy(source: int, target: int, key: BlobKey, digests: Digests) -> None:
    whole = hashlib.sha256()
    for start in range(0, digests.size_bytes, _STEP_BYTES):
        step = read_all(source, min(_STEP_BYTES, digests.size_bytes - start), start)
        whole.update(step)
        write_all(target, step)
    if whole.hexdigest() != digests.sha256:
        raise BlobCorrupt(f"{key} was not stored: its body in the spool has changed")


def _open_regular(key: BlobKey, folder: Descriptor, name: str) -> tuple[Descriptor, int]:
    """Open a regular file; return it with its size in bytes."""
    try:
        file = Descriptor(os.open(name, _OPEN, dir_fd=folder.fd))
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise BlobCorrupt(f"{key} is a symbolic link, which is never followed") from error
        if error.errno == errno.ENXIO:
            raise BlobCorrupt(f"{key} is a socket, not a regular file") from error
        raise
    found = os.fstat(file.fd)
    if not stat.S_ISREG(found.st_mode):
        raise BlobCorrupt(f"{key} is not a regular file")
    return file, found.st_size


def _sha256_of(file: Descriptor, size_bytes: int) -> str:
    whole = hashlib.sha256()
    for start in range(0, size_bytes, _STEP_BYTES):
        whole.update(read_all(file.fd, min(_STEP_BYTES, size_bytes - start), start))
    return whole.hexdigest()
