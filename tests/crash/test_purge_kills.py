"""Killed while it deletes: a file is whole or erased with one certificate, after one restart."""

import hashlib
import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from tests.crash.purge_writer import WHY, settings_of
from tests.support.media import shipped_jpeg
from traffic_storage import NotFound, StorageService, StorageStrategy
from traffic_storage.domain.deletion import Deleted
from traffic_storage.domain.holds import Held
from traffic_storage.entrypoints.container import Container, build, running

# Each is the start of a process.
pytestmark = pytest.mark.timeout(300)

# Tombstone, BeginPurge, RemoveReplicas, EndPurge.
CHANGES = ("tombstone", "begin purge", "remove replicas", "end purge")
POINTS = [
    *(
        pytest.param("apply", moment, call, id=f"{moment} {name}")
        for call, name in enumerate(CHANGES, 1)
        for moment in ("before", "after")
    ),
    pytest.param("delete", "before", 1, id="before delete"),
    pytest.param("delete", "after", 1, id="after delete"),
    # The look for a blob that is gone raises, so there is no point after it.
    pytest.param("head", "before", 1, id="before head"),
]
IMAGE = shipped_jpeg()


def killed(folder: Path, action: str, method: str, moment: str, call: int = 1) -> None:
    """Run a process that kills itself at this point of an action."""
    fault = json.dumps({"method": method, "moment": moment, "call": call})
    command = [sys.executable, "-m", "tests.crash.purge_writer", str(folder), action, fault]
    done = subprocess.run(command, capture_output=True, check=False, timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()


def blobs(folder: Path) -> list[Path]:
    """The blobs on disk."""
    return [path for path in (folder / "blobs" / "image").rglob("*-*") if path.is_file()]


def rows(folder: Path, query: str) -> Sequence[tuple[object, ...]]:
    """Rows of the database, past our own code."""
    with closing(sqlite3.connect(folder / "catalogue.sqlite3")) as connection:
        return connection.execute(query).fetchall()


def started(folder: Path) -> Container:
    return build(settings_of(folder), StorageStrategy.LOCAL_ONLY)


async def filled(folder: Path) -> None:
    """Store two files with the same content."""
    async with StorageService(settings_of(folder), StorageStrategy.LOCAL_ONLY) as service:
        for name in ("F", "G"):
            await service.store_image(IMAGE, name)


async def audit(folder: Path, service: StorageService) -> None:
    """Check that F is whole or erased, and G is whole."""
    data, _ = await service.retrieve_file("G")
    assert hashlib.sha256(data).digest() == hashlib.sha256(IMAGE).digest()
    ((state,),) = rows(folder, "SELECT state FROM file WHERE file_id = 'F'")
    certificates = rows(folder, "SELECT file_id FROM certificate")
    if state == "purged":
        assert len(blobs(folder)) == 1
        assert certificates == [("F",)]
        found = await service.destruction_certificate("F")
        assert len(found["certificate"]["replicas"]) == 1  # type: ignore[arg-type]
    else:
        assert state == "available"
        assert (await service.retrieve_file("F"))[0] == IMAGE
        assert len(blobs(folder)) == 2
        assert certificates == []


@pytest.mark.parametrize(("method", "moment", "call"), POINTS)
async def test_a_deletion_is_whole_or_ends_later(
    tmp_path: Path, method: str, moment: str, call: int
) -> None:
    """A1: after one restart and one purge."""
    await filled(tmp_path)
    killed(tmp_path, "delete", method, moment, call)
    async with running(started(tmp_path)) as container:
        service = StorageService(container=container)
        await container.runtime().sweep()
        await container.purge().due()
        await audit(tmp_path, service)
        was_lost = rows(tmp_path, "SELECT state FROM file WHERE file_id = 'F'") == [("available",)]
        assert was_lost == ((method, moment, call) == ("apply", "before", 1))
        if was_lost:
            await service.delete_file("F", WHY, override=True)
        with pytest.raises(Deleted, match="purged"):
            await service.delete_file("F", WHY, override=True)
        await audit(tmp_path, service)
        kinds = [kind for (kind,) in rows(tmp_path, "SELECT kind FROM event ORDER BY sequence")]
        assert kinds == ["stored", "stored", "tombstoned", "purged"]
        usage = await container.statistics()()
        assert sum(part.files for part in usage.local.by_kind.values()) == 1


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_file_is_undeleted_or_not(tmp_path: Path, moment: str) -> None:
    """A11: whole, with its new retention, or still deleted."""
    await filled(tmp_path)
    settings = settings_of(tmp_path, grace_days=7)
    async with StorageService(settings, StorageStrategy.LOCAL_ONLY) as service:
        await service.delete_file("F", WHY, override=True)
    killed(tmp_path, "undelete", "apply", moment)
    deleted = len(rows(tmp_path, "SELECT file_id FROM deletion"))
    assert deleted == (moment == "before")
    async with StorageService(settings, StorageStrategy.LOCAL_ONLY) as service:
        if deleted:
            await service.undelete_file("F", WHY)
        assert (await service.retrieve_file("F"))[0] == IMAGE
        assert len((await service.find_files(kind="image")).items) == 2


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_hold_is_placed_or_not(tmp_path: Path, moment: str) -> None:
    await filled(tmp_path)
    killed(tmp_path, "hold", "apply", moment)
    async with running(started(tmp_path)) as container:
        service = StorageService(container=container)
        held = len((await service.list_holds()).items)
        assert held == (moment == "after")
        if held:
            with pytest.raises(Held):
                await service.delete_file("F", WHY, override=True)
        else:
            await service.delete_file("F", WHY, override=True)
            with pytest.raises(NotFound):
                await service.undelete_file("F", WHY)
