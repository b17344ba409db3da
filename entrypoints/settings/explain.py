"""Settings as a person may see them: value (secrets masked), where it came from, what it is for."""

from collections.abc import Mapping
from datetime import timedelta
from enum import Enum
from os import PathLike
from pathlib import Path

from attrs import asdict, fields_dict, frozen

from traffic_storage.domain.canonical import Json
from traffic_storage.entrypoints.settings.config import MASK, StorageConfig
from traffic_storage.entrypoints.settings.kinds import ApiKeys, BucketRoute, kind_of
from traffic_storage.entrypoints.settings.sources import collect

_DIGITS_SHOWN = 8


@frozen
class Explained:
    """One setting. `value` is JSON, with secrets masked; `source` is `default` where none is."""

    name: str
    value: Json
    source: str
    doc: str


def explain(
    path: str | PathLike[str] | None = None,
    env: Mapping[str, str] | None = None,
    overrides: Mapping[str, object] | None = None,
) -> tuple[Explained, ...]:
    """All settings as `StorageConfig.load` would find them, in the order of the class.

    Raises:
        ConfigurationError: as `StorageConfig.load`.
    """
    config = StorageConfig.load(path, env, overrides)
    given, _ = collect(fields_dict(StorageConfig), path, env, overrides)
    return tuple(
        Explained(
            name,
            _shown(config, name),
            given[name].source if name in given else "default",
            attribute.metadata["doc"],
        )
        for name, attribute in fields_dict(StorageConfig).items()
    )


def _shown(config: StorageConfig, name: str) -> Json:
    attribute = fields_dict(StorageConfig)[name]
    value = getattr(config, name)
    if attribute.metadata["secret"]:
        return MASK if value else None
    if isinstance(kind_of(attribute), ApiKeys):
        return [_short_key(entry) for entry in value]
    return _as_json(value)


def _as_json(value: object) -> Json:
    match value:
        case Enum():
            return str(value)
        case Path():
            return str(value)
        case timedelta():
            return f"{value / timedelta(hours=1):g}h"
        case BucketRoute():
            return {key: part for key, part in asdict(value).items() if part is not None}
        case tuple():
            return [_as_json(item) for item in value]
        case None | bool() | int() | float() | str():
            return value
        case _:
            raise TypeError(f"no setting is a {type(value).__name__}")


def _short_key(entry: str) -> str:
    name, _, digest = entry.partition(":")
    return f"{name}:{digest[:_DIGITS_SHOWN]}…"
