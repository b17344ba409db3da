"""Commands on a bucket: streams end well, whatever the end."""

import subprocess
from pathlib import Path

import pytest

from tests.entrypoints.cli.command import PROGRAM, Program, Shell
from tests.entrypoints.cli.test_get import FILM
from tests.support.servers import Bucket
from traffic_storage.entrypoints.cli.exit_codes import ExitCode

RUNS = 2


@pytest.fixture
def cloud(
    shell: Shell, tmp_path: Path, s3_bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> Program:
    """The program on a bucket that holds the film F, of several segments."""
    program = Program(
        shell.home,
        {
            "TRAFFIC_STORAGE_STRATEGY": "CLOUD_ONLY",
            "TRAFFIC_STORAGE_S3_ENDPOINT": s3_bucket.endpoint,
            "TRAFFIC_STORAGE_S3_ACCESS_KEY": s3_bucket.access_key,
            "TRAFFIC_STORAGE_S3_SECRET_KEY": s3_bucket.secret_key,
            "TRAFFIC_STORAGE_S3_BUCKET": s3_bucket.name,
        },
    )
    (tmp_path / "f.mp4").write_bytes(FILM)
    for name, value in program.environment.items():
        monkeypatch.setenv(name, value)
    shell("store", tmp_path / "f.mp4", "--file-id", "F")
    return program


def test_a_good_run_ends_with_0_each_time(cloud: Program, tmp_path: Path) -> None:
    codes = []
    for run in range(RUNS):
        codes.append(cloud("get", "F", "-o", tmp_path / f"out-{run}", code=None).code)
        assert (tmp_path / f"out-{run}").read_bytes() == FILM

    assert codes == [ExitCode.OK] * RUNS


def test_a_stream_that_nobody_reads_to_its_end_ends_quietly_each_time(cloud: Program) -> None:
    for _ in range(RUNS):
        with subprocess.Popen(
            [PROGRAM, "get", "F"],
            env=cloud.variables(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.read(1000) == FILM[:1000]
            process.stdout.close()
            told = process.stderr.read()

        assert (process.returncode, told) == (ExitCode.PIPE_BROKEN, b"")


def test_statistics_and_rehearsals_end_well_too(cloud: Program, tmp_path: Path) -> None:
    assert cloud("stats", "--json").value["cloud_storage"]["files"] == 1
    assert cloud("store", tmp_path / "f.mp4", "--dry-run").code == ExitCode.OK
    assert cloud("doctor").code == ExitCode.OK
