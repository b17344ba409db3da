"""Canonical JSON: one value, one byte sequence, so that digests and derived ids are stable.

Keys sorted by code point, no insignificant white space, UTF-8, NaN and infinities refused.
In the spirit of RFC 8785; numbers are written as Python's shortest round-trip form.
"""

import json
import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import TypeAlias

from traffic_storage.domain.errors import InvalidInput, shown
from traffic_storage.domain.numeric import plain_number

Json: TypeAlias = bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"] | None

MAX_JSON_DEPTH = 64
_SHOWN_KEY = 40


def canonical_json(value: Json, field: str = "metadata") -> bytes:
    """The canonical bytes of `value`; `field` names it in errors.

    Raises:
        InvalidInput: a value that JSON can't represent: NaN, infinity, an integer beyond
            the range of a double, a key that is not text, another type, a lone surrogate, more
            than 64 levels.
    """
    _check_all(value, field)
    return json.dumps(
        value,
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=False,
        allow_nan=False,
        default=dict,  # Called for mappings other than dict; other types were refused above.
    ).encode()


def json_copy(value: object) -> object:
    """A deep copy of a JSON value; numbers of other libraries become Python's, exactly.

    A value that is not JSON is returned unchanged; `canonical_json` refuses it.
    """
    return _copied(value, MAX_JSON_DEPTH)


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
    _check_all(value, field)
    return value


def parse_json_object(text: bytes | str, field: str) -> dict[str, Json]:
    """The object of a JSON text; errors as of `parse_json`."""
    value = parse_json(text, field)
    if not isinstance(value, Mapping):
        raise InvalidInput.of(field, "is not a JSON object", 'send an object, as {"key": "value"}')
    return dict(value)


class _Refused(Exception):
    """A value that JSON can't represent; each level adds its step to `place`."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy
        self.place = ""

    def at(self, step: str) -> "_Refused":
        """This error with the step of the enclosing level added to `place`."""
        self.place = step + self.place
        return self


def _check_all(value: object, field: str) -> None:
    try:
        _check(value, MAX_JSON_DEPTH)
    except _Refused as refused:
        place = field + refused.place
        raise InvalidInput.of(place, refused.reason, refused.remedy) from refused.__cause__


def _check(value: object, levels: int) -> None:
    # The most frequent types are tested first: each stored record is checked several times.
    if isinstance(value, str):
        _check_text(value)
    elif value is None or isinstance(value, bool):
        return
    elif isinstance(value, (int, float)):
        _check_number(value)
    elif levels == 0:
        raise _Refused(f"has more than {MAX_JSON_DEPTH} levels", "flatten it")
    elif isinstance(value, (dict, Mapping)):
        _check_mapping(value, levels - 1)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            try:
                _check(item, levels - 1)
            except _Refused as refused:
                raise refused.at(f"[{index}]") from refused.__cause__
    elif isinstance(value, Real):
        raise _Refused(f"contains a {type(value).__name__}", "convert it, as float(x) or int(x)")
    else:
        raise _Refused(
            f"contains a {type(value).__name__}",
            "use text, numbers, booleans, null, lists and objects with text keys",
        )


def _copied(value: object, levels: int) -> object:
    if levels < 0:
        return value
    if isinstance(value, (dict, Mapping)):
        return {key: _copied(item, levels - 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_copied(item, levels - 1) for item in value]
    return plain_number(value)


def _check_mapping(value: Mapping[object, object], levels: int) -> None:
    for key, item in value.items():
        if not isinstance(key, str):
            raise _Refused(f"has the key {shown(key)}", "keys must be text")
        _check_text(key)
        try:
            _check(item, levels)
        except _Refused as refused:
            raise refused.at(f".{_shown(key)}") from refused.__cause__


def _check_number(number: float) -> None:
    try:
        finite = math.isfinite(number)
    except OverflowError as error:
        raise _Refused(
            "contains an integer that is too large", "use a number below 1.8e308, or text"
        ) from error
    if not finite:
        raise _Refused(f"contains {number}", "use a finite number or null")


def is_unicode(text: str) -> bool:
    """Whether a text can be encoded as UTF-8; one with a lone surrogate can't."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_text(text: str) -> None:
    if not text.isascii() and not is_unicode(text):
        raise _Refused("contains a lone surrogate", "send valid Unicode")


def _shown(key: str) -> str:
    return key if key.isprintable() and len(key) <= _SHOWN_KEY else f"{key!a:.{_SHOWN_KEY}}"


def _refuse_constant(name: str) -> Json:
    raise ValueError(f"{name} is not a JSON number")


def _unique_keys(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("an object has the same key twice")
    return value
