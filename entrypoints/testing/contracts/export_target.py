"""Tests of any adapter of the ports `ExportTargets` and `ExportTarget`."""

from abc import abstractmethod
from contextlib import aclosing
from typing import ClassVar

import pytest

from traffic_storage.domain.digests import sha256_of
from traffic_storage.domain.errors import InvalidInput
from traffic_storage.ports.export_target import ExportTarget, ExportTargets


async def _whole(target: ExportTarget, data: bytes) -> None:
    await target.write(data)
    await target.publish()


class ExportTargetContract:
    """Inherit from this, provide the fixture `targets`, and say what is at a place.

    Where small files are written in another way than large ones, inherit twice; `filler` is bytes
    of such a file.
    """

    filler: ClassVar[bytes] = b"ab" * 1000

    @abstractmethod
    def content(self, targets: ExportTargets, name: str) -> bytes | None:
        """Return the bytes of the file with this name; None if there is none."""

    def place(self, targets: ExportTargets, name: str) -> str:  # noqa: ARG002 - for adapters
        """Return the place of the file with this name."""
        return name

    async def test_a_file_appears_whole_when_it_is_published(self, targets: ExportTargets) -> None:
        """`ExportTarget`: until `publish`, nothing has the file's final name."""
        target = targets.open(self.place(targets, "one"), overwrite=False)
        async with aclosing(target):
            await target.write(self.filler)
            await target.write(b"")
            await target.write(b"c")
            assert self.content(targets, "one") is None
            whole = self.filler + b"c"
            assert await target.publish() == sha256_of(whole)
        assert self.content(targets, "one") == whole

    async def test_a_file_that_is_not_published_leaves_nothing(
        self, targets: ExportTargets
    ) -> None:
        """`aclose`: a file that was not published is deleted."""
        async with aclosing(targets.open(self.place(targets, "one"), overwrite=False)) as target:
            await target.write(self.filler)
        async with aclosing(targets.open(self.place(targets, "two"), overwrite=False)):
            pass
        assert self.content(targets, "one") is None
        assert self.content(targets, "two") is None

    async def test_an_empty_file_can_be_published(self, targets: ExportTargets) -> None:
        async with aclosing(targets.open(self.place(targets, "one"), overwrite=False)) as target:
            assert await target.publish() == sha256_of(b"")
        assert self.content(targets, "one") == b""

    async def test_a_file_is_replaced_only_if_that_is_wanted(self, targets: ExportTargets) -> None:
        """`InvalidInput`: the name is that of an existing file, which may not be replaced."""
        for data, overwrite in ((b"first", False), (b"second", True)):
            async with aclosing(
                targets.open(self.place(targets, "one"), overwrite=overwrite)
            ) as target:
                await _whole(target, data)
            assert self.content(targets, "one") == data
        async with aclosing(targets.open(self.place(targets, "one"), overwrite=False)) as target:
            with pytest.raises(InvalidInput, match="exists already"):
                await _whole(target, b"third")
        assert self.content(targets, "one") == b"second"

    async def test_a_file_that_came_meanwhile_is_not_replaced(self, targets: ExportTargets) -> None:
        """`publish`: nothing was changed."""
        late = targets.open(self.place(targets, "one"), overwrite=False)
        async with aclosing(late):
            await late.write(self.filler)
            async with aclosing(targets.open(self.place(targets, "one"), overwrite=False)) as early:
                await _whole(early, b"early")
            with pytest.raises(InvalidInput, match="exists already"):
                await late.publish()
        assert self.content(targets, "one") == b"early"
