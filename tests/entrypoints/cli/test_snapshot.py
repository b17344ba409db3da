"""`snapshot` and `archive`."""

from pathlib import Path

from tests.entrypoints.cli.command import Shell
from tests.support.media import shipped_jpeg
from traffic_storage.entrypoints.cli.exit_codes import ExitCode


def test_a_snapshot_is_made_verified_drilled_restored_and_deleted(
    shell: Shell, tmp_path: Path
) -> None:
    picture = tmp_path / "a.jpg"
    picture.write_bytes(shipped_jpeg())
    shell("snapshot", "create", "daily", code=ExitCode.NOT_FOUND)
    shell("store", picture, "--file-id", "a")
    made = shell("snapshot", "create", "daily")
    assert "written: 1 object," in made.out
    assert "sealed/daily" in made.out
    assert "set snapshot_location" in made.err
    shell("snapshot", "create", "daily", code=ExitCode.REFUSED)
    assert "daily" in shell("snapshot", "list").out
    assert shell("snapshot", "list", "--json").value["snapshots"][0]["files"] == 1
    assert "0 corrupt, 0 missing" in shell("snapshot", "verify", "daily").out
    assert "passed: 1 of 1 file " in shell("snapshot", "drill", "daily", "--seed", "3").out
    other = tmp_path / "other.toml"
    other.write_text(f'local_base_path = "{tmp_path / "other"}"\nlocal_reserve_gb = 0\n')
    planned = shell("snapshot", "restore", "daily", "--to", other, "--dry-run", "--json").value
    assert (planned["files"], planned["complete"]) == (1, True)
    refused = shell("snapshot", "restore", "daily", "--to", other, code=ExitCode.USAGE)
    assert "--yes" in refused.err
    said = shell("snapshot", "restore", "daily", "--to", other, "--yes").out
    assert "files restored" in said
    assert "files healed" in said
    shell("get", "a", "--output", tmp_path / "b.jpg", "--config", other)
    assert (tmp_path / "b.jpg").read_bytes() == shipped_jpeg()
    assert "daily" in shell("snapshot", "delete", "daily", "--dry-run").out
    assert "; 1 object," in shell("snapshot", "delete", "daily", "--yes").out
    shell("snapshot", "delete", "daily", "--yes", code=ExitCode.NOT_FOUND)
    shell("archive", "30", code=ExitCode.REFUSED)


def test_damage_is_a_finding(shell: Shell, tmp_path: Path) -> None:
    picture = tmp_path / "a.jpg"
    picture.write_bytes(shipped_jpeg())
    shell("store", picture, "--file-id", "a")
    made = shell("snapshot", "create", "daily", "--json").value
    (thing,) = (Path(made["snapshot_location"]).parents[1] / "image").rglob("*-*")
    thing.chmod(0o600)
    thing.write_bytes(thing.read_bytes()[:-1] + b"x")
    found = shell("snapshot", "verify", "daily", code=ExitCode.FINDINGS)
    assert "1 corrupt, 0 missing, 1 repaired" in found.out
    assert "does not have the digest" in found.err
    assert "repaired from a store" in found.err
    assert "1 repaired" in shell("snapshot", "list").out
    shell("snapshot", "verify", "daily")
    assert "good" in shell("snapshot", "list").out
    thing.chmod(0o600)
    thing.write_bytes(thing.read_bytes()[:-1] + b"x")
    assert "failed" in shell("snapshot", "drill", "daily", code=ExitCode.FINDINGS).out


def test_a_lost_database_is_loaded_and_rebuilt(shell: Shell, tmp_path: Path) -> None:
    """What was stored after the snapshot is there again, and so is what only the database knew."""
    for name in ("a", "b"):
        (tmp_path / f"{name}.jpg").write_bytes(shipped_jpeg())
    shell("store", tmp_path / "a.jpg", "--file-id", "a")
    plan = shell("retention", "plan", "--json").value["plan_id"]
    made = shell("snapshot", "create", "daily", "--json").value
    assert made["database"]["kind"] == "sqlite"
    verified = shell("snapshot", "verify", "daily", "--json").value
    assert verified["database_bytes"] == made["database"]["bytes"] > 0
    shell("store", tmp_path / "b.jpg", "--file-id", "b")
    refused = shell("snapshot", "restore-database", "daily", "--yes", code=ExitCode.REFUSED)
    assert "is not empty" in refused.err
    for file in shell.base.glob("catalogue.sqlite3*"):
        file.unlink()
    assert "sqlite" in shell("snapshot", "restore-database", "daily", "--dry-run").out
    assert not [*shell.base.glob("catalogue.sqlite3*")]
    shell("snapshot", "restore-database", "daily", code=ExitCode.USAGE)
    loaded = shell("snapshot", "restore-database", "daily", "--yes", "--json").value
    assert (loaded["files_compared"], loaded["differing"], loaded["complete"]) == (1, [], True)
    waiting = shell("store", tmp_path / "b.jpg", "--file-id", "c", code=ExitCode.TEMPORARY)
    assert "traffic-storage rebuild" in waiting.err
    shell("get", "a", "--output", tmp_path / "read.jpg")
    rebuilt = shell("rebuild", "--yes", "--json").value
    assert (rebuilt["files"], rebuilt["skipped"]) == (1, {})
    assert len(rebuilt["trusted_again"]) == 1
    for name in ("a", "b"):
        shell("get", name, "--output", tmp_path / f"{name}-again.jpg")
        assert (tmp_path / f"{name}-again.jpg").read_bytes() == shipped_jpeg()
    assert plan in shell("retention", "apply", plan, "--dry-run", "--json").out
    shell("store", tmp_path / "b.jpg", "--file-id", "c")
