"""The demo's cameras and violations. Records depend only on the day; media are package data.

`scripts/demo_media.py` makes the media and prints the boxes of the vehicles.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from importlib.resources import files

from attrs import frozen

from traffic_storage.domain.violation import ViolationRecord


@frozen
class Street:
    """A street with a camera. `minute` shifts the times of its violations.

    `light` is true if the street has a traffic light.
    """

    camera: str
    place: str
    minute: int
    light: bool = False


@frozen
class Vehicle:
    """A vehicle, its picture, and its box in the picture, in pixels: x1, y1, x2, y2."""

    vehicle_class: str
    picture: str
    box: tuple[int, int, int, int]


STREETS = (
    Street("north-gate", "Main Street, northbound", 11, light=True),
    Street("harbour", "Quay Road, km 2", 23),
    Street("school", "Garden Lane", 37),
)
VEHICLES = (
    Vehicle("car", "car.jpg", (711, 338, 917, 486)),
    Vehicle("van", "van.jpg", (728, 269, 982, 536)),
    Vehicle("car", "red_car.jpg", (746, 369, 1054, 591)),
)
_MODELS = {"detector": "demo-detector 1.0", "plate_reader": "demo-ocr 1.0"}


@frozen
class Incident:
    """A violation: its record, the picture as JPEG, and a line that describes it."""

    record: ViolationRecord
    jpeg: bytes
    caption: str


def incidents(day: date) -> Iterator[Incident]:
    """Yield the violations of the night before `day`, oldest first at each camera."""
    for street in STREETS:
        for number, vehicle in enumerate(VEHICLES, 1):
            yield _incident(day, street, number, vehicle)


def video() -> bytes:
    """Return two seconds of a vehicle driving away, as MP4."""
    return media("car.mp4")


def media(name: str) -> bytes:
    """Return one file of the demo's media."""
    return files("traffic_storage.entrypoints.cli.demo").joinpath("media", name).read_bytes()


def _incident(day: date, street: Street, number: int, vehicle: Vehicle) -> Incident:
    at = datetime.combine(day - timedelta(days=1), time(21, 4), UTC) + timedelta(
        minutes=17 * number + street.minute, seconds=street.minute % 60
    )
    red_light = street.light and number == 2
    speed = 61 + (street.minute * number * 7) % 48
    record = ViolationRecord(
        violation_id=f"DEMO-{day:%Y%m%d}-{street.camera}-{number}",
        device_id=street.camera,
        violation_type="red_light" if red_light else "speed",
        timestamp=at,
        vehicle_bbox=vehicle.box,
        vehicle_class=vehicle.vehicle_class,
        confidence=round(0.99 - 0.013 * number - street.minute / 1000, 3),
        camera_info={"location": street.place, "speed_kmh": speed, "limit_kmh": 50},
        processing_time_ms=40.0 + number,
        model_versions=_MODELS,
    )
    caption = "RED LIGHT +1.4 s" if red_light else f"{speed} km/h  LIMIT 50"
    return Incident(record, media(vehicle.picture), caption)
