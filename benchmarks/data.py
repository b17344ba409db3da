"""Input of the jobs: real photographs and films, all different, made before a round is timed."""

import io
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import numpy as np
from PIL import Image

from tests.support.media import Frame, full_hd_frame, video
from traffic_storage import ViolationRecord
from traffic_storage.domain.digests import Sha256, sha256_of

SMALL_BYTES = 200_000
VIDEO_BYTES = 2_000_000
PAGE = 100

SHELF = 600
"""Number of files of `SMALL_BYTES` that are read in a cycle: twice the capacity of the cache."""

_BOX_HEADER = 8
_FIRST_TIME = datetime(2025, 1, 1, tzinfo=UTC)


def frame(number: int) -> Frame:
    """Return an RGB photograph of 1920 × 1080; each number gives different pixels."""
    moved = np.roll(full_hd_frame(), number * 7 % 1920, axis=1)
    moved[:2, :64] = np.frombuffer(noise()[number % 4096 :][: 2 * 64 * 3], np.uint8).reshape(
        2, 64, 3
    )
    moved[0, :4] = np.frombuffer(number.to_bytes(12, "big"), np.uint8).reshape(4, 3)
    return moved


def camera_jpeg(number: int) -> bytes:
    """Return a JPEG of 1920 × 1080 as a camera sends it; each number gives a different comment."""
    note = f"frame {number}".encode()
    comment = b"\xff\xfe" + (len(note) + 2).to_bytes(2, "big") + note
    data = _jpeg()
    return data[:2] + comment + data[2:]


def segment(number: int, size: int) -> bytes:
    """Return a complete MP4 of `size` bytes: a short film and a `free` box that differs by number."""
    film = video("mp4", seconds=0.4)
    room = size - len(film)
    filler = number.to_bytes(16, "big") + noise()[: room - _BOX_HEADER - 16]
    return film + room.to_bytes(4, "big") + b"free" + filler


def hashed_segment(number: int, size: int) -> tuple[bytes, Sha256]:
    """Return `segment(number, size)` and its SHA-256."""
    content = segment(number, size)
    return content, sha256_of(content)


def record(number: int) -> ViolationRecord:
    """Return the violation record of a number."""
    return ViolationRecord(**fields(number))


def fields(number: int) -> dict[str, Any]:
    """What a detector says of a violation, before anybody's class holds it."""
    return {
        "violation_id": violation_id(number),
        "device_id": device(number),
        "violation_type": violation_type(number),
        "timestamp": moment(number),
        "vehicle_bbox": [100.0 + number % 700, 200.0, 400.0 + number % 700, 480.5],
        "vehicle_class": "car",
        "confidence": 0.5 + number % 1000 / 2000,
        "camera_info": {"model": "C-1080", "lane": number % 4, "speed_limit": 50},
        "processing_time_ms": 41.5,
        "model_versions": {"detector": "3.2.1", "plates": "1.9.0"},
    }


def file_id(number: int) -> str:
    """Return the id of a single file."""
    return f"F{number:09d}"


def violation_id(number: int) -> str:
    """Return the id of a violation."""
    return f"V{number:09d}"


def device(number: int) -> str:
    """Return one of 200 device ids."""
    return f"CAM{number % 200:03d}"


def violation_type(number: int) -> str:
    """Return one of four violation types, unevenly distributed."""
    return ("speed", "speed", "red_light", "speed", "parking", "speed", "lane")[number % 7]


def moment(number: int) -> datetime:
    """Return the time of a violation; there is one every seven seconds."""
    return _FIRST_TIME + timedelta(seconds=7 * number, microseconds=number % 1_000_000)


@cache
def _jpeg() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(full_hd_frame()).save(stream, "JPEG", quality=85)
    return stream.getvalue()


@cache
def noise() -> bytes:
    """Return incompressible bytes."""
    return np.random.default_rng(7).bytes(VIDEO_BYTES)
