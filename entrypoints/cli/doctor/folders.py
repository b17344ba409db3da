"""Checks of who owns local_base_path and what is in it, and of the folders for blobs."""

import os
import stat
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from traffic_storage.domain.files import FileKind
from traffic_storage.entrypoints.cli.doctor.finding import Finding, noted, ok, problem
from traffic_storage.entrypoints.settings import StorageConfig

_MOST_ENTRIES = 1000
_LEVELS = 3
"""Year, month and day, below the folder of a kind."""


def owners(settings: StorageConfig) -> Iterator[Finding]:
    """Check that no other user can put a file into local_base_path, as a key or a database."""
    base = settings.local_base_path
    try:
        found = base.stat()
    except OSError:
        return  # Another check tells what it is.
    user, mode = found.st_uid, stat.S_IMODE(found.st_mode)
    if os.geteuid() != 0 and user not in _trusted():
        yield problem(
            "owner",
            f"{base} belongs to user {user}, who can put a key or a database there that would be used",
            f"chown {os.geteuid()} {base}",
        )
    elif mode & stat.S_IWOTH:
        yield problem(
            "owner",
            f"every user can put a key or a database into {base} that would be used "
            f"(mode {mode:04o})",
            f"chmod 700 {base}",
        )
    elif open_parent := next(filter(_is_open, base.parents), None):
        yield noted(
            "owner",
            f"every user can replace {base} by another folder, because of the mode of {open_parent}",
            f"chmod o-w {open_parent}",
        )
    else:
        yield ok("owner", f"{base} belongs to user {user}, mode {mode:04o}")


def parts(settings: StorageConfig) -> Iterator[Finding]:
    """Check that the folders and files in local_base_path can be used, in `blobs` the newest of each kind."""
    base = settings.local_base_path
    try:
        reference = base.stat().st_uid if os.geteuid() == 0 else os.geteuid()
        inside = [Path(entry.path) for entry in islice(os.scandir(base), _MOST_ENTRIES)]
    except OSError:
        return  # Another check tells what it is.
    # Another check tells that the whole folder, as a copy of another user, can only be read.
    needed = os.R_OK | (os.W_OK if os.access(base, os.W_OK) else 0)
    checked = [*((path, False) for path in inside), *((path, True) for path in _of_blobs(base))]
    problems = [
        wrong
        for path, of_blobs in checked
        if (wrong := _wrong(path, reference, needed, of_blobs=of_blobs))
    ]
    told = f"belong to user {reference}" if needed & os.W_OK else "can be read"
    yield from problems or [ok("parts", f"the folders and files in {base} {told}")]


def owner_of_key(file: Path) -> str:
    """Return a text about the owner of a key file if it is neither this user nor root, else ""."""
    user = file.stat().st_uid
    if user in {*_trusted(), file.parent.stat().st_uid}:
        return ""
    return f"{file} belongs to user {user}, who knows the key"


def _trusted() -> set[int]:
    """Return the users whose files this process may use: its own and root."""
    return {os.geteuid(), 0}


def _is_open(folder: Path) -> bool:
    """Return whether every user can rename what is in the folder."""
    try:
        mode = folder.stat().st_mode
    except OSError:
        return False
    return bool(mode & stat.S_IWOTH) and not mode & stat.S_ISVTX


def _of_blobs(base: Path) -> Iterator[Path]:
    """Yield the folder of each kind that exists, and below it the newest of each level."""
    for kind in FileKind:
        folder = base / "blobs" / kind
        for _ in range(_LEVELS + 1):
            if not os.path.lexists(folder):
                break
            yield folder
            try:
                folder /= max((inside.name for inside in folder.iterdir()), default="?")
            except OSError:
                break


def _wrong(path: Path, user: int, needed: int, *, of_blobs: bool) -> Finding | None:
    try:
        found = path.lstat() if of_blobs else path.stat()
    except FileNotFoundError:
        return None  # It was removed meanwhile.
    except OSError as error:
        return problem("parts", f"{path} can't be used: {error.strerror}", _give(path, user))
    if of_blobs and not stat.S_ISDIR(found.st_mode):
        what = "a symbolic link" if stat.S_ISLNK(found.st_mode) else "no folder"
        return problem(
            "parts",
            f"{path} is {what}, where files can be neither stored nor read",
            "put a folder in its place, and mount the other disk there (mount --bind); "
            "or link the whole folder `blobs`",
        )
    if found.st_uid != user and not os.access(path, needed):
        can = "can be read but not written: it " if os.access(path, os.R_OK) else ""
        return problem("parts", f"{path} {can}belongs to user {found.st_uid}", _give(path, user))
    if found.st_uid != user and os.geteuid() == 0:
        return problem(
            "parts",
            f"{path} belongs to user {found.st_uid}, not to the owner of the folder",
            _give(path, user),
        )
    return None


def _give(path: Path, user: int) -> str:
    return f"as root: chown -R {user} {path}"
