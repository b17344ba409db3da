"""The port Frames implemented with PyAV (ffmpeg), which the extra `video` installs."""

from pathlib import Path
from typing import TYPE_CHECKING

from traffic_storage.adapters.threads.pool import Threads
from traffic_storage.ports.frames import Frames

if TYPE_CHECKING:
    from traffic_storage.domain.quality.video import FrameSurvey
    from traffic_storage.ports.spool import Body


class AvFrames(Frames):
    """Reads videos in a thread. ffmpeg is loaded when the first one is read."""

    def __init__(self, threads: int = 1) -> None:
        self._threads = Threads(threads, "traffic-storage-frames")

    async def survey(self, source: "Body | Path", samples: int) -> "FrameSurvey | None":
        return await self._threads.run(_survey, source, samples)

    async def aclose(self) -> None:
        await self._threads.aclose()


def _survey(source: "Body | Path", samples: int) -> "FrameSurvey":
    from traffic_storage.adapters.frames.av.reading import survey

    return survey(source, samples)
