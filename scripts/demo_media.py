#!/usr/bin/env python3
"""Creates the pictures and the video of `traffic-storage demo`. Commit its output after a change.

    .venv/bin/python scripts/demo_media.py

Draws a street at night with a vehicle, as an enforcement camera sees it: three JPEG pictures and
an H.264 MP4 of two seconds. The same versions of Pillow, NumPy and x264 give the same bytes.
Prints the box of the vehicle in each picture, which `entrypoints/cli/demo/story.py` records.
Needs the extra `video`.
"""

from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import av
import numpy as np
from attrs import frozen
from av.video.stream import VideoStream
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

FOLDER = Path(__file__).resolve().parent.parent / "entrypoints" / "cli" / "demo" / "media"
PICTURE_SIZE, VIDEO_SIZE = (1280, 720), (640, 360)
VIDEO_FRAMES, VIDEO_RATE = 24, 12

_HORIZON = 0.42
_LAMPS = ((0.08, 0.95), (0.25, 0.62), (0.36, 0.40), (0.92, 0.95), (0.75, 0.62), (0.64, 0.40))
_RED, _AMBER, _WHITE = (255, 60, 40), (255, 190, 90), (235, 240, 255)


@frozen
class Vehicle:
    """The vehicle in a picture."""

    colour: tuple[int, int, int]
    plate: str
    tall: bool = False


@frozen
class Street:
    """The scene of a camera; `seed` determines houses, stars and grain."""

    seed: int
    light: bool = False


VIEWS = {
    "car": (Street(11, light=True), Vehicle((60, 92, 140), "4821 KLM")),
    "van": (Street(23), Vehicle((196, 198, 200), "7735 HBT", tall=True)),
    "red_car": (Street(37), Vehicle((150, 30, 36), "2090 JRS")),
}


def main() -> None:
    """Write all files of the demo."""
    FOLDER.mkdir(exist_ok=True)
    for number, (name, (street, vehicle)) in enumerate(VIEWS.items(), 1):
        picture, box = shoot(street, vehicle, nearness=0.45 + 0.12 * number, size=PICTURE_SIZE)
        path = FOLDER / f"{name}.jpg"
        picture.save(path, "JPEG", quality=80)
        print(f"{path.name}: vehicle at {box}, {path.stat().st_size} bytes")
    path = FOLDER / "car.mp4"
    write_video(path, departing(*VIEWS["car"]))
    print(f"{path.name}: {path.stat().st_size} bytes")


def departing(street: Street, vehicle: Vehicle) -> Iterator[Image.Image]:
    """Yield the frames of a vehicle that drives away from the camera."""
    for place in range(VIDEO_FRAMES):
        nearness = 0.85 - 0.6 * place / VIDEO_FRAMES
        yield shoot(street, vehicle, nearness=nearness, size=VIDEO_SIZE)[0]


def write_video(path: Path, frames: Iterator[Image.Image]) -> None:
    """Write an H.264 MP4 that browsers can play: 4:2:0, with its index at the start."""
    options = {"fflags": "bitexact", "movflags": "faststart"}
    with av.open(str(path), "w", format="mp4", options=options) as output:
        stream = output.add_stream("libx264", rate=Fraction(VIDEO_RATE), options={"crf": "26"})
        assert isinstance(stream, VideoStream)
        stream.width, stream.height = VIDEO_SIZE
        stream.pix_fmt = "yuv420p"
        # With more threads, the output depends on the machine.
        stream.codec_context.thread_count = 1
        for frame in frames:
            output.mux(stream.encode(av.VideoFrame.from_image(frame)))
        output.mux(stream.encode(None))


def shoot(
    street: Street, vehicle: Vehicle, *, nearness: float, size: tuple[int, int]
) -> tuple[Image.Image, tuple[int, int, int, int]]:
    """Return a picture and the box of the vehicle in it (x1, y1, x2, y2 in pixels).

    `nearness` is 0 at the horizon and 1 directly in front of the camera.
    """
    picture = _background(street, size).copy()
    box = _vehicle_box(nearness, size, tall=vehicle.tall)
    _draw_vehicle(picture, vehicle, box)
    picture = _glowing(picture, _tail_lights(box), _RED, (box[2] - box[0]) / 9, 0.35)
    return _grained(picture, street.seed + int(nearness * 10_000)), box


