"""`POST /migrations`: brings violations to another configuration, as a job."""

from typing import Annotated
from zoneinfo import ZoneInfo

from attrs import frozen
from fastapi import Body, Request
from starlette.responses import Response

from traffic_storage.application.jobs import Jobs
from traffic_storage.application.migration_jobs import (
    MigrationJobs,
    MigrationRequest,
    migration_job,
)
from traffic_storage.application.migration_sides import MigrationLimits
from traffic_storage.domain.errors import InvalidInput, StorageFull, Unavailable
from traffic_storage.domain.jobs import Progress
from traffic_storage.domain.principal import Scope
from traffic_storage.entrypoints.http.errors import BadRequest, DeviceNotAllowed
from traffic_storage.entrypoints.http.jobs import accepted
from traffic_storage.entrypoints.http.queries import instant_in
from traffic_storage.entrypoints.http.responses import JsonResponse
from traffic_storage.entrypoints.http.retention import whole_principal
from traffic_storage.entrypoints.http.routing import StorageRoute
from traffic_storage.entrypoints.http.schemas import MigrationFields
from traffic_storage.entrypoints.http.security.access import Access
from traffic_storage.entrypoints.migration_views import MigrationView, migration_view
from traffic_storage.entrypoints.views import JobView


@frozen
class MigrationEndpoints:
    """The use cases of migrations, and the zone of times without one."""

    migrations: MigrationJobs
    jobs: Jobs
    zone: ZoneInfo

    async def post(self, request: Request, given: Annotated[MigrationFields, Body()]) -> Response:
        """Bring the violations of a range with their files to another configuration.

        The target is a settings file on the server, in the folder of the setting migration_targets,
        named without `.toml`. A job does the work: its progress counts violations, and its message
        tells the result. A job that was interrupted goes on. With `dry_run`, the answer is what
        would be brought, and nothing is changed.
        """
        principal = whole_principal(request)
        asked = self._asked(given)
        self.migrations.check(asked)
        if asked.dry_run:
            done = await self.migrations(asked, _silent, by=principal.name)
            return JsonResponse(migration_view(done))
        kind, arguments = migration_job(asked, principal.name)
        return accepted(request, await self.jobs.start(kind, arguments))

    def _asked(self, given: MigrationFields) -> MigrationRequest:
        return MigrationRequest(
            given.target,
            instant_in(self.zone, "start_date")(given.start_date),
            instant_in(self.zone, "end_date")(given.end_date),
            dry_run=bool(given.dry_run),
            reread=bool(given.reread),
            seal=bool(given.seal),
            limits=MigrationLimits(
                bytes_per_second=given.bytes_per_second or 0,
                files_per_second=given.files_per_second or 0,
            ),
        )


def migration_routes(endpoints: MigrationEndpoints) -> list[StorageRoute]:
    """Return the routes of migrations."""
    return [
        StorageRoute(
            "/migrations",
            endpoints.post,
            method="POST",
            name="migrate",
            summary="Bring violations to another configuration, or count them",
            tags=["service"],
            access=Access(Scope.MAINTENANCE),
            errors=(BadRequest, InvalidInput, Unavailable, DeviceNotAllowed, StorageFull),
            response_model=MigrationView,
            response_description="what would be brought (`dry_run`)",
            responses={202: {"model": JobView, "description": "the job that migrates"}},
        )
    ]


def _silent(_progress: Progress) -> None:
    """Show nothing."""
