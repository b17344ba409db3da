"""Clock and Ids: the only sources of time and of randomness."""

from abc import abstractmethod
from datetime import datetime
from typing import Protocol
from uuid import UUID


class Clock(Protocol):
    """The time."""

    @abstractmethod
    def now(self) -> datetime:
        """The present instant, aware, UTC."""

    @abstractmethod
    def monotonic(self) -> float:
        """Seconds since some instant; never goes back."""


class Ids(Protocol):
    """New identifiers."""

    @abstractmethod
    def uuid7(self) -> UUID:
        """A new UUID version 7 (RFC 9562): ordered by time of making."""
