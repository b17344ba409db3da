"""Tests of an adapter: the contracts of its ports, then its special properties."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from examples.sqlite_store.store import SqliteBlobStore
from traffic_storage import (
    StorageConfig,
    StorageService,
    StorageStrategy,
    ViolationRecord,
    build,
    running,
)
from traffic_storage.domain.digests import SEGMENT_BYTES
from traffic_storage.domain.files import BlobKey
from traffic_storage.ports.blob_store import BlobStore
from traffic_storage.ports.errors import StorageUnavailable
from traffic_storage.testing import (
    NEVER,
    BlobStoreContract,
    BlobStoreMachine,
    Damage,
    StoreIdentityContract,
    SystemClock,
    damaged,
    random_blob,
)

CLOCK = SystemClock()


def names_in(folder: Path) -> list[str]:
    """Return the sorted names of the entries of a folder."""
    return sorted(path.name for path in folder.iterdir())


class TestSqliteBlobStore(BlobStoreContract, StoreIdentityContract):
    """The contracts, with a fixture `store` and a way to damage stored blobs."""

    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[SqliteBlobStore]:
        store = SqliteBlobStore(tmp_path / "evidence.sqlite3", CLOCK)
        yield store
        await store.aclose()

    async def tamper(self, store: BlobStore, key: BlobKey, how: Damage, at: int = 0) -> None:
        assert isinstance(store, SqliteBlobStore)
        with closing(sqlite3.connect(store.path)) as db, db:
            ((blob,),) = db.execute("SELECT id FROM blobs WHERE key = ?", [key])
            rows = db.execute("SELECT bytes FROM segments WHERE blob = ? ORDER BY number", [blob])
            data = damaged(b"".join(part for (part,) in rows), how, at)
            db.execute("DELETE FROM segments WHERE blob = ?", [blob])
            if data is None:
                db.execute("DELETE FROM blobs WHERE id = ?", [blob])
                return
            for number, start in enumerate(range(0, len(data), SEGMENT_BYTES)):
                part = data[start : start + SEGMENT_BYTES]
                db.execute("INSERT INTO segments VALUES (?, ?, ?)", [blob, number, part])


def test_any_order_of_calls_ends_as_in_memory(tmp_path: Path) -> None:
    paths = (tmp_path / f"{number}.sqlite3" for number in count())

    class Machine(BlobStoreMachine):
        @staticmethod
        def make() -> BlobStore:
            return SqliteBlobStore(next(paths), CLOCK)

    run_state_machine_as_test(
        Machine, settings=settings(max_examples=5, stateful_step_count=20, deadline=None)
    )


async def test_all_is_in_one_file_and_still_there_when_it_is_opened_again(tmp_path: Path) -> None:
    blob = random_blob(5 * 1024 * 1024)
    for _ in range(2):
        store = SqliteBlobStore(tmp_path / "evidence.sqlite3", CLOCK)
        await store.put(blob.key, blob.body, blob.manifest, deadline=NEVER)
        assert await store.read(blob.key, blob.digests) == blob.data
        await store.aclose()
        assert names_in(tmp_path) == ["evidence.sqlite3"]


async def test_a_file_that_is_no_database_is_a_store_that_is_away(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("Dear Sir or Madam, " * 100)
    for path in (tmp_path / "letter.txt", tmp_path / "no such folder" / "evidence.sqlite3"):
        store = SqliteBlobStore(path, CLOCK)
        with pytest.raises(StorageUnavailable, match=path.name):
            await store.marker()
        await store.aclose()


async def test_a_service_keeps_its_evidence_in_it(tmp_path: Path) -> None:
    path = tmp_path / "evidence.sqlite3"
    container = build(
        StorageConfig(local_base_path=tmp_path),
        StorageStrategy.LOCAL_ONLY,
        local_store=SqliteBlobStore(path, CLOCK),
    )
    record = ViolationRecord(
        violation_id="V001",
        device_id="cam_001",
        violation_type="speed",
        timestamp=container.clock().now(),
        vehicle_bbox=[1, 1, 20, 20],
        vehicle_class="car",
        confidence=0.95,
    )
    async with running(container), StorageService(container=container) as storage:
        frame = np.full((48, 64, 3), 128, np.uint8)
        stored = await storage.store_violation_evidence(violation_record=record, image=frame)
        image, _ = await storage.retrieve_image("V001~image")
        assert image.shape == frame.shape
        assert stored["image"]["replicas"][0]["state"] == "present"

    with closing(sqlite3.connect(path)) as db:
        kinds = {key.partition("/")[0] for (key,) in db.execute("SELECT key FROM blobs")}
    assert kinds == {"image", "metadata"}
    assert "blobs" not in names_in(tmp_path)
