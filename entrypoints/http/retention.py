"""Endpoints of retention: the rules and their staged changes, and the explanation of a file."""

from typing import Annotated
from uuid import UUID

from attrs import frozen
from fastapi import Body, Path, Request
from starlette.responses import Response

from traffic_storage.application.explain import Explain
from traffic_storage.application.rules_in_force import ChangeRules, RulesInForce
from traffic_storage.domain.errors import (
    InvalidInput,
    NotFound,
    StorageFull,
    TrafficStorageError,
    Unavailable,
    WrongState,
)
from traffic_storage.domain.principal import Principal, Scope
from traffic_storage.domain.rules_json import given_rules_in
from traffic_storage.entrypoints.http.downloads import FileIdPath, check_visible
from traffic_storage.entrypoints.http.errors import BadRequest, DeviceNotAllowed, MissingScope
from traffic_storage.entrypoints.http.request_body import known_principal
from traffic_storage.entrypoints.http.responses import JsonResponse
from traffic_storage.entrypoints.http.routing import StorageRoute
from traffic_storage.entrypoints.http.schemas import RetentionRulesFields
from traffic_storage.entrypoints.http.security.access import Access
from traffic_storage.entrypoints.retention_views import (
    ExplanationView,
    RulesView,
    StagedRulesView,
    explanation_view,
    rules_view,
    staged_view,
)

_READ = Access(Scope.EVIDENCE_READ)
_MAINTENANCE = Access(Scope.MAINTENANCE)
_QUERYING: tuple[type[TrafficStorageError], ...] = (BadRequest, InvalidInput, Unavailable)

ChangeIdPath = Annotated[
    UUID,
    Path(description="id of the staged change", examples=["0199a0c4-5d00-7000-8000-000000000000"]),
]


@frozen
class RetentionParts:
    """The use cases of retention."""

    in_force: RulesInForce
    change_rules: ChangeRules
    explain: Explain


class RetentionRules:
    """`/retention/rules`: the rules in force, and their change in two steps."""

    def __init__(self, in_force: RulesInForce, change: ChangeRules) -> None:
        self._in_force = in_force
        self._change = change

    async def get(self) -> Response:
        """Return the retention rules in force."""
        return JsonResponse(rules_view(await self._in_force.current()))

    async def stage(
        self, request: Request, given: Annotated[RetentionRulesFields, Body()]
    ) -> Response:
        """Stage other rules, and return what they would do; nothing is changed.

        They replace all rules but the default ones, whose days are settings. All available files
        are looked at.
        """
        principal = whole_principal(request)
        rules = given_rules_in(given.model_dump(exclude_unset=True, exclude={"reason"}))
        staged, in_force = await self._change.stage(
            rules, by=principal.name, reason=given.reason or ""
        )
        return JsonResponse(staged_view(staged, in_force))

    async def enter(self, request: Request, change_id: ChangeIdPath) -> Response:
        """Put a staged change in force; a job then recomputes until when each file is kept.

        The key also needs the scope evidence:delete.
        """
        principal = whole_principal(request, Scope.EVIDENCE_DELETE)
        return JsonResponse(rules_view(await self._change.enter(change_id, by=principal.name)))


class ExplainFile:
    """`GET /files/{file_id}/explain`."""

    def __init__(self, explain: Explain) -> None:
        self._explain = explain

    async def __call__(self, request: Request, file_id: FileIdPath) -> Response:
        """Return why a file is kept, until when, by which rule and clock; also of a deleted file."""
        found = await self._explain(file_id)
        check_visible(known_principal(request.scope), found.file)
        return JsonResponse(explanation_view(found))


def whole_principal(request: Request, *scopes: Scope) -> Principal:
    """Return the principal of a request that concerns the files of all devices.

    Raises:
        DeviceNotAllowed: the principal is bound to devices.
        MissingScope: it lacks one of these scopes.
    """
    principal = known_principal(request.scope)
    if principal.devices:
        raise DeviceNotAllowed(principal.devices, None)
    for scope in scopes:
        if not principal.has_scope(scope):
            raise MissingScope(principal.name, scope)
    return principal


def retention_routes(parts: RetentionParts) -> list[StorageRoute]:
    """Return the routes of retention."""
    rules = RetentionRules(parts.in_force, parts.change_rules)
    return [
        StorageRoute(
            "/files/{file_id}/explain",
            ExplainFile(parts.explain).__call__,
            method="GET",
            name="explain_file",
            summary="Explain why a file is kept, and until when",
            tags=["retention"],
            access=_READ,
            errors=(*_QUERYING, NotFound),
            response_model=ExplanationView,
            response_description="the explanation",
        ),
        StorageRoute(
            "/retention/rules",
            rules.get,
            method="GET",
            name="get_retention_rules",
            summary="Get the retention rules in force",
            tags=["retention"],
            access=_MAINTENANCE,
            errors=_QUERYING,
            response_model=RulesView,
            response_description="the rules",
        ),
        StorageRoute(
            "/retention/rules",
            rules.stage,
            method="PUT",
            name="stage_retention_rules",
            summary="Stage other retention rules, and see what they would do",
            tags=["retention"],
            access=_MAINTENANCE,
            errors=(*_QUERYING, DeviceNotAllowed, StorageFull),
            response_model=StagedRulesView,
            response_description="the staged change; nothing is changed yet",
        ),
        StorageRoute(
            "/retention/rules/changes/{change_id}/enter",
            rules.enter,
            method="POST",
            name="enter_retention_rules",
            summary="Put a staged change of the retention rules in force",
            tags=["retention"],
            access=_MAINTENANCE,
            errors=(*_QUERYING, NotFound, WrongState, MissingScope, DeviceNotAllowed, StorageFull),
            response_model=RulesView,
            response_description="the rules",
        ),
    ]
