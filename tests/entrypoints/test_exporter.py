"""`DataExporter` on both set-ups: the source's example, filters, results, errors."""

import csv
import hashlib
import json
import zipfile
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from obstore import get

from tests.support.adapter_settings import PATIENT_SECONDS
from tests.support.media import shipped_jpeg
from tests.support.servers import Bucket
from tests.support.setups import config
from traffic_storage import DataExporter, StorageConfig, StorageService, ViolationRecord
from traffic_storage.domain.errors import InvalidInput, NotFound

SOURCE = """
exporter = DataExporter(storage)

# Exportar violaciones a CSV
csv_result = await exporter.export_violations_csv(
    start_date=datetime(2025, 11, 1),
    end_date=datetime(2025, 11, 2),
    output_path="/exports/violations_2025_11.csv"
)

# Exportar estadísticas a JSON
json_result = await exporter.export_statistics_json(
    output_path="/exports/system_stats.json"
)
"""
"""The example of the source document, but for its import."""

FIRST = datetime(2025, 11, 1)


@pytest.fixture(params=["embedded", "servers"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> StorageConfig:
    servers: dict[str, Any] = {}
    if request.param == "servers":
        servers["database"] = request.getfixturevalue("catalogue_database")
        servers["db_timeout_seconds"] = PATIENT_SECONDS
    return config(tmp_path / "base", timezone="Europe/Madrid", **servers)


@pytest.fixture
async def storage(settings: StorageConfig, no_leaks: None) -> AsyncIterator[StorageService]:
    async with StorageService(settings) as it:
        for number in range(4):
            record = ViolationRecord(
                violation_id=f"V{number}",
                device_id="=cmd" if number else "cam,1",
                violation_type="speed",
                timestamp=FIRST + timedelta(hours=12 * number),
                vehicle_bbox=[100, 100, 200, 200],
                vehicle_class="car",
                confidence=0.5,
                camera_info={"latitude": 40.4, "longitude": -3.7},
            )
            if number:
                await it.store_violation_evidence(record, shipped_jpeg(), historic=True)
            else:
                await it.store_violation_evidence(record, historic=True)
        yield it


async def run(example: str, **names: Any) -> dict[str, Any]:
    """Run an example that awaits; return its names."""
    body = "".join(f"    {line}\n" for line in example.splitlines())
    scope = dict(names)
    exec(f"async def run():\n{body}    return locals()\n", scope)
    result: dict[str, Any] = await scope["run"]()
    return result


async def test_the_example_of_the_source_runs(storage: StorageService, tmp_path: Path) -> None:
    example = SOURCE.replace('"/exports', f'"{tmp_path}/exports')
    got = await run(example, DataExporter=DataExporter, storage=storage, datetime=datetime)
    path = tmp_path / "exports" / "violations_2025_11.csv"
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert [row["violation_id"] for row in rows] == ["V1", "V0"]
    assert rows[0]["timestamp"] == "2025-11-01T12:00:00+01:00"
    assert [row["device_id"] for row in rows] == ["'=cmd", "cam,1"]
    assert [row["image_path"] for row in rows] == ["V1~image", ""]
    assert json.loads(rows[0]["camera_info"]) == {"latitude": 40.4, "longitude": -3.7}
    assert got["csv_result"] == {
        "output_path": str(path),
        "format": "csv",
        "rows": 2,
        "bytes": path.stat().st_size,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    stats = tmp_path / "exports" / "system_stats.json"
    assert json.loads(stats.read_text())["database"] == {"violations": 4}
    assert got["json_result"]["bytes"] == stats.stat().st_size


async def test_filters_columns_and_form_are_applied(
    storage: StorageService, tmp_path: Path
) -> None:
    exporter = DataExporter(storage)
    path = tmp_path / "some.ndjson"
    done = await exporter.export_violations(
        "ndjson",
        None,
        None,
        path,
        device_id="=cmd",
        violation_type="speed",
        columns=["violation_id", "device_id", "timestamp"],
        zone="UTC",
    )
    first, *_ = map(json.loads, path.read_text().splitlines())
    assert done["rows"] == 3
    assert first == {
        "violation_id": "V3",
        "device_id": "=cmd",
        "timestamp": "2025-11-02T11:00:00+00:00",
    }
    comma = tmp_path / "comma.csv"
    names = ["confidence", "violation_id"]
    await exporter.export_violations_csv(None, None, comma, columns=names, decimal=",")
    assert comma.read_text().splitlines()[:2] == ["confidence;violation_id", "0,5;V3"]


async def test_wrong_arguments_and_existing_files_are_named(
    storage: StorageService, tmp_path: Path
) -> None:
    exporter = DataExporter(storage)
    path = tmp_path / "one.csv"
    wrong: list[tuple[str, dict[str, Any]]] = [
        ("zone", {"zone": "Europe/Nowhere"}),
        ("decimal", {"decimal": "x"}),
        ("columns", {"columns": ["speed"]}),
        ("device_id", {"device_id": ""}),
    ]
    for name, options in wrong:
        with pytest.raises(InvalidInput, match=name):
            await exporter.export_violations_csv(None, None, path, **options)
    with pytest.raises(InvalidInput, match="format: is an unknown format: 'pdf'"):
        await exporter.export_violations("pdf", None, None, path)
    assert not path.exists()
    await exporter.export_violations_csv(None, None, path)
    before = path.read_bytes()
    with pytest.raises(InvalidInput, match="exists already"):
        await exporter.export_violations_csv(None, FIRST, path)
    assert path.read_bytes() == before
    assert (await exporter.export_violations_csv(None, FIRST, path, overwrite=True))["rows"] == 0


async def test_exports_are_objects_of_a_bucket(
    s3_bucket: Bucket, tmp_path: Path, no_leaks: None
) -> None:
    async with StorageService(config(tmp_path, bucket=s3_bucket)) as storage:
        exporter = DataExporter(storage)
        place = f"s3://{s3_bucket.name}/exports/2025/violations.csv"
        done = await exporter.export_violations_csv(None, None, place)
        with pytest.raises(InvalidInput, match="exists already"):
            await exporter.export_violations_csv(None, None, place)
        with pytest.raises(InvalidInput, match="give s3://BUCKET/KEY"):
            await exporter.export_violations_csv(None, None, Path(place))
        with pytest.raises(InvalidInput, match="exports must be below exports/"):
            await exporter.export_statistics_json(f"s3://{s3_bucket.name}/image/one")
    data = bytes(get(s3_bucket.client(), "exports/2025/violations.csv").bytes())
    assert data.startswith(b"violation_id,")
    assert done["output_path"] == place
    assert done["sha256"] == hashlib.sha256(data).hexdigest()


async def test_a_package_has_the_files_of_its_violations(
    storage: StorageService, tmp_path: Path
) -> None:
    path = tmp_path / "evidence.zip"
    done = await DataExporter(storage).export_package(["V1"], path)
    assert (done["violations"], done["sha256"]) == (
        1,
        hashlib.sha256(path.read_bytes()).hexdigest(),
    )
    with zipfile.ZipFile(path) as archive:
        assert archive.read("violations/0001-V1/image.jpg") == shipped_jpeg()
        manifest = archive.read("manifest.json")
    assert done["manifest_sha256"] == hashlib.sha256(manifest).hexdigest()
    with pytest.raises(NotFound):
        await DataExporter(storage).export_package("V9", tmp_path / "other.zip")
