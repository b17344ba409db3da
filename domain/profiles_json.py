"""Completeness profiles as TOML or JSON: read strictly, every wrong field named."""

import re
from datetime import timedelta
from typing import Any

from attrs import frozen

from traffic_storage.domain.errors import InvalidInput, shown
from traffic_storage.domain.profiles import ClockProof, CompletenessProfile, Profiles
from traffic_storage.domain.strict import read_tables, strict_converter, with_place

_SPAN = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,6})?)(ms|s|m|h|d)")
_UNITS = {
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}


@frozen
class _Given:
    """The content of a file of profiles."""

    profiles: tuple[CompletenessProfile, ...] = ()


def profiles_in(value: object, where: str = "") -> Profiles:
    """Read profiles from the content of a TOML file: a list of tables `profiles`.

    Its fields are those of `CompletenessProfile`; lengths of time are texts such as 200ms, 10s or 24h.

    Raises:
        InvalidInput: they are wrong. Each problem names the table, its place (from 1) and the field,
            as `profiles[2].clock.max_age`; `where`, such as the path of a file, is added to each
            message.
    """
    given: _Given = read_tables(_converter, value, _TABLES, where)
    try:
        return Profiles(given.profiles)
    except InvalidInput as error:
        raise InvalidInput(with_place(one, where) for one in error.problems) from error


def json_of(profile: CompletenessProfile) -> dict[str, Any]:
    """Return a profile as JSON, with the names of the file; what it does not demand is left out."""
    found: dict[str, Any] = _converter.unstructure(profile)
    return found


def _text(span: timedelta) -> str:
    """Return a length of time as `_span` reads it, in the largest unit without a fraction."""
    for name, unit in reversed(_UNITS.items()):
        if span % unit == timedelta(0):
            return f"{span // unit}{name}"
    return f"{span / _UNITS['ms']:.3f}ms"


def _span(value: object, _: object) -> timedelta:
    found = _SPAN.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f"must be a length of time such as 200ms, 10s or 24h, not {shown(value)}")
    return float(found[1]) * _UNITS[found[2]]


_TABLES = {"": _Given, "profiles": CompletenessProfile, "profiles.clock": ClockProof}
_converter = strict_converter()
_converter.register_structure_hook(timedelta, _span)
_converter.register_unstructure_hook(timedelta, _text)
