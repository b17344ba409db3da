"""The place of a restore drill: an empty folder with a service of its own, removed at the end."""

import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from traffic_storage.application.snapshots.drill import Drilled
from traffic_storage.domain.placement import StorageStrategy
from traffic_storage.entrypoints.container import Container, build, running
from traffic_storage.entrypoints.settings import StorageConfig

SAMPLE = 20


async def drill(
    container: Container, name: str, *, sample: int = SAMPLE, seed: int | None = None
) -> Drilled:
    """Restore a sample of a snapshot into a temporary folder, and compare it.

    Raises:
        InvalidInput, NotFound, SnapshotDamaged, StorageUnavailable, StorageFull: as a restore.
    """
    with _scratch(container.settings().local_base_path) as folder:
        settings = StorageConfig(local_base_path=folder, workers=0, local_reserve_gb=0.0)
        async with running(build(settings, StorageStrategy.LOCAL_ONLY)) as scratch:
            return await container.drill_snapshot()(
                name,
                scratch.restore_snapshot(),
                scratch.read_files(),
                sample=sample,
                seed=secrets.randbits(32) if seed is None else seed,
            )


@contextmanager
def _scratch(base: Path) -> Iterator[Path]:
    """Return a context with an empty folder below the folder of the service.

    The temporary folder of the system may be in memory, or too small.
    """
    base.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="drill-", dir=base) as folder:
        yield Path(folder)
