"""Store identity: what a store says of itself, held against what the catalogue knows."""

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from traffic_storage.domain.errors import InvalidInput
from traffic_storage.domain.files import Tier
from traffic_storage.domain.identifiers import CatalogueId, StoreId
from traffic_storage.domain.identity import EnrolledStore, Marker, Verdict, judge

OURS = CatalogueId("catalogue-1")
STORE = StoreId("local-1")
MARKER = Marker(OURS, STORE)
NEW = EnrolledStore(STORE, Tier.LOCAL, "host:/blobs", marked=False)
KNOWN = evolve(NEW, marked=True)
WORDS = st.text("abz019-", min_size=1, max_size=40)


@given(st.builds(Marker, WORDS.map(CatalogueId), WORDS.map(StoreId)))
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
        "hello:world",
        "catalogue-1:local-1",
        "traffic-storage-marker",
        "traffic-storage-marker:1",
        "traffic-storage-marker:1:",
        "traffic-storage-marker:1::",
        "traffic-storage-marker:1:catalogue-1",
        "traffic-storage-marker:1:catalogue-1:",
        "traffic-storage-marker:1::local-1",
        "traffic-storage-marker:2:catalogue-1:local-1",
        "x traffic-storage-marker:1:catalogue-1:local-1",
        "\x00" * 100_000,
        "\ud800",
    ],
)
def test_what_is_no_marker_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="marker: is unreadable") as caught:
        Marker.from_text(text)
    assert len(str(caught.value)) < 200
    assert str(caught.value).isprintable()


@given(st.text())
def test_any_text_is_a_marker_or_refused(text: str) -> None:
    try:
        marker = Marker.from_text(text)
    except InvalidInput:
        return
    assert text.strip() == marker.to_text()


@pytest.mark.parametrize(
    ("enrolled", "marker", "empty", "unavailable_reason", "write_marker"),
    [
        # A new store in an empty place is taken.
        (NEW, None, True, "", True),
        # An empty catalogue on a full store.
        (NEW, None, False, "holds files that this catalogue does not know", False),
        # A full catalogue on an empty mount point, or on another's folder.
        (KNOWN, None, True, "has lost its marker", False),
        (KNOWN, None, False, "has lost its marker", False),
        # Its own marker: it is itself, and that it was seen is noted.
        (KNOWN, MARKER, True, "", False),
        (KNOWN, MARKER, False, "", False),
        (NEW, MARKER, True, "", True),
        (NEW, MARKER, False, "", True),
        # Somebody else's.
        (NEW, Marker(CatalogueId("other"), STORE), True, "belongs to another catalogue", False),
        (KNOWN, Marker(CatalogueId("other"), STORE), False, "belongs to another catalogue", False),
        (NEW, Marker(OURS, StoreId("local-2")), True, "marker of another store", False),
        (KNOWN, Marker(OURS, StoreId("local-2")), False, "marker of another store", False),
    ],
)
def test_the_table_of_verdicts(
    enrolled: EnrolledStore,
    marker: Marker | None,
    empty: bool,
    unavailable_reason: str,
    write_marker: bool,
) -> None:
    verdict = judge(OURS, enrolled, marker, empty=empty)
    assert verdict.write_marker == write_marker
    if unavailable_reason:
        assert unavailable_reason in verdict.unavailable_reason
        assert enrolled.location in verdict.unavailable_reason
        assert not verdict.write_marker
    else:
        assert verdict == Verdict(write_marker=write_marker)
