"""`traffic-storage worker`."""

import asyncio
import signal

from traffic_storage.entrypoints.cli.output import note
from traffic_storage.entrypoints.cli.session import Shared, load_container, opened
from traffic_storage.entrypoints.logs import LogFormat, LogLevel


async def worker(
    *,
    workers: int = 1,
    log_format: LogFormat = "text",
    log_level: LogLevel | None = None,
    session: Shared,
) -> None:
    """Do jobs until Ctrl-C: copies, purges, verification, sweeps.

    A server (`serve`) does jobs too, unless its setting `workers` is 0. On PostgreSQL any number of
    workers on any number of hosts share the jobs; each does those whose stores its host can reach.

    Parameters
    ----------
    workers:
        How many workers to run, each of which does up to 4 jobs at a time.
    log_format:
        How log lines on stderr are written: for people, or as JSON or key=value pairs.
    log_level:
        What is logged; info has a line for each job. Default: warning, with --verbose debug.
    """
    from attrs import evolve

    load_container()
    from traffic_storage.entrypoints.container import build

    session.log_as(log_format, log_level)
    settings = evolve(session.settings(), workers=workers)
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    async with opened(build(settings)):
        note("doing jobs until Ctrl-C")
        try:
            await stopped.wait()
        finally:
            loop.remove_signal_handler(signal.SIGTERM)
            note("giving the running jobs back")
