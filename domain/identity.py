"""Store identity: a store is written only while store and catalogue agree on its incarnation.

A marker in the store holds the ids of the catalogue and of the store, and an incarnation. The
catalogue holds the confirmed incarnation and, while a new one is being introduced, the intended
one. A new incarnation is introduced in three steps, each a compare-and-set: the catalogue records
it as intended, it is written into the marker, the catalogue confirms it. Between any two steps the
marker holds the confirmed or the intended incarnation. If it holds another one, the store is a
copy, or another copy of the store was used, or the catalogue was restored from an older backup.
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
    """The content of a store's marker: ids of catalogue and store, and an incarnation."""

    catalogue_id: CatalogueId
    store_id: StoreId
    incarnation: Incarnation

    def to_text(self) -> str:
        """Return the marker as one line of ASCII."""
        return f"{_PREFIX}:{self.catalogue_id}:{self.store_id}:{self.incarnation}"

    @classmethod
    def from_text(cls, text: str) -> "Marker":
        """Read a text that `to_text` wrote.

        Raises:
            InvalidInput: the text is not a marker.
        """
        prefix, _, rest = text.strip().partition(f"{_PREFIX}:")
        parts = rest.split(":")
        if prefix or len(parts) != _PARTS or not all(parts):
            raise InvalidInput.of("marker", f"is unreadable: {text!a:.100}")
        catalogue, store, incarnation = parts
        return cls(CatalogueId(catalogue), StoreId(store), Incarnation(incarnation))

    def names_store_of(self, other: "Marker") -> bool:
        """Return whether both name the same store of the same catalogue, in any incarnation."""
        mine = self.catalogue_id, self.store_id
        return mine == (other.catalogue_id, other.store_id)


@frozen
class RegisteredStore:
    """The catalogue's entry of a store.

    Attributes:
        location: where the store was last confirmed, for information. It is not unique and proves
            no identity.
        incarnation: the confirmed incarnation; None until the first is confirmed.
        intended: the incarnation that is being introduced; None between two introductions.
        registered_at, intended_at, confirmed_at: the time of each step, by the clock of the host
            that took it.
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
        """Return whether the marker holds the confirmed or the intended incarnation."""
        return marker.incarnation in (self.incarnation, self.intended)

    def agrees_with(self, other: "RegisteredStore") -> bool:
        """Return whether both hold the same incarnations: the comparison of each compare-and-set."""
        return (self.incarnation, self.intended) == (other.incarnation, other.intended)

    def intending(self, incarnation: Incarnation, now: datetime) -> "RegisteredStore":
        """Return the entry after the first step: `incarnation` is intended."""
        return evolve(self, intended=incarnation, intended_at=now)

    def confirming(self, location: str, now: datetime) -> "RegisteredStore":
        """Return the entry after the third step: the intended incarnation is confirmed."""
        return evolve(
            self, location=location, incarnation=self.intended, intended=None, confirmed_at=now
        )

    def is_due(self, now: datetime) -> bool:
        """Return whether a new incarnation must be introduced.

        True if none is confirmed, or the confirmation is `INCARNATION_LASTS` old or in the future.
        """
        if self.confirmed_at is None:
            return True
        return not timedelta() <= now - self.confirmed_at < INCARNATION_LASTS


class Step(StrEnum):
    """The next step of introducing an incarnation."""

    INTEND = "intend"
    MARK = "mark"
    CONFIRM = "confirm"


def next_step(registered: RegisteredStore, marker: Marker | None) -> Step:
    """Return the next step for a store whose marker the catalogue admits (None: not written yet).

    A pending introduction is completed before another begins, regardless of the process that began
    it. Thus the introduction of a process that died is completed, and processes that start
    concurrently agree.
    """
    if registered.intended is None:
        return Step.INTEND
    if marker is None or marker.incarnation != registered.intended:
        return Step.MARK
    return Step.CONFIRM


def _adoption(location: str) -> str:
    return (
        "or, if this is the correct store and no process uses another copy of it, run "
        f"`traffic-storage doctor --adopt-store {location}`"
    )


def other_catalogue(location: str, marker: Marker) -> str:
    """Return the reason why a store whose marker names another catalogue is not trusted."""
    return (
        f"{location} belongs to another catalogue ({marker.catalogue_id}): "
        "connect the database that belongs to this store, or configure another location"
    )


def disagreement(location: str, marker: Marker, registered: RegisteredStore | None) -> str:
    """Return the reason why a store whose marker the catalogue does not admit is not trusted."""
    known = "does not know this store"
    if registered is not None and registered.confirmed_at is not None:
        known = f"confirmed it at {registered.location}, {registered.confirmed_at:%F %T} UTC"
    return (
        f"{location} and the catalogue disagree on the incarnation of {marker.store_id}, and the "
        f"catalogue {known}: this is a copy of the store, or another copy of it was used, or "
        "the catalogue was restored from an older backup. Nothing is written or deleted here; "
        f"connect the store and the catalogue that belong together; {_adoption(location)}"
    )


def unmarked(location: str, registered: Sequence[RegisteredStore], *, empty: bool) -> str:
    """Return the reason why a store without a marker is not trusted; empty if it counts as new.

    `registered` are the stores that the catalogue confirmed at this location.
    """
    if registered:
        return (
            f"{location} has lost its marker: the catalogue knows {registered[-1].store_id} here, so "
            "it may be an empty mount point or another bucket. Mount or configure the correct one; "
            f"{_adoption(location)}"
        )
    if not empty:
        return (
            f"{location} holds files that this catalogue does not know: connect the "
            f"database that belongs to them, or configure an empty location; {_adoption(location)}"
        )
    return ""


def configured_twice(location: str) -> str:
    """Return the reason why a store with the marker of another configured store is not trusted."""
    return (
        f"{location} contains the marker of another configured store: "
        "one is a copy of the other, or both settings name the same location"
    )
