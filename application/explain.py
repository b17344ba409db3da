"""Explain: why a file is kept, until when, by which rule and clock, and what would change it."""

from traffic_storage.application.rules_in_force import RulesInForce
from traffic_storage.domain.errors import NotFound
from traffic_storage.domain.explanation import Explanation
from traffic_storage.domain.identifiers import known_file_id
from traffic_storage.ports.catalogue import Catalogue
from traffic_storage.ports.clock import Clock
from traffic_storage.ports.deletions import Deletions
from traffic_storage.ports.holds import Holds
from traffic_storage.ports.snapshots import SnapshotRecords


class Explain:
    """Explains the retention of a file in any state, also of one that is deleted."""

    def __init__(
        self,
        *,
        in_force: RulesInForce,
        catalogue: Catalogue,
        holds: Holds,
        deletions: Deletions,
        snapshots: SnapshotRecords,
        clock: Clock,
    ) -> None:
        self._in_force = in_force
        self._catalogue = catalogue
        self._holds = holds
        self._deletions = deletions
        self._snapshots = snapshots
        self._clock = clock

    async def __call__(self, file_id: str) -> Explanation:
        """Return the explanation of a file.

        Raises:
            InvalidInput: the id is malformed.
            NotFound: there is no such file.
            CatalogueUnavailable: the database can't be reached.
        """
        known = known_file_id(file_id)
        file = await self._catalogue.file(known)
        if file is None:
            raise NotFound("file", known)
        now = self._clock.now()
        violation_id = file.violation_id
        return Explanation(
            file,
            await self._in_force.current(),
            await self._catalogue.violation(violation_id) if violation_id else None,
            tuple(await self._holds.holds_on(known, now)),
            (await self._deletions.deletions([known])).get(known),
            now,
            tuple(one for one in await self._snapshots.pins() if one.covers(file, now)),
        )
