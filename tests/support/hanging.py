"""A disk that hangs: calls that wait in their thread until they are let go."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import pytest

T = TypeVar("T")


class Hang:
    """Stands in for a function: while it `hangs`, calls wait; then they do what they were to do."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call
        self._gate = threading.Event()
        self.waiting = 0

    def release(self) -> None:
        """Let all calls go on."""
        self._gate.set()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.waiting += 1
        assert self._gate.wait(60)
        self.waiting -= 1
        return self._call(*args, **kwargs)


@contextmanager
def hanging(monkeypatch: pytest.MonkeyPatch, target: object, name: str) -> Iterator[Hang]:
    """Calls of a function wait for the time of a block, or until they are released in it."""
    hang = Hang(getattr(target, name))
    with monkeypatch.context() as patched:
        patched.setattr(target, name, hang)
        try:
            yield hang
        finally:
            hang.release()
