"""Authentication and authorisation of requests: by API key, as local use, or with open access."""

import logging
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from urllib.parse import urlsplit

from attrs import frozen
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.responses import RedirectResponse
from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send

from traffic_storage.domain.principal import ALL_SCOPES, Principal
from traffic_storage.entrypoints.http.errors import (
    ForeignHost,
    ForeignPage,
    LocalUseOnly,
    MethodNotAllowed,
    MissingScope,
    NoSuchResource,
    NotAdmitted,
    UndeclaredAccess,
)
from traffic_storage.entrypoints.http.request_body import (
    note_principal,
    note_route,
    reference_of,
    route_path,
)
from traffic_storage.entrypoints.http.security.access import Access, access_of, note_access
from traffic_storage.entrypoints.http.security.hosts import Hosts, Origins
from traffic_storage.entrypoints.http.security.keys import KeyRing
from traffic_storage.entrypoints.http.security.local_only import not_local_reason
from traffic_storage.entrypoints.settings import StorageConfig

LOCAL = Principal("local", ALL_SCOPES)
ANYONE = Principal("anyone", ALL_SCOPES)

DOCS_PATH = "/docs"
PRIVATE_SOCKET = "traffic_storage.private_socket"
"""The key of the ASGI state of a request that came by the Unix socket of `serve`."""
_BEARER = re.compile(r"bearer +([\x21-\x7e]{1,512}) *", re.IGNORECASE)

_LOCAL_REMEDY = (
    "without api_keys the service accepts only requests from its own machine: send the request "
    "from that machine to the host localhost without a proxy, or set api_keys "
    "(traffic-storage keys new) or open_access = true"
)
_HOST_REMEDY = (
    "name the host under which clients reach the service in public_url, or add it to allowed_hosts"
)
_PAGE_REMEDY = (
    "send the request from a page of this service (behind a proxy, public_url is its address), from "
    "one whose origin cors_origins lists, or from a program that is no browser; a link to a file for "
    "other pages is what GET /files/{file_id}/url returns"
)
_KEY_REMEDY = "send 'Authorization: Bearer <key>' with an API key of this service"


def access_policy(settings: StorageConfig, now: Callable[[], datetime]) -> "AccessPolicy":
    """Return the access policy of the settings.

    Raises:
        ConfigurationError: the keys file can't be read, or lines of it are wrong.
    """
    keys = KeyRing(settings.api_keys, settings.api_keys_file, now)
    return AccessPolicy(
        keys,
        open_access=settings.open_access,
        public_url=settings.public_url,
        hosts=settings.allowed_hosts,
        cors_origins=settings.cors_origins,
    )


class AccessPolicy:
    """Determines the principal of a request from its credential, peer address and headers.

    Whatever the credential, a browser's request must come from a page of the service itself or of
    `cors_origins`: its user may be where the service can be reached, and a page anywhere else.

    Args:
        public_url: the address at which clients reach the service.
        hosts: names of the service beside that of `public_url`.
        cors_origins: origins of other pages that may send requests.
    """

    def __init__(
        self,
        keys: KeyRing,
        *,
        open_access: bool,
        public_url: str = "http://localhost",
        hosts: Iterable[str] = (),
        cors_origins: Iterable[str] = (),
    ) -> None:
        self._keys = keys
        self._open = open_access
        self._local_hosts = Hosts(hosts, any_address=False)
        public = urlsplit(public_url).hostname or "localhost"
        self._hosts = Hosts([*hosts, public], any_address=True)
        self._origins = Origins([public_url], cors_origins)
        # What comes under the name of public_url came through a proxy.
        self._local_origins = Origins((), cors_origins)

    @property
    def keys_needed(self) -> bool:
        """Whether requests need a key."""
        return self._keys.in_use

    @property
    def summary(self) -> str:
        """A description of the accepted requests, for the log and the command line."""
        if self._keys.in_use:
            return f"requests need an API key; keys registered: {self._keys.count}"
        if self._open:
            return "requests need no credential because open_access is set"
        return (
            "the service accepts only requests from its own machine, whatever address it listens "
            "on; set api_keys or open_access to change that. A request through a proxy on this "
            "machine that adds no header (nginx with nothing but proxy_pass) counts as local: set "
            "api_keys before you use a proxy"
        )

    @property
    def level(self) -> int:
        """The log level of `summary`: a warning if no keys are in use."""
        return logging.INFO if self._keys.in_use else logging.WARNING

    def identify(
        self,
        peer: str | None,
        headers: Iterable[tuple[bytes, bytes]],
        *,
        http_version: str = "1.1",
        target: str = "/",
        is_private_socket: bool = False,
    ) -> Principal:
        """Return the principal of a request.

        Args:
            target: the request target: a path, or a URL in absolute form.
            is_private_socket: whether the request came by a Unix socket that only some users of this
                machine may open; what they pass on from others is theirs to admit.

        Raises:
            NotAdmitted: keys are in use and the request has no valid one.
            LocalUseOnly: neither keys nor open access are in use, and the request is not local use.
            ForeignHost: access is open, or the request came by a private socket, and the Host is not the service's own.
            ForeignPage: a page of another origin sent the request.
        """
        headers = tuple(headers)
        origins = self._origins
        if self._keys.in_use:
            principal = self._by_key(headers)
        elif self._open or is_private_socket:
            if reason := self._hosts.refusal(headers):
                raise ForeignHost(reason, remedy=_HOST_REMEDY)
            principal = ANYONE if self._open else LOCAL
        else:
            if reason := not_local_reason(peer, headers, http_version, target, self._local_hosts):
                raise LocalUseOnly(reason, remedy=_LOCAL_REMEDY)
            principal, origins = LOCAL, self._local_origins
        if reason := origins.refusal(headers):
            raise ForeignPage(reason, remedy=_PAGE_REMEDY)
        return principal

    def _by_key(self, headers: Iterable[tuple[bytes, bytes]]) -> Principal:
        values = [value.decode("latin-1") for name, value in headers if name == b"authorization"]
        if not values:
            raise NotAdmitted("the request carries no API key", remedy=_KEY_REMEDY)
        found = _BEARER.fullmatch(values[0]) if len(values) == 1 else None
        principal = self._keys.principal(found[1]) if found else None
        if principal is None:
            raise NotAdmitted("the API key is not valid", remedy=_KEY_REMEDY, key_given=True)
        return principal


