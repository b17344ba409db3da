"""`sync`: what is due is shown, done, and told."""

from pathlib import Path

import pytest

from tests.entrypoints.cli.command import Shell
from tests.support.media import shipped_jpeg
from tests.support.servers import Bucket
from traffic_storage.entrypoints.cli.exit_codes import ExitCode


@pytest.fixture
def hybrid(
    shell: Shell, tmp_path: Path, s3_bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> Shell:
    """Commands with both tiers and one stored image."""
    for name, value in {
        "STRATEGY": "HYBRID",
        "S3_ENDPOINT": s3_bucket.endpoint,
        "S3_ACCESS_KEY": s3_bucket.access_key,
        "S3_SECRET_KEY": s3_bucket.secret_key,
        "S3_BUCKET": s3_bucket.name,
    }.items():
        monkeypatch.setenv(f"TRAFFIC_STORAGE_{name}", value)
    (tmp_path / "x.jpg").write_bytes(shipped_jpeg())
    shell("store", tmp_path / "x.jpg", "--file-id", "X")
    return shell


def test_nothing_is_synchronised_before_anything_is_stored(shell: Shell) -> None:
    assert shell("sync", code=ExitCode.NOT_FOUND).out == ""


def test_nothing_is_due_without_a_cloud(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_bytes(shipped_jpeg())
    shell("store", tmp_path / "x.jpg")
    assert shell("sync").out == "0 files copied, 0 files moved, 0 B; 0 files remaining\n"


def test_what_is_due_is_copied_once(hybrid: Shell) -> None:
    size = len(shipped_jpeg())
    assert hybrid("sync", "--dry-run").out.startswith("1 file to copy or move, ")
    assert hybrid("sync", "--dry-run", "--json").value == {
        "copied": 0,
        "moved": 0,
        "failed": 0,
        "bytes": size,
        "remaining": 1,
    }
    done = hybrid("sync", "--json").value
    assert (done["copied"], done["bytes"], done["remaining"]) == (1, size, 0)
    assert hybrid("sync").out.startswith("0 files copied, 0 files moved, ")
    shown = hybrid("files", "show", "X", "--json").value
    assert [one["tier"] for one in shown["replicas"]] == ["local", "cloud"]


def test_a_copy_waits_while_the_cloud_is_away(
    hybrid: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAFFIC_STORAGE_S3_ENDPOINT", "http://127.0.0.1:1")
    done = hybrid("sync", "--json").value
    assert (done["copied"], done["failed"], done["remaining"]) == (0, 0, 1)
