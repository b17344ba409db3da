"""Damage of known amounts to images: blur, noise, exposure, compression, hue, fog.

Each function takes a `uint8` array, `(H, W)` or `(H, W, 3)` RGB, and returns another one of the same
shape. The same arguments give the same result.
"""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from tests.support.media import Frame

_LEVELS = np.arange(256) / 255
_LINEAR = np.where(_LEVELS <= 0.04045, _LEVELS / 12.92, ((_LEVELS + 0.055) / 1.055) ** 2.4)
_TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])


def blurred(image: Frame, radius: float) -> Frame:
    """Blur with a Gaussian whose standard deviation is `radius` pixels."""
    if radius == 0:
        return image
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(radius)))


def noisy(image: Frame, sigma: float) -> Frame:
    """Add Gaussian noise with a standard deviation of `sigma` levels to each channel."""
    noise = np.random.default_rng(1).normal(0, sigma, image.shape) if sigma else 0
    return _levels(image + noise)


def exposed(image: Frame, stops: float) -> Frame:
    """Multiply the linear light by 2^stops; what is too bright is clipped."""
    light = np.clip(_LINEAR * 2.0**stops, 0, 1)
    coded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    table: Frame = _levels(coded * 255)
    return table[image]


def compressed(image: Frame, quality: int) -> Frame:
    """Encode as JPEG of this quality, and decode again."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def turned(image: Frame, degrees: float) -> Frame:
    """Rotate the hue of an RGB image by an angle; its luma stays, apart from clipping."""
    angle = np.deg2rad(degrees)
    cos, sin = np.cos(angle), np.sin(angle)
    rotation = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
    return _levels(image @ (np.linalg.inv(_TO_YIQ) @ rotation @ _TO_YIQ).T)


def fogged(image: Frame, share: float) -> Frame:
    """Mix with grey: 0 changes nothing, 1 leaves a grey area."""
    return _levels(image * (1 - share) + 128 * share)


def _levels(values: NDArray[np.floating]) -> Frame:
    rounded: Frame = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return rounded
