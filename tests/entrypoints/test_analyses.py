"""Analyses by Python, on both set-ups; the source's example."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.adapter_settings import PATIENT_SECONDS
from tests.support.media import shipped_jpeg
from tests.support.setups import config
from traffic_storage import DataAnalyzer, StorageConfig, StorageService
from traffic_storage.domain.errors import InvalidInput
from traffic_storage.entrypoints.testing.units import new_record


@pytest.fixture(params=["embedded", "servers"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> StorageConfig:
    servers: dict[str, Any] = {}
    if request.param == "servers":
        servers["bucket"] = request.getfixturevalue("s3_bucket")
        servers["database"] = request.getfixturevalue("catalogue_database")
        servers["db_timeout_seconds"] = PATIENT_SECONDS
        servers["redis"] = request.getfixturevalue("redis_database")
    prices = ({"tier": "local", "gb_month": 0.03}, ("cloud", 0.02))
    return config(tmp_path, workers=0, prices=prices, **servers)


@pytest.fixture
async def storage(settings: StorageConfig, no_leaks: None) -> AsyncIterator[StorageService]:
    async with StorageService(settings) as service:
        yield service


async def test_the_examples_of_the_source(storage: StorageService) -> None:
    for number in range(3):
        await storage.store_violation_evidence(new_record(f"V{number}"), image=shipped_jpeg())

    analyzer = DataAnalyzer(storage)

    # Análisis de calidad de datos
    quality_analysis = await analyzer.analyze_data_quality(sample_size=1000)
    print(f"Score promedio: {quality_analysis['average_quality_score']}")
    print(f"Registros válidos: {quality_analysis['valid_records']}")

    # Análisis de patrones de almacenamiento
    storage_patterns = await analyzer.analyze_storage_patterns()
    print(f"Eficiencia de almacenamiento: {storage_patterns['storage_efficiency']}")

    assert quality_analysis["valid_records"] + quality_analysis["invalid_records"] == 3
    assert 0 < (quality_analysis["average_quality_score"] or 0) <= 1
    assert sum(one["records"] for one in quality_analysis["score_distribution"]) == 3
    assert quality_analysis["exact_duplicates"]["groups"][0]["files"] == 3
    patterns = await analyzer.analyze_violation_patterns()
    assert (patterns["violations"], patterns["by_type"][0]["value"]) == (3, "speed")
    assert sum(one["count"] for one in patterns["by_hour"]) == 3
    # One of three images is distinct; metadata is compressed and small.
    assert storage_patterns["storage_efficiency"] == pytest.approx(1 / 3, abs=0.1)
    assert [one["kind"] for one in storage_patterns["kinds"]] == ["image", "metadata"]
    assert storage_patterns["tiers"][0]["cost_month"] == 0.0
    (group,) = storage_patterns["duplicates"]["groups"]
    assert (group["files"], group["surplus_bytes"]) == (3, 2 * len(shipped_jpeg()))
    # A few kilobytes a day do not fill a disk within 100 years.
    assert storage_patterns["growth"][0]["days_to_full"]["estimate"] is None
    assert storage_patterns["growth"][0]["received"][0] > 2 * len(shipped_jpeg())
    with pytest.raises(InvalidInput, match="seed"):
        await analyzer.analyze_storage_patterns(seed="1")  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="sample_size"):
        await analyzer.analyze_data_quality(sample_size=0)
    with pytest.raises(InvalidInput, match="sample_size"):
        await analyzer.analyze_violation_patterns(sample_size=10_001)
    with pytest.raises(InvalidInput, match="storage"):
        DataAnalyzer(None)  # type: ignore[arg-type]
