"""The TOML file of retention rules."""

from pathlib import Path

from traffic_storage.domain.errors import ConfigurationError, InvalidInput
from traffic_storage.domain.retention_rules import GivenRules, RuleSet
from traffic_storage.domain.rules_json import given_rules_in
from traffic_storage.entrypoints.settings.config import StorageConfig
from traffic_storage.entrypoints.settings.sources import toml_of


def given_rules(settings: StorageConfig, path: Path | None = None) -> GivenRules:
    """Return the rules and sites of a file; without `path`, of the setting `retention_rules_file`.

    There are none if no file is set.

    Raises:
        ConfigurationError: the file can't be read, or the rules are wrong. Each problem names the
            table and the field, as `rules[2].days`, and the file.
    """
    file = path or settings.retention_rules_file
    return GivenRules() if file is None else _read(file)


def configured_rules(settings: StorageConfig) -> RuleSet:
    """Return the default rules and those of the setting `retention_rules_file`.

    Raises:
        ConfigurationError: the file can't be read, or the rules are wrong.
    """
    given = given_rules(settings)
    try:
        return given.with_defaults(settings.retention.rules)
    except InvalidInput as error:
        raise ConfigurationError(error.problems) from error


def _read(file: Path) -> GivenRules:
    try:
        return given_rules_in(toml_of(file), str(file))
    except InvalidInput as error:
        raise ConfigurationError(error.problems) from error
