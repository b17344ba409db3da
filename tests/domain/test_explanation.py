"""Why a file is kept, until when, by which rule and clock, and what would change it."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from attrs import evolve

from traffic_storage.domain.deletion import Deletion
from traffic_storage.domain.explanation import Explanation
from traffic_storage.domain.files import FileState, StoredFile
from traffic_storage.domain.holds import HeldFile, Hold
from traffic_storage.domain.identifiers import DeviceId
from traffic_storage.domain.retention import DEFAULT_RULES, CaptureBounds, retention_basis
from traffic_storage.domain.retention_rules import RetentionRule, RuleSet
from traffic_storage.domain.rules_in_force import RulesRevision
from traffic_storage.entrypoints.testing.units import NOON, new_evidence, new_file, new_record

DAY = timedelta(days=1)
RADAR = RetentionRule("radar", 700, device="radar-*", legal_source="art. 5")
SPEED = RetentionRule("speed", 900, violation_type="speed")


def explained(
    file: StoredFile, *rules: RetentionRule, at: datetime = NOON + DAY, **more: Any
) -> Explanation:
    """The explanation of a file under the default rules and these."""
    in_force = RulesRevision(3, RuleSet((*DEFAULT_RULES.rules, *rules)), NOON, "me", "")
    given: dict[str, Any] = {"violation": None, "holds": (), "deletion": None}
    return Explanation(file, in_force, at=at, **(given | more))


def test_a_file_is_kept_by_the_longest_rule() -> None:
    file = evolve(
        new_file(),
        device_id=DeviceId("radar-1"),
        keep_until=NOON + 700 * DAY,
        retention_rule="radar",
    )
    found = explained(file, RADAR, SPEED)
    assert found.why == (
        (
            f"it must be kept until {(NOON + 700 * DAY).isoformat()} by the rule radar: 700 days for "
            "device radar-* (art. 5), the longest of 2 rules that apply"
        ),
        f"its retention starts at its receipt, {NOON.isoformat()}, because no capture time was given",
    )
    assert [rule.rule_id for rule in found.applicable] == ["radar", "default-image"]
    assert "a rule of more than 700 days" in found.would_change[0]
    assert found.would_change[1:] == (
        "the next deletion by retention deletes it then",
        "a person may delete it before, with override and a reason",
    )
    assert not found.is_due


def test_a_dead_clock_is_told() -> None:
    basis = retention_basis(datetime(1970, 1, 1, tzinfo=UTC), NOON, CaptureBounds())
    found = explained(evolve(new_file(), retention_basis=basis))
    assert "starts at its receipt" in found.why[-1]
    assert "the clock of the device is not set" in found.why[-1]


def test_a_file_is_due_when_its_retention_has_ended_by_record_and_by_the_rules() -> None:
    file = new_file()
    end = file.keep_until
    assert not explained(file, at=end - DAY / 86_400).is_due
    due = explained(file, at=end)
    assert due.is_due
    assert "the next deletion by retention deletes it" in due.would_change
    longer = explained(file, RetentionRule("all", 500), at=end)
    assert not longer.is_due
    assert any("revision 3" in one and "which a job records" in one for one in longer.would_change)


def test_a_hold_keeps_it_and_is_named() -> None:
    file = new_file()
    hold = Hold(uuid4(), HeldFile(file.file_id), "case 7/25", "a trial", "court", NOON)
    found = explained(file, at=file.keep_until, holds=(hold,))
    assert not found.is_due
    assert found.why[0] == "a legal hold keeps it until it is released: case 7/25 (a trial)"
    assert "a release of every hold ends what the holds keep" in found.would_change
    timed = explained(file, holds=(evolve(hold, until=NOON + DAY),))
    assert timed.why[0].startswith(f"a legal hold keeps it until {(NOON + DAY).isoformat()}")


def test_an_unknown_violation_would_change_it() -> None:
    file = new_file(violation_id="V1")
    (told,) = [one for one in explained(file, SPEED).would_change if "V1" in one]
    assert told == (
        "the violation V1 is not stored; if its type is speed, the rule speed keeps it until "
        f"{(NOON + 900 * DAY).isoformat()}"
    )
    known = new_evidence(new_record("V1")).violation
    found = explained(file, SPEED, violation=known)
    assert found.by_rules.rule == "speed"
    assert not [one for one in found.would_change if "is not stored" in one]


def test_a_rule_that_is_gone_and_time_that_an_undelete_granted() -> None:
    gone = explained(evolve(new_file(), retention_rule="old"))
    assert "by the rule old, which is no longer in force" in gone.why[0]
    granted = explained(evolve(new_file(), retention_rule="undelete"))
    assert "an undelete granted this time" in granted.why[0]


def test_a_deleted_file_tells_why_and_when_it_is_erased() -> None:
    file = evolve(new_file(), state=FileState.TOMBSTONED)
    deletion = Deletion(
        file.file_id, uuid4(), NOON, NOON + 7 * DAY, "its retention has ended", "me", "radar"
    )
    found = explained(file, deletion=deletion)
    assert found.why[:2] == (
        f"it was deleted at {NOON.isoformat()} by me by the rule radar: its retention has ended",
        f"its bytes are erased after {(NOON + 7 * DAY).isoformat()}, unless it is held",
    )
    assert found.would_change == (
        f"an undelete before {(NOON + 7 * DAY).isoformat()} keeps it for 30 days at least",
    )
    assert not found.is_due
    purged = explained(
        evolve(file, state=FileState.PURGED),
        deletion=evolve(deletion, purged_at=NOON + 8 * DAY, override=True, rule=None),
    )
    assert purged.why[0].startswith(f"it was deleted at {NOON.isoformat()} by me, inside its ret")
    assert purged.why[1] == f"its bytes were erased at {(NOON + 8 * DAY).isoformat()}"
    assert purged.would_change == ()
