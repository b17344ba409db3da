"""RetargetCopies: what waits for a cloud store that is configured no more goes to the present one."""

from traffic_storage.application.stores import Stores
from traffic_storage.domain.identifiers import StoreId
from traffic_storage.domain.placement import UNKNOWN_STORE
from traffic_storage.ports.jobs import JobQueue


class RetargetCopies:
    """Lets copies that wait for a cloud store that this process does not have be made in the cloud.

    They were planned while another bucket was configured, or by an earlier version, which gave an
    id of its own to a bucket that it had not reached yet. Nobody would make them.
    """

    def __init__(self, *, stores: Stores, queue: JobQueue) -> None:
        self._stores = stores
        self._queue = queue

    async def __call__(self, store_id: StoreId) -> None:
        """Change the jobs of copies from the store `store_id`; nothing while a cloud store is away.

        Raises:
            CatalogueUnavailable: the database can't be reached.
        """
        kept = [one.store_id for one in self._stores if one.store_id is not None]
        while self._stores.clouds_work():
            if not await self._queue.retarget(store_id, kept, UNKNOWN_STORE):
                return
