"""The request or job that a log record belongs to, and the values that a record has as keys.

Whoever begins a request or the run of a job sets its ids here; all records that are logged meanwhile,
also in tasks that it starts, can be given them (`entrypoints/logs.py`). A task that outlives the
request or job, such as a probe of a store that is away, is started in an empty `Context`.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType

_NONE: Mapping[str, str] = MappingProxyType({})
_OWNER: ContextVar[Mapping[str, str]] = ContextVar("traffic_storage_log_owner", default=_NONE)


@contextmanager
def logged_as(**ids: str) -> Iterator[None]:
    """Return a context whose log records belong to this request or job, and to no outer one."""
    token = _OWNER.set(ids)
    try:
        yield
    finally:
        _OWNER.reset(token)


def log_owner() -> Mapping[str, str]:
    """Return the ids of the current request or job: `request_id`, or `job_id` and `job_kind`."""
    return _OWNER.get()


def fields(**values: str | float | None) -> dict[str, object]:
    """Return the argument `extra` of a log call whose record has these values as keys."""
    return {"fields": values}
