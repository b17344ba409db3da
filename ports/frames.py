"""Frames: reading the time stamps and some frames of a video, outside the event loop's thread."""

from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from traffic_storage.domain.quality.video import FrameSurvey
    from traffic_storage.ports.spool import Body


class Frames(Protocol):
    """Reads the frames of videos, in bounded memory."""

    @abstractmethod
    async def survey(self, source: "Body | Path", samples: int) -> "FrameSurvey | None":
        """Read all time stamps of the first video stream, and decode at most `samples` frames.

        The frames are spread over the video. Their luma is scaled down to at most 160 × 160 pixels.
        None if this adapter can't decode videos.

        Raises:
            UndecodableMedia: there is no video stream, or its frames can't be decoded.
            InvalidInput: there is no readable file at this path.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """Stop the threads that read frames."""
