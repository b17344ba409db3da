"""The process that is killed while it deletes, purges, undeletes or places a hold.

python -m tests.crash.purge_writer FOLDER ACTION '{"method": "apply", "moment": "after", "call": 2}'
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from tests.crash.faults import Faults
from traffic_storage import StorageConfig, StorageService, StorageStrategy
from traffic_storage.entrypoints.container import build, running

WHY = "a test"


def settings_of(folder: Path, grace_days: int = 0) -> StorageConfig:
    """The settings of a service whose deleted files are erased at once, or after a grace."""
    return StorageConfig(
        local_base_path=folder, local_reserve_gb=0.0, deletion_grace_days=grace_days, workers=0
    )


async def act(folder: Path, action: str, fault: dict[str, Any]) -> None:
    """Do the action in a service that kills itself on the way."""
    container = build(settings_of(folder), StorageStrategy.LOCAL_ONLY)
    async with running(container):
        Faults.of(fault).install(container)
        service = StorageService(container=container)
        if action == "delete":
            await service.delete_file("F", WHY, override=True)
        elif action == "undelete":
            await service.undelete_file("F", WHY)
        else:
            await service.place_hold("case", WHY, file_id="F")


if __name__ == "__main__":
    asyncio.run(act(Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])))
