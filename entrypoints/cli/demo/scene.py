"""Pictures of a street at night, as an enforcement camera takes them. Drawn, not photographed.

The same scene gives the same pixels.
"""

import io
from datetime import datetime
from functools import lru_cache

import numpy as np
from attrs import frozen
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

_HORIZON = 0.42
_LAMPS = ((0.08, 0.95), (0.25, 0.62), (0.36, 0.40), (0.92, 0.95), (0.75, 0.62), (0.64, 0.40))
_RED, _AMBER, _WHITE = (255, 60, 40), (255, 190, 90), (235, 240, 255)


@frozen
class Vehicle:
    """What drives by."""

    colour: tuple[int, int, int]
    plate: str
    tall: bool = False


@frozen
class Street:
    """Where a camera looks: its look is made from `seed`; a traffic light where there is one."""

    camera: str
    place: str
    seed: int
    light: bool = False


@frozen
class Shot:
    """A picture (RGB, 8 bit) and the box of the vehicle in it, in pixels: x1, y1, x2, y2."""

    picture: Image.Image
    vehicle_box: tuple[int, int, int, int]

    def array(self) -> NDArray[np.uint8]:
        """The pixels, `(H, W, 3)`, RGB."""
        return np.asarray(self.picture)

    def jpeg(self, quality: int = 88) -> bytes:
        """The picture as JPEG."""
        out = io.BytesIO()
        self.picture.save(out, "JPEG", quality=quality)
        return out.getvalue()


def shoot(
    street: Street,
    vehicle: Vehicle,
    at: datetime,
    *,
    nearness: float,
    caption: str,
    size: tuple[int, int] = (1280, 720),
) -> Shot:
    """Take a picture. `nearness` 0 is at the horizon, 1 right before the camera."""
    picture = _background(street, size).copy()
    box = _vehicle_box(nearness, size, tall=vehicle.tall)
    _draw_vehicle(picture, vehicle, box)
    picture = _glowing(picture, _tail_lights(box), _RED, (box[2] - box[0]) / 9, 0.35)
    _burn_in(picture, [f"{street.camera}  {street.place}", f"{at:%Y-%m-%d %H:%M:%S}  {caption}"])
    return Shot(_grained(picture, street.seed + int(nearness * 10_000)), box)


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
    """Light that is added around spots, in the part of the picture that it reaches."""
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


def _burn_in(picture: Image.Image, lines: list[str]) -> None:
    draw = ImageDraw.Draw(picture)
    size = max(11.0, picture.width / 52)
    font = ImageFont.load_default(size)
    draw.rectangle((0, 0, picture.width, size * 1.55 * len(lines)), fill=(0, 0, 0))
    for place, line in enumerate(lines):
        draw.text((size * 0.6, size * (0.22 + 1.5 * place)), line, fill=(240, 240, 235), font=font)


def _grained(picture: Image.Image, seed: int) -> Image.Image:
    pixels = np.asarray(picture).astype(np.int16)
    grain = np.random.default_rng(seed).integers(-5, 6, pixels.shape[:2], dtype=np.int8)
    return Image.fromarray(np.clip(pixels + grain[..., None], 0, 255).astype(np.uint8))
