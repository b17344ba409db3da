"""The demo's media: real, playable, small; its story: the same for the same day."""

import io
from datetime import UTC, date, datetime
from importlib.resources import files

import av
import numpy as np
import pytest
from PIL import Image

from traffic_storage.domain.media import ContentType, sniff, walker_for
from traffic_storage.entrypoints.cli.demo.story import (
    STREETS,
    VEHICLES,
    Vehicle,
    incidents,
    media,
    video,
)

DAY = date(2026, 3, 14)
COLOURS = {"car.jpg": (60, 92, 140), "van.jpg": (196, 198, 200), "red_car.jpg": (150, 30, 36)}


def test_browsers_play_the_video() -> None:
    with av.open(io.BytesIO(video()), "r") as container:
        stream = container.streams.video[0]
        pictures = list(container.decode(video=0))

        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (stream.width, stream.height) == (640, 360)
        assert stream.frames == len(pictures) == 24
    assert video().index(b"moov") < video().index(b"mdat"), "the index first: it can be streamed"


def test_the_walker_accepts_the_video() -> None:
    kind = sniff(video())
    assert kind is ContentType.MP4
    walker = walker_for(kind)
    assert walker is not None

    walker.feed(video())
    facts = walker.finish()

    assert (facts.width, facts.height, facts.duration_seconds) == (640, 360, 2.0)


@pytest.mark.parametrize("vehicle", VEHICLES, ids=lambda vehicle: vehicle.picture)
def test_the_vehicle_is_where_the_box_says(vehicle: Vehicle) -> None:
    with Image.open(io.BytesIO(media(vehicle.picture))) as picture:
        assert (picture.format, picture.size) == ("JPEG", (1280, 720))
        pixels = np.asarray(picture).astype(int)
    x1, y1, x2, y2 = vehicle.box
    body = np.abs(pixels - COLOURS[vehicle.picture]).max(axis=2) < 16

    inside = body[y1 : y2 + 1, x1 : x2 + 1].sum()
    assert inside > 0.1 * (x2 - x1) * (y2 - y1)
    assert inside > 5 * (body.sum() - inside)


def test_the_media_are_small_and_all_used() -> None:
    folder = files("traffic_storage.entrypoints.cli.demo").joinpath("media")
    sizes = {one.name: len(one.read_bytes()) for one in folder.iterdir()}

    assert sizes.keys() == {"car.mp4", *(vehicle.picture for vehicle in VEHICLES)}
    assert sum(sizes.values()) < 400_000


def test_a_day_tells_the_same_story_and_another_day_another() -> None:
    one, same = list(incidents(DAY)), list(incidents(DAY))
    other = list(incidents(date(2026, 3, 15)))

    assert [incident.record for incident in one] == [incident.record for incident in same]
    ids = {incident.record.violation_id for incident in (*one, *other)}
    assert len(ids) == len(one) + len(other)


def test_the_story_lies_in_the_past_and_shows_every_camera() -> None:
    told = list(incidents(DAY))

    assert {incident.record.device_id for incident in told} == {street.camera for street in STREETS}
    assert all(incident.record.timestamp < datetime(2026, 3, 14, tzinfo=UTC) for incident in told)
    assert {incident.record.violation_type for incident in told} == {"speed", "red_light"}
