"""Conversion of numbers of other libraries (numpy) to Python's `int` and `float`."""

from numbers import Integral, Real


def plain_number(value: object) -> object:
    """Convert a real number of any library exactly to `int` or `float`.

    Any other value, and a real number too large for a `float`, is returned unchanged. numpy's
    scalars count as real numbers. A `bool` stays a `bool`.
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
