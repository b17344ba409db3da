"""`doctor` and `db`: what is wrong is found, named, and comes with a remedy."""

import asyncio
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from attrs import evolve

from tests.entrypoints.cli.command import Shell
from tests.support.canary import CANARY
from tests.support.privileged import remount, small_memory_disk
from tests.support.servers import Bucket, Database, RedisAddress
from tests.support.setups import on_bucket, on_database, on_redis
from traffic_storage import StorageConfig, StorageService, StorageStrategy
from traffic_storage.domain.files import BlobKey, Tier
from traffic_storage.domain.manifest import BlobManifest
from traffic_storage.entrypoints.cli.doctor.finding import Status
from traffic_storage.entrypoints.cli.doctor.services import encryption_of_database, stores
from traffic_storage.ports.blob_store import BlobEntry, KeptVersion
from traffic_storage.ports.spool import Body
from traffic_storage.testing import InMemoryBlobStore, in_memory_container


def findings(shell: Shell, *arguments: str | Path, code: int = 0) -> dict[str, dict[str, Any]]:
    """The doctor's findings by what was looked at, the worst of each; every problem has a remedy."""
    rank = {"ok": 0, "note": 1, "problem": 2}
    found: dict[str, dict[str, Any]] = {}
    for line in shell("doctor", "--json", *arguments, code=code).lines:
        known = found.get(line["check"])
        if known is None or rank[known["status"]] < rank[line["status"]]:
            found[line["check"]] = line
        assert line["status"] != "problem" or line["remedy"], line
    return found


def with_servers(
    tmp_path: Path, database: Database, bucket: Bucket, redis: RedisAddress, **other: object
) -> Path:
    """A settings file, for this user alone, that names these servers."""
    settings = {
        "local_base_path": str(tmp_path / "evidence"),
        **on_database(database),
        **on_bucket(bucket),
        **on_redis(redis),
        **other,
    }
    file = tmp_path / "config.toml"
    lines = [
        f"{key} = {value if isinstance(value, int | float) else repr(value)}"
        for key, value in settings.items()
        if value is not None
    ]
    file.write_text("\n".join(lines) + "\n")
    file.chmod(0o600)
    return file


def used(base: Path) -> None:
    """Use a store, so that everything in it is made."""

    async def use() -> None:
        async with StorageService(StorageConfig(local_base_path=base)) as storage:
            await storage.store_metadata({"vehicles": 7}, "M")
            storage.generate_access_url("M")

    asyncio.run(use())


def test_a_fresh_home_is_in_order_and_stays_untouched(shell: Shell) -> None:
    found = findings(shell)

    assert found["folder"]["status"] == "note"
    assert found["database"]["status"] == "note"
    assert not shell.base.exists()


def test_wrong_profiles_are_named_with_their_file(shell: Shell, tmp_path: Path) -> None:
    profiles, config = tmp_path / "profiles.toml", tmp_path / "config.toml"
    config.write_text('profiles_file = "profiles.toml"\nevidence_profile = "own"\n')
    table = '[[profiles]]\nprofile_id = "own"\nviolation_type = "speed"\njurisdiction = "ES"\n'
    profiles.write_text(table)
    found = findings(shell, "--config", config, code=3)["profiles"]
    assert f"profiles[1].legal_source: is missing (in {profiles})" in found["detail"]
    profiles.write_text(f'{table}legal_source = "an agreement"\n')
    found = findings(shell, "--config", config)["profiles"]
    assert (found["status"], found["detail"]) == ("ok", "own")


def test_a_used_home_is_in_order_and_nothing_is_left_in_it(shell: Shell) -> None:
    used(shell.base)
    before = {path for path in shell.base.rglob("*") if path.is_file()}

    found = findings(shell)

    assert found["database"]["status"] == "ok"
    assert found["local store"]["status"] == "ok"
    assert found["signing key"]["status"] == "ok"
    assert {path for path in shell.base.rglob("*") if path.is_file()} - before == set()
    assert "ok      database" in shell("doctor").out


