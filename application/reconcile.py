"""Reconcile: compares stores with the catalogue, then examines their quarantine."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

from attrs import frozen

from traffic_storage.application.examine_quarantine import Examined, ExamineQuarantine
from traffic_storage.application.reconcile_store import Reconciled, ReconcileStore
from traffic_storage.application.stores import Stores
from traffic_storage.application.stores.directory import NOT_USED
from traffic_storage.application.worker import Outcome, Report
from traffic_storage.domain.identifiers import StoreId
from traffic_storage.domain.jobs import Done, JobKind, Progress, Run

RECONCILE = JobKind("reconcile")

Reporting: TypeAlias = Callable[[StoreId, Progress], None]


@frozen
class Reconciliation:
    """What was found and done in one store; `examined` is None if the comparison was aborted."""

    compared: Reconciled
    examined: Examined | None


@frozen
class Skipped:
    """A store that was not compared, and why."""

    location: str
    reason: str


class Reconcile:
    """Compares stores with the catalogue and examines their quarantine."""

    def __init__(
        self, *, stores: Stores, reconcile_store: ReconcileStore, examine: ExamineQuarantine
    ) -> None:
        self._stores = stores
        self._reconcile_store = reconcile_store
        self._examine = examine

    async def __call__(
        self, report: Reporting, *, dry_run: bool = False, override_limit: bool = False
    ) -> Sequence[Reconciliation | Skipped]:
        """Reconcile all stores of this process, one after the other.

        Raises:
            StorageUnavailable: the listing of a store can't be completed.
            CatalogueUnavailable: the database can't be reached.
        """
        found: list[Reconciliation | Skipped] = []
        for bound in self._stores:
            store_id = bound.store_id
            if bound.untrusted_reason == NOT_USED:
                continue
            if store_id is None or not bound.trusted:
                found.append(Skipped(bound.store.location, bound.untrusted_reason))
                continue

            def reported(progress: Progress, store_id: StoreId = store_id) -> None:
                report(store_id, progress)

            found.append(
                await self.store(store_id, reported, dry_run=dry_run, override_limit=override_limit)
            )
        return found

    async def store(
        self,
        store_id: StoreId,
        report: Report,
        *,
        dry_run: bool = False,
        override_limit: bool = False,
    ) -> Reconciliation:
        """Reconcile one store; see `ReconcileStore` and `ExamineQuarantine`.

        Raises:
            StorageUnavailable: the store is not trusted, or its listing can't be completed.
            CatalogueUnavailable: the database can't be reached.
        """
        compared = await self._reconcile_store(
            store_id, report, dry_run=dry_run, override_limit=override_limit
        )
        if compared.aborted:
            return Reconciliation(compared, None)
        return Reconciliation(compared, await self._examine(store_id, report, dry_run=dry_run))

    async def run(self, run: Run, report: Report) -> Outcome:
        """Do a job of the kind `RECONCILE`, for the store in its argument `store_id`."""
        found = await self.store(StoreId(str(run.arguments["store_id"])), report)
        tally, aborted = found.compared.tally, found.compared.aborted
        message = f"aborted: {aborted}" if aborted else ""
        return Outcome(Done(Progress(tally.listed, tally.listed, tally.listed_bytes, message)))
