"""Endpoints of analyses."""

from collections.abc import Mapping
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from attrs import frozen
from fastapi import Query, Request
from pydantic import AfterValidator
from starlette.responses import Response

from traffic_storage.application.analyse_quality import SAMPLED as SAMPLED_RECORDS
from traffic_storage.application.analyse_quality import AnalyseQuality
from traffic_storage.application.analyse_storage import AnalyseStorage
from traffic_storage.application.analyse_violations import SAMPLED as SAMPLED_VIOLATIONS
from traffic_storage.application.analyse_violations import AnalyseViolations
from traffic_storage.application.export_jobs import ExportJobs
from traffic_storage.domain.canonical import Json
from traffic_storage.domain.data_quality import MAX_SAMPLE
from traffic_storage.domain.errors import InvalidInput, NotFound, TrafficStorageError, Unavailable
from traffic_storage.domain.principal import Principal, Scope
from traffic_storage.domain.query import ViolationQuery
from traffic_storage.entrypoints.analysis_files import QUALITY, STORAGE, VIOLATIONS
from traffic_storage.entrypoints.analysis_views import (
    DataQualityView,
    StoragePatternsView,
    ViolationPatternsView,
    data_quality_view,
    storage_patterns_view,
    violation_patterns_view,
)
from traffic_storage.entrypoints.export_views import zone_named
from traffic_storage.entrypoints.http.errors import BadRequest, DeviceNotAllowed
from traffic_storage.entrypoints.http.fields import renamed
from traffic_storage.entrypoints.http.jobs import accepted, prefers_async
from traffic_storage.entrypoints.http.queries import DATES, instant_in
from traffic_storage.entrypoints.http.responses import JsonResponse
from traffic_storage.entrypoints.http.retention import whole_principal
from traffic_storage.entrypoints.http.routing import StorageRoute
from traffic_storage.entrypoints.http.schemas import Checks, QueryTime
from traffic_storage.entrypoints.http.security.access import Access
from traffic_storage.entrypoints.views import JobView

_READ = Access(Scope.EVIDENCE_READ)
_QUERYING = (BadRequest, InvalidInput, Unavailable, DeviceNotAllowed)

SeedQuery = Annotated[
    int, Query(ge=0, le=2**31 - 1, description="draws another sample", examples=[0])
]


def _sample_size(most: int, description: str, example: int) -> Any:  # noqa: ANN401 - an annotation
    """Return the annotation of a size of a sample, whose refusal says the whole range."""

    def checked(value: int) -> int:
        if 1 <= value <= most:
            return value
        remedy = f"give an integer from 1 to {most}"
        raise InvalidInput.of("sample_size", f"is {value}", remedy)

    return Annotated[
        int,
        AfterValidator(checked),
        Query(
            description=description,
            examples=[example],
            json_schema_extra={"minimum": 1, "maximum": most},
        ),
    ]


RecordsQuery: Any = _sample_size(1000, "number of records to judge", 100)
ViolationsQuery: Any = _sample_size(MAX_SAMPLE, "number of violations to draw", 1000)
DeviceQuery = Annotated[
    str | None,
    Query(
        min_length=1,
        max_length=255,
        description="judge violations and images of this device, at even intervals of time",
        examples=["cam_001"],
    ),
]
OfDeviceQuery = Annotated[
    str | None,
    Query(
        min_length=1,
        max_length=255,
        description="only violations of this device",
        examples=["cam_001"],
    ),
]
StartQuery = Annotated[
    QueryTime,
    Query(description="start of the range, included", examples=["2025-11-01T00:00:00"]),
]
EndQuery = Annotated[
    QueryTime,
    Query(description="end of the range, excluded", examples=["2025-12-01T00:00:00"]),
]
ZoneQuery = Annotated[
    str | None,
    Query(
        max_length=64,
        description="time zone of hours and weekdays; default: the setting timezone",
        examples=["Europe/Madrid"],
    ),
]