def test_the_real_thing_is_in_order(
    shell: Shell,
    tmp_path: Path,
    postgres_database: Database,
    s3_bucket: Bucket,
    redis_database: RedisAddress,
) -> None:
    file = with_servers(tmp_path, postgres_database, s3_bucket, redis_database)
    fresh = findings(shell, "--config", file, code=3)
    shell("db", "upgrade", "--config", file)
    upgraded = findings(shell, "--config", file)

    assert fresh["database"]["remedy"] == "run traffic-storage db upgrade"
    assert upgraded["database"]["status"] == "ok"
    assert upgraded["cache"]["status"] == "ok"
    assert "AbortIncompleteMultipartUpload" in upgraded["bucket"]["remedy"]
    assert upgraded["settings"]["status"] == "ok"


def test_redis_is_reached_by_its_url(
    shell: Shell, tmp_path: Path, redis_database: RedisAddress
) -> None:
    password = quote(redis_database.password or "", safe="")
    server = f"{redis_database.host}:{redis_database.port}/{redis_database.db}"
    file = tmp_path / "config.toml"
    for url, status, code in (
        (f"redis://:{password}@{server}", "ok", 0),
        (f"redis://:{CANARY}@{server}", "problem", 3),
    ):
        file.write_text(f'redis_url = "{url}"\n')
        file.chmod(0o600)
        result = shell("doctor", "--json", "--config", file, "--verbose", code=code)
        found = {line["check"]: line for line in result.lines}
        assert found["cache"]["status"] == status
        assert CANARY not in result.out + result.err


def test_servers_that_are_away_are_named_and_no_secret_is(shell: Shell, tmp_path: Path) -> None:
    nowhere = Database("127.0.0.1", 9, "traffic", "admin", CANARY)
    bucket = Bucket("http://127.0.0.1:9", "evidence", CANARY, CANARY)
    file = with_servers(
        tmp_path,
        nowhere,
        bucket,
        RedisAddress("127.0.0.1", 9, 0, CANARY),
        url_signing_key=CANARY,
        s3_timeout_seconds=1,
    )

    result = shell("doctor", "--json", "--config", file, "--verbose", code=3)
    found = {line["check"]: line for line in result.lines}

    assert {name for name, line in found.items() if line["status"] == "problem"} >= {
        "database",
        "cache",
    }
    assert any(
        "127.0.0.1:9" in line["detail"] for line in result.lines if line["check"] == "bucket"
    )
    assert CANARY not in result.out + result.err


def test_a_wrong_password_is_told_without_it(
    shell: Shell,
    tmp_path: Path,
    postgres_database: Database,
    s3_bucket: Bucket,
    redis_database: RedisAddress,
) -> None:
    file = with_servers(tmp_path, postgres_database, s3_bucket, redis_database, db_password=CANARY)

    for arguments in (("doctor",), ("stats",), ("db", "upgrade"), ("violations",)):
        result = shell(*arguments, "--config", file, "--verbose", code=None)
        assert result.code != 0
        assert "password" in result.out + result.err
        assert CANARY not in result.out + result.err


class Overwriting(InMemoryBlobStore):
    """A store that takes a second blob for a key, as services do that know no condition."""

    async def put(
        self, key: BlobKey, body: Body, manifest: BlobManifest, *, deadline: datetime
    ) -> None:
        await self.delete(key)
        await super().put(key, body, manifest, deadline=deadline)


class Keeping(InMemoryBlobStore):
    """A store that removes nothing."""

    async def delete(self, key: BlobKey) -> Sequence[KeptVersion]:
        """Say that it is removed."""
        return ()


class Ahead(InMemoryBlobStore):
    """A store whose clock is two minutes ahead."""

    async def list(self, prefix: str = "", after: str = "") -> AsyncIterator[BlobEntry]:
        async for entry in super().list(prefix, after):
            yield evolve(entry, modified_at=entry.modified_at + timedelta(minutes=2))


