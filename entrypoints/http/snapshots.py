"""Endpoints of snapshots: create, list, verify, restore, delete."""

from typing import Annotated

from attrs import frozen
from fastapi import Body, Path, Request
from starlette.responses import Response

from traffic_storage.application.jobs import Jobs
from traffic_storage.application.schedules import Schedules
from traffic_storage.application.snapshots.create import CreateSnapshot
from traffic_storage.application.snapshots.delete import DeleteSnapshot
from traffic_storage.application.snapshots.jobs import CREATE, RESTORE, VERIFY, restoration
from traffic_storage.application.snapshots.location import SnapshotExists, SnapshotLocation
from traffic_storage.application.snapshots.restore import (
    FindDestroyed,
    RestoreSnapshot,
    nothing_destroyed,
)
from traffic_storage.application.snapshots.verify import VerifySnapshot
from traffic_storage.domain.errors import (
    InvalidInput,
    NotFound,
    StorageFull,
    Unavailable,
    WrongState,
)
from traffic_storage.domain.identifiers import StoreId
from traffic_storage.domain.principal import Scope
from traffic_storage.domain.snapshot import SNAPSHOT_NAME, snapshot_name
from traffic_storage.entrypoints.http.errors import BadRequest, DeviceNotAllowed
from traffic_storage.entrypoints.http.jobs import accepted, prefers_async
from traffic_storage.entrypoints.http.responses import JsonResponse
from traffic_storage.entrypoints.http.retention import whole_principal
from traffic_storage.entrypoints.http.routing import StorageRoute
from traffic_storage.entrypoints.http.schemas import RestoreFields
from traffic_storage.entrypoints.http.security.access import Access
from traffic_storage.entrypoints.snapshot_views import (
    CreatedSnapshotView,
    DeletedSnapshotView,
    RestoredSnapshotView,
    SnapshotsView,
    VerifiedSnapshotView,
    created_view,
    deleted_view,
    restored_view,
    snapshots_view,
    verified_view,
)
from traffic_storage.entrypoints.views import JobView

_ACCESS = Access(Scope.MAINTENANCE)
_DESCRIPTION = "the name of the snapshot: 1 to 100 letters, digits and . _ -"
# The pattern is published; `snapshot_name` checks it, with a clearer error.
_SCHEMA = {"pattern": f"^{SNAPSHOT_NAME}$"}
_EXAMPLES = ["daily_backup_001"]

NameText = Annotated[
    str,
    Body(embed=True, description=_DESCRIPTION, examples=_EXAMPLES, json_schema_extra=_SCHEMA),
]
NamePath = Annotated[
    str, Path(description=_DESCRIPTION, examples=_EXAMPLES, json_schema_extra=_SCHEMA)
]


@frozen
class SnapshotParts:
    """The use cases of snapshots."""

    location: SnapshotLocation
    create: CreateSnapshot
    verify: VerifySnapshot
    restore: RestoreSnapshot
    delete: DeleteSnapshot
    destroyed: FindDestroyed
    jobs: Jobs
    schedules: Schedules

    @property
    def host(self) -> StoreId | None:
        """The store that a job needs, so that it is done where the folder of snapshots may be."""
        return next(iter(self.schedules.reachable()), None)


