"""A verification is killed at each of its fault points, and another one completes it.

    python -m tests.crash.verifier

kills a process at all points; the tests do so at some. The process that is killed is this module
with two arguments in JSON: the settings of a service, and where the process kills itself (`Faults`).
"""

import asyncio
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.crash.faults import Faults
from tests.support.media import shipped_jpeg
from tests.support.servers import Bucket, S3Server
from tests.support.setups import on_bucket
from traffic_storage import StorageConfig, StorageService
from traffic_storage.domain.files import Tier
from traffic_storage.domain.placement import StorageStrategy
from traffic_storage.entrypoints.container import Container, build, running
from traffic_storage.entrypoints.testing.faults.blob_store import Damage, tamper

Point = tuple[str, str, int]

POINTS: Sequence[Point] = tuple(
    (method, moment, call)
    for method, call in (
        ("doubtful_replicas", 1),
        ("due_replicas", 1),
        ("files_by_id", 1),
        # The local store, then the bucket.
        ("examine", 1),
        ("examine", 2),
        # The results of the first store, the healed copy, the results of the second store.
        ("apply", 1),
        ("apply", 2),
        ("apply", 3),
        ("begin", 1),
        ("put", 1),
        ("verify", 1),
    )
    for moment in ("before", "after")
)
"""The fault points of a run that verifies two stores and heals a copy in the first."""


async def broken(folder: Path, bucket: Bucket, points: Sequence[Point]) -> list[str]:
    """Kill a verification at each point; return what is not as if it had not been killed."""
    settings: dict[str, Any] = {
        "local_base_path": str(folder),
        "local_reserve_gb": 0.0,
        "workers": 0,
        **on_bucket(bucket),
    }
    found: list[str] = []
    for number, point in enumerate(points, 1):
        name = f"image-{number}"
        async with running(_built(settings)) as container:
            await _store_and_damage(container, name, number)
        status = await asyncio.to_thread(_killed, settings, point)
        if status != -9:
            found.append(f"{point}: the process was not killed, but ended with {status}")
        async with running(_built(settings)) as container:
            found += [f"{point}: {wrong}" for wrong in await _completed(container, name, number)]
    return found


def _built(settings: dict[str, Any]) -> Container:
    return build(StorageConfig(**settings), StorageStrategy.HYBRID)


async def _store_and_damage(container: Container, name: str, number: int) -> None:
    storage = StorageService(container=container)
    await storage.store_image(shipped_jpeg() + bytes([number]), file_id=name)
    await storage.sync_backends()
    file = await container.find().file(name)
    (replica,) = [one for one in file.readable if one.tier is Tier.LOCAL]
    (store,) = [one.store for one in container.stores() if one.store.tier is Tier.LOCAL]
    await tamper(store, replica.key, Damage.FLIP, at=9)


def _killed(settings: dict[str, Any], point: Point) -> int:
    method, moment, call = point
    fault = json.dumps({"method": method, "moment": moment, "call": call})
    command = [sys.executable, "-m", "tests.crash.verifier", json.dumps(settings), fault]
    return subprocess.run(command, capture_output=True, check=False, timeout=120).returncode


async def _completed(container: Container, name: str, expected: int) -> list[str]:
    """Verify again; return what is wrong: nothing is lost, counted or healed twice, or left open."""
    storage = StorageService(container=container)
    await storage.verify_data_integrity()
    wrong = []
    file = await container.find().file(name)
    if {one.tier for one in file.readable} != set(Tier):
        wrong.append(f"{name} has not got its two copies")
    for replica in file.readable:
        store = container.stores().blob_store(replica.store_id)
        (one,) = await store.examine([(replica.key, file.stored)])
        if one.error:
            wrong.append(str(one.error))
    if (await storage.find_incidents()).items:
        wrong.append("an incident is open")
    history = (await storage.get_fixity())["history"]
    counts = [sum(day[what] for day in history) for what in ("corrupted", "healed")]
    if counts != [expected, expected]:
        wrong.append(f"{counts} copies were counted as corrupted and healed, not {expected}")
    return wrong


async def die(settings: dict[str, Any], fault: dict[str, Any]) -> None:
    """Verify and heal until the fault point."""
    container = _built(settings)
    Faults.of(fault).install(container)
    async with running(container):
        await container.verify_replicas()()


def main() -> int:
    """The command."""
    with tempfile.TemporaryDirectory() as folder, S3Server() as s3:
        found = asyncio.run(broken(Path(folder), s3.create_bucket(), POINTS))
    print(f"killed at {len(POINTS)} points:")
    for point in POINTS:
        print(f"  {' '.join(map(str, point))}")
    for wrong in found:
        print(f"  BROKEN: {wrong}")
    return int(bool(found))


if __name__ == "__main__":
    if sys.argv[1:]:
        asyncio.run(die(json.loads(sys.argv[1]), json.loads(sys.argv[2])))
    else:
        sys.exit(main())
