"""Violations whose columns depend on each other and on the time, and queries for pages of them."""

import random
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import combinations, product
from typing import Any

import attrs
from attrs import frozen

from traffic_storage.adapters.record_repo.sql import rows, tables
from traffic_storage.domain.identifiers import FileId
from traffic_storage.domain.query import Cursor, ViolationQuery
from traffic_storage.domain.violation import StoredViolation, ViolationRecord

_FIRST = datetime(2025, 1, 1, tzinfo=UTC)
_PERIOD = timedelta(days=90)
COLUMNS = tuple(column.name for column in tables.violation.columns)
"""The columns of the rows."""

Filter = Mapping[str, Any]

FILTERS: Mapping[str, Mapping[str, Filter]] = {
    "device": {
        "busy": {"device_id": "CAM-busy"},
        "usual": {"device_id": "CAM0042"},
        "quiet": {"device_id": "CAM-quiet"},
    },
    "type": {
        "common": {"violation_type": "speed"},
        "red light, never at the busy device": {"violation_type": "red_light"},
        "parking, never a bus": {"violation_type": "parking"},
        "lane, confidence from 0.8": {"violation_type": "lane"},
        "rare": {"violation_type": "rare"},
    },
    "class": {
        "common": {"vehicle_class": "car"},
        "bus, confidence to 0.7": {"vehicle_class": "bus"},
        "rare": {"vehicle_class": "tank"},
    },
    "confidence": {
        "from 0.5": {"min_confidence": 0.5},
        "from 0.8": {"min_confidence": 0.8},
        "thin": {"min_confidence": 0.85, "max_confidence": 0.852},
        "very thin": {"min_confidence": 0.7, "max_confidence": 0.70001},
        "only in the older half": {"min_confidence": 0.3, "max_confidence": 0.4},
    },
    "time": {
        "an hour": {
            "start_time": _FIRST + _PERIOD * 0.7,
            "end_time": _FIRST + _PERIOD * 0.7 + timedelta(hours=1),
        },
        "the newest month": {"start_time": _FIRST + _PERIOD * 2 / 3},
        "all but the newest month": {"end_time": _FIRST + _PERIOD * 2 / 3},
    },
}


@frozen
class Asked:
    """A query, and of which combination it is."""

    filters: str
    values: str
    query: ViolationQuery


def queries() -> Iterator[Asked]:
    """Every filter and every pair of filters, with each of their values; the plain page first."""
    for count in (0, 1, 2):
        for names in combinations(FILTERS, count):
            for values in product(*(FILTERS[name] for name in names)):
                given: dict[str, Any] = {}
                for name, value in zip(names, values, strict=True):
                    given |= FILTERS[name][value]
                said = "; ".join(values) or "all"
                query = ViolationQuery(**given)
                yield Asked(" + ".join(names) or "none", said, query)
                middle = Cursor(_FIRST + _PERIOD / 2, "V")
                if names:
                    yield Asked(
                        " + ".join(names), f"{said}; deep", attrs.evolve(query, after=middle)
                    )


def violation_rows(count: int) -> Iterator[tuple[Any, ...]]:
    """Violations in the order of time, two at each; their columns depend on each other as `FILTERS` says."""
    template = dict(zip(COLUMNS, rows.violation_row(_violation()), strict=True))
    chance = random.Random(11)
    first, step = rows.micros(_FIRST), _PERIOD // timedelta(microseconds=1) // count
    for number in range(count):
        device, kind, vehicle_class, confidence = _fields(chance, is_old=number < count // 2)
        yield tuple(
            {
                **template,
                "violation_id": f"V{number:010d}",
                "device_id": device,
                "violation_type": kind,
                "vehicle_class": vehicle_class,
                "confidence": confidence,
                "confidence_band": tables.confidence_band(confidence),
                "occurred_at": first + number // 2 * 2 * step,
                "received_at": first + number * step,
            }.values()
        )


def _fields(chance: random.Random, *, is_old: bool) -> tuple[str, str, str, float]:
    device = _pick(chance, ("CAM-busy", 0.1), ("CAM-quiet", 1e-4))
    device = device or f"CAM{chance.randrange(500):04d}"
    kinds = [("rare", 1e-4), ("parking", 0.1), ("lane", 0.1)]
    if device != "CAM-busy":
        kinds.append(("red_light", 0.23))
    kind = _pick(chance, *kinds) or "speed"
    classes = [("tank", 1e-4), ("truck", 0.15), ("motorcycle", 0.05)]
    if kind != "parking":
        classes.append(("bus", 0.1))
    vehicle_class = _pick(chance, *classes) or "car"
    draw = chance.random()
    confidence = 0.3 + 0.6 * draw if is_old else 0.5 + 0.5 * draw**0.5
    if vehicle_class == "bus":
        confidence = min(confidence, 0.3 + 0.4 * draw)
    elif kind == "lane":
        confidence = 0.8 + 0.2 * draw
    return device, kind, vehicle_class, confidence


def _pick(chance: random.Random, *shares: tuple[str, float]) -> str | None:
    draw = chance.random()
    for value, share in shares:
        if draw < share:
            return value
        draw -= share
    return None


def _violation() -> StoredViolation:
    record = ViolationRecord(
        violation_id="V",
        device_id="CAM",
        violation_type="speed",
        timestamp=_FIRST,
        vehicle_bbox=(100.0, 200.0, 400.0, 480.5),
        vehicle_class="car",
        confidence=0.5,
        camera_info={"model": "C-1080", "lane": 2, "speed_limit": 50},
        processing_time_ms=41.5,
        model_versions={"detector": "3.2.1", "plates": "1.9.0"},
    )
    return StoredViolation(record, record.sha256(), _FIRST, None, _FIRST, FileId("V0~metadata"))
