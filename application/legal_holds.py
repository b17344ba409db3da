"""LegalHolds: places, releases and lists legal holds."""

import logging
from datetime import datetime
from uuid import UUID

from attrs import evolve, frozen

from traffic_storage.application.export_journal import ExportJournal
from traffic_storage.domain.deletion import Deleted
from traffic_storage.domain.errors import InvalidInput, NotFound, WrongState, shown
from traffic_storage.domain.files import FileState
from traffic_storage.domain.holds import (
    HeldFile,
    HeldRange,
    HeldViolation,
    Hold,
    HoldReach,
    HoldRequest,
    HoldScope,
    PlaceHold,
    ReleaseHold,
    reason_problem,
)
from traffic_storage.domain.identifiers import FileId, ViolationId
from traffic_storage.domain.query import FilesQuery, HoldsQuery, Page
from traffic_storage.ports.catalogue import Catalogue
from traffic_storage.ports.changes import Changes
from traffic_storage.ports.clock import Clock, Ids
from traffic_storage.ports.deletions import Deletions
from traffic_storage.ports.holds import Holds

logger = logging.getLogger("traffic_storage.holds")


@frozen
class PlacedHold:
    """A hold that was placed, and how many covered files were deleted before."""

    hold: Hold
    reach: HoldReach


class LegalHolds:
    """Places, releases and lists holds. What a hold covers is decided by `domain.holds`.

    A hold, or its release, is committed, and then written beside the blobs, so that a rebuild
    brings it back; a store that can't be written now gets it from a later job (`ExportJournal`).

    Errors of all methods:
        CatalogueUnavailable: the database can't be reached.
    """

    def __init__(
        self,
        *,
        holds: Holds,
        deletions: Deletions,
        catalogue: Catalogue,
        changes: Changes,
        journal: ExportJournal,
        clock: Clock,
        ids: Ids,
    ) -> None:
        self._holds = holds
        self._deletions = deletions
        self._catalogue = catalogue
        self._changes = changes
        self._journal = journal
        self._clock = clock
        self._ids = ids

    async def place(self, request: HoldRequest, by: str) -> PlacedHold:
        """Place a hold in the name of `by`. From then on, nothing that it covers is deleted.

        The purge of covered files that are tombstoned stops; that of files that are `purging` goes
        on, because their bytes may be gone. The result counts both.

        Raises:
            InvalidInput: `until` is not in the future.
            NotFound: there is no such file, or no such violation and no file that names it.
            Deleted: the file or violation is purged.
        """
        now = self._clock.now()
        if request.until is not None and request.until <= now:
            raise InvalidInput.of("until", "is not in the future", "give a later time, or omit it")
        await self._check_exists(request.scope)
        hold = Hold(
            self._ids.uuid7(),
            request.scope,
            request.case_reference,
            request.reason,
            by,
            await self._placed_at(),
            request.until,
        )
        await self._changes.apply(PlaceHold(hold))
        reach = await self._holds.hold_reach(hold)
        logger.info(
            "%s placed the hold %s for %s; %d covered files are tombstoned and stay, %d are being "
            "purged",
            by,
            hold.hold_id,
            hold.case_reference,
            reach.tombstoned,
            reach.purging,
        )
        await self._journal.everywhere()
        return PlacedHold(hold, reach)

    async def _placed_at(self) -> datetime:
        """Return the time of a hold that covers every file that exists.

        A clock that was set back, or that of another host, may have given files a later time.
        """
        newest = await self._catalogue.files(FilesQuery(limit=1))
        return max([self._clock.now(), *(file.created_at for file in newest.items)])

    async def release(self, hold_id: str, reason: str, by: str) -> Hold:
        """Release a hold in the name of `by`, and return it. What it covered may be deleted then.

        Raises:
            InvalidInput: the id is not a UUID, or the reason is missing.
            NotFound: there is no such hold.
            WrongState: the hold was released before.
        """
        if problem := reason_problem(reason):
            raise InvalidInput([problem])
        hold = await self.hold(hold_id)
        release = ReleaseHold(hold.hold_id, self._clock.now(), by, reason)
        if not await self._changes.apply(release):
            raise WrongState(f"the hold {hold_id} was released before")
        logger.info("%s released the hold %s: %s", by, hold_id, reason)
        await self._journal.everywhere()
        return hold.released(release)

    async def hold(self, hold_id: str) -> Hold:
        """Return one hold.

        Raises:
            InvalidInput: the id is not a UUID.
            NotFound: there is no such hold.
        """
        found = await self._holds.hold(_uuid(hold_id))
        if found is None:
            raise NotFound("hold", hold_id)
        return found

    async def holds(self, query: HoldsQuery, *, active: bool = True) -> Page[Hold]:
        """Return a page of holds, those placed last first: those that are active now, or all."""
        at = self._clock.now() if active else None
        return await self._holds.holds(evolve(query, active_at=at))

    async def _check_exists(self, scope: HoldScope) -> None:
        match scope:
            case HeldFile(file_id):
                await self._check_file(file_id)
            case HeldViolation(violation_id):
                await self._check_violation(violation_id)
            case HeldRange():
                # Whatever is in the range now or later; it may be nothing.
                return

    async def _check_file(self, file_id: FileId) -> None:
        file = await self._catalogue.file(file_id)
        if file is None:
            raise NotFound("file", file_id)
        if file.state is FileState.PURGED:
            raise await self._purged("file", file_id, file_id)

    async def _check_violation(self, violation_id: ViolationId) -> None:
        files = await self._catalogue.files_of(violation_id)
        violation = await self._catalogue.violation(violation_id)
        if violation is None and not files:
            raise NotFound("violation", violation_id)
        if all(file.state is FileState.PURGED for file in files) and violation is not None:
            raise await self._purged("violation", violation_id, violation.metadata_file_id)

    async def _purged(self, what: str, identifier: str, file_id: FileId) -> Deleted:
        deletions = await self._deletions.deletions([file_id])
        return Deleted(what, identifier, FileState.PURGED, deletions.get(file_id))


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise InvalidInput.of(
            "hold_id", f"is not a UUID: {shown(text, 60)}", "send the hold_id that a list shows"
        ) from None
