"""Snapshots: what a snapshot of all stored files holds, and what follows from that.

A snapshot location (a folder, or a part of a bucket) contains:

```
location/snapshots says that this is a snapshot location
objects            the stored bytes of files, once for each digest, whatever snapshots they are in
rows/DIGEST        parts: the rows of files and violations as JSON lines, and events (a note of the
                   journal) that tell of holds, deletions, purges and the retention rules; and, each
                   compressed, the pieces of a backup of the database (see `domain.database_backup`)
unfinished/NAME    the snapshot is being made, or its making was interrupted
sealed/NAME        the manifest: the snapshot is complete. It is written last
verified/NAME      what the last verification of a complete snapshot found, and when
damaged/OBJECT     this object was found damaged, and no store had its bytes intact: the next snapshot
                   writes it anew
```

The rows are of one moment and name no database and no store, so that they are restored into any
configuration; only the backup of the database is for databases of its kind. What is being erased at that moment is not in the snapshot.
"""

import re
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, TypeVar
from uuid import UUID

from attrs import evolve, fields, frozen

from traffic_storage.domain.canonical import Json, canonical_json, parse_json
from traffic_storage.domain.database_backup import DatabaseForm, DatabaseKind
from traffic_storage.domain.digests import Digests, Sha256, sha256_of
from traffic_storage.domain.errors import InvalidInput, shown
from traffic_storage.domain.files import (
    BlobKey,
    Coding,
    FileKind,
    FileState,
    StoredFile,
    blob_key,
)
from traffic_storage.domain.identifiers import CatalogueId, FileId
from traffic_storage.domain.times import parse_time

MOST_PART_BYTES = 1024 * 1024
"""A part is written when it is this long; its last row may make it longer, up to 4 MiB."""

MAX_TEXT_BYTES = 64 * 1024 * 1024
"""The largest text of a snapshot location: a manifest of about 200,000 parts, each of a MiB or two."""

SEALED = "sealed"
"""The folder of the manifests of complete snapshots in a snapshot location."""

SCHEDULED = "scheduled-"
"""The names of the snapshots that a schedule makes, and alone removes, begin with this."""

T = TypeVar("T")

SNAPSHOT_NAME = "[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
"""The regular expression of the names of snapshots."""

_SCHEMA = "traffic-storage/snapshot/1"
_NAME = re.compile(SNAPSHOT_NAME)
_FOLDERS = 1024
_DAY_MILLISECONDS = 86_400_000
_MOST_DAMAGED = 1000


def snapshot_name(text: str) -> str:
    """Check the name of a snapshot, and return it.

    Raises:
        InvalidInput: it is not 1–100 letters, digits and `. _ -`, beginning with a letter or digit.
    """
    if _NAME.fullmatch(text) is None:
        raise InvalidInput.of(
            "name",
            f"is not the name of a snapshot: {shown(text)}",
            "use 1 to 100 letters, digits and . _ - and begin with a letter or a digit",
        )
    return text


def scheduled_name(at: datetime) -> str:
    """Return the name of the snapshot that a schedule makes at `at` (UTC)."""
    return f"{SCHEDULED}{at:%Y%m%dT%H%M%SZ}"


def object_key(kind: FileKind, stored_sha256: Sha256) -> BlobKey:
    """Return the key of the object in a snapshot location with these bytes.

    It has the form of a blob's key, so that every blob store can keep snapshots. The replica id in
    it is made of the digest, so that equal bytes of one kind have one key; its time has no meaning
    and divides the objects among 1,024 folders.
    """
    digest = bytes.fromhex(stored_sha256)
    milliseconds = int.from_bytes(digest[:2]) % _FOLDERS * _DAY_MILLISECONDS
    number = int.from_bytes(milliseconds.to_bytes(6) + digest[2:12])
    return blob_key(kind, UUID(int=number & _WITHOUT_VERSION | _VERSION_7), stored_sha256)


_WITHOUT_VERSION = ~((0xF << 76) | (0b11 << 62))
_VERSION_7 = (0x7 << 76) | (0b10 << 62)


# The manifest.


class PartKind(StrEnum):
    """What a part of a snapshot has.

    Lines of files, lines of violations, a note of events, or a piece of the database's backup.
    """

    FILES = "files"
    VIOLATIONS = "violations"
    EVENTS = "events"
    DATABASE = "database"


@frozen
class Part:
    """A part of a snapshot; it is stored under its SHA-256.

    `content` is what a compressed part expands to; None: it is not compressed.
    """

    kind: PartKind
    sha256: Sha256
    size_bytes: int
    content: Digests | None = None


