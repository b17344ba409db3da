"""A client that a generator made of the OpenAPI document uploads, finds and downloads."""

import importlib
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from fastapi import FastAPI

from tests.entrypoints.http.evidence import IMAGE
from tests.entrypoints.http.live import LiveServer

PACKAGE = "traffic_storage_client"


@pytest.fixture
def generated(app: FastAPI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The generated package, importable while the test runs."""
    document, config = tmp_path / "openapi.json", tmp_path / "config.yml"
    document.write_text(json.dumps(app.openapi()))
    # The generator knows raw bytes under one name only.
    raw = app.openapi()["paths"]["/files/{file_id}/content"]["put"]["requestBody"]["content"]
    kinds = dict.fromkeys([*raw, "application/zip"], "application/octet-stream")
    config.write_text(json.dumps({"post_hooks": [], "content_type_overrides": kinds}))
    made = subprocess.run(
        [
            Path(sys.executable).with_name("openapi-python-client"),
            "generate",
            f"--path={document}",
            f"--config={config}",
            "--meta=none",
            f"--output-path={tmp_path / PACKAGE}",
            "--fail-on-warning",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path / PACKAGE
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[name]


def module(name: str) -> ModuleType:
    return importlib.import_module(f"{PACKAGE}.{name}")


async def test_it_uploads_finds_and_downloads(generated: Path, live: LiveServer) -> None:
    models: Any = module("models")
    file = module("types").File(
        payload=io.BytesIO(IMAGE[1]), file_name="evidence.jpg", mime_type="image/jpeg"
    )
    async with module("client").Client(base_url=live.url) as client:
        upload = module("api.files.upload_image")
        form = models.ImageForm(file=file, file_id="d_001", device_id="cam_001")
        stored = await upload.asyncio(client=client, body=form)
        assert isinstance(stored, models.StoredFileView)
        assert (stored.file_id, stored.device_id) == ("d_001", "cam_001")
        assert stored.created_at.tzinfo is not None

        download = module("api.files.get_file")
        found = await download.asyncio_detailed("d_001", client=client)
        assert found.content == IMAGE[1]

        violations = await module("api.violations.list_violations").asyncio(
            client=client, device_id="cam_001", limit=5
        )
        assert isinstance(violations, models.ViolationsPage)
        assert violations.count == 0

        files = await module("api.files.list_files").asyncio(client=client, device_id="cam_001")
        assert isinstance(files, models.FilesPage)
        assert [found.file_id for found in files.files] == ["d_001"]

        missing = await download.asyncio("unknown", client=client)
        assert isinstance(missing, models.Problem)
        assert missing.status == 404
