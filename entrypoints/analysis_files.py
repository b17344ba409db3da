"""The analyses that jobs make, by name: the JSON that the answer to a request would be."""

from collections.abc import Mapping
from datetime import datetime
from zoneinfo import ZoneInfo

import orjson

from traffic_storage.application.analyse_quality import AnalyseQuality
from traffic_storage.application.analyse_storage import AnalyseStorage
from traffic_storage.application.analyse_violations import AnalyseViolations
from traffic_storage.application.export_jobs import Analysis
from traffic_storage.application.worker import Report
from traffic_storage.domain.canonical import Json

QUALITY, STORAGE, VIOLATIONS = "quality", "storage", "violations"


def analyses(
    quality: AnalyseQuality, storage: AnalyseStorage, violations: AnalyseViolations
) -> Mapping[str, Analysis]:
    """Return what makes each analysis."""

    async def of_quality(arguments: Mapping[str, Json], report: Report) -> bytes:
        from traffic_storage.entrypoints.analysis_views import data_quality_view

        device = arguments["device_id"]
        found = await quality(
            sample_size=_number(arguments, "sample_size"),
            seed=_number(arguments, "seed"),
            device_id=None if device is None else str(device),
            report=report,
        )
        return orjson.dumps(data_quality_view(found))

    async def of_storage(arguments: Mapping[str, Json], _report: Report) -> bytes:
        from traffic_storage.entrypoints.analysis_views import storage_patterns_view

        return orjson.dumps(storage_patterns_view(await storage(seed=_number(arguments, "seed"))))

    async def of_violations(arguments: Mapping[str, Json], _report: Report) -> bytes:
        from traffic_storage.entrypoints.analysis_views import violation_patterns_view

        device, zone = arguments.get("device_id"), arguments.get("zone")
        found = await violations(
            sample_size=_number(arguments, "sample_size"),
            seed=_number(arguments, "seed"),
            device_id=None if device is None else str(device),
            start_time=_time(arguments, "start_time"),
            end_time=_time(arguments, "end_time"),
            zone=None if zone is None else ZoneInfo(str(zone)),
        )
        return orjson.dumps(violation_patterns_view(found))

    return {QUALITY: of_quality, STORAGE: of_storage, VIOLATIONS: of_violations}


def _number(arguments: Mapping[str, Json], name: str) -> int:
    return int(str(arguments[name]))


def _time(arguments: Mapping[str, Json], name: str) -> datetime | None:
    text = arguments.get(name)
    return None if text is None else datetime.fromisoformat(str(text))