@pytest.mark.parametrize(
    ("kind", "said"),
    [(Overwriting, "If-None-Match"), (Keeping, "permissions"), (Ahead, "clocks")],
)
async def test_a_bucket_that_keeps_no_promise_is_a_problem(
    tmp_path: Path, kind: type[InMemoryBlobStore], said: str
) -> None:
    settings = StorageConfig(
        local_base_path=tmp_path / "none", s3_access_key="key", s3_secret_key="secret"
    )
    container = in_memory_container(StorageStrategy.CLOUD_ONLY, settings)
    container.cloud_stores.override([(kind(container.clock(), tier=Tier.CLOUD), None)])

    found = [finding async for finding in stores(container, settings)]

    assert [finding.status for finding in found] == [Status.PROBLEM, Status.NOTE]
    assert said in found[0].remedy


def test_a_store_of_another_catalogue_is_a_problem(shell: Shell) -> None:
    used(shell.base)
    for file in shell.base.glob("catalogue.sqlite3*"):
        file.unlink()
    shell("db", "upgrade")

    found = findings(shell, code=3)

    assert "another catalogue" in found["local store"]["detail"]


def test_whose_a_store_is_is_left_open_while_the_database_is_away(
    shell: Shell,
    tmp_path: Path,
    postgres_database: Database,
    s3_bucket: Bucket,
    redis_database: RedisAddress,
) -> None:
    servers = postgres_database, s3_bucket, redis_database
    shell("stats", "--config", with_servers(tmp_path, *servers))
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]

    found = findings(shell, "--config", with_servers(tmp_path, *servers, db_port=port), code=3)

    assert found["database"]["status"] == "problem"
    for name in ("local store", "bucket"):
        assert found[name]["status"] == "note"
    assert "can't be checked without the database" in found["local store"]["detail"]


def test_a_copy_of_a_store_that_was_taken_into_use_is_a_problem_until_one_is_adopted(
    shell: Shell,
    tmp_path: Path,
    postgres_database: Database,
    s3_bucket: Bucket,
    redis_database: RedisAddress,
) -> None:
    servers = postgres_database, s3_bucket, redis_database
    file = with_servers(tmp_path, *servers)
    shell("db", "upgrade", "--config", file)
    shell("stats", "--config", file)
    copied = tmp_path / "copied"
    copied.mkdir()
    clone = with_servers(copied, *servers)
    blobs = tmp_path / "evidence" / "blobs"
    shutil.copytree(blobs, copied / "evidence" / "blobs")
    shell("stats", "--config", clone)

    lost = findings(shell, "--config", file, code=3)["local store"]
    adopted = findings(shell, "--config", file, "--adopt-store", blobs)
    clone_lost = findings(shell, "--config", clone, code=3)["local store"]

    assert f"{blobs} and the catalogue disagree on the incarnation" in lost["detail"]
    assert f"confirmed it at {copied}" in lost["detail"]
    assert f"traffic-storage doctor --adopt-store {blobs}" in lost["detail"]
    assert "was adopted as the store local-" in adopted["adoption"]["detail"]
    assert adopted["local store"]["status"] == "ok"
    assert "disagree on the incarnation" in clone_lost["detail"]


def test_only_a_configured_store_is_adopted(shell: Shell, tmp_path: Path) -> None:
    used(shell.base)

    found = findings(shell, "--adopt-store", tmp_path / "elsewhere", code=3)

    assert "no store is configured at" in found["adoption"]["detail"]
    assert str(shell.base / "blobs") in found["adoption"]["remedy"]


def test_a_key_that_others_may_read_is_a_problem(shell: Shell) -> None:
    used(shell.base)
    (shell.base / "signing.key").chmod(0o644)

    assert "chmod 600" in findings(shell, code=3)["signing key"]["remedy"]


def test_a_folder_that_every_user_can_write_is_a_problem(shell: Shell) -> None:
    used(shell.base)
    for mode in (0o777, 0o702, 0o1777):
        shell.base.chmod(mode)
        assert "chmod 700" in findings(shell, code=3)["owner"]["remedy"]
    shell.base.chmod(0o750)
    shell.base.parent.chmod(0o777)
    assert findings(shell)["owner"]["status"] == "note"
    shell.base.parent.chmod(0o700)
    assert findings(shell)["owner"]["status"] == "ok"


