"""Settings as shown to users: value (secrets masked), source, description."""

from collections.abc import Mapping
from datetime import date, timedelta
from os import PathLike
from pathlib import Path

from attrs import asdict, fields_dict, frozen

from traffic_storage.domain.canonical import Json
from traffic_storage.domain.prices import Price
from traffic_storage.entrypoints.settings.config import StorageConfig
from traffic_storage.entrypoints.settings.rules import BucketRoute, span
from traffic_storage.entrypoints.settings.secret import Secret
from traffic_storage.entrypoints.settings.sources import collect

_DIGITS_SHOWN = 8


@frozen
class Explained:
    """A setting as shown to users. `value` is JSON, with secrets masked.

    `source` is the path of a file, the name of a variable, `argument` or `default`.
    """

    name: str
    value: Json
    source: str
    doc: str


def explain(
    path: str | PathLike[str] | None = None,
    env: Mapping[str, str] | None = None,
    overrides: Mapping[str, object] | None = None,
) -> tuple[Explained, ...]:
    """Return all settings as `StorageConfig.load` reads them, in the order of their definition.

    Raises:
        ConfigurationError: as for `StorageConfig.load`.
    """
    given, problems = collect(fields_dict(StorageConfig), path, env, overrides)
    config = StorageConfig.of(given, problems)
    return tuple(
        Explained(
            name,
            shown(name, getattr(config, name)),
            given[name].source if name in given else "default",
            setting.metadata["doc"],
        )
        for name, setting in fields_dict(StorageConfig).items()
    )


def shown(name: str, value: object) -> Json:
    """Return the value of a setting as JSON, with secrets masked and digests shortened."""
    match value:
        case Path() | date() | Secret():
            return str(value)
        case timedelta():
            return span(value)
        case BucketRoute():
            return {part: text for part, text in asdict(value).items() if text is not None}
        case Price():
            return {"tier": value.tier, "gb_month": value.gb_month}
        case tuple():
            return [shown(name, entry) for entry in value]
        case str() if name == "api_keys":
            head, mark, parameters = value.partition("?")
            key, _, digest = head.partition(":")
            return f"{key}:{digest[:_DIGITS_SHOWN]}…{mark}{parameters}"
        case None | bool() | int() | float() | str():
            return value
        case _:
            raise TypeError(
                f"`{name}` can't be shown: no setting has the type {type(value).__name__}"
            )
