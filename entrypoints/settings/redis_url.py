"""`redis_url`: one address that gives several of the `redis_` settings."""

from collections.abc import Mapping

from traffic_storage.entrypoints.settings.secret import Secret

_SETTINGS = {
    "path": "redis_host",
    "host": "redis_host",
    "port": "redis_port",
    "db": "redis_db",
    "username": "redis_username",
    "password": "redis_password",
    "tls": "redis_tls",
}
"""Maps the parts of an address to settings."""


def settings_of(url: str) -> Mapping[str, object]:
    """Return the values of the `redis_` settings that the URL gives; a password as `Secret`.

    Raises:
        ValueError: the URL is not valid (see `adapters.cache.redis.url.parts_of`).
    """
    # redis-py takes 0.1 s to import, and only this setting needs it here.
    from traffic_storage.adapters.cache.redis.url import parts_of

    found: dict[str, object] = {_SETTINGS[part]: value for part, value in parts_of(url).items()}
    if "redis_password" in found:
        found["redis_password"] = Secret(str(found["redis_password"]))
    return found


def is_valid(url: str) -> bool:
    """Return whether the text is a URL whose values are all settings."""
    try:
        return bool(settings_of(url))
    except ValueError:
        return False
