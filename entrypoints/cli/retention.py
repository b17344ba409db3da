"""`traffic-storage retention`: the rules and their staged changes, and why a file is kept."""

import getpass
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import App

from traffic_storage.entrypoints.cli.confirm import Yes, confirmed
from traffic_storage.entrypoints.cli.output import (
    in_bytes,
    note,
    say,
    say_fields,
    say_json,
    say_table,
)
from traffic_storage.entrypoints.cli.session import (
    AsJson,
    Shared,
    opened,
    opened_to_read,
)

if TYPE_CHECKING:
    from traffic_storage.domain.retention_rules import RetentionRule
    from traffic_storage.entrypoints.retention_views import ExplanationView, StagedRulesView

app = App(name="retention", help="Retention rules, and why a file is kept.")
rules_app = App(name="rules", help="Show the retention rules, and change them in two steps.")
app.command(rules_app)


@rules_app.command(name="list")
async def list_rules(*, json: AsJson = False, session: Shared) -> None:
    """List the retention rules in force.

    Parameters
    ----------
    json:
        Print one JSON object.
    """
    from traffic_storage.entrypoints.retention_views import rules_view

    async with opened_to_read(session.container()) as container:
        entered = await container.rules_in_force().current()
    if json:
        say_json(rules_view(entered))
        return
    _say_rules(entered.rules.rules)
    since = entered.entered_at.isoformat()
    note(f"revision {entered.revision}, entered at {since} by {entered.entered_by}")


@rules_app.command
async def stage(
    file: Path | None = None, /, *, reason: str = "", json: AsJson = False, session: Shared
) -> None:
    """Show what other rules would do to the stored files; change nothing.

    The rules of FILE, with the default rules of the settings, would replace those in force.
    `retention rules enter` with the id that is shown puts them in force.

    Parameters
    ----------
    file:
        TOML file of rules; default: the setting retention_rules_file, or no further rules.
    reason:
        Why the rules change; it is kept.
    json:
        Print one JSON object.
    """
    from traffic_storage.entrypoints.cli.progress import FileBar
    from traffic_storage.entrypoints.retention_views import staged_view
    from traffic_storage.entrypoints.settings.retention_file import given_rules

    settings = session.settings()
    given = given_rules(settings, file)
    async with opened(session.container(settings)) as container:
        with FileBar("looking at files") as bar:
            staged, in_force = await container.change_rules().stage(
                given, by=user(), reason=reason, report=bar.show
            )
    view = staged_view(staged, in_force)
    if json:
        say_json(view)
    else:
        _say_staged(view)


@rules_app.command
async def enter(
    change_id: str, /, *, yes: Yes = False, json: AsJson = False, session: Shared
) -> None:
    """Put a staged change of the rules in force; a job then recomputes all files.

    Parameters
    ----------
    change_id:
        The id that `retention rules stage` has shown.
    yes:
        Do not ask.
    json:
        Print the rules as one JSON object.
    """
    from traffic_storage.entrypoints.retention_views import rules_view
    from traffic_storage.entrypoints.service.retention import uuid_of

    known = uuid_of("change_id", change_id)
    if not confirmed(f"Put the staged rules {known} in force?", yes=yes):
        return
    async with opened(session.container()) as container:
        entered = await container.change_rules().enter(known, by=user())
    if json:
        say_json(rules_view(entered))
    else:
        say(f"revision {entered.revision} is in force; a job recomputes the files")


@app.command
async def explain(file_id: str, /, *, json: AsJson = False, session: Shared) -> None:
    """Explain why a file is kept, until when, by which rule and clock, and what would change it.

    Parameters
    ----------
    file_id:
        The id of the file; it may be deleted.
    json:
        Print one JSON object.
    """
    from traffic_storage.entrypoints.retention_views import explanation_view

    async with opened_to_read(session.container()) as container:
        view = explanation_view(await container.explain()(file_id))
    if json:
        say_json(view)
    else:
        _say_explanation(view)


def user() -> str:
    """Return the name of the user of this machine, under which changes are recorded."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):
        return "cli"


def _say_rules(rules: "tuple[RetentionRule, ...]") -> None:
    rows = [
        (
            rule.rule_id,
            str(rule.days),
            ", ".join(f"{name} {value}" for name, value in rule.conditions.items()) or "any",
            rule.legal_source,
        )
        for rule in rules
    ]
    say_table(("RULE", "DAYS", "FILES", "LEGAL SOURCE"), rows)


def _say_staged(view: "StagedRulesView") -> None:
    for word, rules in (("added", view["added"]), ("removed", view["removed"])):
        for rule in rules:
            say(f"{word} {rule['rule_id']}: {rule['days']} days")
    for change in view["changed"]:
        before, after = change["before"], change["after"]
        say(f"changed {after['rule_id']}: {before['days']} days, then {after['days']} days")
    if view["sites_changed"]:
        say("the sites differ")
    say(f"{view['effect']['summary']} ({in_bytes(view['effect']['due_bytes'])} due)")
    note(f"nothing is changed; to put it in force: retention rules enter {view['change_id']}")


def _say_explanation(view: "ExplanationView") -> None:
    say_fields(
        {
            "file_id": view["file_id"],
            "state": view["state"],
            "keep until": view["keep_until"],
            "rule": view["retention_rule"],
            "due": "yes" if view["is_due"] else "no",
        }
    )
    say("\nwhy:")
    for sentence in view["why"]:
        say(f"  {sentence}")
    say("\nwhat would change it:")
    for sentence in view["would_change"] or ["nothing"]:
        say(f"  {sentence}")
