"""The source's server and its four curl commands, word for word, on port 8001."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from attrs import define

from tests.house.tree import ROOT
from tests.support.media import shipped_jpeg, video
from tests.support.ports import await_port
from tests.support.postgres import Database
from tests.support.redis import RedisAddress
from tests.support.s3 import Bucket
from tests.support.setups import config
from traffic_storage.entrypoints.settings import Secret, StorageConfig

URL = "http://localhost:8001"

UPLOAD = """\
curl -X POST "http://localhost:8001/files/upload/image" \\
  -H "Content-Type: multipart/form-data" \\
  -F "file=@evidence.jpg" \\
  -F "device_id=cam_001" \\
  -F "violation_id=V001"
"""
VIOLATION = """\
curl -X POST "http://localhost:8001/violations" \\
  -H "Content-Type: multipart/form-data" \\
  -F "violation_id=V001" \\
  -F "device_id=cam_001" \\
  -F "violation_type=speed" \\
  -F "timestamp=2025-11-01T10:00:00" \\
  -F "vehicle_bbox=[100,100,200,200]" \\
  -F "vehicle_class=car" \\
  -F "confidence=0.95" \\
  -F "processing_time_ms=150" \\
  -F "image_file=@evidence.jpg" \\
  -F "video_file=@segment.mp4"
"""
QUERY = """\
curl "http://localhost:8001/violations?device_id=cam_001&start_date=2025-11-01T00:00:00&limit=50"
"""
STATISTICS = """\
curl "http://localhost:8001/storage/stats"
"""

# The source's server, but for the name of the package and where the configuration comes from.
SERVER = """\
from traffic_storage import StorageConfig, create_storage_app
import uvicorn

config = StorageConfig.load()

# Crear aplicación FastAPI
app = create_storage_app(config)

