"""Amounts in words."""

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun: `1 file`, `0 files`, `2,000 copies`."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def in_bytes(size: float) -> str:
    """Return a size as text in powers of 1000, such as 1.5 MB."""
    number = float(size)
    for unit in _UNITS:
        if number < 1000 or unit == _UNITS[-1]:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    raise AssertionError("unreachable: the last entry has no upper limit")
