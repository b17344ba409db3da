"""`hold`, `delete`, `undelete` and `certificate`."""

from pathlib import Path

import pytest

from tests.entrypoints.cli.command import Shell
from tests.entrypoints.cli.test_store import jpeg
from traffic_storage.entrypoints.cli.exit_codes import ExitCode

WHY = "stored by mistake"


@pytest.fixture
def stored(shell: Shell, tmp_path: Path) -> Shell:
    """A picture P."""
    (tmp_path / "p.jpg").write_bytes(jpeg(3))
    shell("store", tmp_path / "p.jpg", "--file-id", "P")
    return shell


def test_a_file_is_deleted_and_brought_back(stored: Shell) -> None:
    stored("delete", "P", WHY, "--yes", code=ExitCode.REFUSED)
    plan = stored("delete", "P", WHY, "--override", "--dry-run")
    assert plan.out == "this deletes 1 file (P)\n"
    stored("delete", "P", WHY, "--override", code=ExitCode.USAGE)
    stored("get", "P", "-o", stored.base / "out.jpg")
    done = stored("delete", "P", WHY, "--override", "--yes", "--json").value
    assert (done["state"], done["deleted"]) == ("tombstoned", ["P"])
    assert WHY in stored("get", "P", "-o", stored.base / "no.jpg", code=ExitCode.NOT_FOUND).err
    stored("certificate", "P", code=ExitCode.NOT_FOUND)
    assert stored("undelete", "P", "it is needed").out == "P is available again\n"
    stored("undelete", "P", "again", code=ExitCode.REFUSED)


def test_a_hold_is_placed_listed_and_released(stored: Shell) -> None:
    hold = stored("hold", "add", "2025/7", "objection", "--file-id", "P", "--json").value
    assert "2025/7" in stored("hold", "list").out
    refused = stored("delete", "P", WHY, "--override", "--yes", code=ExitCode.REFUSED)
    assert "2025/7" in refused.err
    released = stored("hold", "release", hold["hold_id"], "closed", "--json").value
    assert released["release_reason"] == "closed"
    assert stored("hold", "list", "--json").lines == []
    (listed,) = stored("hold", "list", "--ended", "--json").lines
    assert listed["hold_id"] == hold["hold_id"]
    stored("hold", "add", "2025/8", "objection", code=ExitCode.USAGE)


def test_without_a_grace_a_certificate_follows(
    stored: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAFFIC_STORAGE_DELETION_GRACE_DAYS", "0")
    assert stored("delete", "P", WHY, "--override", "--yes").out == "P is purged\n"
    assert stored("certificate", "P").value["certificate"]["reason"] == WHY
    stored("delete", "P", WHY, "--override", "--yes", code=ExitCode.NOT_FOUND)
