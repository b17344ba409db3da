"""A migration from another service; its target is killed."""

import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.crash.faults import Point
from tests.crash.points.place import Place
from tests.crash.points.scenario import WHY, Scenario, unless
from tests.crash.points.scenarios.upkeep import PIXELS, violation
from tests.support.setups import config
from traffic_storage import StorageService, StorageStrategy
from traffic_storage.application import migrate
from traffic_storage.application.migrate_and_prove import MigrateAndProve, ProvenMigration
from traffic_storage.entrypoints.container import Container, build, running

_START, _END = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)


@asynccontextmanager
async def source_of(notes: Mapping[str, Any]) -> AsyncIterator[Container]:
    """Open the service that is migrated."""
    settings = config(Path(notes["source"]), workers=0, deletion_grace_days=0)
    async with running(build(settings, StorageStrategy.LOCAL_ONLY)) as container:
        yield container


async def bring(target: Container, notes: Mapping[str, Any]) -> ProvenMigration:
    """Migrate, page by page of one violation."""
    migrate.PAGE = 1
    async with source_of(notes) as source:
        move = MigrateAndProve(source.migration_source(), target.migration_target())
        return await move(_START, _END, lambda _progress: None, reread=True)


class Migrate(Scenario):
    """Violations with a hold and an erased file come from another service; a person repeats it."""

    name = "migration"
    tested = Point("apply", "after", 3)

    async def prepare(self, place: Place) -> None:
        place.notes["source"] = tempfile.mkdtemp(prefix="migrated-")
        stored: list[Mapping[str, Any]] = []
        async with source_of(place.notes) as source:
            service = StorageService(container=source)
            for name in ("V1", "V2"):
                views = await service.store_violation_evidence(violation(name), PIXELS)
                stored += views.values()
            await service.place_hold("case", WHY, file_id="V1~image")
            await service.delete_file("V2~image", WHY, override=True)
            await source.purge().due()
        place.notes["stored"] = {one["file_id"]: one["sha256"] for one in stored}
        del place.notes["stored"]["V2~image"]

    async def act(self, container: Container, notes: Mapping[str, Any]) -> None:
        await bring(container, notes)

    async def complete(self, container: Container, place: Place) -> list[str]:
        done = await bring(container, place.notes)
        place.acknowledged |= place.notes["stored"]
        shutil.rmtree(place.notes["source"])
        broken = await place.resume(container)
        return broken + unless(done.is_complete, f"not complete: {done.reconciliation}")

    async def check(self, container: Container, place: Place) -> list[str]:
        copies = await place.query("SELECT file_id FROM replica WHERE state = 'present'")
        cursors = await place.query("SELECT * FROM migration")
        certificates = await place.query("SELECT file_id FROM certificate")
        holds = (await StorageService(container=container).list_holds()).items
        return [
            *unless(len(copies) == len(place.acknowledged), f"there are {len(copies)} copies"),
            *unless(not cursors, f"the cursors {cursors} are left"),
            *unless(certificates == [("V2~image",)], f"the certificates are {certificates}"),
            *unless(len(holds) == 1, f"the holds are {holds}"),
        ]


SCENARIOS = (Migrate(),)
