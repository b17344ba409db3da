"""Root stores into a folder of the service's user: that user can go on with all that root makes."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.privileged

SERVICE = 65534

# Root's part loads all modules, which an ordinary user may not be able to read here.
PROGRAM = """
import asyncio, os, sys
from pathlib import Path
from PIL import Image
from traffic_storage import DataLifecycleManager, StorageConfig, StorageService, StorageStrategy
from traffic_storage.entrypoints.testing.blobs import NEVER, blob_with_sidecar
from traffic_storage.adapters.blob_store.local_disk import LocalDiskBlobStore
from traffic_storage.adapters.clock.system import SystemClock

SERVICE, base, named = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "named"
FILM = bytes(range(256)) * 20_000
if named:
    from traffic_storage.adapters.files import staging
    staging._open_unnamed = lambda folder: (_ for _ in ()).throw(OSError(staging.errno.EISDIR, "no"))

async def use(name, read):
    settings = StorageConfig(
        local_base_path=base, local_reserve_gb=0, accept_unknown_video=True, workers=0
    )
    async with StorageService(settings, StorageStrategy.LOCAL_ONLY) as storage:
        for other in read:
            assert (await storage.retrieve_file(other + "-V"))[0] == FILM
            assert (await storage.retrieve_file(other + "-M"))[0]
        await storage.store_metadata({"text": name * 1000}, name + "-M")
        await storage.store_video_segment(FILM, name + "-V")
        assert storage.generate_access_url(name + "-V")
        await DataLifecycleManager(storage).create_data_snapshot(name)
        kept = storage.parts.container.kept_exports().open(f"{name}.csv")
        await kept.write(b"kept")
        await kept.publish()
        await kept.aclose()
    other = LocalDiskBlobStore(base / "other", SystemClock(), attributes=False, unnamed=not named)
    blob = blob_with_sidecar()
    await other.put(blob.key, blob.body, blob.manifest, deadline=NEVER)
    await other.aclose()

def as_service():
    os.setgroups([])
    os.setresgid(SERVICE, SERVICE, SERVICE)
    os.setresuid(SERVICE, SERVICE, SERVICE)

asyncio.run(use("root", []))
as_service()
asyncio.run(use("service", ["root"]))
"""


@pytest.fixture
def base() -> Iterator[Path]:
    # Not below pytest's own folder, which is closed to others.
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        base = Path(place, "base")
        base.mkdir(mode=0o700)
        os.chown(base, SERVICE, SERVICE)
        yield base


@pytest.mark.parametrize("files", ["unnamed", "named"])
def test_the_service_goes_on_with_what_root_made(base: Path, files: str) -> None:
    arguments = [str(SERVICE), str(base), files]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    made = list(base.rglob("*"))
    assert {(found.stat().st_uid, found.stat().st_gid) for found in made} == {(SERVICE, SERVICE)}
    assert {"blobs", "spool", "snapshots", "signing.key"} <= {found.name for found in made}
