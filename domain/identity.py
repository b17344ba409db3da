"""Store identity: a store and its catalogue agree on an incarnation, or nothing is written.

A marker in the store holds the ids of the catalogue and of the store, and an incarnation. The
catalogue holds the incarnation that it confirmed and, while a new one is being introduced, the one
that it intends. A new incarnation is introduced in three steps, each a compare-and-set: the
catalogue notes it as intended, the store's marker takes it, the catalogue confirms it. Between any
two steps the marker holds one of the two incarnations that the catalogue knows. Where it holds
another, the store is a copy, or another copy of it is in use, or the catalogue is an old backup.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum

from attrs import evolve, frozen

from traffic_storage.domain.errors import InvalidInput
from traffic_storage.domain.files import Tier
from traffic_storage.domain.identifiers import CatalogueId, Incarnation, StoreId

INCARNATION_LASTS = timedelta(hours=1)
_PREFIX = "traffic-storage-marker:2"
_PARTS = 3


@frozen
class Marker:
    """What a store holds about itself."""

    catalogue_id: CatalogueId
    store_id: StoreId
    incarnation: Incarnation

    def to_text(self) -> str:
        """One line of ASCII."""
        return f"{_PREFIX}:{self.catalogue_id}:{self.store_id}:{self.incarnation}"

    @classmethod
    def from_text(cls, text: str) -> "Marker":
        """The marker that `to_text` wrote.

        Raises:
            InvalidInput: the text is no marker.
        """
        prefix, _, rest = text.strip().partition(f"{_PREFIX}:")
        parts = rest.split(":")
        if prefix or len(parts) != _PARTS or not all(parts):
            raise InvalidInput.of("marker", f"is unreadable: {text!a:.100}")
        catalogue, store, incarnation = parts
        return cls(CatalogueId(catalogue), StoreId(store), Incarnation(incarnation))

    def names_store_of(self, other: "Marker") -> bool:
        """Whether both name one store of one catalogue, in whichever incarnation."""
        mine = self.catalogue_id, self.store_id
        return mine == (other.catalogue_id, other.store_id)


@frozen
class RegisteredStore:
    """A store as the catalogue knows it.

    Attributes:
        location: where the store was last seen. Information for people: neither unique nor proof.
        incarnation: the confirmed incarnation; None until the first is confirmed.
        intended: an incarnation that is being introduced; None between two introductions.
        registered_at, intended_at, confirmed_at: when each was noted, by the noting host's clock.
    """

    store_id: StoreId
    tier: Tier
    location: str
    registered_at: datetime
    incarnation: Incarnation | None = None
    intended: Incarnation | None = None
    intended_at: datetime | None = None
    confirmed_at: datetime | None = None

    def admits(self, marker: Marker) -> bool:
        """Whether the catalogue knows the incarnation in the store's marker."""
        return marker.incarnation in (self.incarnation, self.intended)

    def agrees_with(self, other: "RegisteredStore") -> bool:
        """Whether both hold the same incarnations: the compare in each compare-and-set."""
        return (self.incarnation, self.intended) == (other.incarnation, other.intended)

    def intending(self, incarnation: Incarnation, now: datetime) -> "RegisteredStore":
        """The store after the first step."""
        return evolve(self, intended=incarnation, intended_at=now)

    def confirming(self, location: str, now: datetime) -> "RegisteredStore":
        """The store after the third step."""
        return evolve(
            self, location=location, incarnation=self.intended, intended=None, confirmed_at=now
        )

    def is_due(self, now: datetime) -> bool:
        """Whether the confirmed incarnation is as old as one may get, or from the future."""
        if self.confirmed_at is None:
            return True
        return not timedelta() <= now - self.confirmed_at < INCARNATION_LASTS


class Step(StrEnum):
    """The next step of introducing an incarnation."""

    INTEND = "intend"
    MARK = "mark"
    CONFIRM = "confirm"


def next_step(registered: RegisteredStore, marker: Marker | None) -> Step:
    """The step that comes next for a store whose marker the catalogue admits (None: not written).

    A pending introduction is completed before another begins, whichever process began it: a
    process that died between two steps is finished, and processes that start at once agree.
    """
    if registered.intended is None:
        return Step.INTEND
    if marker is None or marker.incarnation != registered.intended:
        return Step.MARK
    return Step.CONFIRM


def _adoption(location: str) -> str:
    return (
        "or, if this is the right one and no process uses another, run "
        f"`traffic-storage doctor --adopt-store {location}`"
    )


def other_catalogue(location: str, marker: Marker) -> str:
    """Why a store is not trusted that names another catalogue."""
    return (
        f"{location} belongs to another catalogue ({marker.catalogue_id}): "
        "connect the database that it was filled with, or choose another place"
    )


def disagreement(location: str, marker: Marker, registered: RegisteredStore | None) -> str:
    """Why a store is not trusted whose incarnation the catalogue does not know."""
    known = "does not know it"
    if registered is not None and registered.confirmed_at is not None:
        known = f"confirmed it at {registered.location}, {registered.confirmed_at:%F %T} UTC"
    return (
        f"{location} and the catalogue disagree on the incarnation of {marker.store_id}, and the "
        f"catalogue {known}: this is a copy of the store, or another copy was taken into use, or "
        "the catalogue was restored from an older backup. Nothing is written or deleted here; "
        f"connect the store and the catalogue that belong together; {_adoption(location)}"
    )


def unmarked(location: str, registered: Sequence[RegisteredStore], *, empty: bool) -> str:
    """Why a store without a marker is not trusted; empty if it can be taken as a new store.

    `registered` are the stores that the catalogue confirmed at this location.
    """
    if registered:
        return (
            f"{location} has lost its marker: the catalogue knows {registered[-1].store_id} here, so "
            f"it may be an empty mount point or another bucket. Mount the right one; {_adoption(location)}"
        )
    if not empty:
        return (
            f"{location} holds files that this catalogue does not know: connect the "
            f"database that it was filled with, or choose an empty place; {_adoption(location)}"
        )
    return ""


def configured_twice(location: str) -> str:
    """Why a store is not trusted whose marker another configured store shows too."""
    return (
        f"{location} carries the marker of a store that is configured already: "
        "one is a copy of the other, or both settings name one place"
    )
