"""The audit finds what is broken: it is shown one fault after the other, and finds just that."""

import asyncio
import json
import shutil
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import numpy as np
import pytest
from attrs import evolve, frozen

from tests.crash.audit import findings, gather, look_up, remains, rows_of_sqlite
from tests.crash.writer import WHEN
from tests.support.media import video
from tests.support.servers import Bucket, Database, S3Address
from tests.support.setups import config
from traffic_storage import StorageConfig, StorageService, StorageStrategy, ViolationRecord

PICTURE = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
IMAGE, FILM, NOTE = "V1~image", "film", "note"
NO_DIGEST = "0" * 64
ROW_OF_METADATA = "SELECT min(delta_id) FROM usage_delta WHERE kind = 'metadata' AND store > 0"
DELETION = (
    "INSERT INTO deletion (file_id, deletion_id, tombstoned_at, purge_after, override, reason,"
    " actor) VALUES (?, ?, 1, 1, 0, '', '')"
)
FILE_OF_METADATA = "SELECT min(delta_id) FROM usage_delta WHERE kind = 'metadata' AND store = 0"


async def stored(settings: StorageConfig, strategy: StorageStrategy) -> Mapping[str, str]:
    """Store a violation with all its files, a film, and a note that is compressed."""
    record = ViolationRecord(
        violation_id="V1",
        device_id="cam-1",
        violation_type="speed",
        timestamp=WHEN,
        vehicle_bbox=[1, 2, 30, 40],
        vehicle_class="car",
        confidence=0.5,
    )
    clip = video(seconds=0.2)
    # Without a worker, which would add the changes of the counters to the totals meanwhile.
    async with StorageService(evolve(settings, workers=0), strategy) as service:
        views = [
            *(await service.store_violation_evidence(record, PICTURE, clip)).values(),
            await service.store_video_segment(clip, FILM),
            await service.store_metadata({"text": "so much " * 1000}, NOTE),
        ]
    return {view["file_id"]: view["sha256"] for view in views}


@frozen
class Place:
    """What a service has left on disk, within reach of a fault."""

    folder: Path
    acknowledged: Mapping[str, str]

    def change(self, statement: str, *values: Any) -> None:
        """Change the catalogue, past all that it would refuse."""
        with closing(sqlite3.connect(self.folder / "catalogue.sqlite3")) as connection:
            assert connection.execute(statement, values).rowcount > 0
            connection.commit()

    def key(self, file_id: str) -> str:
        """Where a file's object is."""
        replicas = rows_of_sqlite(config(self.folder))["replica"]
        (key,) = [row["key"] for row in replicas if row["file_id"] == file_id]
        return str(key)

    def object(self, file_id: str) -> Path:
        """The path of a file's object."""
        return self.folder / "blobs" / self.key(file_id)

    def leave(self, name: str) -> Path:
        """Put a file where none belongs."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"left")
        return path

    async def findings(self) -> list[str]:
        """What the audit finds."""
        return findings(await gather(config(self.folder)), self.acknowledged)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A place that nothing is wrong with; not to be touched."""
    folder = tmp_path_factory.mktemp("whole")
    return Place(folder, asyncio.run(stored(config(folder), StorageStrategy.LOCAL_ONLY)))


@pytest.fixture
def place(whole: Place, tmp_path: Path) -> Place:
    """The same for one test."""
    folder = tmp_path / "base"
    shutil.copytree(whole.folder, folder)
    return Place(folder, whole.acknowledged)


def other_bytes(place: Place) -> list[str]:
    path, key = place.object(FILM), place.key(FILM)
    path.unlink()
    path.write_bytes(b"other")
    return [
        f"I2 other bytes than the row says: {FILM} at {key}",
        f"I7 other bytes than the key says: {FILM} at {key}",
    ]


def no_object(place: Place) -> list[str]:
    place.object(FILM).unlink()
    return [f"I2 present, but no object: {FILM} at {place.key(FILM)}"]


def other_size_in_the_row(place: Place) -> list[str]:
    # What is counted agrees: only the object does not.
    place.change(
        "UPDATE file SET stored_size_bytes = stored_size_bytes + 1 WHERE file_id = ?", NOTE
    )
    for row in (ROW_OF_METADATA, FILE_OF_METADATA):
        place.change("UPDATE usage_delta SET bytes = bytes + 1 WHERE delta_id = (" + row + ")")
    return [f"I2 other bytes than the row says: {NOTE} at {place.key(NOTE)}"]


