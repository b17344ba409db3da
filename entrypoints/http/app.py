"""The ASGI application, composed of routes, middleware and lifespan."""

import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from importlib.metadata import version
from typing import Any
from urllib.parse import urlsplit

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response

from traffic_storage.domain.errors import InvalidInput
from traffic_storage.entrypoints.container import Container, build
from traffic_storage.entrypoints.http.analytics import AnalyticsEndpoints
from traffic_storage.entrypoints.http.docs import documentation_routes
from traffic_storage.entrypoints.http.errors import Refused
from traffic_storage.entrypoints.http.fixity import FixityEndpoints
from traffic_storage.entrypoints.http.lifespan import ServedContainer
from traffic_storage.entrypoints.http.metrics import GetMetrics, ProcessMetrics, RequestMetrics
from traffic_storage.entrypoints.http.middleware import (
    CompressedJson,
    ConcurrencyLimit,
    ProblemHandler,
    RequestContext,
    Starting,
)
from traffic_storage.entrypoints.http.migrations import MigrationEndpoints
from traffic_storage.entrypoints.http.openapi import DESCRIPTION, TAGS, completed
from traffic_storage.entrypoints.http.request_body import Pace
from traffic_storage.entrypoints.http.retention import RetentionParts
from traffic_storage.entrypoints.http.routes import Parts, storage_routes
from traffic_storage.entrypoints.http.routing import StorageRoute
from traffic_storage.entrypoints.http.schemas import field_problems
from traffic_storage.entrypoints.http.security.authentication import (
    AccessPolicy,
    Authentication,
    access_policy,
)
from traffic_storage.entrypoints.http.siblings import Siblings
from traffic_storage.entrypoints.http.snapshots import SnapshotParts
from traffic_storage.entrypoints.http.uploads import Ingest
from traffic_storage.entrypoints.http.validation import ValidationParts
from traffic_storage.entrypoints.settings import StorageConfig

logger = logging.getLogger("traffic_storage.http")

_CORS_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE")
_CORS_EXPOSED = (
    "Accept-Ranges",
    "Content-Disposition",
    "Content-Range",
    "Content-Digest",
    "ETag",
    "Link",
    "Location",
    "Manifest-SHA256",
    "Repr-Digest",
    "Retry-After",
    "X-Request-ID",
)


