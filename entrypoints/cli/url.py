"""`traffic-storage url`."""

from traffic_storage.entrypoints.cli.output import say, say_json
from traffic_storage.entrypoints.cli.session import AsJson, Shared, opened_to_read


async def url(
    file_id: str, /, *, expires_in: float = 3600, json: AsJson = False, session: Shared
) -> None:
    """Create a link to a file. Anybody who has the link can read the file until it expires.

    The link begins with the setting public_url, the address of the HTTP service.

    Parameters
    ----------
    file_id:
        The id of the file, such as V001~image.
    expires_in:
        How long the link is valid, in seconds.
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
