"""`traffic-storage analyze`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import App

from traffic_storage.domain.amounts import counted, in_bytes
from traffic_storage.domain.errors import InvalidInput
from traffic_storage.entrypoints.cli.output import note, say, say_fields, say_json, say_table
from traffic_storage.entrypoints.cli.session import (
    AsJson,
    Shared,
    end_of,
    instant_of,
    opened_to_read,
)

if TYPE_CHECKING:
    from traffic_storage.entrypoints.analysis_views import (
        DataQualityView,
        DuplicatesView,
        ShareView,
        StoragePatternsView,
        ViolationPatternsView,
    )

app = App(name="analyze", help="Analyse quality, storage and violations.")
_MOST_ROWS = 10
_MOST_GROUPS = 3
_MOST_NAMES = 4


@app.command
async def quality(
    *,
    sample_size: int = 1000,
    seed: int = 0,
    device_id: str | None = None,
    html: Path | None = None,
    json: AsJson = False,
    session: Shared,
) -> None:
    """Judge a random sample of violations and images; name the cameras that get worse.

    Parameters
    ----------
    sample_size:
        Number of records to judge, at most 10,000.
    seed:
        Draw another sample.
    device_id:
        Judge violations and images of this device, at even intervals of time: the best sample for a
        trend.
    html:
        Write a page with charts to this file.
    json:
        Print one JSON object.
    """
    from traffic_storage.entrypoints.analysis_views import data_quality_view
    from traffic_storage.entrypoints.cli.progress import FileBar

    async with opened_to_read(session.container()) as container:
        with FileBar("judging") as bar:
            found = await container.analyse_quality()(
                sample_size=sample_size, seed=seed, device_id=device_id, report=bar.show
            )
    view = data_quality_view(found)
    if html is not None:
        from traffic_storage.entrypoints.report.pages import quality_page

        _write(html, quality_page(view))
    if json:
        say_json(view)
    else:
        _say_quality(view)


@app.command
async def storage(
    *, seed: int = 0, html: Path | None = None, json: AsJson = False, session: Shared
) -> None:
    """Show what is stored by kind, device, tier and age, its growth, cost and efficiency.

    Parameters
    ----------
    seed:
        Draw another sample of files.
    html:
        Write a page with charts to this file.
    json:
        Print one JSON object.
    """
    from traffic_storage.entrypoints.analysis_views import storage_patterns_view

    async with opened_to_read(session.container()) as container:
        view = storage_patterns_view(await container.analyse_storage()(seed=seed))
    if html is not None:
        from traffic_storage.entrypoints.report.pages import storage_page

        _write(html, storage_page(view))
    if json:
        say_json(view)
    else:
        _say_storage(view)


@app.command
async def violations(
    *,
    sample_size: int = 5000,
    seed: int = 0,
    start: str | None = None,
    end: str | None = None,
    device_id: str | None = None,
    zone: str | None = None,
    html: Path | None = None,
    json: AsJson = False,
    session: Shared,
) -> None:
    """Show when, where and which violations happen, with intervals of 95 %.

    Parameters
    ----------
    sample_size:
        Number of violations to draw, at most 10,000.
    seed:
        Draw another sample.
    start:
        Only violations at or after this time (ISO 8601; without a zone: in the setting timezone).
    end:
        Only violations before this time.
    device_id:
        Only violations of this device.
    zone:
        Time zone of hours and weekdays, such as Europe/Madrid; default: the setting timezone.
    html:
        Write a page with charts to this file.
    json:
        Print one JSON object.
    """
    from traffic_storage.entrypoints.analysis_views import violation_patterns_view
    from traffic_storage.entrypoints.export_views import zone_named

    settings = session.settings()
    start_time = instant_of(start, "start", settings)
    end_time = end_of(end, "end", settings)
    named = None if zone is None else zone_named(zone)
    async with opened_to_read(session.container(settings)) as container:
        found = await container.analyse_violations()(
            sample_size=sample_size,
            seed=seed,
            device_id=device_id,
            start_time=start_time,
            end_time=end_time,
            zone=named,
        )
    view = violation_patterns_view(found)
    if html is not None:
        from traffic_storage.entrypoints.report.pages import violations_page

        _write(html, violations_page(view))
    if json:
        say_json(view)
    else:
        _say_violations(view)


def _write(file: Path, page: str) -> None:
    """Write a page, whole or not at all.

    Raises:
        InvalidInput: the file can't be written.
    """
    draft = file.with_name(f".{file.name}.draft")
    try:
        draft.write_text(page, encoding="utf-8")
        draft.replace(file)
    except OSError as error:
        raise InvalidInput.of(
            "html", f"can't be written: {error.strerror}", "name a file in a folder of yours"
        ) from error
    note(f"written: {file}")


def _say_quality(view: "DataQualityView") -> None:
    from traffic_storage.entrypoints.analysis_views import some_names
    from traffic_storage.entrypoints.cli.bars import say_bars

    average = view["average_quality_score"]
    say_fields(
        {
            "average score": "-" if average is None else f"{average:.3f}",
            "valid": counted(view["valid_records"], "record"),
            "invalid": counted(view["invalid_records"], "record"),
            "not reached": counted(view["unread_records"], "record"),
        }
    )
    for trend in view["trends"]:
        say(f"\n* {trend['words']}")
    scores = [
        (f"{one['low']:.1f}-{one['high']:.1f}", one["records"])
        for one in view["score_distribution"]
    ]
    say_bars("SCORES", scores)
    if view["issues"]:
        say("")
        say_table(
            ("FINDING", "SEVERITY", "RECORDS", "SHARE (95 %)", "REMEDY"),
            [
                (
                    one["kind"],
                    one["severity"],
                    str(one["records"]),
                    f"{one['share']:.1%} ({one['low']:.1%} to {one['high']:.1%})",
                    one["remedy"],
                )
                for one in view["issues"]
            ],
        )
    worst = [(one["device_id"], one["average_score"]) for one in view["worst_devices"][:_MOST_ROWS]]
    say_bars("LOWEST AVERAGES", worst, lambda score: f"{score:.3f}")
    for name, what in (("exact", "have the same content"), ("near", "look alike")):
        report: DuplicatesView = view[f"{name}_duplicates"]  # type: ignore[literal-required]
        if not report["groups"]:
            continue
        groups = counted(report["group_count"], "group")
        images = counted(report["examined"], "image")
        say(f"\n* {report['files']} of {images} {what} ({groups}), such as")
        for group in report["groups"][:_MOST_GROUPS]:
            names = some_names(group["file_ids"], group["files"], _MOST_NAMES)
            say(f"    {counted(group['files'], 'image')}: {names}")
    watched = counted(view["devices_watched"], "device has", "devices have")
    note(f"{watched} enough images in the sample to judge a trend")


def _say_violations(view: "ViolationPatternsView") -> None:
    say_fields(
        {
            "violations": f"{view['violations']}",
            "sampled": f"{view['sampled']}",
            "zone": view["zone"],
        }
    )
    _say_shares("BY HOUR", view["by_hour"])
    _say_shares("BY WEEKDAY", view["by_weekday"])
    _say_shares("BY TYPE", view["by_type"][:_MOST_ROWS])
    _say_shares("BY VEHICLE CLASS", view["by_vehicle_class"][:_MOST_ROWS])
    _say_shares("BY DEVICE", view["by_device"][:_MOST_ROWS])
    for sentence in view["findings"]:
        say(f"\n* {sentence}")


def _say_shares(title: str, shares: "Sequence[ShareView]") -> None:
    from traffic_storage.entrypoints.cli.bars import say_bars

    by_share = {one["share"]: f"({one['low']:.1%} to {one['high']:.1%})" for one in shares}
    say_bars(
        title,
        [(one["value"], one["share"]) for one in shares],
        lambda share: f"{share:.1%} {by_share[share]}",
    )


def _say_storage(view: "StoragePatternsView") -> None:
    from traffic_storage.entrypoints.cli.bars import say_bars

    factors = view["efficiency"]
    say_fields(
        {
            "storage efficiency": f"{view['storage_efficiency']:.3f}",
            "copies": f"{factors['copies']:.2f} bytes held for each stored byte",
            "compression": f"{factors['compression_ratio']:.3f} stored for each byte of content",
            "duplicates": f"{factors['duplicate_share']:.1%} of the newest "
            f"{counted(view['duplicates']['examined'], 'file')}, by bytes",
            "files": f"{view['files']}, {in_bytes(view['bytes'])}",
            "held": f"{in_bytes(view['held_bytes'])} in all copies",
            "violations": f"{view['violations']}",
            "received in 30 days": f"{view['hot_share']:.0%} of the bytes",
            "cost": _cost(view["cost_month"], view["currency"]),
        }
    )
    say_bars("BY KIND", [(one["kind"], one["bytes"]) for one in view["kinds"]], in_bytes)
    say_bars("BY TIER", [(one["tier"], one["bytes"]) for one in view["tiers"]], in_bytes)
    say_bars("BY AGE", [(one["age"], one["bytes"]) for one in view["ages"]], in_bytes)
    devices = [
        (one["device_id"] or "(no device)", one["bytes"]) for one in view["devices"][:_MOST_ROWS]
    ]
    say_bars(f"BY DEVICE, {len(devices)} of {view['device_count']}", devices, in_bytes)
    _say_growth(view)
    say("\nWHAT IF")
    for strategy in view["what_if_strategy"]:
        mark = " (now)" if strategy["current"] else ""
        say(
            f"  {strategy['strategy']}{mark}: {in_bytes(strategy['local_bytes'])} local, "
            f"{in_bytes(strategy['cloud_bytes'])} cloud, "
            f"{_cost(strategy['cost_month'], view['currency'])}"
        )
    for outlook in view["what_if_retention"]:
        say(
            f"  retention x {outlook['factor']:g}: {in_bytes(outlook['bytes'])} in the long run, "
            f"{_cost(outlook['cost_month'], view['currency'])}"
        )
    for sentence in view["recommendations"]:
        say(f"\n* {sentence}")
    note(f"ages, ratios and expiry are estimated from {counted(view['sampled'], 'file')}")


def _say_growth(view: "StoragePatternsView") -> None:
    from traffic_storage.entrypoints.analysis_views import days_in_words

    say("\nGROWTH")
    for store in view["growth"]:
        week, certain = store["forecast"]["days"][:7], store["forecast"]["enough_history"]
        say(f"  {store['location']} ({store['tier']})")
        say(
            f"    {in_bytes(sum(week) / len(week))} a day expected ({store['forecast']['method']}); "
            f"full {days_in_words(store['days_to_full'], certain=certain)}; with retention "
            f"{days_in_words(store['days_to_full_with_retention'], certain=certain)}"
        )


def _cost(cost: float | None, currency: str) -> str:
    return "no price (setting prices)" if cost is None else f"{cost:.2f} {currency} a month"
