"""The process that is killed: it compares the stores with the catalogue, or rebuilds the catalogue.

The order has the settings, the work (`reconcile` or `rebuild`), the days by which the clock is put
forward, and where to die.
"""

import asyncio
from datetime import timedelta
from typing import Any

from tests.crash.faults import Faults
from tests.crash.later import put_forward
from traffic_storage import StorageConfig
from traffic_storage.application import rebuild_catalogue
from traffic_storage.entrypoints.container import build, running

BATCH = 2


async def work(order: dict[str, Any]) -> None:
    """Do what the order says."""
    rebuild_catalogue.BATCH = BATCH
    container = build(StorageConfig(**order["settings"]), "LOCAL_ONLY")
    put_forward(container, timedelta(days=order["days"]))
    Faults.of(order["fault"]).install(container)
    async with running(container):
        if order["work"] == "rebuild":
            await container.rebuild_catalogue()(lambda _progress: None)
        else:
            await container.reconcile()(lambda _store_id, _progress: None)


def run(order: dict[str, Any]) -> None:
    """Run the process."""
    asyncio.run(work(order))