class SnapshotEndpoints:
    """`/lifecycle/snapshot` and `/lifecycle/snapshots`."""

    def __init__(self, parts: SnapshotParts) -> None:
        self._parts = parts

    async def create(self, request: Request, name: NameText) -> Response:
        """Make a snapshot of everything that is stored at one moment, while others store.

        With `Prefer: respond-async` a job makes it, and the answer is the job. After an interruption,
        the same request goes on.
        """
        whole_principal(request)
        if prefers_async(request):
            names = {one.name for one in await self._parts.location.complete()}
            if snapshot_name(name) in names:
                raise SnapshotExists(name)
            job = await self._parts.jobs.start(CREATE, {"name": name}, store_id=self._parts.host)
            return accepted(request, job)
        return JsonResponse(created_view(await self._parts.create(name)), status_code=201)

    async def list(self, request: Request) -> Response:
        """Return the complete snapshots, the newest first, and the names of unfinished ones."""
        whole_principal(request)
        return JsonResponse(await snapshots_view(self._parts.location))

    async def verify(self, request: Request, name: NamePath) -> Response:
        """Read all rows and all bytes of a snapshot, and compare them with its digests.

        Damaged bytes are written anew from a store that has them intact.

        With `Prefer: respond-async` a job does this; it is dead if the snapshot is damaged.
        """
        whole_principal(request)
        if prefers_async(request):
            await self._parts.location.manifest(name)
            job = await self._parts.jobs.start(VERIFY, {"name": name}, store_id=self._parts.host)
            return accepted(request, job)
        return JsonResponse(verified_view(await self._parts.verify(name)))

    async def restore(
        self,
        request: Request,
        name: NamePath,
        given: Annotated[RestoreFields | None, Body()] = None,
    ) -> Response:
        """Store what a snapshot has and this service lacks; what exists stays as it is.

        With `dry_run`, nothing is changed, and the answer says what would be done. With `Prefer:
        respond-async` a job does it, and the answer is the job.
        """
        whole_principal(request)
        given = given or RestoreFields.model_validate({})
        include_purged, dry_run = bool(given.include_purged), bool(given.dry_run)
        if prefers_async(request) and not dry_run:
            await self._parts.location.manifest(name)
            arguments = restoration(name, include_purged=include_purged)
            job = await self._parts.jobs.start(RESTORE, arguments, store_id=self._parts.host)
            return accepted(request, job)
        found = await self._parts.restore(
            self._parts.location,
            name,
            destroyed=nothing_destroyed if include_purged else self._parts.destroyed,
            dry_run=dry_run,
        )
        return JsonResponse(restored_view(found))

    async def delete(self, request: Request, name: NamePath) -> Response:
        """Delete a snapshot, and what no other one needs."""
        whole_principal(request)
        return JsonResponse(deleted_view(await self._parts.delete(name)))


def snapshot_routes(parts: SnapshotParts) -> list[StorageRoute]:
    """Return the routes of snapshots."""
    endpoints = SnapshotEndpoints(parts)
    reading = (BadRequest, InvalidInput, Unavailable, WrongState, DeviceNotAllowed)
    naming = (*reading, NotFound)
    job = {"model": JobView, "description": "the job that does it"}
    return [
        StorageRoute(
            "/lifecycle/snapshot",
            endpoints.create,
            method="POST",
            name="create_snapshot",
            summary="Make a snapshot of everything that is stored",
            tags=["snapshots"],
            access=_ACCESS,
            errors=(*reading, StorageFull),
            status_code=201,
            response_model=CreatedSnapshotView,
            response_description="the snapshot, complete",
            responses={202: job},
        ),
        StorageRoute(
            "/lifecycle/snapshots",
            endpoints.list,
            method="GET",
            name="list_snapshots",
            summary="List the snapshots",
            tags=["snapshots"],
            access=_ACCESS,
            errors=reading,
            response_model=SnapshotsView,
            response_description="the snapshots",
        ),
        StorageRoute(
            "/lifecycle/snapshots/{name}/verify",
            endpoints.verify,
            method="POST",
            name="verify_snapshot",
            summary="Verify all rows and bytes of a snapshot",
            tags=["snapshots"],
            access=_ACCESS,
            errors=naming,
            response_model=VerifiedSnapshotView,
            response_description="what was found",
            responses={202: job},
        ),
        StorageRoute(
            "/lifecycle/snapshots/{name}/restore",
            endpoints.restore,
            method="POST",
            name="restore_snapshot",
            summary="Restore what a snapshot has and this service lacks",
            tags=["snapshots"],
            access=_ACCESS,
            errors=(*naming, StorageFull),
            response_model=RestoredSnapshotView,
            response_description="what was, or would be, restored",
            responses={202: job},
        ),
        StorageRoute(
            "/lifecycle/snapshots/{name}",
            endpoints.delete,
            method="DELETE",
            name="delete_snapshot",
            summary="Delete a snapshot",
            tags=["snapshots"],
            access=_ACCESS,
            errors=naming,
            response_model=DeletedSnapshotView,
            response_description="what was removed",
        ),
    ]
