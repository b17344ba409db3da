"""`traffic-storage retention` and `cleanup`: rules, plans, and why a file is kept."""

from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import App

from traffic_storage.domain.amounts import counted, in_bytes
from traffic_storage.entrypoints.cli.asking import actor
from traffic_storage.entrypoints.cli.confirm import Yes, confirmed
from traffic_storage.entrypoints.cli.output import note, say, say_fields, say_json, say_table
from traffic_storage.entrypoints.cli.session import (
    AsJson,
    Flag,
    Shared,
    opened,
    opened_to_read,
)

if TYPE_CHECKING:
    from traffic_storage.domain.retention_rules import RetentionRule
    from traffic_storage.entrypoints.retention_views import (
        CleanUpView,
        ExplanationView,
        PlanView,
        RetentionView,
        StagedRulesView,
    )

app = App(name="retention", help="Retention: rules, plans, explanations.")
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
                given, by=actor(), reason=reason, report=bar.show
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
    async with opened_to_read(session.container()) as container:
        entered = await container.change_rules().enter(known, by=actor())
    if json:
        say_json(rules_view(entered))
    else:
        say(f"revision {entered.revision} is in force; a job recomputes the files")


@app.command
async def plan(*, json: AsJson = False, session: Shared) -> None:
    """Show how much retention would delete now, by rule and kind; delete nothing.

    Parameters
    ----------
    json:
        Print one JSON object.
    """
    from traffic_storage.entrypoints.cli.progress import FileBar
    from traffic_storage.entrypoints.retention_views import plan_view

    async with opened_to_read(session.container()) as container:
        with FileBar("planning") as bar:
            view = plan_view(await container.retain().plan(by=actor(), report=bar.show))
    if json:
        say_json(view)
        return
    _say_plan(view)
    if view["files"]:
        note(f"nothing is deleted; to delete it: retention apply {view['plan_id']}")
    else:
        note(f"nothing is due; the plan {view['plan_id']} deletes nothing")


@app.command
async def apply(
    plan_id: str | None = None,
    /,
    *,
    override_limit: Flag = False,
    dry_run: Flag = False,
    yes: Yes = False,
    json: AsJson = False,
    session: Shared,
) -> None:
    """Delete what is due by a plan, then erase what has passed its grace.

    Each file is looked at again. What is deleted can be undeleted until its grace ends
    (deletion_grace_days); what is under legal hold stays.

    Parameters
    ----------
    plan_id:
        The id that `retention plan` has shown; default: a new plan.
    override_limit:
        Apply the plan although it is larger than max_deletion_share and max_deletion_files.
    dry_run:
        Show the plan, and delete nothing.
    yes:
        Do not ask.
    json:
        Print one JSON object.
    """
    from traffic_storage.entrypoints.cli.progress import FileBar
    from traffic_storage.entrypoints.retention_views import plan_view, retention_view
    from traffic_storage.entrypoints.service.retention import uuid_of

    async with opened_to_read(session.container()) as container:
        retain = container.retain()
        if plan_id is None:
            reviewed = await retain.plan(by=actor())
        else:
            reviewed = await retain.find_plan(uuid_of("plan_id", plan_id))
        view = plan_view(reviewed)
        if dry_run:
            say_json(view) if json else _say_plan(view)
            return
        what = (
            f"Delete {counted(view['files'], 'file')} ({in_bytes(view['bytes'])}) "
            f"by plan {view['plan_id']}?"
        )
        if not confirmed(what, yes=yes):
            return
        with FileBar("deleting") as bar:
            done = await retain.apply(
                reviewed.plan_id, by=actor(), override_limit=override_limit, report=bar.show
            )
    if json:
        say_json(retention_view(done))
        return
    _say_deleted(retention_view(done), done.violations_deleted, "deleted")


async def cleanup(
    *,
    dry_run: Flag = False,
    override_limit: Flag = False,
    yes: Yes = False,
    json: AsJson = False,
    session: Shared,
) -> None:
    """Delete what retention allows, erase what has passed its grace, and empty the quarantine.

    Parameters
    ----------
    dry_run:
        Show what would be removed, and remove nothing.
    override_limit:
        Delete although it is larger than max_deletion_share and max_deletion_files.
    yes:
        Do not ask.
    json:
        Print one JSON object.
    """
    from traffic_storage.entrypoints.cli.progress import FileBar
    from traffic_storage.entrypoints.retention_views import clean_up_view

    async with opened_to_read(session.container()) as container:
        clean_up = container.clean_up()
        if not dry_run and not yes:
            expected = clean_up_view(await clean_up(by=actor()))
            what = (
                f"Delete {counted(expected['files_deleted'], 'file')}, "
                f"free {in_bytes(expected['bytes_freed'])}?"
            )
            if not confirmed(what, yes=yes):
                return
        with FileBar("cleaning up") as bar:
            view = clean_up_view(
                await clean_up(
                    by=actor(), dry_run=dry_run, override_limit=override_limit, report=bar.show
                )
            )
    if json:
        say_json(view)
    else:
        _say_cleaned_up(view)


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
            say(f"{word} {rule['rule_id']}: {counted(rule['days'], 'day')}")
    for change in view["changed"]:
        before, after = change["before"], change["after"]
        say(
            f"changed {after['rule_id']}: {counted(before['days'], 'day')}, then "
            f"{counted(after['days'], 'day')}"
        )
    if view["sites_changed"]:
        say("the sites differ")
    say(f"{view['effect']['summary']} ({in_bytes(view['effect']['due_bytes'])} due)")
    note(f"nothing is changed; to put it in force: retention rules enter {view['change_id']}")


def _say_plan(view: "PlanView") -> None:
    rows = [
        (line["rule"], line["kind"], str(line["files"]), in_bytes(line["bytes"]))
        for line in view["lines"]
    ]
    rows.append(("all", "", str(view["files"]), in_bytes(view["bytes"])))
    say_table(("RULE", "KIND", "FILES", "SIZE"), rows)
    say(f"held: {counted(view['held']['files'], 'file')}, {in_bytes(view['held']['bytes'])}")
    for why, amount in view["excluded"].items():
        say(f"not deleted: {counted(amount['files'], 'file')}: {why}")


def _say_deleted(view: "RetentionView | CleanUpView", violations: int, verb: str) -> None:
    say(
        f"{verb} {counted(view['files_deleted'], 'file')} and {counted(violations, 'violation')}; "
        f"{in_bytes(view['bytes_freed'])} freed, {in_bytes(view['bytes_pending'])} freed when the "
        f"grace ends; {view['held']} held"
    )
    for reason, count in view["skipped"].items():
        say(f"skipped {count}: {reason}")


def _say_cleaned_up(view: "CleanUpView") -> None:
    would = "would be " if view["dry_run"] else ""
    _say_deleted(view, view["records_deleted"], "would delete" if would else "deleted")
    say(
        f"of the files, {view['local_files_deleted']} had a local copy and "
        f"{view['cloud_files_deleted']} one in the cloud"
    )
    say(f"{would}removed from the quarantine: {counted(view['quarantine_removed'], 'blob')}")
    say(f"{would}undone: {counted(view['operations_undone'], 'interrupted operation')}")
    note(f"plan {view['plan_id']}")


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
