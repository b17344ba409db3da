"""`traffic-storage analyze`."""

from typing import TYPE_CHECKING

from cyclopts import App

from traffic_storage.domain.amounts import in_bytes
from traffic_storage.entrypoints.cli.output import note, say, say_fields, say_json
from traffic_storage.entrypoints.cli.session import AsJson, Shared, opened_to_read

if TYPE_CHECKING:
    from traffic_storage.entrypoints.analysis_views import DaysToFullView, StoragePatternsView

app = App(name="analyze", help="Analyse quality, storage and violations.")
_MOST_ROWS = 10


@app.command
async def storage(*, seed: int = 0, json: AsJson = False, session: Shared) -> None:
    """Show what is stored by kind, device, tier and age, its growth, cost and efficiency.

    Parameters
    ----------
    seed:
        Draw another sample of files.
    json:
        Print one JSON object.
    """
    from traffic_storage.entrypoints.analysis_views import storage_patterns_view

    async with opened_to_read(session.container()) as container:
        view = storage_patterns_view(await container.analyse_storage()(seed=seed))
    if json:
        say_json(view)
    else:
        _say_storage(view)


def _say_storage(view: "StoragePatternsView") -> None:
    from traffic_storage.entrypoints.cli.bars import say_bars

    factors = view["efficiency"]
    say_fields(
        {
            "storage efficiency": f"{view['storage_efficiency']:.3f}",
            "copies": f"{factors['copies']:.2f} bytes held for each stored byte",
            "compression": f"{factors['compression_ratio']:.3f} stored for each byte of content",
            "duplicates": f"{factors['duplicate_share']:.1%} of the newest "
            f"{view['duplicates']['examined']} files' bytes",
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
    note(f"ages, ratios and expiry are estimated from {view['sampled']} files")


def _say_growth(view: "StoragePatternsView") -> None:
    say("\nGROWTH")
    for store in view["growth"]:
        week = store["forecast"]["days"][:7]
        say(f"  {store['location']} ({store['tier']})")
        say(
            f"    {in_bytes(sum(week) / len(week))} a day expected ({store['forecast']['method']}); "
            f"full {_days(store['days_to_full'])}; with retention "
            f"{_days(store['days_to_full_with_retention'])}"
        )


def _days(days: "DaysToFullView") -> str:
    if days["estimate"] is None:
        return "never"
    low, high = (
        "never" if one is None else f"{one:.0f}" for one in (days["earliest"], days["latest"])
    )
    return f"in {days['estimate']:.0f} days ({low} to {high})"


def _cost(cost: float | None, currency: str) -> str:
    return "no price (setting prices)" if cost is None else f"{cost:.2f} {currency} a month"