@frozen
class SnapshotManifest:
    """What a complete snapshot holds.

    Attributes:
        catalogue_id: the catalogue of which this is a snapshot.
        begun_at: when its making began; `cut_at`: the moment of which its rows are.
        files: how many files it has bytes of; `violations`: how many violations.
        size_bytes: the stored bytes of these files, each file counted.
        damaged: files of which no intact copy was found; the snapshot has their rows alone.
        damaged_count: how many these are; `damaged` has the first 1,000.
        database: what the parts of the kind `DATABASE`, expanded and one after the other, are; None:
            there is no backup of the database.
    """

    name: str
    catalogue_id: CatalogueId
    begun_at: datetime
    cut_at: datetime
    sealed_at: datetime
    files: int
    violations: int
    size_bytes: int
    parts: tuple[Part, ...]
    damaged: tuple[FileId, ...] = ()
    damaged_count: int = 0
    database: DatabaseForm | None = None

    @property
    def sha256(self) -> Sha256:
        """The SHA-256 of the canonical JSON of all members but `sha256`. It covers the parts'."""
        return sha256_of(canonical_json(self._content()))

    def to_text(self) -> bytes:
        """Return the manifest as canonical JSON with its SHA-256."""
        return canonical_json({**self._content(), "sha256": self.sha256})

    def parts_of(self, kind: PartKind) -> Sequence[Part]:
        """Return the parts of one kind, in their order."""
        return [part for part in self.parts if part.kind is kind]

    @property
    def database_bytes(self) -> int:
        """The size of the backup of the database, expanded."""
        parts = self.parts_of(PartKind.DATABASE)
        return sum(part.content.size_bytes for part in parts if part.content is not None)

    @classmethod
    def from_text(cls, text: bytes) -> "SnapshotManifest":
        """Parse the text of a manifest, and check its SHA-256.

        Raises:
            InvalidInput: the text is not a manifest, or was altered.
        """
        try:
            content: Any = parse_json(text, "snapshot")
            _check_digest(content)
            return cls(
                content["name"],
                CatalogueId(content["catalogue_id"]),
                parse_time(content["begun_at"], "begun_at"),
                parse_time(content["cut_at"], "cut_at"),
                parse_time(content["sealed_at"], "sealed_at"),
                content["files"],
                content["violations"],
                content["bytes"],
                tuple(map(_part_in, content["parts"])),
                tuple(map(FileId, content["damaged"])),
                content["damaged_count"],
                _form_in(content.get("database")),
            )
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise unreadable("the manifest", error) from error

    def _content(self) -> dict[str, Json]:
        return {
            "schema": _SCHEMA,
            "name": self.name,
            "catalogue_id": self.catalogue_id,
            "begun_at": self.begun_at.isoformat(),
            "cut_at": self.cut_at.isoformat(),
            "sealed_at": self.sealed_at.isoformat(),
            "files": self.files,
            "violations": self.violations,
            "bytes": self.size_bytes,
            "parts": [*map(_json_of_part, self.parts)],
            "damaged": list(self.damaged[:_MOST_DAMAGED]),
            "damaged_count": self.damaged_count,
            **({} if self.database is None else {"database": _json_of_form(self.database)}),
        }


def _json_of_part(part: Part) -> Json:
    told: dict[str, Json] = {
        "kind": part.kind,
        "sha256": part.sha256,
        "size_bytes": part.size_bytes,
    }
    if part.content is not None:
        told |= {"content_sha256": part.content.sha256, "content_bytes": part.content.size_bytes}
    return told


def _part_in(told: dict[str, Any]) -> Part:
    digest = told.get("content_sha256")
    content = None if digest is None else Digests(told["content_bytes"], Sha256(digest))
    return Part(PartKind(told["kind"]), Sha256(told["sha256"]), told["size_bytes"], content)


def _json_of_form(form: DatabaseForm) -> Json:
    return {"kind": form.kind, "version": form.version, "coding": Coding.ZSTD}


def _form_in(told: dict[str, Any] | None) -> DatabaseForm | None:
    if told is None:
        return None
    if told["coding"] != Coding.ZSTD:
        raise ValueError("the backup of the database has another coding")
    return DatabaseForm(DatabaseKind(told["kind"]), told["version"])


@frozen
class Verification:
    """What a verification of a complete snapshot has found.

    Attributes:
        corrupt, missing: files whose bytes were corrupt, or missing.
        repaired: how many of these have their bytes intact again, from a store.
        damage: why the rows could not be read; empty: all were.
    """

    at: datetime
    corrupt: int = 0
    missing: int = 0
    repaired: int = 0
    damage: str = ""

    @property
    def is_good(self) -> bool:
        """Whether everything that the snapshot has was intact at the end."""
        return not self.damage and self.corrupt + self.missing == self.repaired

    def to_text(self) -> bytes:
        """Return it as canonical JSON."""
        return canonical_json(
            {
                "at": self.at.isoformat(),
                "corrupt": self.corrupt,
                "missing": self.missing,
                "repaired": self.repaired,
                "damage": self.damage,
            }
        )

    @classmethod
    def from_text(cls, text: bytes) -> "Verification":
        """Parse what `to_text` has returned.

        Raises:
            InvalidInput: the text is something else.
        """
        try:
            told: Any = parse_json(text, "verification")
            return cls(
                parse_time(told["at"], "at"),
                int(told["corrupt"]),
                int(told["missing"]),
                int(told["repaired"]),
                str(told["damage"]),
            )
        except (LookupError, TypeError, ValueError) as error:
            raise unreadable("the note of a verification", error) from error


