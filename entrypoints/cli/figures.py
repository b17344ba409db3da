"""Prints storage statistics as text."""

from datetime import timedelta

from traffic_storage.application.statistics import StorageStatistics, TierUsage
from traffic_storage.domain.amounts import counted, in_bytes
from traffic_storage.domain.pressure import PressureLevel
from traffic_storage.entrypoints.cli.output import say_fields

_A_DAY, _A_YEAR = timedelta(days=1), timedelta(days=365)


def say_statistics(statistics: StorageStatistics) -> None:
    """Print the statistics, without the operation counters of this process."""
    cache = statistics.cache
    say_fields(
        {
            "local disk": _usage(statistics.local),
            **_kinds(statistics.local),
            "cloud": _usage(statistics.cloud),
            **{f"{name} ": words for name, words in _kinds(statistics.cloud).items()},
            "violations": f"{statistics.violations}",
            "growth": _growth(statistics),
            **_pressures(statistics),
            "cache": ("" if cache.healthy else "unavailable: ") + cache.detail,
        }
    )


def _usage(tier: TierUsage) -> str:
    if not tier.configured:
        return "not configured"
    words = f"{counted(tier.files, 'file')}, {in_bytes(tier.used_bytes)}"
    if tier.limit_bytes is not None:
        words += f" of {in_bytes(tier.limit_bytes)} ({tier.usage_percentage or 0.0:.1f} %)"
    if tier.free_bytes is not None:
        words += f", {in_bytes(tier.free_bytes)} free"
    return words


def _growth(statistics: StorageStatistics) -> str:
    files = counted(sum(day.files for day in statistics.growth), "file")
    size = in_bytes(sum(day.bytes for day in statistics.growth))
    return f"{files}, {size} in the last {counted(len(statistics.growth), 'day')}"


def _pressures(statistics: StorageStatistics) -> dict[str, str]:
    """Return when the fullest store of each tier is full, if that is within a year."""
    words = {}
    for found in sorted(statistics.pressure, key=lambda one: one.pressure.level):
        here, when = found.pressure, f"{found.tier} full"
        if here.level is not PressureLevel.NONE:
            words[when] = f"{here.level.word}, {found.location}: {here.reason}"
        elif here.full_in is not None and here.full_in <= _A_YEAR:
            words[when] = f"in {counted(round(here.full_in / _A_DAY), 'day')}"
    return words


def _kinds(tier: TierUsage) -> dict[str, str]:
    return {
        f"  {kind}": f"{counted(part.files, 'file')}, {in_bytes(part.bytes)}"
        for kind, part in tier.by_kind.items()
        if part.files
    }
