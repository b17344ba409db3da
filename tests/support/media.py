"""Real inputs: photographs that scikit-image ships, videos of moving frames, and hostile files.

Everything is made once a process and always the same: bytes compare equal between processes, and
arrays are read-only.
"""

import functools
import io
import struct
import tempfile
import zlib
from collections.abc import Iterator
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import av
import numpy as np
from av.video.stream import VideoStream
from numpy.typing import NDArray
from PIL import Image

from tests.support.padding import padded

Frame = NDArray[np.uint8]
Photograph = Literal[
    "astronaut", "chelsea", "coffee", "motorcycle", "rocket", "retina", "hubble", "camera"
]
ShippedJpeg = Literal["rocket", "retina", "hubble"]
ImageFormat = Literal["JPEG", "PNG", "WEBP"]
Container = Literal["mp4", "mov", "mkv", "webm", "ts", "avi"]

FRAME_RATE = 25
VIDEO_SIZE = (320, 240)
"""Width and height of the videos."""

_FILES: dict[Photograph, str] = {
    "astronaut": "astronaut.png",
    "chelsea": "chelsea.png",
    "coffee": "coffee.png",
    "motorcycle": "motorcycle_left.png",
    "rocket": "rocket.jpg",
    "retina": "retina.jpg",
    "hubble": "hubble_deep_field.jpg",
    "camera": "camera.png",
}
_MUXERS: dict[Container, tuple[str, str]] = {
    "mp4": ("mp4", "libx264"),
    "mov": ("mov", "libx264"),
    "mkv": ("matroska", "libx264"),
    "webm": ("webm", "libvpx"),
    "ts": ("mpegts", "libx264"),
    "avi": ("avi", "mpeg4"),
}


@functools.cache
def photograph(name: Photograph = "motorcycle") -> Frame:
    """A photograph, `(H, W, 3)` RGB, but `camera`, which is grey, `(H, W)`."""
    with Image.open(_shipped(_FILES[name])) as image:
        frame = np.asarray(image.convert("L" if name == "camera" else "RGB"))
    frame.setflags(write=False)
    return frame


@functools.cache
def full_hd_frame() -> Frame:
    """A photograph of a motorcycle as a camera of 1920 × 1080 would hand it in, RGB."""
    image = Image.fromarray(photograph("motorcycle"))
    width = image.width
    strip = image.crop((0, 0, width, width * 9 // 16)).resize(
        (1920, 1080), Image.Resampling.LANCZOS
    )
    frame = np.asarray(strip)
    frame.setflags(write=False)
    return frame


@functools.cache
def shipped_jpeg(name: ShippedJpeg = "rocket") -> bytes:
    """The file of a photograph that was a JPEG before it came to us."""
    return _shipped(_FILES[name]).read_bytes()


@functools.cache
def encoded(name: Photograph = "motorcycle", image_format: ImageFormat = "JPEG") -> bytes:
    """A photograph, encoded with Pillow's default settings."""
    return encode(photograph(name), image_format)


def encode(frame: Frame, image_format: ImageFormat = "JPEG") -> bytes:
    """Any frame, encoded with Pillow's default settings."""
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, image_format)
    return buffer.getvalue()


@functools.cache
def video(container: Container = "mp4", *, seconds: float = 2.0, faststart: bool = False) -> bytes:
    """A video of a view that moves over a photograph: H.264, or what the container is used to.

    `faststart` puts the index of an MP4 or MOV (`moov`) before the frames; without it, behind.
    """
    muxer, codec = _MUXERS[container]
    options = {"fflags": "bitexact"} | ({"movflags": "faststart"} if faststart else {})
    # A file, because faststart reads again what it has written.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"video.{container}"
        with av.open(str(path), "w", format=muxer, options=options) as output:
            # x264's macroblock trees differ between runs now and then, and then so do the bytes.
            x264 = {"x264-params": "mbtree=0"} if codec == "libx264" else {}
            stream = output.add_stream(codec, rate=Fraction(FRAME_RATE), options=x264)
            assert isinstance(stream, VideoStream)
            stream.width, stream.height = VIDEO_SIZE
            stream.pix_fmt = "yuv420p"
            # More threads would make the bytes depend on the machine.
            stream.codec_context.thread_count = 1
            for frame in moving_frames(round(seconds * FRAME_RATE)):
                output.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            output.mux(stream.encode(None))
        return path.read_bytes()


def video_of(size_bytes: int) -> bytes:
    """An MP4 of this size: a short one, and free space behind it."""
    return padded(video(seconds=0.2), size_bytes)


def moving_frames(count: int) -> Iterator[Frame]:
    """`count` frames of VIDEO_SIZE, RGB, each different from the one before."""
    scene = photograph("motorcycle")
    width, height = VIDEO_SIZE
    room = min(scene.shape[1] - width, scene.shape[0] - height)
    for number in range(count):
        offset = number * 4 % room
        yield np.ascontiguousarray(scene[offset : offset + height, offset : offset + width])


@functools.cache
def bomb_png(side: int = 20_000) -> bytes:
    """A valid PNG of some 50 KB that decodes to `side` × `side` pixels, 400 MB by default."""
    row = b"\0" * (1 + (side + 7) // 8)
    packer = zlib.compressobj(9)
    data = b"".join([*(packer.compress(row) for _ in range(side)), packer.flush()])
    grey_of_one_bit = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    chunks = _chunk(b"IHDR", grey_of_one_bit) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def truncated(data: bytes, share: float = 0.5) -> bytes:
    """The first `share` of `data`."""
    return data[: int(len(data) * share)]


def flipped(data: bytes, share: float = 0.5) -> bytes:
    """`data` with one bit changed, at `share` of its length."""
    changed = bytearray(data)
    changed[min(int(len(data) * share), len(data) - 1)] ^= 0x01
    return bytes(changed)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _shipped(name: str) -> Path:
    """The path of a file among scikit-image's data; found without importing the package."""
    package = find_spec("skimage")
    if package is None or package.submodule_search_locations is None:
        raise RuntimeError("scikit-image is missing: install the development requirements")
    return Path(package.submodule_search_locations[0]) / "data" / name
