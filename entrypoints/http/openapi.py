"""Additions to FastAPI's OpenAPI document: problems, HEAD, and security by declared access."""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any

from fastapi.routing import iter_route_contexts
from pydantic import TypeAdapter
from starlette.routing import BaseRoute

from traffic_storage.entrypoints.http.routing import StorageRoute
from traffic_storage.entrypoints.http.schemas import Problem, without_null
from traffic_storage.entrypoints.http.security.access import Access, access_of

DESCRIPTION = (
    "Storage and data management for the evidence of traffic violations. "
    "Every error is a problem document (RFC 9457) with the wrong fields and the remedy. "
    "Every GET operation also supports HEAD."
)
TAGS = [
    {"name": "files", "description": "Store, find and download images, videos and metadata"},
    {"name": "violations", "description": "Violation records with their evidence"},
    {"name": "holds", "description": "Legal holds, which prevent any deletion"},
    {"name": "retention", "description": "How long files are kept, and why"},
    {"name": "snapshots", "description": "Snapshots of everything that is stored"},
    {"name": "jobs", "description": "Work that is done outside of a request"},
    {"name": "fixity", "description": "Verification of the copies of files, and incidents"},
    {"name": "analytics", "description": "Analyses of what is stored"},
    {"name": "exports", "description": "Violations as files of other programs"},
    {"name": "service", "description": "Statistics and health of the service"},
]
_SECURITY_SCHEME = "api_key"
_NOT_OF_HEAD = frozenset({"206", "416"})


def completed(
    document: Mapping[str, Any], routes: Sequence[BaseRoute], *, keys_needed: bool
) -> dict[str, Any]:
    """Return a copy of FastAPI's document with the additions of this module.

    With `keys_needed` it declares bearer authentication and the scope of each operation.
    """
    whole = deepcopy(dict(document))
    components = whole.setdefault("components", {})
    components.setdefault("schemas", {}).update(_problem_schemas())
    if keys_needed:
        components["securitySchemes"] = {_SECURITY_SCHEME: {"type": "http", "scheme": "bearer"}}
    for route, access in _declared(routes):
        operations = whole["paths"].get(route.path_format, {})  # type: ignore[attr-defined]
        for method in sorted(getattr(route, "methods", None) or ()):
            operation = operations.get(method.lower())
            if operation is None:
                continue
            _strip_nulls(operation)
            if keys_needed:
                operation["security"] = _security(access)
        if isinstance(route, StorageRoute) and "get" in operations:
            operations["head"] = _head_of(operations["get"])
    return whole


def _declared(routes: Sequence[BaseRoute]) -> Iterator[tuple[BaseRoute, Access | None]]:
    for context in iter_route_contexts(routes):
        route = context.original_route
        if getattr(context, "include_in_schema", False) and hasattr(route, "path_format"):
            yield route, access_of(route)


def _security(access: Access | None) -> list[dict[str, list[str]]]:
    if access is not None and access.scope is None:
        return []
    return [{_SECURITY_SCHEME: [str(access.scope)] if access and access.scope else []}]


def _head_of(operation: Mapping[str, Any]) -> dict[str, Any]:
    """Return the HEAD operation of a GET operation: the same responses without content."""
    responses = {
        status: {key: value for key, value in answer.items() if key != "content"}
        for status, answer in operation["responses"].items()
        if status not in _NOT_OF_HEAD
    }
    return {
        **operation,
        "operationId": f"{operation['operationId']}_head",
        "summary": f"{operation['summary']} (headers only)",
        "responses": responses,
    }


def _strip_nulls(operation: dict[str, Any]) -> None:
    for parameter in operation.get("parameters", ()):
        parameter["schema"] = without_null(parameter["schema"])


def _problem_schemas() -> dict[str, Any]:
    _, found = TypeAdapter.json_schemas(
        [("problem", "serialization", TypeAdapter(Problem))],
        ref_template="#/components/schemas/{model}",
    )
    definitions: dict[str, Any] = found["$defs"]
    return definitions
