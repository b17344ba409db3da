"""Analyses as pages: one HTML file each, complete in itself, without scripts."""

from collections.abc import Iterable, Sequence
from html import escape

from traffic_storage.domain.amounts import in_bytes
from traffic_storage.domain.data_quality import WATCHED
from traffic_storage.entrypoints.analysis_views import (
    DataQualityView,
    DeviceTrendView,
    ShareView,
    StoragePatternsView,
    StoreOutlookView,
    ViolationPatternsView,
    days_in_words,
    some_names,
)
from traffic_storage.entrypoints.report.charts import Bar, bars, columns, line_with_band

_MOST_BARS = 12
_HISTORY_DAYS = 120
_SHOWN_FILES = 4
_STYLE = """
:root { color-scheme: light dark; --ink: #1c2733; --soft: #566573; --page: #f4f6f8; --card: #fff;
  --edge: #dde3e9; --bar: #2f6fb3; --mark: #c2571a; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6ebf0; --soft: #a3b1bf; --page: #12181f;
  --card: #1b232c; --edge: #323e4a; --bar: #5b9bdd; --mark: #f0935a; } }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page); margin: 0; }
main { max-width: 860px; margin: 0 auto; padding: 24px 16px 48px; }
h1 { font-size: 26px; margin: 8px 0 0; } h2 { font-size: 18px; margin: 0 0 8px; }
p { margin: 0 0 8px; } .when { color: var(--soft); margin: 0 0 20px; }
section, .tile { background: var(--card); border: 1px solid var(--edge); border-radius: 8px; }
section { padding: 16px 20px; margin: 0 0 16px; break-inside: avoid; overflow-wrap: break-word; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px;
  margin: 0 0 16px; }
.tile { padding: 12px 16px; } .tile b { display: block; font-size: 24px; line-height: 1.3; }
.tile span, .tile small, .note, small { color: var(--soft); }
.note, small { font-size: 13px; line-height: 1.35; } .note { margin: 8px 0 0; }
table { border-collapse: collapse; width: 100%; margin: 0 0 8px; }
td, th { text-align: left; padding: 5px 20px 5px 0; border-bottom: 1px solid var(--edge);
  vertical-align: top; }
th { color: var(--soft); font-weight: 600; } td:last-child, th:last-child { padding-right: 0; }
.number, .name { white-space: nowrap; } .number { text-align: right; } td small { display: block; }
li { margin: 4px 0; } ul { padding-left: 20px; margin: 0; }
.bars { list-style: none; padding: 0; }
.bars li { display: grid; grid-template-columns: minmax(90px, 22%) 1fr 84px; gap: 10px;
  align-items: center; }
.bars b { font-weight: 400; text-align: right; } .bars i { display: block; height: 14px;
  min-width: 1px; border-radius: 2px; background: var(--bar); }
svg { display: block; width: 100%; height: auto; }
svg text { font: 13px system-ui, sans-serif; fill: var(--soft); } .bar { fill: var(--bar); }
.interval { stroke: var(--mark); stroke-width: 2; } .grid { stroke: var(--edge); }
.today { stroke: var(--soft); stroke-dasharray: 3 3; } .band { fill: var(--mark); opacity: 0.2; }
.known, .expected { fill: none; stroke-width: 1.8; } .known { stroke: var(--bar); }
.expected { stroke: var(--mark); }
.key i { display: inline-block; width: 14px; height: 4px; margin: 0 5px 3px 0; }
@media (max-width: 560px) { section { padding: 12px; } svg text { font-size: 24px; }
  .seldom { display: none; } .tiles { grid-template-columns: 1fr 1fr; } .tile { padding: 10px 12px; }
  .bars li { grid-template-columns: 82px 1fr 72px; } .bars b { font-size: 13px; }
  table, tbody { display: block; } tr { display: block; padding: 6px 0;
  border-bottom: 1px solid var(--edge); } tr:first-child { display: none; }
  td { display: block; border: 0; padding: 1px 0; text-align: left; white-space: normal; }
  td::before { content: attr(data-of) ": "; color: var(--soft); }
  td:first-child { font-weight: 600; } td:first-child::before { content: ""; }
  td small { font-weight: 400; } td.number { display: inline-block; text-align: left;
  margin-right: 16px; } td.number small { display: inline; } }
"""

