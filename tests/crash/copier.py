"""One process that ends the move of an earlier one, moves a file, and may kill itself on the way.

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
    """Bytes of file `number`: some are sent in parts."""
    return video_of((9_000_000 if number % 4 == 3 else 300_000) - number)


def tell(**what: Any) -> None:
    """Report a line, before anything else happens."""
    print(json.dumps(what), flush=True)


async def recover(settings: StorageConfig, acknowledged: dict[str, str]) -> None:
    """Read everything, and end what was begun, an hour later; then look everything up."""
    container = build(settings, StorageStrategy.LOCAL_THEN_CLOUD)
    put_forward(container, timedelta(hours=1))
    async with running(container):
        storage = StorageService(container=container)
        broken = [
            f"{file_id} was read with other bytes before recovery"
            for file_id, sha256 in acknowledged.items()
            if hashlib.sha256((await storage.retrieve_file(file_id))[0]).hexdigest() != sha256
        ]
        await container.runtime().sweep()
        # A job that was taken back from a dead worker waits some seconds.
        async with asyncio.timeout(60):
            while (await container.sync_backends()()).remaining:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.2)
        for file_id in acknowledged:
            view = await storage.get_file(file_id)
            places = {one["tier"]: one["state"] for one in view["replicas"]}
            if places != {"local": "gone", "cloud": "present"}:
                broken.append(f"{file_id} was not moved: {places}")
        tell(broken=broken + await look_up(storage, settings, acknowledged))


async def move(settings: StorageConfig, number: int, fault: dict[str, Any]) -> None:
    """Store a file on local disk, then move it; the fault is met while it moves."""
    async with StorageService(settings, StorageStrategy.LOCAL_ONLY) as storage:
        data = film(number)
        stored = await storage.store_video_segment(data, file_id=f"film-{number}")
        tell(ack={stored["file_id"]: hashlib.sha256(data).hexdigest()})
    container = build(settings, StorageStrategy.LOCAL_THEN_CLOUD)
    Faults.of(fault).install(container)
    async with running(container):
        await container.sync_backends()()


async def main() -> None:
    """Do what the order says."""
    order = json.loads(sys.argv[1])
    settings = evolve(StorageConfig(**order["settings"]), workers=0)
    if order["acknowledged"]:
        await recover(settings, order["acknowledged"])
    if "fault" in order:
        await move(settings, order["number"], order["fault"])


if __name__ == "__main__":
    asyncio.run(main())
