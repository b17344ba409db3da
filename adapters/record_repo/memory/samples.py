"""Samples of the catalogue in the memory of this process."""

from collections.abc import Sequence
from datetime import date
from random import Random

from traffic_storage.domain.duplicates import Content
from traffic_storage.domain.files import FileKind, FileState, StoredFile
from traffic_storage.domain.identifiers import FileId, ViolationId
from traffic_storage.domain.usage import CatalogueUsage, CounterChange, DailyUsage, DeviceUsage
from traffic_storage.domain.violation import StoredViolation, ViolationState
from traffic_storage.ports.samples import Samples


class InMemorySamples(Samples):
    """Draws from dictionaries of rows."""

    _files: dict[FileId, StoredFile]
    _violations: dict[ViolationId, StoredViolation]
    _changes: list[CounterChange]

    async def device_usage(self) -> Sequence[DeviceUsage]:
        devices = sorted({change.device_id for change in self._changes}, key=lambda one: one or "")
        found = (
            DeviceUsage(
                device_id,
                CatalogueUsage.of(
                    change.counted for change in self._changes if change.device_id == device_id
                ),
            )
            for device_id in devices
        )
        return [one for one in found if one.usage != CatalogueUsage()]

    async def daily_received(self, first: date, last: date) -> Sequence[DailyUsage]:
        added = [
            one
            for one in self._changes
            if first <= one.day <= last and one.items > 0 and not one.moved
        ]
        return [
            DailyUsage(day, CatalogueUsage.of(one.counted for one in added if one.day == day))
            for day in sorted({one.day for one in added})
        ]

    async def sample_files(self, kind: FileKind, limit: int, seed: int) -> Sequence[StoredFile]:
        available = self._available(kind)
        return Random(seed).sample(available, min(limit, len(available)))  # noqa: S311

    async def sample_violations(self, limit: int, seed: int) -> Sequence[StoredViolation]:
        available = [
            self._violations[name]
            for name in sorted(self._violations)
            if self._violations[name].state is ViolationState.AVAILABLE
        ]
        return Random(seed).sample(available, min(limit, len(available)))  # noqa: S311

    async def newest_contents(self, kind: FileKind, limit: int) -> Sequence[Content]:
        newest = sorted(
            self._available(kind), key=lambda one: (one.created_at, one.file_id), reverse=True
        )
        return [
            Content(one.file_id, one.device_id, one.content.sha256, one.stored.size_bytes)
            for one in newest[:limit]
        ]

    def _available(self, kind: FileKind) -> list[StoredFile]:
        files = (self._files[name] for name in sorted(self._files))
        return [one for one in files if one.kind is kind and one.state is FileState.AVAILABLE]
