"""The ASGI application: everything of this package, put together."""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request as StarletteRequest
from starlette.responses import RedirectResponse, Response
from starlette.routing import Match, Route

from traffic_storage.application.runtime import Runtime
from traffic_storage.domain.errors import FieldProblem, InvalidInput
from traffic_storage.entrypoints.container import Container
from traffic_storage.entrypoints.http.authentication import AccessPolicy, Authentication
from traffic_storage.entrypoints.http.docs import DocsPage, OpenApiDocument
from traffic_storage.entrypoints.http.downloads import GetFile, OpenAccessUrl
from traffic_storage.entrypoints.http.errors import MethodNotAllowed, NoSuchResource, Refused
from traffic_storage.entrypoints.http.middleware import (
    ACCESS_PREFIX,
    ConcurrencyLimit,
    ProblemHandler,
    RequestContext,
    Starting,
)
from traffic_storage.entrypoints.http.openapi import document
from traffic_storage.entrypoints.http.queries import (
    GetAccessUrl,
    GetLiveness,
    GetReadiness,
    GetStatistics,
    GetViolation,
    ListViolations,
)
from traffic_storage.entrypoints.http.request_body import Pace, route_path
from traffic_storage.entrypoints.http.routes import (
    DOCS_PATH,
    LIVENESS_PATH,
    OPENAPI_PATH,
    READINESS_PATH,
    Endpoints,
    Served,
    served,
)
from traffic_storage.entrypoints.http.uploads import (
    CreateViolation,
    IngestJournal,
    PutContent,
    UploadImage,
    UploadVideo,
)
from traffic_storage.entrypoints.settings import StorageConfig
from traffic_storage.ports.errors import CatalogueUnavailable

logger = logging.getLogger("traffic_storage.http")

_DOCUMENTATION = frozenset({DOCS_PATH, OPENAPI_PATH})
_FREE = frozenset({LIVENESS_PATH, *_DOCUMENTATION})


class StorageApp(FastAPI):
    """A FastAPI application whose OpenAPI document holds the plain ASGI routes, too."""

    published: dict[str, Any]

    def openapi(self) -> dict[str, Any]:
        """The document of all routes; those that an embedder added himself are merged in."""
        added = super().openapi()
        paths = {**self.published["paths"]}
        for path, methods in added.get("paths", {}).items():
            paths[path] = {**methods, **paths.get(path, {})}
        components = {**added.get("components", {}), **self.published["components"]}
        return {**self.published, "paths": paths, "components": components}


def create_storage_app(
    config: StorageConfig | None = None, *, container: Container | None = None
) -> FastAPI:
    """The HTTP service. Its lifespan opens and closes all that it uses.

    Several applications in one process are independent of each other.

    Args:
        config: the settings; None reads them from file and environment (`StorageConfig.load`).
        container: parts that are wired already, for tests and embedders; excludes `config`.

    Raises:
        ConfigurationError: settings are wrong, or the strategy lacks some.
        ValueError: both arguments are given.
    """
    if container is None:
        settings = StorageConfig.load() if config is None else config
        container = Container(settings=settings, strategy=settings.effective_strategy())
    elif config is not None:
        raise ValueError("give the settings or a container that has them, not both")
    settings = container.settings()
    runtime = container.runtime()
    admission = AccessPolicy(settings.api_keys, open_access=settings.open_access)
    table = served(_endpoints(container, settings, runtime))
    published = document(
        table,
        version=version("traffic-storage"),
        public_url=settings.public_url,
        keys_needed=bool(settings.api_keys),
    )
    app = StorageApp(
        # What FastAPI would trace by itself are paths, and some paths are access tokens.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
        title="Traffic Storage",
        version=published["info"]["version"],
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_lifespan(runtime, admission),
        exception_handlers={HTTPException: _refused, RequestValidationError: _invalid},
    )
    app.published = published
    app.router.routes += [_mounted(route) for route in table]
    app.router.routes += [
        Route(DOCS_PATH, DocsPage(published), methods=["GET"], include_in_schema=False),
        Route(OPENAPI_PATH, OpenApiDocument(app.openapi), methods=["GET"], include_in_schema=False),
    ]
    _surround(app, settings, runtime, admission)
    return app


