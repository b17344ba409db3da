"""`migrate`, `migration-report` and `seal`, between two folders."""

import asyncio
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from attrs import frozen

from tests.entrypoints.cli.command import Shell
from tests.support.media import shipped_jpeg
from tests.support.setups import config
from traffic_storage import StorageService, ViolationRecord
from traffic_storage.entrypoints.cli.exit_codes import ExitCode

MARCH = datetime(2026, 3, 1, tzinfo=UTC)
RANGE = ("--start", "2026-03-01", "--end", "2026-04-01")


async def fill(folder: Path, count: int) -> None:
    """Store violations, two a day."""
    async with StorageService(config(folder, workers=0)) as storage:
        for number in range(count):
            record = ViolationRecord(
                violation_id=f"V{number:03}",
                device_id="cam-1",
                violation_type="speed",
                timestamp=MARCH + timedelta(hours=12 * number),
                vehicle_bbox=[1, 2, 3, 4],
                vehicle_class="car",
                confidence=0.5,
            )
            await storage.store_violation_evidence(record, shipped_jpeg(), historic=True)


@frozen
class Place:
    """The folder of the target, and its settings file."""

    folder: Path
    settings: Path

    def count(self) -> int:
        """How many violations are there, as another program reads them."""
        try:
            with closing(
                sqlite3.connect(f"file:{self.folder}/catalogue.sqlite3?mode=ro", uri=True)
            ) as one:
                return int(one.execute("SELECT count(*) FROM violation").fetchone()[0])
        except sqlite3.OperationalError:  # there is no table yet
            return 0


@pytest.fixture
def target(tmp_path: Path) -> Place:
    """Another folder."""
    place = Place(tmp_path / "new", tmp_path / "new.toml")
    place.settings.write_text(f'local_base_path = "{place.folder}"\nlocal_reserve_gb = 0.0\n')
    return place


def test_a_migration_with_its_report_and_the_seal(
    shell: Shell, target: Place, tmp_path: Path
) -> None:
    asyncio.run(fill(shell.base, 4))
    to = ("migrate", "--to", target.settings, *RANGE)
    report = tmp_path / "report.json"
    planned = shell(*to, "--dry-run").out
    assert planned.startswith("to bring: 4 violations, 8 files, ")
    assert target.count() == 0
    done = shell(*to, "--seal", "--report", report)
    assert done.out.splitlines()[1:] == [
        "reconciled by all bytes: the target has all violations with their files, on each of 2 days",
        "the source is sealed",
    ]
    (tmp_path / "x.jpg").write_bytes(shipped_jpeg())
    assert "is sealed (read only)" in shell("store", tmp_path / "x.jpg", code=ExitCode.REFUSED).err
    assert shell("seal", "show", "--json").value["sealed"]
    again = shell(*to, "--json").value
    assert (again["migrated_records"], again["skipped"]) == (0, 4)
    assert again["reconciliation"]["equal"]
    assert shell("seal", "lift", "a test").out == "not sealed\n"
    assert "is not sealed" in shell("seal", "lift", "a test", code=ExitCode.REFUSED).err
    assert shell("seal", "place", "a test").out.startswith("sealed since ")

    check = ("--config", target.settings, "migration-report", report)
    assert "on each of 2 days" in shell(*check, "--reread").out
    told = shell("migration-report", report, code=ExitCode.REFUSED).err
    assert ("was signed with another key" in told, "changed since" in told) == (True, False)
    report.write_bytes(report.read_bytes().replace(b'"records":2', b'"records":3', 1))
    assert "was changed since it was signed" in shell(*check, code=ExitCode.REFUSED).err
    shell("--config", target.settings, "migration-report", tmp_path, code=ExitCode.USAGE)


