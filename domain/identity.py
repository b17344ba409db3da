"""Store identity: a store belongs to one catalogue, and each can prove it to the other.

Each store carries a marker that names its catalogue and its own id. Where marker and catalogue
disagree (wrong database, wrong bucket, an empty mount point) nothing is written or deleted there.
"""

from attrs import frozen

from traffic_storage.domain.errors import InvalidInput
from traffic_storage.domain.files import Tier
from traffic_storage.domain.identifiers import CatalogueId, StoreId

_PREFIX = "traffic-storage-marker:1"


@frozen
class Marker:
    """What a store says of itself."""

    catalogue_id: CatalogueId
    store_id: StoreId

    def to_text(self) -> str:
        """One line of ASCII."""
        return f"{_PREFIX}:{self.catalogue_id}:{self.store_id}"

    @classmethod
    def from_text(cls, text: str) -> "Marker":
        """The marker that `to_text` wrote.

        Raises:
            InvalidInput: it is none.
        """
        prefix, _, rest = text.strip().partition(f"{_PREFIX}:")
        catalogue, _, store = rest.partition(":")
        if prefix or not catalogue or not store:
            raise InvalidInput.of("marker", f"is unreadable: {text!a:.100}")
        return cls(CatalogueId(catalogue), StoreId(store))


@frozen
class EnrolledStore:
    """A store as the catalogue knows it.

    `location` says where it is (host and folder, or endpoint and bucket); unique. Of several
    copies of a store it is the one that counts. `marked` says whether its marker was once seen in it: from then on a store without one is not this store.
    """

    store_id: StoreId
    tier: Tier
    location: str
    marked: bool


@frozen
class Verdict:
    """Whether a store may be written, and why not, in words (empty: it may)."""

    unavailable_reason: str = ""
    write_marker: bool = False


def judge(
    catalogue: CatalogueId, enrolled: EnrolledStore, marker: Marker | None, *, empty: bool
) -> Verdict:
    """Hold what a store says of itself against what the catalogue knows.

    `empty` says that the store holds no blob of ours; it counts only where there is no marker.
    """
    if marker is None:
        return _judge_unmarked(enrolled, empty)
    if marker.catalogue_id != catalogue:
        return Verdict(
            f"{enrolled.location} belongs to another catalogue ({marker.catalogue_id}): "
            "connect the database that it was filled with, or choose another place"
        )
    if marker.store_id != enrolled.store_id:
        return Verdict(
            f"{enrolled.location} carries the marker of another store ({marker.store_id}): "
            "check mount points and bucket names"
        )
    return Verdict(write_marker=not enrolled.marked)


def two_copies(there: str, here: str) -> str:
    """Why a store is not trusted whose old place can be seen to hold a copy of it."""
    return (
        f"two copies of one store exist, at {there} and at {here}: the catalogue means the first; "
        "move away the one that is out of date, or remove its marker "
        "(.traffic-storage in a folder, .traffic-storage-marker in a bucket)"
    )


def taken_over(known: EnrolledStore, here: str) -> str:
    """Why a store is not trusted that another process placed elsewhere since this one did."""
    return (
        f"the store {known.store_id} at {here} was taken over by a process that has it at "
        f"{known.location}: one of the two is a copy; stop the process that works on the copy and "
        "take the copy away. A restart of this service takes the store back over"
    )


def _judge_unmarked(enrolled: EnrolledStore, empty: bool) -> Verdict:
    if enrolled.marked:
        return Verdict(
            f"{enrolled.location} has lost its marker: it may be an empty mount point or another "
            "bucket; mount the right one"
        )
    if not empty:
        return Verdict(
            f"{enrolled.location} holds files that this catalogue does not know: connect the "
            "database that it was filled with, or choose an empty place"
        )
    return Verdict(write_marker=True)
