"""Views of snapshots: the typed dictionaries that Python, HTTP and the command line return."""

from typing_extensions import TypedDict

from traffic_storage.application.archive import Archived
from traffic_storage.application.snapshots.create import CreatedSnapshot
from traffic_storage.application.snapshots.delete import DeletedSnapshot
from traffic_storage.application.snapshots.drill import Drilled
from traffic_storage.application.snapshots.location import SnapshotLocation
from traffic_storage.application.snapshots.restore import Restored
from traffic_storage.application.snapshots.restore_database import DatabasePlan, RestoredDatabase
from traffic_storage.application.snapshots.verify import VerifiedSnapshot
from traffic_storage.domain.snapshot import SEALED, SnapshotManifest, Verification
from traffic_storage.entrypoints.views import Time


class DatabaseBackupView(TypedDict):
    """A backup of a database: its kind, the version of its tables, and its size before compression."""

    kind: str
    version: str
    bytes: int


class SnapshotView(TypedDict):
    """A complete snapshot.

    `snapshot_location` has its manifest. `files` and `bytes` are those that it can restore; `damaged` had no intact copy when it was made.
    `manifest_sha256` covers the digests of all rows and all files. `database` is the backup of the
    whole database; None: there is none.
    """

    name: str
    snapshot_location: str
    begun_at: Time
    cut_at: Time
    sealed_at: Time
    files: int
    violations: int
    bytes: int
    manifest_sha256: str
    damaged: int
    damaged_files: list[str]
    database: DatabaseBackupView | None


class VerificationView(TypedDict):
    """What the last verification of a snapshot found: `repaired` of `corrupt` and `missing` files are
    intact again, and `valid` says whether everything was at its end. `damage` says why rows could not
    be read; it is empty if they could.
    """

    verified_at: Time
    valid: bool
    corrupt: int
    missing: int
    repaired: int
    damage: str


class ListedSnapshotView(SnapshotView):
    """A complete snapshot in a list; `verification` is None if none has ended."""

    verification: VerificationView | None


class DamagedFileView(TypedDict):
    """A file whose bytes in the location were corrupt or missing; `remedy` is empty if `repaired`."""

    id: str
    cause: str
    repaired: bool
    remedy: str


class SnapshotsView(TypedDict):
    """All snapshots at a location, the newest first.

    `unfinished` are being made, or their making was interrupted. `unreadable` are those whose
    manifest is damaged.
    """

    snapshots: list[ListedSnapshotView]
    unfinished: list[str]
    unreadable: list[str]


class CreatedSnapshotView(SnapshotView):
    """A new snapshot, and what was written for it: the rest was there from other snapshots."""

    objects_written: int
    bytes_written: int


class VerifiedSnapshotView(TypedDict):
    """What a verification of a snapshot has found.

    `repaired` of the `corrupt` and `missing` files have their bytes intact again, written from a store;
    `valid` says whether all have now. `examples` and `damage` have the first 1,000 of these files.
    """

    name: str
    valid: bool
    files: int
    violations: int
    bytes: int
    database_bytes: int
    corrupt: int
    missing: int
    repaired: int
    examples: list[str]
    damage: list[DamagedFileView]
    manifest_sha256: str


class NotRestoredView(TypedDict):
    """A file or a violation that was not restored, and why."""

    id: str
    reason: str


class RestoredSnapshotView(TypedDict):
    """What a restore has done; with `dry_run`, what it would do.

    `files` were restored, with `bytes`; `copies` are files that had no good copy and got one;
    `files_present` existed. `destroyed` were purged since and stay so; of `others` the id belongs to
    another file; of `damaged` the snapshot lacks the bytes. `violations` were restored,
    `violations_present` existed, `violations_unplaced` lack their metadata file. `holds`,
    `deletions`, `purged` and `rules` are changes that were applied after the files.
    """

    name: str
    dry_run: bool
    files: int
    bytes: int
    copies: int
    files_present: int
    destroyed: int
    others: int
    damaged: int
    violations: int
    violations_present: int
    violations_unplaced: int
    holds: int
    deletions: int
    purged: int
    rules: int
    not_restored: list[NotRestoredView]
    complete: bool


class DrillView(TypedDict):
    """What a drill has found: `differing` has the files of the sample that differ, and in what."""

    name: str
    passed: bool
    sample: int
    bytes: int
    restored: int
    seed: str
    differing: dict[str, list[str]]


class DeletedSnapshotView(TypedDict):
    """What was removed with a snapshot.

    While the snapshots in `waits_for` are being made, objects stay; a later deletion removes them.
    """

    name: str
    objects_deleted: int
    bytes_freed: int
    waits_for: list[str]


class RestoredDatabaseView(TypedDict):
    """A backup of a database that was loaded; with `dry_run`, that can be loaded.

    `files_compared` rows were compared with the snapshot's own lines, and `differing` has what
    differs. The catalogue trusts no store before a `rebuild` has ended.
    """

    name: str
    dry_run: bool
    cut_at: Time
    files: int
    violations: int
    database: DatabaseBackupView | None
    files_compared: int
    differing: list[NotRestoredView]
    complete: bool


class ArchivedView(TypedDict):
    """Files that begin to leave local disk; `copied` of them are copied to the cloud before."""

    dry_run: bool
    files: int
    copied: int
    bytes: int


