"""Charts as inline SVG and HTML: no script, no style sheet from elsewhere."""

from collections.abc import Callable, Sequence
from html import escape
from math import ceil, floor, log10

from attrs import frozen

_WIDTH = 720
# A narrow page shows these units at half their size, with letters twice as large.
_HEIGHT, _LEFT, _RIGHT, _BOTTOM = 240, 100, 12, 36
_STEPS = (1, 1.2, 1.6, 2, 3, 4, 5, 6, 8, 10)
_NARROW_LABELS = 8
"""The most labels below a chart for which a narrow page has room."""

Shown = Callable[[float], str]


@frozen
class Bar:
    """A bar of a chart; `low` and `high` are the ends of its interval, if it has one."""

    label: str
    value: float
    low: float | None = None
    high: float | None = None


def bars(data: Sequence[Bar], shown: Shown) -> str:
    """Return a chart of horizontal bars, each with its label and value, as wide as its place."""
    most = max((one.value for one in data), default=0.0) or 1.0
    rows = "".join(
        f"<li><span>{escape(one.label)}</span>"
        f'<span class="track">{_bar(one.value / most)}</span>'
        f"<b>{escape(shown(one.value))}</b></li>"
        for one in data
    )
    return f'<ul class="bars">{rows}</ul>'


def _bar(share: float) -> str:
    return f'<i style="width:{100 * share:.1f}%"></i>' if share else ""


def columns(title: str, data: Sequence[Bar], shown: Shown, *, every: int = 1) -> str:
    """Return a chart of vertical bars with their intervals; every n-th label is written.

    `title` says what is shown to who does not see it.
    """
    most = _scale(max((one.high or one.value for one in data), default=0.0))
    step = (_WIDTH - _LEFT - _RIGHT) / max(1, len(data))
    plot = _HEIGHT - _BOTTOM
    parts = [_axis(most, shown)]
    narrow = every * ceil(len(data) / every / _NARROW_LABELS)
    for place, one in enumerate(data):
        x, top = _LEFT + place * step, plot * (1 - one.value / most / 1.08)
        parts.append(
            f'<rect class="bar" x="{x + step * 0.15:.1f}" y="{top:.1f}" width="{step * 0.7:.1f}" '
            f'height="{plot - top:.1f}"><title>{escape(one.label)}: {escape(shown(one.value))}'
            "</title></rect>"
        )
        if one.low is not None and one.high is not None:
            middle = x + step / 2
            ends = [plot * (1 - end / most / 1.08) for end in (one.low, one.high)]
            parts.append(
                f'<line class="interval" x1="{middle:.1f}" x2="{middle:.1f}" y1="{ends[0]:.1f}" '
                f'y2="{ends[1]:.1f}"/>'
            )
        if place % every == 0:
            seldom = "" if place % narrow == 0 else ' class="seldom"'
            parts.append(
                f'<text{seldom} x="{x + step / 2:.1f}" y="{_HEIGHT - 10}" text-anchor="middle">'
                f"{escape(one.label)}</text>"
            )
    return _svg(title, parts)


def line_with_band(
    title: str,
    known: Sequence[float],
    expected: Sequence[float],
    band: tuple[Sequence[float], Sequence[float]],
    shown: Shown,
) -> str:
    """Return a chart of daily values up to today, and of the forecast behind it with its band."""
    low, high = band
    most = _scale(max([*known, *high, *expected, 0.0]))
    count, plot = max(2, len(known) + len(expected)), _HEIGHT - _BOTTOM

    def at(day: int, value: float) -> str:
        x = _LEFT + (_WIDTH - _LEFT - _RIGHT) * day / (count - 1)
        return f"{x:.1f},{plot * (1 - value / most / 1.08):.1f}"

    first = len(known)
    upper = [at(first + day, value) for day, value in enumerate(high)]
    lower = [at(first + day, value) for day, value in enumerate(low)]
    today = at(first, 0).partition(",")[0]
    return _svg(
        title,
        [
            _axis(most, shown),
            f'<polygon class="band" points="{" ".join(upper + lower[::-1])}"/>',
            _line("known", [at(day, value) for day, value in enumerate(known)]),
            _line("expected", [at(first + day, value) for day, value in enumerate(expected)]),
            f'<line class="today" x1="{today}" x2="{today}" y1="0" y2="{plot}"/>',
            f'<text x="{today}" y="{_HEIGHT - 10}" text-anchor="middle">today</text>',
            f'<text x="{_LEFT}" y="{_HEIGHT - 10}">{_days_ago(len(known), count)}</text>',
            _text(_WIDTH - _RIGHT, f"in {len(expected)} days"),
        ],
    )


def _days_ago(days: int, of: int) -> str:
    """Return the label of the first day; none where "today" is too near to it."""
    return f"{days} days ago" if days > 0.3 * of else ""


def _text(end: float, text: str) -> str:
    return f'<text x="{end}" y="{_HEIGHT - 10}" text-anchor="end">{escape(text)}</text>'


def _scale(largest: float) -> float:
    """Return a round number that is not below the largest value."""
    if largest <= 0:
        return 1.0
    unit = 10.0 ** floor(log10(largest))
    return unit * next((step for step in _STEPS if step * unit >= largest), 10)


def _axis(most: float, shown: Shown) -> str:
    plot = _HEIGHT - _BOTTOM
    return "".join(
        f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{escape(shown(most * share))}</text>'
        for share in (0.0, 0.5, 1.0)
        for y in [plot * (1 - share / 1.08)]
    )


def _line(kind: str, points: Sequence[str]) -> str:
    return f'<polyline class="{kind}" points="{" ".join(points)}"/>'


def _svg(title: str, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">'
        f"{''.join(parts)}</svg>"
    )
