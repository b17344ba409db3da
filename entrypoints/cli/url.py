"""`traffic-storage url`."""

from traffic_storage.entrypoints.cli.output import say, say_json
from traffic_storage.entrypoints.cli.session import AsJson, Shared, opened_to_read


async def url(
    file_id: str, /, *, expires_in: float = 3600, json: AsJson = False, session: Shared
) -> None:
    """Make a link that opens one file, for anybody who has it, until it expires.

    It leads to the HTTP service at the setting public_url.

    Parameters
    ----------
    file_id:
        The file.
    expires_in:
        How long it opens, in seconds.
    json:
        Print one JSON object.
    """
    async with opened_to_read(session.container()) as container:
        await container.find().file(file_id)
        link = container.signer().url(file_id, expires_in)
    if json:
        say_json({"url": link.url, "expires_at": link.expires_at.isoformat()})
    else:
        say(link.url)
