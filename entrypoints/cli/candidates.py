"""Finding the files that `store` is asked to store, and what each of them seems to be."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from attrs import frozen

from traffic_storage.domain.errors import InvalidInput, TrafficStorageError, UnsupportedMedia
from traffic_storage.domain.files import FileKind
from traffic_storage.domain.media import (
    ACCEPTED_IMAGES,
    ACCEPTED_VIDEOS,
    SNIFF_BYTES,
    ContentType,
    sniff,
)


@frozen
class Found:
    """A file to store: what it seems to be, or why it can't be stored."""

    path: Path
    size_bytes: int = 0
    kind: FileKind | None = None
    content_type: str | None = None
    error: TrafficStorageError | None = None


def files_in(paths: Sequence[Path]) -> Iterator[Path]:
    """The files that are named, and those in the folders that are named, in order of name.

    What can't be listed is given as well, so that it is told and not passed over.
    """
    for path in paths:
        if _is_folder(path):
            yield from _below(path)
        else:
            yield path


def _below(folder: Path) -> Iterator[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        yield folder
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if _is_folder(entry) and not entry.is_symlink():
            yield from _below(entry)
        else:
            yield entry


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False


def examined(path: Path, kind: FileKind | None) -> Found:
    """What a file seems to be by its first bytes, if `kind` doesn't say it."""
    try:
        if not path.is_file():
            return Found(path, error=_no_file(path))
        size = path.stat().st_size
        with path.open("rb") as file:
            content_type = sniff(file.read(SNIFF_BYTES))
    except OSError as error:
        return Found(path, error=InvalidInput.of("file", f"can't be read: {error.strerror}"))
    guessed = kind or _kind_of(content_type)
    refusal = None if guessed else _unknown(content_type, size)
    return Found(path, size, guessed, content_type, refusal)


def _unknown(content_type: ContentType | None, size_bytes: int) -> UnsupportedMedia:
    if not size_bytes:
        return UnsupportedMedia.of("file", "is empty", "leave it out, or copy it again")
    return UnsupportedMedia.of(
        "file",
        f"is {content_type}, which is not stored" if content_type else "is of no known type",
        "name its kind with --kind, if it is evidence",
    )


def _no_file(path: Path) -> InvalidInput:
    if not os.path.lexists(path):
        return InvalidInput.of("file", "does not exist", "name a file or a folder")
    if not path.is_dir():
        return InvalidInput.of("file", "is not a regular file", "name a file or a folder")
    if path.is_symlink():
        return InvalidInput.of("file", "is a link to a folder", "name that folder itself")
    return InvalidInput.of("file", "is a folder that can't be listed", "make it readable")


def _kind_of(content_type: ContentType | None) -> FileKind | None:
    if content_type in ACCEPTED_IMAGES:
        return FileKind.IMAGE
    if content_type in ACCEPTED_VIDEOS:
        return FileKind.VIDEO
    return FileKind.METADATA if content_type is ContentType.JSON else None
