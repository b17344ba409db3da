"""Every place of exports keeps the contract: memory, and files with and without O_TMPFILE."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from traffic_storage.adapters.export_target.local_file import LocalFileTarget
from traffic_storage.adapters.export_target.memory import InMemoryTargets
from traffic_storage.domain.errors import InvalidInput
from traffic_storage.entrypoints.testing.contracts.export_target import ExportTargetContract
from traffic_storage.ports.errors import StorageUnavailable
from traffic_storage.ports.export_target import ExportTarget, ExportTargets


class Files(ExportTargets):
    """Files in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def open(self, place: str, *, overwrite: bool) -> ExportTarget:
        return LocalFileTarget(self.folder / "new" / place, overwrite=overwrite)


class TestMemory(ExportTargetContract):
    @pytest.fixture
    def targets(self, no_leaks: None) -> InMemoryTargets:
        return InMemoryTargets()

    def content(self, targets: ExportTargets, name: str) -> bytes | None:
        assert isinstance(targets, InMemoryTargets)
        return targets.files.get(name)


class TestLocalFile(ExportTargetContract):
    @pytest.fixture
    def targets(self, tmp_path: Path, no_leaks: None) -> Files:
        return Files(tmp_path)

    def content(self, targets: ExportTargets, name: str) -> bytes | None:
        assert isinstance(targets, Files)
        folder = targets.folder / "new"
        left = {path.name for path in folder.iterdir()} if folder.exists() else set()
        # Nothing else is beside the file, but for the draft of a file that is being written.
        assert {one for one in left if not one.endswith(".part")} <= {name}
        return (folder / name).read_bytes() if name in left else None


class TestLocalFileWithoutUnnamedFiles(TestLocalFile):
    @pytest.fixture(autouse=True)
    def named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        real = os.open

        def refuse(path: Any, flags: int, *args: Any, **named: Any) -> int:
            if flags & os.O_TMPFILE == os.O_TMPFILE:
                raise OSError(errno.EOPNOTSUPP, "no unnamed files here")
            return real(path, flags, *args, **named)

        monkeypatch.setattr(os, "open", refuse)


async def test_a_place_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    below = LocalFileTarget(tmp_path / "file" / "one", overwrite=False)
    with pytest.raises(StorageUnavailable, match="file/one"):
        await below.write(b"a")
    await below.aclose()
    folder = LocalFileTarget(tmp_path, overwrite=True)
    with pytest.raises(InvalidInput, match="is a folder"):
        await folder.write(b"a")
    await folder.aclose()
