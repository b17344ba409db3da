"""What is peculiar to Zstandard."""

import json
import subprocess
import sys

import pytest
from backports import zstd

from traffic_storage.adapters.compressor.zstd import ZstdCompressor
from traffic_storage.domain.digests import digests_of
from traffic_storage.domain.files import Coding
from traffic_storage.ports.errors import BlobCorrupt

RECORDS = json.dumps([{"plate": f"{number:06d}", "lane": number % 4} for number in range(5000)])

BOMB = """
import asyncio, resource
from backports import zstd
from traffic_storage.adapters.compressor.zstd import ZstdCompressor
from traffic_storage.domain.digests import digests_of
from traffic_storage.ports.errors import BlobCorrupt

async def main():
    bomb = zstd.compress(bytes(1 << 28))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        await ZstdCompressor().expand(bomb, digests_of(bytes(100_000)))
    except BlobCorrupt:
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)

asyncio.run(main())
"""


async def test_it_is_the_standard_format() -> None:
    coded = await ZstdCompressor().compress(RECORDS.encode())
    assert ZstdCompressor().coding is Coding.ZSTD
    assert coded.data[:4] == b"\x28\xb5\x2f\xfd"  # RFC 8878, section 3.1.1
    assert zstd.decompress(coded.data) == RECORDS.encode()


async def test_json_becomes_small() -> None:
    coded = await ZstdCompressor().compress(RECORDS.encode())
    assert len(coded.data) < len(RECORDS) / 5


async def test_a_frame_of_unknown_size_is_read() -> None:
    compressor = zstd.ZstdCompressor()
    coded = compressor.compress(RECORDS.encode()) + compressor.flush()
    expanded = await ZstdCompressor().expand(coded, digests_of(RECORDS.encode()))
    assert expanded == RECORDS.encode()


async def test_a_frame_that_wants_a_huge_window_is_refused() -> None:
    parameter = zstd.CompressionParameter
    compressor = zstd.ZstdCompressor(options={parameter.window_log: 30})
    coded = compressor.compress(RECORDS.encode()) + compressor.flush()
    with pytest.raises(BlobCorrupt):
        await ZstdCompressor().expand(coded, digests_of(RECORDS.encode()))


def test_a_bomb_costs_no_memory() -> None:
    grown = subprocess.run(
        [sys.executable, "-c", BOMB], capture_output=True, text=True, check=True
    ).stdout
    assert int(grown) < 8 * 1024, "KiB"
