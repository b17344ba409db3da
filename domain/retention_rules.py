"""Retention rules: data that say how long files are kept, and the choice of the rule of a file.

Of all rules that apply to a file, the one with the longest period decides. So the order of rules
means nothing, and a further rule never shortens the retention of any file.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import TypeAlias

from attrs import Factory, field, frozen

from traffic_storage.domain.errors import FieldProblem, InvalidInput, shown
from traffic_storage.domain.files import FileKind
from traffic_storage.domain.identifiers import text_problem

MAX_DAYS = 36_500
MAX_RULES = 1000
MAX_SITES = 10_000
MAX_PRIORITY = 1_000_000
_LONG_TEXT = 1024
_REMEMBERED = 10_000

DEFAULT_PREFIX = "default-"
"""The ids of the default rules begin with this; other rules can't have such an id."""


def default_rule_id(kind: FileKind) -> str:
    """Return the id of the default rule of a kind of files."""
    return f"{DEFAULT_PREFIX}{kind}"


@frozen
class RetentionFacts:
    """What the rules ask about a file. `violation_type` is None while no violation is known."""

    kind: FileKind
    device_id: str | None = None
    violation_type: str | None = None


@frozen
class Site:
    """A place with devices.

    Attributes:
        devices: shell patterns (`cam_m30_*`) of the ids of the devices at the site.
        jurisdiction: whose law applies at the site, as the code of a country or a part of one
            (`ES`, `ES-MD`, ISO 3166).
    """

    site_id: str
    devices: tuple[str, ...]
    jurisdiction: str | None = None

    def __attrs_post_init__(self) -> None:
        problems = [
            text_problem("site_id", self.site_id),
            None if self.devices else FieldProblem("devices", "is empty", "name device patterns"),
            *(text_problem(f"devices[{n}]", one) for n, one in enumerate(self.devices, 1)),
            _optional_text("jurisdiction", self.jurisdiction),
        ]
        _raise(problems)

    def has(self, device_id: str | None) -> bool:
        """Return whether a device is at this site."""
        return device_id is not None and any(fnmatchcase(device_id, one) for one in self.devices)


@frozen
class RetentionRule:
    """Files that meet all given conditions are kept for at least `days` days.

    A condition of None is met by every file. Without a device id, a file meets no condition on the
    device, the site or the jurisdiction; without a known violation, none on its type.

    Attributes:
        violation_type: the type of the violation that the file belongs to.
        device: a shell pattern (`cam_0*`) of device ids.
        site: a shell pattern of the ids of sites (`Site`).
        jurisdiction: the jurisdiction of the site; a rule for `ES` also applies in `ES-MD`.
        legal_source: the law or the decision that the period comes from, in words.
        priority: which of several rules with the longest period is named as the reason: the one
            with the highest priority. It never changes how long a file is kept.
    """

    rule_id: str
    days: int
    kind: FileKind | None = None
    violation_type: str | None = None
    device: str | None = None
    site: str | None = None
    jurisdiction: str | None = None
    legal_source: str = ""
    priority: int = 0

    def __attrs_post_init__(self) -> None:
        _raise(
            [
                text_problem("rule_id", self.rule_id),
                _whole_problem("days", self.days, 1, MAX_DAYS),
                _optional_text("violation_type", self.violation_type),
                _optional_text("device", self.device),
                _optional_text("site", self.site),
                _optional_text("jurisdiction", self.jurisdiction),
                text_problem("legal_source", self.legal_source, _LONG_TEXT)
                if self.legal_source
                else None,
                _whole_problem("priority", self.priority, -MAX_PRIORITY, MAX_PRIORITY),
            ]
        )

    @property
    def period(self) -> timedelta:
        """How long files are kept."""
        return timedelta(days=self.days)

    @property
    def is_default(self) -> bool:
        """Whether this is a default rule: its period is a setting."""
        return self.rule_id.startswith(DEFAULT_PREFIX)

    @property
    def conditions(self) -> Mapping[str, str]:
        """The conditions that the rule sets, by name."""
        names = ("kind", "violation_type", "device", "site", "jurisdiction")
        given = {name: getattr(self, name) for name in names}
        return {name: str(value) for name, value in given.items() if value is not None}

    def applies(self, facts: RetentionFacts, sites: Iterable[Site]) -> bool:
        """Return whether the rule applies to a file; `sites` are those of the file's device."""
        return (
            self.kind in (None, facts.kind)
            and self.violation_type in (None, facts.violation_type)
            and _matches(self.device, facts.device_id)
            and self._is_of_a_site(sites)
        )

    def in_words(self) -> str:
        """Return the rule as one line of text."""
        conditions = ", ".join(f"{name} {value}" for name, value in self.conditions.items())
        source = f" ({self.legal_source})" if self.legal_source else ""
        return f"{self.rule_id}: {self.days} {'day' if self.days == 1 else 'days'} for {conditions or 'every file'}{source}"

    def _is_of_a_site(self, sites: Iterable[Site]) -> bool:
        if self.site is None and self.jurisdiction is None:
            return True
        return any(
            _matches(self.site, site.site_id) and _is_within(site.jurisdiction, self.jurisdiction)
            for site in sites
        )


_Choosing: TypeAlias = Callable[[RetentionFacts], tuple[RetentionRule, ...]]


def _choosing(rule_set: "RuleSet") -> _Choosing:
    # A walk over all files asks the same few combinations of kind, device and type again and again.
    return lru_cache(_REMEMBERED)(rule_set.chosen)


