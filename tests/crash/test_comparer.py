"""Killed at any step of reconcile, of the quarantine or of a rebuild: a repetition completes it."""

import asyncio
import hashlib
import shutil
import signal
import sqlite3
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from attrs import frozen

from tests.crash import comparer
from tests.crash.audit import findings, gather
from tests.support.media import photograph
from traffic_storage import StorageConfig, StorageService, Upload, ViolationRecord
from traffic_storage.application.inputs import FileAttributes
from traffic_storage.entrypoints.container import build, running

pytestmark = pytest.mark.timeout(600)  # many starts of a service, one after the other
LOST, COPIED = "lost", "copied"
START = datetime.now(UTC) - timedelta(hours=1)
STEPS = [("apply", 1), ("apply", 2), ("delete", 1)]
REBUILD_STEPS = [*(("apply", nth) for nth in (1, 3, 4)), ("exchange", 2), ("replace_marker", 1)]
PATIENCE_SECONDS = 120
_PROCESSES = get_context("forkserver")
_PROCESSES.set_forkserver_preload(["tests.crash.comparer"])
MOMENTS = ("before", "after")


def film(name: str) -> bytes:
    """Bytes that pass as a video where unknown containers are accepted."""
    return hashlib.shake_256(name.encode()).digest(3000)


@frozen
class Place:
    """A folder with a service's files, of which no process is running."""

    folder: Path
    acknowledged: Mapping[str, str]

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of the service."""
        return settings_of(self.folder / "base")

    def run(self, work: str, days: int, fault: tuple[str, int, str] | None = None) -> bool:
        """Run a process to its end; whether it died at the fault."""
        method, call, moment = fault or (None, 1, "before")
        order = {
            "settings": self.settings,
            "work": work,
            "days": days,
            "fault": {"method": method, "moment": moment, "call": call},
        }
        process = _PROCESSES.Process(target=comparer.run, args=(order,), daemon=True)
        process.start()
        process.join(PATIENCE_SECONDS)
        assert process.exitcode in {0, -signal.SIGKILL}
        return process.exitcode != 0

    def blobs(self) -> Sequence[Path]:
        """The files of the blobs."""
        root = self.folder / "base" / "blobs"
        return sorted(path for path in root.glob("*/*/*/*/*") if path.is_file())

    def execute(self, sql: str) -> None:
        """Change the catalogue behind the service's back."""
        with sqlite3.connect(self.folder / "base" / "catalogue.sqlite3") as connection:
            connection.execute(sql)
        connection.close()

    def entries(self) -> int:
        """How many entries the quarantine has."""
        with sqlite3.connect(self.folder / "base" / "catalogue.sqlite3") as connection:
            ((count,),) = connection.execute("SELECT count(*) FROM quarantine").fetchall()
        connection.close()
        return int(count)

    def broken(self) -> list[str]:
        """Every break of an invariant, and every acknowledged file that can't be read."""

        async def look() -> list[str]:
            settings = StorageConfig(**self.settings)
            found = findings(await gather(settings), self.acknowledged)
            async with StorageService(settings, "LOCAL_ONLY") as service:
                for name, sha256 in self.acknowledged.items():
                    data, _ = await service.retrieve_file(name)
                    if hashlib.sha256(data).hexdigest() != sha256:
                        found.append(f"other bytes: {name}")
            return found

        return asyncio.run(look())


def settings_of(base: Path) -> dict[str, Any]:
    """The settings of a service."""
    return {
        "local_base_path": str(base),
        "workers": 0,
        "accept_unknown_video": True,
        "local_reserve_gb": 0.0,
    }


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Files, a violation with an image, and no process."""
    acknowledged = {}

    async def fill() -> None:
        container = build(StorageConfig(**settings_of(tmp_path / "base")), "LOCAL_ONLY")
        async with running(container), StorageService(container=container) as service:
            for name in (LOST, COPIED, "third"):
                await container.store_files().video(
                    Upload(film(name)), FileAttributes.of(file_id=name)
                )
            record = ViolationRecord("V1", "cam", "speed", START, [1, 2, 3, 4], "car", 0.5)
            views = await service.store_violation_evidence(record, photograph())
            for name in (LOST, COPIED, "third", *(view["file_id"] for view in views.values())):
                data, _ = await service.retrieve_file(name)
                acknowledged[name] = hashlib.sha256(data).hexdigest()

    asyncio.run(fill())
    return Place(tmp_path, acknowledged)


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize(("method", "nth"), STEPS)
def test_reconcile_and_the_quarantine(place: Place, method: str, nth: int, moment: str) -> None:
    """A file's row is lost; another file has a blob too many. Each run is killed, then repeated."""
    rows = f"FROM replica WHERE file_id = '{LOST}'"
    place.execute(f"DELETE {rows}")
    place.execute(f"DELETE FROM file WHERE file_id = '{LOST}'")
    place.execute("DELETE FROM usage_delta")
    place.execute("DELETE FROM usage_total")
    fault = method, nth, moment
    (first,) = [path for path in place.blobs() if path.name.endswith(digest_of(COPIED))]
    surplus = first.with_name(f"{like(first)}-{digest_of(COPIED)}")
    shutil.copy2(first, surplus)
    died = False
    for day, entries in ((3, 2), (5, 1), (40, 0)):
        died |= place.run("reconcile", day, fault)
        place.run("reconcile", day)
        assert place.entries() == entries
    assert died
    assert not surplus.exists()
    assert not [one for one in place.broken() if not one.startswith("miscounted")]


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize(("method", "nth"), REBUILD_STEPS)
def test_a_rebuild(place: Place, method: str, nth: int, moment: str) -> None:
    before = place.blobs()
    for path in (place.folder / "base").glob("catalogue.sqlite3*"):
        path.unlink()
    assert place.run("rebuild", 0, (method, nth, moment))
    assert not place.run("rebuild", 0)
    assert place.blobs() == before
    assert not place.broken()


def digest_of(name: str) -> str:
    """The digest in the key of a file."""
    return hashlib.sha256(film(name)).hexdigest()


def like(path: Path) -> str:
    """Another replica id of the same millisecond."""
    return str(UUID(int=UUID(path.name[:36]).int ^ (uuid4().int & 0xFFFFFFFF)))
