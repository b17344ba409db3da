"""What docs/operations.md says about failures is what the program says."""

import logging
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias

import asyncpg
import attrs
import pytest

from tests.house.tree import ROOT
from tests.support.servers import Bucket, Database
from tests.support.setups import config
from traffic_storage import DataLifecycleManager, StorageService, TrafficStorageError

GUIDE = (ROOT / "docs" / "operations.md").read_text("utf-8")
ROWS = re.findall(r"^\| ([^|]+) \| (?:`([^`|]+)`)? \| [^|]+ \|$", GUIDE, re.MULTILINE)
SAID = {situation: text for situation, text in ROWS if text}
CLOSED_PORT = 1
NO_SERVER = f"http://127.0.0.1:{CLOSED_PORT}"


@attrs.frozen
class Place:
    """Where a service of a test is, and servers for it."""

    folder: Path
    bucket: Bucket
    database: Database

    def service(self, strategy: str = "LOCAL_ONLY", **settings: Any) -> StorageService:
        """A service in the folder, with these settings."""
        made = config(self.folder, workers=0, **settings)
        return StorageService(made, strategy)


Case: TypeAlias = Callable[[Place], Awaitable[object]]


async def store(service: StorageService) -> None:
    async with service:
        await service.store_metadata(data={"vehicles": 7}, file_id="M")


async def disk_is_full(place: Place) -> None:
    await store(place.service(local_reserve_gb=1e8))


async def database_is_away(place: Place) -> None:
    there = attrs.evolve(place.database, host="127.0.0.1", port=CLOSED_PORT)
    await store(place.service(database=there))


async def database_refuses(place: Place) -> None:
    await store(place.service(database=attrs.evolve(place.database, password="wrong")))


async def database_has_other_tables(place: Place) -> None:
    other = await asyncpg.connect(place.database.dsn)
    await other.execute("CREATE TABLE violation (plate text)")
    await other.close()
    await store(place.service(database=place.database))


async def bucket_is_away(place: Place) -> None:
    await store(place.service("CLOUD_ONLY", bucket=place.bucket.at(NO_SERVER)))


async def bucket_refuses(place: Place) -> None:
    await store(place.service("CLOUD_ONLY", bucket=attrs.evolve(place.bucket, secret_key="wrong")))


async def redis_is_away(place: Place) -> None:
    service = place.service(
        "CLOUD_ONLY", bucket=place.bucket, redis_host="127.0.0.1", redis_port=CLOSED_PORT
    )
    async with service:
        await service.store_metadata(data={"vehicles": 7}, file_id="M")
        assert (await service.retrieve_file("M"))[0] == b'{"vehicles":7}'


async def settings_are_missing(place: Place) -> None:
    await store(place.service("CLOUD_ONLY"))


async def all_copies_are_bad(place: Place) -> None:
    async with place.service() as service:
        await service.store_metadata(data={"vehicles": 7}, file_id="M")
        (blob,) = (place.folder / "blobs" / "metadata").rglob("*-*")
        blob.chmod(0o600)
        blob.write_bytes(b"other bytes")
        await service.retrieve_file("M")


async def folder_is_another(place: Place) -> None:
    await store(place.service())
    (place.folder / "blobs" / ".traffic-storage").unlink()
    async with place.service() as service:
        await service.store_metadata(data={"vehicles": 8}, file_id="N")


async def database_was_loaded(place: Place) -> None:
    async with place.service() as service:
        await service.store_metadata(data={"vehicles": 7}, file_id="M")
        await DataLifecycleManager(service).create_data_snapshot("daily")
    for file in place.folder.glob("catalogue.sqlite3*"):
        file.unlink()
    container = place.service().parts.container
    await container.restore_database()("daily")
    await container.runtime().aclose()
    async with place.service() as service:
        await service.store_metadata(data={"vehicles": 8}, file_id="N")


async def much_is_due(place: Place) -> None:
    async with place.service(max_deletion_files=0, max_deletion_share=0) as service:
        old = {"timestamp": "2001-01-01T00:00:00Z"}
        await service.store_metadata({"vehicles": 7}, "M", metadata=old, historic=True)
        await service.apply_retention_policies()


CASES: dict[str, Case] = {
    "too little disk space": disk_is_full,
    "the database can't be reached": database_is_away,
    "the database has other tables": database_has_other_tables,
    "the database refuses the user": database_refuses,
    "the bucket can't be reached": bucket_is_away,
    "the bucket refuses the credentials": bucket_refuses,
    "Redis is away": redis_is_away,
    "settings are missing": settings_are_missing,
    "all copies of a file are bad": all_copies_are_bad,
    "the folder is another one than before": folder_is_another,
    "retention would delete very much": much_is_due,
    "the database was loaded from a snapshot": database_was_loaded,
}


def test_each_message_has_a_case() -> None:
    assert set(CASES) == set(SAID)


@pytest.mark.parametrize("situation", CASES)
async def test_the_program_says_so(
    situation: str,
    tmp_path: Path,
    s3_bucket: Bucket,
    postgres_database: Database,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING, "traffic_storage"):
        said = await told(CASES[situation], Place(tmp_path, s3_bucket, postgres_database))
    message = ".*".join(map(re.escape, SAID[situation].split("…")))
    assert re.search(message, f"{said}\n{caplog.text}", re.DOTALL), (said, caplog.text)


async def told(case: Case, place: Place) -> str:
    """The error with which a case ends; nothing if it goes well."""
    try:
        await case(place)
    except TrafficStorageError as error:
        return str(error)
    return ""
