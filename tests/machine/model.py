"""The model: a dictionary of files, the holds, and the retention rules. Nothing here calls the product."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import TypeAlias
from uuid import UUID

from attrs import evolve, field, frozen

from traffic_storage.domain.files import FileKind, FileState

Content: TypeAlias = tuple[FileKind, int]
"""A kind and a number: of what shade a picture is, which film, which document."""

DAY = timedelta(days=1)
DEFAULT_DAYS = {FileKind.IMAGE: 90, FileKind.VIDEO: 30, FileKind.METADATA: 365}
REGRANTED_DAYS = 30
MOST_BACKDATING = timedelta(days=30)
REGRANT_RULE = "undelete"

ORDER = (FileState.AVAILABLE, FileState.TOMBSTONED, FileState.PURGING, FileState.PURGED)


@frozen
class File:
    """A file that was acknowledged.

    `sha256` is that of its content. `basis` is when its retention begins. `regranted` is whether an
    undelete decides how long it is kept. `purge_after` is the end of its grace.
    """

    content: Content
    sha256: str
    created_at: datetime
    basis: datetime
    keep_until: datetime
    violation: str | None = None
    captured_at: datetime | None = None
    state: FileState = FileState.AVAILABLE
    purge_after: datetime | None = None
    regranted: bool = False

    @property
    def kind(self) -> FileKind:
        """Whether it is an image, a video or metadata."""
        return self.content[0]

    @property
    def times(self) -> list[datetime]:
        """The times at which a range of time may cover it."""
        return [at for at in (self.created_at, self.basis, self.captured_at) if at is not None]


@frozen
class Hold:
    """A hold: on a file, a violation or a device. `include_future` concerns a device."""

    placed_at: datetime
    file_id: str | None = None
    violation: str | None = None
    device: str | None = None
    start: datetime | None = None
    end: datetime | None = None
    include_future: bool = False
    until: datetime | None = None
    released: bool = False

    def is_active(self, now: datetime) -> bool:
        """Whether it prevents deletions."""
        return not self.released and (self.until is None or self.until > now)

    def covers(self, name: str, file: File, device_of: Mapping[str, str]) -> bool:
        """Whether it covers a file; `device_of` has the devices of the violations."""
        if self.device is None:
            return name == self.file_id or (
                self.violation is not None and file.violation == self.violation
            )
        assert self.start is not None
        assert self.end is not None
        device = device_of.get(file.violation or "")
        return (
            device in (None, self.device)
            and (self.include_future or file.created_at <= self.placed_at)
            and any(self.start <= at < self.end for at in file.times)
        )


@frozen
class Plan:
    """A plan of retention that was made."""

    plan_id: UUID
    as_of: datetime
    revision: int


@frozen
class Due:
    """What the application of a plan does: the files after it, and what it counts."""

    files: Mapping[str, File]
    deleted: frozenset[str]
    held: frozenset[str]
    longer: frozenset[str]


@frozen
class Rules:
    """The retention rules in force: their number, and the days of a rule for images, or None."""

    revision: int = 1
    image_days: int | None = None

    def days(self, kind: FileKind) -> int:
        """How long files of a kind are kept."""
        extra = self.image_days if kind is FileKind.IMAGE else None
        return max(DEFAULT_DAYS[kind], extra or 0)

    def until(self, file: File) -> datetime:
        """The end of the retention of a file under these rules, as a recomputation records it."""
        until = file.basis + self.days(file.kind) * DAY
        return max(until, file.keep_until) if file.regranted else until

    def recomputed(self, file: File) -> File:
        """A file after its retention was recomputed."""
        until = self.until(file)
        if file.regranted and until == file.keep_until:
            return file
        return evolve(file, keep_until=until, regranted=False)


@frozen
class Model:
    """Functions of the model's state; the machine keeps it."""

    files: dict[str, File] = field(factory=dict)
    holds: dict[UUID, Hold] = field(factory=dict)
    devices: dict[str, str] = field(factory=dict)

    def held(self, name: str, now: datetime) -> bool:
        """Whether an active hold covers a file."""
        file = self.files[name]
        return any(
            hold.is_active(now) and hold.covers(name, file, self.devices)
            for hold in self.holds.values()
        )

    def of_violation(self, violation: str, state: FileState) -> list[str]:
        """The names of the files of a violation in a state."""
        return [
            name
            for name, file in self.files.items()
            if file.violation == violation and file.state is state
        ]

    def tombstoned(self, names: Iterable[str], now: datetime, grace: timedelta) -> dict[str, File]:
        """All files, after these were deleted."""
        marked = {
            name: evolve(self.files[name], state=FileState.TOMBSTONED, purge_after=now + grace)
            for name in names
        }
        return {**self.files, **marked}

    def undeleted(self, names: Iterable[str], now: datetime) -> dict[str, File]:
        """All files, after these were undeleted."""
        until = now + REGRANTED_DAYS * DAY
        back = {}
        for name in names:
            file = evolve(self.files[name], state=FileState.AVAILABLE, purge_after=None)
            if file.keep_until < until:
                file = evolve(file, keep_until=until, regranted=True)
            back[name] = file
        return {**self.files, **back}

    def due(self, plan: Plan, rules: Rules, now: datetime, grace: timedelta) -> Due:
        """What the application of a plan does now, before the purge at its end."""
        deleted, held, longer = set(), set(), set()
        files = dict(self.files)
        for name, file in self.files.items():
            if file.state is not FileState.AVAILABLE or file.keep_until > plan.as_of:
                continue
            if rules.until(file) > plan.as_of:
                longer.add(name)
                files[name] = rules.recomputed(file)
            elif self.held(name, now):
                held.add(name)
            else:
                deleted.add(name)
        files.update((name, self.tombstoned([name], now, grace)[name]) for name in deleted)
        return Due(files, frozenset(deleted), frozenset(held), frozenset(longer))

    def purged(
        self, files: Mapping[str, File], now: datetime, reachable: Mapping[str, bool]
    ) -> dict[str, File]:
        """These files, after a purge; `reachable` is whether all copies of a file can be removed."""
        after = dict(files)
        for name, file in files.items():
            due = file.purge_after is not None and file.purge_after <= now
            begins = file.state is FileState.TOMBSTONED and due and not self.held(name, now)
            if begins or file.state is FileState.PURGING:
                ended = FileState.PURGED if reachable[name] else FileState.PURGING
                after[name] = evolve(file, state=ended)
        return after


def retention_basis(captured_at: datetime | None, received_at: datetime) -> datetime:
    """When the retention of a file begins."""
    if captured_at is None or captured_at < received_at - MOST_BACKDATING:
        return received_at
    return captured_at
