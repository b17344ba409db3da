"""Files of this host. One has no name, or a temporary one, until it is complete and durable."""

import errno
import hashlib
import os
import re
import secrets
from collections.abc import AsyncGenerator
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from traffic_storage.adapters.files.descriptors import Descriptor, open_folder, write_all
from traffic_storage.adapters.files.errors import translated
from traffic_storage.adapters.files.owners import give, make_folder
from traffic_storage.adapters.threads.pool import Threads
from traffic_storage.domain.digests import Sha256
from traffic_storage.domain.errors import InvalidInput, NotFound
from traffic_storage.domain.kept_exports import is_kept_name
from traffic_storage.ports.errors import StorageFull
from traffic_storage.ports.export_target import ExportTarget
from traffic_storage.ports.kept_exports import KeptExports

_MODE = 0o666  # The user's umask applies: unlike evidence, an export is for others to read.
_KEPT_MODE = 0o600  # Others fetch it through this service.
_CHUNK_BYTES = 512 * 1024  # Hashed in half a millisecond.
_DRAFT = re.compile(r"\.(.{1,200})\.[0-9a-f]{8}\.part")
_UNNAMED_UNSUPPORTED = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOSYS})


class LocalFileTarget(ExportTarget):
    """Writes a new file. Folders that are missing are created.

    On a file system with O_TMPFILE (ext4, XFS, Btrfs, tmpfs) a process that is killed leaves
    nothing; elsewhere it may leave a file `.NAME.….part`. `reserve_bytes` of the disk stay free.
    Only its owner reads a `private` file, which is the owner of the folder where root makes it.
    """

    def __init__(
        self, path: Path, *, overwrite: bool, private: bool = False, reserve_bytes: int = 0
    ) -> None:
        self._path = Path(os.path.abspath(path))
        self._overwrite = overwrite
        self._private = private
        self._mode = _KEPT_MODE if private else _MODE
        self._reserve_bytes = reserve_bytes
        self._threads = Threads(1, "export-target")
        self._hash = hashlib.sha256()
        self._fd: int | None = None
        self._folder: Descriptor | None = None
        self._draft: str | None = None

    async def write(self, data: bytes) -> None:
        await self._threads.run(self._write, data)

    async def publish(self) -> Sha256:
        return await self._threads.run(self._publish)

    async def aclose(self) -> None:
        await self._threads.run(self._close)
        await self._threads.aclose()

    def _write(self, data: bytes) -> None:
        with translated(f"the file {self._path}"):
            fd = self._opened()
            self._check_room(fd, len(data))
            write_all(fd, data)
        self._hash.update(data)

    def _publish(self) -> Sha256:
        with translated(f"the file {self._path}"):
            fd = self._opened()
            os.fsync(fd)
            self._name(fd)
            os.fsync(self._parent.fd)
        return Sha256(self._hash.hexdigest())

    def _opened(self) -> int:
        if self._fd is None:
            self._check_free()
            if self._private:
                make_folder(self._path.parent)
            else:
                self._path.parent.mkdir(parents=True, exist_ok=True)
            self._folder = open_folder(str(self._path.parent))
            self._fd = self._open()
            if self._private:
                give(self._fd, self._folder)
        return self._fd

    @property
    def _parent(self) -> Descriptor:
        assert self._folder is not None  # noqa: S101 - opened with the file
        return self._folder

    def _check_room(self, fd: int, size_bytes: int) -> None:
        if self._reserve_bytes:
            disk = os.fstatvfs(fd)
            if disk.f_bavail * disk.f_frsize < self._reserve_bytes + size_bytes:
                raise StorageFull(
                    f"the disk of {self._path} is full but for the reserve of evidence",
                    remedy="free space, or set export_location to another disk or a bucket",
                )

    def _check_free(self) -> None:
        if self._path.exists() and not self._path.is_file():
            what = "a folder" if self._path.is_dir() else "a device or a pipe"
            raise InvalidInput.of(
                "output_path", f"{self._path} is {what}", "give the name of a file"
            )
        if not self._overwrite and os.path.lexists(self._path):
            raise self._taken()

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_CLOEXEC
        try:
            return os.open(".", flags | os.O_TMPFILE, self._mode, dir_fd=self._parent.fd)
        except OSError as error:
            if error.errno not in _UNNAMED_UNSUPPORTED:
                raise
        self._draft = self._draft_name()
        flags |= os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        return os.open(self._draft, flags, self._mode, dir_fd=self._parent.fd)

    def _name(self, fd: int) -> None:
        """Give the complete file its name; an existing file is replaced in one step."""
        if not self._overwrite:
            try:
                self._link(fd, self._path.name)
            except FileExistsError as error:
                raise self._taken() from error
            return
        if self._draft is None:
            draft = self._draft_name()
            self._link(fd, draft)
            self._draft = draft
        here = self._parent.fd
        os.replace(self._draft, self._path.name, src_dir_fd=here, dst_dir_fd=here)
        self._draft = None

    def _link(self, fd: int, name: str) -> None:
        here = self._parent.fd
        if self._draft is None:
            os.link(f"/proc/self/fd/{fd}", name, dst_dir_fd=here, follow_symlinks=True)
        else:
            os.link(self._draft, name, src_dir_fd=here, dst_dir_fd=here, follow_symlinks=False)

    def _draft_name(self) -> str:
        return f".{self._path.name[:200]}.{secrets.token_hex(4)}.part"

    def _taken(self) -> InvalidInput:
        return InvalidInput.of(
            "output_path",
            f"{self._path} exists already",
            "choose another file, or overwrite it (--force; in Python overwrite=True)",
        )

    def _close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
        if self._draft is not None:
            with suppress(OSError):
                os.unlink(self._draft, dir_fd=self._parent.fd)
        self._folder = None


