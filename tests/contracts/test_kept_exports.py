"""Every place of the exports of jobs keeps the contract: memory, a folder, a part of a bucket."""

import asyncio
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from attrs import evolve

from tests.support.adapter_settings import s3_settings
from tests.support.servers import Bucket
from traffic_storage.adapters.clock.system import SystemClock
from traffic_storage.adapters.export_target.local_file import LocalFolder
from traffic_storage.adapters.export_target.memory import InMemoryKeptExports
from traffic_storage.adapters.export_target.object_store import ObjectFolder
from traffic_storage.domain.errors import StorageFull
from traffic_storage.entrypoints.testing.contracts.kept_exports import KeptExportsContract
from traffic_storage.ports.kept_exports import KeptExports


class TestMemory(KeptExportsContract):
    @pytest.fixture
    def kept(self) -> KeptExports:
        return InMemoryKeptExports(SystemClock())


class TestFolder(KeptExportsContract):
    @pytest.fixture
    def kept(self, tmp_path: Path, no_leaks: None) -> KeptExports:
        return LocalFolder(tmp_path / "exports")


class TestBucket(KeptExportsContract):
    @pytest.fixture
    def kept(self, s3_bucket: Bucket, no_leaks: None) -> KeptExports:
        return ObjectFolder(evolve(s3_settings(s3_bucket), prefix="exports/of jobs"))


async def test_the_reserve_of_evidence_stays_free(tmp_path: Path) -> None:
    target = LocalFolder(tmp_path, reserve_bytes=2**62).open("one")
    with pytest.raises(StorageFull, match="export_location"):
        await target.write(b"a")
    await target.aclose()
    assert await asyncio.to_thread(os.listdir, tmp_path) == []


async def test_drafts_of_killed_processes_are_removed(tmp_path: Path) -> None:
    name = ".0199a0c4-5d00-7000-8000-000000000000.csv.0123abcd.part"
    for one in (name, ".other.0123abcd.part"):
        (tmp_path / one).write_bytes(b"half")
    assert await LocalFolder(tmp_path).remove_before(datetime(9999, 1, 1, tzinfo=UTC)) == 0
    assert await asyncio.to_thread(os.listdir, tmp_path) == [".other.0123abcd.part"]
