"""What the demo's cameras see on one day. The same day gives the same records and pictures."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta

from attrs import frozen

from traffic_storage.domain.violation import ViolationRecord
from traffic_storage.entrypoints.cli.demo.movie import movie
from traffic_storage.entrypoints.cli.demo.scene import Shot, Street, Vehicle, shoot

STREETS = (
    Street("north-gate", "Main Street, northbound", 11, light=True),
    Street("harbour", "Quay Road, km 2", 23),
    Street("school", "Garden Lane", 37),
)
_VEHICLES = (
    ("car", Vehicle((60, 92, 140), "4821 KLM")),
    ("van", Vehicle((196, 198, 200), "7735 HBT", tall=True)),
    ("car", Vehicle((150, 30, 36), "2090 JRS")),
)
_VIDEO_SIZE, _VIDEO_FRAMES, _VIDEO_RATE = (640, 360), 24, 12
_MODELS = {"detector": "demo-detector 1.0", "plate_reader": "demo-ocr 1.0"}


@frozen
class Incident:
    """A violation: its record, the picture, and the frames around it."""

    record: ViolationRecord
    shot: Shot
    street: Street
    vehicle: Vehicle
    caption: str

    def video(self) -> bytes:
        """Two seconds of the vehicle driving away, as MP4."""
        return movie(list(self._frames()), *_VIDEO_SIZE, _VIDEO_RATE)

    def _frames(self) -> Iterator[bytes]:
        for place in range(_VIDEO_FRAMES):
            at = self.record.timestamp + timedelta(seconds=place / _VIDEO_RATE)
            frame = shoot(
                self.street,
                self.vehicle,
                at,
                nearness=0.85 - 0.6 * place / _VIDEO_FRAMES,
                caption=self.caption,
                size=_VIDEO_SIZE,
            )
            yield frame.jpeg(80)


def incidents(day: date) -> Iterator[Incident]:
    """The violations of the night before `day`, oldest first at each camera."""
    for street in STREETS:
        for number, (vehicle_class, vehicle) in enumerate(_VEHICLES, 1):
            yield _incident(day, street, number, vehicle_class, vehicle)


def _incident(
    day: date, street: Street, number: int, vehicle_class: str, vehicle: Vehicle
) -> Incident:
    at = datetime.combine(day - timedelta(days=1), time(21, 4), UTC) + timedelta(
        minutes=17 * number + street.seed, seconds=street.seed % 60
    )
    red_light = street.light and number == 2
    speed = 61 + (street.seed * number * 7) % 48
    caption = "RED LIGHT +1.4 s" if red_light else f"{speed} km/h  LIMIT 50"
    shot = shoot(street, vehicle, at, nearness=0.45 + 0.12 * number, caption=caption)
    record = ViolationRecord(
        violation_id=f"DEMO-{day:%Y%m%d}-{street.camera}-{number}",
        device_id=street.camera,
        violation_type="red_light" if red_light else "speed",
        timestamp=at,
        vehicle_bbox=shot.vehicle_box,
        vehicle_class=vehicle_class,
        confidence=round(0.99 - 0.013 * number - street.seed / 1000, 3),
        camera_info={"location": street.place, "speed_kmh": speed, "limit_kmh": 50},
        processing_time_ms=40.0 + number,
        model_versions=_MODELS,
    )
    return Incident(record, shot, street, vehicle, caption)
