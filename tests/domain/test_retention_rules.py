"""Retention rules: which apply to a file, that the longest decides, and how files of rules are read."""

import tomllib
from random import Random
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from traffic_storage.domain.errors import InvalidInput
from traffic_storage.domain.files import FileKind
from traffic_storage.domain.retention import DEFAULT_RULES, RetentionPeriods
from traffic_storage.domain.retention_rules import (
    MAX_RULES,
    GivenRules,
    RetentionFacts,
    RetentionRule,
    RulesDifference,
    RuleSet,
    Site,
)
from traffic_storage.domain.rules_json import given_rules_in, json_of, rule_set_in
from traffic_storage.entrypoints.testing import strategies as kit

DEFAULTS = RetentionPeriods().rules
IMAGE = RetentionFacts(FileKind.IMAGE, "cam_m30_7", "speed")


@given(kit.rule_sets(), kit.retention_facts())
def test_of_all_rules_that_apply_the_longest_decides(rules: RuleSet, facts: RetentionFacts) -> None:
    sites = rules.sites_of(facts.device_id)
    applying = {rule for rule in rules.rules if rule.applies(facts, sites)}
    found = rules.applicable(facts)
    assert set(found) == applying
    assert found[0].days == max(rule.days for rule in applying)


@given(kit.rule_sets(), kit.retention_facts(), st.randoms())
def test_the_order_of_rules_and_sites_means_nothing(
    rules: RuleSet, facts: RetentionFacts, random: Random
) -> None:
    others = RuleSet(
        tuple(random.sample(rules.rules, len(rules.rules))),
        tuple(random.sample(rules.sites, len(rules.sites))),
    )
    assert others.applicable(facts) == rules.applicable(facts)


@given(kit.rule_sets(), kit.retention_rules(), kit.sites(), kit.retention_facts())
def test_a_further_rule_or_site_never_shortens(
    rules: RuleSet, rule: RetentionRule, site: Site, facts: RetentionFacts
) -> None:
    before = rules.applicable(facts)[0].days
    named = evolve(rule, rule_id="a further one")
    more_rules = RuleSet((*rules.rules, named), rules.sites)
    assert more_rules.applicable(facts)[0].days >= before
    more_sites = RuleSet(rules.rules, (*rules.sites, evolve(site, site_id="a further one")))
    assert more_sites.applicable(facts)[0].days >= before


@given(kit.rule_sets(), kit.retention_facts(), st.integers(-2, 2))
def test_the_priority_changes_no_period(
    rules: RuleSet, facts: RetentionFacts, priority: int
) -> None:
    levelled = RuleSet(tuple(evolve(rule, priority=priority) for rule in rules.rules), rules.sites)
    assert levelled.applicable(facts)[0].days == rules.applicable(facts)[0].days


def test_of_equal_periods_the_highest_priority_is_named_then_the_lowest_id() -> None:
    low = RetentionRule("a", 500)
    high, also_high = RetentionRule("c", 500, priority=1), RetentionRule("b", 500, priority=1)
    assert RuleSet((*DEFAULTS, low, high)).applicable(IMAGE)[0] == high
    assert RuleSet((*DEFAULTS, low, high, also_high)).applicable(IMAGE)[0] == also_high


M30 = Site("m30", ("cam_m30_*",), "ES-MD")


@pytest.mark.parametrize(
    ("condition", "applies"),
    [
        ({"kind": FileKind.IMAGE}, True),
        ({"kind": FileKind.VIDEO}, False),
        ({"violation_type": "speed"}, True),
        ({"violation_type": "red_light"}, False),
        ({"device": "cam_m30_*"}, True),
        ({"device": "cam_m3"}, False),
        ({"site": "m*"}, True),
        ({"site": "a5"}, False),
        ({"jurisdiction": "ES-MD"}, True),
        ({"jurisdiction": "ES"}, True),
        ({"jurisdiction": "E"}, False),
        ({"jurisdiction": "ES-M"}, False),
        ({"site": "m30", "jurisdiction": "FR"}, False),
        ({"device": "cam_*", "violation_type": "speed", "kind": FileKind.IMAGE}, True),
    ],
)
def test_a_rule_applies_when_all_its_conditions_are_met(
    condition: dict[str, Any], applies: bool
) -> None:
    rule = RetentionRule("r", 5000, **condition)
    rules = RuleSet((*DEFAULTS, rule), (M30, Site("paris", ("cam_paris",), "FR")))
    assert (rule in rules.applicable(IMAGE)) is applies


@pytest.mark.parametrize(
    "condition",
    [{"violation_type": "speed"}, {"device": "*"}, {"site": "*"}, {"jurisdiction": "ES"}],
)
def test_what_is_unknown_of_a_file_meets_no_condition(condition: dict[str, Any]) -> None:
    rule = RetentionRule("r", 5000, **condition)
    rules = RuleSet((*DEFAULTS, rule), (Site("all", ("*",), "ES"),))
    assert rule not in rules.applicable(RetentionFacts(FileKind.IMAGE))


