"""Tests of any adapter of the port `Compressor`, which compresses and expands bytes."""

import asyncio
import json
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from traffic_storage.domain.digests import digests_of
from traffic_storage.ports.compressor import Compressor
from traffic_storage.ports.errors import BlobCorrupt

_RECORDS = [{"plate": f"{number:06d}", "confidence": number / 7} for number in range(40_000)]
SAMPLES = {
    "empty": b"",
    "one byte": b"x",
    "text": b"red light " * 30,
    "records": json.dumps(_RECORDS).encode(),
    "noise": random.Random(7).randbytes(300_000),
    "zeros": bytes(2_000_000),
}

# All examples of a test share one fixture. That is safe, because a compressor has no state.
EXAMPLES = settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
)


@pytest.mark.asyncio
class CompressorContract:
    """Inherit from this class, and define an async fixture `compressor`."""

    @pytest.fixture(params=list(SAMPLES.values()), ids=list(SAMPLES))
    def sample(self, request: pytest.FixtureRequest) -> bytes:
        """Bytes to compress."""
        data: bytes = request.param
        return data

    async def test_expand_returns_the_original(self, compressor: Compressor, sample: bytes) -> None:
        """expand: returns the original bytes."""
        coded = await compressor.compress(sample)
        assert await compressor.expand(coded.data, digests_of(sample)) == sample

    async def test_the_digests_are_of_the_compressed_bytes(
        self, compressor: Compressor, sample: bytes
    ) -> None:
        """compress: the digests are those of the compressed bytes."""
        coded = await compressor.compress(sample)
        assert coded.digests == digests_of(coded.data)

    async def test_the_same_input_gives_the_same_bytes(
        self, compressor: Compressor, sample: bytes
    ) -> None:
        """compress: equal inputs give equal outputs."""
        several = await asyncio.gather(*(compressor.compress(sample) for _ in range(3)))
        assert len({coded.data for coded in several}) == 1

    async def test_truncated_data_is_corrupt(self, compressor: Compressor, sample: bytes) -> None:
        """expand: BlobCorrupt if the compressed bytes are truncated."""
        coded = await compressor.compress(sample)
        whole = len(coded.data)
        for length in (0, 1, whole // 2, whole - 1):
            if 0 <= length < whole:
                with pytest.raises(BlobCorrupt):
                    await compressor.expand(coded.data[:length], digests_of(sample))

    async def test_appended_bytes_are_corrupt(self, compressor: Compressor, sample: bytes) -> None:
        """expand: BlobCorrupt if bytes follow the compressed data."""
        coded = await compressor.compress(sample)
        for more in (b"x", coded.data or b"y"):
            with pytest.raises(BlobCorrupt):
                await compressor.expand(coded.data + more, digests_of(sample))

    async def test_content_with_other_digests_is_corrupt(
        self, compressor: Compressor, sample: bytes
    ) -> None:
        """expand: BlobCorrupt if the result does not match `content`."""
        coded = await compressor.compress(sample)
        others = [sample + b"x", sample[:-1] or b"y", bytes(len(sample)) if any(sample) else b"z"]
        for other in others:
            with pytest.raises(BlobCorrupt):
                await compressor.expand(coded.data, digests_of(other))

    async def test_expand_stops_at_the_expected_size(self, compressor: Compressor) -> None:
        """expand: never expands to more than `content.size_bytes`."""
        coded = await compressor.compress(bytes(64 * 1024 * 1024))
        with pytest.raises(BlobCorrupt):
            await compressor.expand(coded.data, digests_of(bytes(1000)))

    @EXAMPLES
    @given(data=st.binary(max_size=5000), place=st.integers(0), bit=st.integers(0, 7))
    async def test_any_bytes_are_restored_and_a_flipped_bit_is_detected(
        self, compressor: Compressor, data: bytes, place: int, bit: int
    ) -> None:
        """expand: returns the original bytes or raises BlobCorrupt, whichever bit is flipped."""
        coded = await compressor.compress(data)
        assert await compressor.expand(coded.data, digests_of(data)) == data
        if coded.data:
            broken = bytearray(coded.data)
            broken[place % len(broken)] ^= 1 << bit
            try:
                found = await compressor.expand(bytes(broken), digests_of(data))
            except BlobCorrupt:
                return
            assert found == data

    async def test_it_may_be_closed_twice(self, compressor: Compressor) -> None:
        """aclose: may be called twice."""
        await compressor.compress(bytes(1_000_000))
        await compressor.aclose()
        await compressor.aclose()
