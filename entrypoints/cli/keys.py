"""`traffic-storage keys`: API keys. A key is printed once; only its SHA-256 is registered."""

import hashlib
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, TypeAlias
from urllib.parse import urlencode

from cyclopts import App, Parameter

from traffic_storage.domain.principal import ApiKey, is_key_name, parse_api_key
from traffic_storage.entrypoints.cli.output import note, say, say_json
from traffic_storage.entrypoints.cli.session import AsJson, Shared

_KEY_BYTES = 32
_Repeated: TypeAlias = Annotated[Sequence[str], Parameter(negative="", show_default=False)]

app = App(name="keys", help="Create and list API keys.")


@app.command
def new(
    name: str = "key",
    *,
    scope: _Repeated = (),
    device: _Repeated = (),
    expires: str | None = None,
    json: AsJson = False,
) -> None:
    """Create an API key. It is shown once, with the line that registers it.

    To revoke a key, remove its line. Changes in the file that the setting api_keys_file names take
    effect at once; changes of the setting api_keys take effect when the service restarts.

    Parameters
    ----------
    name:
        The name of the key, such as camera-7, without spaces, colons and commas.
    scope:
        A scope of the key: evidence:read, evidence:write, evidence:delete, hold, maintenance,
        metrics or admin; may be repeated. Without any: evidence:read and evidence:write.
    device:
        A pattern of device ids, such as 'cam_0*', that the key is limited to; may be repeated.
        Without any: all devices.
    expires:
        The last day (UTC) on which the key is valid, such as 2027-01-31. Without it, the key does
        not expire.
    json:
        Print one JSON object.
    """
    key = "ts_" + secrets.token_urlsafe(_KEY_BYTES)
    digest = hashlib.sha256(key.encode()).hexdigest()
    line = _line(name, digest, scope, device, expires)
    if json:
        say_json({"name": name, "key": key, "setting": line})
        return
    say(key)
    note("This key is not stored: write it down now. To register it, add its line to one of these:")
    note("- the settings file (`traffic-storage config path` prints its path); then restart the")
    note("  service. If api_keys is set already, add the text in quotes to its list:")
    note(f'  api_keys = ["{line}"]')
    note("- the file that the setting api_keys_file names; no restart is needed:")
    note(f"  {line}")
    note("- the environment, with commas between lines; then restart the service:")
    # The line has characters that are special in a shell.
    note(f"  TRAFFIC_STORAGE_API_KEYS='{line}'")
    note("Clients send the key with each request: Authorization: Bearer <key>")


@app.command(name="list")
def list_(*, json: AsJson = False, session: Shared) -> None:
    """List the registered keys: name, scopes, devices and expiry, not the key itself.

    Parameters
    ----------
    json:
        Print one JSON array.
    """
    from traffic_storage.entrypoints.http.security.keys import read_key_file

    settings = session.settings()
    found = [("api_keys", parse_api_key(line)) for line in settings.api_keys]
    file = settings.api_keys_file
    if file is not None:
        found += [(str(file), key) for key in read_key_file(file)]
    now = datetime.now(UTC)
    entries = [_described(source, key, is_expired=key.is_expired(now)) for source, key in found]
    if json:
        say_json(entries)
        return
    for entry in entries:
        devices = ", ".join(entry["devices"]) or "all devices"
        ends = f"until {entry['expires']}" if entry["expires"] else "no expiry"
        state = " (expired)" if entry["expired"] else ""
        say(f"{entry['name']}  {', '.join(entry['scopes'])}  {devices}  {ends}{state}")
    if not entries:
        note("no keys are registered")


def _line(
    name: str, digest: str, scopes: Sequence[str], devices: Sequence[str], expires: str | None
) -> str:
    from traffic_storage.domain.errors import InvalidInput

    pairs = [*(("scope", text) for text in scopes), *(("device", text) for text in devices)]
    pairs += [("expires", expires)] if expires is not None else []
    line = f"{name}:{digest}" + (f"?{urlencode(pairs)}" if pairs else "")
    if not is_key_name(name):
        raise InvalidInput.of(
            "name",
            f"is {name!a:.80}",
            "use 1 to 64 ASCII characters without spaces, colons and commas",
        )
    key = parse_api_key(line, "key")
    if key.is_expired(datetime.now(UTC)):
        raise InvalidInput.of("expires", f"{key.expires} has passed", "give today or a later day")
    return key.to_line()


def _described(source: str, key: ApiKey, *, is_expired: bool) -> dict[str, Any]:
    return {
        "name": key.principal.name,
        "scopes": sorted(key.principal.scopes),
        "devices": list(key.principal.devices),
        "expires": key.expires.isoformat() if key.expires else None,
        "expired": is_expired,
        "source": source,
    }