@frozen
class RuleSet:
    """All retention rules that are in force together. At least one applies to each file.

    Raises:
        InvalidInput: two rules or sites have one id, or a kind of files has no rule without
            further conditions.
    """

    rules: tuple[RetentionRule, ...]
    sites: tuple[Site, ...] = ()
    _remembered: _Choosing = field(
        init=False,
        eq=False,
        repr=False,
        default=Factory(_choosing, takes_self=True),
    )

    def __attrs_post_init__(self) -> None:
        _raise(_problems_of(self.rules, self.sites))
        for kind in FileKind:
            if not self.chosen(RetentionFacts(kind)):
                raise InvalidInput.of(
                    "rules", f"none applies to every {kind} file", f"add one for kind {kind}"
                )

    @property
    def needs_violation_type(self) -> bool:
        """Whether a rule has a condition on the type of the violation."""
        return any(rule.violation_type is not None for rule in self.rules)

    def sites_of(self, device_id: str | None) -> tuple[Site, ...]:
        """Return the sites of a device."""
        return tuple(site for site in self.sites if site.has(device_id))

    def applicable(self, facts: RetentionFacts) -> tuple[RetentionRule, ...]:
        """Return the rules that apply to a file; the first one decides.

        The longest period comes first, then the highest priority, then the lowest id.
        """
        return self._remembered(facts)

    def chosen(self, facts: RetentionFacts) -> tuple[RetentionRule, ...]:
        """Return the same as `applicable`, always computed anew."""
        sites = self.sites_of(facts.device_id)
        found = [rule for rule in self.rules if rule.applies(facts, sites)]
        return tuple(sorted(found, key=lambda one: (-one.days, -one.priority, one.rule_id)))

    def rule(self, rule_id: str) -> RetentionRule | None:
        """Return the rule with this id; None if there is none."""
        return next((rule for rule in self.rules if rule.rule_id == rule_id), None)


@frozen
class GivenRules:
    """Rules and sites as an operator writes them, without the default rules."""

    rules: tuple[RetentionRule, ...] = ()
    sites: tuple[Site, ...] = ()

    def with_defaults(self, defaults: Iterable[RetentionRule]) -> RuleSet:
        """Return these rules together with the default rules.

        Raises:
            InvalidInput: a rule has the id of a default rule, or two rules or sites have one id.
        """
        _raise(
            FieldProblem(
                f"rules[{n}].rule_id",
                f"is {shown(rule.rule_id)}; ids that begin with {DEFAULT_PREFIX!r} belong to the "
                "settings image_retention_days, video_retention_days and metadata_retention_days",
                "use another id, or change the setting",
            )
            for n, rule in enumerate(self.rules, 1)
            if rule.is_default
        )
        _raise(_problems_of(self.rules, self.sites))
        return RuleSet((*defaults, *self.rules), self.sites)


@frozen
class RulesDifference:
    """In what two sets of rules differ: the rules that were added, removed and changed."""

    added: tuple[RetentionRule, ...] = ()
    removed: tuple[RetentionRule, ...] = ()
    changed: tuple[tuple[RetentionRule, RetentionRule], ...] = ()
    are_sites_changed: bool = False

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed or self.are_sites_changed)

    @classmethod
    def between(cls, before: RuleSet, after: RuleSet) -> "RulesDifference":
        """Return the difference between the rules in force and others."""
        old = {rule.rule_id: rule for rule in before.rules}
        new = {rule.rule_id: rule for rule in after.rules}
        return cls(
            tuple(new[name] for name in sorted(new.keys() - old.keys())),
            tuple(old[name] for name in sorted(old.keys() - new.keys())),
            tuple(
                (old[name], new[name])
                for name in sorted(old.keys() & new.keys())
                if old[name] != new[name]
            ),
            set(before.sites) != set(after.sites),
        )


def _matches(pattern: str | None, text: str | None) -> bool:
    return pattern is None or (text is not None and fnmatchcase(text, pattern))


def _is_within(jurisdiction: str | None, wanted: str | None) -> bool:
    """Return whether a jurisdiction is the wanted one or a part of it, as `ES-MD` is of `ES`."""
    if wanted is None:
        return True
    return jurisdiction is not None and f"{jurisdiction}-".startswith(f"{wanted}-")


def _problems_of(
    rules: Sequence[RetentionRule], sites: Sequence[Site]
) -> Iterator[FieldProblem | None]:
    yield _count_problem("rules", len(rules), MAX_RULES)
    yield _count_problem("sites", len(sites), MAX_SITES)
    yield from _repeated("rules", "rule_id", [rule.rule_id for rule in rules])
    yield from _repeated("sites", "site_id", [site.site_id for site in sites])


def _repeated(table: str, name: str, ids: Sequence[str]) -> Iterator[FieldProblem]:
    first: dict[str, int] = {}
    for place, one in enumerate(ids, 1):
        if (known := first.setdefault(one, place)) != place:
            message = f"is {shown(one)}, as that of {table}[{known}]"
            yield FieldProblem(f"{table}[{place}].{name}", message, "give each a different one")


def _count_problem(table: str, count: int, most: int) -> FieldProblem | None:
    return (
        FieldProblem(table, f"has {count} entries", f"give {most} at most")
        if count > most
        else None
    )


def _optional_text(name: str, value: object) -> FieldProblem | None:
    return None if value is None else text_problem(name, value)


def _whole_problem(name: str, value: object, low: int, high: int) -> FieldProblem | None:
    if type(value) is int and low <= value <= high:
        return None
    return FieldProblem(name, f"must be a whole number from {low} to {high}, not {shown(value)}")


def _raise(problems: Iterable[FieldProblem | None]) -> None:
    if found := [problem for problem in problems if problem]:
        raise InvalidInput(found)
