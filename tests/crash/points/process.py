"""The process that is killed."""

import asyncio
import logging
from multiprocessing.connection import Connection
from typing import Any

from tests.crash.faults import Faults
from tests.crash.later import put_forward
from tests.crash.points.scenarios import SCENARIOS
from traffic_storage import StorageConfig
from traffic_storage.entrypoints.container import build, running


async def work(order: dict[str, Any], told: Connection) -> None:
    """Do what the order says: run a scenario until its fault point, or to its end."""
    scenario = SCENARIOS[order["scenario"]]
    faults = Faults.of(order["fault"])
    config = StorageConfig(**order["settings"] | scenario.settings)
    container = build(config, scenario.strategy(order["setup"]))
    put_forward(container, scenario.later)
    if scenario.from_start:
        faults.install(container)
    async with running(container):
        await scenario.arrange(container, order["notes"])
        if not scenario.from_start:
            faults.install(container)
        await scenario.act(container, order["notes"])
        told.send(list(faults.calls))


def run(order: dict[str, Any], told: Connection) -> None:
    """Run the process."""
    logging.disable(logging.ERROR)
    asyncio.run(work(order, told))
