"""`export`: tables on stdout and in files, statistics."""

import asyncio
import csv
import hashlib
import io
import json
import os
import subprocess
import sys
import zipfile
from datetime import UTC, datetime, timedelta

import pytest

from tests.entrypoints.cli.command import PROGRAM, Shell
from tests.entrypoints.cli.test_violations_stats import with_image
from traffic_storage import StorageConfig, StorageService, ViolationRecord
from traffic_storage.entrypoints.cli.exit_codes import ExitCode


@pytest.fixture
def stored(shell: Shell) -> Shell:
    """Three violations."""

    async def fill() -> None:
        async with StorageService(StorageConfig(local_base_path=shell.base)) as storage:
            for number in range(3):
                record = ViolationRecord(
                    violation_id=f"V{number}",
                    device_id=f"cam-{number % 2}",
                    violation_type="speed",
                    timestamp=datetime(2026, 3, 1, tzinfo=UTC) + timedelta(hours=number),
                    vehicle_bbox=[1, 2, 3, 4],
                    vehicle_class="car",
                    confidence=0.5,
                )
                await storage.store_violation_evidence(record)

    asyncio.run(fill())
    return shell


def test_violations_go_to_stdout_or_to_a_file(stored: Shell) -> None:
    rows = list(csv.DictReader(io.StringIO(stored("export", "violations").out)))
    assert [row["violation_id"] for row in rows] == ["V2", "V1", "V0"]
    target = stored.home / "out" / "some.ndjson"
    command = ("export", "violations", "-o", target, "--format", "ndjson")
    filters = ("--device-id", "cam-0", "--end", "2026-03-01T02:00:00Z", "--columns", "violation_id")
    done = stored(*command, *filters, "--json").value
    assert target.read_text() == '{"violation_id":"V0"}\n'
    assert done["rows"] == 1
    assert done["sha256"] == hashlib.sha256(target.read_bytes()).hexdigest()
    refused = stored(*command, code=2).err
    assert "exists already" in refused
    assert "--force" in refused
    assert "3 violations" in stored(*command, "--force").err


def test_the_format_follows_from_the_suffix(stored: Shell) -> None:
    target = stored.home / "a.jsonl"
    stored("export", "violations", "-o", target)
    assert json.loads(target.read_text().splitlines()[0])["violation_id"] == "V2"
    sheet = stored.home / "y.xlsx"
    stored("export", "violations", "-o", sheet)
    assert zipfile.is_zipfile(sheet)
    refused = stored("export", "violations", "-o", sheet, "--format", "csv", "--force", code=2).err
    assert "has the suffix of xlsx" in refused
    assert ".csv" in refused
    other = stored.home / "a.dat"
    assert "0 violations" in stored("export", "violations", "-o", other, "--device-id", "no").err
    assert other.read_text().startswith("violation_id,")


def test_times_in_the_wrong_order_are_told_by_their_options(stored: Shell) -> None:
    times = ("--start", "2026-03-02", "--end", "2026-02-28")
    refused = stored("export", "violations", *times, code=2).err
    assert "--start" in refused
    assert "--end" in refused
    assert "_time" not in refused


def test_statistics_go_to_stdout_or_to_a_file(stored: Shell) -> None:
    figures = json.loads(stored("export", "statistics").out)
    assert figures["database"] == {"violations": 3}
    target = stored.home / "stats.json"
    stored("export", "statistics", "-o", target)
    assert json.loads(target.read_text())["database"] == {"violations": 3}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("violations", "--json"), "--output"),
        (("violations", "-o", "--force"), "looks like an option"),
        (("violations", "--zone", "Nowhere"), "zone"),
        (("violations", "--format", "pdf"), "csv, ndjson"),
        (("statistics", "-o", "s3://reports/one.json"), "s3_credentials"),
    ],
)
def test_wrong_usage_is_named(stored: Shell, arguments: tuple[str, ...], told: str) -> None:
    assert told in stored("export", *arguments, code=2).err


def test_a_package_is_verified_by_its_own_program(stored: Shell) -> None:
    target = stored.home / "evidence.zip"
    done = stored("export", "package", "V0", "V2", "-o", target, "--json").value
    assert (done["violations"], done["bytes"]) == (2, target.stat().st_size)
    assert done["sha256"] == hashlib.sha256(target.read_bytes()).hexdigest()
    with zipfile.ZipFile(target) as archive:
        (stored.home / "verify.py").write_bytes(archive.read("verify.py"))
    command = (sys.executable, "-I", stored.home / "verify.py", target)
    ran = subprocess.run(
        [*command, "--expect", done["manifest_sha256"]],
        check=False,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0
    assert f"VERIFIED: {done['files']} files" in ran.stdout
    shown = stored("export", "package", "V0", "-o", target, "--force")
    assert "SHA-256 of the manifest: " in shown.out
    stored("export", "package", "V9", "-o", stored.home / "other.zip", code=4)
    stored("export", "package", "V0", "-o", "-", code=2)
    assert not (stored.home / "other.zip").exists()


def test_incomplete_evidence_is_packed_only_when_it_is_asked_for(stored: Shell) -> None:
    target = stored.home / "evidence.zip"
    command = ("export", "package", "V0", "-o", target, "--profile", "example-es-speed")
    refused = stored(*command, code=ExitCode.REFUSED)
    assert "V0.camera_info.certificate: is not given" in refused.err
    assert not target.exists()
    done = stored(*command, "--allow-incomplete", "--json").value
    assert done["complete"] is False
    assert "V0.camera_info.certificate: is not given" in done["missing"]
    told = stored(*command, "--allow-incomplete", "--force")
    assert "INCOMPLETE: V0.camera_info.certificate: is not given" in told.err


def test_a_package_names_a_deleted_image(shell: Shell) -> None:
    with_image(shell)
    target = shell.home / "evidence.zip"
    command = ("export", "package", "V000", "-o", target)
    shell("delete", "V000~image", "wrong car", "--override", "--yes")
    refused = shell(*command, code=ExitCode.REFUSED).err
    assert "wrong car" in refused
    assert "allow_incomplete packs the others" in refused
    assert not target.exists()
    told = shell(*command, "--allow-incomplete").err
    assert "INCOMPLETE: V000.files.image: the file 'V000~image' is tombstoned since" in told


def test_a_terminal_gets_no_binary_table(stored: Shell) -> None:
    shown, told = os.openpty()
    try:
        done = subprocess.run(
            [PROGRAM, "export", "violations", "--format", "parquet"],
            stdout=told,
            stderr=subprocess.PIPE,
            env={"HOME": str(stored.home), "TERM": "dumb"},
            check=False,
        )
    finally:
        os.close(shown)
        os.close(told)
    assert done.returncode == ExitCode.USAGE
    assert b"is a terminal, which can't show parquet" in done.stderr
