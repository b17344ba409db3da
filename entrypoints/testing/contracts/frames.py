"""Tests of any adapter of the port `Frames`, which reads the frames of videos."""

from pathlib import Path

import numpy as np
import pytest

from traffic_storage.domain.digests import digests_of
from traffic_storage.domain.errors import InvalidInput, UndecodableMedia
from traffic_storage.ports.frames import Frames
from traffic_storage.ports.spool import FileBody, MemoryBody


class FramesContract:
    """Inherit from this class, and define the fixtures `frames` and `video`.

    `video` is an intact video of at least 20 frames, whose picture moves.
    """

    async def test_survey_reads_times_and_samples(self, frames: Frames, video: bytes) -> None:
        """survey: all time stamps in the order of the file; at most so many frames, scaled down."""
        found = await frames.survey(MemoryBody(video, digests_of(video)), 7)
        if found is None:
            return
        assert len(found.show_seconds) >= 20
        assert (np.diff(found.decode_seconds) >= 0).all()
        assert (np.diff(np.sort(found.show_seconds)) > 0).all()
        assert found.show_seconds.min() == 0
        assert 2 <= len(found.samples) <= 7
        times = [sample.at_seconds for sample in found.samples]
        assert times == sorted(set(times))
        for sample in found.samples:
            assert sample.luma.dtype == np.uint8
            assert max(sample.luma.shape) <= 160

    async def test_survey_reads_each_kind_of_source(
        self, frames: Frames, video: bytes, tmp_path: Path
    ) -> None:
        """survey: a path, a body in memory and a body in a file give the same."""
        path = tmp_path / "http:video.mp4"
        path.write_bytes(video)
        digests = digests_of(video)
        with path.open("rb") as file:
            bodies = (path, MemoryBody(video, digests), FileBody(file.fileno(), digests))
            found = [await frames.survey(body, 3) for body in bodies]
        rates = {one and (one.codec, one.frame_rate, len(one.show_seconds)) for one in found}
        assert len(rates) == 1

    async def test_survey_refuses_what_is_no_video(self, frames: Frames, tmp_path: Path) -> None:
        """survey: bytes without a video stream, and a path without a file, are errors."""
        noise = b"no video" * 100
        if await self._reads(frames):
            with pytest.raises(UndecodableMedia):
                await frames.survey(MemoryBody(noise, digests_of(noise)), 3)
            with pytest.raises(InvalidInput, match="can't be read"):
                await frames.survey(tmp_path / "absent.mp4", 3)

    @staticmethod
    async def _reads(frames: Frames) -> bool:
        try:
            return await frames.survey(MemoryBody(b"-", digests_of(b"-")), 1) is not None
        except InvalidInput:
            return True
