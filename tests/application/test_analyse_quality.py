"""AnalyseQuality and AnalyseViolations: planted faults are found; what can't be read is told."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import pytest

from tests.application.raw_images import RawImages
from tests.application.rig import Rig, Service, picture, violation_record
from tests.support.media import photograph
from traffic_storage.application import analyse_violations
from traffic_storage.application.analyse_quality import evenly
from traffic_storage.domain.errors import InvalidInput, NotFound, UndecodableMedia
from traffic_storage.domain.files import Tier
from traffic_storage.domain.jobs import Progress
from traffic_storage.domain.pixels import Pixels
from traffic_storage.domain.query import Cursor, Page
from traffic_storage.entrypoints.testing.faults.blob_store import Damage, tamper

DAY = timedelta(days=1)
T = TypeVar("T")


def blurred(image: Pixels, times: int) -> Pixels:
    """An image whose pixels were averaged with their neighbours, so often."""
    soft = image.astype(np.float64)
    for _ in range(times):
        soft = (soft + np.roll(soft, 1, 0) + np.roll(soft, 1, 1) + np.roll(soft, -1, 1)) / 4
    return soft.astype(np.uint8)


def scene(number: int) -> Pixels:
    """A part of a photograph; each number gives another part."""
    top, left = 13 * number % 60, 29 * number % 80
    part: Pixels = photograph()[top : top + 160, left : left + 240]
    return part


async def stored(service: Service, name: str, image: Pixels, **fields: Any) -> None:
    await service.evidence(violation_record(name, vehicle_bbox=(10, 20, 90, 99), **fields), image)


async def test_a_blurring_camera_is_named_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = Rig(images=RawImages(max_pixels=10**5))
    async with rig.running() as service:
        for day in range(10):
            for camera in ("cam-1", "cam-2"):
                soft = day // 2 if camera == "cam-2" else 0
                at = rig.clock.now() - timedelta(minutes=1)
                name = f"{camera}-{day}"
                image = blurred(scene(day), soft)
                await stored(service, name, image, device_id=camera, timestamp=at)
            rig.clock.advance(DAY)
        shown: list[Progress] = []
        analyse = service.container.analyse_quality()
        found = await analyse(report=shown.append)
        assert {trend.device_id for trend in found.trends} == {"cam-2"}
        assert found.trends[0].metric == "acuity"
        assert (found.sampled, found.valid + found.invalid, found.unread) == (20, 20, 0)
        assert found.worst_devices[0].device_id == "cam-2"
        assert (shown[-1].done, shown[-1].total) == (20, 20)
        one = await analyse(device_id="cam-2", sample_size=30)
        assert {trend.device_id for trend in one.trends} == {"cam-2"}
        assert one.sampled == 10
        with pytest.raises(NotFound, match="device 'cam-9'"):
            await analyse(device_id="cam-9")
        with pytest.raises(InvalidInput, match="device_id"):
            await analyse(device_id="")
        patterns = await service.container.analyse_violations()(sample_size=8)
        assert (patterns.violations, patterns.sampled) == (20, 8)
        assert patterns.by_device_count == {"cam-1": 10, "cam-2": 10}
        since = rig.clock.now() - 3 * DAY - timedelta(hours=1)
        some = await service.container.analyse_violations()(
            device_id="cam-2", start_time=since, end_time=since + 2 * DAY
        )
        assert (some.violations, some.sampled, some.by_device_count) == (2, 2, {"cam-2": 2})
        # More than are read: from a sample of all.
        monkeypatch.setattr(analyse_violations, "MOST_READ", 1)
        monkeypatch.setattr(analyse_violations, "MAX_LIMIT", 1)
        estimated = await service.container.analyse_violations()(device_id="cam-2")
        assert (estimated.violations, estimated.sampled) == (10, 10)
        with pytest.raises(NotFound, match="cam-9"):
            await service.container.analyse_violations()(device_id="cam-9")


class Computing(RawImages):
    """Counts the calculations that are done off the event loop."""

    computed = 0

    async def compute(self, work: Callable[[], T]) -> T:
        self.computed += 1
        return await super().compute(work)


async def test_planted_duplicates_among_images_without_violations_are_found() -> None:
    images = Computing(max_pixels=10**5)
    rig = Rig(images=images)
    async with rig.running() as service:
        for number, image in enumerate([scene(0), scene(0), scene(1), scene(0)]):
            changed = image if number < 3 else (image * 0.9).astype(np.uint8)
            await service.image(changed, file_id=f"i{number}", device_id="cam-1")
        found = await service.container.analyse_quality()()
        assert [group.file_ids for group in found.exact.groups] == [("i0", "i1")]
        (group,) = found.near.groups
        assert set(group.file_ids) in ({"i0", "i3"}, {"i1", "i3"})
        assert (found.sampled, found.valid) == (4, 4)
        assert images.computed == 1


async def test_missing_damaged_and_unreachable_images_are_told_apart() -> None:
    rig = Rig(images=RawImages(max_pixels=10**5))
    async with rig.running() as service:
        await service.evidence(violation_record("none"))
        await stored(service, "fine", scene(1))
        await stored(service, "damaged", scene(2))
        await service.image(picture(), file_id="tiny")
        (replica,) = (await service.container.find().file("damaged~image")).replicas
        await tamper(rig.at_rest[Tier.LOCAL], replica.key, Damage.FLIP)
        analyse = service.container.analyse_quality()
        found = await analyse()
        kinds = {issue.kind: issue.found.count for issue in found.issues}
        assert (kinds["no_image"], kinds["unreadable"], kinds["too_small"]) == (1, 1, 1)
        assert (found.invalid, found.unread) == (2, 0)
        rig.local.go_down()
        assert (await analyse()).unread == 3


async def test_an_image_that_can_not_be_decoded_is_invalid() -> None:
    class Broken(RawImages):
        async def examine(self, data: bytes, look: Any) -> Any:
            raise UndecodableMedia.of("image", "is truncated", "send all of it")

    rig = Rig(images=Broken(max_pixels=10**5))
    async with rig.running() as service:
        await service.image(scene(0))
        (issue,) = (await service.container.analyse_quality()()).issues
        assert issue.kind == "undecodable"


async def test_after_a_bulk_load_a_device_is_judged_over_all_its_days() -> None:
    """60 days that came within one: the days of receipt say nothing of the days of capture."""
    rig = Rig(images=RawImages(max_pixels=10**5))
    async with rig.running() as service:
        for day in range(60):
            at = rig.clock.now() - timedelta(days=day)
            await service.evidence(violation_record(f"V{day}", timestamp=at), historic=True)
        analyse = service.container.analyse_quality()
        assert (await analyse(device_id="cam-1", sample_size=100)).sampled == 60
        few = await analyse(device_id="cam-1", sample_size=12)
        assert few.sampled == 12
        # Those who stored them said that they are historic.
        assert "late" not in {issue.kind for issue in few.issues}


async def test_images_of_a_device_that_belong_to_no_violation_are_judged() -> None:
    rig = Rig(images=RawImages(max_pixels=10**5))
    async with rig.running() as service:
        for number in range(5):
            await service.image(scene(number), file_id=f"i{number}", device_id="cam-1")
            rig.clock.advance(timedelta(minutes=1))
        await stored(service, "V1", scene(6), device_id="cam-1")
        analyse = service.container.analyse_quality()
        assert (await analyse(device_id="cam-1")).sampled == 6
        assert (await analyse(device_id="cam-1", sample_size=3)).sampled == 3


async def test_even_intervals_span_a_pause_of_years_with_bounded_look_ups() -> None:
    first = datetime(2026, 1, 1, tzinfo=UTC)
    times = [datetime(2001, 5, 1, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC)]
    times += [first + timedelta(minutes=20 * n) for n in range(60 * 72)]
    times.sort(reverse=True)
    lookups = 0

    async def newest(
        start: datetime | None, end: datetime | None, _after: Cursor | None, limit: int
    ) -> Page[datetime]:
        nonlocal lookups
        lookups += 1
        found = [one for one in times if (not start or start <= one) and (not end or one < end)]
        return Page(tuple(found[:limit]))

    earliest = datetime(2000, 1, 2, tzinfo=UTC)
    found = await evenly(newest, lambda at: at, earliest, 100)
    assert len(found) == len(set(found)) == 100
    assert lookups <= 150
    dense = [at for at in found if at >= first]
    assert len(dense) >= 98
    gaps = [one - other for one, other in pairwise(dense)]
    assert max(gaps) <= timedelta(days=1.2)
    assert max(gaps) <= 3 * min(gaps)
    assert await evenly(newest, lambda at: at, times[0] + DAY, 5) == ()
