"""An audit of what lies on disk, in the bucket and in the database, past our own code.

It knows the tables and the layout, and uses plain sqlite3, asyncpg, `os.walk` and obstore, so
that an error in an adapter can't hide itself. Only then it reads through the service.
"""

import hashlib
import json
import sqlite3
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self
from uuid import UUID

import asyncpg
from attrs import frozen
from backports import zstd
from obstore.store import S3Store

from traffic_storage import StorageConfig, StorageService
from traffic_storage.domain.errors import TrafficStorageError

OCCUPYING = {"present", "corrupt"}
MARKERS = {
    ".traffic-storage",
    ".traffic-storage-holder",
    ".traffic-storage-marker",
}

COUNTED = (
    "SELECT store, kind, items, bytes FROM usage_total UNION ALL"
    " SELECT store, kind, items, bytes FROM usage_delta"
)
TABLES = {
    "file": "SELECT file_id, kind, sha256, size_bytes, coalesce(stored_sha256, sha256) AS"
    " stored_sha256, coalesce(stored_size_bytes, size_bytes) AS stored_size_bytes, coding, state,"
    " violation_id FROM file",
    "replica": "SELECT r.replica_id, r.file_id, s.store_id, s.tier, r.state, f.kind,"
    " coalesce(f.stored_sha256, f.sha256) AS sha256 FROM replica r"
    " LEFT JOIN store s ON s.number = r.store LEFT JOIN file f ON f.file_id = r.file_id",
    "attempt": "SELECT attempt_id, keys FROM attempt",
    "quarantine": "SELECT s.tier, q.key, q.reason, q.state FROM quarantine q"
    " JOIN store s ON s.number = q.store",
    "violation": "SELECT violation_id, metadata_file_id, image_file_id, video_file_id, state"
    " FROM violation",
    "usage": "SELECT coalesce(s.store_id, '') AS store_id, u.kind, sum(u.items) AS items,"
    f" sum(u.bytes) AS bytes FROM ({COUNTED}) u LEFT JOIN store s ON s.number = u.store"
    " GROUP BY s.store_id, u.kind",
    "days": "SELECT store, kind, sum(items) AS items, sum(bytes) AS bytes FROM usage_day"
    " GROUP BY store, kind",
    "device_days": "SELECT store, kind, sum(items) AS items, sum(bytes) AS bytes"
    " FROM usage_device_day GROUP BY store, kind",
    "totals": "SELECT store, kind, items, bytes FROM usage_total",
    "deletion": "SELECT file_id, tombstoned_at, purged_at FROM deletion",
    "certificate": "SELECT file_id FROM certificate",
    "hold": "SELECT hold_id, file_id, violation_id, placed_at FROM hold"
    " WHERE released_at IS NULL AND until IS NULL",
    "event": "SELECT sequence, kind, file_id, violation_id, details FROM event ORDER BY sequence",
    "dead": "SELECT kind, error FROM job WHERE state = 'dead'",
}

# Events of which each may follow only another one of its group, for one file, copy, hold or store.
TURNS = {
    **dict.fromkeys(("tombstoned", "undeleted"), "file_id"),
    **dict.fromkeys(("corrupt", "missing", "recovered"), "replica_id"),
    "pressure": "store_id",
}
ONCE = {"stored", "copied", "released", "healed", "purged", "hold_placed", "hold_released"}

Row = Mapping[str, Any]


@frozen
class Content:
    """Digest and size of some bytes."""

    sha256: str
    size_bytes: int

    @classmethod
    def of(cls, data: bytes) -> Self:
        """Those of these bytes."""
        return cls(hashlib.sha256(data).hexdigest(), len(data))


@frozen
class Blob:
    """What is known of an object: its bytes, and what they decode to if they are zstd's."""

    stored: Content
    decoded: Content | None

    @classmethod
    def of(cls, data: bytes) -> Self:
        """What is known of these bytes."""
        try:
            decoded = Content.of(zstd.decompress(data))
        except zstd.ZstdError:
            decoded = None
        return cls(Content.of(data), decoded)


@frozen
class Evidence:
    """All rows, and all objects by tier and key."""

    rows: Mapping[str, list[Row]]
    objects: Mapping[str, Mapping[str, Blob]]
    leftovers: list[str]


