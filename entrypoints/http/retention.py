"""Endpoints of retention: the rules and their staged changes, and the explanation of a file."""

from typing import Annotated
from uuid import UUID

from attrs import frozen
from fastapi import Body, Path, Request
from starlette.responses import Response

from traffic_storage.application.clean_up import CleanUp
from traffic_storage.application.explain import Explain
from traffic_storage.application.jobs import Jobs
from traffic_storage.application.retain import Retain, application
from traffic_storage.application.rules_in_force import ChangeRules, RulesInForce, staging
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
from traffic_storage.entrypoints.http.jobs import accepted, prefers_async
from traffic_storage.entrypoints.http.request_body import known_principal
from traffic_storage.entrypoints.http.responses import JsonResponse
from traffic_storage.entrypoints.http.routing import StorageRoute
from traffic_storage.entrypoints.http.schemas import (
    CleanupFields,
    RetentionFields,
    RetentionRulesFields,
)
from traffic_storage.entrypoints.http.security.access import Access
from traffic_storage.entrypoints.retention_views import (
    CleanUpView,
    ExplanationView,
    PlanView,
    RetentionView,
    RulesView,
    StagedRulesView,
    clean_up_view,
    explanation_view,
    plan_view,
    retention_view,
    rules_view,
    staged_view,
)
from traffic_storage.entrypoints.service.retention import uuid_of
from traffic_storage.entrypoints.views import JobView

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
    retain: Retain
    clean_up: CleanUp
    jobs: Jobs


class RetentionRules:
    """`/retention/rules`: the rules in force, and their change in two steps."""

    def __init__(self, in_force: RulesInForce, change: ChangeRules, jobs: Jobs) -> None:
        self._in_force = in_force
        self._jobs = jobs
        self._change = change

    async def get(self) -> Response:
        """Return the retention rules in force."""
        return JsonResponse(rules_view(await self._in_force.current()))

    async def stage(
        self, request: Request, given: Annotated[RetentionRulesFields, Body()]
    ) -> Response:
        """Stage other rules, and return what they would do; nothing is changed.

        They replace all rules but the default ones, whose days are settings. All available files
        are looked at. With `Prefer: respond-async` a job does this, and the answer is the job; the
        staged change gets its id.
        """
        principal = whole_principal(request)
        rules = given_rules_in(given.model_dump(exclude_unset=True, exclude={"reason"}))
        if prefers_async(request):
            self._change.check(rules)
            kind, arguments = staging(rules, principal.name, given.reason or "")
            return accepted(request, await self._jobs.start(kind, arguments))
        staged, in_force = await self._change.stage(
            rules, by=principal.name, reason=given.reason or ""
        )
        return JsonResponse(staged_view(staged, in_force))

    async def staged(self, request: Request, change_id: ChangeIdPath) -> Response:
        """Return a staged change: what it would have done when it was staged."""
        whole_principal(request)
        return JsonResponse(staged_view(*await self._change.staged(change_id)))

    async def enter(self, request: Request, change_id: ChangeIdPath) -> Response:
        """Put a staged change in force; a job then recomputes until when each file is kept.

        The key also needs the scope evidence:delete.
        """
        principal = whole_principal(request, Scope.EVIDENCE_DELETE)
        return JsonResponse(rules_view(await self._change.enter(change_id, by=principal.name)))


class LifecycleRetention:
    """`POST /lifecycle/retention`: plans, and applies a plan."""

    def __init__(self, retain: Retain, jobs: Jobs) -> None:
        self._retain = retain
        self._jobs = jobs

    async def __call__(
        self, request: Request, given: Annotated[RetentionFields | None, Body()] = None
    ) -> Response:
        """Plan a deletion by retention; with `apply`, do it.

        Without `apply`, nothing is deleted, and the answer is the plan. With it, the answer says
        what was deleted, and the key also needs the scope evidence:delete. With `Prefer:
        respond-async` a job applies the plan, and the answer is the job.
        """
        given = given or RetentionFields.model_validate({})
        if not given.apply:
            principal = whole_principal(request)
            return JsonResponse(plan_view(await self._retain.plan(by=principal.name)))
        principal = whole_principal(request, Scope.EVIDENCE_DELETE)
        override = bool(given.override_limit)
        if given.plan_id is None:
            plan = await self._retain.plan(by=principal.name)
        else:
            plan = await self._retain.find_plan(uuid_of("plan_id", given.plan_id))
        if prefers_async(request):
            kind, arguments = application(plan.plan_id, principal.name, override_limit=override)
            return accepted(request, await self._jobs.start(kind, arguments))
        done = await self._retain.apply(plan.plan_id, by=principal.name, override_limit=override)
        return JsonResponse(retention_view(done))


class Cleanup:
    """`POST /storage/cleanup`."""

    def __init__(self, clean_up: CleanUp) -> None:
        self._clean_up = clean_up

    async def __call__(
        self, request: Request, given: Annotated[CleanupFields | None, Body()] = None
    ) -> Response:
        """Delete what retention allows, erase what has passed its grace, and empty the quarantine.

        `dry_run` is true unless it is given. With `dry_run: false`, the key also needs the scope
        evidence:delete.
        """
        given = given or CleanupFields.model_validate({})
        dry_run = given.dry_run is not False
        scopes = () if dry_run else (Scope.EVIDENCE_DELETE,)
        principal = whole_principal(request, *scopes)
        done = await self._clean_up(
            by=principal.name, dry_run=dry_run, override_limit=bool(given.override_limit)
        )
        return JsonResponse(clean_up_view(done))


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
    rules = RetentionRules(parts.in_force, parts.change_rules, parts.jobs)
    deleting = (*_QUERYING, NotFound, WrongState, MissingScope, DeviceNotAllowed, StorageFull)
    return [
        StorageRoute(
            "/lifecycle/retention",
            LifecycleRetention(parts.retain, parts.jobs).__call__,
            method="POST",
            name="retain",
            summary="Plan what retention deletes, or delete it",
            tags=["retention"],
            access=_MAINTENANCE,
            errors=deleting,
            response_model=PlanView | RetentionView,
            response_description="the plan; with `apply`, what was deleted",
            responses={202: {"model": JobView, "description": "the job that applies the plan"}},
        ),
        StorageRoute(
            "/storage/cleanup",
            Cleanup(parts.clean_up).__call__,
            method="POST",
            name="clean_up",
            summary="Remove what is no longer kept, or see what would be removed",
            tags=["retention"],
            access=_MAINTENANCE,
            errors=deleting,
            response_model=CleanUpView,
            response_description="what was, or would be, removed",
        ),
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
            responses={202: {"model": JobView, "description": "the job that stages the change"}},
        ),
        StorageRoute(
            "/retention/rules/changes/{change_id}",
            rules.staged,
            method="GET",
            name="get_staged_retention_rules",
            summary="Get a staged change of the retention rules",
            tags=["retention"],
            access=_MAINTENANCE,
            errors=(*_QUERYING, NotFound, DeviceNotAllowed),
            response_model=StagedRulesView,
            response_description="the staged change",
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
