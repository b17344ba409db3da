"""Labels: what a caller says about a file, and how those that were left out are added later.

The labels are the file's device, its violation, the time of its capture, and metadata. A repetition
of a call may give those that the file lacks; none that it has is ever changed. Metadata is not
added later: what is added is told by an event and by the journal beside the blobs, which a purge
can't erase.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from attrs import evolve, frozen

from traffic_storage.domain.canonical import Json
from traffic_storage.domain.events import Event, EventKind
from traffic_storage.domain.files import FileState, RetentionBasis, RetentionClock, StoredFile
from traffic_storage.domain.identifiers import AttemptId, DeviceId, FileId, ViolationId
from traffic_storage.domain.jobs import NewJob
from traffic_storage.domain.retention import Retention
from traffic_storage.domain.times import parse_time

ADDABLE = ("device_id", "violation_id", "captured_at")
"""The labels that can be added later: fields of `StoredFile`."""


@frozen
class Labels:
    """Labels that a file gets. None: it does not get this one.

    `historic` states that an old `captured_at` is correct.
    """

    device_id: DeviceId | None = None
    violation_id: ViolationId | None = None
    captured_at: datetime | None = None
    historic: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the labels that there are."""
        return tuple(name for name in ADDABLE if getattr(self, name) is not None)

    def lacking_in(self, file: StoredFile) -> "Labels":
        """Return those of these labels that a file has no value for."""
        return evolve(
            self,
            device_id=None if file.device_id is not None else self.device_id,
            violation_id=None if file.violation_id is not None else self.violation_id,
            captured_at=None if file.captured_at is not None else self.captured_at,
        )

    def are_free_in(self, file: StoredFile) -> bool:
        """Return whether a file has none of these labels, or the same values."""
        return all(getattr(file, name) in (None, getattr(self, name)) for name in self.names)

    def on(self, file: StoredFile) -> StoredFile:
        """Return a file with these labels."""
        given = {name: getattr(self, name) for name in self.names}
        if self.captured_at is not None:
            given["historic"] = self.historic
        added = tuple(sorted({*file.added_labels, *self.names}))
        return evolve(file, added_labels=added, **given)


@frozen
class AddLabels:
    """Add labels to an available file that lacks them, and record until when it is kept with them.

    A file that is not available, that has one of the labels, or whose retention does not end at
    `was`, stays as it is. The transaction excludes every other that tombstones files, so that none
    is tombstoned by what it was before.

    Attributes:
        labels: one at least.
        was: the end of retention before.
        retention: the end, the rule and the start of retention with the labels.
        by: who gave them.
        attempt: the journal entry of the call, which is deleted. Without it, as while sealed, nothing
            is added, and `apply` raises `AttemptCondemned`. None: an earlier addition is repeated
            in a catalogue that lacks it; then a label may be there already, with the same value.
        jobs: the work that this causes.
    """

    file_id: FileId
    labels: Labels
    at: datetime
    by: str
    was: datetime
    retention: Retention
    attempt: AttemptId | None = None
    jobs: tuple[NewJob, ...] = ()

    def may_apply(self, file: StoredFile | None) -> bool:
        """Return whether this change applies to the file as it is."""
        return (
            file is not None
            and file.state is FileState.AVAILABLE
            and file.keep_until == self.was
            and self.labels.are_free_in(file)
            and (self.attempt is None or self.labels.lacking_in(file) == self.labels)
        )

    def applied(self, file: StoredFile) -> StoredFile:
        """Return the file as it is after this change."""
        return evolve(
            self.labels.on(file),
            keep_until=self.retention.keep_until,
            retention_rule=self.retention.rule,
            retention_basis=self.retention.basis,
        )

    def is_shown_by(self, file: StoredFile | None) -> bool:
        """Return whether a file is as it is after this change."""
        return file is not None and file == self.applied(file)


@frozen
class AddedLabels:
    """What an event tells of labels that were added: `AddLabels` of a file as it was then."""

    file_id: FileId
    labels: Labels
    at: datetime
    by: str
    retention: Retention

    def change(self, file: StoredFile) -> AddLabels | None:
        """Return the change that adds the labels again; None if there is nothing to add.

        The file keeps a retention that is longer than it was then.
        """
        retention = self.retention
        if file.keep_until > retention.keep_until:
            retention = evolve(retention, keep_until=file.keep_until, rule=file.retention_rule)
        change = AddLabels(self.file_id, self.labels, self.at, self.by, file.keep_until, retention)
        if not change.may_apply(file) or change.applied(file) == file:
            return None
        return change


def event_of_labels(change: AddLabels, file: StoredFile) -> Event:
    """Return the event when labels are added; `file` is as it is then. `labels_told_by` reads it."""
    labels, basis = change.labels, file.retention_basis
    added: dict[str, Json] = {name: _text(getattr(labels, name)) for name in labels.names}
    details: dict[str, Json] = {
        "added": added,
        "historic": labels.historic,
        "by": change.by,
        "sha256": file.content.sha256,
        "created_at": file.created_at.isoformat(),
        "keep_until": file.keep_until.isoformat(),
        "retention_rule": file.retention_rule,
        "retention_basis": {
            "clock": basis.clock.value,
            "at": basis.at.isoformat(),
            "reason": basis.reason,
        },
    }
    return Event(EventKind.LABELLED, change.at, file.file_id, file.violation_id, details)


def labels_told_by(event: Event) -> AddedLabels:
    """Return what an event tells of added labels.

    Raises:
        LookupError, TypeError, ValueError: a detail is missing or wrong.
    """
    details: Mapping[str, Any] = event.details
    added, basis = details["added"], details["retention_basis"]
    captured = added.get("captured_at")
    device, violation = added.get("device_id"), added.get("violation_id")
    if event.file_id is None:
        raise ValueError("it names no file")
    return AddedLabels(
        event.file_id,
        Labels(
            None if device is None else DeviceId(device),
            None if violation is None else ViolationId(violation),
            None if captured is None else parse_time(captured, "captured_at"),
            details["historic"],
        ),
        event.at,
        details["by"],
        Retention(
            parse_time(details["keep_until"], "keep_until"),
            details["retention_rule"],
            RetentionBasis(
                RetentionClock(basis["clock"]), parse_time(basis["at"], "at"), basis["reason"]
            ),
        ),
    )


def _text(value: str | datetime) -> str:
    return value.isoformat() if isinstance(value, datetime) else value
