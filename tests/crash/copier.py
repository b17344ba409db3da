"""One process that moves a file from local disk to the cloud, and may kill itself on the way.

The order comes as JSON in the first argument; what was reached goes to stdout, one JSON line each.
"""

import asyncio
import hashlib
import json
import sys
from datetime import timedelta
from typing import Any

from attrs import evolve

from tests.crash.audit import look_up
from tests.crash.faults import Faults
from tests.crash.later import put_forward
from tests.support.media import video_of
from traffic_storage import StorageConfig, StorageService, StorageStrategy
from traffic_storage.entrypoints.container import build, running


def film(number: int) -> bytes:
    """Bytes of file `number`: each fourth is sent in parts."""
    return video_of((9_000_000 if number % 4 == 3 else 300_000) - number)


def tell(**what: Any) -> None:
    """Report a line, before anything else happens."""
    print(json.dumps(what), flush=True)


async def move(settings: StorageConfig, number: int, fault: dict[str, Any]) -> None:
    """Store a file on local disk, then move it; the fault is met while it moves."""
    async with StorageService(settings, StorageStrategy.LOCAL_ONLY) as storage:
        data = film(number)
        stored = await storage.store_video_segment(data, file_id=f"film-{number}")
        tell(ack={stored["file_id"]: hashlib.sha256(data).hexdigest()})
    container = build(settings, StorageStrategy.LOCAL_THEN_CLOUD)
    Faults.of(fault).install(container)
    async with running(container):
        done = await container.sync_backends()()
        tell(done=done.moved)


async def recover(settings: StorageConfig, number: int, acknowledged: dict[str, str]) -> None:
    """Read everything, end what was begun, an hour later; then look everything up."""
    async with StorageService(settings, StorageStrategy.LOCAL_THEN_CLOUD) as storage:
        for file_id, sha256 in acknowledged.items():
            data, _ = await storage.retrieve_file(file_id)
            if hashlib.sha256(data).hexdigest() != sha256:
                tell(broken=f"{file_id} was read with other bytes before recovery")
    container = build(settings, StorageStrategy.LOCAL_THEN_CLOUD)
    put_forward(container, timedelta(hours=1))
    async with running(container):
        await container.runtime().sweep()
        done = await container.sync_backends()()
        storage = StorageService(container=container)
        view = await storage.get_file(f"film-{number}")
        tell(
            remaining=done.remaining,
            replicas={one["tier"]: one["state"] for one in view["replicas"]},
            broken=await look_up(storage, settings, acknowledged),
        )


async def main() -> None:
    """Do what the order says."""
    order = json.loads(sys.argv[1])
    settings = evolve(StorageConfig(**order["settings"]), workers=0)
    if "fault" in order:
        await move(settings, order["number"], order["fault"])
    else:
        await recover(settings, order["number"], order["acknowledged"])


if __name__ == "__main__":
    asyncio.run(main())