def _mounted(route: Served) -> Route:
    return Route(route.path, route.endpoint, methods=[route.method], name=route.name)


def _endpoints(container: Container, settings: StorageConfig, runtime: Runtime) -> Endpoints:
    pace = Pace(settings.request_idle_timeout_seconds, settings.min_upload_bytes_per_second)
    read_files, signer = container.read_files(), container.signer()
    find = container.find()
    journal = IngestJournal(
        store_files=container.store_files(),
        store_evidence=container.store_evidence(),
        spool=container.spool(),
        pace=pace,
        image_bytes=settings.max_image_bytes,
        video_bytes=settings.max_video_bytes,
    )
    return Endpoints(
        upload_image=UploadImage(journal),
        upload_video=UploadVideo(journal),
        put_content=PutContent(journal),
        get_file=GetFile(read_files, pace),
        get_access_url=GetAccessUrl(signer, find),
        create_violation=CreateViolation(journal),
        list_violations=ListViolations(find, settings.zone),
        get_violation=GetViolation(find),
        get_statistics=GetStatistics(container.statistics()),
        open_access_url=OpenAccessUrl(signer, read_files, pace),
        liveness=GetLiveness(),
        readiness=GetReadiness(runtime),
    )


def _surround(
    app: FastAPI, settings: StorageConfig, runtime: Runtime, admission: AccessPolicy
) -> None:
    """Add the middleware, the innermost first."""
    unstarted = frozenset({*_FREE, READINESS_PATH})
    app.add_middleware(
        Starting, started=lambda: runtime.started, start=runtime.start, free_paths=unstarted
    )
    app.add_middleware(
        ConcurrencyLimit,
        limit=settings.max_concurrent_requests,
        free_paths=frozenset({LIVENESS_PATH}),
    )
    app.add_middleware(
        Authentication, admission=admission, free_paths=_FREE, free_prefix=ACCESS_PREFIX
    )
    app.add_middleware(ProblemHandler)
    app.add_middleware(RequestContext)


def _lifespan(
    runtime: Runtime, admission: AccessPolicy
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        logger.log(admission.level, "%s", admission.summary)
        try:
            try:
                await runtime.start()
            except CatalogueUnavailable as error:
                logger.warning("the service starts without its catalogue: %s", str(error))
            yield
        finally:
            await runtime.aclose()

    return lifespan


async def _refused(request: StarletteRequest, error: Exception) -> Response:
    """What routing refuses, and what an embedder's own routes raise, as our problems."""
    if not isinstance(error, HTTPException):
        raise error
    if error.status_code == 404 and not _is_routed(request):
        if route_path(request.scope) == "/" and request.method in {"GET", "HEAD"}:
            # Not a route of ours: an embedder may have one there.
            return RedirectResponse(f"{request.scope.get('root_path', '')}{DOCS_PATH}")
        raise NoSuchResource
    if error.status_code == 405:
        raise MethodNotAllowed(request.method, _allowed(request))
    raise Refused(error.status_code, str(error.detail), error.headers)


async def _invalid(_request: StarletteRequest, error: Exception) -> Response:
    problems = error.errors() if isinstance(error, RequestValidationError) else ()
    raise InvalidInput(
        FieldProblem(".".join(map(str, problem["loc"][1:])), problem["msg"]) for problem in problems
    )


def _is_routed(request: StarletteRequest) -> bool:
    return any(route.matches(request.scope)[0] is Match.FULL for route in request.app.routes)


def _allowed(request: StarletteRequest) -> tuple[str, ...]:
    methods: set[str] = set()
    for route in request.app.routes:
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE:
            methods |= route.methods or set()
    return tuple(sorted(methods))
