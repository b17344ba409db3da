"""Failures of a port's calls, as they are planned: which call, when, and with what error."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from enum import StrEnum
from typing import Any, TypeVar

from attrs import frozen

from traffic_storage.ports.errors import StorageUnavailable

T = TypeVar("T")

_ON_PURPOSE = "failed on purpose"


class When(StrEnum):
    """Whether a failing call has done its work."""

    BEFORE = "before"
    AFTER = "after"


def away() -> Exception:
    """The usual fault: in its place comes the error by which a port says that it is away."""
    return StorageUnavailable(_ON_PURPOSE)


@frozen
class Fault:
    """What happens to some calls of one method.

    Attributes:
        method: a method of the port that does I/O, as `put` or `commit`.
        error: makes the error that the call ends with; None: it only waits for `gate`.
        nth: the first of the calls that it happens to, counted from the time it was planned.
        times: to how many calls in a row; None: to all from then on.
        when: whether the inner port did its work before the error. Of `open` and `list` the first
            item counts as that work. A commit that fails afterwards is visible: make it fail with
            `OutcomeUnknown`.
        gate: waited for before anything else is done.
    """

    method: str
    error: Callable[[], Exception] | None = away
    nth: int = 1
    times: int | None = 1
    when: When = When.BEFORE
    gate: asyncio.Event | None = None


class Failing:
    """What failing ports share: faults that are planned, and being away altogether."""

    def __init__(self, away: Callable[[str], Exception], after: int | None) -> None:
        self.calls: Counter[str] = Counter()
        """How often each method was called."""
        self._away = away
        self._down = ""
        self._left = after
        self._plans: list[_Plan] = []

    def plan(self, *faults: Fault) -> None:
        """Add faults; where several meet, the oldest counts."""
        self._plans += [_Plan(fault) for fault in faults]

    def go_down(self, unavailable_reason: str = "taken down on purpose") -> None:
        """From now on every call fails; a port that tells of obstacles says so."""
        self._down = unavailable_reason

    def come_back(self) -> None:
        """Undo `go_down`, and forget what was planned."""
        self._down = ""
        self._left = None
        self._plans.clear()

    def unmet(self) -> Sequence[Fault]:
        """The planned faults that have happened to no call: a test that leaves some shows less than
        it says.
        """
        return [plan.fault for plan in self._plans if not plan.is_met]

    async def _do(self, method: str, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        fault = await self._enter(method)
        found = await call()
        self._leave(fault)
        return found

    async def _enter(self, method: str) -> Fault | None:
        """Count a call, and fail it here if it is to do no work."""
        self.calls[method] += 1
        taking = [plan for plan in self._plans if plan.takes(method)]
        if self._down:
            raise self._away(self._down)
        if self._left is not None:
            if self._left == 0:
                raise self._away(_ON_PURPOSE)
            self._left -= 1
        if not taking:
            return None
        taking[0].is_met = True
        fault = taking[0].fault
        if fault.gate:
            await fault.gate.wait()
        if fault.when is When.BEFORE:
            self._leave(fault)
        return fault

    def _leave(self, fault: Fault | None) -> None:
        """Fail a call, if it is to fail."""
        if fault and fault.error:
            raise self._away(_ON_PURPOSE) if fault.error is away else fault.error()


class _Plan:
    """A fault and how many calls it has seen."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.is_met = False
        self._seen = 0

    def takes(self, method: str) -> bool:
        if method != self.fault.method:
            return False
        self._seen += 1
        past = self._seen - self.fault.nth
        return past >= 0 and (self.fault.times is None or past < self.fault.times)