def test_a_linked_folder_of_a_kind_is_told_before_a_file_is_refused(
    shell: Shell, tmp_path: Path
) -> None:
    """It is never followed; a link in place of the whole folder is."""
    used(shell.base)
    blobs = shell.base / "blobs"
    for place in ("image", "video", "metadata"):
        (tmp_path / place).mkdir()
        (blobs / place).symlink_to(tmp_path / place) if place != "metadata" else None
    found = [one for one in shell("doctor", "--json", code=3).lines if one["check"] == "parts"]
    assert [one["detail"].split()[:4] for one in found] == [
        [str(blobs / place), "is", "a", "symbolic"] for place in ("image", "video")
    ]
    assert "mount --bind" in found[0]["remedy"]
    for place in ("image", "video"):
        (blobs / place).unlink()
    day = next((blobs / "metadata").glob("*/*/*"))
    shutil.move(day, tmp_path / "day")
    day.symlink_to(tmp_path / "day")
    assert str(day) in findings(shell, code=3)["parts"]["detail"]
    day.unlink()
    shutil.move(tmp_path / "day", day)
    shutil.move(blobs, tmp_path / "elsewhere")
    blobs.symlink_to(tmp_path / "elsewhere")
    assert findings(shell)["parts"]["status"] == "ok"


@pytest.mark.privileged
@pytest.mark.parametrize("name", ["spool", "blobs/metadata", "catalogue.sqlite3", "signing.key"])
def test_what_another_user_owns_in_the_folder_is_a_problem(shell: Shell, name: str) -> None:
    used(shell.base)
    (shell.base / "spool").mkdir(exist_ok=True)
    os.chown(shell.base / name, 65534, 65534)
    found = findings(shell, code=3)
    assert f"{name} belongs to user 65534" in found["parts"]["detail"]
    assert f"chown -R 0 {shell.base / name}" in found["parts"]["remedy"]
    assert ("remove" in found["signing key"]["remedy"]) == (name == "signing.key")


@pytest.mark.parametrize("mark", ["", "\N{BYTE ORDER MARK}"])
def test_a_settings_file_that_shows_secrets_is_a_problem(
    shell: Shell, tmp_path: Path, mark: str
) -> None:
    file = tmp_path / "config.toml"
    file.write_text(f'{mark}url_signing_key = "{CANARY}"\n', "utf-8")
    file.chmod(0o644)

    found = findings(shell, "--config", file, code=3)

    assert found["settings"]["remedy"] == f"chmod 600 {file}"
    file.chmod(0o600)
    assert findings(shell, "--config", file)["settings"]["status"] == "ok"


