"""Every Spool keeps the contract."""

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import settings

from traffic_storage.adapters.spool.disk import DiskSpool
from traffic_storage.adapters.spool.memory import InMemorySpool
from traffic_storage.domain.errors import StorageFull
from traffic_storage.entrypoints.testing.contracts.spool import (
    MIB,
    Source,
    SpoolContract,
    SpoolMachine,
    content,
    entered,
    taking,
)
from traffic_storage.entrypoints.testing.faults.spool import FailingSpool
from traffic_storage.ports.spool import Spool

MACHINE = settings(max_examples=8, stateful_step_count=20, deadline=None)


class TestMemory(SpoolContract):
    @pytest.fixture
    async def spool(self, no_leaks: None) -> AsyncIterator[InMemorySpool]:
        spool = InMemorySpool()
        yield spool
        await spool.aclose()


class TestDisk(SpoolContract):
    @pytest.fixture(params=[True, False], ids=["unnamed", "named"])
    async def spool(
        self, no_leaks: None, tmp_path: Path, request: pytest.FixtureRequest
    ) -> AsyncIterator[DiskSpool]:
        spool = DiskSpool(tmp_path / "spool", unnamed=request.param)
        yield spool
        await spool.aclose()
        assert not [path for path in (tmp_path / "spool").rglob("*") if path.is_file()]


class TestFailing(SpoolContract):
    """The decorator changes nothing until it is told to."""

    @pytest.fixture
    async def spool(self, no_leaks: None, tmp_path: Path) -> AsyncIterator[FailingSpool]:
        spool = FailingSpool(DiskSpool(tmp_path / "spool"))
        yield spool
        await spool.aclose()

    async def test_it_fails_after_so_many(self, no_leaks: None, tmp_path: Path) -> None:
        spool = FailingSpool(DiskSpool(tmp_path / "spool"), after=1)
        async with taking(spool, Source([content(3 * MIB)])) as body:
            for _ in range(2):
                source = Source([content(3 * MIB)])
                with pytest.raises(StorageFull):
                    await entered(taking(spool, source))
                assert source.closed
            assert spool.held == [body]
        assert spool.held == []
        await spool.aclose()


class MemoryMachine(SpoolMachine):
    @staticmethod
    def make() -> Spool:
        return InMemorySpool()


class DiskMachine(SpoolMachine):
    folder: tempfile.TemporaryDirectory[str]

    @staticmethod
    def make() -> Spool:
        DiskMachine.folder = tempfile.TemporaryDirectory()
        return DiskSpool(Path(DiskMachine.folder.name), memory_bytes=100_000)

    def teardown(self) -> None:
        super().teardown()
        self.folder.cleanup()


MemoryMachine.TestCase.settings = MACHINE
DiskMachine.TestCase.settings = MACHINE
TestMemoryMachine = MemoryMachine.TestCase
TestDiskMachine = DiskMachine.TestCase
