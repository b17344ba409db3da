"""Directory: the stores of this process by id, and which of them may be changed (are trusted)."""

import logging
from collections.abc import Iterator, Mapping, Sequence

from attrs import define, field, frozen

from traffic_storage.domain.errors import StorageUnavailable
from traffic_storage.domain.files import Tier
from traffic_storage.domain.identifiers import StoreId
from traffic_storage.ports.blob_store import BlobStore, Room
from traffic_storage.ports.store_identity import MarkedBlobStore

logger = logging.getLogger("traffic_storage.stores")

NOT_BOUND = "it is not verified yet that this is the registered store"
NOT_USED = "the storage strategy does not use this store"


@frozen
class StoreLimits:
    """The limits of the space that files may occupy in a store.

    Attributes:
        limit_bytes: the bytes that files may occupy; None: no limit.
        reserve_bytes: the bytes that must stay free on the disk.
        evidence_share: the share of the store's capacity that only evidence of violations may use.
    """

    limit_bytes: int | None = None
    reserve_bytes: int = 0
    evidence_share: float = 0.0


@frozen
class ConfiguredStore:
    """A store that is named in the configuration.

    Attributes:
        written: whether the strategy stores new files here. A store that the strategy does not use
            still serves reads of the files in it.
        device_pattern: shell pattern of the device ids whose files this cloud store receives; None:
            all devices that match no other pattern.
    """

    store: MarkedBlobStore
    limits: StoreLimits
    written: bool = True
    device_pattern: str | None = None


@frozen
class Identity:
    """The id of a configured store in the catalogue, as far as it is known, and if it is trusted.

    `untrusted_reason` states why nothing may be written or deleted in the store; it is empty if the
    store is trusted, that is, verified to be the one with this id.
    """

    store_id: StoreId | None = None
    untrusted_reason: str = NOT_BOUND


@define
class BoundStore:
    """A configured store, its id in the catalogue, and its free space when last measured."""

    configured: ConfiguredStore
    identity: Identity = Identity()
    room: Room = field(factory=Room)

    @property
    def store(self) -> MarkedBlobStore:
        """The adapter that reads and writes this store."""
        return self.configured.store

    @property
    def store_id(self) -> StoreId | None:
        """The id of this store in the catalogue; None while it is unknown."""
        return self.identity.store_id

    @property
    def untrusted_reason(self) -> str:
        """The reason why nothing may be changed in this store; empty if it may be changed."""
        return self.identity.untrusted_reason

    @property
    def trusted(self) -> bool:
        """Whether this store is verified to be the registered one, so that it may be changed."""
        return not self.untrusted_reason


class Directory:
    """All stores of this process by their ids, with what is known of each."""

    def __init__(self, configured: Sequence[ConfiguredStore]) -> None:
        self._all = [BoundStore(store) for store in configured]
        # A property of each adapter that wraps another: not asked for again for every file.
        self._of_tier = {
            tier: [one for one in self._all if one.store.tier is tier] for tier in Tier
        }
        self._by_id: dict[StoreId, BoundStore] = {}
        self._elsewhere: Mapping[StoreId, str] = {}
        self._is_bound = False

    def __iter__(self) -> Iterator[BoundStore]:
        return iter(self._all)

    @property
    def is_bound(self) -> bool:
        """Whether `bind` was called at least once."""
        return self._is_bound

    def of_tier(self, tier: Tier) -> Sequence[BoundStore]:
        """Return the stores of a tier, in the order of the configuration."""
        return self._of_tier[tier]

    def bind(self, identities: Sequence[Identity]) -> None:
        """Set the id of each store and whether it may be changed, in the order of the configuration."""
        for bound, identity in zip(self._all, identities, strict=True):
            reason = identity.untrusted_reason
            if reason not in {"", NOT_USED, bound.untrusted_reason}:
                logger.error("nothing is written to %s: %s", bound.store.location, reason)
            bound.identity = identity
        self._by_id = {bound.store_id: bound for bound in self._all if bound.store_id is not None}
        self._is_bound = True

    def note_elsewhere(self, locations: Mapping[StoreId, str]) -> None:
        """Record the last known locations of all registered stores, for error messages."""
        self._elsewhere = locations

    def __contains__(self, store_id: StoreId) -> bool:
        return store_id in self._by_id

    def known(self, store_id: StoreId) -> BoundStore:
        """Return the store of this process with this id.

        Raises:
            StorageUnavailable: this process has no such store.
        """
        if bound := self._by_id.get(store_id):
            return bound
        where = f"{self._elsewhere[store_id]}: " if store_id in self._elsewhere else ""
        raise StorageUnavailable(
            f"{where}the store {store_id} is not configured in this process",
            remedy="configure it here, or send the request to the process that has it",
        )

    def blob_store(self, store_id: StoreId) -> BlobStore:
        """Return the adapter of a store of this process, for reading.

        Raises:
            StorageUnavailable: this process has no such store.
        """
        return self.known(store_id).store

    def trusted(self, store_id: StoreId) -> MarkedBlobStore:
        """Return the adapter of a store that may be changed. Call it immediately before each change.

        Raises:
            StorageUnavailable: this process has no such store, or the store is not verified to be
                the registered one; the message gives the reason.
        """
        bound = self.known(store_id)
        if not bound.trusted:
            raise StorageUnavailable(
                f"the store {store_id} is not trusted, so it is not changed: {bound.untrusted_reason}"
            )
        return bound.store
