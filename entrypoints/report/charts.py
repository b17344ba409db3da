"""Charts as inline SVG: no script, no style sheet from elsewhere."""

from collections.abc import Callable, Sequence
from html import escape

from attrs import frozen

_WIDTH = 720
_ROW, _LABELS, _FIGURES = 26, 170, 130
_HEIGHT, _LEFT, _RIGHT, _BOTTOM = 220, 64, 12, 26

Shown = Callable[[float], str]


@frozen
class Bar:
    """A bar of a chart; `low` and `high` are the ends of its interval, if it has one."""

    label: str
    value: float
    low: float | None = None
    high: float | None = None


def bars(data: Sequence[Bar], shown: Shown) -> str:
    """Return a chart of horizontal bars, each with its label and value."""
    most = max((one.value for one in data), default=0.0) or 1.0
    room = _WIDTH - _LABELS - _FIGURES
    rows = []
    for place, one in enumerate(data):
        top, width = place * _ROW, room * one.value / most
        rows.append(
            f'<text x="{_LABELS - 8}" y="{top + 17}" text-anchor="end">{_label(one.label)}</text>'
            f'<rect class="bar" x="{_LABELS}" y="{top + 5}" width="{max(1.0, width):.1f}" height="16"'
            f' rx="2"/><text class="figure" x="{_LABELS + width + 8:.1f}" y="{top + 17}">'
            f"{escape(shown(one.value))}</text>"
        )
    return _svg(_WIDTH, max(1, len(data)) * _ROW, rows)


def columns(data: Sequence[Bar], shown: Shown, *, every: int = 1) -> str:
    """Return a chart of vertical bars with their intervals; every n-th label is written."""
    most = max((one.high or one.value for one in data), default=0.0) or 1.0
    step = (_WIDTH - _LEFT - _RIGHT) / max(1, len(data))
    plot = _HEIGHT - _BOTTOM
    parts = [_axis(most, shown)]
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
            parts.append(
                f'<text x="{x + step / 2:.1f}" y="{_HEIGHT - 8}" text-anchor="middle">'
                f"{escape(one.label)}</text>"
            )
    return _svg(_WIDTH, _HEIGHT, parts)


def line_with_band(
    known: Sequence[float],
    expected: Sequence[float],
    band: tuple[Sequence[float], Sequence[float]],
    shown: Shown,
) -> str:
    """Return a chart of daily values up to today, and of the forecast behind it with its band."""
    low, high = band
    most = max([*known, *high, *expected, 0.0]) or 1.0
    count, plot = max(2, len(known) + len(expected)), _HEIGHT - _BOTTOM

    def at(day: int, value: float) -> str:
        x = _LEFT + (_WIDTH - _LEFT - _RIGHT) * day / (count - 1)
        return f"{x:.1f},{plot * (1 - value / most / 1.08):.1f}"

    first = len(known)
    upper = [at(first + day, value) for day, value in enumerate(high)]
    lower = [at(first + day, value) for day, value in enumerate(low)]
    today = at(first, 0).partition(",")[0]
    return _svg(
        _WIDTH,
        _HEIGHT,
        [
            _axis(most, shown),
            f'<polygon class="band" points="{" ".join(upper + lower[::-1])}"/>',
            _line("known", [at(day, value) for day, value in enumerate(known)]),
            _line("expected", [at(first + day, value) for day, value in enumerate(expected)]),
            f'<line class="today" x1="{today}" x2="{today}" y1="0" y2="{plot}"/>',
            f'<text x="{today}" y="{_HEIGHT - 8}" text-anchor="middle">today</text>',
            f'<text x="{_LEFT}" y="{_HEIGHT - 8}">{len(known)} days ago</text>',
            _text(_WIDTH - _RIGHT, f"in {len(expected)} days"),
        ],
    )


def _text(end: float, text: str) -> str:
    return f'<text x="{end}" y="{_HEIGHT - 8}" text-anchor="end">{escape(text)}</text>'


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


def _label(text: str) -> str:
    return escape(text if len(text) <= 24 else f"{text[:23]}…")


def _svg(width: int, height: int, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">'
        f"{''.join(parts)}</svg>"
    )
