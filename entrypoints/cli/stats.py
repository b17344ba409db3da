"""`traffic-storage stats`."""

from traffic_storage.entrypoints.cli.output import say_json
from traffic_storage.entrypoints.cli.session import AsJson, Shared, opened_to_read


async def stats(*, json: AsJson = False, session: Shared) -> None:
    """Show how much is stored: files, bytes and free space of each tier, violations, the cache.

    The command creates no store; if there is none yet, it fails with exit code 4.

    Parameters
    ----------
    json:
        Print one JSON object.
    """
    from traffic_storage.entrypoints.cli.figures import say_statistics
    from traffic_storage.entrypoints.views import statistics_view

    async with opened_to_read(session.container()) as container:
        statistics = await container.statistics()()
    if json:
        say_json(statistics_view(statistics))
    else:
        say_statistics(statistics)
