"""The protocol of what writes one kind of change."""

from abc import abstractmethod
from typing import Protocol, TypeVar

from traffic_storage.adapters.record_repo.sql.driver import Driver, Refused, Write
from traffic_storage.adapters.record_repo.sql.reading import CatalogueReader

C_contra = TypeVar("C_contra", contravariant=True)


class ChangeWriter(Protocol[C_contra]):
    """Writes one kind of change; an object serves one application of a change."""

    @abstractmethod
    def __init__(self, driver: Driver, read: CatalogueReader) -> None:
        """Keep what reads the rows that the write depends on."""

    @abstractmethod
    async def write(self, change: C_contra, /) -> Write | None:
        """Return the write of a change; None if the change has no effect on the rows as they are."""

    @abstractmethod
    async def refused(self, change: C_contra, refused: Refused, /) -> bool:
        """Return the result of `Changes.apply` for a write that was refused, or raise its error."""