def test_a_device_at_several_sites_is_kept_by_the_rules_of_all() -> None:
    sites = (M30, Site("madrid", ("cam_*",), "ES"))
    rule = RetentionRule("r", 5000, site="madrid")
    assert RuleSet((*DEFAULTS, rule), sites).applicable(IMAGE)[0] == rule


def test_each_kind_of_files_has_a_rule() -> None:
    with pytest.raises(InvalidInput, match="none applies to every video file"):
        RuleSet(tuple(rule for rule in DEFAULTS if rule.kind is not FileKind.VIDEO))


@given(kit.rule_sets())
def test_rules_are_read_back_equal(rules: RuleSet) -> None:
    assert rule_set_in(json_of(rules)) == rules


RULES = """
[[sites]]
site_id = "m30"
devices = ["cam_m30_*"]
jurisdiction = "ES-MD"

[[rules]]
rule_id = "accident"
days = 3650
violation_type = "accident"
jurisdiction = "ES"
legal_source = "an example, not a law"
priority = 10
"""


def test_a_file_of_rules() -> None:
    given_rules = given_rules_in(tomllib.loads(RULES), "rules.toml")
    assert given_rules.sites == (M30,)
    rules = given_rules.with_defaults(DEFAULTS)
    assert rules.rules[:3] == DEFAULT_RULES.rules
    found = rules.applicable(RetentionFacts(FileKind.VIDEO, "cam_m30_1", "accident"))[0]
    assert found.in_words() == (
        "accident: 3650 days for violation_type accident, jurisdiction ES (an example, not a law)"
    )


WRONG = """
rulez = 1
[[rules]]
rule_id = "a"
dayz = 3
kind = "images"
priority = 1.5
[[rules]]
rule_id = ""
days = 0
legal_source = "\\u202e"
[[rules]]
rule_id = "b"
days = true
[[sites]]
site_id = "x"
devices = "cam"
[[sites]]
site_id = "y"
devices = []
"""


def test_every_wrong_field_of_a_file_is_named_with_its_table_and_place() -> None:
    with pytest.raises(InvalidInput) as raised:
        given_rules_in(tomllib.loads(WRONG), "rules.toml")
    problems = {problem.field: problem for problem in raised.value.problems}
    assert set(problems) == {
        "rulez",
        *(f"rules[1].{name}" for name in ("days", "dayz", "kind", "priority")),
        *(f"rules[2].{name}" for name in ("rule_id", "days", "legal_source")),
        "rules[3].days",
        "sites[1].devices",
        "sites[2].devices",
    }
    assert all(problem.message.endswith("(in rules.toml)") for problem in problems.values())
    assert problems["rules[1].dayz"].remedy == "did you mean days?"
    assert problems["rulez"].remedy == "did you mean rules?"
    assert "one of image, video, metadata" in problems["rules[1].kind"].message


@pytest.mark.parametrize("value", [None, [], "rules", 3, {"rules": 3}, {"rules": [3]}])
def test_what_holds_no_rules_is_refused(value: object) -> None:
    with pytest.raises(InvalidInput):
        given_rules_in(value)


def test_the_ids_of_default_rules_belong_to_the_settings() -> None:
    given_rules = GivenRules((RetentionRule("default-image", 1),))
    with pytest.raises(InvalidInput, match=r"rules\[1\].rule_id.*image_retention_days"):
        given_rules.with_defaults(DEFAULTS)


def test_an_id_is_given_once() -> None:
    given_rules = GivenRules(
        (RetentionRule("a", 1), RetentionRule("b", 1), RetentionRule("a", 2)),
        (M30, Site("m30", ("x",))),
    )
    with pytest.raises(InvalidInput) as raised:
        given_rules.with_defaults(DEFAULTS)
    fields = [problem.field for problem in raised.value.problems]
    assert fields == ["rules[3].rule_id", "sites[2].site_id"]


def test_the_number_of_rules_is_limited() -> None:
    rules = tuple(RetentionRule(f"r{n}", 1) for n in range(MAX_RULES + 1))
    with pytest.raises(InvalidInput, match="has 1001 entries"):
        GivenRules(rules).with_defaults(DEFAULTS)


def test_in_what_two_sets_of_rules_differ() -> None:
    kept, removed, old = (RetentionRule(name, 5) for name in ("kept", "removed", "changed"))
    new, added = RetentionRule("changed", 6), RetentionRule("added", 7)
    before = RuleSet((*DEFAULTS, kept, removed, old))
    after = RuleSet((*DEFAULTS, kept, added, new), (M30,))
    difference = RulesDifference.between(before, after)
    assert difference == RulesDifference(
        (added,), (removed,), ((old, new),), are_sites_changed=True
    )
    assert difference
    assert not RulesDifference.between(before, before)
