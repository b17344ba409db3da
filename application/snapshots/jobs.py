"""SnapshotJobs: snapshots that are made, verified, restored and pruned outside of a request."""

import logging
from collections.abc import Mapping
from datetime import timedelta

from traffic_storage.application.snapshots.create import CreateSnapshot
from traffic_storage.application.snapshots.delete import DeleteSnapshot
from traffic_storage.application.snapshots.location import SnapshotExists, SnapshotLocation
from traffic_storage.application.snapshots.restore import (
    FindDestroyed,
    RestoreSnapshot,
    nothing_destroyed,
)
from traffic_storage.application.snapshots.verify import UNREPAIRED, VerifySnapshot
from traffic_storage.application.worker import GivenUp, Handler, Outcome, Report
from traffic_storage.domain.amounts import counted
from traffic_storage.domain.canonical import Json
from traffic_storage.domain.jobs import Done, JobKind, Progress, Run
from traffic_storage.domain.snapshot import SCHEDULED, scheduled_name, surplus
from traffic_storage.ports.clock import Clock

logger = logging.getLogger("traffic_storage.snapshots")

CREATE = JobKind("create_snapshot")
VERIFY = JobKind("verify_snapshot")
RESTORE = JobKind("restore_snapshot")
SCHEDULE = JobKind("schedule_snapshot")


def restoration(name: str, *, include_purged: bool) -> Mapping[str, Json]:
    """Return the arguments of a job of the kind `RESTORE`."""
    return {"name": name, "include_purged": include_purged}


class SnapshotJobs:
    """The handlers of the jobs of snapshots. Each job is safe to repeat."""

    def __init__(
        self,
        *,
        location: SnapshotLocation,
        create: CreateSnapshot,
        verify: VerifySnapshot,
        restore: RestoreSnapshot,
        delete: DeleteSnapshot,
        destroyed: FindDestroyed,
        clock: Clock,
        keep: int,
        max_age: timedelta,
    ) -> None:
        self._location = location
        self._create = create
        self._verify = verify
        self._restore = restore
        self._delete = delete
        self._destroyed = destroyed
        self._clock = clock
        self._keep = keep
        self._max_age = max_age

    @property
    def handlers(self) -> Mapping[JobKind, Handler]:
        """What does the jobs of each kind."""
        return {
            CREATE: self.create,
            VERIFY: self.verify,
            RESTORE: self.restore,
            SCHEDULE: self.scheduled,
        }

    async def create(self, run: Run, report: Report) -> Outcome:
        """Do a job of the kind `CREATE`; one that was interrupted goes on."""
        return await self._created(str(run.arguments["name"]), report)

    async def verify(self, run: Run, report: Report) -> Outcome:
        """Do a job of the kind `VERIFY`; it is dead if the snapshot is damaged."""
        found = await self._verify(str(run.arguments["name"]), report)
        if not found.is_good:
            raise GivenUp(
                f"the snapshot {found.manifest.name!r} is damaged: the bytes of "
                f"{counted(found.corrupt, 'file')} are corrupt, and of {found.missing} missing; {found.repaired} of them were repaired",
                remedy=UNREPAIRED,
            )
        told = (
            f"damaged bytes of {counted(found.repaired, 'file')} were repaired"
            if found.repaired
            else ""
        )
        return Outcome(Done(Progress(found.files, found.files, found.size_bytes, told)))

    async def restore(self, run: Run, report: Report) -> Outcome:
        """Do a job of the kind `RESTORE`; what it could not restore is in its message."""
        found = await self._restore(
            self._location,
            str(run.arguments["name"]),
            report,
            destroyed=nothing_destroyed if run.arguments["include_purged"] else self._destroyed,
        )
        left = found.others + found.damaged + found.unplaced
        message = f"files and violations not restored: {left}" if left else ""
        done = found.progress()
        return Outcome(Done(Progress(done.done, done.total, done.bytes, message)))

    async def scheduled(self, _run: Run, report: Report) -> Outcome:
        """Do a job of the kind `SCHEDULE`: make a snapshot, and delete those no longer kept."""
        begun = [one for one in await self._location.unfinished() if one.startswith(SCHEDULED)]
        # One that was interrupted goes on: an unfinished snapshot keeps objects from being removed.
        new = begun[0] if begun else scheduled_name(self._clock.now())
        outcome = await self._created(new, report)
        own = (await self._location.manifest(new)).catalogue_id
        found, damaged = await self._location.readable()
        for name in damaged:
            logger.warning("the manifest of the snapshot %s is unreadable: delete it", name)
        for name in surplus(
            [one for one in found if one.catalogue_id == own],
            keep=self._keep,
            max_age=self._max_age,
            now=self._clock.now(),
        ):
            await self._delete(name)
            logger.info("deleted the snapshot %s, which is no longer kept", name)
        return outcome

    async def _created(self, name: str, report: Report) -> Outcome:
        try:
            made = await self._create(name, report)
        except SnapshotExists:
            # An earlier run of this job has completed it.
            return Outcome(Done(Progress(message=f"the snapshot {name} is complete")))
        size = made.written_bytes
        return Outcome(Done(Progress(made.manifest.files, made.manifest.files, size)))
