"""The access that a route declares; `authentication` enforces it.

A request to a route without a declaration gets status 403.
"""

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
    """The requirements of a route.

    Attributes:
        scope: the scope that the principal must have; None admits every request, with or
            without a credential.
        counted: whether the requests of the route count towards `max_concurrent_requests`.
        needs_start: whether the service must have started before the route is called.
    """

    scope: Scope | None
    counted: bool = True
    needs_start: bool = True


PUBLIC = Access(None)
"""The access of a route that needs no credential."""
DOCUMENTATION = Access(None, needs_start=False)


def requires(scope: Scope) -> Callable[[T], T]:
    """Declare the scope that an endpoint requires.

    Put `@requires(Scope.METRICS)` below `@app.get(…)`. For a mounted ASGI application call
    `requires(…)(application)`.
    """
    return _declare(Access(scope))


def public(endpoint: T) -> T:
    """Declare that an endpoint needs no credential."""
    return _declare(PUBLIC)(endpoint)


def access_of(route: object) -> Access | None:
    """Return the access of a route, its endpoint or its mounted application; None if undeclared."""
    holders = (route, getattr(route, "endpoint", None), getattr(route, "app", None))
    declared = (getattr(holder, _ATTRIBUTE, None) for holder in holders)
    return next((access for access in declared if isinstance(access, Access)), None)


def note_access(scope: AsgiScope, access: Access | None) -> None:
    """Store the access that the selected route demands in the ASGI scope of the request."""
    scope[_NOTE] = access


def noted_access(scope: AsgiScope) -> Access | None:
    """Return the access that `note_access` stored, or None."""
    access = scope.get(_NOTE)
    return access if isinstance(access, Access) else None


def _declare(access: Access) -> Callable[[T], T]:
    def declare(endpoint: T) -> T:
        setattr(endpoint, _ATTRIBUTE, access)
        return endpoint

    return declare
