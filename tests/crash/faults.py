"""Named fault points: the process kills itself before or after the nth call of a port's method."""

import inspect
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Self

from attrs import Factory, define, frozen

from traffic_storage.entrypoints.container import Container
from traffic_storage.ports.record_repo import RecordRepo
from traffic_storage.ports.store_identity import MarkedBlobStore

EFFECTS = frozenset(
    {
        *("begin", "condemn", "forget", "apply", "register", "exchange", "fold_counters"),
        *("enqueue", "cancel_job", "requeue_job", "claim", "renew", "finish", "write_due"),
        *("forget_jobs", "forget_events", "put", "delete", "put_note"),
        *("create_marker", "replace_marker"),
    }
)
"""The methods of the catalogue and of the stores that change something durable."""
# The room of a store is measured when a second has passed since the last time, so that it depends on the
# machine whether an operation comes to it.
_UNWATCHED = {"aclose", "wait_for_jobs", "ping", "room"}


@frozen
class Point:
    """A fault point; `moment` is `before` or `after`."""

    method: str
    moment: str = "before"
    call: int = 1

    def __str__(self) -> str:
        return f"{self.moment} {self.method} {self.call}"


def points_of(calls: list[str]) -> Iterator[Point]:
    """The fault points of a run that made these calls.

    There is one before the first call of each method, and one after each call with a durable
    effect: between two effects, what is durable does not differ.
    """
    number: dict[str, int] = {}
    for method in calls:
        number[method] = number.get(method, 0) + 1
        if number[method] == 1:
            yield Point(method)
        if method in EFFECTS:
            yield Point(method, "after", number[method])


@define
class Faults:
    """Where to die; `method` None: nowhere.

    `calls` are all that were made, in their order, if the process `records` them or is to die.
    """

    method: str | None = None
    moment: str = "before"
    call: int = 1
    records: bool = False
    calls: list[str] = Factory(list)
    _seen: int = 0

    @classmethod
    def of(cls, order: dict[str, Any] | None) -> Self:
        """The fault that an order describes."""
        return cls(**order) if order else cls()

    def install(self, container: Container) -> None:
        """Watch the catalogue and all stores of a container."""
        if self.method is None and not self.records:
            return
        self._watch(container._record_repo(), RecordRepo)
        self._watch(container.local_store(), MarkedBlobStore)
        for store, _ in container.cloud_stores():
            self._watch(store, MarkedBlobStore)

    def _watch(self, inner: Any, port: type) -> None:
        for name in dir(port):
            original = getattr(inner, name, None)
            if name.startswith("_") or name in _UNWATCHED:
                continue
            if inspect.iscoroutinefunction(original):
                setattr(inner, name, self._dying(name, original))
            elif inspect.isasyncgenfunction(original):
                setattr(inner, name, self._dying_within(name, original))

    def _dying(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            is_last = self._is_last(name)
            try:
                return await original(*args, **kwargs)
            finally:
                if is_last:
                    os.kill(os.getpid(), signal.SIGKILL)

        return call

    def _dying_within(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        async def call(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
            is_last = self._is_last(name)
            async for item in original(*args, **kwargs):
                yield item
            if is_last:
                os.kill(os.getpid(), signal.SIGKILL)

        return call

    def _is_last(self, name: str) -> bool:
        """Note a call; whether the process dies when it has returned."""
        self.calls.append(name)
        if name != self.method:
            return False
        self._seen += 1
        is_last = self._seen == self.call
        if is_last and self.moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        return is_last