_INTERVALS = "In brackets: where the share of all violations lies in 95 of 100 samples."
_KEY = (
    '<p class="note key"><i style="background:var(--bar)"></i>received a day &nbsp; '
    '<i style="background:var(--mark)"></i>forecast; '
)
_NUMBERS = {"from", "to", "records", "share", "average score", "local", "cloud", "cost a month"}
_NUMBERS |= {"held in the long run"}
_NAMES, _LONG_NAME = {"camera", "device", "strategy"}, 24
_METRICS = {"acuity": "sharpness (acuity)"}
_ACUITY = "An acuity of 0.15 or more is sharp; below 0.04, an image is unusable."
_PERIODS = {0.5: "half as long as now", 1.0: "as now", 2.0: "twice as long as now"}


def storage_page(view: StoragePatternsView) -> str:
    """Return the page of storage patterns."""
    cost = _cost(view["cost_month"], view["currency"])
    factors = view["efficiency"]
    return _page(
        "Storage",
        view["measured_at"],
        [
            _tiles(
                (
                    "stored",
                    in_bytes(view["bytes"]),
                    f"{in_bytes(view['held_bytes'])} with all copies",
                ),
                ("files", f"{view['files']:,}", ""),
                ("violations", f"{view['violations']:,}", ""),
                (
                    "storage efficiency",
                    f"{view['storage_efficiency']:.2f}",
                    "1: each content is stored once, uncompressed",
                ),
                *([("cost a month", cost, "")] if view["cost_month"] is not None else []),
            ),
            _section("What to do", _list(view["recommendations"], "Nothing needs attention.")),
            *(_growth(store) for store in view["growth"]),
            _bytes_section("By kind", [(one["kind"], one["bytes"]) for one in view["kinds"]]),
            *(
                [_bytes_section("By tier", [(one["tier"], one["bytes"]) for one in view["tiers"]])]
                if len(view["tiers"]) > 1
                else []
            ),
            _bytes_section("By age", [(one["age"], one["bytes"]) for one in view["ages"]]),
            _bytes_section(
                f"Devices with the most data ({view['device_count']} in all)",
                [(one["device_id"] or "(no device)", one["bytes"]) for one in view["devices"]],
            ),
            _section("What if", _what_if(view)),
            _section(
                "How efficiency is made up",
                f"<ul><li>Copies: each stored byte is held {factors['copies']:.2f} times; more copies "
                "are safer and lower the efficiency.</li>"
                f"<li>Compression: {factors['compression_ratio']:.2f} bytes are stored for each byte "
                "of content.</li>"
                f"<li>Duplicates: {factors['duplicate_share']:.1%} of the newest bytes repeat the "
                "content of another file.</li></ul>",
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
                ("violations", f"{view['violations']:,}", "all that match"),
                (
                    "in the sample",
                    f"{view['sampled']:,}",
                    "drawn at random" if view["sampled"] < view["violations"] else "all of them",
                ),
                ("devices", f"{len(view['by_device'])}", "in the sample"),
            ),
            _section(
                "What stands out",
                _list(view["findings"], "All is spread evenly.") + _note(_INTERVALS),
            ),
            _shares(f"By hour of the day ({view['zone']})", view["by_hour"], every=2),
            _shares("By weekday", view["by_weekday"]),
            _section(
                "By type",
                bars(
                    [Bar(one["value"], one["share"]) for one in view["by_type"][:_MOST_BARS]],
                    lambda share: f"{share:.1%}",
                ),
            ),
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
        f"From a random sample of {view['sampled']:,} of {view['violations']:,} violations."
        if view["sampled"] < view["violations"]
        else f"From all {view['violations']:,} violations.",
    )


def quality_page(view: DataQualityView) -> str:
    """Return the page of the data quality."""
    average = view["average_quality_score"]
    return _page(
        "Data quality",
        view["measured_at"],
        [
            _tiles(
                (
                    "average score",
                    "-" if average is None else f"{average:.2f}",
                    "0 is useless, 1 perfect",
                ),
                ("valid records", f"{view['valid_records']:,}", "no error was found"),
                ("invalid records", f"{view['invalid_records']:,}", "with an error: see below"),
                ("not reached", f"{view['unread_records']:,}", "image unreadable now"),
            ),
            _section("Cameras that change", _trends(view)),
            _section("What is wrong", _issues(view)),
            _section("Devices, the lowest scores first", _worst(view)),
            _section("Duplicates", _duplicates(view)),
            _section(
                "Records by their score",
                columns(
                    "The number of records by their score",
                    [
                        Bar(f"{one['low']:.1f}", one["records"])
                        for one in view["score_distribution"]
                    ],
                    lambda value: f"{value:,g}",
                )
                + _note(
                    "Each column begins at the score below it; the best are on the right. The score "
                    "is the product of all checks of a record and its image."
                ),
            ),
        ],
        f"From a random sample of {view['sampled']:,} records (a violation with its image).",
    )


def _growth(store: StoreOutlookView) -> str:
    found = store["forecast"]
    known = store["received"][-_HISTORY_DAYS:]
    certain = found["enough_history"]
    method = (
        f"the shaded band holds 90 % of the days. Method, chosen by a backtest: {found['method']}."
        if certain
        else "too little history (less than a week) for a band and a choice of method."
    )
    title = f"Growth of {store['location']} ({store['tier']})"
    chart = line_with_band(title, known, found["days"], (found["low"], found["high"]), in_bytes)
    room = "no limit" if store["room_bytes"] is None else f"{in_bytes(store['room_bytes'])} left"
    return _section(
        title,
        f"<p>Full <b>{days_in_words(store['days_to_full'], certain=certain)}</b> if nothing is deleted, "
        f"<b>{days_in_words(store['days_to_full_with_retention'], certain=certain)}</b> if expired "
        f"files are deleted ({room}). {in_bytes(sum(found['days']) / max(1, len(found['days'])))} a day are expected."
        f"</p>{chart}{_KEY}{escape(method)}</p>",
    )


def _what_if(view: StoragePatternsView) -> str:
    has_prices = any(one["cost_month"] is not None for one in view["what_if_strategy"])
    costs = ["cost a month"] if has_prices else []

    def cost(of: float | None) -> list[str]:
        return [_cost(of, view["currency"])] if has_prices else []

    strategies = _table(
        ("strategy", "local", "cloud", *costs),
        [
            (
                f"{one['strategy']}{' (now)' if one['current'] else ''}",
                in_bytes(one["local_bytes"]),
                in_bytes(one["cloud_bytes"]),
                *cost(one["cost_month"]),
            )
            for one in view["what_if_strategy"]
        ],
    )
    retention = _table(
        ("files are kept", "held in the long run", *costs),
        [
            (
                _PERIODS.get(one["factor"], f"{one['factor']:g} times as long"),
                in_bytes(one["bytes"]),
                *cost(one["cost_month"]),
            )
            for one in view["what_if_retention"]
        ],
        "" if has_prices else "With the setting prices, costs are shown, too.",
    )
    return (
        f"<p>The files of today under each strategy:</p>{strategies}"
        f"<p>Other periods of retention, with the files that come now:</p>{retention}"
    )


def _trends(view: DataQualityView) -> str:
    if not view["trends"]:
        return (
            f"<p>None of {view['devices_watched']} devices with 8 or more images in the sample.</p>"
        )
    return _table(
        ("camera", "its images", "from", "to", "what to do"),
        [
            (
                one["device_id"],
                (
                    f"{_METRICS.get(one['metric'], one['metric'])} {_change(one)}\n"
                    f"{one['images']} images in {one['days']:.0f} days"
                ),
                f"{one['first']:.3g}",
                f"{one['last']:.3g}",
                f"{WATCHED[one['metric']]}\n{_chance(one['p_value'])}",
            )
            for one in view["trends"]
        ],
        _ACUITY if any(one["metric"] == "acuity" for one in view["trends"]) else "",
    )


def _change(trend: DeviceTrendView) -> str:
    verb = "falls" if trend["last"] < trend["first"] else "rises"
    if trend["first"] <= 0:
        return verb
    return f"{verb} by {abs(trend['last'] / trend['first'] - 1):.0%}"


def _chance(p_value: float) -> str:
    """Return in words how sure a trend is."""
    if p_value < 1e-6:
        return "by chance alone: less than once in 1,000,000 times"
    return f"by chance alone: once in {1 / p_value:,.0f} times"


def _issues(view: DataQualityView) -> str:
    return _table(
        ("finding", "records", "share", "what to do"),
        [
            (
                f"{_words(one['kind'])} ({one['severity']})\n{one['example']}",
                f"{one['records']}",
                f"{one['share']:.1%}\n{one['low']:.1%} to {one['high']:.1%}",
                one["remedy"],
            )
            for one in sorted(view["issues"], key=lambda one: one["severity"] != "error")
        ],
        "Below a share: where that of all records lies in 95 of 100 samples.",
    )


def _worst(view: DataQualityView) -> str:
    return _table(
        ("device", "records", "average score", "what costs the most"),
        [
            (
                one["device_id"],
                f"{one['records']}",
                f"{one['average_score']:.2f}",
                _words(one["issue"]) or "none",
            )
            for one in view["worst_devices"][:_MOST_BARS]
        ],
    )


def _words(kind: str) -> str:
    """Return a kind of finding as words."""
    return kind.replace("_", " ")


def _duplicates(view: DataQualityView) -> str:
    exact, near = view["exact_duplicates"], view["near_duplicates"]
    sentences = [
        f"{group['files']} images {what}: {some_names(group['file_ids'], group['files'], _SHOWN_FILES)}; "
        f"{in_bytes(group['surplus_bytes'])} more than one of them takes"
        for what, found in (("have the same content", exact), ("look alike", near))
        for group in found["groups"][:_MOST_BARS]
    ]
    rest = sum(max(0, one["group_count"] - _MOST_BARS) for one in (exact, near))
    if rest:
        sentences.append(f"and {rest:,} more groups")
    return _list(sentences, f"None among the {exact['examined']:,} images of the sample.")


def _shares(title: str, shares: Sequence[ShareView], *, every: int = 1) -> str:
    # Weekdays by their first three letters: there is room for no more on a narrow page.
    data = [Bar(one["value"][:3], one["share"], one["low"], one["high"]) for one in shares]
    chart = columns(title, data, lambda value: f"{100 * value:.3g}%", every=every)
    return _section(
        title, chart + _note("Orange: where the share of all lies in 95 of 100 samples.")
    )


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


def _tiles(*tiles: tuple[str, str, str]) -> str:
    shown = "".join(
        f'<div class="tile"><span>{escape(name)}</span><b>{escape(value)}</b>'
        f"<small>{escape(meaning)}</small></div>"
        for name, value, meaning in tiles
    )
    return f'<div class="tiles">{shown}</div>'


def _list(sentences: Sequence[str], otherwise: str) -> str:
    if not sentences:
        return f"<p>{escape(otherwise)}</p>"
    return f"<ul>{''.join(f'<li>{escape(one)}</li>' for one in sentences)}</ul>"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], note: str = "") -> str:
    """Return a table; what follows a line break in a cell is shown smaller, below."""
    if not rows:
        return "<p>None.</p>"
    head = "".join(
        f"<th{_kind(name, cell)}>{escape(name)}</th>"
        for name, cell in zip(header, rows[0], strict=True)
    )
    body = "".join(
        f"<tr>{''.join(_cell(*pair) for pair in zip(header, row, strict=True))}</tr>"
        for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>{_note(note)}"


def _note(text: str) -> str:
    return f'<p class="note">{escape(text)}</p>' if text else ""


def _cell(name: str, cell: str) -> str:
    text, _, more = cell.partition("\n")
    small = f"<small>{escape(more)}</small>" if more else ""
    return f'<td{_kind(name, cell)} data-of="{escape(name)}">{escape(text)}{small}</td>'


def _kind(name: str, cell: str) -> str:
    """Return the class of a cell: numbers, and names, are not broken into lines."""
    if name in _NUMBERS and cell:
        return ' class="number"'
    return ' class="name"' if name in _NAMES and len(cell) <= _LONG_NAME else ""


def _cost(cost: float | None, currency: str) -> str:
    return "no price" if cost is None else f"{cost:,.2f} {currency}"
