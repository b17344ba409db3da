"""Files in the memory of this process, for tests and embedders."""

import hashlib
from collections.abc import AsyncGenerator
from datetime import datetime

from traffic_storage.domain.digests import Sha256
from traffic_storage.domain.errors import InvalidInput, NotFound
from traffic_storage.domain.kept_exports import is_kept_name
from traffic_storage.ports.clock import Clock
from traffic_storage.ports.export_target import ExportTarget, ExportTargets
from traffic_storage.ports.kept_exports import KeptExports


class InMemoryTargets(ExportTargets):
    """Keeps published files in `files`, by their place."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.open_targets = 0

    def note_published(self, place: str, data: bytes) -> None:
        """Keep a file."""
        self.files[place] = data

    def open(self, place: str, *, overwrite: bool) -> ExportTarget:
        self.open_targets += 1
        return _InMemoryTarget(self, place, overwrite=overwrite)


class _InMemoryTarget(ExportTarget):
    def __init__(self, targets: InMemoryTargets, place: str, *, overwrite: bool) -> None:
        self._targets = targets
        self._place = place
        self._overwrite = overwrite
        self._data = bytearray()

    async def write(self, data: bytes) -> None:
        self._check_free()
        self._data += data

    async def publish(self) -> Sha256:
        self._check_free()
        self._targets.note_published(self._place, bytes(self._data))
        return Sha256(hashlib.sha256(self._data).hexdigest())

    async def aclose(self) -> None:
        self._targets.open_targets -= 1

    def _check_free(self) -> None:
        if self._place in self._targets.files and not self._overwrite:
            raise InvalidInput.of(
                "output_path",
                f"{self._place} exists already",
                "choose another file, or overwrite it (--force; in Python overwrite=True)",
            )


class InMemoryKeptExports(InMemoryTargets, KeptExports):
    """Keeps the files of jobs, and when each was published."""

    location = "memory:/exports"

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self._published: dict[str, datetime] = {}

    def note_published(self, place: str, data: bytes) -> None:
        super().note_published(place, data)
        self._published[place] = self._clock.now()

    def open(self, name: str, *, overwrite: bool = True) -> ExportTarget:
        return super().open(name, overwrite=overwrite)

    async def read(self, name: str) -> AsyncGenerator[bytes, None]:
        if name not in self.files:
            raise NotFound("export", name)
        yield self.files[name]

    async def remove_before(self, moment: datetime) -> int:
        old = [name for name, at in self._published.items() if at < moment and is_kept_name(name)]
        for name in old:
            del self.files[name], self._published[name]
        return len(old)
