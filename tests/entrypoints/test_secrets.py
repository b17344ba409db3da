"""Canary secrets appear in no log, metric, answer, report or output, whatever is done or fails."""

import hashlib
import io
import logging
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from attrs import evolve

from tests.entrypoints.cli.command import Shell, set_environment
from tests.entrypoints.cli.test_doctor_db import with_servers
from tests.entrypoints.http.evidence import IMAGE, RECORD, video
from tests.support.adapter_settings import PATIENT_SECONDS
from tests.support.canary import CANARY
from tests.support.servers import Bucket, Database, RedisAddress
from tests.support.setups import config
from tests.support.waiting import until
from traffic_storage import DataExporter, StorageService
from traffic_storage.domain.errors import TrafficStorageError
from traffic_storage.domain.placement import StorageStrategy
from traffic_storage.entrypoints.container import build, running
from traffic_storage.entrypoints.http import create_storage_app
from traffic_storage.entrypoints.logs import JsonFormatter, OwnerFilter

API_KEY = f"ts_{CANARY}-key"
WRONG_KEY = f"ts_{CANARY}-wrong-key"
SIGNING_KEY = f"{CANARY}-signing-key-0123456789"
BASE_URL = "http://localhost:8001"
CLIENTS = ("httpx", "httpcore")
"""The loggers of the client that the test uses; it knows the secrets that it sends."""


class _Everything(logging.Handler):
    """All that a record holds, from every logger, as a handler of an embedder might write it."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.text = io.StringIO()
        self.addFilter(OwnerFilter())
        self.setFormatter(JsonFormatter())

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line, and the attributes that it may lack."""
        if not record.name.startswith(CLIENTS):
            self.text.write(f"{self.format(record)}\n{record.__dict__!r}\n")


@pytest.fixture
def shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Shell:
    """Commands run in this process, in a fresh home."""
    home = tmp_path / "home"
    home.mkdir()
    set_environment(monkeypatch, home)
    return Shell(home, capsys)


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """What all loggers of the process log at DEBUG during the test."""
    root, handler = logging.getLogger(), _Everything()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield handler.text
    root.removeHandler(handler)
    root.setLevel(level)


def assert_hidden(text: str, *secrets: str | None) -> None:
    """Fail if a secret is in a text, as it is or quoted in an address."""
    for secret in (CANARY, *secrets):
        if secret:
            assert len(secret) > 8
            assert secret not in text
            assert quote(secret, safe="") not in text