@frozen
class Selected:
    """The result of route selection: the route's access and path, or the methods of the path.

    `is_own` is false for a route that an embedder added.
    """

    is_found: bool
    access: Access | None = None
    allowed: tuple[str, ...] = ()
    template: str = ""
    is_own: bool = False


class Authentication:
    """Pure ASGI middleware that identifies the principal and enforces the access of the route.

    A request without a valid credential can reach only public routes, and has no principal there.
    The middleware also refuses paths and methods without a route, but only after it has checked the
    credential.

    Raises:
        NotAdmitted: the request has no valid credential.
        MissingScope: the principal lacks the scope that the route requires.
        UndeclaredAccess: the route declares no access.
        NoSuchResource: no route has the path.
        MethodNotAllowed: routes have the path, but not with this method.
    """

    def __init__(self, app: ASGIApp, *, policy: AccessPolicy, application: FastAPI) -> None:
        self._app = app
        self._policy = policy
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        selected = select(self._application, scope)
        note_route(scope, selected.template, is_own=selected.is_own)
        self._authorise(scope, selected)
        if selected.is_found:
            note_access(scope, selected.access)
            await self._app(scope, receive, send)
        else:
            await _refuse_unrouted(selected, scope, receive, send)

    def _authorise(self, scope: Scope, selected: Selected) -> None:
        is_public = selected.access is not None and selected.access.scope is None
        client = scope.get("client")
        try:
            principal = self._policy.identify(
                client[0] if client else None,
                scope["headers"],
                http_version=scope.get("http_version", "1.1"),
                target=scope["path"],
                is_private_socket=PRIVATE_SOCKET in scope.get("state", ()),
            )
        except NotAdmitted:
            if not is_public:
                raise
            return
        note_principal(scope, principal)
        if not selected.is_found:
            return
        if selected.access is None:
            raise UndeclaredAccess
        needed = selected.access.scope
        if needed is not None and not principal.has_scope(needed):
            raise MissingScope(principal.name, needed)


def select(application: FastAPI, scope: Scope) -> Selected:
    """Select the route of a request in the order of the router."""
    methods: set[str] = set()
    for route in iter_route_contexts(application.router.routes):
        match, _ = route.matches(scope)
        if match is Match.FULL:
            found = route.original_route
            return Selected(
                is_found=True,
                access=access_of(found),
                template=_template(found),
                is_own=hasattr(found, "served_methods"),
            )
        if match is Match.PARTIAL:
            methods |= set(_served_methods(route.original_route))
    return Selected(is_found=False, allowed=tuple(sorted(methods)))


async def _refuse_unrouted(selected: Selected, scope: Scope, receive: Receive, send: Send) -> None:
    if selected.allowed:
        raise MethodNotAllowed(scope["method"], selected.allowed)
    if route_path(scope) == "/" and scope.get("method") in {"GET", "HEAD"}:
        # A route for "/" would take precedence over one of an embedder.
        await RedirectResponse(reference_of(scope, DOCS_PATH))(scope, receive, send)
        return
    raise NoSuchResource


def _template(route: object) -> str:
    return str(getattr(route, "path_format", "") or getattr(route, "path", ""))


def _served_methods(route: object) -> Iterator[str]:
    yield from getattr(route, "served_methods", None) or getattr(route, "methods", None) or ()
