"""Every Images adapter keeps the contract."""

from collections.abc import AsyncIterator

import pytest

from traffic_storage.adapters.images.pillow import PillowImages
from traffic_storage.entrypoints.testing.contracts.images import ImagesContract


class TestPillow(ImagesContract):
    @pytest.fixture
    async def images(self, no_leaks: None) -> AsyncIterator[PillowImages]:
        images = PillowImages(self.max_pixels)
        yield images
        await images.aclose()
