"""Principals: the identities under which requests act, and the API keys that prove them.

An API key is registered by a key line: `name:sha256`, then optionally `?` and parameters in the
form of a URL query, as
`camera-7:9f86…?scope=evidence:write&device=cam_07*&expires=2027-01-31`. `scope` and `device` may be
repeated. The line contains the SHA-256 of the key, never the key itself.
"""

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from fnmatch import fnmatchcase
from urllib.parse import parse_qsl, urlencode

from attrs import frozen

from traffic_storage.domain.errors import FieldProblem, InvalidInput
from traffic_storage.domain.identifiers import text_problem

MAX_KEY_NAME = 64
_NAME = re.compile(r"[!-+\--9;->@-~]{1,64}")  # none of ":", "?" and ","
_DIGEST = re.compile(r"[0-9a-f]{64}")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_LINE_REMEDY = "give name:digest, the line that `traffic-storage keys new` prints"
_PARAMETERS = ("scope", "device", "expires")


class Scope(StrEnum):
    """A group of operations that a principal may use; ADMIN includes all others."""

    EVIDENCE_READ = "evidence:read"
    EVIDENCE_WRITE = "evidence:write"
    EVIDENCE_DELETE = "evidence:delete"
    HOLD = "hold"
    MAINTENANCE = "maintenance"
    METRICS = "metrics"
    ADMIN = "admin"


ALL_SCOPES = frozenset(Scope)
DEFAULT_SCOPES = frozenset({Scope.EVIDENCE_READ, Scope.EVIDENCE_WRITE})
"""The scopes of an API key whose key line has no `scope` parameter."""


@frozen
class Principal:
    """The name under which a request acts (of an API key, say), and what the request may do.

    `devices` has shell patterns (`cam_0*`) of the device ids whose files may be accessed; if it is
    empty, all files may be accessed.
    """

    name: str
    scopes: frozenset[Scope] = DEFAULT_SCOPES
    devices: tuple[str, ...] = ()

    def has_scope(self, scope: Scope) -> bool:
        """Return whether this principal may use the operations of a scope."""
        return scope in self.scopes or Scope.ADMIN in self.scopes

    def may_access(self, device_id: str | None) -> bool:
        """Return whether this principal may read and write the files of a device.

        A principal with device patterns has no access to files without a device id.
        """
        if not self.devices:
            return True
        return device_id is not None and any(
            fnmatchcase(device_id, pattern) for pattern in self.devices
        )

    @property
    def only_device(self) -> str | None:
        """The device id if this principal may access exactly one device, else None."""
        if len(self.devices) == 1 and not any(special in self.devices[0] for special in "*?["):
            return self.devices[0]
        return None


@frozen
class ApiKey:
    """A registered API key: its SHA-256 (`digest`) and the principal that it authenticates.

    `expires` is the last day (UTC) on which the key is valid; None means that it never expires.
    """

    digest: str
    principal: Principal
    expires: date | None = None

    def is_expired(self, now: datetime) -> bool:
        """Return whether the last day on which the key is valid has passed."""
        if self.expires is None:
            return False
        end = datetime(*self.expires.timetuple()[:3], tzinfo=UTC) + timedelta(days=1)
        return now >= end

    def to_line(self) -> str:
        """Return the key line, the text that registers this API key; `parse_api_key` reads it."""
        principal = self.principal
        scopes = () if principal.scopes == DEFAULT_SCOPES else sorted(principal.scopes)
        pairs = [("scope", str(scope)) for scope in scopes]
        pairs += [("device", pattern) for pattern in principal.devices]
        if self.expires is not None:
            pairs.append(("expires", self.expires.isoformat()))
        query = urlencode(pairs, safe=":*?[]!")
        return f"{principal.name}:{self.digest}" + (f"?{query}" if query else "")


def is_key_name(name: str) -> bool:
    """Return whether a key can have this name."""
    return _NAME.fullmatch(name) is not None


def parse_api_key(line: str, field: str = "api_keys") -> ApiKey:
    """Parse a key line, the text that registers an API key. Its form is described in the module.

    Raises:
        InvalidInput: the line is malformed. The error has a problem for each wrong parameter, and
            names the line by `field`.
    """
    head, _, query = line.strip().partition("?")
    name, _, digest = head.partition(":")
    if not _NAME.fullmatch(name) or not _DIGEST.fullmatch(digest):
        raise InvalidInput.of(
            field, "does not begin with a name, a colon and a SHA-256", _LINE_REMEDY
        )
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError as error:
        raise InvalidInput.of(field, "has malformed parameters", _LINE_REMEDY) from error
    problems = [problem for pair in pairs if (problem := _problem(field, *pair))]
    if sum(parameter == "expires" for parameter, _ in pairs) > 1:
        problems.append(FieldProblem(field, "has more than one expires parameter", "give one date"))
    if problems:
        raise InvalidInput(problems)
    return _api_key(name, digest, pairs)


def duplicate_problems(keys: Iterable[ApiKey], field: str) -> list[FieldProblem]:
    """Return one problem if two keys have the same name, and one if two have the same digest."""
    found = list(keys)
    values = {
        "name": [key.principal.name for key in found],
        "digest": [key.digest for key in found],
    }
    return [
        FieldProblem(field, f"has two keys with the same {what}", f"give each {what} once")
        for what, given in values.items()
        if len(set(given)) < len(given)
    ]


def _api_key(name: str, digest: str, pairs: list[tuple[str, str]]) -> ApiKey:
    scopes = frozenset(Scope(value) for parameter, value in pairs if parameter == "scope")
    devices = tuple(value for parameter, value in pairs if parameter == "device")
    days = [date.fromisoformat(value) for parameter, value in pairs if parameter == "expires"]
    principal = Principal(name, scopes or DEFAULT_SCOPES, devices)
    return ApiKey(digest, principal, days[0] if days else None)


def _problem(field: str, parameter: str, value: str) -> FieldProblem | None:
    match parameter:
        case "scope" if value not in tuple(Scope):
            return FieldProblem(
                field, f"names the unknown scope {value!a:.40}", f"give one of {', '.join(Scope)}"
            )
        case "device" if problem := text_problem("device", value):
            return FieldProblem(field, f"has a device pattern that {problem.message}", "correct it")
        case "expires" if not _is_date(value):
            return FieldProblem(
                field, f"expires on {value!a:.40}, which is not a date", "give YYYY-MM-DD"
            )
        case "scope" | "device" | "expires":
            return None
        case _:
            return FieldProblem(
                field,
                f"has the unknown parameter {parameter!a:.40}",
                f"the parameters are {', '.join(_PARAMETERS)}",
            )


def _is_date(text: str) -> bool:
    try:
        return bool(_DATE.fullmatch(text) and date.fromisoformat(text))
    except ValueError:
        return False
