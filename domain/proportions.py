"""Shares of a sample, with the interval in which the share of the whole lies."""

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from math import sqrt
from typing import Generic, TypeVar

from attrs import frozen

T = TypeVar("T", bound=Hashable)

Z = 1.95996
"""The 97.5 % quantile of the normal distribution: intervals of 95 %."""


@frozen
class Share(Generic[T]):
    """How many of a sample have a value, with the Wilson interval of 95 % of their share."""

    value: T
    count: int
    of: int

    @property
    def share(self) -> float:
        """The share of the sample, 0 to 1."""
        return self.count / self.of if self.of else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """The interval in which the share of the whole lies."""
        return wilson(self.count, self.of)


def wilson(count: int, of: int) -> tuple[float, float]:
    """Return the Wilson score interval of 95 % of a share `p = count / of`, within 0 to 1.

    `(p + z²/2n ± z √(p (1 - p)/n + z²/4n²)) / (1 + z²/n)` (E. B. Wilson, 1927). It holds for small
    samples and for shares near 0 and 1, too. Nothing is known of an empty sample: 0 to 1.
    """
    if not of:
        return 0.0, 1.0
    share, square = count / of, Z * Z / of
    middle = share + square / 2
    half = Z * sqrt(share * (1 - share) / of + square / (4 * of))
    return max(0.0, (middle - half) / (1 + square)), min(1.0, (middle + half) / (1 + square))


def shares_of(values: Iterable[T], order: Sequence[T] | None = None) -> tuple[Share[T], ...]:
    """Return the share of each value: in the given order, else the most frequent first."""
    counts = Counter(values)
    total = sum(counts.values())
    if order is not None:
        return tuple(Share(value, counts[value], total) for value in order)
    return tuple(Share(value, count, total) for value, count in counts.most_common())
