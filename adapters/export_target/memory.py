"""Files in the memory of this process, for tests and embedders."""

import hashlib

from traffic_storage.domain.digests import Sha256
from traffic_storage.domain.errors import InvalidInput
from traffic_storage.ports.export_target import ExportTarget, ExportTargets


class InMemoryTargets(ExportTargets):
    """Keeps published files in `files`, by their place."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.open_targets = 0

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
        self._targets.files[self._place] = bytes(self._data)
        return Sha256(hashlib.sha256(self._data).hexdigest())

    async def aclose(self) -> None:
        self._targets.open_targets -= 1

    def _check_free(self) -> None:
        if self._place in self._targets.files and not self._overwrite:
            raise InvalidInput.of(
                "output_path",
                f"{self._place} exists already",
                "choose another file, or overwrite it",
            )
