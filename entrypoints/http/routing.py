"""Routes that FastAPI describes. Requests to an `AsgiRoute` do not pass through FastAPI."""

from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping
from typing import Any, Protocol, get_type_hints

from fastapi import Request
from fastapi.dependencies.utils import request_params_to_args
from fastapi.routing import APIRoute
from fastapi.utils import create_model_field
from pydantic import BaseModel
from starlette.datastructures import QueryParams
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Receive, Scope, Send

from traffic_storage.domain.errors import FieldProblem, InvalidInput, TrafficStorageError
from traffic_storage.entrypoints.http.errors import (
    BadRequest,
    Crowded,
    ForeignHost,
    ForeignPage,
    LocalUseOnly,
    MissingScope,
    NotAdmitted,
)
from traffic_storage.entrypoints.http.problems import INTERNAL, TYPES, ProblemType
from traffic_storage.entrypoints.http.request_body import query_of, route_path
from traffic_storage.entrypoints.http.responses import JsonResponse
from traffic_storage.entrypoints.http.schemas import field_problems
from traffic_storage.entrypoints.http.security.access import Access

PROBLEM_REFERENCE = {"$ref": "#/components/schemas/Problem"}
_PROBLEM_CONTENT = {"application/problem+json": {"schema": PROBLEM_REFERENCE}}


class AsgiEndpoint(Protocol):
    """A plain ASGI application with a function whose signature describes it.

    The function is never called. FastAPI reads its parameters, annotations and docstring.
    """

    @property
    def signature(self) -> Callable[..., Any]:
        """Describe the endpoint: FastAPI reads the parameters and the docstring. Never called."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to a request."""


class StorageRoute(APIRoute):
    """A route with a declared access. A GET route also responds to HEAD.

    The route refuses unknown and repeated query fields. `errors` are the error classes that are
    specific to the route; the description also gets those that any route can raise. Endpoints return
    responses, so `response_model` (by default the annotation of what the endpoint returns) and the
    models in `responses` only describe them.
    """

    _views: Mapping[int | str | None, Any]

    def __init__(
        self,
        path: str,
        endpoint: Callable[..., Any],
        *,
        method: str,
        access: Access,
        errors: Iterable[type[TrafficStorageError]] = (),
        response_model: Any = None,  # noqa: ANN401 - any type that pydantic knows
        responses: Mapping[int | str, dict[str, Any]] | None = None,
        **described: Any,  # noqa: ANN401 - arguments of APIRoute
    ) -> None:
        self.traffic_storage_access = access
        self.served_methods = {method, "HEAD"} if method == "GET" else {method}
        described.setdefault("response_class", JsonResponse)
        own = {status: dict(response) for status, response in (responses or {}).items()}
        self._views = {status: response.pop("model", None) for status, response in own.items()}
        self._views[None] = response_model or _returned(endpoint)
        super().__init__(
            path,
            endpoint,
            methods=[method],
            response_model=None,
            responses={**own, **problem_responses(problem_types(access, errors))},
            **described,
        )
        self.operation_id = described.get("operation_id") or self.name

    def describe(self) -> None:
        """Build the models of the responses, which only the OpenAPI document needs.

        It takes longer than all else that a route is made of.
        """
        fields = {
            status: create_model_field(
                f"Response_{self.unique_id if status is None else f'{status}_{self.unique_id}'}",
                view,
                mode="serialization",
            )
            for status, view in self._views.items()
            if view is not None
        }
        self._views = {}
        self.response_field = fields.pop(None, self.response_field)
        self.response_fields.update(
            {status: made for status, made in fields.items() if status is not None}
        )

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match HEAD to a GET route.

        The path is compared first because that is the fastest way to exclude a route.
        """
        if scope["type"] == "http" and not self.path_regex.match(route_path(scope)):
            return Match.NONE, {}
        if scope.get("method") == "HEAD" and "HEAD" in self.served_methods:
            return super().matches({**scope, "method": "GET"})
        return super().matches(scope)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to a request. `Authentication` has already refused other paths and methods."""
        await self.app(scope, receive, send)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return FastAPI's handler, preceded by a check of the query's field names."""
        handler = super().get_route_handler()
        known = frozenset(self._query_names())

        async def strict(request: Request) -> Response:
            try:
                query_of(request.scope, known)
            except BadRequest:
                raise
            except InvalidInput as error:
                raise InvalidInput([*error.problems, *self._wrong_of(request, known)]) from error
            return await handler(request)

        return strict

    def _wrong_of(self, request: Request, known: Collection[str]) -> list[FieldProblem]:
        """Return the problems of the known fields of a query."""
        given = [(name, text) for name, text in request.query_params.multi_items() if name in known]
        _, found = request_params_to_args(self.dependant.query_params, QueryParams(given))
        return field_problems([{**one, "loc": one["loc"][1:]} for one in found], (), "query")

    def _query_names(self) -> Iterable[str]:
        for parameter in self.dependant.query_params:
            model = parameter.field_info.annotation
            if isinstance(model, type) and issubclass(model, BaseModel):
                yield from model.model_fields
            else:
                yield parameter.alias


def _returned(endpoint: Callable[..., Any]) -> Any:  # noqa: ANN401 - any annotation
    """Return the annotation of what an endpoint returns; None if it is a response."""
    view = get_type_hints(endpoint, include_extras=True).get("return")
    return None if isinstance(view, type) and issubclass(view, Response) else view


class AsgiRoute(StorageRoute):
    """A route with a plain ASGI endpoint, described by the endpoint's `signature`."""

    def __init__(
        self,
        path: str,
        endpoint: AsgiEndpoint,
        **described: Any,  # noqa: ANN401 - arguments of StorageRoute
    ) -> None:
        super().__init__(path, endpoint.signature, **described)
        self.app = endpoint


def problem_types(access: Access, errors: Iterable[type[TrafficStorageError]]) -> list[ProblemType]:
    """Return the types of the problems that a route can respond with, ordered by status."""
    common: list[type[TrafficStorageError]] = [Crowded] if access.counted else []
    if access.scope is not None:
        common += [NotAdmitted, LocalUseOnly, ForeignHost, ForeignPage, MissingScope]
    found = {TYPES[error] for error in (*errors, *common)}
    return sorted({*found, INTERNAL}, key=lambda kind: (kind.status, kind.name))


def problem_responses(kinds: Iterable[ProblemType]) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI responses for problem types, by status."""
    titles: dict[int | str, list[str]] = {}
    for kind in kinds:
        titles.setdefault(kind.status, []).append(f"{kind.title} (`{kind.name}`)")
    return {
        status: {"description": "; ".join(known), "content": _PROBLEM_CONTENT}
        for status, known in titles.items()
    }
