"""The seal of a catalogue: nothing new is stored while it is there; reading and deleting go on.

A migration seals its source at the end, so that nothing is stored where nobody looks for it.
"""

from datetime import datetime

from attrs import frozen

from traffic_storage.domain.errors import WrongState
from traffic_storage.domain.events import Event, EventKind


@frozen
class Seal:
    """Since when, by whom and why a catalogue is sealed."""

    sealed_at: datetime
    sealed_by: str
    reason: str


@frozen
class SealCatalogue:
    """Seal the catalogue, unless it is sealed: from then on no `CommitUnit` is applied.

    A commit that another transaction began before may still become visible until every entry of the
    ingest journal was condemned after this change.
    """

    seal: Seal


@frozen
class UnsealCatalogue:
    """Remove the seal."""

    at: datetime
    by: str
    reason: str


class Sealed(WrongState):
    """Nothing new is stored here, because this service is sealed (read only); `seal` says why."""

    def __init__(self, seal: Seal) -> None:
        super().__init__(
            f"this service is sealed (read only) since {seal.sealed_at.isoformat()}: {seal.reason}",
            remedy="store in the service that replaces it, or run `traffic-storage seal lift` here",
        )
        self.seal = seal


def event_of_seal(change: SealCatalogue) -> Event:
    """Return the event when a catalogue is sealed."""
    seal = change.seal
    details = {"sealed_by": seal.sealed_by, "reason": seal.reason}
    return Event(EventKind.SEALED, seal.sealed_at, details=details)


def event_of_unseal(change: UnsealCatalogue) -> Event:
    """Return the event when the seal of a catalogue is removed."""
    details = {"unsealed_by": change.by, "reason": change.reason}
    return Event(EventKind.UNSEALED, change.at, details=details)
