"""Every Images adapter keeps the contract."""

from collections.abc import AsyncIterator
from typing import ClassVar

import pytest

from traffic_storage.adapters.images.memory import PlainImages
from traffic_storage.adapters.images.pillow import PillowImages
from traffic_storage.domain.encoding import ImageFormat
from traffic_storage.entrypoints.testing.contracts.images import ImagesContract


class TestPillow(ImagesContract):
    @pytest.fixture
    async def images(self, no_leaks: None) -> AsyncIterator[PillowImages]:
        images = PillowImages(self.max_pixels)
        yield images
        await images.aclose()


class TestPlain(ImagesContract):
    reads_others: ClassVar[bool] = False
    only: ClassVar[ImageFormat | None] = ImageFormat.PNG

    @pytest.fixture
    async def images(self) -> AsyncIterator[PlainImages]:
        images = PlainImages(self.max_pixels)
        yield images
        await images.aclose()
