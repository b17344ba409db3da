"""Finds the files that `store` was given, and detects the kind of each."""

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
class Candidate:
    """A file to store, with its detected kind; `error` is the reason if it can't be stored.

    `is_stored` is whether a rehearsal found it stored already.
    """

    path: Path
    size_bytes: int = 0
    kind: FileKind | None = None
    content_type: str | None = None
    error: TrafficStorageError | None = None
    is_stored: bool = False


def files_in(paths: Sequence[Path]) -> Iterator[Path]:
    """Yield the given files and the files in the given folders, each folder ordered by name.

    A folder that can't be listed is yielded as a path too, so that it is reported as a failure.
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


def examine(path: Path, kind: FileKind | None) -> Candidate:
    """Return the file as a `Candidate` of `kind`, or of the kind detected from its first bytes."""
    try:
        if not path.is_file():
            return Candidate(path, error=_no_file(path))
        size = path.stat().st_size
        with path.open("rb") as file:
            content_type = sniff(file.read(SNIFF_BYTES))
    except OSError as error:
        return Candidate(path, error=InvalidInput.of("file", f"can't be read: {error.strerror}"))
    guessed = kind or _kind_of(content_type)
    refusal = None if guessed else _unknown(content_type, size)
    return Candidate(path, size, guessed, content_type, refusal)


def _unknown(content_type: ContentType | None, size_bytes: int) -> UnsupportedMedia:
    if not size_bytes:
        return UnsupportedMedia.of("file", "is empty", "leave it out, or copy it again")
    return UnsupportedMedia.of(
        "file",
        f"is {content_type}, which can't be stored" if content_type else "has no known type",
        "give its kind with --kind if it is evidence",
    )


def _no_file(path: Path) -> InvalidInput:
    if not os.path.lexists(path):
        return InvalidInput.of("file", "does not exist", "give a file or a folder")
    if not path.is_dir():
        return InvalidInput.of("file", "is not a regular file", "give a file or a folder")
    if path.is_symlink():
        return InvalidInput.of("file", "is a link to a folder", "give the folder itself")
    return InvalidInput.of("file", "is a folder that can't be listed", "make it readable")


def _kind_of(content_type: ContentType | None) -> FileKind | None:
    if content_type in ACCEPTED_IMAGES:
        return FileKind.IMAGE
    if content_type in ACCEPTED_VIDEOS:
        return FileKind.VIDEO
    return FileKind.METADATA if content_type is ContentType.JSON else None