@lru_cache(maxsize=8)
def _background(street: Street, size: tuple[int, int]) -> Image.Image:
    width, height = size
    picture = Image.fromarray(_sky_and_ground(size))
    draw = ImageDraw.Draw(picture)
    chance = np.random.default_rng(street.seed)
    _draw_stars(draw, size, chance)
    _draw_houses(draw, size, chance)
    _draw_road(draw, size)
    lamps = [(x * width, height * (_HORIZON - 0.32 * scale)) for x, scale in _LAMPS]
    for (x, y), (_, scale) in zip(lamps, _LAMPS, strict=True):
        foot = height * (_HORIZON + 0.30 * scale)
        draw.line((x, foot, x, y), fill=(38, 40, 48), width=max(1, int(6 * scale * width / 1280)))
    for lamp, (_, scale) in zip(lamps, _LAMPS, strict=True):
        picture = _glowing(picture, [lamp], _AMBER, width * 0.045 * scale)
    if street.light:
        picture = _with_traffic_light(picture)
    return picture.filter(ImageFilter.GaussianBlur(0.6))


def _sky_and_ground(size: tuple[int, int]) -> NDArray[np.uint8]:
    width, height = size
    rows = np.linspace(0.0, 1.0, height)[:, None]
    sky = np.array([10, 14, 34]) + (np.clip(rows / _HORIZON, 0, 1) ** 2) * np.array([42, 30, 44])
    ground = np.array([17, 20, 22]) + (1 - rows) * np.array([14, 13, 12])
    column = np.where(rows < _HORIZON, sky, ground)
    return np.repeat(column[:, None, :], width, axis=1).astype(np.uint8)


def _draw_stars(
    draw: ImageDraw.ImageDraw, size: tuple[int, int], chance: np.random.Generator
) -> None:
    width, height = size
    for x, y, brightness in chance.random((90, 3)):
        tone = int(70 + 150 * brightness)
        draw.point((x * width, y * height * _HORIZON * 0.7), fill=(tone, tone, tone))
    radius = width * 0.018
    x, y = width * 0.83, height * 0.18
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(222, 220, 205))


def _draw_houses(
    draw: ImageDraw.ImageDraw, size: tuple[int, int], chance: np.random.Generator
) -> None:
    width, height = size
    foot, x = height * _HORIZON, 0.0
    while x < width:
        wide, tall = width * chance.uniform(0.05, 0.11), height * chance.uniform(0.08, 0.27)
        draw.rectangle((x, foot - tall, x + wide, foot), fill=(16, 18, 30))
        step = max(4.0, width / 110)
        for wx in np.arange(x + step / 2, x + wide - step / 2, step):
            for wy in np.arange(foot - tall + step / 2, foot - step / 2, step):
                if chance.random() < 0.22:
                    draw.rectangle((wx, wy, wx + step * 0.4, wy + step * 0.5), fill=(196, 160, 92))
        x += wide