def other_content(place: Place) -> list[str]:
    place.change("UPDATE file SET size_bytes = size_bytes + 1 WHERE file_id = ?", NOTE)
    return [f"I2 other content than the row says: {NOTE} at {place.key(NOTE)}"]


def not_coded_at_all(place: Place) -> list[str]:
    place.change("UPDATE file SET coding = 'zstd' WHERE file_id = ?", FILM)
    return [f"I2 other content than the row says: {FILM} at {place.key(FILM)}"]


def no_present_replica(place: Place) -> list[str]:
    # A corrupt one is still counted.
    place.change("UPDATE replica SET state = 'corrupt' WHERE file_id = ?", FILM)
    return [f"I1 available without a present replica: {FILM}"]


def replica_of_no_file(place: Place) -> list[str]:
    key = place.key(FILM)
    place.change("UPDATE replica SET file_id = 'nobody' WHERE file_id = ?", FILM)
    return [
        f"I1 available without a present replica: {FILM}",
        f"I3 an object without a row: local {key}",
        f"a replica of no file: nobody, {key[-101:-65].replace('-', '')}",
        "miscounted: ",
    ]


def orphan(place: Place) -> list[str]:
    # The manifest of a blob that has a row is none.
    place.leave(f"blobs/{place.key(FILM)}.manifest")
    place.leave("blobs/image/2026/03/14/orphan.manifest")
    return ["I3 an object without a row: local image/2026/03/14/orphan.manifest"]


def staging_file(place: Place) -> list[str]:
    return [f"left over: {place.leave('blobs/.staging/half')}"]


def spool_file(place: Place) -> list[str]:
    return [f"left over: {place.leave('spool/half')}"]


def attempt(place: Place) -> list[str]:
    place.change("INSERT INTO attempt VALUES ('a-1', 'somebody', 0, '[]', 1)")
    return ["an attempt is left: a-1"]


def lost(place: Place) -> list[str]:
    place.change("UPDATE file SET file_id = 'renamed' WHERE file_id = ?", FILM)
    place.change("UPDATE replica SET file_id = 'renamed' WHERE file_id = ?", FILM)
    return [f"I5 acknowledged, but lost: {FILM}"]


def not_available(place: Place) -> list[str]:
    place.change("UPDATE file SET state = 'purging' WHERE file_id = ?", FILM)
    return [
        f"I5 acknowledged, but lost: {FILM}",
        f"I5 {FILM} is purging, its deletion on record: False",
        "miscounted: ('', 'video') has ",
    ]


def deleted_and_available(place: Place) -> list[str]:
    place.change(DELETION, FILM, b"1" * 16)
    return [f"I5 {FILM} is available, its deletion on record: True"]


def certificate_of_an_available_file(place: Place) -> list[str]:
    place.change("INSERT INTO certificate VALUES (?, 1, ?, '{}')", FILM, b"1" * 32)
    return [f"I5 {FILM} is available, its certificate exists: True"]


def purged_with_a_copy(place: Place) -> list[str]:
    place.change(DELETION, FILM, b"1" * 16)
    place.change("INSERT INTO certificate VALUES (?, 1, ?, '{}')", FILM, b"1" * 32)
    place.change("UPDATE file SET state = 'purged' WHERE file_id = ?", FILM)
    return [
        f"I5 acknowledged, but lost: {FILM}",
        f"I5 {FILM} is purged and has a copy that is present",
        "miscounted: ('', 'video') has ",
    ]


def held_and_deleted(place: Place) -> list[str]:
    place.change(
        "INSERT INTO hold (hold_id, placed_at, include_future, violation_id, case_reference,"
        " reason, placed_by) VALUES (?, 0, 0, 'V1', '', '', '')",
        b"1" * 16,
    )
    place.change(DELETION, IMAGE, b"1" * 16)
    return [
        f"I4 held by {(b'1' * 16).hex()}, but deleted: {IMAGE}",
        f"I5 {IMAGE} is available, its deletion on record: True",
    ]


