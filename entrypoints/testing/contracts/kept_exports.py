"""Tests of any adapter of the port `KeptExports`."""

from contextlib import aclosing
from datetime import timedelta
from uuid import uuid4

import pytest

from traffic_storage.adapters.clock.system import SystemClock
from traffic_storage.domain.digests import sha256_of
from traffic_storage.domain.errors import NotFound
from traffic_storage.domain.kept_exports import kept_name
from traffic_storage.ports.kept_exports import KeptExports

_DAY = timedelta(days=1)


async def _publish(kept: KeptExports, name: str, data: bytes) -> None:
    async with aclosing(kept.open(name)) as target:
        await target.write(data)
        assert await target.publish() == sha256_of(data)


async def _read(kept: KeptExports, name: str) -> bytes:
    async with aclosing(kept.read(name)) as chunks:
        return b"".join([chunk async for chunk in chunks])


class KeptExportsContract:
    """Inherit from this, and provide the fixture `kept`: an empty place."""

    async def test_a_file_is_read_as_it_was_published(self, kept: KeptExports) -> None:
        """`open`: when it is published, it replaces one of this name."""
        name = kept_name(uuid4(), "csv")
        with pytest.raises(NotFound):
            await _read(kept, name)
        for data in (b"first", b"second" * 500_000):
            await _publish(kept, name, data)
            assert await _read(kept, name) == data
        assert kept.location

    async def test_old_files_of_jobs_are_removed(self, kept: KeptExports) -> None:
        """`remove_before`: what else lies there is left alone."""
        now = SystemClock().now()
        assert await kept.remove_before(now + _DAY) == 0
        old = kept_name(uuid4(), "parquet")
        await _publish(kept, old, b"old")
        await _publish(kept, "notes.txt", b"of somebody else")
        assert await kept.remove_before(now - _DAY) == 0
        assert await _read(kept, old) == b"old"
        assert await kept.remove_before(now + _DAY) == 1
        with pytest.raises(NotFound):
            await _read(kept, old)
        assert await _read(kept, "notes.txt") == b"of somebody else"
