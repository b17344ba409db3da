"""The journal beside the blobs: holds, deletions, labels, retention rules, as small texts in each store.

Manifests give a file's row as it was when the file was stored. What was decided later (a hold, a
deletion, an undelete, a label that was added) is an event of the catalogue; each store gets a copy of these events, in
notes. A note is written once, under a number that grows, and contains its own SHA-256. A rebuild
applies the notes again, in this order, so that it brings holds back and resurrects nothing.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeAlias
from uuid import UUID

from attrs import frozen

from traffic_storage.domain.canonical import Json, canonical_json, parse_json
from traffic_storage.domain.deletion import Tombstone, Undelete
from traffic_storage.domain.digests import sha256_of
from traffic_storage.domain.errors import InvalidInput
from traffic_storage.domain.events import Event, EventKind, RecordedEvent
from traffic_storage.domain.files import FileKind
from traffic_storage.domain.holds import (
    HeldFile,
    HeldRange,
    HeldViolation,
    Hold,
    HoldScope,
    PlaceHold,
    ReleaseHold,
)
from traffic_storage.domain.identifiers import CatalogueId, DeviceId, FileId, StoreId, ViolationId
from traffic_storage.domain.labels import AddedLabels, labels_told_by
from traffic_storage.domain.purged_rows import RestorePurged, restored_purge
from traffic_storage.domain.rules_in_force import EnterRules, rules_of
from traffic_storage.domain.times import parse_time

JOURNALED = frozenset(
    {
        EventKind.LABELLED,
        EventKind.HOLD_PLACED,
        EventKind.HOLD_RELEASED,
        EventKind.TOMBSTONED,
        EventKind.UNDELETED,
        EventKind.PURGED,
        EventKind.RULES_ENTERED,
    }
)
"""The kinds of events that every store gets a copy of."""

MAX_NOTE_BYTES = 4 * 1024 * 1024
_VERSION = 1

Replayed: TypeAlias = (
    PlaceHold | ReleaseHold | Tombstone | Undelete | RestorePurged | EnterRules | AddedLabels
)
"""A change that an event in the journal tells of."""


@frozen
class Note:
    """A text in the journal of a store: events of one catalogue, in their order.

    `number` grows by one with each note of a store.
    """

    number: int
    catalogue_id: CatalogueId
    events: tuple[RecordedEvent, ...]

    @property
    def name(self) -> str:
        """The name of the note; names sort as numbers do."""
        return note_name(self.number)

    def to_text(self) -> bytes:
        """Return the note as canonical JSON with its SHA-256."""
        content: dict[str, Json] = {
            "version": _VERSION,
            "number": self.number,
            "catalogue_id": self.catalogue_id,
            "events": [_json_of(one) for one in self.events],
        }
        return canonical_json({**content, "sha256": sha256_of(canonical_json(content))})

    def is_begin_of(self, other: "Note") -> bool:
        """Return whether another note of this catalogue begins with the events of this one."""
        begin = other.events[: len(self.events)]
        return self.catalogue_id == other.catalogue_id and self.events == begin

    @classmethod
    def from_text(cls, text: bytes) -> "Note":
        """Parse the text of a note, and check its SHA-256.

        Raises:
            InvalidInput: the text is not a note, or was altered.
        """
        try:
            content: Any = parse_json(text, "note")
            _check_digest(content)
            return cls(
                content["number"],
                CatalogueId(content["catalogue_id"]),
                tuple(map(_event_of, content["events"])),
            )
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise InvalidInput.of(
                "note", f"a note of the journal is unreadable: {error}"
            ) from error


@frozen
class JournalCursor:
    """How far the journal of a store has come.

    Attributes:
        sequence: events up to this number are in the journal.
        number: the number of the last note.
    """

    store_id: StoreId
    sequence: int = 0
    number: int = 0


@frozen
class SetJournalCursor:
    """Replace the cursor of a store's journal, if it is `was`."""

    was: JournalCursor
    becomes: JournalCursor


def _check_digest(content: dict[str, Any]) -> None:
    digest = content.pop("sha256")
    if content["version"] != _VERSION or digest != sha256_of(canonical_json(content)):
        raise ValueError("its digest or its version is another")