def held_and_deleted_in_one_moment(
    place: Place, first: str = "hold_placed", then: str = "tombstoned"
) -> list[str]:
    hold_id = UUID(bytes=b"2" * 16)
    place.change(
        "INSERT INTO hold (hold_id, placed_at, include_future, file_id, case_reference,"
        " reason, placed_by) VALUES (?, ?, 0, ?, '', '', '')",
        hold_id.bytes,
        5 if first == "hold_placed" else 0,
        IMAGE,
    )
    for kind in (first, then):
        place.change(
            "INSERT INTO event (at, kind, file_id, details) VALUES (1, ?, ?, ?)",
            kind,
            IMAGE,
            json.dumps({"hold_id": str(hold_id)}),
        )
    place.change(DELETION, IMAGE, b"1" * 16)
    return [
        f"I4 held by {hold_id.hex}, but deleted: {IMAGE}",
        f"I5 {IMAGE} is available, its deletion on record: True",
    ]


def deleted_and_held_in_one_moment(place: Place) -> list[str]:
    return held_and_deleted_in_one_moment(place, "tombstoned", "hold_placed")[1:]


def event_twice(place: Place) -> list[str]:
    place.change(
        "INSERT INTO event (at, kind, file_id, violation_id, details)"
        " SELECT at, kind, file_id, violation_id, details FROM event WHERE kind = 'stored'"
        " AND file_id = ?",
        FILM,
    )
    return [f"twice: stored {FILM}"]


def turn_twice(place: Place) -> list[str]:
    for kind in ("tombstoned", "undeleted", "tombstoned", "tombstoned"):
        place.change(
            "INSERT INTO event (at, kind, file_id, details) VALUES (1, ?, ?, '{}')", kind, FILM
        )
    return [f"twice: tombstoned {FILM}"]


def pressure_twice(place: Place) -> list[str]:
    for level, reason in (("full", "a"), ("none", ""), ("full", "a"), ("full", "b")):
        place.change(
            "INSERT INTO event (at, kind, details) VALUES (1, 'pressure', ?)",
            json.dumps({"store_id": "local", "level": level, "reason": reason}),
        )
    return ["twice: pressure local"]


def dead_job(place: Place) -> list[str]:
    place.change(
        "INSERT INTO job (job_id, created_at, run_at, done, bytes, priority, attempts,"
        " max_attempts, cancelling, kind, state, needs, message, error, arguments)"
        " VALUES (?, 1, 1, 0, 0, 0, 1, 1, 0, 'copy', 'dead', '', '', 'away', '{}')",
        b"1" * 16,
    )
    return ["a job is dead: copy: away"]


def other_digest(place: Place) -> list[str]:
    place.change("UPDATE file SET sha256 = ? WHERE file_id = ?", bytes.fromhex(NO_DIGEST), NOTE)
    return [
        f"I2 other content than the row says: {NOTE} at {place.key(NOTE)}",
        f"I5 acknowledged {NOTE} with {place.acknowledged[NOTE]}, the row says {NO_DIGEST}",
    ]


def torn_violation(place: Place) -> list[str]:
    place.change("UPDATE violation SET image_file_id = 'nothing'")
    return [f"torn: no violation has {IMAGE}", "torn: violation V1 lacks nothing"]


def files_without_a_violation(place: Place) -> list[str]:
    place.change("DELETE FROM violation")
    return [
        "miscounted: ('', 'violation') has ",
        *sorted(f"torn: no violation has {name}" for name in place.acknowledged if "~" in name),
    ]


def miscounted_files(place: Place) -> list[str]:
    place.change(
        "UPDATE usage_delta SET items = items + 1 WHERE delta_id = (" + ROW_OF_METADATA + ")"
    )
    return ["miscounted: "]


def miscounted_bytes(place: Place) -> list[str]:
    place.change(
        "UPDATE usage_delta SET bytes = bytes - 1 WHERE delta_id = (" + ROW_OF_METADATA + ")"
    )
    return ["miscounted: "]


def nothing_counted(place: Place) -> list[str]:
    place.change("DELETE FROM usage_delta WHERE kind = 'metadata' AND store > 0")
    return ["miscounted: "]


def miscounted_violations(place: Place) -> list[str]:
    place.change("UPDATE usage_delta SET items = items + 1 WHERE kind = 'violation'")
    return ["miscounted: ('', 'violation') has "]