def snapshot_view(location: str, manifest: SnapshotManifest) -> SnapshotView:
    """Return the view of a complete snapshot."""
    return {
        "name": manifest.name,
        "snapshot_location": f"{location}/{SEALED}/{manifest.name}",
        "begun_at": manifest.begun_at.isoformat(),
        "cut_at": manifest.cut_at.isoformat(),
        "sealed_at": manifest.sealed_at.isoformat(),
        "files": manifest.files,
        "violations": manifest.violations,
        "bytes": manifest.size_bytes,
        "manifest_sha256": manifest.sha256,
        "damaged": manifest.damaged_count,
        "damaged_files": list(manifest.damaged),
        "database": _database_view(manifest),
    }


async def snapshots_view(location: SnapshotLocation) -> SnapshotsView:
    """Return the view of all snapshots at a location."""
    complete, damaged = await location.readable()
    unfinished = await location.unfinished()
    names = {one.name for one in complete}
    return {
        "snapshots": [
            {
                **snapshot_view(location.store.location, one),
                "verification": _verification_view(await location.verification(one.name)),
            }
            for one in complete
        ],
        "unfinished": [one for one in unfinished if one not in names],
        "unreadable": list(damaged),
    }


def _verification_view(found: Verification | None) -> VerificationView | None:
    if found is None:
        return None
    return {
        "verified_at": found.at.isoformat(),
        "valid": found.is_good,
        "corrupt": found.corrupt,
        "missing": found.missing,
        "repaired": found.repaired,
        "damage": found.damage,
    }


def created_view(made: CreatedSnapshot) -> CreatedSnapshotView:
    """Return the view of a new snapshot."""
    return {
        **snapshot_view(made.location, made.manifest),
        "objects_written": made.written_objects,
        "bytes_written": made.written_bytes,
    }


def verified_view(found: VerifiedSnapshot) -> VerifiedSnapshotView:
    """Return the view of a verification."""
    return {
        "name": found.manifest.name,
        "valid": found.is_good,
        "files": found.files,
        "violations": found.violations,
        "bytes": found.size_bytes,
        "database_bytes": found.database_bytes,
        "corrupt": found.corrupt,
        "missing": found.missing,
        "repaired": found.repaired,
        "examples": [one.file_id for one in found.examples],
        "damage": [
            {
                "id": one.file_id,
                "cause": f"{one.cause}; {one.unrepaired_because}".removesuffix("; "),
                "repaired": one.repaired,
                "remedy": one.remedy,
            }
            for one in found.examples
        ],
        "manifest_sha256": found.manifest.sha256,
    }


def restored_view(found: Restored) -> RestoredSnapshotView:
    """Return the view of a restore."""
    return {
        "name": found.manifest.name,
        "dry_run": found.dry_run,
        "files": found.files,
        "bytes": found.size_bytes,
        "copies": found.copies,
        "files_present": found.present,
        "destroyed": found.destroyed,
        "others": found.others,
        "damaged": found.damaged,
        "violations": found.violations,
        "violations_present": found.violations_present,
        "violations_unplaced": found.unplaced,
        "holds": found.replay.holds,
        "deletions": found.replay.deletions,
        "purged": found.replay.purged,
        "rules": found.replay.rules,
        "not_restored": [{"id": name, "reason": reason} for name, reason in found.examples],
        "complete": found.is_whole,
    }


def database_plan_view(plan: DatabasePlan) -> RestoredDatabaseView:
    """Return the view of what would be loaded."""
    return _restored_database(plan.manifest, dry_run=True)


def restored_database_view(found: RestoredDatabase) -> RestoredDatabaseView:
    """Return the view of what was loaded."""
    view = _restored_database(found.manifest, dry_run=False)
    view["files_compared"] = found.files
    view["differing"] = [{"id": name, "reason": reason} for name, reason in found.examples]
    view["complete"] = found.is_good
    return view


def _restored_database(manifest: SnapshotManifest, *, dry_run: bool) -> RestoredDatabaseView:
    return {
        "name": manifest.name,
        "dry_run": dry_run,
        "cut_at": manifest.cut_at.isoformat(),
        "files": manifest.files,
        "violations": manifest.violations,
        "database": _database_view(manifest),
        "files_compared": 0,
        "differing": [],
        "complete": True,
    }


def _database_view(manifest: SnapshotManifest) -> DatabaseBackupView | None:
    if manifest.database is None:
        return None
    return {
        "kind": manifest.database.kind,
        "version": manifest.database.version,
        "bytes": manifest.database_bytes,
    }


def drill_view(found: Drilled) -> DrillView:
    """Return the view of a drill."""
    return {
        "name": found.manifest.name,
        "passed": found.has_passed,
        "sample": found.sample,
        "bytes": found.size_bytes,
        "restored": found.restored.files,
        "seed": str(found.seed),
        "differing": {name: list(fields) for name, fields in found.differing.items()},
    }


def deleted_view(found: DeletedSnapshot) -> DeletedSnapshotView:
    """Return the view of a deletion of a snapshot."""
    return {
        "name": found.name,
        "objects_deleted": found.objects,
        "bytes_freed": found.size_bytes,
        "waits_for": list(found.waits_for),
    }


def archived_view(found: Archived, *, dry_run: bool) -> ArchivedView:
    """Return the view of an archiving."""
    return {
        "dry_run": dry_run,
        "files": found.files,
        "copied": found.copied,
        "bytes": found.bytes,
    }
