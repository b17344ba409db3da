"""`verify` and `incidents`."""

from pathlib import Path

from tests.entrypoints.cli.command import Shell
from tests.support.media import shipped_jpeg
from traffic_storage.entrypoints.cli.exit_codes import ExitCode


def store(shell: Shell, tmp_path: Path) -> Path:
    """Store an image; return the file of its copy."""
    (tmp_path / "x.jpg").write_bytes(shipped_jpeg())
    shell("store", tmp_path / "x.jpg", "--file-id", "X")
    (blob,) = [
        path
        for path in tmp_path.rglob("image/**/*")
        if path.is_file() and path.stat().st_size == len(shipped_jpeg())
    ]
    return blob


def test_nothing_is_verified_before_anything_is_stored(shell: Shell) -> None:
    assert shell("verify", code=ExitCode.NOT_FOUND).out == ""


def test_a_good_copy_is_verified(shell: Shell, tmp_path: Path) -> None:
    store(shell, tmp_path)
    size = len(shipped_jpeg())
    done = shell("verify")
    assert done.out.startswith("1 file, 1 copy verified, ")
    assert "100.0 % within 30 days" in done.err
    assert shell("verify", "--json", "--sample", "5").value == {
        "files_checked": 1,
        "replicas_checked": 1,
        "corrupted": 0,
        "missing": 0,
        "healed": 0,
        "unknown": 0,
        "bytes_checked": size,
        "recorded": True,
    }
    assert "sample" in shell("verify", "--sample", "0", code=ExitCode.USAGE).err


def test_a_bad_copy_is_a_finding_and_an_incident(shell: Shell, tmp_path: Path) -> None:
    blob = store(shell, tmp_path)
    blob.chmod(0o600)
    blob.write_bytes(b"\0" * len(shipped_jpeg()))
    found = shell("verify", "--no-heal", "--json", code=ExitCode.FINDINGS)
    assert found.value["corrupted"] == 1
    assert "1 corrupted" in shell("verify", code=ExitCode.FINDINGS).out
    incident = shell("incidents", "list", "--json").value
    assert (incident["kind"], incident["file_id"]) == ("corrupt_replica", "X")
    assert "corrupt_replica" in shell("incidents", "list", "--file-id", "X").out
    name = incident["incident_id"]
    assert shell("incidents", "close", name, "--reason", "restored").out == (
        f"the incident {name} of X is closed\n"
    )
    shell("incidents", "close", name, "--reason", "again", code=ExitCode.REFUSED)
    assert shell("incidents", "list").out == ""
    assert shell("incidents", "list", "--closed", "--json").value["resolution"] == "restored"


def test_evidence_is_handed_out_or_blocked(shell: Shell, tmp_path: Path) -> None:
    blob = store(shell, tmp_path)
    shell("get", "X", "--evidence", "-o", tmp_path / "out.jpg")
    assert (tmp_path / "out.jpg").read_bytes() == shipped_jpeg()
    blob.chmod(0o600)
    blob.write_bytes(shipped_jpeg()[:-1] + b"x")
    refused = shell("get", "X", "--evidence", "-o", tmp_path / "again.jpg", code=ExitCode.FAILURE)
    assert "incident" in refused.err
    assert not (tmp_path / "again.jpg").exists()
