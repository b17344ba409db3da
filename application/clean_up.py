"""CleanUp: deletes what retention allows, and what else no longer serves any purpose."""

from attrs import frozen

from traffic_storage.application.examine_quarantine import ExamineQuarantine
from traffic_storage.application.recovery import Recover
from traffic_storage.application.retain import Retain, unseen
from traffic_storage.application.stores import Stores
from traffic_storage.application.worker import Report
from traffic_storage.domain.retention_plans import RetentionReport


@frozen
class CleanedUp:
    """What a clean-up has done, or would do.

    Attributes:
        retention: the deletion by retention, and what was purged.
        removed, bytes_removed: blobs of the quarantine that were removed after `quarantine_days`.
        undone: interrupted store operations that were undone; 0 if `dry_run`.
    """

    retention: RetentionReport
    removed: int
    bytes_removed: int
    undone: int
    dry_run: bool


class CleanUp:
    """Applies retention, purges what has passed its grace, and empties the quarantine.

    Blobs of interrupted store operations are deleted too. A store that can't be reached now is left
    to another process or a later call.
    """

    def __init__(
        self, *, retain: Retain, stores: Stores, examine: ExamineQuarantine, recover: Recover
    ) -> None:
        self._retain = retain
        self._stores = stores
        self._examine = examine
        self._recover = recover

    async def __call__(
        self,
        *,
        by: str,
        dry_run: bool = True,
        override_limit: bool = False,
        report: Report = unseen,
    ) -> CleanedUp:
        """Clean up; with `dry_run`, count only what would be done.

        Raises:
            PlanTooLarge: more is due than the limits allow, and `override_limit` is False.
            CatalogueUnavailable: the database can't be reached.
        """
        found = await self._retain.policies(
            by=by, dry_run=dry_run, override_limit=override_limit, report=report
        )
        removed = bytes_removed = 0
        for bound in self._stores:
            if bound.trusted and bound.store_id is not None:
                examined = await self._examine(bound.store_id, report, dry_run=dry_run)
                removed += examined.removed
                bytes_removed += examined.bytes_removed
        undone = 0 if dry_run else await self._recover()
        return CleanedUp(found, removed, bytes_removed, undone, dry_run)
