"""Exports and analyses that jobs make."""

from collections.abc import Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any
from uuid import UUID

from tests.crash.faults import Point
from tests.crash.points.place import Place
from tests.crash.points.scenario import Scenario, unless
from tests.crash.points.scenarios.upkeep import store_evidence
from tests.support.jobs import do_jobs
from traffic_storage.application.export import TableRequest
from traffic_storage.application.export_jobs import (
    ANALYZE,
    EXPORT,
    PACKAGE,
    ExportJobs,
    PackageRequest,
    made_file,
)
from traffic_storage.domain.digests import sha256_of
from traffic_storage.domain.jobs import JobKind
from traffic_storage.domain.principal import Principal
from traffic_storage.domain.tabular import ExportFormat
from traffic_storage.entrypoints.container import Container

ASKER = Principal("a test")


async def start(jobs: ExportJobs, kind: JobKind) -> None:
    """Write the job of this kind."""
    if kind == EXPORT:
        await jobs.start_export(TableRequest(ExportFormat.NDJSON), ASKER)
    elif kind == PACKAGE:
        await jobs.start_package(PackageRequest(["V1"]), ASKER)
    else:
        await jobs.start_analysis("storage", {"seed": 0}, ASKER)


class Exports(Scenario):
    """A table, an evidence package and an analysis are made; the caller repeats lost requests."""

    name = "exports"
    kinds = (EXPORT, PACKAGE, ANALYZE)
    tested = Point("finish", "before")

    async def prepare(self, place: Place) -> None:
        async with place.opened(self.strategy(place.setup)) as (_, service):
            place.acknowledge(*await store_evidence(service))

    async def act(self, container: Container, notes: Mapping[str, Any]) -> None:
        for kind in self.kinds:
            await start(container.export_jobs(), kind)
        await do_jobs(container)

    async def complete(self, container: Container, place: Place) -> list[str]:
        there = {kind for (kind,) in await place.query("SELECT kind FROM job")}
        for kind in self.kinds:
            if kind not in there:
                await start(container.export_jobs(), kind)
        return await place.resume(container)

    async def check(self, container: Container, place: Place) -> list[str]:
        """One file for each job, as its result says, and nothing beside them."""
        jobs, found, names = container.export_jobs(), list[str](), set[str]()
        for kind in self.kinds:
            rows = await place.query(f"SELECT job_id FROM job WHERE kind = '{kind}'")
            found += unless(len(rows) == 1, f"{len(rows)} jobs of {kind}")
            job = await jobs.job(str(_uuid(rows[0][0])), ASKER)
            file = made_file(job)
            if file is None:
                found.append(f"{kind} is {job.state}")
                continue
            names.add(file.name)
            async with aclosing(jobs.content(file)) as chunks:
                data = b"".join([chunk async for chunk in chunks])
            found += unless(sha256_of(data) == file.sha256, f"the file of {kind} differs")
        left = _names_in(container.settings().export_folder)
        return found + unless(left == names, f"{left - names} lie beside the files")


def _names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def _uuid(value: UUID | bytes) -> UUID:
    return UUID(bytes=value) if isinstance(value, bytes) else value


SCENARIOS = (Exports(),)
