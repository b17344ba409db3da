"""MigrationJobs: migrations from this service to a target that is known by a name."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import TypeAlias

from attrs import field, frozen

from traffic_storage.application.migrate_and_prove import MigrateAndProve, ProvenMigration
from traffic_storage.application.migration_sides import (
    MigrationLimits,
    MigrationSource,
    MigrationTarget,
    Report,
)
from traffic_storage.application.worker import GivenUp, Outcome
from traffic_storage.domain.amounts import counted
from traffic_storage.domain.canonical import Json
from traffic_storage.domain.errors import ConfigurationError, InvalidInput
from traffic_storage.domain.jobs import Done, JobKind, Progress, Run
from traffic_storage.domain.seal import Sealed

MIGRATE = JobKind("migrate")

OpenTarget: TypeAlias = Callable[[str], AbstractAsyncContextManager[MigrationTarget]]
"""Opens the service with a name, and closes it at the end of the context."""


@frozen
class MigrationRequest:
    """What is brought, to which target, and how; see `MigrateAndProve`."""

    target: str
    start: datetime
    end: datetime
    dry_run: bool = False
    reread: bool = False
    seal: bool = False
    limits: MigrationLimits = field(factory=MigrationLimits)


class MigrationJobs:
    """Migrates this service's violations. `targets` returns the names of the targets there are."""

    def __init__(
        self,
        *,
        source: MigrationSource,
        open_target: OpenTarget,
        targets: Callable[[], Sequence[str]],
    ) -> None:
        self._source = source
        self._open_target = open_target
        self._targets = targets

    def check(self, asked: MigrationRequest) -> None:
        """Check what can be checked before a target is opened.

        Raises:
            InvalidInput: there is no such target, or the range is empty.
        """
        names = self._targets()
        if asked.target not in names:
            known = f"give one of {', '.join(names)}" if names else "set migration_targets"
            raise InvalidInput.of("target", "is not the name of a target", known)
        if asked.end <= asked.start:
            raise InvalidInput.of("end_date", "is not after start_date", "give a later end_date")

    async def __call__(
        self, asked: MigrationRequest, report: Report, *, by: str
    ) -> ProvenMigration:
        """Migrate in the name of `by` (see `MigrateAndProve` for errors).

        Raises:
            InvalidInput: as `check`.
            ConfigurationError: the settings of the target are wrong.
        """
        self.check(asked)
        async with self._open_target(asked.target) as target:
            return await MigrateAndProve(self._source, target)(
                asked.start,
                asked.end,
                report,
                limits=asked.limits,
                dry_run=asked.dry_run,
                reread=asked.reread,
                seal_as=by if asked.seal else None,
            )

    async def run(self, run: Run, report: Report) -> Outcome:
        """Do a job of the kind `MIGRATE`; a run that was interrupted goes on behind its cursor.

        Raises:
            GivenUp: the target does not exist, its settings are wrong, or it is read only.
        """
        arguments = run.arguments
        try:
            done = await self(_asked_by(arguments), report, by=str(arguments["by"]))
        except (InvalidInput, ConfigurationError, Sealed) as error:
            raise GivenUp(str(error)) from error
        migrated = done.migrated
        count = migrated.resumed + migrated.records + migrated.skipped
        return Outcome(Done(Progress(count, count, migrated.bytes, _in_words(done))))


def migration_job(asked: MigrationRequest, by: str) -> tuple[JobKind, Mapping[str, Json]]:
    """Return the kind and the arguments of the job that does this migration."""
    return MIGRATE, {
        "by": by,
        "target": asked.target,
        "start": asked.start.isoformat(),
        "end": asked.end.isoformat(),
        "reread": asked.reread,
        "seal": asked.seal,
        "bytes_per_second": asked.limits.bytes_per_second,
        "files_per_second": asked.limits.files_per_second,
    }


def _asked_by(arguments: Mapping[str, Json]) -> MigrationRequest:
    return MigrationRequest(
        str(arguments["target"]),
        datetime.fromisoformat(str(arguments["start"])),
        datetime.fromisoformat(str(arguments["end"])),
        reread=bool(arguments["reread"]),
        seal=bool(arguments["seal"]),
        limits=MigrationLimits(
            bytes_per_second=int(str(arguments["bytes_per_second"])),
            files_per_second=int(str(arguments["files_per_second"])),
        ),
    )


def _in_words(done: ProvenMigration) -> str:
    migrated, found = done.migrated, done.reconciliation
    words = [f"{counted(migrated.records, 'violation')}, {counted(migrated.files, 'file')} brought"]
    if migrated.failed:
        words.append(f"{migrated.failed} failed, as the log tells")
    if migrated.can_be_undeleted:
        words.append(f"{migrated.can_be_undeleted} deleted, can still be undeleted, not brought")
    if found is not None:
        how = "by all bytes" if found.reread else "by the rows"
        result = "equal" if found.is_equal else counted(found.different, "difference")
        words.append(f"{result} {how}")
    if done.seal is not None:
        words.append("sealed")
    return "; ".join(words)
