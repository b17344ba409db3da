"""Clock and Ids: the only sources of time and of new identifiers."""

from abc import abstractmethod
from datetime import datetime
from typing import Protocol
from uuid import UUID


class Clock(Protocol):
    """The time source of the service."""

    @abstractmethod
    def now(self) -> datetime:
        """Return the current time, timezone-aware, in UTC."""

    @abstractmethod
    def monotonic(self) -> float:
        """Return seconds since an arbitrary start; never decreases."""


class Ids(Protocol):
    """Generator of new identifiers."""

    @abstractmethod
    def uuid7(self) -> UUID:
        """Return a new UUID version 7 (RFC 9562): UUIDs sort by their time of creation."""
