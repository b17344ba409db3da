"""The access that a route declares. A route without a declaration answers 403 to every request."""

from collections.abc import Callable
from typing import Any, TypeVar

from attrs import frozen
from starlette.types import Scope as AsgiScope

from traffic_storage.domain.principal import Scope

T = TypeVar("T", bound=Callable[..., Any])

_ATTRIBUTE = "traffic_storage_access"
_NOTE = "traffic_storage.access"


@frozen
class Access:
    """What a route demands of a request.

    Attributes:
        scope: the scope that the principal must have; None admits every request, with or
            without a credential.
        counted: whether its requests count towards `max_concurrent_requests`.
        needs_start: whether the storage must have been opened before the route is served.
    """

    scope: Scope | None
    counted: bool = True
    needs_start: bool = True


PUBLIC = Access(None)
"""Open to every request, without a credential."""
DOCUMENTATION = Access(None, needs_start=False)


def requires(scope: Scope) -> Callable[[T], T]:
    """Declare the scope that an endpoint needs: `@app.get(…)` above `@requires(Scope.METRICS)`.

    A mounted ASGI application is declared by `requires(…)(application)`.
    """
    return _declare(Access(scope))


def public(endpoint: T) -> T:
    """Declare that an endpoint is open to every request, without a credential."""
    return _declare(PUBLIC)(endpoint)


def access_of(route: object) -> Access | None:
    """The access that a route, its endpoint or its mounted application declares."""
    holders = (route, getattr(route, "endpoint", None), getattr(route, "app", None))
    declared = (getattr(holder, _ATTRIBUTE, None) for holder in holders)
    return next((access for access in declared if isinstance(access, Access)), None)


def note_access(scope: AsgiScope, access: Access | None) -> None:
    """Note the access that the selected route declares."""
    scope[_NOTE] = access


def noted_access(scope: AsgiScope) -> Access | None:
    """The access that the selected route declares; None before a route is selected."""
    access = scope.get(_NOTE)
    return access if isinstance(access, Access) else None


def _declare(access: Access) -> Callable[[T], T]:
    def declare(endpoint: T) -> T:
        setattr(endpoint, _ATTRIBUTE, access)
        return endpoint

    return declare
