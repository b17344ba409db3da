"""Retention rules as JSON and TOML: read strictly, every wrong field named."""

import difflib
from collections.abc import Mapping
from typing import Any

from attrs import fields_dict

from traffic_storage.domain.canonical import Json, parse_json_object
from traffic_storage.domain.errors import FieldProblem, InvalidInput
from traffic_storage.domain.retention_rules import GivenRules, RetentionRule, RuleSet, Site
from traffic_storage.domain.strict import refused_fields, strict_converter

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
    given = _read(value, GivenRules, where)
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
    given = _read(value, GivenRules, "")
    return RuleSet(given.rules, given.sites)


def _read(value: object, kind: type[GivenRules], where: str) -> GivenRules:
    try:
        return _converter.structure(value, kind)
    except Exception as error:
        # The converter raises errors of many classes; each names a wrong field.
        problems = [_with_place(one, where) for one in refused_fields(error)]
        raise InvalidInput(map(_with_suggestion, problems)) from error


def _with_place(problem: FieldProblem, where: str) -> FieldProblem:
    message = f"{problem.message} (in {where})" if where else problem.message
    return FieldProblem(problem.field, message, problem.remedy)


def _with_suggestion(problem: FieldProblem) -> FieldProblem:
    table, _, name = problem.field.rpartition(".")
    if problem.remedy or not problem.message.startswith("is unknown"):
        return problem
    kind: type[Any] = {"rules": RetentionRule, "sites": Site}.get(table.split("[")[0], GivenRules)
    names = [known for known, one in fields_dict(kind).items() if one.init]
    near = difflib.get_close_matches(name, names, n=1)
    remedy = f"did you mean {near[0]}?" if near else f"the names are {', '.join(names)}"
    return FieldProblem(problem.field, problem.message, remedy)


_converter = strict_converter()
