"""Immutable JSON objects and arrays; the values inside them are immutable too.

`FrozenDict` and `FrozenList` are subclasses of `dict` and `list`, so every JSON writer accepts
them, and they are equal to a `dict` or `list` with the same content.
"""

from collections.abc import Mapping
from typing import Any, NoReturn

from traffic_storage.domain.canonical import MAX_JSON_DEPTH
from traffic_storage.domain.numeric import plain_number

_PLAIN = frozenset({str, int, float, bool, type(None)})


def _refuse(*_args: object, **_named: object) -> NoReturn:
    raise TypeError("a frozen JSON object or array can't be changed")


class FrozenDict(dict[str, Any]):
    """An immutable JSON object. It is hashable if its values are."""

    __slots__ = ()
    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))

    def __deepcopy__(self, _: object) -> "FrozenDict":
        return self

    def __reduce__(self) -> tuple[type["FrozenDict"], tuple[dict[str, Any]]]:
        return FrozenDict, (dict(self),)


class FrozenList(list[Any]):
    """An immutable JSON array. It is hashable if its entries are."""

    __slots__ = ()
    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse
    append = clear = extend = insert = pop = remove = reverse = sort = _refuse

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(tuple(self))

    def __deepcopy__(self, _: object) -> "FrozenList":
        return self

    def __reduce__(self) -> tuple[type["FrozenList"], tuple[list[Any]]]:
        return FrozenList, (list(self),)


def frozen_json(value: Any, levels: int = MAX_JSON_DEPTH) -> Any:  # noqa: ANN401 - a JSON value
    """Return an immutable copy of a JSON value, with numpy's numbers converted exactly to Python's.

    A part that is not JSON, or that is nested deeper than `levels`, is not converted and causes no
    error; `canonical_json` refuses it.
    """
    below = levels - 1
    if type(value) in _PLAIN or levels < 0:
        return value
    # Most parts are scalars; testing them here saves a call for each.
    if isinstance(value, (dict, Mapping)):
        return FrozenDict(
            {
                key: part if type(part) in _PLAIN else frozen_json(part, below)
                for key, part in value.items()
            }
        )
    if isinstance(value, (list, tuple)):
        return FrozenList(
            [part if type(part) in _PLAIN else frozen_json(part, below) for part in value]
        )
    return plain_number(value)