async def look_up(
    service: StorageService,
    settings: StorageConfig,
    acknowledged: Mapping[str, str],
    deletable: Collection[str] = (),
) -> list[str]:
    """What is broken, found past our own code and through it."""
    evidence = await gather(settings)
    broken = findings(evidence, acknowledged, deletable)
    visible = {row["file_id"] for row in evidence.rows["file"] if row["state"] == "available"}
    for file_id, sha256 in acknowledged.items():
        if file_id in deletable and file_id not in visible:
            continue
        try:
            data, _ = await service.retrieve_file(file_id)
        except TrafficStorageError as error:
            broken.append(f"not handed out, {type(error).__name__}: {file_id}")
            continue
        if hashlib.sha256(data).hexdigest() != sha256:
            broken.append(f"handed out other bytes: {file_id}")
    return broken


async def gather(settings: StorageConfig) -> Evidence:
    """Read everything that is there."""
    rows = await _rows_of_postgres(settings) if settings.db_host else rows_of_sqlite(settings)
    local, leftovers = _local_objects(settings.local_base_path / "blobs")
    spool = settings.local_base_path / "spool"
    leftovers += [str(path) for path in spool.rglob("*") if path.is_file()]
    cloud = await _cloud_objects(settings) if settings.cloud_configured else {}
    return Evidence(rows, {"local": local, "cloud": cloud}, leftovers)


def findings(
    evidence: Evidence, acknowledged: Mapping[str, str], deletable: Collection[str] = ()
) -> list[str]:
    """Every break of an invariant.

    `acknowledged` maps file ids to the SHA-256 that was told. Those of them that are `deletable`
    may be deleted by now, if that is on record.
    """
    return [
        *_lost(evidence, acknowledged, deletable),
        *_replica_breaks(evidence),
        *_deletion_breaks(evidence),
        *_hold_breaks(evidence),
        *_twice(evidence),
        *_orphans(evidence),
        *_torn(evidence),
        *_miscounts(evidence),
        *(f"left over: {path}" for path in evidence.leftovers),
        *(f"a job is dead: {row['kind']}: {row['error']}" for row in evidence.rows["dead"]),
    ]


def remains(evidence: Evidence) -> list[str]:
    """The bytes of copies that are gone; jobs remove them."""
    return [
        f"the bytes of a copy that is gone: {row['tier']} {row['key']}"
        for row in evidence.rows["replica"]
        if row["state"] == "gone" and row["key"] in evidence.objects[row["tier"]]
    ]


def _lost(
    evidence: Evidence, acknowledged: Mapping[str, str], deletable: Collection[str]
) -> list[str]:
    known = {row["file_id"]: row for row in evidence.rows["file"]}
    found = []
    for file_id, sha256 in acknowledged.items():
        row = known.get(file_id)
        if row is None or (row["state"] != "available" and file_id not in deletable):
            found.append(f"I5 acknowledged, but lost: {file_id}")
        elif row["sha256"] != sha256:
            found.append(f"I5 acknowledged {file_id} with {sha256}, the row says {row['sha256']}")
    return found


def _replica_breaks(evidence: Evidence) -> list[str]:
    found = []
    files = {row["file_id"]: row for row in evidence.rows["file"]}
    present = Counter(r["file_id"] for r in evidence.rows["replica"] if r["state"] == "present")
    found += [
        f"I1 available without a present replica: {file_id}"
        for file_id, row in files.items()
        if row["state"] == "available" and not present[file_id]
    ]
    for replica in evidence.rows["replica"]:
        file = files.get(replica["file_id"])
        if file is None:
            found.append(f"a replica of no file: {replica['file_id']}, {replica['replica_id']}")
        elif replica["state"] == "present":
            blob = evidence.objects[replica["tier"]].get(replica["key"])
            if blob is None and file["state"] == "purging":
                # Its removal is recorded next.
                continue
            found += _content_breaks(file, replica["key"], blob)
    return found


def _content_breaks(file: Row, key: str, blob: Blob | None) -> list[str]:
    name = f"{file['file_id']} at {key}"
    if blob is None:
        return [f"I2 present, but no object: {name}"]
    found = []
    if not key.endswith(blob.stored.sha256):
        found.append(f"I7 other bytes than the key says: {name}")
    if blob.stored != Content(file["stored_sha256"], file["stored_size_bytes"]):
        # Perhaps they can't even be decoded.
        return [*found, f"I2 other bytes than the row says: {name}"]
    plain = blob.decoded if file["coding"] == "zstd" else blob.stored
    if plain != Content(file["sha256"], file["size_bytes"]):
        found.append(f"I2 other content than the row says: {name}")
    return found


