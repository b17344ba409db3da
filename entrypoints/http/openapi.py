"""The OpenAPI document (3.1), made from the table of routes."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter

from traffic_storage.entrypoints.http.errors import Crowded, NotAdmitted
from traffic_storage.entrypoints.http.problems import INTERNAL, TYPES, ProblemType
from traffic_storage.entrypoints.http.routes import Answer, Field, Parameter, Schema, Served

_REFERENCE = "#/components/schemas/{model}"
_PROBLEM_REFERENCE = {"$ref": "#/components/schemas/Problem"}
_SECURITY_SCHEME = "api_key"
_DESCRIPTION = (
    "Storage and data management for the evidence of traffic violations. "
    "Every error is a problem document (RFC 9457) that names the wrong fields and the remedy."
)


def document(
    table: Sequence[Served], *, version: str, public_url: str, keys_needed: bool
) -> dict[str, Any]:
    """The document of what is served."""
    paths: dict[str, dict[str, Any]] = {}
    for route in table:
        operation = _operation(route, keys_needed=keys_needed)
        methods = paths.setdefault(route.path, {})
        methods[route.method.lower()] = operation
        if route.method == "GET":
            methods["head"] = _head_of(operation)
    components: dict[str, Any] = {"schemas": {"Problem": problem_schema(), **_view_schemas(table)}}
    if keys_needed:
        components["securitySchemes"] = {_SECURITY_SCHEME: {"type": "http", "scheme": "bearer"}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Traffic Storage", "version": version, "description": _DESCRIPTION},
        "servers": [{"url": public_url}],
        "paths": paths,
        "components": components,
    }


def problem_schema() -> Schema:
    """The schema of a problem document."""
    field = {
        "type": "object",
        "properties": {name: {"type": "string"} for name in ("field", "message", "remedy")},
        "required": ["field", "message", "remedy"],
        "additionalProperties": False,
    }
    texts = ("type", "title", "detail", "remedy", "instance", "request_id")
    return {
        "type": "object",
        "description": "What went wrong, where, and what would be right (RFC 9457).",
        "properties": {
            **{name: {"type": "string"} for name in texts},
            "status": {"type": "integer"},
            "errors": {"type": "array", "items": field},
        },
        "required": ["type", "title", "status", "detail", "remedy", "errors", "instance"],
    }


def problems_of(route: Served) -> list[ProblemType]:
    """The problems that a route may answer with, by status."""
    own = [TYPES[error] for error in route.problems]
    common = [] if route.free else [TYPES[NotAdmitted], TYPES[Crowded]]
    if route.free and route.problems:
        common = [TYPES[Crowded]]
    return sorted({*own, *common, INTERNAL}, key=lambda kind: (kind.status, kind.name))


def _view_schemas(table: Iterable[Served]) -> dict[str, Schema]:
    """The schemas of all views that are answered, made from their types: they can't differ."""
    views = {answer.view for route in table for answer in route.answers if answer.view}
    _, found = TypeAdapter.json_schemas(
        [(view.__name__, "serialization", TypeAdapter[Any](view)) for view in views],
        ref_template=_REFERENCE,
    )
    # What is not in the type is not in the answer.
    return {
        name: {**schema, "additionalProperties": False}
        for name, schema in sorted(found["$defs"].items())
    }


def _operation(route: Served, *, keys_needed: bool) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "parameters": [_parameter(parameter) for parameter in route.parameters],
        "responses": {
            **{str(answer.status): _answer(answer) for answer in route.answers},
            **_problems(problems_of(route)),
        },
    }
    if route.form:
        operation["requestBody"] = _form(route.form, route.required)
    if route.raw_types:
        taken: dict[str, Any] = {kind: {"schema": {}} for kind in route.raw_types}
        operation["requestBody"] = {"required": True, "content": taken}
    if keys_needed:
        operation["security"] = [] if route.free else [{_SECURITY_SCHEME: []}]
    return operation


def _head_of(operation: Mapping[str, Any]) -> dict[str, Any]:
    """A HEAD answers as the GET does, without content."""
    responses = {
        status: {key: value for key, value in answer.items() if key != "content"}
        for status, answer in operation["responses"].items()
        if status not in {"206", "416"}
    }
    return {
        **operation,
        "operationId": f"{operation['operationId']}_head",
        "summary": f"{operation['summary']} (the head only)",
        "responses": responses,
    }


def _parameter(parameter: Parameter) -> dict[str, Any]:
    described: dict[str, Any] = {
        "name": parameter.name,
        "in": parameter.where,
        "required": parameter.where == "path",
        "schema": parameter.schema,
    }
    if parameter.description:
        described["description"] = parameter.description
    if parameter.example is not None:
        described["example"] = parameter.example
    return described


def _answer(answer: Answer) -> dict[str, Any]:
    described: dict[str, Any] = {"description": answer.description}
    if answer.view is not None:
        reference = {"$ref": _REFERENCE.format(model=answer.view.__name__)}
        described["content"] = {"application/json": {"schema": reference}}
    if answer.binary:
        described["content"] = {
            kind: {"schema": {}} for kind in ("image/*", "video/*", "application/*")
        }
    if answer.headers:
        described["headers"] = {
            name: {"description": text, "schema": {"type": "string"}}
            for name, text in answer.headers.items()
        }
    return described


def _problems(kinds: Iterable[ProblemType]) -> dict[str, Any]:
    titles: dict[str, list[str]] = {}
    for kind in kinds:
        titles.setdefault(str(kind.status), []).append(f"{kind.title} (`{kind.name}`)")
    content = {"application/problem+json": {"schema": _PROBLEM_REFERENCE}}
    return {
        status: {"description": "; ".join(known), "content": content}
        for status, known in titles.items()
    }


def _form(fields: Sequence[Field], required: Sequence[str]) -> dict[str, Any]:
    properties = {
        field.name: {
            **field.schema,
            **({"description": field.description} if field.description else {}),
        }
        for field in fields
    }
    schema = {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }
    encoding = {
        field.name: {"contentType": ", ".join(field.content_types)}
        for field in fields
        if field.content_types
    }
    content = {"multipart/form-data": {"schema": schema, "encoding": encoding}}
    return {"required": True, "content": content}
