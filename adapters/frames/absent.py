"""The port Frames where no decoder is installed: nothing is read."""

from pathlib import Path
from typing import TYPE_CHECKING

from traffic_storage.ports.frames import Frames

if TYPE_CHECKING:
    from traffic_storage.domain.quality.video import FrameSurvey
    from traffic_storage.ports.spool import Body


class AbsentFrames(Frames):
    """Reads no frames. Videos are judged by their container alone."""

    async def survey(self, source: "Body | Path", samples: int) -> "FrameSurvey | None":  # noqa: ARG002
        return None

    async def aclose(self) -> None:
        return None
