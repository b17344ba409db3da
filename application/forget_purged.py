"""ForgetPurged: drops from the caches of this process what other processes have purged."""

import logging
from collections.abc import Sequence

from traffic_storage.application.replica_reader import cached_under
from traffic_storage.application.stores import Stores
from traffic_storage.domain.digests import Sha256
from traffic_storage.domain.events import Event, EventKind
from traffic_storage.domain.files import BlobKey, ReplicaState, replica_id_of
from traffic_storage.ports.blob_store import BlobStore
from traffic_storage.ports.cache import Cache
from traffic_storage.ports.outbox import Outbox
from traffic_storage.ports.reconciliation import Reconciliation

logger = logging.getLogger("traffic_storage.purge")

_PAGE = 1000


class ForgetPurged:
    """Follows the events of purges, and drops the bytes of purged files from every cache.

    A cache that is kept across restarts (`BlobStore.cached_keys`) is compared with the catalogue
    once, at the first call: a process that did not run learns nothing from events that were
    deleted since. Each event is used in two calls: a read that began before a purge may have put
    its bytes into the cache after the first.
    """

    def __init__(
        self, *, outbox: Outbox, replicas: Reconciliation, cache: Cache, stores: Stores
    ) -> None:
        self._outbox = outbox
        self._replicas = replicas
        self._cache = cache
        self._stores = stores
        self._before: int | None = None
        self._last = 0

    async def __call__(self) -> None:
        """Drop what was purged since the call before the last one.

        Raises:
            CatalogueUnavailable: the database can't be reached.
        """
        last = await self._outbox.last_event()
        if self._before is None:
            for bound in self._stores:
                await self._compare(bound.store)
            self._before = self._last = last
            return
        after, self._before = self._before, self._last
        while page := await self._outbox.events(after, _PAGE):
            for one in page:
                if one.event.kind is EventKind.PURGED:
                    await self._forget(one.event)
            after = page[-1].sequence
        self._last = max(last, after)

    async def _forget(self, event: Event) -> None:
        await self._cache.drop(cached_under(Sha256(str(event.details["stored_sha256"]))))
        keys = [BlobKey(str(key)) for key in _listed(event, "keys")]
        for bound in self._stores:
            for key in keys:
                await bound.store.forget(key)

    async def _compare(self, store: BlobStore) -> None:
        keys = list(await store.cached_keys())
        for begin in range(0, len(keys), _PAGE):
            part = {replica_id_of(key): key for key in keys[begin : begin + _PAGE]}
            known = await self._replicas.replicas(part)
            for replica_id, key in part.items():
                found = known.get(replica_id)
                if found is None or found.state is ReplicaState.GONE:
                    await store.forget(key)


def _listed(event: Event, name: str) -> Sequence[object]:
    found = event.details.get(name)
    return found if isinstance(found, list) else ()