# Pins.


class SnapshotSchedule(StrEnum):
    """How often a snapshot is made by itself."""

    OFF = "off"
    HOURLY = "hourly"
    DAILY = "daily"
    WEEKLY = "weekly"

    @property
    def every(self) -> timedelta | None:
        """The time between two snapshots; None: none are made."""
        return _PERIODS.get(self)


_PERIODS = {
    SnapshotSchedule.HOURLY: timedelta(hours=1),
    SnapshotSchedule.DAILY: timedelta(days=1),
    SnapshotSchedule.WEEKLY: timedelta(days=7),
}


@frozen
class SnapshotPin:
    """What keeps files from being purged while a snapshot has them.

    Files that were received at `newest` or before are pinned; all files, while it is None: the
    snapshot's rows are being read. The pin ends at `until`, or when the snapshot is deleted.
    """

    name: str
    location: str
    begun_at: datetime
    until: datetime
    newest: datetime | None = None

    def covers(self, file: StoredFile, at: datetime) -> bool:
        """Return whether a file must not be purged at `at`."""
        return at < self.until and (self.newest is None or file.created_at <= self.newest)


@frozen
class PinSnapshot:
    """Record a pin, in place of one with its name.

    It excludes the begin of purges: every purge that began before is visible afterwards.
    """

    pin: SnapshotPin


@frozen
class UnpinSnapshot:
    """Remove the pin of a snapshot, if there is one."""

    name: str


def surplus(
    snapshots: Iterable[SnapshotManifest], *, keep: int, max_age: timedelta, now: datetime
) -> Sequence[str]:
    """Return the names of the scheduled snapshots that are no longer kept, oldest first.

    The `keep` newest are kept unless they are older than `max_age`; the newest always is.
    """
    scheduled = sorted(
        (one for one in snapshots if one.name.startswith(SCHEDULED)),
        key=lambda one: (one.begun_at, one.name),
        reverse=True,
    )
    old = (one for place, one in enumerate(scheduled) if place and _is_old(one, max_age, now))
    names = {one.name for one in (*scheduled[max(keep, 1) :], *old)}
    return [one.name for one in reversed(scheduled) if one.name in names]


def _is_old(snapshot: SnapshotManifest, max_age: timedelta, now: datetime) -> bool:
    return now - snapshot.begun_at > max_age


# What a restore does.


class Fate(StrEnum):
    """What a restore does with a file of a snapshot."""

    RESTORE = "restore"
    """The target does not have it."""
    COPY = "copy"
    """The target has its row and no intact copy: it gets one."""
    PRESENT = "present"
    """The target has it."""
    DESTROYED = "destroyed"
    """It was purged since, so it stays destroyed."""
    OTHER = "other"
    """The target has another file with its id, which stays."""
    DAMAGED = "damaged"
    """The snapshot does not have its bytes intact."""


def fate(file: StoredFile, known: StoredFile | None, *, is_destroyed: bool) -> Fate:
    """Return what a restore does with a file; `known` is the target's file with its id.

    `is_destroyed` is whether the catalogue of which the snapshot is has purged the file since.
    """
    if known is None:
        return Fate.DESTROYED if is_destroyed else Fate.RESTORE
    if known.state in {FileState.PURGING, FileState.PURGED}:
        return Fate.DESTROYED
    if not _is_same(file, known):
        return Fate.OTHER
    if known.readable or known.state is not FileState.AVAILABLE:
        return Fate.PRESENT
    return Fate.COPY


def _is_same(file: StoredFile, known: StoredFile) -> bool:
    own = file.kind, file.coding, file.content.sha256, file.stored.sha256, file.created_at
    return own == (
        known.kind,
        known.coding,
        known.content.sha256,
        known.stored.sha256,
        known.created_at,
    )


def sampled(rows: Sequence[T], size: int, seed: int) -> Sequence[T]:
    """Return `size` of these rows, or all if there are fewer; equal arguments give equal rows.

    They are those with the least SHA-256 of the seed and their place.
    """
    order = sorted(range(len(rows)), key=lambda place: sha256_of(b"%d:%d" % (seed, place)))
    return [rows[place] for place in order[:size]]


def differences(file: StoredFile, restored: StoredFile) -> Sequence[str]:
    """Return the fields in which a restored file differs from its line, but for its replicas."""
    bare = evolve(restored, replicas=())
    names = (attribute.name for attribute in fields(StoredFile))
    return [name for name in names if getattr(file, name) != getattr(bare, name)]


def unreadable(what: str, error: Exception) -> InvalidInput:
    """Return the error for a part of a snapshot that can't be read."""
    return InvalidInput.of(
        "snapshot", f"{what} is unreadable: {shown(str(error), 160)}", "use another snapshot"
    )


def _check_digest(content: dict[str, Any]) -> None:
    digest = content.pop("sha256")
    if content["schema"] != _SCHEMA or digest != sha256_of(canonical_json(content)):
        raise ValueError("its digest or its version is another")
