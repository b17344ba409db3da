"""Things that end with a `with` block."""

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class Closable(ABC):
    """Something that is closed at the end of a block."""

    @abstractmethod
    def close(self) -> None:
        """End it, and leave nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Startable(Closable):
    """Something that runs for the time of a block."""

    @abstractmethod
    def start(self) -> None:
        """Start, and return when it answers."""

    def __enter__(self) -> Self:
        self.start()
        return self
