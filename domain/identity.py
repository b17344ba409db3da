"""Store identity: a store is written only while it and the catalogue hold the same random token.

The token is called the incarnation; it is replaced at each start and each hour. The marker (a small
identification file or object in the store) holds the ids of the catalogue and of the store, and an
incarnation. The catalogue holds the confirmed incarnation and, while a new one is being introduced,
the intended one. A new incarnation is introduced in three steps, each a compare-and-set: the
catalogue records it as intended, it is written into the marker, the catalogue confirms it. Between
any two steps the marker holds the confirmed or the intended incarnation. If it holds another one,
the store is a copy, or another copy of the store was used, or the catalogue was restored from an
older backup.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum

from attrs import evolve, frozen

from traffic_storage.domain.errors import InvalidInput
from traffic_storage.domain.files import Tier
from traffic_storage.domain.identifiers import CatalogueId, Incarnation, StoreId

INCARNATION_LASTS = timedelta(hours=1)
LOADED = "loaded-"
"""The incarnations in a catalogue that was loaded from a backup begin with this; no store has one."""

_PREFIX = "traffic-storage-marker:2"
_PARTS = 3


@frozen
class Marker:
    """The content of the small identification file or object (the marker) in a store.

    `incarnation` is a random token that the catalogue must hold too; if it does not, the store or
    the catalogue is a copy or an old backup.
    """

    catalogue_id: CatalogueId
    store_id: StoreId
    incarnation: Incarnation

    def to_text(self) -> str:
        """Return the content of a store's identification file (marker) as one line of ASCII."""
        return f"{_PREFIX}:{self.catalogue_id}:{self.store_id}:{self.incarnation}"

    @classmethod
    def from_text(cls, text: str) -> "Marker":
        """Parse the content of a store's identification file (marker), as written by `to_text`.

        Raises:
            InvalidInput: the text does not have this form.
        """
        prefix, _, rest = text.strip().partition(f"{_PREFIX}:")
        parts = rest.split(":")
        if prefix or len(parts) != _PARTS or not all(parts):
            raise InvalidInput.of(
                "marker",
                f"the store's identification file is unreadable: {text!a:.100}",
                "restore it from a backup",
            )
        catalogue, store, incarnation = parts
        return cls(CatalogueId(catalogue), StoreId(store), Incarnation(incarnation))

    def names_store_of(self, other: "Marker") -> bool:
        """Return whether two identification files (markers) name the same store and catalogue.

        The incarnations (random tokens) in them may differ.
        """
        mine = self.catalogue_id, self.store_id
        return mine == (other.catalogue_id, other.store_id)


@frozen
class RegisteredStore:
    """The catalogue's entry of a store.

    An incarnation is a random token that the catalogue and the identification file in the store
    (the marker) must share; see the module.

    Attributes:
        location: the folder or bucket at which the store was last confirmed, for information. It is
            not unique and proves no identity.
        registered_at: when the entry was made. This and the other times are by the clock of the
            host that made the change.
        incarnation: the confirmed incarnation; None until the first is confirmed.
        intended: the incarnation that is being introduced; None if none is.
        intended_at: when the last introduction began.
        confirmed_at: when `incarnation` was confirmed.
    """

    store_id: StoreId
    tier: Tier
    location: str
    registered_at: datetime
    incarnation: Incarnation | None = None
    intended: Incarnation | None = None
    intended_at: datetime | None = None
    confirmed_at: datetime | None = None

    @property
    def is_of_backup(self) -> bool:
        """Whether the entry was loaded from a backup, and the store was not accepted since."""
        return self.incarnation is not None and self.incarnation.startswith(LOADED)

    def admits(self, marker: Marker) -> bool:
        """Return whether this entry has the random token of the store's identification file.

        The file is the marker, the token its incarnation. The entry may have the token as the
        confirmed or as the intended one.
        """
        return marker.incarnation in (self.incarnation, self.intended)

    def agrees_with(self, other: "RegisteredStore") -> bool:
        """Return whether two entries of a store have the same confirmed and intended incarnations.

        An incarnation is a random token. The catalogue replaces an entry only if it agrees in this
        way with the entry that the caller expects.
        """
        return (self.incarnation, self.intended) == (other.incarnation, other.intended)

    def intending(self, incarnation: Incarnation, now: datetime) -> "RegisteredStore":
        """Return this entry with `incarnation`, a new random token, as the intended one."""
        return evolve(self, intended=incarnation, intended_at=now)

    def confirming(self, location: str, now: datetime) -> "RegisteredStore":
        """Return this entry with its intended incarnation (a random token) as the confirmed one.

        `location` is where the store was when it was confirmed.
        """
        return evolve(
            self, location=location, incarnation=self.intended, intended=None, confirmed_at=now
        )

    def is_due(self, now: datetime) -> bool:
        """Return whether the store needs a new incarnation (the random token that identifies it).

        This is so if none is confirmed, or the last confirmation is at least `INCARNATION_LASTS`
        ago or in the future.
        """
        if self.confirmed_at is None:
            return True
        return not timedelta() <= now - self.confirmed_at < INCARNATION_LASTS