@frozen
class AnalyticsEndpoints:
    """`/analytics/…`. The key must not be bound to devices."""

    quality: AnalyseQuality
    storage: AnalyseStorage
    violations: AnalyseViolations
    jobs: ExportJobs
    zone: ZoneInfo

    async def data_quality(
        self,
        request: Request,
        sample_size: RecordsQuery = SAMPLED_RECORDS,
        seed: SeedQuery = 0,
        device_id: DeviceQuery = None,
    ) -> Response:
        """Return how good a sample of records and images is, what is wrong, which cameras change.

        The images are read and decoded before the answer: about a second for 100 of them. With
        `Prefer: respond-async` a job does it, and the answer is the job; its Location is where the
        analysis is fetched.
        """
        principal = whole_principal(request)
        if prefers_async(request):
            asked = {"sample_size": sample_size, "seed": seed, "device_id": device_id}
            return await self._job(request, QUALITY, asked, principal)
        return JsonResponse(
            data_quality_view(
                await self.quality(sample_size=sample_size, seed=seed, device_id=device_id)
            )
        )

    async def violation_patterns(
        self,
        request: Request,
        sample_size: ViolationsQuery = SAMPLED_VIOLATIONS,
        seed: SeedQuery = 0,
        device_id: OfDeviceQuery = None,
        start_date: StartQuery = None,
        end_date: EndQuery = None,
        zone: ZoneQuery = None,
    ) -> Response:
        """Return the shares of violations by hour, weekday, device and type, with intervals.

        With a device or a period (`start_date ≤ time < end_date`), only its violations count; if
        more than 20,000 match, their numbers are estimates. `Prefer: respond-async` is as for the quality.
        """
        principal = whole_principal(request)
        checks = Checks([])
        start = checks.optional(start_date, instant_in(self.zone, "start_date"))
        end = checks.optional(end_date, instant_in(self.zone, "end_date"))
        named = checks.optional(zone, zone_named)
        with checks, renamed(DATES):
            ViolationQuery(device_id=device_id, start_time=start, end_time=end)
        if prefers_async(request):
            asked: dict[str, Json] = {
                "sample_size": sample_size,
                "seed": seed,
                "device_id": device_id,
                "start_time": None if start is None else start.isoformat(),
                "end_time": None if end is None else end.isoformat(),
                "zone": zone,
            }
            return await self._job(request, VIOLATIONS, asked, principal)
        found = await self.violations(
            sample_size=sample_size,
            seed=seed,
            device_id=device_id,
            start_time=start,
            end_time=end,
            zone=named,
        )
        return JsonResponse(violation_patterns_view(found))

    async def storage_patterns(self, request: Request, seed: SeedQuery = 0) -> Response:
        """Return what is stored by kind, device, tier and age, its growth, cost and efficiency.

        `Prefer: respond-async` is as for the quality.
        """
        principal = whole_principal(request)
        if prefers_async(request):
            return await self._job(request, STORAGE, {"seed": seed}, principal)
        return JsonResponse(storage_patterns_view(await self.storage(seed=seed)))

    async def _job(
        self, request: Request, name: str, asked: Mapping[str, Json], principal: Principal
    ) -> Response:
        job = await self.jobs.start_analysis(name, asked, principal)
        return accepted(request, job, below="/exports")


def analytics_routes(endpoints: AnalyticsEndpoints) -> list[StorageRoute]:
    """Return the routes of analyses."""
    return [
        _route(
            "/analytics/quality",
            endpoints.data_quality,
            "analyze_quality",
            "Analyse the quality of records and images",
            DataQualityView,
            NotFound,
        ),
        _route(
            "/analytics/violations",
            endpoints.violation_patterns,
            "analyze_violations",
            "Analyse when and where violations happen",
            ViolationPatternsView,
            NotFound,
        ),
        _route(
            "/analytics/storage",
            endpoints.storage_patterns,
            "analyze_storage",
            "Analyse storage patterns",
            StoragePatternsView,
        ),
    ]


def _route(
    path: str,
    endpoint: Any,  # noqa: ANN401 - FastAPI reads its signature
    name: str,
    summary: str,
    view: Any,  # noqa: ANN401 - a TypedDict class
    *errors: type[TrafficStorageError],
) -> StorageRoute:
    return StorageRoute(
        path,
        endpoint,
        method="GET",
        access=_READ,
        errors=(*_QUERYING, *errors),
        name=name,
        summary=summary,
        tags=["analytics"],
        response_model=view,
        response_description="the analysis",
        responses={202: {"model": JobView, "description": "the job that makes it"}},
    )