# Ejecutar servidor
uvicorn.run(app, host="0.0.0.0", port=8001)
"""


@define
class Shell:
    """A folder with the source's files, in which its commands are run."""

    folder: Path

    def __call__(self, command: str) -> Any:
        """What a command prints, read as JSON."""
        done = subprocess.run(
            ["sh", "-c", command], cwd=self.folder, capture_output=True, timeout=60, check=True
        )
        return json.loads(done.stdout)

    def script(self, text: str) -> str:
        """What several commands print, none of which may fail or complain."""
        done = subprocess.run(
            ["sh", "-e", "-c", text],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout


@pytest.fixture(params=["embedded", "servers"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> StorageConfig:
    """The embedded default, or PostgreSQL, S3 and Redis."""
    if request.param == "embedded":
        return config(tmp_path, workers=0)
    database: Database = request.getfixturevalue("postgres_database")
    bucket: Bucket = request.getfixturevalue("s3_bucket")
    redis: RedisAddress = request.getfixturevalue("redis_database")
    return config(tmp_path, database=database, bucket=bucket, redis=redis, workers=0)


@pytest.fixture
def shell(settings: StorageConfig, tmp_path: Path) -> Iterator[Shell]:
    """The source's server runs."""
    lease = await_port(8001)
    (tmp_path / "evidence.jpg").write_bytes(shipped_jpeg())
    (tmp_path / "segment.mp4").write_bytes(video("mp4"))
    environment = as_environment(settings)
    log = tmp_path / "server.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-c", SERVER], env=environment, stdout=output, stderr=output
        )
    try:
        wait_until_ready(server, log)
        yield Shell(tmp_path)
    finally:
        server.terminate()
        server.wait(30)
        lease.release()
    assert "Traceback" not in log.read_text()
    for secret in (settings.db_password, settings.s3_secret_key, settings.redis_password):
        assert secret is None or secret.reveal() not in log.read_text()


def wait_until_ready(server: "subprocess.Popen[bytes]", log: Path) -> None:
    for _ in range(600):
        assert server.poll() is None, log.read_text()
        try:
            if httpx.get(f"{URL}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"the server is not ready: {log.read_text()}")


def as_environment(settings: StorageConfig) -> dict[str, str]:
    """Settings as the environment variables that `StorageConfig.load` reads."""
    given = {
        name: getattr(settings, name)
        for name in (
            "local_base_path",
            "db_host",
            "db_port",
            "db_name",
            "db_user",
            "db_password",
            "s3_endpoint",
            "s3_access_key",
            "s3_secret_key",
            "s3_bucket",
            "redis_host",
            "redis_port",
            "redis_db",
            "redis_password",
            "workers",
        )
        if getattr(settings, name) != getattr(StorageConfig(), name)
    }
    return {f"TRAFFIC_STORAGE_{name.upper()}": text_of(value) for name, value in given.items()} | {
        "TRAFFIC_STORAGE_CONFIG": "/dev/null",
        "PATH": "/usr/bin:/bin",
    }


def test_the_four_commands_work_word_for_word_and_once_more(shell: Shell) -> None:
    uploaded = shell(UPLOAD)
    assert uploaded["violation_id"] == "V001"
    assert uploaded["device_id"] == "cam_001"
    assert uploaded["size_bytes"] == len(shipped_jpeg())

    created = shell(VIOLATION)
    assert "violation" in created, created
    assert created["violation"]["violation_id"] == "V001"
    assert not created["violation"]["incomplete"]
    assert set(created["files"]) == {"image", "video", "metadata"}

    found = shell(QUERY)
    assert found["count"] == 1
    assert found["violations"] == [created["violation"]]

    statistics = shell(STATISTICS)
    assert statistics["operation_stats"]["files_stored"] == 4
    assert 0 <= statistics["local_storage"]["usage_percentage"] <= 100

    assert shell(UPLOAD) == uploaded
    assert shell(VIOLATION) == created
    assert shell(QUERY) == found
    again = shell(STATISTICS)
    assert again["local_storage"] == statistics["local_storage"] | {
        "free_bytes": again["local_storage"]["free_bytes"]
    }
    assert again["database"] == statistics["database"] == {"violations": 1}

    assert httpx.get(f"{URL}/files/V001~video").content == video("mp4")
    link = httpx.get(f"{URL}/files/{uploaded['file_id']}/url").json()["url"]
    assert link.startswith(f"{URL}/access/")
    assert httpx.get(link).content == shipped_jpeg()


def test_bound_to_every_address_it_still_serves_this_machine_only(shell: Shell) -> None:
    headers = {"X-Forwarded-For": "127.0.0.1"}
    assert httpx.get(f"{URL}/storage/stats", headers=headers).status_code == 403
    headers = {"Host": "evidence.example.org"}
    assert httpx.get(f"{URL}/storage/stats", headers=headers).status_code == 403
    assert httpx.get(f"{URL}/healthz", headers=headers).status_code == 200


def text_of(value: object) -> str:
    return value.reveal() if isinstance(value, Secret) else str(value)


@pytest.mark.parametrize("settings", ["embedded"], indirect=True)
def test_the_commands_of_the_guide_work(shell: Shell) -> None:
    guide = (ROOT / "docs" / "guide.md").read_text("utf-8")
    asynchronous, block = (
        text for text in re.findall(r"```sh\n(.*?)```", guide, re.DOTALL) if "curl" in text
    )
    (shell.folder / "overview.jpg").write_bytes(shipped_jpeg())
    script = re.sub(r"^curl ", "curl -fsS ", block, flags=re.MULTILINE)
    shell.script(script)
    assert (shell.folder / "copy.jpg").read_bytes() == shipped_jpeg()

    ask, fetch = (line for line in asynchronous.splitlines() if line.startswith("curl"))
    (place,) = re.findall(r"location: (\S+)", shell.script(f"SERVER={URL}; {ask}"), re.IGNORECASE)
    assert place.startswith("/exports/")
    # This service has no worker: the job waits.
    fetch = fetch.replace("/exports/JOB_ID", place)
    assert "202" in shell.script(f'SERVER={URL}; {fetch.partition("#")[0]} -w "%{{http_code}}"')
