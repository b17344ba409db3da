"""Every Frames adapter keeps the contract."""

from collections.abc import AsyncIterator

import pytest

from tests.support import media
from traffic_storage.adapters.frames.absent import AbsentFrames
from traffic_storage.adapters.frames.av import AvFrames
from traffic_storage.domain.digests import digests_of
from traffic_storage.entrypoints.testing.contracts.frames import FramesContract
from traffic_storage.ports.spool import MemoryBody

CONTAINERS = ["mp4", "mkv", "ts", "avi"]


class TestAv(FramesContract):
    @pytest.fixture
    async def frames(self, no_leaks: None) -> AsyncIterator[AvFrames]:
        frames = AvFrames()
        yield frames
        await frames.aclose()

    @pytest.fixture(params=CONTAINERS)
    def video(self, request: pytest.FixtureRequest) -> bytes:
        return media.video(request.param)

    async def test_a_long_video_is_sampled_by_its_keyframes(self, frames: AvFrames) -> None:
        data = media.video("mp4", seconds=20.0)
        found = await frames.survey(MemoryBody(data, digests_of(data)), 5)
        assert found is not None
        assert len(found.show_seconds) == 500
        times = [sample.at_seconds for sample in found.samples]
        assert times == sorted(times)
        assert 2 <= len(times) <= 5


class TestAbsent(FramesContract):
    @pytest.fixture
    async def frames(self) -> AsyncIterator[AbsentFrames]:
        frames = AbsentFrames()
        yield frames
        await frames.aclose()

    @pytest.fixture
    def video(self) -> bytes:
        return media.video("mp4")
