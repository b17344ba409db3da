"""Plans of failures: which call of a method fails, before or after its work, with what error."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from enum import StrEnum
from typing import Any, TypeVar

from attrs import frozen

from traffic_storage.ports.errors import StorageUnavailable

T = TypeVar("T")

_INJECTED = "injected fault"


class When(StrEnum):
    """Whether a planned failure raises before or after the wrapped adapter executes the call."""

    BEFORE = "before"
    AFTER = "after"


def unavailable() -> Exception:
    """Return the default error of `Fault`, a StorageUnavailable.

    Each decorator replaces it with the error by which its port reports that it is unavailable.
    """
    return StorageUnavailable(_INJECTED)


@frozen
class Fault:
    """A planned failure of some calls of one method.

    Attributes:
        method: the name of a port method that does I/O, such as `put` or `apply`.
        error: returns the error to raise; None: the call does not fail and only waits for `gate`.
        nth: the first call that fails, counted from the time of `plan`; 1 is the next call.
        times: the number of consecutive calls that fail; None: all calls from `nth` on.
        when: whether the wrapped adapter executes the call before the error is raised. For `open`
            and `list`, it then yields the first item. A commit that fails afterwards is visible, so
            plan `OutcomeUnknown` as its error.
        gate: an event that the call awaits before it does anything else.
    """

    method: str
    error: Callable[[], Exception] | None = unavailable
    nth: int = 1
    times: int | None = 1
    when: When = When.BEFORE
    gate: asyncio.Event | None = None


class Failing:
    """Base of the decorators, which wrap an adapter: planned faults, and an outage of all calls."""

    def __init__(self, unavailable: Callable[[str], Exception], after: int | None) -> None:
        self.calls: Counter[str] = Counter()
        """Number of calls per method."""
        self._unavailable = unavailable
        self._down = ""
        self._left = after
        self._plans: list[_Plan] = []

    def plan(self, *faults: Fault) -> None:
        """Add faults. If several apply to one call, the one added first takes effect."""
        self._plans += [_Plan(fault) for fault in faults]

    def go_down(self, unavailable_reason: str = "injected outage") -> None:
        """From now on fail every call; a store's `unavailable_reason()` returns the reason."""
        self._down = unavailable_reason

    def come_back(self) -> None:
        """Undo `go_down` and `after`, and remove all planned faults."""
        self._down = ""
        self._left = None
        self._plans.clear()

    def unmet(self) -> Sequence[Fault]:
        """Return the planned faults that no call has met. A test should leave none."""
        return [plan.fault for plan in self._plans if not plan.is_met]

    async def _do(self, method: str, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        fault = await self._enter(method)
        found = await call()
        self._leave(fault)
        return found

    async def _enter(self, method: str) -> Fault | None:
        """Count a call; raise the fault planned before it, or return the one to raise after it."""
        self.calls[method] += 1
        taking = [plan for plan in self._plans if plan.takes(method)]
        if self._down:
            raise self._unavailable(self._down)
        if self._left is not None:
            if self._left == 0:
                raise self._unavailable(_INJECTED)
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
        """Raise the error of a fault, if there is one."""
        if fault and fault.error:
            raise self._unavailable(_INJECTED) if fault.error is unavailable else fault.error()


class _Plan:
    """A fault and the number of calls of its method since it was planned."""

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
