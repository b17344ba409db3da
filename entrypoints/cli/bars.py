"""Horizontal bars in the terminal."""

from collections.abc import Callable, Sequence

from traffic_storage.entrypoints.cli.output import printable, say

_WIDTH = 30
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def say_bars(
    title: str, rows: Sequence[tuple[str, float]], shown: Callable[[float], str] = str
) -> None:
    """Write a title and one bar for each name and value to stdout; the longest is the largest."""
    say(f"\n{title}")
    most = max((value for _, value in rows), default=0) or 1
    width = max((len(printable(name)) for name, _ in rows), default=0)
    for name, value in rows:
        say(f"  {printable(name):{width}}  {bar(value / most):{_WIDTH}}  {shown(value)}")


def bar(share: float) -> str:
    """Return a bar of a length from 0 to 30 characters for a share from 0 to 1."""
    eighths = round(max(0.0, min(1.0, share)) * _WIDTH * 8)
    return ("█" * (eighths // 8) + _EIGHTHS[eighths % 8]).rstrip()
