"""Conversion of other libraries' numbers to Python's types."""

from numbers import Integral, Real


def plain_number(value: object) -> object:
    """A real number as Python's `int` or `float`, exactly; any other value unchanged.

    numpy's scalars are registered as real numbers. Booleans stay booleans.
    """
    if type(value) in _PLAIN:
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        try:
            return float(value)
        except OverflowError:
            return value
    return value


_PLAIN = frozenset({int, float, str, bool, type(None), dict, list, tuple})
