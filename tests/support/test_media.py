"""The inputs of the tests are what they claim to be."""

import io
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import get_args

import av
import numpy as np
import pytest
from PIL import Image

from tests.support import media

_CODECS: dict[media.Container, str] = {
    "mp4": "h264",
    "mov": "h264",
    "mkv": "h264",
    "webm": "vp8",
    "ts": "h264",
    "avi": "mpeg4",
}


@pytest.mark.parametrize("name", get_args(media.Photograph))
def test_photographs_are_read_only_arrays(name: media.Photograph) -> None:
    frame = media.photograph(name)
    assert frame.dtype == np.uint8
    assert frame.shape[2:] == (() if name == "camera" else (3,))
    assert frame.std() > 15
    assert not frame.flags.writeable


def test_a_full_hd_frame_has_its_size() -> None:
    assert media.full_hd_frame().shape == (1080, 1920, 3)


@pytest.mark.parametrize("name", get_args(media.ShippedJpeg))
def test_shipped_jpegs_are_jpegs(name: media.ShippedJpeg) -> None:
    with Image.open(io.BytesIO(media.shipped_jpeg(name)), formats=["JPEG"]) as image:
        image.load()


@pytest.mark.parametrize("image_format", get_args(media.ImageFormat))
def test_photographs_are_encoded_as_asked(image_format: media.ImageFormat) -> None:
    data = media.encoded("motorcycle", image_format)
    with Image.open(io.BytesIO(data), formats=[image_format]) as image:
        assert image.size == (media.photograph().shape[1], media.photograph().shape[0])
        image.load()


@pytest.mark.parametrize("container", get_args(media.Container))
def test_videos_play(container: media.Container) -> None:
    with av.open(io.BytesIO(media.video(container)), "r") as video:
        stream = video.streams.video[0]
        assert stream.codec_context.name.startswith(_CODECS[container])
        frames = list(video.decode(stream))
    assert len(frames) == 2 * media.FRAME_RATE
    assert (frames[0].width, frames[0].height) == media.VIDEO_SIZE
    first, last = frames[0].to_ndarray(), frames[-1].to_ndarray()
    assert not np.array_equal(first, last)


@pytest.mark.parametrize("container", ["mp4", "mov"])
def test_the_index_is_behind_the_frames_or_before_them(container: media.Container) -> None:
    behind, before = media.video(container), media.video(container, faststart=True)
    assert behind.index(b"moov") > behind.index(b"mdat")
    assert before.index(b"moov") < before.index(b"mdat")


def test_another_process_makes_the_same_bytes() -> None:
    code = (
        "from hashlib import sha256; from tests.support import media\n"
        "for c in ('mp4', 'mkv', 'webm', 'avi'): print(sha256(media.video(c)).hexdigest())"
    )
    output = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    containers: tuple[media.Container, ...] = ("mp4", "mkv", "webm", "avi")
    assert output.split() == [sha256(media.video(name)).hexdigest() for name in containers]


def test_the_bomb_is_small_and_large() -> None:
    data = media.bomb_png()
    assert len(data) < 100_000
    with pytest.raises(Image.DecompressionBombError):
        Image.open(io.BytesIO(data))


def test_a_small_bomb_is_a_valid_png() -> None:
    with Image.open(io.BytesIO(media.bomb_png(100)), formats=["PNG"]) as image:
        image.load()
        assert image.size == (100, 100)


def test_damage_is_as_told() -> None:
    data = media.shipped_jpeg()
    assert data.startswith(media.truncated(data, 0.25))
    assert len(media.truncated(data, 0.25)) == len(data) // 4
    assert [a ^ b for a, b in zip(media.flipped(data), data, strict=True) if a != b] == [1]
