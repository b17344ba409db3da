"""Type checks and conversions of the Python interface's arguments. Errors name the argument."""

import io
from collections.abc import AsyncIterable
from datetime import datetime
from enum import Enum, StrEnum
from os import PathLike
from typing import TypeAlias, TypeVar, cast
from zoneinfo import ZoneInfo

import numpy as np
from attrs import evolve
from numpy.typing import NDArray

from traffic_storage.application.inputs import ArrayImage, Source, Upload
from traffic_storage.domain.digests import declared_sha256
from traffic_storage.domain.encoding import Encoding, ImageFormat
from traffic_storage.domain.errors import InvalidInput, shown
from traffic_storage.domain.file_names import file_name_of
from traffic_storage.domain.image_layout import ChannelOrder
from traffic_storage.domain.media import ACCEPTED_IMAGES, SNIFF_BYTES, sniff
from traffic_storage.domain.numeric import plain_number
from traffic_storage.domain.pixels import Pixels
from traffic_storage.domain.times import instant
from traffic_storage.entrypoints.service.readers import BinaryFile, content_of

W = TypeVar("W", bound=StrEnum)

Frame: TypeAlias = NDArray[np.generic]
"""An array as libraries annotate them, as OpenCV's `MatLike`. It must be `uint8`: pixels of shape
`(H, W)`, `(H, W, 3)` or `(H, W, 4)`, or an encoded image of shape `(N,)`, as `cv2.imencode` gives it."""

Given: TypeAlias = Source | BinaryFile | Frame
"""Encoded bytes: in memory, at a path, as a stream, in an open file, or in an array of shape `(N,)`."""


class LeftOut(Enum):
    """The default of an argument that may be left out, but must not be None."""

    IT = "left out"

    def __repr__(self) -> str:
        """Return what a signature shows."""
        return "<left out>"


_ENCODING_REMEDY = (
    f"give an Encoding, as Encoding(ImageFormat.JPEG, quality=90); formats are "
    f"{', '.join(ImageFormat)}"
)


def check_type(field: str, value: object, wanted: type) -> None:
    """Check that `value` is an instance of `wanted`.

    Raises:
        InvalidInput: `value` is not an instance of `wanted`.
    """
    if not isinstance(value, wanted):
        name = wanted.__name__
        raise InvalidInput.of(field, f"is a {type(value).__name__}, not a {name}", f"give a {name}")


def word_of(field: str, value: object, words: type[W]) -> W:
    """Return the member of the enumeration `words` that has the value `value`, in either case.

    Raises:
        InvalidInput: no member of `words` has this value.
    """
    known = {str(word).lower(): word for word in words}
    if isinstance(value, str) and value.lower() in known:
        return known[value.lower()]
    wanted = " or ".join(words)
    raise InvalidInput.of(field, f"must be {wanted}, not {shown(value)}", f"give {wanted}")


def instant_of(field: str, time: datetime | None, zone: ZoneInfo) -> datetime | None:
    """Return `time` in UTC; a naive time is interpreted in `zone`.

    Raises:
        InvalidInput: `time` is not a datetime, or out of range.
    """
    if time is None:
        return None
    check_type(field, time, datetime)
    return instant(time, zone, field).at


def flag(name: str, value: object) -> bool:
    """Return `value` as a bool.

    Raises:
        InvalidInput: `value` is neither a Python bool nor a NumPy bool.
    """
    if isinstance(value, bool | np.bool_):
        return bool(value)
    raise InvalidInput.of(name, f"must be True or False, not {shown(value)}", "give True or False")


def byte_offset(name: str, value: object) -> int:
    """Return `value` as an int.

    Raises:
        InvalidInput: `value` is not an integer.
    """
    number = plain_number(value)
    if isinstance(number, int) and not isinstance(number, bool):
        return number
    message = f"must be a whole number, not {shown(value)}"
    raise InvalidInput.of(name, message, "give a whole number of bytes")


def image_of(
    image: Given | None,
    channel_order: ChannelOrder | str,
    encoding: Encoding | None,
    max_pixels: int,
) -> ArrayImage | Upload:
    """Return an image as the use cases take it: an array as `ArrayImage`, else an `Upload`.

    Arrays and buffers are copied. An array of bytes is an encoded image.

    Raises:
        InvalidInput: the image is None, the array has the wrong type or shape, the open file can't be
            read, or the channel order or the encoding is not valid.
    """
    if image is None:
        raise InvalidInput.of(
            "image",
            "is None: cv2.imread returns None for a file that is missing or that it can't decode",
            "check the path, or leave the argument out if there is no image",
        )
    order = word_of("channel_order", channel_order, ChannelOrder)
    if encoding is not None and not isinstance(encoding, Encoding):
        raise InvalidInput.of(
            "encoding", f"must be an Encoding, not {shown(encoding)}", _ENCODING_REMEDY
        )
    if isinstance(image, np.ndarray) and not _is_encoded(image):
        return ArrayImage(cast(Pixels, image), order, encoding).held(max_pixels)
    return upload_of(image, "image")


def upload_of(source: Given, field: str) -> Upload:
    """Return a source of encoded bytes as an `Upload`, the input of the use cases.

    A buffer is copied. If the source is a path or an open file, its file name becomes the original
    name.

    Raises:
        InvalidInput: it is an open file that can't be read, or an array that is none of bytes.
    """
    name = name_of(source, None)
    if isinstance(source, np.ndarray):
        if source.dtype != np.uint8 or source.size != len(source):
            raise InvalidInput.of(
                field,
                f"is an array of shape {source.shape} and dtype {source.dtype}",
                "give encoded bytes: a uint8 array of shape (N,), bytes, a path or an open file",
            )
        return Upload(source.tobytes(), original_name=name)
    if isinstance(source, BinaryFile) and not isinstance(source, AsyncIterable):
        return Upload(content_of(source, field), original_name=name)
    return Upload(source, original_name=name).held()


def _is_encoded(image: Frame) -> bool:
    """Return whether an array has the bytes of an encoded image.

    `cv2.imencode` gives the shape `(N,)`, and before OpenCV 4.5.4 `(N, 1)`.
    """
    if image.dtype != np.uint8 or not image.size or image.size != len(image):
        return False
    return image.ndim == 1 or sniff(image[:SNIFF_BYTES].tobytes()) in ACCEPTED_IMAGES


def declared(upload: Upload, content_type: str | None, sha256: str | None) -> Upload:
    """Return the upload with the declared content type and digest.

    Raises:
        InvalidInput: `sha256` is not a SHA-256 in hexadecimal, or one of them is no text.
    """
    for name, value in (("content_type", content_type), ("sha256", sha256)):
        if value is not None:
            check_type(name, value, str)
    digest = None if sha256 is None else declared_sha256(sha256)
    return evolve(upload, content_type=content_type, sha256=digest)


def name_of(source: object, filename: str | None) -> str | None:
    """Return the original name of a file.

    This is `filename` if given, else the file name of `source` if that is a path or an open file with
    a name, else None.
    """
    if filename is not None:
        return filename
    path = source if isinstance(source, PathLike) else None
    if isinstance(source, io.IOBase):
        path = getattr(source, "name", None)
    return file_name_of(str(path)) if isinstance(path, str | PathLike) else None