async def test_no_secret_is_shown_by_a_service_at_work(
    tmp_path: Path,
    logged: io.StringIO,
    s3_bucket: Bucket,
    postgres_database: Database,
    redis_database: RedisAddress,
) -> None:
    settings = config(
        tmp_path,
        bucket=s3_bucket,
        database=postgres_database,
        redis=redis_database,
        api_keys=(f"all:{hashlib.sha256(API_KEY.encode()).hexdigest()}?scope=admin",),
        url_signing_key=SIGNING_KEY,
        db_timeout_seconds=PATIENT_SECONDS,
        workers=1,
    )
    container = build(settings, StorageStrategy.HYBRID)
    app = create_storage_app(container=container)
    answers: list[str] = []
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE_URL) as client,
    ):
        client.headers["authorization"] = f"Bearer {API_KEY}"

        async def done(method: str, path: str, status: int = 200, **more: object) -> httpx.Response:
            response = await client.request(method, path, **more)  # type: ignore[arg-type]
            assert response.status_code == status, response.text
            if not path.endswith(("/url", "~image")):
                answers.append(f"{response.headers!r}\n{response.text}")
            return response

        files = {"image_file": IMAGE, "video_file": video()}
        await done("POST", "/violations", 201, data=RECORD, files=files)
        await done("POST", "/violations", 409, data={**RECORD, "confidence": "0.5"}, files=files)
        await done("POST", "/files/upload/image", 415, files={"file": ("x.jpg", b"no image")})
        link = (await done("GET", "/files/V001~image/url")).json()["url"]
        token = link.rpartition("/")[2]
        assert len(token) > 40
        assert (await client.get(link)).content == IMAGE[1]
        await done("GET", f"/access/{token[:-4]}AAAA", 403)
        wrong = {"headers": {"authorization": f"Bearer {WRONG_KEY}"}}
        await done("GET", "/violations", 401, **wrong)
        await done("GET", "/files/V001~image?evidence=1")
        for path in ("/violations", "/files", "/violations/V001", "/storage/stats", "/holds"):
            await done("GET", path)
        hold = {"case_reference": "C1", "reason": "a case", "violation_id": "V001"}
        await done("POST", "/holds", 201, json=hold)
        await done("DELETE", "/files/V001~video?reason=a%20test", 409)
        await done("POST", "/lifecycle/retention", json={})
        counters = container.counters()
        await until(lambda: counters.files_copied >= 2)
        await done("POST", "/lifecycle/snapshot", 201, json={"name": "one"})
        await done("GET", "/exports/violations?format=csv")
        for path in ("/analytics/storage", "/analytics/quality", "/lifecycle/snapshots"):
            await done("GET", path)
        for path in ("/jobs", "/fixity", "/incidents", "/readyz", "/metrics", "/openapi.json"):
            await done("GET", path)
        exporter = DataExporter(StorageService(container=container))
        for name, exported in (
            ("stats.json", exporter.export_statistics_json(tmp_path / "stats.json")),
            ("package.zip", exporter.export_package(["V001"], tmp_path / "package.zip")),
        ):
            answers.append(repr(await exported))
            answers.append((tmp_path / name).read_bytes().decode("latin-1"))
    await container.runtime().aclose()
    secrets = (
        *(s3_bucket.secret_key, postgres_database.password, redis_database.password),
        *(API_KEY, WRONG_KEY, SIGNING_KEY, token),
    )
    answers.append(repr(settings))
    assert "V001~image" in logged.getvalue()
    assert "traffic_storage_files" in "".join(answers)
    assert_hidden(logged.getvalue(), *secrets)
    assert_hidden("\n".join(answers), *secrets)


async def test_no_secret_is_shown_when_servers_refuse_it(
    tmp_path: Path, logged: io.StringIO, s3_bucket: Bucket, postgres_database: Database
) -> None:
    wrong = config(
        tmp_path,
        bucket=evolve(s3_bucket, secret_key=CANARY),
        database=evolve(postgres_database, password=CANARY),
    )
    with pytest.raises(TrafficStorageError) as refused:
        async with running(build(wrong, StorageStrategy.CLOUD_ONLY)):
            pass
    assert_hidden(str(refused.value) + repr(refused.value))
    cloud = config(tmp_path / "cloud", bucket=evolve(s3_bucket, secret_key=CANARY))
    app = create_storage_app(cloud)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE_URL) as client,
    ):
        report = await client.get("/readyz")
        assert report.json()["degraded"]
        assert_hidden(report.text + (await client.get("/metrics")).text)
    assert "refuses" in logged.getvalue()
    assert_hidden(logged.getvalue())


def test_no_secret_is_shown_by_commands(
    shell: Shell,
    tmp_path: Path,
    logged: io.StringIO,
    s3_bucket: Bucket,
    postgres_database: Database,
    redis_database: RedisAddress,
) -> None:
    file = with_servers(
        tmp_path, postgres_database, s3_bucket, redis_database, url_signing_key=SIGNING_KEY
    )
    shown = []
    image = tmp_path / "a.jpg"
    image.write_bytes(IMAGE[1])
    for command in (
        ("store", image, "--json"),
        ("doctor",),
        ("config", "show"),
        ("config", "show", "--json"),
        ("stats",),
        ("verify",),
        ("violations", "list"),
        ("get", "unknown"),
    ):
        result = shell("--config", file, "--verbose", *command, code=None)
        shown.append(result.out + result.err)
    secrets = (s3_bucket.secret_key, postgres_database.password, redis_database.password)
    assert s3_bucket.name in "".join(shown)
    assert_hidden("\n".join(shown), *secrets, SIGNING_KEY)
    assert_hidden(logged.getvalue(), *secrets, SIGNING_KEY)
