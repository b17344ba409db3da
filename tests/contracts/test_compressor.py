"""Every Compressor keeps the contract."""

from collections.abc import AsyncIterator

import pytest

from traffic_storage.adapters.compressor.identity import IdentityCompressor
from traffic_storage.adapters.compressor.zstd import ZstdCompressor
from traffic_storage.entrypoints.testing.contracts.compressor import CompressorContract


class TestIdentity(CompressorContract):
    @pytest.fixture
    async def compressor(self) -> AsyncIterator[IdentityCompressor]:
        compressor = IdentityCompressor()
        yield compressor
        await compressor.aclose()


class TestZstd(CompressorContract):
    @pytest.fixture(params=[-5, 3], ids=lambda level: f"level {level}")
    async def compressor(
        self, no_leaks: None, request: pytest.FixtureRequest
    ) -> AsyncIterator[ZstdCompressor]:
        compressor = ZstdCompressor(level=request.param)
        yield compressor
        await compressor.aclose()
