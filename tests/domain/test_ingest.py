"""Units: what they claim, and what was there before them."""

from attrs import evolve
from hypothesis import given, settings

from traffic_storage.domain.files import BlobKey, FileKind
from traffic_storage.domain.identifiers import FileId
from traffic_storage.domain.ingest import ClaimedIds, ExistingRows, Unit
from traffic_storage.domain.violation import StoredViolation
from traffic_storage.entrypoints.testing import strategies as kit

# A unit is hundreds of draws.
few = settings(max_examples=20)


@few
@given(kit.units())
def test_a_unit_claims_its_files_and_its_violation(unit: Unit) -> None:
    violation = unit.violation.violation_id if unit.violation else None
    assert unit.names == ClaimedIds(tuple(file.file_id for file in unit.files), violation)
    assert Unit(unit.files).names.violation is None


@few
@given(kit.evidence_units())
def test_a_unit_knows_its_files_by_kind(unit: Unit) -> None:
    for kind in FileKind:
        found = unit.of_kind(kind)
        assert found == next((file for file in unit.files if file.kind is kind), None)
    assert unit.of_kind(FileKind.METADATA) is not None


@few
@given(kit.units(), kit.stored_violations())
def test_existing_rows_say_whether_there_are_any(unit: Unit, violation: StoredViolation) -> None:
    assert not ExistingRows()
    assert ExistingRows(violation=violation)
    assert ExistingRows({unit.files[0].file_id: unit.files[0]})


def keys_of(unit: Unit) -> set[BlobKey]:
    return {replica.key for file in unit.files for replica in file.replicas}


def held(unit: Unit) -> ExistingRows:
    return ExistingRows({file.file_id: file for file in unit.files}, unit.violation)


@few
@given(kit.units())
def test_a_unit_is_shown_by_what_is_held_of_it_and_nothing_less(unit: Unit) -> None:
    assert unit.is_shown_by(held(unit))
    assert not unit.is_shown_by(ExistingRows())
    partly = dict(held(unit).files)
    partly.pop(unit.files[-1].file_id)
    assert not unit.is_shown_by(ExistingRows(partly, unit.violation))


@few
@given(kit.units(), kit.units())
def test_what_another_attempt_made_visible_is_another_unit(unit: Unit, other: Unit) -> None:
    if keys_of(unit) & keys_of(other):
        return  # Drawn alike by chance.
    names = [file.file_id for file in unit.files]
    theirs = [evolve(file, file_id=name) for file, name in zip(other.files, names, strict=False)]
    assert not unit.is_shown_by(
        ExistingRows({file.file_id: file for file in theirs}, unit.violation)
    )


@few
@given(kit.stored_violations(), kit.stored_violations())
def test_a_unit_without_files_is_known_by_its_violation(
    violation: StoredViolation, other: StoredViolation
) -> None:
    unit = Unit((), violation)
    assert unit.is_shown_by(ExistingRows(violation=violation))
    assert not unit.is_shown_by(ExistingRows())
    same = (violation.record_sha256, violation.received_at) == (
        other.record_sha256,
        other.received_at,
    )
    assert unit.is_shown_by(ExistingRows(violation=other)) == same
    assert Unit(()).is_shown_by(ExistingRows({FileId("a"): None}))  # type: ignore[dict-item]