FAULTS: list[Callable[[Place], list[str]]] = [
    deleted_and_available,
    certificate_of_an_available_file,
    purged_with_a_copy,
    held_and_deleted,
    held_and_deleted_in_one_moment,
    deleted_and_held_in_one_moment,
    event_twice,
    turn_twice,
    pressure_twice,
    dead_job,
    other_bytes,
    no_object,
    other_size_in_the_row,
    other_content,
    not_coded_at_all,
    no_present_replica,
    replica_of_no_file,
    orphan,
    staging_file,
    spool_file,
    attempt,
    lost,
    not_available,
    other_digest,
    torn_violation,
    files_without_a_violation,
    miscounted_files,
    miscounted_bytes,
    nothing_counted,
    miscounted_violations,
]


async def test_nothing_is_found_where_nothing_is_wrong(whole: Place) -> None:
    assert {IMAGE, FILM, NOTE} < set(whole.acknowledged)
    assert await whole.findings() == []


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_is_found_and_nothing_else(
    place: Place, fault: Callable[[Place], list[str]]
) -> None:
    expected = fault(place)
    found = sorted(await place.findings())
    assert len(found) == len(expected), found
    for line, beginning in zip(found, expected, strict=True):
        assert line.startswith(beginning)


async def test_a_second_copy_in_a_store_is_found(place: Place) -> None:
    """And its bytes, when it is gone and they are left."""
    key = place.key(FILM)
    twin = f"{key[:-66]}0{key[-65:]}" if key[-66] != "0" else f"{key[:-66]}1{key[-65:]}"
    shutil.copy2(place.object(FILM), place.folder / "blobs" / twin)
    name = UUID(twin[-101:-65]).bytes
    place.change(
        "INSERT INTO replica SELECT ?, file_id, store, state, verified_at FROM replica"
        " WHERE file_id = ?",
        name,
        FILM,
    )
    found = [one for one in await place.findings() if not one.startswith("miscounted")]
    assert len(found) == 1
    assert found[0].startswith(f"twice: {FILM} is present in ")
    place.change("UPDATE replica SET state = 'gone' WHERE replica_id = ?", name)
    assert await place.findings() == []
    assert remains(await gather(config(place.folder))) == [
        f"the bytes of a copy that is gone: local {twin}"
    ]


async def test_a_deletion_on_record_is_no_loss(place: Place) -> None:
    place.change(DELETION, FILM, b"1" * 16)
    place.change("UPDATE file SET state = 'tombstoned' WHERE file_id = ?", FILM)
    found = findings(await gather(config(place.folder)), place.acknowledged, {FILM})
    assert [one for one in found if not one.startswith("miscounted")] == []


async def test_what_is_handed_out_is_compared_too(place: Place) -> None:
    settings = config(place.folder)
    async with StorageService(settings, StorageStrategy.LOCAL_ONLY) as service:
        assert await look_up(service, settings, place.acknowledged) == []
        found = await look_up(service, settings, {FILM: NO_DIGEST, "nobody": NO_DIGEST})
    assert f"handed out other bytes: {FILM}" in found
    assert "not handed out, NotFound: nobody" in found


async def test_faults_are_found_in_a_bucket_and_in_postgresql(
    tmp_path: Path, s3: S3Address, s3_bucket: Bucket, postgres_database: Database
) -> None:
    settings = config(tmp_path, bucket=s3_bucket, database=postgres_database)
    acknowledged = await stored(settings, StorageStrategy.CLOUD_ONLY)
    assert findings(await gather(settings), acknowledged) == []

    evidence = await gather(settings)
    (film,) = (row["key"] for row in evidence.rows["replica"] if row["file_id"] == FILM)
    (twin,) = (row["key"] for row in evidence.rows["replica"] if row["file_id"] == "V1~video")
    assert s3.request("DELETE", f"/{s3_bucket.name}/{film}").status == 204
    assert s3.request("PUT", f"/{s3_bucket.name}/{twin}", b"other").status == 200
    assert s3.request("PUT", f"/{s3_bucket.name}/image/orphan", b"left").status == 200
    await _change(
        postgres_database, "INSERT INTO attempt VALUES ('a-1', 'somebody', 0, '[]', true)"
    )
    assert sorted(findings(await gather(settings), acknowledged)) == [
        f"I2 other bytes than the row says: V1~video at {twin}",
        f"I2 present, but no object: {FILM} at {film}",
        "I3 an object without a row: cloud image/orphan",
        f"I7 other bytes than the key says: V1~video at {twin}",
        "an attempt is left: a-1",
    ]


async def _change(database: Database, statement: str) -> None:
    connection = await asyncpg.connect(
        host=database.host,
        port=database.port,
        database=database.name,
        user=database.user,
        password=database.password,
    )
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
