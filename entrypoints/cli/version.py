"""`traffic-storage version`."""

from traffic_storage.entrypoints.cli.output import say, say_json
from traffic_storage.entrypoints.cli.session import AsJson


def version(*, json: AsJson = False) -> None:
    """Print the version.

    Parameters
    ----------
    json:
        Print one JSON object.
    """
    from importlib.metadata import version as version_of

    found = version_of("traffic-storage")
    if json:
        say_json({"version": found})
    else:
        say(f"traffic-storage {found}")
