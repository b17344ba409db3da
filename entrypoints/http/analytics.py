"""Endpoints of analyses."""

from typing import Annotated, Any

from attrs import frozen
from fastapi import Query, Request
from starlette.responses import Response

from traffic_storage.application.analyse_storage import AnalyseStorage
from traffic_storage.domain.errors import InvalidInput, Unavailable
from traffic_storage.domain.principal import Scope
from traffic_storage.entrypoints.analysis_views import StoragePatternsView, storage_patterns_view
from traffic_storage.entrypoints.http.errors import BadRequest, DeviceNotAllowed
from traffic_storage.entrypoints.http.responses import JsonResponse
from traffic_storage.entrypoints.http.retention import whole_principal
from traffic_storage.entrypoints.http.routing import StorageRoute
from traffic_storage.entrypoints.http.security.access import Access

_READ = Access(Scope.EVIDENCE_READ)
_QUERYING = (BadRequest, InvalidInput, Unavailable, DeviceNotAllowed)

SeedQuery = Annotated[
    int, Query(ge=0, le=2**31 - 1, description="draws another sample", examples=[0])
]


@frozen
class AnalyticsEndpoints:
    """`/analytics/…`."""

    storage: AnalyseStorage

    async def storage_patterns(self, request: Request, seed: SeedQuery = 0) -> Response:
        """Return what is stored by kind, device, tier and age, its growth, cost and efficiency.

        The key must not be bound to devices.
        """
        whole_principal(request)
        return JsonResponse(storage_patterns_view(await self.storage(seed=seed)))


def analytics_routes(endpoints: AnalyticsEndpoints) -> list[StorageRoute]:
    """Return the routes of analyses."""
    return [
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
    **described: Any,  # noqa: ANN401 - arguments of StorageRoute
) -> StorageRoute:
    return StorageRoute(
        path,
        endpoint,
        method="GET",
        access=_READ,
        errors=_QUERYING,
        name=name,
        summary=summary,
        tags=["analytics"],
        response_model=view,
        response_description="the analysis",
        **described,
    )
