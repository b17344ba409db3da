"""`Retention`: the part of `StorageService` for retention."""

from collections.abc import Iterable, Mapping
from uuid import UUID

from traffic_storage.domain.canonical import Json
from traffic_storage.domain.errors import InvalidInput
from traffic_storage.domain.rules_json import given_rules_in
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
from traffic_storage.entrypoints.service.arguments import check_type
from traffic_storage.entrypoints.service.parts import Parts

ACTOR = "StorageService"
"""The name under which calls of the Python interface are recorded."""


class Retention:
    """Changes retention rules and explains why files are kept."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def rules(self) -> RulesView:
        """Implement `StorageService.get_retention_rules`."""
        use_cases = await self._parts.started()
        return rules_view(await use_cases.rules_in_force().current())

    async def stage(
        self,
        rules: Iterable[Mapping[str, Json]],
        sites: Iterable[Mapping[str, Json]],
        reason: str,
    ) -> StagedRulesView:
        """Implement `StorageService.stage_retention_rules`."""
        given = given_rules_in(
            {"rules": [_plain(rule) for rule in rules], "sites": [_plain(site) for site in sites]}
        )
        use_cases = await self._parts.started()
        staged, in_force = await use_cases.change_rules().stage(given, by=ACTOR, reason=reason)
        return staged_view(staged, in_force)

    async def enter(self, change_id: str) -> RulesView:
        """Implement `StorageService.enter_retention_rules`."""
        known = uuid_of("change_id", change_id)
        use_cases = await self._parts.started()
        return rules_view(await use_cases.change_rules().enter(known, by=ACTOR))

    async def explain(self, file_id: str) -> ExplanationView:
        """Implement `StorageService.explain`."""
        check_type("file_id", file_id, str)
        use_cases = await self._parts.started()
        return explanation_view(await use_cases.explain()(file_id))

    async def plan(self) -> PlanView:
        """Implement `StorageService.plan_retention`."""
        use_cases = await self._parts.started()
        return plan_view(await use_cases.retain().plan(by=ACTOR))

    async def apply(self, plan_id: str, *, override_limit: bool) -> RetentionView:
        """Implement `StorageService.apply_retention`."""
        known = uuid_of("plan_id", plan_id)
        check_type("override_limit", override_limit, bool)
        use_cases = await self._parts.started()
        return retention_view(
            await use_cases.retain().apply(known, by=ACTOR, override_limit=override_limit)
        )

    async def policies(self, *, dry_run: bool, override_limit: bool) -> RetentionView:
        """Implement `StorageService.apply_retention_policies`."""
        check_type("dry_run", dry_run, bool)
        check_type("override_limit", override_limit, bool)
        use_cases = await self._parts.started()
        return retention_view(
            await use_cases.retain().policies(
                by=ACTOR, dry_run=dry_run, override_limit=override_limit
            )
        )

    async def clean_up(self, *, dry_run: bool, override_limit: bool) -> CleanUpView:
        """Implement `StorageService.cleanup_expired_data`."""
        check_type("dry_run", dry_run, bool)
        check_type("override_limit", override_limit, bool)
        use_cases = await self._parts.started()
        return clean_up_view(
            await use_cases.clean_up()(by=ACTOR, dry_run=dry_run, override_limit=override_limit)
        )


def uuid_of(name: str, value: str) -> UUID:
    """Return the UUID of a text.

    Raises:
        InvalidInput: the text is not a UUID.
    """
    check_type(name, value, str)
    try:
        return UUID(value)
    except ValueError as error:
        raise InvalidInput.of(name, "is not a UUID", "give the id that was returned") from error


def _plain(given: Mapping[str, Json]) -> dict[str, object]:
    """Return a rule or site as it is read; None stands for a condition that is not set."""
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in given.items()
        if value is not None
    }
