"""Named fault points: the process kills itself before or after the nth call of a port's method."""

import os
import signal
from collections.abc import Callable
from typing import Any, Self

from attrs import define
from dependency_injector.providers import Object

from traffic_storage.entrypoints.container import Container

POINTS = tuple(
    (method, moment)
    for method in ("begin", "put", "apply", "condemn")
    for moment in ("before", "after")
)


@define
class Faults:
    """Where to die; `method` None: nowhere."""

    method: str | None = None
    moment: str = "before"
    call: int = 1
    _seen: int = 0

    @classmethod
    def of(cls, order: dict[str, Any] | None) -> Self:
        """The fault that an order describes."""
        return cls(**order) if order else cls()

    def install(self, container: Container) -> None:
        """Watch the catalogue and all stores of a container."""
        if self.method is None:
            return
        container._record_repo.override(Object(self._watched(container._record_repo())))
        container.local_store.override(Object(self._watched(container.local_store())))
        clouds = [(self._watched(store), way) for store, way in container.cloud_stores()]
        container.cloud_stores.override(Object(clouds))

    def _watched(self, inner: Any) -> Any:
        original = getattr(inner, self.method or "", None)
        if original is not None:
            setattr(inner, self.method or "", self._dying(original))
        return inner

    def _dying(self, original: Callable[..., Any]) -> Callable[..., Any]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            self._seen += 1
            last = self._seen == self.call
            if last and self.moment == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            result = await original(*args, **kwargs)
            if last:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call
