"""`traffic-storage doctor`: checks what storing depends on, and prints results and remedies."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from attrs import asdict

from traffic_storage.domain.errors import ConfigurationError
from traffic_storage.entrypoints.cli.doctor.finding import Finding, Status, noted, problem
from traffic_storage.entrypoints.cli.exit_codes import ExitCode
from traffic_storage.entrypoints.cli.output import flush_out, say, say_json, styled
from traffic_storage.entrypoints.cli.session import AsJson, Flag, Session, Shared, is_new

if TYPE_CHECKING:
    from traffic_storage.entrypoints.container import Container
    from traffic_storage.entrypoints.settings import StorageConfig

_COLOURS = {Status.OK: "32", Status.NOTE: "36", Status.PROBLEM: "1;31"}


async def doctor(
    *,
    deep: Flag = False,
    seconds: float = 60.0,
    adopt_store: str | None = None,
    json: AsJson = False,
    session: Shared,
) -> ExitCode:
    """Check everything that storing depends on; print each problem with its remedy.

    Writes a few bytes to local_base_path and to each store, and removes them. The exit code is 3 if
    there is a problem.

    Parameters
    ----------
    deep:
        Also check a part of all stored files, from a random one on, against the catalogue: that
        each has a good copy, that copies have the recorded digests, that no blob is unexplained, that
        held files are kept. Also check the jobs, the verification of copies, and when the stores
        will be full. Changes nothing.
    seconds:
        How long the check of files with --deep may last.
    adopt_store:
        Use the store at this location (as this command prints it) for this catalogue from now on.
        First stop every process that uses another copy of the store.
    json:
        Print one JSON object per line.
    """
    problems = 0
    async for finding in _findings(session, adopt_store, seconds if deep else None):
        problems += finding.status is Status.PROBLEM
        _say(finding, json=json)
    return ExitCode.FINDINGS if problems else ExitCode.OK


async def _findings(
    session: Session, adopt_store: str | None, seconds: float | None
) -> AsyncIterator[Finding]:
    from traffic_storage.entrypoints.cli.doctor import folders, machine
    from traffic_storage.entrypoints.settings.sources import settings_file

    yield machine.environment(os.environ)
    try:
        settings = session.settings()
        container = session.container(settings)
    except ConfigurationError as error:
        for wrong in error.problems:
            yield problem("settings", f"{wrong.field}: {wrong.message}", wrong.remedy)
        return
    yield machine.settings_file(settings_file(session.config)[0], settings)
    for finding in machine.secret_files(settings):
        yield finding
    yield machine.admission(settings)
    profiles = machine.profiles(settings)
    yield profiles
    yield machine.snapshots(settings)
    yield machine.clock()
    yield machine.signing_key(settings)
    for finding in (
        *machine.extras(settings),
        *machine.base_path(settings),
        *folders.owners(settings),
        *folders.parts(settings),
    ):
        yield finding
    if profiles.status is Status.PROBLEM:
        return  # No part that needs them can be built.
    async for finding in _of_services(container, settings, adopt_store, seconds):
        yield finding


async def _of_services(
    container: "Container",
    settings: "StorageConfig",
    adopt_store: str | None,
    seconds: float | None,
) -> AsyncIterator[Finding]:
    from traffic_storage.application.check_invariants import CheckBudget
    from traffic_storage.entrypoints.cli.doctor import deep, services

    try:
        yield await services.database(container, settings)
        async for finding in services.clock_of_database(container, settings):
            yield finding
        for finding in services.encryption_of_database(settings):
            yield finding
        if adopt_store is not None:
            yield await services.adopted(container, adopt_store)
        async for finding in services.stores(container, settings):
            yield finding
        yield await services.cache(container.cache(), settings)
        if seconds is not None and is_new(settings):
            yield noted("deep check", "nothing is stored yet")
        elif seconds is not None:
            async for finding in deep.checks(container, CheckBudget(seconds=seconds)):
                yield finding
    finally:
        await container.runtime().aclose()
        await asyncio.sleep(0)


def _say(finding: Finding, *, json: bool) -> None:
    if json:
        say_json(asdict(finding))
        return
    word = styled(f"{finding.status:7}", f"\x1b[{_COLOURS[finding.status]}m", sys.stdout)
    say(f"{word} {finding.check}: {finding.detail}")
    if finding.remedy:
        say(f"        → {finding.remedy}")
    flush_out()
