"""Sealing: makes a service read only, and lifts that."""

import logging
from datetime import UTC, datetime, timedelta

from traffic_storage.domain.errors import InvalidInput, WrongState
from traffic_storage.domain.holds import reason_problem
from traffic_storage.domain.seal import Seal, SealCatalogue, Sealed, UnsealCatalogue
from traffic_storage.ports.changes import Changes
from traffic_storage.ports.clock import Clock
from traffic_storage.ports.ingest_journal import IngestJournal
from traffic_storage.ports.migrations import Migrations

logger = logging.getLogger("traffic_storage.seal")

REFRESH = timedelta(seconds=10)
"""For how long a process may still begin to store after a seal; it commits nothing."""

_EVERY_DEADLINE = datetime(9999, 1, 1, tzinfo=UTC)
_MOST_ATTEMPTS = 100_000


class Sealing:
    """The seal of this service's catalogue.

    The catalogue itself refuses every new file and violation while it is sealed, whichever process
    sends it. `check` tells the reason early, before bytes are written.

    Errors of all methods:
        CatalogueUnavailable: the database can't be reached.
    """

    def __init__(
        self, *, records: Migrations, journal: IngestJournal, changes: Changes, clock: Clock
    ) -> None:
        self._records = records
        self._journal = journal
        self._changes = changes
        self._clock = clock
        self._known: Seal | None = None
        self._read_at: datetime | None = None

    async def check(self, *, anew: bool = False) -> None:
        """Check that the service is not sealed; what is known may be 10 s old, unless `anew`.

        Raises:
            Sealed: it is.
        """
        age = None if self._read_at is None else self._clock.now() - self._read_at
        if anew or age is None or not timedelta(0) <= age < REFRESH:
            await self.current()
        if self._known is not None:
            raise Sealed(self._known)

    async def current(self) -> Seal | None:
        """Return the seal; None if there is none."""
        self._known = await self._records.seal()
        self._read_at = self._clock.now()
        return self._known

    async def seal(self, reason: str, by: str) -> Seal:
        """Seal the service; return the seal, or the one that was there.

        When this returns, nothing new becomes visible: stores that were under way are cancelled,
        and recovery undoes them.

        Raises:
            InvalidInput: the reason is missing.
        """
        _check_reason(reason)
        given = Seal(self._clock.now(), by, reason)
        if await self._changes.apply(SealCatalogue(given)):
            logger.warning("%s sealed this service: %s", by, reason)
        # A transaction that began before the seal was visible holds its entry of the journal until
        # it ends, so this waits for it.
        await self._journal.condemn(_EVERY_DEADLINE, _MOST_ATTEMPTS)
        return await self.current() or given

    async def unseal(self, reason: str, by: str) -> None:
        """Lift the seal.

        Raises:
            InvalidInput: the reason is missing.
            WrongState: the service is not sealed.
        """
        _check_reason(reason)
        if not await self._changes.apply(UnsealCatalogue(self._clock.now(), by, reason)):
            raise WrongState("this service is not sealed")
        await self.current()
        logger.warning("%s lifted the seal of this service: %s", by, reason)


def _check_reason(reason: str) -> None:
    if problem := reason_problem(reason):
        raise InvalidInput([problem])
