"""`traffic-storage url`."""

from traffic_storage.entrypoints.cli.output import note, say, say_json
from traffic_storage.entrypoints.cli.session import AsJson, Shared, opened_to_read


async def url(
    file_id: str, /, *, expires_in: float = 3600, json: AsJson = False, session: Shared
) -> None:
    """Create a link to a file. Anybody who has the link can read the file until it expires.

    The link begins with the setting public_url, the address of the HTTP service. Unset, the
    service is assumed to be on this machine, at its usual port; a message says so.

    Parameters
    ----------
    file_id:
        The id of the file, such as V001~image.
    expires_in:
        How long the link is valid, in seconds.
    json:
        Print one JSON object.
    """
    settings = session.settings()
    async with opened_to_read(session.container(settings)) as container:
        await container.find().file(file_id)
        link = container.signer().url(file_id, expires_in)
    if json:
        say_json({"url": link.url, "expires_at": link.expires_at.isoformat()})
    else:
        say(link.url)
    if not session.gives("public_url"):
        note(
            f"the link assumes that `serve` runs at {settings.public_url}: for another port or "
            "machine, set public_url"
        )