class StorageApp(FastAPI):
    """A FastAPI application whose OpenAPI document also describes access, problems and HEAD."""

    keys_needed = False
    _completed: tuple[Mapping[str, Any], dict[str, Any]] | None = None

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document of all routes, including those that an embedder added."""
        for route in self.routes:
            if isinstance(route, StorageRoute):
                route.describe()
        plain = super().openapi()
        if self._completed is None or self._completed[0] is not plain:
            whole = completed(plain, self.routes, keys_needed=self.keys_needed)
            self._completed = plain, whole
        return self._completed[1]


def create_storage_app(
    config: StorageConfig | None = None,
    *,
    container: Container | None = None,
    siblings: Siblings | None = None,
) -> FastAPI:
    """Return the HTTP service.

    The lifespan of the application starts its container. It also closes the container at the end,
    unless the caller has passed `container`. Several applications in one process are independent of
    each other.

    Args:
        config: the settings; None loads them from the file and the environment
            (`StorageConfig.load`).
        container: a container that the caller made and closes; not together with `config`.
        siblings: the other processes that serve the same address, whose metrics this one tells, too.

    Raises:
        ConfigurationError: settings are wrong, or the strategy requires settings that are missing.
        ValueError: both arguments are given.
    """
    if container is None:
        settings = StorageConfig.load() if config is None else config
        container, renew = build(settings), partial(build, settings)
    elif config is not None:
        raise ValueError("pass config or container, not both")
    else:
        renew = None
    settings = container.settings()
    metrics = RequestMetrics()
    served = ServedContainer(
        container, lambda parts: storage_routes(_parts(parts, settings, metrics, siblings)), renew
    )
    policy = access_policy(settings, container.clock().now)
    app = StorageApp(
        # Telemetry of FastAPI would record paths, and the paths of access URLs are access tokens.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
        title="Traffic Storage",
        version=version("traffic-storage"),
        description=DESCRIPTION,
        openapi_tags=TAGS,
        servers=[{"url": settings.public_url}],
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_lifespan(served, policy, metrics, siblings),
        exception_handlers={HTTPException: _refused, RequestValidationError: _invalid},
    )
    app.keys_needed = policy.keys_needed
    served.mount(app)
    app.router.routes += documentation_routes()
    _add_middleware(app, settings, served, policy, metrics)
    return app


def _parts(
    container: Container,
    settings: StorageConfig,
    metrics: RequestMetrics,
    siblings: Siblings | None,
) -> Parts:
    runtime = container.runtime()
    pace = _pace(settings)
    ingest = Ingest(
        store_files=container.store_files(),
        store_evidence=container.store_evidence(),
        spool=container.spool(),
        pace=pace,
        zone=settings.zone,
        metadata_bytes=settings.max_metadata_bytes,
        image_bytes=settings.max_image_bytes,
        video_bytes=settings.max_video_bytes,
    )
    return Parts(
        settings=settings,
        ingest=ingest,
        validation=ValidationParts(container.validate_evidence(), ingest),
        read_files=container.read_files(),
        produce_evidence=container.produce_evidence(),
        find=container.find(),
        jobs=container.jobs(),
        fixity=FixityEndpoints(
            container.verify_replicas(), container.review_incidents(), container.find()
        ),
        legal_holds=container.legal_holds(),
        delete_files=container.delete_files(),
        retention=RetentionParts(
            in_force=container.rules_in_force(),
            change_rules=container.change_rules(),
            explain=container.explain(),
            retain=container.retain(),
            clean_up=container.clean_up(),
            jobs=container.jobs(),
        ),
        analytics=AnalyticsEndpoints(
            container.analyse_quality(),
            container.analyse_storage(),
            container.analyse_violations(),
            container.export_jobs(),
            settings.zone,
        ),
        migrations=MigrationEndpoints(container.migration_jobs(), container.jobs(), settings.zone),
        export=container.export(),
        make_package=container.make_package(),
        export_jobs=container.export_jobs(),
        snapshots=SnapshotParts(
            location=container.snapshot_location(),
            create=container.create_snapshot(),
            verify=container.verify_snapshot(),
            restore=container.restore_snapshot(),
            delete=container.delete_snapshot(),
            destroyed=container.find_destroyed(),
            jobs=container.jobs(),
            schedules=container.schedules(),
        ),
        signer=container.signer(),
        statistics=container.statistics(),
        runtime=runtime,
        metrics=GetMetrics(
            ProcessMetrics(metrics.registry, container.counters()),
            container.measure(),
            lambda: runtime.started,
            siblings,
        ),
        pace=pace,
    )


def _pace(settings: StorageConfig) -> Pace:
    return Pace(settings.request_idle_timeout_seconds, settings.min_upload_bytes_per_second)


def _add_middleware(
    app: FastAPI,
    settings: StorageConfig,
    served: ServedContainer,
    policy: AccessPolicy,
    metrics: RequestMetrics,
) -> None:
    """Add the middleware, the innermost first."""
    app.add_middleware(CompressedJson)
    app.add_middleware(Starting, started=served.is_started, start=served.start)
    app.add_middleware(ConcurrencyLimit, limit=settings.max_concurrent_requests)
    app.add_middleware(Authentication, policy=policy, application=app)
    app.add_middleware(ProblemHandler)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=_CORS_METHODS,
            allow_headers=("*",),
            expose_headers=_CORS_EXPOSED,
        )
    public_path = urlsplit(settings.public_url).path
    app.add_middleware(
        RequestContext, metrics=metrics, pace=_pace(settings), public_path=public_path
    )


def _lifespan(
    served: ServedContainer,
    policy: AccessPolicy,
    metrics: RequestMetrics,
    siblings: Siblings | None,
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        if siblings is None or siblings.index == 0:
            logger.log(policy.level, "%s", policy.summary)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(served.lifespan(app))
            if siblings is not None:
                own = partial(ProcessMetrics, metrics.registry, served.counters)
                await stack.enter_async_context(siblings.answering(own))
            yield

    return lifespan


async def _refused(_request: Request, error: Exception) -> Response:
    """Convert an HTTPException of an embedder's route to a problem."""
    if not isinstance(error, HTTPException):
        raise error
    raise Refused(error.status_code, str(error.detail), error.headers)


async def _invalid(_request: Request, error: Exception) -> Response:
    """Convert FastAPI's validation errors to a problem.

    The first element of each location (query, path or body) is dropped.
    """
    found = error.errors() if isinstance(error, RequestValidationError) else ()
    named = [{**problem, "loc": problem["loc"][1:]} for problem in found]
    raise InvalidInput(field_problems(named, (), "request"))
