"""FindDueCopies: writes the jobs of copies that are due and that no job makes."""

from uuid import UUID

from traffic_storage.application.stores import Stores
from traffic_storage.application.worker import Outcome, Report
from traffic_storage.domain.copies import copy_job, owed_store
from traffic_storage.domain.identifiers import StoreId
from traffic_storage.domain.jobs import Done, Progress, Run
from traffic_storage.domain.placement import StorageStrategy
from traffic_storage.ports.clock import Ids
from traffic_storage.ports.copies import Copies
from traffic_storage.ports.jobs import JobQueue

_PAGE = 500


class FindDueCopies:
    """Looks through all files of a store for those that the strategy must copy elsewhere.

    The job of a copy is written with its file. It is missing if it failed too often or was
    cancelled, if the catalogue was rebuilt or restored, or if the strategy was changed since.
    """

    def __init__(
        self,
        *,
        stores: Stores,
        copies: Copies,
        queue: JobQueue,
        ids: Ids,
        strategy: StorageStrategy,
    ) -> None:
        self._stores = stores
        self._copies = copies
        self._queue = queue
        self._ids = ids
        self._strategy = strategy

    async def __call__(self, store_id: StoreId, report: Report | None = None) -> Progress:
        """Write the missing jobs; return how many copies are due, with their bytes.

        A copy that a live job makes is counted, and gets no second job.

        Raises:
            CatalogueUnavailable: the database can't be reached.
        """
        found = Progress()
        after: UUID | None = None
        while page := await self._copies.oldest_in(store_id, after, _PAGE):
            pairs = [
                (file, owed_store(self._strategy, file, self._stores.cloud_for(file.device_id)))
                for file in page
            ]
            due = [(file, target) for file, target in pairs if target is not None]
            await self._queue.enqueue(
                [copy_job(self._ids.uuid7(), file, store_id, target) for file, target in due]
            )
            size_bytes = sum(file.stored.size_bytes for file, _ in due)
            found = Progress(found.done + len(due), None, found.bytes + size_bytes)
            if report is not None:
                report(found)
            after = max(one.replica_id for one in page[-1].readable if one.store_id == store_id)
        return found

    async def run(self, run: Run, report: Report) -> Outcome:
        """Do a job of the kind `FIND_DUE_COPIES`."""
        return Outcome(Done(await self(StoreId(str(run.arguments["store_id"])), report)))
