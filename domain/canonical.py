"""Canonical JSON: equal values give the same bytes, so that digests and derived ids are stable.

Keys are sorted by code point, insignificant white space is omitted, the encoding is UTF-8, and NaN
and infinities are refused. The form is similar to RFC 8785, but numbers are written in Python's
shortest form that gives the same number when it is read.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import TypeAlias

from traffic_storage.domain.errors import InvalidInput, shown
from traffic_storage.domain.numeric import plain_number

Json: TypeAlias = bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"] | None

MAX_JSON_DEPTH = 64
_SHOWN_KEY = 40
# To the end of the document if it is not closed. Possessive, so that the time is linear, and the
# memory does not grow with a text.
_TEXT = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)


def canonical_json(value: Json, field: str = "metadata") -> bytes:
    """Return `value` as canonical JSON. `field` is its name in error messages.

    Raises:
        InvalidInput: `value` contains NaN, infinity, an integer beyond the range of a double, a key
            that is not text, a lone surrogate, a type that JSON does not have, or more than 64
            levels of nesting.
    """
    _check_all(value, field)
    return checked_json(value)


def checked_json(value: Json) -> bytes:
    """Return a value that was checked before as canonical JSON; its check takes most of the time."""
    return json.dumps(
        value,
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=False,
        allow_nan=False,
        default=dict,  # Called for mappings other than dict; other types were refused above.
    ).encode()


def json_copy(value: object) -> object:
    """Return a deep copy of a JSON value, with numpy's numbers converted exactly to Python's.

    A value that is not JSON is copied unchanged, without an error; `canonical_json` refuses it.
    """
    return _copied(value, MAX_JSON_DEPTH)


def parse_json(text: bytes | str, field: str, most_values: int | None = None) -> Json:
    """Parse a JSON text and return its value. `field` is the name of the text in error messages.

    `most_values` limits the objects, lists, texts and other values in it, by its commas and opening
    brackets; they are counted before the text is parsed, for each value costs some microseconds.

    Raises:
        InvalidInput: the text is not JSON, has more than `most_values`, an object has a key twice,
            or `canonical_json` would refuse the value.
    """
    if most_values is not None and _has_more(text, most_values):
        raise InvalidInput.of(
            field, f"has more than {most_values} values", "split it, or send it as a file"
        )
    try:
        value: Json = json.loads(
            text, parse_constant=_refuse_constant, object_pairs_hook=_unique_keys
        )
    except (ValueError, RecursionError) as error:
        raise InvalidInput.of(field, f"is not JSON: {error}", "send valid JSON") from error
    _check_all(value, field)
    return value


def parse_json_object(
    text: bytes | str, field: str, most_values: int | None = None
) -> dict[str, Json]:
    """Parse a JSON text that must be an object, and return the object.

    Raises:
        InvalidInput: `parse_json` refuses the text, or its value is not an object.
    """
    value = parse_json(text, field, most_values)
    if not isinstance(value, Mapping):
        raise InvalidInput.of(field, "is not a JSON object", 'send an object, as {"key": "value"}')
    return dict(value)


class _Refused(Exception):
    """Raised for a value that JSON can't represent. `place` is its path in the checked value.

    While the error is propagated, each enclosing object or array adds its key or index to `place`.
    """

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy
        self.place = ""

    def at(self, step: str) -> "_Refused":
        """Put the key or index in the enclosing value before `place`; return this error."""
        self.place = step + self.place
        return self


def _has_more(text: bytes | str, most: int) -> bool:
    """Return whether a JSON text has more commas and opening brackets than `most`, outside of texts.

    The number of values is at most by one larger.
    """
    whole = text.decode(errors="replace") if isinstance(text, bytes) else text
    return _marks(whole) > most and _marks(_TEXT.sub("", whole)) > most


def _marks(text: str) -> int:
    return sum(map(text.count, ",[{"))


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
        raise _Refused(f"has more than {MAX_JSON_DEPTH} levels of nesting", "nest it less deeply")
    elif isinstance(value, (dict, Mapping)):
        _check_mapping(value, levels - 1)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            try:
                _check(item, levels - 1)
            except _Refused as refused:
                raise refused.at(f"[{index}]") from refused.__cause__
    elif isinstance(value, Real):
        raise _Refused(
            f"contains a value of type {type(value).__name__}, which is not a JSON type",
            "convert it with float(x) or int(x)",
        )
    else:
        raise _Refused(
            f"contains a value of type {type(value).__name__}, which is not a JSON type",
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
            raise _Refused(f"has the key {shown(key)}, which is not text", "use text as keys")
        _check_text(key)
        try:
            _check(item, levels)
        except _Refused as refused:
            raise refused.at(f".{_shown_key(key)}") from refused.__cause__


def _check_number(number: float) -> None:
    try:
        finite = math.isfinite(number)
    except OverflowError as error:
        raise _Refused(
            "contains an integer that is too large", "use a number below 1.8e308, or text"
        ) from error
    if not finite:
        raise _Refused(
            f"contains {number}, which is not a JSON number", "use a finite number or null"
        )


def is_unicode(text: str) -> bool:
    """Return whether a text can be encoded as UTF-8. A text with a lone surrogate can't."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_text(text: str) -> None:
    if not text.isascii() and not is_unicode(text):
        raise _Refused("contains a lone surrogate", "send valid Unicode")


def _shown_key(key: str) -> str:
    return key if key.isprintable() and len(key) <= _SHOWN_KEY else f"{key!a:.{_SHOWN_KEY}}"


def _refuse_constant(name: str) -> Json:
    raise ValueError(f"{name} is not a JSON number")


def _unique_keys(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("an object has the same key twice")
    return value
