"""Data quality: scores, issues with shares, worst devices, cameras that get worse."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from attrs import evolve

from tests.support.media import photograph
from traffic_storage.domain.data_quality import (
    JudgedSample,
    checked_sample_size,
    data_quality,
    device_trends,
)
from traffic_storage.domain.duplicates import DuplicateReport
from traffic_storage.domain.errors import InvalidInput
from traffic_storage.domain.quality.assessment import Part, combined, error, warning
from traffic_storage.domain.quality.image import image_quality
from traffic_storage.entrypoints.testing.units import NOON

NONE = DuplicateReport(0, 0, ())
GOOD = combined([Part("record", 1.0)])
POOR = combined([Part("record", 0.5, (warning("late", "timestamp", "is late", "set the clock"),))])
WRONG = combined([Part("record", 0.0, (error("missing", "device_id", "is missing"),))])
IMAGE = image_quality(photograph())


def sample(name: str, *parts: Any, device: str | None = "cam-1", **more: Any) -> JudgedSample:
    """A judged record."""
    return JudgedSample(name, device, NOON, parts, **more)


def sharp(device: str, day: int, acuity: float) -> JudgedSample:
    """A record of a day with an image of an acuity."""
    metrics = evolve(IMAGE.metrics, acuity=acuity)
    return evolve(
        sample(f"{device}-{day}", GOOD, device=device, image=evolve(IMAGE, metrics=metrics)),
        at=NOON + timedelta(days=day),
    )


def test_scores_issues_and_devices() -> None:
    samples = [
        sample("a", GOOD),
        sample("b", GOOD, POOR),
        sample("c", POOR, WRONG),
        sample("d", POOR, device="cam-2"),
        sample("e", GOOD, device=None, unread="the bucket is away"),
        sample("f", GOOD, device=None),
    ]
    found = data_quality(samples, NOON, NONE, NONE)
    assert (found.sampled, found.unread, found.valid, found.invalid) == (6, 1, 4, 1)
    assert found.average_score == pytest.approx((1 + 0.5 + 0 + 0.5 + 1) / 5)
    assert found.distribution == (1, 0, 0, 0, 0, 2, 0, 0, 0, 2)
    late, missing = found.issues
    assert (late.kind, late.found.count, late.found.of) == ("late", 3, 5)
    assert (late.example, late.remedy) == ("b: timestamp is late", "set the clock")
    assert (missing.kind, missing.severity) == ("missing", "error")
    (worst,) = found.worst_devices
    assert (worst.device_id, worst.records, worst.invalid) == ("cam-1", 3, 1)
    assert (worst.average_score, worst.costliest) == (0.5, "late")
    assert found.devices_watched == 0


def test_of_nothing_there_is_no_average() -> None:
    found = data_quality([], NOON, NONE, NONE)
    assert (found.average_score, found.issues, found.valid) == (None, (), 0)


def test_a_camera_that_blurs_is_found_among_many() -> None:
    chance = np.random.default_rng(5)
    samples = [
        sharp(
            f"cam-{camera}",
            day,
            float(chance.normal(0.2, 0.02)) - (0.006 * day if camera == 7 else 0.0),
        )
        for camera in range(20)
        for day in range(20)
    ]
    found = data_quality(samples, NOON, NONE, NONE)
    (trend,) = found.trends
    assert (trend.device_id, trend.metric) == ("cam-7", "acuity")
    assert trend.words.startswith("cam-7: the acuity of its images falls from 0.2")
    assert trend.words.endswith("check the focus and the lens")
    assert found.devices_watched == 20


def test_a_sure_but_small_change_is_not_told() -> None:
    samples = [sharp("cam-1", day, 0.2 - 0.001 * day) for day in range(20)]
    assert device_trends({"cam-1": samples}) == ()
    rising = [sharp("cam-1", day, 0.01 * day) for day in range(20)]
    (trend,) = device_trends({"cam-1": rising})
    assert "rises from 0.01 to 0.18" in trend.words


def test_a_wrong_clock_does_not_spoil_the_trend_of_a_camera() -> None:
    wrong = evolve(sharp("cam-1", 0, 5.0), at=datetime(1970, 1, 1, tzinfo=UTC))
    later = evolve(sharp("cam-1", 0, 5.0), at=datetime(2001, 1, 1, tzinfo=UTC))
    falling = [sharp("cam-1", day, 0.4 - 0.01 * day) for day in range(20)]
    for samples in ([wrong, *falling], [later, *falling]):
        (trend,) = data_quality(samples, NOON, NONE, NONE).trends
        assert (trend.metric, 0.38 <= trend.trend.first <= 0.4) == ("acuity", True)
        assert trend.trend.days < 20
    steady = [sharp("cam-1", day, 0.2) for day in range(20)]
    assert data_quality([wrong, *steady], NOON, NONE, NONE).trends == ()


def test_the_finding_that_costs_the_most_is_not_the_most_frequent() -> None:
    slight = Part("record", 0.9, (warning("not_given", "camera_info", "is not given"),))
    blurred = Part("acuity", 0.1, (warning("blurred", "acuity", "is 0.01"),))
    samples = [sample(str(n), combined([slight])) for n in range(3)]
    samples.append(sample("3", combined([slight, blurred])))
    (worst,) = data_quality(samples, NOON, NONE, NONE).worst_devices
    assert worst.costliest == "blurred"


def test_noise_that_rises_is_told_and_noise_that_falls_is_not() -> None:
    def noisy(slope: float) -> list[JudgedSample]:
        return [
            evolve(one, image=evolve(IMAGE, metrics=evolve(IMAGE.metrics, noise=5 + slope * day)))
            for day, one in enumerate(sharp("cam-1", day, 0.2) for day in range(20))
        ]

    (trend,) = device_trends({"cam-1": noisy(0.2)})
    assert trend.metric == "noise"
    assert device_trends({"cam-1": noisy(-0.2)}) == ()


@pytest.mark.parametrize("size", [0, 10_001, True, 1.0, "5"])
def test_the_size_of_a_sample_is_checked(size: Any) -> None:
    with pytest.raises(InvalidInput, match="sample_size"):
        checked_sample_size(size)
    assert checked_sample_size(10_000) == 10_000
