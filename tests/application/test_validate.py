"""Validate: judges images, videos and records, and whatever can't be read."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from attrs import evolve

from tests.application.raw_images import RawImages, raw_picture
from tests.support.media import photograph, truncated, video
from traffic_storage.adapters.clock.manual import ManualClock
from traffic_storage.adapters.frames.absent import AbsentFrames
from traffic_storage.adapters.spool.memory import InMemorySpool
from traffic_storage.application.validate import Bounds, Checks, Validate
from traffic_storage.domain.errors import UndecodableMedia
from traffic_storage.domain.pixels import Pixels
from traffic_storage.domain.quality.assessment import Part
from traffic_storage.domain.quality.video import FrameSurvey
from traffic_storage.ports.spool import Body

NOW = datetime(2026, 3, 14, 12, tzinfo=UTC)
ZONE = ZoneInfo("Europe/Madrid")
BOUNDS = Bounds(pixels=10_000, image_bytes=100_000, video_bytes=10**6, zone=ZONE)


class MovingFrames(AbsentFrames):
    """Reads two frames a second of every video, whose times go back once."""

    async def survey(self, source: Body | Path, samples: int) -> FrameSurvey | None:
        times = np.array([0.0, 0.5, 0.4])
        return FrameSurvey("h264", 2.0, times, times)


class BrokenFrames(AbsentFrames):
    """Decodes nothing."""

    async def survey(self, source: Body | Path, samples: int) -> FrameSurvey | None:
        raise UndecodableMedia.of("video", "can't be decoded: no frame", "send it again")


@pytest.fixture
def validate() -> Validate:
    return made(AbsentFrames())


def made(frames: AbsentFrames) -> Validate:
    return Validate(
        images=RawImages(),
        frames=frames,
        spool=InMemorySpool(),
        clock=ManualClock(NOW),
        bounds=BOUNDS,
    )


@pytest.fixture
def picture() -> Pixels:
    return np.ascontiguousarray(photograph("chelsea")[100:180, 100:180])


async def test_an_image_is_judged_the_same_as_array_bytes_path_and_body(
    validate: Validate, picture: Pixels, tmp_path: Path
) -> None:
    data = raw_picture(picture)
    path = tmp_path / "picture.raw"
    path.write_bytes(data)
    body = await InMemorySpool().wrap(data)
    expected = validate.pixels(picture)
    assert expected.metrics is not None
    assert [await validate.image(each) for each in (data, path, body)] == [expected] * 3


async def test_what_is_no_image_is_invalid_and_has_no_metrics(
    validate: Validate, picture: Pixels, tmp_path: Path
) -> None:
    verdicts = [
        await validate.image(b"no image"),
        await validate.image(truncated(raw_picture(picture))),
        await validate.image(tmp_path / "absent.raw"),
        validate.pixels(np.zeros((2, 2), np.float64)),
        validate.pixels(np.zeros((200, 200), np.uint8)),
    ]
    for verdict in verdicts:
        assert verdict.metrics is None
        assert not verdict.assessment.valid
        assert verdict.assessment.score == 0
        assert [finding.kind for finding in verdict.assessment.errors] == ["unreadable"]


async def test_a_video_is_judged_by_its_container(validate: Validate, tmp_path: Path) -> None:
    data = video("mkv")
    path = tmp_path / "film.mkv"
    path.write_bytes(data)
    verdict = await validate.video(data)
    assert verdict == await validate.video(path)
    assert verdict.assessment.valid
    assert verdict.metrics is not None
    assert (verdict.metrics.container, verdict.metrics.frames) == ("video/x-matroska", None)
    assert verdict.metrics.size_bytes == len(data)


async def test_a_broken_video_is_invalid(validate: Validate) -> None:
    for data in (
        b"no video",
        truncated(video("mp4")),
        b"",
        raw_picture(np.zeros((2, 2), np.uint8)),
    ):
        verdict = await validate.video(data)
        assert verdict.metrics is None
        assert verdict.assessment.score == 0
    undecodable = await made(BrokenFrames()).video(video("mp4"))
    assert [finding.field for finding in undecodable.assessment.errors] == ["video"]


async def test_frames_are_judged_where_they_can_be_read() -> None:
    verdict = await made(MovingFrames()).video(video("mp4"))
    assert verdict.metrics is not None
    assert verdict.metrics.frames == 3
    kinds = [finding.kind for finding in verdict.assessment.findings]
    assert kinds == ["out_of_order", "slow"]


def test_a_record_is_compared_with_the_clock_and_the_settings(validate: Validate) -> None:
    now = NOW
    raw = {"timestamp": (now + timedelta(hours=5)).astimezone(ZONE).replace(tzinfo=None)}
    judged = validate.judged(raw)
    assert judged.at == now + timedelta(hours=5)
    assert "after_receipt" in {finding.kind for finding in validate.record(judged).warnings}
    later = validate.judged(raw, received_at=now + timedelta(hours=6))
    assert "after_receipt" not in {finding.kind for finding in validate.record(later).warnings}


def test_checks_and_known_models_are_replaced(validate: Validate, picture: Pixels) -> None:
    own = validate.with_checks(Checks(image=[lambda _: Part("mine", 0.5)]), {"detector": ["1"]})
    assert own.pixels(picture).assessment.parts == {"mine": 0.5}
    judged = own.judged({"model_versions": {"detector": "2"}})
    assert "unknown_model" in {finding.kind for finding in own.record(judged).findings}
    assert evolve(judged.circumstances, known_models=None) == validate.judged({}).circumstances
