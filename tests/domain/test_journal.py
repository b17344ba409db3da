"""Notes of the journal: text and back; the changes that events tell of."""

from datetime import timedelta
from uuid import uuid4

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from traffic_storage.domain.deletion import (
    Deletion,
    EndPurge,
    Removal,
    Tombstone,
    Undelete,
    certificate_of,
    erased_file,
    events_of_tombstone,
)
from traffic_storage.domain.errors import InvalidInput
from traffic_storage.domain.events import Event, EventKind, RecordedEvent
from traffic_storage.domain.files import FileKind, FileState, ReplicaState, Tier
from traffic_storage.domain.holds import (
    HeldFile,
    HeldRange,
    HeldViolation,
    Hold,
    PlaceHold,
    ReleaseHold,
    event_of_hold,
    event_of_release,
)
from traffic_storage.domain.identifiers import CatalogueId, DeviceId, FileId, StoreId, ViolationId
from traffic_storage.domain.identity import RegisteredStore
from traffic_storage.domain.journal import JOURNALED, Note, note_name, replayed, retention_then
from traffic_storage.domain.purged_rows import RestorePurged, event_of_purge
from traffic_storage.domain.retention import DEFAULT_RULES
from traffic_storage.domain.retention_rules import RetentionRule, RuleSet, Site
from traffic_storage.domain.rules_in_force import EnterRules, RulesRevision, event_of_rules
from traffic_storage.entrypoints.testing.units import NOON, new_file

DAY = timedelta(days=1)
SCOPES = [
    HeldFile(FileId("F")),
    HeldViolation(ViolationId("V")),
    HeldRange(DeviceId("cámara"), NOON, NOON + DAY),
    HeldRange(DeviceId("c"), NOON, NOON + DAY, True, FileKind.VIDEO, "speed"),
]
STORE = RegisteredStore(StoreId("local-1"), Tier.LOCAL, "here", NOON)
CATALOGUE = CatalogueId("catalogue-1")


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("until", [None, NOON + DAY])
def test_a_hold_and_its_release(scope: object, until: object) -> None:
    hold = Hold(uuid4(), scope, "C-1", "wegen ñ", "judge", NOON, until)  # type: ignore[arg-type]
    release = ReleaseHold(hold.hold_id, NOON + DAY, "judge", "closed")
    assert replayed(event_of_hold(hold)) == PlaceHold(hold)
    assert replayed(event_of_release(hold, release)) == release


@pytest.mark.parametrize("override", [False, True])
@pytest.mark.parametrize("rule", [None, "default:image"])
def test_a_deletion(override: bool, rule: str | None) -> None:
    file = new_file()
    change = Tombstone(
        (file.file_id,), uuid4(), NOON, NOON + DAY, "asked", "clerk", rule, override=override
    )
    (event,) = events_of_tombstone(change, [file])
    assert replayed(event) == evolve(change, whole=False)
    assert retention_then(event) == (file.keep_until, file.retention_rule)


def test_rules() -> None:
    rules = RuleSet(
        (*DEFAULT_RULES.rules, RetentionRule("radar", 700, site="m30")), (Site("m30", ("r-*",)),)
    )
    for change_id in (None, uuid4()):
        entered = RulesRevision(3, rules, NOON, "chief", "una ley", change_id)
        assert replayed(event_of_rules(entered)) == EnterRules(entered)


def test_a_purge() -> None:
    """The row, the deletion, the removal and the certificate; an altered certificate is refused."""
    file = evolve(new_file(STORE), metadata='{"plate": "X 1"}', state=FileState.PURGING)
    deletion = Deletion(file.file_id, uuid4(), NOON, NOON + DAY, "asked", "clerk", None, True)
    removals = {
        copy.replica_id: Removal(copy.replica_id, NOON + DAY, "deleted") for copy in file.replicas
    }
    at = NOON + 2 * DAY
    certificate = certificate_of(file, deletion, removals, None, at)
    event = event_of_purge(EndPurge(certificate), file, deletion, None)
    copies = tuple(evolve(c, state=ReplicaState.GONE, verified_at=None) for c in file.replicas)
    assert replayed(event) == RestorePurged(
        event,
        evolve(erased_file(file, at), replicas=copies),
        evolve(deletion, purged_at=at),
        tuple(removals.values()),
        certificate,
    )
    assert "X 1" not in str(event)
    altered = {**event.details, "certificate": certificate.document.replace("asked", "never")}
    with pytest.raises(InvalidInput, match="digest"):
        replayed(evolve(event, details=altered))


def test_an_undelete() -> None:
    details = {"reason": "error", "actor": "clerk", "keep_until": NOON.isoformat()}
    event = Event(EventKind.UNDELETED, NOON, FileId("F"), None, details)
    assert replayed(event) == Undelete((FileId("F"),), NOON, NOON, "error", "clerk")


@pytest.mark.parametrize("kind", sorted({*EventKind} - JOURNALED))
def test_other_events_tell_of_nothing_to_apply(kind: EventKind) -> None:
    assert replayed(Event(kind, NOON, FileId("F"))) is None


@pytest.mark.parametrize("kind", sorted(JOURNALED))
def test_an_incomplete_event_is_refused(kind: EventKind) -> None:
    with pytest.raises(InvalidInput, match="incomplete"):
        replayed(Event(kind, NOON, FileId("F")))


texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=20)
events = st.builds(
    RecordedEvent,
    st.integers(1, 2**60),
    st.builds(
        Event,
        st.sampled_from(sorted(JOURNALED)),
        st.timedeltas(-DAY, DAY).map(lambda delta: NOON + delta),
        st.none() | st.just(FileId("F")),
        st.none() | st.just(ViolationId("V")),
        st.dictionaries(st.sampled_from(["reason", "actor"]), texts | st.none()),
    ),
)


@given(st.integers(1, 10**12 - 1), st.lists(events, max_size=4))
def test_a_note_is_parsed_as_it_was_written(number: int, given: list[RecordedEvent]) -> None:
    note = Note(number, CATALOGUE, tuple(given))
    assert Note.from_text(note.to_text()) == note
    assert (note_name(number) < note_name(number + 1)) is (number + 1 < 10**12)


@given(st.lists(events, min_size=1, max_size=2), st.integers(0), st.integers(1, 255))
def test_an_altered_note_is_refused(given: list[RecordedEvent], place: int, flip: int) -> None:
    text = bytearray(Note(1, CATALOGUE, tuple(given)).to_text())
    text[place % len(text)] ^= flip
    with pytest.raises(InvalidInput):
        Note.from_text(bytes(text))


def test_a_note_that_was_cut_is_refused() -> None:
    text = Note(1, CATALOGUE, ()).to_text()
    for end in range(len(text)):
        with pytest.raises(InvalidInput):
            Note.from_text(text[:end])


def test_a_note_begins_another_of_its_catalogue() -> None:
    one, two = (RecordedEvent(n, Event(EventKind.PURGED, NOON, FileId("F"))) for n in (1, 2))
    long = Note(1, CATALOGUE, (one, two))
    assert Note(1, CATALOGUE, (one,)).is_begin_of(long)
    assert not Note(1, CATALOGUE, (two,)).is_begin_of(long)
    assert not Note(1, CatalogueId("other"), (one,)).is_begin_of(long)
