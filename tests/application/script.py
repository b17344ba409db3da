"""Every call of a port as a step that can be seen, held up, failed, or be the last of a process."""

import asyncio
import inspect
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import Any, TypeVar, cast

from attrs import frozen

from traffic_storage.entrypoints.testing.faults.plans import When

P = TypeVar("P")

_ITERATORS = frozenset({"open", "list", "chunks", "read_path"})
_CONTEXTS = frozenset({"take"})


class Died(BaseException):
    """The process ends here: no call of a port does anything from now on."""


@frozen
class Step:
    """The beginning or the end of the `nth` call of a method since the script began anew."""

    call: str
    nth: int
    when: When

    def __str__(self) -> str:
        return f"{self.when} {self.call} {self.nth}"


class Held:
    """A step at which a call is held up until `let_go` is set."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.let_go = asyncio.Event()


class Script:
    """Records all steps, and lets chosen ones fail.

    Each step gives the loop a turn, as a real port would, so that a caller can be cancelled at it;
    with `yields=False` none does, which is faster.
    """

    def __init__(self, *, yields: bool = True) -> None:
        self._yields = yields
        self.steps: list[Step] = []
        self._counts: Counter[str] = Counter()
        self._faults: dict[Step, Callable[[], BaseException]] = {}
        self._held: dict[Step, Held] = {}
        self._dead = False

    @property
    def is_dead(self) -> bool:
        """Whether the process has ended."""
        return self._dead

    @property
    def has_fired(self) -> bool:
        """Whether a fault has happened since the script began anew and none is left."""
        return not self._faults

    def begin(self, *faults: tuple[Step, Callable[[], BaseException]]) -> None:
        """Begin anew with these faults."""
        self.steps.clear()
        self._counts.clear()
        self._faults = dict(faults)

    def hold(self, call: str, nth: int = 1, when: When = When.BEFORE) -> Held:
        """Hold the call up at this step."""
        return self._held.setdefault(Step(call, nth, when), Held())

    def kill(self) -> None:
        """End the process now, wherever it is."""
        self._dead = True

    async def around(self, call: str, work: Callable[[], Awaitable[Any]]) -> Any:
        """Do a call's work between its two steps."""
        self._counts[call] += 1
        nth = self._counts[call]
        await self._pass(Step(call, nth, When.BEFORE))
        result = await work()
        await self._pass(Step(call, nth, When.AFTER))
        return result

    async def _pass(self, step: Step) -> None:
        self._check_alive()
        self.steps.append(step)
        if self._yields:
            await asyncio.sleep(0)
        if held := self._held.pop(step, None):
            held.reached.set()
            await held.let_go.wait()
        self._check_alive()
        if fault := self._faults.pop(step, None):
            error = fault()
            self._dead = isinstance(error, Died)
            raise error

    def _check_alive(self) -> None:
        if self._dead:
            raise Died


class _Scripted:
    def __init__(self, inner: object, name: str, script: Script) -> None:
        self._inner = inner
        self._name = name
        self._script = script

    def __getattr__(self, attribute: str) -> Any:
        found = getattr(self._inner, attribute)
        call = f"{self._name}.{attribute}"
        if attribute in _ITERATORS:

            async def iterated(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
                async def opened() -> Any:
                    return found(*args, **kwargs)

                async with aclosing(await self._script.around(call, opened)) as items:
                    async for item in items:
                        yield item

            return iterated
        if attribute in _CONTEXTS:

            @asynccontextmanager
            async def within(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
                async with AsyncExitStack() as stack:
                    context = found(*args, **kwargs)
                    yield await self._script.around(
                        call, lambda: stack.enter_async_context(context)
                    )

            return within
        if inspect.iscoroutinefunction(found):

            async def called(*args: Any, **kwargs: Any) -> Any:
                return await self._script.around(call, lambda: found(*args, **kwargs))

            return called
        return found


def scripted(inner: P, name: str, script: Script) -> P:
    """A port whose calls are steps of the script."""
    return cast(P, _Scripted(inner, name, script))