class Step(StrEnum):
    """The three steps of giving a store a new incarnation (random token), in this order.

    The catalogue records the token as intended; it is written into the marker (the identification
    file in the store); the catalogue records it as confirmed.
    """

    INTEND = "intend"
    MARK = "mark"
    CONFIRM = "confirm"


def next_step(registered: RegisteredStore, marker: Marker | None) -> Step:
    """Return the next step of giving a store a new incarnation (random token).

    `marker` is the content of the store's identification file, None if it is not written yet; its
    incarnation is one of those in `registered`. An introduction that any process began is completed
    before another begins. Thus the introduction of a process that died is completed, and processes
    that start concurrently use the same incarnation.
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
    """Return the error message about a location whose store belongs to another catalogue."""
    return (
        f"{location} holds a store that belongs to another catalogue ({marker.catalogue_id}): "
        "connect the database that belongs to this store, or configure another location"
    )


def disagreement(location: str, marker: Marker, registered: RegisteredStore | None) -> str:
    """Return the error message about a store whose random token the catalogue does not hold.

    The token is the `incarnation` in `marker`, the store's identification file. `registered` is the
    catalogue's entry of the store, None if there is none.
    """
    if registered is not None and registered.is_of_backup:
        return of_backup(location)
    known = "has never confirmed this store"
    if registered is not None and registered.confirmed_at is not None:
        known = f"confirmed it at {registered.location}, {registered.confirmed_at:%F %T} UTC"
    return (
        f"{location} and the catalogue disagree on the incarnation (the random token "
        f"that both must hold) of the store {marker.store_id}, and the catalogue {known}: this is "
        "a copy of the store, or another copy of it was used, or the catalogue was restored from "
        "an older backup. Nothing is written or deleted here; "
        f"connect the store and the catalogue that belong together; {_adoption(location)}"
    )


def of_backup(location: str) -> str:
    """Return the error message about a store whose catalogue was loaded from a backup."""
    return (
        f"the catalogue was loaded from a backup, and {location} may hold what it does not know; nothing "
        "is written or deleted there: run `traffic-storage rebuild` on this host"
    )


def unmarked(location: str, registered: Sequence[RegisteredStore], *, empty: bool) -> str:
    """Return why a location without an identification file (marker) can't become a new store.

    The result is empty if it can: the location is empty, and no store is registered there.
    `registered` are the stores that the catalogue confirmed at this location; `empty` is whether
    the location contains nothing.
    """
    if registered:
        return (
            f"{location} has lost its identification file (marker): the catalogue has the store "
            f"{registered[-1].store_id} at this location, so it may be an empty mount point or "
            "another bucket. Mount the disk or configure the bucket of this store; "
            f"{_adoption(location)}"
        )
    if not empty:
        return (
            f"{location} has no identification file (marker) but holds other files, and this "
            "catalogue has no store at this location: connect the database that belongs to these "
            "files, or configure an empty location; "
            f"{_adoption(location)}"
        )
    return ""


def configured_twice(location: str) -> str:
    """Return the error message about a location that contains an already configured store."""
    return (
        f"{location} contains the identification file (marker) of another configured store: "
        "one store is a copy of the other, or both settings name the same location; "
        "configure only one of them"
    )
