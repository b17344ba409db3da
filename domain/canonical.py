"""Canonical JSON: one value, one byte sequence, so that digests and derived ids are stable.

Keys sorted by code point, no insignificant white space, UTF-8, NaN and infinities refused.
In the spirit of RFC 8785; numbers are written as Python's shortest round-trip form.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from traffic_storage.domain.errors import InvalidInput, shown

Json: TypeAlias = bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"] | None

MAX_JSON_DEPTH = 64
_SHOWN_KEY = 40


def canonical_json(value: Json, field: str = "metadata") -> bytes:
    """The canonical bytes of `value`; `field` names it in errors.

    Raises:
        InvalidInput: it holds something that JSON can't carry: NaN, infinity, an integer beyond
            the range of a double, a key that is not text, another type, a lone surrogate, more
            than 64 levels.
    """
    _check(value, field, 0)
    return json.dumps(
        value,
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=False,
        allow_nan=False,
        default=dict,  # Asked for mappings that are no dict; all else was refused above.
    ).encode()


def parse_json(text: bytes | str, field: str) -> Json:
    """The value of a JSON text, as strict as `canonical_json`; `field` names it in errors.

    Raises:
        InvalidInput: not JSON, duplicate keys, NaN, infinity, too large a number, or too deep.
    """
    try:
        value: Json = json.loads(
            text, parse_constant=_refuse_constant, object_pairs_hook=_unique_keys
        )
    except (ValueError, RecursionError) as error:
        raise InvalidInput.of(field, f"is not JSON: {error}", "send valid JSON") from error
    _check(value, field, 0)
    return value


def parse_json_object(text: bytes | str, field: str) -> dict[str, Json]:
    """Like `parse_json`, for what must be an object."""
    value = parse_json(text, field)
    if not isinstance(value, Mapping):
        raise InvalidInput.of(field, "is not a JSON object", 'send an object, as {"key": "value"}')
    return dict(value)


def _check(value: object, field: str, depth: int) -> None:
    if depth > MAX_JSON_DEPTH:
        raise InvalidInput.of(field, f"has more than {MAX_JSON_DEPTH} levels", "flatten it")
    match value:
        case None | bool():
            return
        case int() | float():
            _check_number(value, field)
        case str():
            _check_text(value, field)
        case Mapping():
            for key, item in value.items():
                _check_key(key, field)
                _check(item, f"{field}.{_shown(key)}", depth + 1)
        case list() | tuple():
            for index, item in enumerate(value):
                _check(item, f"{field}[{index}]", depth + 1)
        case _:
            raise InvalidInput.of(
                field,
                f"contains a {type(value).__name__}",
                "use text, numbers, booleans, null, lists and objects with text keys",
            )


def _check_number(number: float, field: str) -> None:
    try:
        finite = math.isfinite(number)
    except OverflowError as error:
        raise InvalidInput.of(
            field, "contains an integer that is too large", "use a number below 1.8e308, or text"
        ) from error
    if not finite:
        raise InvalidInput.of(field, f"contains {number}", "use a finite number or null")


def _shown(key: str) -> str:
    return key if key.isprintable() and len(key) <= _SHOWN_KEY else f"{key!a:.{_SHOWN_KEY}}"


def _check_key(key: object, field: str) -> None:
    if not isinstance(key, str):
        raise InvalidInput.of(field, f"has the key {shown(key)}", "keys must be text")
    _check_text(key, field)


def _check_text(text: str, field: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput.of(field, "contains a lone surrogate", "send valid Unicode") from error


def _refuse_constant(name: str) -> Json:
    raise ValueError(f"{name} is not a JSON number")


def _unique_keys(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("an object has the same key twice")
    return value
