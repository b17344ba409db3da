"""Doing the jobs of a service in the test, without a worker that waits for more."""

from traffic_storage.application.worker import Worker
from traffic_storage.entrypoints.container import Container


async def do_jobs(container: Container, *, slots: int = 1) -> None:
    """Do the jobs that can be done now, with one slot one after the other."""
    worker = Worker(
        source=container._record_repo(),
        ids=container.ids(),
        handlers=container.handlers(),
        schedules=list,
        stores=container.schedules().needs_met,
        slots=slots,
        owner="a test",
    )
    try:
        await worker.drain()
    finally:
        await worker.aclose()