def _deletion_breaks(evidence: Evidence) -> list[str]:
    found = []
    deletions = {row["file_id"]: row for row in evidence.rows["deletion"]}
    certified = {row["file_id"] for row in evidence.rows["certificate"]}
    replicas = {(r["file_id"], r["state"]) for r in evidence.rows["replica"]}
    for file in evidence.rows["file"]:
        name, state = file["file_id"], file["state"]
        deletion = deletions.get(name)
        if (deletion is None) != (state == "available"):
            found.append(f"I5 {name} is {state}, its deletion on record: {deletion is not None}")
        if (name in certified) != (state == "purged"):
            found.append(f"I5 {name} is {state}, its certificate exists: {name in certified}")
        if state == "purged":
            found += [
                f"I5 {name} is purged and has a copy that is {left}"
                for left in ("present", "corrupt", "missing")
                if (name, left) in replicas
            ]
    return found


def _hold_breaks(evidence: Evidence) -> list[str]:
    """Whatever was marked as deleted after a hold on it had been placed, which still holds.

    The events tell what came first. Times don't where both came at the same moment: each is read
    before its transaction begins.
    """
    deletions = {row["file_id"]: row["tombstoned_at"] for row in evidence.rows["deletion"]}
    violations = {row["file_id"]: row["violation_id"] for row in evidence.rows["file"]}
    told: dict[str, int] = {}
    for event in evidence.rows["event"]:
        if event["kind"] == "tombstoned":
            told[event["file_id"]] = event["sequence"]
        elif event["kind"] == "hold_placed":
            told[UUID(json.loads(event["details"])["hold_id"]).hex] = event["sequence"]

    def came_first(hold: Row, name: str) -> bool:
        placed, tombstoned = told.get(_hex(hold["hold_id"])), told.get(name)
        if placed is None or tombstoned is None:
            return bool(hold["placed_at"] < deletions[name])
        return placed < tombstoned

    return [
        f"I4 held by {hold['hold_id']}, but deleted: {name}"
        for hold in evidence.rows["hold"]
        for name in deletions
        if (
            hold["file_id"] == name
            or (hold["violation_id"] and hold["violation_id"] == violations[name])
        )
        and came_first(hold, name)
    ]


def _hex(hold_id: object) -> str:
    """Return an id as SQLite and PostgreSQL give it, in hexadecimal digits without hyphens."""
    return UUID(str(hold_id)).hex


def _twice(evidence: Evidence) -> list[str]:
    """Effects that happened twice: copies in one store, and events."""
    copies = Counter(
        (row["file_id"], row["store_id"])
        for row in evidence.rows["replica"]
        if row["state"] == "present"
    )
    return [
        *(f"twice: {name} is present in {place}" for (name, place), n in copies.items() if n > 1),
        *_events_twice(evidence.rows["event"]),
    ]


def _events_twice(events: list[Row]) -> Iterator[str]:
    last: dict[str, object] = {}
    seen: set[object] = set()
    for event in events:
        kind, name = event["kind"], event["file_id"] or event["violation_id"]
        if turn := TURNS.get(kind):
            details = json.loads(event["details"])
            subject = name if turn == "file_id" else details[turn]
            what = (kind, details.get("level"))
            if last.get(subject) == what:
                yield f"twice: {kind} {subject}"
            last[subject] = what
        elif kind in ONCE:
            one = (kind, event["file_id"], event["violation_id"], event["details"])
            if one in seen:
                yield f"twice: {kind} {name}"
            seen.add(one)


def _orphans(evidence: Evidence) -> list[str]:
    claimed = {(row["tier"], row.get("key")) for row in evidence.rows["replica"]}
    claimed |= {(row["tier"], row["key"]) for row in evidence.rows["quarantine"]}
    claimed |= {(tier, f"{key}.manifest") for tier, key in claimed}
    found = [
        f"I3 an object without a row: {tier} {key}"
        for tier, objects in evidence.objects.items()
        for key in objects
        if (tier, key) not in claimed
    ]
    return found + [f"an attempt is left: {row['attempt_id']}" for row in evidence.rows["attempt"]]


def _torn(evidence: Evidence) -> list[str]:
    files = {row["file_id"] for row in evidence.rows["file"]}
    found = []
    owned = set()
    for row in evidence.rows["violation"]:
        parts = {row["metadata_file_id"], row["image_file_id"], row["video_file_id"]} - {None}
        owned |= parts
        found += [
            f"torn: violation {row['violation_id']} lacks {part}" for part in sorted(parts - files)
        ]
    # Only the files that storing evidence names itself have this character in their ids.
    alone = {file_id for file_id in files if "~" in file_id} - owned
    return found + [f"torn: no violation has {file_id}" for file_id in sorted(alone)]


