"""Image arrays: the accepted shapes, and the digest of an image's pixels.

An array is `uint8`, range 0–255, of shape `(H, W)` (grey), `(H, W, 3)` or `(H, W, 4)`; the
channel order of colour is explicit and is stored.
"""

import hashlib
from enum import StrEnum
from typing import TypeAlias

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from traffic_storage.domain.digests import Sha256
from traffic_storage.domain.errors import FieldProblem, InvalidInput, TooLarge

Pixels: TypeAlias = NDArray[np.uint8]
"""`uint8` array of shape `(H, W)`, `(H, W, 3)` or `(H, W, 4)`."""


class ChannelOrder(StrEnum):
    """The order of the colour channels of an array; alpha, if any, is last."""

    RGB = "RGB"
    BGR = "BGR"


@frozen
class Dimensions:
    """Width and height in pixels, and channels: 1 (grey), 3 or 4 (with alpha)."""

    width: int
    height: int
    channels: int


def dimensions_of(image: object, *, max_pixels: int) -> Dimensions:
    """The dimensions of an array that may be stored as an image.

    Raises:
        InvalidInput: not an array, a masked one, not `uint8`, empty, or of another shape.
        TooLarge: more than `max_pixels` pixels.
    """
    if not isinstance(image, np.ndarray):
        raise _not_a_picture(f"is a {type(image).__name__}, not a numpy array")
    if isinstance(image, np.ma.MaskedArray):
        raise InvalidInput.of(
            "image",
            "is a masked array, and an image keeps no mask",
            "give image.data, or image.filled(0) to blacken what is masked",
        )
    if image.dtype != np.uint8:
        raise _not_a_picture(f"has dtype {image.dtype}, not uint8")
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (3, 4)):
        raise _not_a_picture(f"has shape {image.shape}")
    if image.size == 0:
        raise _not_a_picture(f"is empty, shape {image.shape}")
    height, width = image.shape[:2]
    if width * height > max_pixels:
        raise TooLarge(
            [FieldProblem("image", f"has {width * height} pixels", f"at most {max_pixels}")]
        )
    return Dimensions(width, height, 1 if image.ndim == 2 else int(image.shape[2]))


def unchanging(image: Pixels) -> Pixels:
    """The picture as it is now: a copy over bytes, which nobody can change; C-contiguous.

    An array that lies over `bytes` already is given back itself, so asking twice costs one copy.
    """
    if isinstance(_owner_of(image), bytes) and image.flags.c_contiguous:
        return image
    return np.frombuffer(image.tobytes(), np.uint8).reshape(image.shape)


def pixel_sha256(image: Pixels, order: ChannelOrder) -> Sha256:
    """The digest of an image's pixels, whatever encoder wrote them: shape, order, then bytes.

    Grey has no order of channels: which one is said makes no difference then.
    """
    said = order if image.ndim == 3 else ""
    digest = hashlib.sha256(f"{image.shape}:{said}:".encode())
    digest.update(np.ascontiguousarray(image).data)
    return Sha256(digest.hexdigest())


def _owner_of(image: Pixels) -> object:
    """Whose memory an array looks at; None: its own."""
    owner: object = image
    while isinstance(owner, np.ndarray):
        owner = owner.base
    return owner


def _not_a_picture(message: str) -> InvalidInput:
    return InvalidInput.of(
        "image", message, "give a uint8 array of shape (H, W), (H, W, 3) or (H, W, 4)"
    )