class LocalFolder(KeptExports):
    """A folder of this host, which is created with the first file. Only its owner reads the files.

    `reserve_bytes` of its disk stay free.
    """

    def __init__(self, folder: Path, *, reserve_bytes: int = 0) -> None:
        self._folder = Path(os.path.abspath(folder))
        self._reserve_bytes = reserve_bytes

    @property
    def location(self) -> str:
        return str(self._folder)

    def open(self, name: str) -> ExportTarget:
        return LocalFileTarget(
            self._folder / name,
            overwrite=True,
            private=True,
            reserve_bytes=self._reserve_bytes,
        )

    async def read(self, name: str) -> AsyncGenerator[bytes, None]:
        threads = Threads(1, "kept-exports")
        try:
            file = await threads.run(self._opened, name)
            start = 0
            while data := await threads.run(self._chunk, file, start):
                yield data
                start += len(data)
        finally:
            await threads.aclose()

    async def remove_before(self, moment: datetime) -> int:
        threads = Threads(1, "kept-exports")
        try:
            return await threads.run(self._remove_before, moment.timestamp())
        finally:
            await threads.aclose()

    def _opened(self, name: str) -> Descriptor:
        path = self._folder / name
        with translated(f"the file {path}"):
            try:
                return Descriptor(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW))
            except FileNotFoundError as error:
                raise NotFound("export", name) from error

    def _chunk(self, file: Descriptor, start: int) -> bytes:
        with translated(f"a file in {self._folder}"):
            return os.pread(file.fd, _CHUNK_BYTES, start)

    def _remove_before(self, before: float) -> int:
        removed = 0
        with translated(f"the folder {self._folder}"), suppress(FileNotFoundError):
            for entry in os.scandir(self._folder):
                draft = _DRAFT.fullmatch(entry.name)
                if not is_kept_name(draft[1] if draft else entry.name):
                    continue
                with suppress(FileNotFoundError):  # Another process removes it too.
                    if entry.stat(follow_symlinks=False).st_mtime < before:
                        os.unlink(entry.path)
                        removed += not draft
        return removed