def note_name(number: int) -> str:
    """Return the name of the note with a number."""
    return f"{number:012d}"


def replayed(event: Event) -> Replayed | None:
    """Return the change that an event tells of; None if there is nothing to apply again.

    Raises:
        InvalidInput: the event lacks a detail.
    """
    try:
        match event.kind:
            case EventKind.HOLD_PLACED:
                return PlaceHold(_hold(event))
            case EventKind.HOLD_RELEASED:
                return _release(event)
            case EventKind.TOMBSTONED:
                return _tombstone(event)
            case EventKind.UNDELETED:
                return _undelete(event)
            case EventKind.PURGED:
                return restored_purge(event)
            case EventKind.LABELLED:
                return labels_told_by(event)
            case EventKind.RULES_ENTERED:
                return EnterRules(rules_of(event))
            case _:
                return None
    except (LookupError, TypeError, ValueError) as error:
        raise InvalidInput.of("note", f"an event {event.kind} is incomplete: {error}") from error


def retention_then(event: Event) -> tuple[datetime, str]:
    """Return the end of retention and the rule that a file had when it was deleted or undeleted.

    Raises:
        InvalidInput: the event lacks them.
    """
    details: Mapping[str, Any] = event.details
    try:
        return parse_time(details["keep_until"], "keep_until"), details["retention_rule"]
    except (LookupError, TypeError, ValueError) as error:
        raise InvalidInput.of("note", f"an event {event.kind} is incomplete: {error}") from error


def _hold(event: Event) -> Hold:
    details: Mapping[str, Any] = event.details
    return Hold(
        UUID(details["hold_id"]),
        _scope(details),
        details["case_reference"],
        details["reason"],
        details["placed_by"],
        event.at,
        None if details["until"] is None else parse_time(details["until"], "until"),
    )


def _scope(details: Mapping[str, Any]) -> HoldScope:
    if "device_id" not in details:
        if "file_id" in details:
            return HeldFile(FileId(details["file_id"]))
        return HeldViolation(ViolationId(details["violation_id"]))
    return HeldRange(
        DeviceId(details["device_id"]),
        parse_time(details["start_time"], "start_time"),
        parse_time(details["end_time"], "end_time"),
        details["include_future"],
        None if details["kind"] is None else FileKind(details["kind"]),
        details["violation_type"],
    )


def _release(event: Event) -> ReleaseHold:
    details: Mapping[str, Any] = event.details
    return ReleaseHold(
        UUID(details["hold_id"]), event.at, details["released_by"], details["reason"]
    )


def _tombstone(event: Event) -> Tombstone:
    details: Mapping[str, Any] = event.details
    return Tombstone(
        (_file_id(event),),
        UUID(details["deletion_id"]),
        event.at,
        parse_time(details["purge_after"], "purge_after"),
        details["reason"],
        details["actor"],
        details["rule"],
        override=details["override"],
        whole=False,
    )


def _undelete(event: Event) -> Undelete:
    details: Mapping[str, Any] = event.details
    keep_until = parse_time(details["keep_until"], "keep_until")
    return Undelete((_file_id(event),), event.at, keep_until, details["reason"], details["actor"])


def _file_id(event: Event) -> FileId:
    if event.file_id is None:
        raise ValueError("it names no file")
    return event.file_id


def _json_of(recorded: RecordedEvent) -> dict[str, Json]:
    event = recorded.event
    return {
        "sequence": recorded.sequence,
        "kind": event.kind.value,
        "at": event.at.isoformat(),
        "file_id": event.file_id,
        "violation_id": event.violation_id,
        "details": dict(event.details),
    }


def _event_of(content: Mapping[str, Any]) -> RecordedEvent:
    file_id, violation_id = content["file_id"], content["violation_id"]
    return RecordedEvent(
        content["sequence"],
        Event(
            EventKind(content["kind"]),
            datetime.fromisoformat(content["at"]),
            None if file_id is None else FileId(file_id),
            None if violation_id is None else ViolationId(violation_id),
            content["details"],
        ),
    )
