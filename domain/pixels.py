"""Image arrays: the accepted shapes, and the digest of an image's pixels.

An image array is `uint8`, range 0–255, of shape `(H, W)` (grey), `(H, W, 3)` or `(H, W, 4)`. The
caller states the channel order of a colour image, and it is stored.
"""

import hashlib
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from traffic_storage.domain.digests import Sha256
from traffic_storage.domain.errors import FieldProblem, InvalidInput, TooLarge
from traffic_storage.domain.image_layout import ChannelOrder, Dimensions

Pixels: TypeAlias = NDArray[np.uint8]
"""`uint8` array of shape `(H, W)`, `(H, W, 3)` or `(H, W, 4)`."""


def dimensions_of(image: object, *, max_pixels: int) -> Dimensions:
    """Check that a value is an array that can be stored as an image, and return its dimensions.

    Raises:
        InvalidInput: `image` is not a numpy array, is a masked array, is not `uint8`, is empty, or
            has a shape other than `(H, W)`, `(H, W, 3)` or `(H, W, 4)`.
        TooLarge: `image` has more than `max_pixels` pixels.
    """
    if not isinstance(image, np.ndarray):
        raise _unusable_array(f"is a {type(image).__name__}, not a numpy array")
    if isinstance(image, np.ma.MaskedArray):
        raise InvalidInput.of(
            "image",
            "is a masked array, but an image can't contain a mask",
            "give image.data, or image.filled(0) to make the masked pixels black",
        )
    if image.dtype != np.uint8:
        raise _unusable_array(f"has dtype {image.dtype}, not uint8")
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (3, 4)):
        raise _unusable_array(f"has shape {image.shape}, which is not supported")
    if image.size == 0:
        raise _unusable_array(f"is empty: it has shape {image.shape}")
    height, width = image.shape[:2]
    if width * height > max_pixels:
        raise TooLarge(
            [
                FieldProblem(
                    "image", f"has {width * height} pixels", f"send at most {max_pixels} pixels"
                )
            ]
        )
    return Dimensions(width, height, 1 if image.ndim == 2 else int(image.shape[2]))


def unchanging(image: Pixels) -> Pixels:
    """Return the pixels as a C-contiguous array whose memory is a `bytes` object, so is immutable.

    The result is a copy, unless `image` already is a C-contiguous array over a `bytes` object.
    """
    if isinstance(_memory_owner(image), bytes) and image.flags.c_contiguous:
        return image
    return np.frombuffer(image.tobytes(), np.uint8).reshape(image.shape)


def pixel_sha256(image: Pixels, order: ChannelOrder) -> Sha256:
    """Return the SHA-256 of an image's shape, channel order and pixels.

    It does not depend on the file format of the image. The channel order of a grey image is
    ignored.
    """
    known_order = order if image.ndim == 3 else ""
    digest = hashlib.sha256(f"{image.shape}:{known_order}:".encode())
    digest.update(np.ascontiguousarray(image).data)
    return Sha256(digest.hexdigest())


def _memory_owner(image: Pixels) -> object:
    """Return the object that owns the memory of an array; None if the array itself owns it."""
    owner: object = image
    while isinstance(owner, np.ndarray):
        owner = owner.base
    return owner


def _unusable_array(message: str) -> InvalidInput:
    return InvalidInput.of(
        "image", message, "give a uint8 array of shape (H, W), (H, W, 3) or (H, W, 4)"
    )