def _draw_road(draw: ImageDraw.ImageDraw, size: tuple[int, int]) -> None:
    width, height = size
    top = height * _HORIZON
    draw.polygon(
        [(width * 0.46, top), (width * 0.54, top), (width * 1.15, height), (-width * 0.15, height)],
        fill=(36, 38, 42),
    )
    for edge in (-1, 1):
        draw.line(
            [(width * (0.5 + 0.037 * edge), top), (width * (0.5 + 0.60 * edge), height)],
            fill=(150, 150, 145),
            width=max(1, width // 320),
        )
    for near in np.arange(0.02, 1.0, 0.09):
        upper, lower = near**2, min(1.0, (near + 0.045) ** 2)
        half = width * 0.006
        y1, y2 = top + (height - top) * upper, top + (height - top) * lower
        draw.polygon(
            [
                (width / 2 - half * upper, y1),
                (width / 2 + half * upper, y1),
                (width / 2 + half * lower, y2),
                (width / 2 - half * lower, y2),
            ],
            fill=(205, 205, 195),
        )


def _with_traffic_light(picture: Image.Image) -> Image.Image:
    width, height = picture.size
    draw = ImageDraw.Draw(picture)
    x, y, wide = width * 0.70, height * 0.15, width * 0.030
    draw.line((x, y, x, height * 0.66), fill=(30, 32, 38), width=max(2, width // 200))
    draw.rectangle((x - wide / 2, y, x + wide / 2, y + wide * 2.6), fill=(14, 15, 18))
    for place, colour in enumerate(((255, 50, 40), (60, 50, 20), (20, 52, 30))):
        cy, radius = y + wide * (0.5 + 0.8 * place), wide * 0.28
        draw.ellipse((x - radius, cy - radius, x + radius, cy + radius), fill=colour)
    return _glowing(picture, [(x, y + wide * 0.5)], _RED, wide * 0.9, 0.4)


def _vehicle_box(
    nearness: float, size: tuple[int, int], *, tall: bool
) -> tuple[int, int, int, int]:
    width, height = size
    depth = 0.08 + 0.84 * nearness**1.5
    lane = width * (0.04 + 0.61 * depth)
    foot = height * (_HORIZON + (1 - _HORIZON) * depth)
    wide = lane * 0.52
    high = wide * (1.05 if tall else 0.72)
    middle = width / 2 + lane * 0.44
    return int(middle - wide / 2), int(foot - high), int(middle + wide / 2), int(foot)


def _draw_vehicle(picture: Image.Image, vehicle: Vehicle, box: tuple[int, int, int, int]) -> None:
    draw = ImageDraw.Draw(picture)
    x1, y1, x2, y2 = box
    wide, high = x2 - x1, y2 - y1
    dark = tuple(int(part * 0.45) for part in vehicle.colour)
    draw.ellipse(
        (x1 - wide * 0.06, y2 - high * 0.10, x2 + wide * 0.06, y2 + high * 0.10), fill=(8, 8, 10)
    )
    for left in (x1 + wide * 0.07, x2 - wide * 0.24):
        draw.rounded_rectangle(
            (left, y2 - high * 0.22, left + wide * 0.17, y2), wide * 0.03, fill=(12, 12, 13)
        )
    cabin = y1 + high * (0.5 if vehicle.tall else 0.44)
    draw.polygon(
        [
            (x1 + wide * 0.16, y1),
            (x2 - wide * 0.16, y1),
            (x2 - wide * 0.03, cabin),
            (x1 + wide * 0.03, cabin),
        ],
        fill=dark,
    )
    draw.polygon(
        [
            (x1 + wide * 0.20, y1 + high * 0.07),
            (x2 - wide * 0.20, y1 + high * 0.07),
            (x2 - wide * 0.10, cabin - high * 0.03),
            (x1 + wide * 0.10, cabin - high * 0.03),
        ],
        fill=(58, 72, 96),
    )
    draw.rounded_rectangle((x1, cabin, x2, y2 - high * 0.10), wide * 0.06, fill=vehicle.colour)
    draw.rectangle(
        (x1 + wide * 0.02, y2 - high * 0.20, x2 - wide * 0.02, y2 - high * 0.10), fill=dark
    )
    for x, y in _tail_lights(box):
        draw.rounded_rectangle(
            (x - wide * 0.09, y - high * 0.06, x + wide * 0.09, y + high * 0.06),
            wide * 0.02,
            fill=_RED,
        )
    _draw_plate(draw, vehicle.plate, ((x1 + x2) / 2, y2 - high * 0.28), wide * 0.34)


def _draw_plate(
    draw: ImageDraw.ImageDraw, text: str, middle: tuple[float, float], wide: float
) -> None:
    high = wide * 0.24
    x, y = middle
    draw.rounded_rectangle(
        (x - wide / 2, y - high / 2, x + wide / 2, y + high / 2), high * 0.15, fill=_WHITE
    )
    draw.rectangle((x - wide / 2, y - high / 2, x - wide * 0.42, y + high / 2), fill=(30, 70, 170))
    if high >= 6:
        font = ImageFont.load_default(high * 0.78)
        draw.text((x + wide * 0.04, y), text, fill=(20, 22, 28), font=font, anchor="mm")


def _tail_lights(box: tuple[int, int, int, int]) -> list[tuple[float, float]]:
    x1, y1, x2, y2 = box
    wide, y = x2 - x1, y1 + (y2 - y1) * 0.56
    return [(x1 + wide * 0.12, y), (x2 - wide * 0.12, y)]


def _glowing(
    picture: Image.Image,
    spots: list[tuple[float, float]],
    colour: tuple[int, int, int],
    radius: float,
    strength: float = 0.75,
) -> Image.Image:
    """Return the picture with light added around spots; pixels out of its reach are unchanged."""
    pixels = np.array(picture)
    height, width = pixels.shape[:2]
    for x, y in spots:
        reach = radius * 3
        left, right = max(0, int(x - reach)), min(width, int(x + reach) + 1)
        upper, lower = max(0, int(y - reach)), min(height, int(y + reach) + 1)
        rows, columns = np.ogrid[upper:lower, left:right]
        distance = (columns - x) ** 2 + (rows - y) ** 2
        light = np.exp(-distance / (2 * (radius * 0.8) ** 2))[..., None]
        patch = pixels[upper:lower, left:right] + light * np.array(colour) * strength
        pixels[upper:lower, left:right] = np.clip(patch, 0, 255).astype(np.uint8)
    return Image.fromarray(pixels)


def _grained(picture: Image.Image, seed: int) -> Image.Image:
    pixels = np.asarray(picture).astype(np.int16)
    grain = np.random.default_rng(seed).integers(-2, 3, pixels.shape[:2], dtype=np.int8)
    return Image.fromarray(np.clip(pixels + grain[..., None], 0, 255).astype(np.uint8))


if __name__ == "__main__":
    main()