def test_a_settings_file_without_secrets_may_be_read(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("parallel_uploads = 3\n")
    file.chmod(0o644)

    assert findings(shell, "--config", file)["settings"]["status"] == "ok"


def test_wrong_settings_are_findings_too(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAFFIC_STORAGE_PARALLEL_UPLOADS", "0")
    monkeypatch.setenv("TRAFFIC_STORAGE_DB_HOTS", "x")

    result = shell("doctor", code=3)

    assert "TRAFFIC_STORAGE_DB_HOST?" in result.out


def test_open_access_is_a_problem(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAFFIC_STORAGE_OPEN_ACCESS", "true")

    assert "api_keys" in findings(shell, code=3)["access"]["remedy"]


def test_settings_without_their_extra_are_told(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAFFIC_STORAGE_IMAGE_FORMATS", "jpeg,heic")
    assert "extras" not in findings(shell)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    found = findings(shell, code=3)["extras"]
    assert (found["status"], "heic" in found["detail"]) == ("problem", True)
    assert "traffic-storage[heic]" in found["remedy"]
    monkeypatch.setenv("TRAFFIC_STORAGE_IMAGE_FORMATS", "jpeg")
    monkeypatch.setenv("TRAFFIC_STORAGE_VALIDATE_ON_STORE", "warn")
    monkeypatch.setitem(sys.modules, "av", None)
    found = findings(shell)["extras"]
    assert (found["status"], found["remedy"]) == ("note", "pip install 'traffic-storage[video]'")


def test_a_folder_that_is_none_is_a_problem(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")

    found = findings(shell, "--base-path", tmp_path / "file", code=3)

    assert "local_base_path" in found["folder"]["remedy"]


def test_a_folder_that_may_not_be_looked_at_is_a_problem(shell: Shell, tmp_path: Path) -> None:
    """As one of another user; root may look everywhere, but not under a name that is too long."""
    base = tmp_path / ("x" * 300)

    found = findings(shell, "--base-path", base, code=3)
    refused = shell("stats", "--base-path", base, code=7)

    for check in ("signing key", "folder"):
        assert "name too long" in found[check]["detail"]
        assert "local_base_path" in found[check]["remedy"]
    assert found["database"]["status"] == "problem"
    assert "local_base_path" in refused.err


def test_a_disk_without_room_is_a_problem(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    used(shell.base)
    monkeypatch.setenv("TRAFFIC_STORAGE_LOCAL_RESERVE_GB", "1000000")

    assert "local_base_path" in findings(shell, code=3)["free space"]["remedy"]


def test_an_upgrade_is_planned_done_and_done_once(shell: Shell) -> None:
    planned = shell("db", "upgrade", "--dry-run", "--json").value
    assert not shell.base.exists()
    done = shell("db", "upgrade", "--json").value
    again = shell("db", "upgrade")

    assert planned["pending"] == done["applied"] != []
    assert again.out == ""
    assert "no migrations are pending" in again.err
    assert shell("db", "upgrade", "--dry-run", "--json").value == {"pending": []}


def test_a_newer_database_is_refused(shell: Shell) -> None:
    shell("db", "upgrade")
    with closing(sqlite3.connect(shell.base / "catalogue.sqlite3")) as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
        database.commit()

    assert "newer" in shell("db", "upgrade", code=7).err
    assert "newer" in findings(shell, code=3)["database"]["detail"]


def test_deep_checks_what_is_stored(shell: Shell, tmp_path: Path) -> None:
    nothing = findings(shell, "--deep")
    assert nothing["deep check"]["detail"] == "nothing is stored yet"
    files = [tmp_path / f"{number}.json" for number in range(3)]
    for number, file in enumerate(files):
        file.write_text(f'{{"number": {number}}}')
    shell("store", *files)
    found = findings(shell, "--deep", "--seconds", "5")
    deep = {name.split(",")[0]: line for name, line in found.items() if name.startswith("I")}
    assert sorted(deep) == ["I1", "I2", "I3", "I4", "I5", "I7", "I8"]
    assert deep["I2"]["detail"] == "checked: 3 of 3"
    for name in ("waiting jobs", "database clock", "incidents", "retention rules"):
        assert found[name]["status"] == "ok"


def test_deep_finds_a_changed_byte_and_a_dead_job(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text('{"a": 1}')
    shell("store", file)
    (blob,) = [path for path in (shell.base / "blobs" / "metadata").rglob("*") if path.is_file()]
    blob.chmod(0o600)
    blob.write_bytes(b'{"a":2}')
    with closing(sqlite3.connect(shell.base / "catalogue.sqlite3")) as connection:
        connection.execute(
            "INSERT INTO job (job_id, created_at, run_at, ended_at, done, bytes, priority, attempts, "
            "max_attempts, cancelling, kind, state, needs, message, error, arguments) VALUES "
            "(zeroblob(16), 1, 1, 1, 0, 0, 1, 8, 8, 0, 'copy', 'dead', '', '', 'the disk broke', '{}')"
        )
        connection.commit()
    found = findings(shell, "--deep", code=3)
    (changed,) = [line for name, line in found.items() if name.startswith("I2")]
    assert "1 is wrong" in changed["detail"]
    assert "the disk broke" in found["dead jobs"]["detail"]


def test_deep_tells_open_incidents_and_rules_that_differ_from_the_settings(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.json"
    file.write_text('{"a": 1}')
    shell("store", file)
    (blob,) = [path for path in (shell.base / "blobs" / "metadata").rglob("*") if path.is_file()]
    blob.chmod(0o600)
    blob.write_bytes(b'{"a":2}')
    shell("verify", code=None)
    monkeypatch.setenv("TRAFFIC_STORAGE_IMAGE_RETENTION_DAYS", "91")
    found = findings(shell, "--deep", code=3)
    assert found["incidents"]["status"] == "problem"
    assert "1 is open" in found["incidents"]["detail"]
    assert found["retention rules"]["status"] == "note"
    assert "differs from the settings" in found["retention rules"]["detail"]


def test_a_file_of_a_secret_that_others_can_read_is_told(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "key"
    secret.write_text("k" * 40)
    secret.chmod(0o644)
    monkeypatch.setenv("TRAFFIC_STORAGE_URL_SIGNING_KEY_FILE", str(secret))

    found = findings(shell, code=3)["secrets"]

    assert found["status"] == "problem"
    assert "url_signing_key_file" in found["detail"]
    secret.chmod(0o600)
    assert findings(shell)["secrets"]["status"] == "ok"


class TestEncryptionOfDatabase:
    @pytest.mark.parametrize(
        ("given", "is_told"),
        [
            ({}, False),
            ({"db_host": "/run/postgresql"}, False),
            ({"db_host": "localhost"}, False),
            ({"db_host": "127.0.0.1,db2"}, True),
            ({"db_host": "db"}, True),
            ({"db_host": "db", "db_ssl_mode": "disable"}, False),
            ({"db_host": "db", "db_ssl_mode": "verify-full"}, False),
        ],
    )
    def test_plain_text_to_another_machine_that_nobody_chose_is_told(
        self, given: dict[str, str], is_told: bool
    ) -> None:
        settings = StorageConfig.load(
            env={}, overrides=given | ({"db_name": "n", "db_user": "u"} if given else {})
        )
        found = list(encryption_of_database(settings))
        assert [finding.status for finding in found] == [Status.NOTE] * is_told
        assert all("db_ssl_mode" in finding.remedy for finding in found)


@pytest.mark.privileged
def test_a_read_only_copy_can_be_read_and_that_is_told(shell: Shell, tmp_path: Path) -> None:
    used(shell.base)
    with small_memory_disk(tmp_path / "disk", "size=24m") as disk:
        copy = shutil.copytree(shell.base, disk / "copy")
        remount(disk, "ro")
        found = findings(shell, "--base-path", copy, code=3)
    for check in ("folder", "database", "local store"):
        assert "can be read but not written" in found[check]["detail"], found[check]
        assert "nothing is needed" in found[check]["remedy"]
    assert found["parts"]["status"] == "ok"


# Root's part loads all modules, which an ordinary user may not be able to read here.
_AS_OTHERS = """
import os, sys
from traffic_storage.entrypoints.cli.app import run

run(["doctor", "--base-path", sys.argv[1]])
os.setgroups([])
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
print("---")
sys.exit(run(["doctor", "--base-path", sys.argv[1]]))
"""


@pytest.mark.privileged
def test_a_copy_of_another_user_can_be_read_and_that_is_told(shell: Shell) -> None:
    used(shell.base)
    # Not below pytest's own folder, which is closed to others.
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        copy = shutil.copytree(shell.base, Path(place, "copy"))
        for path in (copy, *copy.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        done = subprocess.run(
            [sys.executable, "-c", _AS_OTHERS, copy], capture_output=True, text=True, check=False
        )
    told = done.stdout.partition("---\n")[2]
    assert done.returncode == 3, done.stderr
    for check in ("folder", "database", "local store"):
        assert re.search(f"problem {check}: .* can be read but not written", told), told
    assert "ok      parts" in told