def test_files_without_a_violation_are_told_before_the_seal(
    shell: Shell, target: Place, tmp_path: Path
) -> None:
    asyncio.run(fill(shell.base, 1))
    (tmp_path / "x.jpg").write_bytes(shipped_jpeg())
    shell("store", tmp_path / "x.jpg")
    to = ("migrate", "--to", target.settings, "--start", "2026-03-01", "--end", "2099-01-01")
    told = "not brought: 1 file without a violation, received in this period"
    assert told in shell(*to, "--dry-run").out
    done = shell(*to, "--seal")
    assert told in done.out
    assert told in done.err
    again = shell(*to, "--json").value
    assert (again["without_violation"], again["without_violation_at_least"]) == (1, False)


def test_deleted_files_that_stay_behind_are_told_before_the_seal(
    shell: Shell, target: Place, tmp_path: Path
) -> None:
    asyncio.run(fill(shell.base, 3))
    shell("delete", "V001~image", "test", "--override", "--yes")
    to = ("migrate", "--to", target.settings, *RANGE)
    one = "not brought: 1 deleted file that can still be undeleted (undelete it and repeat, or leave it)"
    assert one in shell(*to, "--dry-run").out
    shell("delete", "--violation", "V002", "test", "--override", "--yes")
    three = (
        "not brought: 3 deleted files that can still be undeleted "
        "(undelete them and repeat, or leave them)"
    )
    report = tmp_path / "report.json"
    told = shell(*to, "--report", report).out
    assert three in told
    assert "all violations with their files that are not deleted, on each of" in told
    assert b'"can_be_undeleted":3' in report.read_bytes()
    shell("undelete", "V001~image", "test")
    again = shell(*to, "--json").value
    assert (again["migrated_files"], again["can_be_undeleted"]) == (1, 2)
    assert not again["can_be_undeleted_at_least"]
    done = shell(*to, "--seal")
    two = three.replace("3", "2")
    assert two in done.out
    assert two in done.err


def test_what_changed_since_the_report_is_told(shell: Shell, target: Place, tmp_path: Path) -> None:
    asyncio.run(fill(shell.base, 2))
    report = tmp_path / "report.json"
    shell("migrate", "--to", target.settings, *RANGE, "--report", report)
    blob, *_ = target.folder.joinpath("blobs", "image").rglob("*-*")
    blob.chmod(0o600)
    blob.write_bytes(b"x" + blob.read_bytes()[1:])
    check = ("--config", target.settings, "migration-report", report)
    assert "by the rows" in shell(*check).out
    found = shell(*check, "--reread", "--json", code=ExitCode.FINDINGS).value
    assert len(found["damaged"]) == 1
    (day,) = found["changed"]
    assert (day["reported"]["files"], day["now"]["files"]) == (4, 3)
    shown = shell(*check, "--reread", code=ExitCode.FINDINGS)
    assert "records now" in shown.out


def test_a_file_that_was_not_brought_is_told(shell: Shell, target: Place) -> None:
    asyncio.run(fill(shell.base, 1))
    (blob,) = shell.base.joinpath("blobs", "image").rglob("*-*")
    blob.chmod(0o600)
    blob.write_bytes(b"x" + blob.read_bytes()[1:])
    done = shell("migrate", "--to", target.settings, *RANGE, "--seal", code=ExitCode.FINDINGS)
    assert "not brought: V000~image: no intact copy" in done.err
    assert "V000~image is missing" in done.err
    assert done.out.splitlines()[1:] == [
        "reconciled by all bytes: 1 difference",
        "the source is not sealed",
    ]


def test_wrong_arguments_are_told(shell: Shell, target: Place, tmp_path: Path) -> None:
    asyncio.run(fill(shell.base, 1))
    to = ("migrate", "--to", target.settings)
    assert "end_date" in shell(*to, *RANGE[:3], "2026-02-01", code=ExitCode.USAGE).err
    assert "parallel" in shell(*to, *RANGE, "--parallel", "0", code=ExitCode.USAGE).err
    absent = tmp_path / "absent.toml"
    shell("migrate", "--to", absent, *RANGE, code=ExitCode.CONFIGURATION)
    own = tmp_path / "own.toml"
    own.write_text(f'local_base_path = "{shell.base}"\n')
    assert (
        "catalogue of the source" in shell("migrate", "--to", own, *RANGE, code=ExitCode.USAGE).err
    )
