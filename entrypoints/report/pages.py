"""Analyses as pages: one HTML file each, complete in itself, without scripts."""

from collections.abc import Iterable, Sequence
from html import escape

from traffic_storage.domain.amounts import in_bytes
from traffic_storage.entrypoints.analysis_views import (
    DataQualityView,
    DaysToFullView,
    ShareView,
    StoragePatternsView,
    StoreOutlookView,
    ViolationPatternsView,
)
from traffic_storage.entrypoints.report.charts import Bar, bars, columns, line_with_band

_MOST_BARS = 12
_HISTORY_DAYS = 120
_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1c2733; background: #f4f6f8; margin: 0; }
main { max-width: 800px; margin: 0 auto; padding: 24px 16px 48px; }
h1 { font-size: 26px; margin: 8px 0 0; } h2 { font-size: 18px; margin: 0 0 8px; }
.when { color: #5b6b7a; margin: 0 0 20px; }
section { background: #fff; border: 1px solid #dde3e9; border-radius: 8px; padding: 16px 20px;
  margin: 0 0 16px; }
.tiles { display: flex; flex-wrap: wrap; gap: 12px; margin: 0 0 16px; }
.tile { background: #fff; border: 1px solid #dde3e9; border-radius: 8px; padding: 12px 16px;
  flex: 1 1 150px; }
.tile b { display: block; font-size: 24px; line-height: 1.3; } .tile span { color: #5b6b7a; }
.note { color: #5b6b7a; font-size: 13px; margin: 8px 0 0; }
table { border-collapse: collapse; width: 100%; } td, th { text-align: left; padding: 5px 10px 5px 0;
  border-bottom: 1px solid #e8edf1; vertical-align: top; } th { color: #5b6b7a; font-weight: 600; }
td.number, th.number { text-align: right; white-space: nowrap; }
li { margin: 4px 0; } ul { padding-left: 20px; margin: 0; }
svg { max-width: 100%; height: auto; } svg text { font: 12px system-ui, sans-serif; fill: #5b6b7a; }
svg .figure { fill: #1c2733; } .bar { fill: #2f6fb3; } .interval { stroke: #d2691e; stroke-width: 2; }
.grid { stroke: #e3e8ed; } .today { stroke: #9aa8b5; stroke-dasharray: 3 3; }
.band { fill: #d2691e; opacity: 0.18; } .known, .expected { fill: none; stroke-width: 1.8; }
.known { stroke: #2f6fb3; } .expected { stroke: #d2691e; }
"""


def storage_page(view: StoragePatternsView) -> str:
    """Return the page of storage patterns."""
    cost = _cost(view["cost_month"], view["currency"])
    factors = view["efficiency"]
    return _page(
        "Storage",
        view["measured_at"],
        [
            _tiles(
                ("stored", in_bytes(view["bytes"])),
                ("files", f"{view['files']:,}"),
                ("violations", f"{view['violations']:,}"),
                ("storage efficiency", f"{view['storage_efficiency']:.2f}"),
                *([("cost a month", cost)] if view["cost_month"] is not None else []),
            ),
            _section("What to do", _list(view["recommendations"], "Nothing needs attention.")),
            *(_growth(store) for store in view["growth"]),
            _bytes_section("By kind", [(one["kind"], one["bytes"]) for one in view["kinds"]]),
            _bytes_section("By tier", [(one["tier"], one["bytes"]) for one in view["tiers"]]),
            _bytes_section("By age", [(one["age"], one["bytes"]) for one in view["ages"]]),
            _bytes_section(
                f"Devices with the most data ({view['device_count']} in all)",
                [(one["device_id"] or "(no device)", one["bytes"]) for one in view["devices"]],
            ),
            _section("What if", _what_if(view)),
            _section(
                "How efficiency is made up",
                f"<p>Each stored byte is held {factors['copies']:.2f} times; compression stores "
                f"{factors['compression_ratio']:.2f} bytes for each byte of content; "
                f"{factors['duplicate_share']:.1%} of the newest bytes repeat other content. An "
                "efficiency of 1 means that each content is stored once, uncompressed.</p>",
            ),
        ],
        f"Totals are exact; ages, ratios and expiry are estimated from {view['sampled']:,} files.",
    )


def violations_page(view: ViolationPatternsView) -> str:
    """Return the page of violation patterns."""
    return _page(
        "Violations",
        view["measured_at"],
        [
            _tiles(
                ("violations", f"{view['violations']:,}"),
                ("sampled", f"{view['sampled']:,}"),
                ("time zone", view["zone"]),
            ),
            _section("What stands out", _list(view["findings"], "All is spread evenly.")),
            _shares("By hour of the day", view["by_hour"], every=2),
            _shares("By weekday", view["by_weekday"]),
            _shares("By type", view["by_type"][:_MOST_BARS]),
            _section(
                "Devices with the most violations",
                bars(
                    [
                        Bar(one["value"], one["violations"])
                        for one in sorted(view["by_device"], key=lambda one: -one["violations"])[
                            :_MOST_BARS
                        ]
                    ],
                    lambda value: f"{value:,.0f}",
                ),
            ),
        ],
        "Orange lines are intervals of 95 % (Wilson): the share of all violations lies within.",
    )


def quality_page(view: DataQualityView) -> str:
    """Return the page of the data quality."""
    average = view["average_quality_score"]
    return _page(
        "Data quality",
        view["measured_at"],
        [
            _tiles(
                ("average score", "-" if average is None else f"{average:.2f}"),
                ("valid records", f"{view['valid_records']:,}"),
                ("invalid records", f"{view['invalid_records']:,}"),
                ("not reached", f"{view['unread_records']:,}"),
            ),
            _section(
                "Cameras that change",
                _list(
                    [trend["words"] for trend in view["trends"]],
                    f"None of {view['devices_watched']} devices with 8 or more images in the sample.",
                ),
            ),
            _section(
                "Scores",
                columns(
                    [
                        Bar(f"{one['low']:.1f}-{one['high']:.1f}", one["records"])
                        for one in view["score_distribution"]
                    ],
                    lambda value: f"{value:.0f}",
                ),
            ),
            _section("What is wrong", _issues(view)),
            _section("Devices with the lowest scores", _worst(view)),
            _section("Duplicates", _duplicates(view)),
        ],
        f"From a random sample of {view['sampled']:,} records.",
    )


def _growth(store: StoreOutlookView) -> str:
    found = store["forecast"]
    known = store["received"][-_HISTORY_DAYS:]
    chart = line_with_band(known, found["days"], (found["low"], found["high"]), in_bytes)
    room = "no limit" if store["room_bytes"] is None else f"{in_bytes(store['room_bytes'])} left"
    return _section(
        f"Growth of {store['location']} ({store['tier']})",
        f"<p>Full <b>{_days(store['days_to_full'])}</b> without deletions, "
        f"<b>{_days(store['days_to_full_with_retention'])}</b> if retention is applied ({room}).</p>"
        f"{chart}<p class=note>Bytes received a day; forecast by {escape(found['method'])}, with a "
        "band of 90 %.</p>",
    )


def _what_if(view: StoragePatternsView) -> str:
    currency = view["currency"]
    strategies = _table(
        ("strategy", "local", "cloud", "cost a month"),
        [
            (
                f"{one['strategy']}{' (now)' if one['current'] else ''}",
                in_bytes(one["local_bytes"]),
                in_bytes(one["cloud_bytes"]),
                _cost(one["cost_month"], currency),
            )
            for one in view["what_if_strategy"]
        ],
    )
    retention = _table(
        ("retention periods", "held in the long run", "cost a month"),
        [
            (f"x {one['factor']:g}", in_bytes(one["bytes"]), _cost(one["cost_month"], currency))
            for one in view["what_if_retention"]
        ],
    )
    return f"{strategies}<br>{retention}"


def _issues(view: DataQualityView) -> str:
    return _table(
        ("finding", "records", "share (95 %)", "example"),
        [
            (
                f"{one['kind']} ({one['severity']})",
                f"{one['records']}",
                f"{one['share']:.1%} ({one['low']:.1%} to {one['high']:.1%})",
                one["example"],
            )
            for one in view["issues"]
        ],
    )


def _worst(view: DataQualityView) -> str:
    return _table(
        ("device", "records", "average score", "most frequent finding"),
        [
            (one["device_id"], f"{one['records']}", f"{one['average_score']:.2f}", one["issue"])
            for one in view["worst_devices"][:_MOST_BARS]
        ],
    )


def _duplicates(view: DataQualityView) -> str:
    sentences = [
        f"{what}: {', '.join(group['file_ids'])}"
        for what, name in (("same content", "exact"), ("look alike", "near"))
        for group in view[f"{name}_duplicates"]["groups"][:_MOST_BARS]  # type: ignore[literal-required]
    ]
    return _list(sentences, "None among the images of the sample.")


def _shares(title: str, shares: Sequence[ShareView], *, every: int = 1) -> str:
    data = [Bar(one["value"], one["share"], one["low"], one["high"]) for one in shares]
    return _section(title, columns(data, lambda value: f"{value:.0%}", every=every))


def _bytes_section(title: str, rows: Sequence[tuple[str, float]]) -> str:
    return _section(title, bars([Bar(*row) for row in rows[:_MOST_BARS]], in_bytes))


def _page(title: str, measured_at: str, parts: Iterable[str], note: str) -> str:
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style></head><body><main><h1>{escape(title)}</h1>"
        f'<p class="when">Traffic Storage, {escape(measured_at[:16].replace("T", " "))} UTC</p>'
        f"{''.join(parts)}<p class=note>{escape(note)}</p></main></body></html>\n"
    )


def _section(title: str, content: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{content}</section>"


def _tiles(*tiles: tuple[str, str]) -> str:
    shown = "".join(
        f'<div class="tile"><span>{escape(name)}</span><b>{escape(value)}</b></div>'
        for name, value in tiles
    )
    return f'<div class="tiles">{shown}</div>'


def _list(sentences: Sequence[str], otherwise: str) -> str:
    if not sentences:
        return f"<p>{escape(otherwise)}</p>"
    return f"<ul>{''.join(f'<li>{escape(one)}</li>' for one in sentences)}</ul>"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return "<p>None.</p>"
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def _days(days: DaysToFullView) -> str:
    if days["estimate"] is None:
        return "never"
    low, high = (
        "never" if one is None else f"{one:,.0f}" for one in (days["earliest"], days["latest"])
    )
    return f"in {days['estimate']:,.0f} days ({low} to {high})"


def _cost(cost: float | None, currency: str) -> str:
    return "no price" if cost is None else f"{cost:,.2f} {currency}"
