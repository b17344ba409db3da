"""Retention rules as JSON and TOML: read strictly, every wrong field named."""

from collections.abc import Mapping

from traffic_storage.domain.canonical import Json, parse_json_object
from traffic_storage.domain.errors import InvalidInput
from traffic_storage.domain.retention_rules import GivenRules, RetentionRule, RuleSet, Site
from traffic_storage.domain.strict import read_tables, strict_converter

MAX_RULES_BYTES = 1024 * 1024
"""The largest size of rules and sites as JSON: the event that they are in force fits into a note."""


def json_of(rules: RuleSet | GivenRules) -> Mapping[str, Json]:
    """Return rules and sites as JSON, which `rule_set_in` reads."""
    text = _converter.dumps(GivenRules(rules.rules, rules.sites))
    return parse_json_object(text, "rules")


def given_rules_in(value: object, where: str = "") -> GivenRules:
    """Read rules and sites from the content of a TOML file or of a JSON object.

    Raises:
        InvalidInput: they are wrong, or larger than `MAX_RULES_BYTES`. Each problem names the table,
            its place (from 1) and the field, as `rules[2].days`; `where`, such as the path of a
            file, is added to each message.
    """
    given: GivenRules = read_tables(_converter, value, _TABLES, where)
    size_bytes = len(_converter.dumps(given))
    if size_bytes > MAX_RULES_BYTES:
        raise InvalidInput.of(
            "rules",
            f"have {size_bytes} bytes as JSON, more than {MAX_RULES_BYTES}",
            "name devices by patterns instead of one by one",
        )
    return given


def rule_set_in(value: object) -> RuleSet:
    """Read the rules in force from what `json_of` has returned.

    Raises:
        InvalidInput: they are wrong.
    """
    given: GivenRules = read_tables(_converter, value, _TABLES)
    return RuleSet(given.rules, given.sites)


_TABLES = {"": GivenRules, "rules": RetentionRule, "sites": Site}
_converter = strict_converter()
