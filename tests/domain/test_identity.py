"""Store identity: when store and catalogue agree, and what an introduction does next."""

from datetime import UTC, datetime, timedelta

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from traffic_storage.domain.errors import InvalidInput
from traffic_storage.domain.files import Tier
from traffic_storage.domain.identifiers import CatalogueId, Incarnation, StoreId
from traffic_storage.domain.identity import (
    INCARNATION_LASTS,
    Marker,
    RegisteredStore,
    Step,
    configured_twice,
    disagreement,
    next_step,
    other_catalogue,
    unmarked,
)
from traffic_storage.entrypoints.testing import strategies as values

NOON = datetime(2026, 3, 14, 12, tzinfo=UTC)
FIRST, SECOND, THIRD = (Incarnation(name) for name in ("first", "second", "third"))
MARKER = Marker(CatalogueId("catalogue-1"), StoreId("local-1"), FIRST)
NEW = RegisteredStore(StoreId("local-1"), Tier.LOCAL, "/blobs", NOON, intended=FIRST)
KNOWN = NEW.confirming("/blobs", NOON)
INTENDING = KNOWN.intending(SECOND, NOON)
WORDS = st.text("abz019-", min_size=1, max_size=40)


@given(
    st.builds(Marker, WORDS.map(CatalogueId), WORDS.map(StoreId), WORDS.map(Incarnation))
    | values.markers()
)
def test_a_marker_is_one_line_that_is_read_again(marker: Marker) -> None:
    text = marker.to_text()
    assert text.isascii()
    assert len(text.splitlines()) == 1
    assert Marker.from_text(text) == Marker.from_text(f"{text}\n") == marker


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "hello",
        "hello:world:again",
        "catalogue-1:local-1:first",
        "traffic-storage-marker",
        "traffic-storage-marker:2",
        "traffic-storage-marker:2:",
        "traffic-storage-marker:2:::",
        "traffic-storage-marker:2:catalogue-1:local-1",
        "traffic-storage-marker:2:catalogue-1:local-1:",
        "traffic-storage-marker:2::local-1:first",
        "traffic-storage-marker:2:catalogue-1::first",
        "traffic-storage-marker:2:catalogue-1:local-1:first:more",
        "traffic-storage-marker:1:catalogue-1:local-1:first",
        "x traffic-storage-marker:2:catalogue-1:local-1:first",
        "\x00" * 100_000,
        "\ud800",
    ],
)
def test_what_is_no_marker_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="identification file is unreadable") as caught:
        Marker.from_text(text)
    assert len(str(caught.value)) < 200
    assert str(caught.value).isprintable()


@given(st.text())
def test_any_text_is_a_marker_or_refused(text: str) -> None:
    try:
        marker = Marker.from_text(text)
    except InvalidInput:
        return
    assert Marker.from_text(marker.to_text()) == marker


def test_a_marker_names_a_store_in_any_incarnation() -> None:
    assert MARKER.names_store_of(evolve(MARKER, incarnation=SECOND))
    assert not MARKER.names_store_of(evolve(MARKER, store_id=StoreId("local-2")))
    assert not MARKER.names_store_of(evolve(MARKER, catalogue_id=CatalogueId("catalogue-2")))


@pytest.mark.parametrize(
    ("registered", "held", "admitted"),
    [
        (NEW, FIRST, True),
        (NEW, SECOND, False),
        (KNOWN, FIRST, True),
        (KNOWN, SECOND, False),
        (INTENDING, FIRST, True),
        (INTENDING, SECOND, True),
        (INTENDING, THIRD, False),
    ],
)
def test_a_catalogue_admits_what_it_confirmed_and_what_it_intends(
    registered: RegisteredStore, held: Incarnation, *, admitted: bool
) -> None:
    assert registered.admits(evolve(MARKER, incarnation=held)) is admitted


@pytest.mark.parametrize(
    ("registered", "held", "step"),
    [
        (KNOWN, FIRST, Step.INTEND),
        (NEW, None, Step.MARK),
        (NEW, FIRST, Step.CONFIRM),
        (INTENDING, FIRST, Step.MARK),
        (INTENDING, SECOND, Step.CONFIRM),
    ],
)
def test_a_pending_introduction_is_completed_before_another_begins(
    registered: RegisteredStore, held: Incarnation | None, step: Step
) -> None:
    marker = None if held is None else evolve(MARKER, incarnation=held)
    assert next_step(registered, marker) is step


def test_three_steps_change_what_they_say() -> None:
    later = NOON + timedelta(hours=2)
    intending = KNOWN.intending(SECOND, later)
    assert intending == evolve(KNOWN, intended=SECOND, intended_at=later)
    assert intending.confirming("/elsewhere", later) == evolve(
        KNOWN, location="/elsewhere", incarnation=SECOND, intended_at=later, confirmed_at=later
    )
    assert not intending.agrees_with(KNOWN)
    assert evolve(KNOWN, location="/elsewhere", confirmed_at=later).agrees_with(KNOWN)


@given(st.timedeltas(timedelta(days=-9), timedelta(days=9)))
def test_an_incarnation_is_due_after_an_hour_or_from_the_future(age: timedelta) -> None:
    assert KNOWN.is_due(NOON + age) is not (timedelta() <= age < INCARNATION_LASTS)
    assert NEW.is_due(NOON + age)


def test_each_doubt_says_what_to_do() -> None:
    doubts = [
        (other_catalogue("/blobs", MARKER), "connect the database that belongs to this store"),
        (disagreement("/blobs", MARKER, KNOWN), "confirmed it at /blobs, 2026-03-14 12:00:00 UTC"),
        (disagreement("/blobs", MARKER, None), "has never confirmed this store"),
        (disagreement("/blobs", MARKER, NEW), "doctor --adopt-store /blobs"),
        (
            unmarked("/blobs", [KNOWN], empty=True),
            "Mount the disk or configure the bucket of this store",
        ),
        (unmarked("/blobs", [], empty=False), "doctor --adopt-store /blobs"),
        (configured_twice("/blobs"), "one store is a copy of the other"),
    ]
    for said, what in doubts:
        assert said.startswith("/blobs ")
        assert what in said
    assert unmarked("/blobs", [], empty=True) == ""
