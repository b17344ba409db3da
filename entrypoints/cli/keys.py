"""`traffic-storage keys`: API keys. Only a key's digest is kept; the key is shown once."""

import hashlib
import secrets

from cyclopts import App

from traffic_storage.entrypoints.cli.output import note, say, say_json
from traffic_storage.entrypoints.cli.session import AsJson

_KEY_BYTES = 32

app = App(name="keys", help="Make API keys.")


@app.command
def new(*, name: str = "key", json: AsJson = False) -> None:
    """Make an API key. It is shown once, with the line to add to the settings file.

    A key is revoked by removing its line and starting the service anew.

    Parameters
    ----------
    name:
        Who the key is for, as camera-7; without spaces and colons.
    json:
        Print one JSON object.
    """
    from traffic_storage.domain.errors import InvalidInput
    from traffic_storage.entrypoints.settings.rules import API_KEY

    key = "ts_" + secrets.token_urlsafe(_KEY_BYTES)
    line = f"{name}:{hashlib.sha256(key.encode()).hexdigest()}"
    if list(API_KEY.problems("name", line)):
        raise InvalidInput.of(
            "name", f"is {name!a:.80}", "use 1 to 64 ASCII characters without spaces and colons"
        )
    if json:
        say_json({"name": name, "key": key, "setting": line})
        return
    say(key)
    note("This key is not kept: write it down now. To let it in, add its digest to the settings:")
    note(f'  api_keys = ["{line}"]')
    note("  (in the file that `traffic-storage config path` names; to a list that is there already")
    note("  add the text in quotes. In the environment, several are separated by commas:")
    note(f"  TRAFFIC_STORAGE_API_KEYS={line})")
    note(
        "and start the service anew. It is then sent with each request: Authorization: Bearer <key>"
    )
