"""AnalyseQuality and AnalyseViolations: planted faults are found; what can't be read is told."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import pytest

from tests.application.raw_images import RawImages
from tests.application.rig import Rig, Service, picture, violation_record
from tests.support.media import photograph
from traffic_storage.domain.errors import InvalidInput, UndecodableMedia
from traffic_storage.domain.files import Tier
from traffic_storage.domain.jobs import Progress
from traffic_storage.domain.pixels import Pixels
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


async def test_a_blurring_camera_is_named_and_nothing_else() -> None:
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
        assert (await analyse(device_id="cam-9")).sampled == 0
        with pytest.raises(InvalidInput, match="device_id"):
            await analyse(device_id="")
        patterns = await service.container.analyse_violations()(sample_size=8)
        assert (patterns.violations, patterns.sampled) == (20, 8)
        assert patterns.by_device_count == {"cam-1": 10, "cam-2": 10}


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