def _miscounts(evidence: Evidence) -> list[str]:
    files = {row["file_id"]: row for row in evidence.rows["file"]}
    counted: Counter[tuple[str, str]] = Counter()
    sized: Counter[tuple[str, str]] = Counter()
    for row in files.values():
        if row["state"] == "available":
            counted["", row["kind"]] += 1
            sized["", row["kind"]] += row["stored_size_bytes"]
    counted["", "violation"] = sum(
        files.get(row["metadata_file_id"], row)["state"] == "available"
        for row in evidence.rows["violation"]
    )
    for replica in evidence.rows["replica"]:
        file = files.get(replica["file_id"])
        if file is not None and replica["state"] in OCCUPYING:
            counted[replica["store_id"], file["kind"]] += 1
            sized[replica["store_id"], file["kind"]] += file["stored_size_bytes"]
    kept = {(row["store_id"], row["kind"]): row for row in evidence.rows["usage"]}
    found = [
        f"miscounted: {place} has {kept.get(place)}, recounted {counted[place]}, {sized[place]}"
        for place in counted.keys() | kept.keys()
        if (counted[place], sized[place])
        != (
            int(kept[place]["items"]) if place in kept else 0,
            int(kept[place]["bytes"]) if place in kept else 0,
        )
    ]
    totals = _amounts(evidence.rows["totals"])
    found += [
        f"miscounted: {table} add up to {_amounts(evidence.rows[table])}, not {totals}"
        for table in ("days", "device_days")
        if _amounts(evidence.rows[table]) != totals
    ]
    return found


def _amounts(rows: list[Row]) -> dict[tuple[int, str], tuple[int, int]]:
    return {(row["store"], row["kind"]): (int(row["items"]), int(row["bytes"])) for row in rows}


def rows_of_sqlite(settings: StorageConfig) -> dict[str, list[Row]]:
    with sqlite3.connect(settings.local_base_path / "catalogue.sqlite3") as connection:
        connection.row_factory = sqlite3.Row
        rows: dict[str, list[Row]] = {
            name: [_readable(name, row) for row in connection.execute(sql)]
            for name, sql in TABLES.items()
        }
    connection.close()
    return rows


async def _rows_of_postgres(settings: StorageConfig) -> dict[str, list[Row]]:
    connection = await asyncpg.connect(
        host=settings.db_host,
        port=settings.db_port,
        database=settings.db_name,
        user=settings.db_user,
        password=settings.db_password.reveal if settings.db_password else None,
    )
    try:
        return {
            name: [_readable(name, row) for row in await connection.fetch(sql)]
            for name, sql in TABLES.items()
        }
    finally:
        await connection.close()


def _readable(table: str, row: Any) -> Row:
    """A row with digests and UUIDs as text, and a replica's key, which no table holds."""
    found = {
        name: value.hex() if isinstance(value, bytes) else value
        for name, value in dict(row).items()
    }
    if table == "replica" and found["kind"]:
        replica_id = UUID(str(found["replica_id"]))
        day = datetime.fromtimestamp((replica_id.int >> 80) / 1000, UTC)
        found["key"] = f"{found['kind']}/{day:%Y/%m/%d}/{replica_id}-{found['sha256']}"
    return found


def _local_objects(root: Path) -> tuple[dict[str, Blob], list[str]]:
    objects: dict[str, Blob] = {}
    leftovers: list[str] = []
    for path in root.rglob("*"):
        if not path.is_file() or path.name in MARKERS:
            continue
        key = str(path.relative_to(root))
        if key.startswith("journal/"):
            continue
        if key.split("/", 1)[0] in {"image", "video", "metadata"}:
            objects[key] = Blob.of(path.read_bytes())
        else:
            leftovers.append(str(path))
    return objects, leftovers


async def _cloud_objects(settings: StorageConfig) -> dict[str, Blob]:
    """All objects. Parts of an upload that was broken off are none: recovery promises nothing of
    them, the bucket's lifecycle rule ends them.
    """
    assert settings.s3_access_key
    assert settings.s3_secret_key
    store = S3Store(
        settings.s3_bucket,
        endpoint=settings.s3_endpoint,
        region=settings.s3_region,
        access_key_id=settings.s3_access_key.reveal(),
        secret_access_key=settings.s3_secret_key.reveal(),
        client_options={"allow_http": True},
    )
    objects = {}
    for batch in store.list():
        for entry in batch:
            key = entry["path"]
            if key not in MARKERS and not key.startswith("journal/"):
                found = await store.get_async(key)
                objects[key] = Blob.of(bytes(await found.bytes_async()))
    return objects
