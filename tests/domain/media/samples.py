"""Small real video files made with PyAV, and what PyAV itself reads from them."""

from fractions import Fraction
from functools import cache
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.stream import VideoStream

from traffic_storage.domain.media import ContainerInfo, ContentType, MalformedMedia, Walker
from traffic_storage.domain.media import walker_for as find_walker

FRAME_RATE = Fraction(30000, 1001)
WIDTH, HEIGHT = 64, 48
SOUND_RATE = 48_000


class Recipe(NamedTuple):
    """How to make a file: the muxer, the encoder, and options of the muxer."""

    content_type: ContentType
    muxer: str
    encoder: str
    options: tuple[tuple[str, str], ...] = ()
    frames: int = 8
    sound: str | None = None


RECIPES = {
    "mp4": Recipe(ContentType.MP4, "mp4", "libx264"),
    "mp4-mpeg4": Recipe(ContentType.MP4, "mp4", "mpeg4"),
    "mp4-faststart": Recipe(ContentType.MP4, "mp4", "libx264", (("movflags", "faststart"),)),
    "mp4-fragmented": Recipe(
        ContentType.MP4, "mp4", "libx264", (("movflags", "frag_every_frame+empty_moov"),)
    ),
    "mp4-sound": Recipe(ContentType.MP4, "mp4", "libx264", frames=45, sound="aac"),
    "mov": Recipe(ContentType.QUICKTIME, "mov", "libx264"),
    "mov-mjpeg": Recipe(ContentType.QUICKTIME, "mov", "mjpeg", frames=4),
    "mkv": Recipe(ContentType.MATROSKA, "matroska", "libx264"),
    "mkv-ffv1": Recipe(ContentType.MATROSKA, "matroska", "ffv1", frames=3),
    "mkv-sound": Recipe(ContentType.MATROSKA, "matroska", "libx264", frames=45, sound="libopus"),
    "mkv-live": Recipe(ContentType.MATROSKA, "matroska", "libx264", (("live", "1"),)),
    "webm-vp8": Recipe(ContentType.WEBM, "webm", "libvpx"),
    "webm-vp9": Recipe(ContentType.WEBM, "webm", "libvpx-vp9"),
    "ts": Recipe(ContentType.MPEG_TS, "mpegts", "libx264", frames=20),
    "ts-mpeg2": Recipe(ContentType.MPEG_TS, "mpegts", "mpeg2video", frames=20),
    "m2ts": Recipe(
        ContentType.MPEG_TS, "mpegts", "libx264", (("mpegts_m2ts_mode", "1"),), frames=20
    ),
    "avi": Recipe(ContentType.AVI, "avi", "mpeg4", frames=4),
    "avi-mjpeg": Recipe(ContentType.AVI, "avi", "mjpeg", frames=2),
    "avi-sound": Recipe(ContentType.AVI, "avi", "mpeg4", frames=45, sound="pcm_s16le"),
}


class Reading(NamedTuple):
    """What PyAV says of a file."""

    duration_seconds: float | None
    width: int
    height: int


@cache
def sample(name: str) -> bytes:
    """The file of this recipe; the sound, if any, is its first stream."""
    recipe = RECIPES[name]
    with TemporaryDirectory() as folder:
        # Faststart reads the file again, so it must have a name.
        path = Path(folder, "film")
        with av.open(str(path), "w", format=recipe.muxer, options=dict(recipe.options)) as film:
            _record(film, recipe)
        return path.read_bytes()


@cache
def reading(name: str) -> Reading:
    """What PyAV reads from the file of this recipe."""
    with av.open(BytesIO(sample(name)), "r") as film:
        video = film.streams.video[0]
        seconds = None if film.duration is None else film.duration / 1_000_000
        return Reading(seconds, video.width, video.height)


def walker_for(content_type: ContentType) -> Walker:
    """A walker for a container that has one."""
    walker = find_walker(content_type)
    assert walker is not None
    return walker


def walk(content_type: ContentType, data: bytes, *, chunk_bytes: int = 1 << 20) -> ContainerInfo:
    """The info of a file that is fed in chunks of one size."""
    walker = walker_for(content_type)
    for start in range(0, len(data), chunk_bytes):
        walker.feed(data[start : start + chunk_bytes])
    return walker.finish()


def outcome(
    content_type: ContentType, data: bytes, *, chunk_bytes: int = 1 << 20
) -> ContainerInfo | tuple[ContentType, int, str]:
    """What `walk` answers, an error as comparable values."""
    try:
        return walk(content_type, data, chunk_bytes=chunk_bytes)
    except MalformedMedia as error:
        return error.container, error.offset_bytes, error.reason


def _record(film: OutputContainer, recipe: Recipe) -> None:
    sound = film.add_stream(recipe.sound, rate=SOUND_RATE) if recipe.sound else None
    assert sound is None or isinstance(sound, AudioStream)
    if sound is not None:
        sound.layout = "mono"
    video = film.add_stream(recipe.encoder, rate=FRAME_RATE)
    assert isinstance(video, VideoStream)
    video.width, video.height = WIDTH, HEIGHT
    video.pix_fmt = "yuvj420p" if recipe.encoder == "mjpeg" else "yuv420p"
    for number in range(recipe.frames):
        picture = np.full((HEIGHT, WIDTH, 3), number * 5, np.uint8)
        film.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
    film.mux(video.encode())
    if sound is not None:
        _silence(film, sound, recipe.frames / FRAME_RATE)


def _silence(film: OutputContainer, sound: AudioStream, seconds: Fraction) -> None:
    samples = 960
    for start in range(0, int(seconds * SOUND_RATE), samples):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, samples), np.int16), "s16", "mono")
        frame.sample_rate, frame.pts = SOUND_RATE, start
        film.mux(sound.encode(frame))
    film.mux(sound.encode())
