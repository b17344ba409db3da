"""The demo's film and pictures: real, and the same every time."""

import io
from datetime import UTC, date, datetime

import av
import numpy as np
import pytest
from PIL import Image

from traffic_storage.domain.media import ContentType, sniff, walker_for
from traffic_storage.entrypoints.cli.demo.movie import movie
from traffic_storage.entrypoints.cli.demo.scene import Street, Vehicle, shoot
from traffic_storage.entrypoints.cli.demo.story import STREETS, incidents

DAY = date(2026, 3, 14)
SIZE = (160, 90)


def frames(count: int) -> list[bytes]:
    """Small JPEG pictures, each brighter than the one before."""
    made = []
    for place in range(count):
        out = io.BytesIO()
        Image.new("RGB", SIZE, (20 * place, 10, 10)).save(out, "JPEG")
        made.append(out.getvalue())
    return made


@pytest.mark.parametrize(("count", "rate"), [(1, 1), (7, 10), (12, 25)])
def test_ffmpeg_plays_the_film(count: int, rate: int) -> None:
    film = movie(frames(count), *SIZE, rate)

    with av.open(io.BytesIO(film), "r") as container:
        stream = container.streams.video[0]
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]

        assert container.format.name.startswith("mov,mp4")
        assert stream.codec_context.name == "mjpeg"
        assert (stream.width, stream.height) == SIZE
        assert stream.average_rate == rate
        assert stream.frames == len(pictures) == count
        assert container.duration == pytest.approx(1_000_000 * count / rate, abs=10_000)
    brightness = [float(picture[..., 0].mean()) for picture in pictures]
    assert brightness == sorted(brightness)
    assert brightness[-1] == pytest.approx(20 * (count - 1), abs=4)


def test_the_walker_accepts_the_film() -> None:
    film = movie(frames(8), *SIZE, 4)
    kind = sniff(film)
    assert kind is ContentType.MP4
    walker = walker_for(kind)
    assert walker is not None

    walker.feed(film)
    facts = walker.finish()

    assert (facts.width, facts.height, facts.duration_seconds) == (*SIZE, 2.0)


def test_the_same_scene_is_the_same_picture() -> None:
    street, vehicle = Street("c", "p", 5, light=True), Vehicle((10, 90, 20), "1234 ABC", tall=True)
    at = datetime(2026, 3, 13, 22, 4, tzinfo=UTC)

    one, other = (
        shoot(street, vehicle, at, nearness=0.5, caption="x", size=SIZE).array() for _ in range(2)
    )

    assert np.array_equal(one, other)


@pytest.mark.parametrize("nearness", [0.0, 0.3, 0.6, 0.9])
def test_the_vehicle_is_where_the_box_says(nearness: float) -> None:
    street, at = Street("c", "p", 5), datetime(2026, 3, 13, 22, 4, tzinfo=UTC)
    shot = shoot(street, Vehicle((0, 250, 0), "1"), at, nearness=nearness, caption="")
    x1, y1, x2, y2 = shot.vehicle_box
    green = np.argwhere(
        (shot.array()[..., 1] > 150) & (shot.array()[..., 0] < 90) & (shot.array()[..., 2] < 90)
    )

    assert 0 <= x1 < x2 <= 1280
    assert 0 <= y1 < y2 <= 720
    assert len(green) > 0
    assert ((green >= (y1 - 2, x1 - 2)) & (green <= (y2 + 2, x2 + 2))).all()


def test_a_day_tells_the_same_story_and_another_day_another() -> None:
    one, same = list(incidents(DAY)), list(incidents(DAY))
    other = list(incidents(date(2026, 3, 15)))

    assert [incident.record for incident in one] == [incident.record for incident in same]
    assert one[0].video() == same[0].video()
    ids = {incident.record.violation_id for incident in (*one, *other)}
    assert len(ids) == len(one) + len(other)


def test_the_story_lies_in_the_past_and_shows_every_camera() -> None:
    told = list(incidents(DAY))

    assert {incident.record.device_id for incident in told} == {street.camera for street in STREETS}
    assert all(incident.record.timestamp < datetime(2026, 3, 14, tzinfo=UTC) for incident in told)
    assert {incident.record.violation_type for incident in told} == {"speed", "red_light"}
