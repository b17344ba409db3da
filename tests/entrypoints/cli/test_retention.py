"""`retention`: rules are listed, staged and entered; a file is explained."""

import re
from pathlib import Path

from tests.entrypoints.cli.command import Shell
from tests.support.media import shipped_jpeg
from traffic_storage.entrypoints.cli.exit_codes import ExitCode


def test_rules_are_staged_then_entered(shell: Shell, tmp_path: Path) -> None:
    picture, rules = tmp_path / "a.jpg", tmp_path / "rules.toml"
    picture.write_bytes(shipped_jpeg())
    rules.write_text('[[rules]]\nrule_id = "long"\ndays = 700\nlegal_source = "art. 5"\n')
    shell("store", str(picture), "--file-id", "a")
    assert "default-image" in shell("retention", "rules", "list").out
    staged = shell("retention", "rules", "stage", str(rules), "--reason", "a law")
    assert "added long: 700 days" in staged.out
    assert "makes 0 files due, 0 of them held; of 1 file, 0 are kept" in staged.out
    (shown,) = shell("retention", "rules", "stage", str(rules), "--json").lines
    change_id = shown["change_id"]
    refused = shell("retention", "rules", "enter", change_id, code=ExitCode.USAGE)
    assert "--yes" in refused.err
    entered = shell("retention", "rules", "enter", change_id, "--yes")
    assert "revision 2 is in force" in entered.out
    assert "art. 5" in shell("retention", "rules", "list").out
    (found,) = shell("retention", "explain", "a", "--json").lines
    assert [rule["rule_id"] for rule in found["rules"]] == ["long", "default-image"]
    told = shell("retention", "explain", "a").out
    assert "why:" in told
    assert "what would change it:" in told


def test_wrong_input_is_told(shell: Shell, tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text('[[rules]]\nrule_id = "long"\ndayz = 700\n')
    wrong = shell("retention", "rules", "stage", str(rules), code=ExitCode.CONFIGURATION)
    assert "rules[1].dayz" in wrong.err
    assert "did you mean days?" in wrong.err
    shell("retention", "rules", "enter", "x", "--yes", code=ExitCode.USAGE)
    shell("retention", "explain", "unknown", code=ExitCode.NOT_FOUND)


def test_retention_is_planned_then_applied(shell: Shell, tmp_path: Path) -> None:
    picture = tmp_path / "a.jpg"
    picture.write_bytes(shipped_jpeg())
    old = ("--captured-at", "2001-01-01T00:00:00", "--historic")
    shell("store", str(picture), "--file-id", "a", *old)
    (plan,) = shell("retention", "plan", "--json").lines
    assert (plan["files"], plan["lines"][0]["rule"]) == (1, "default-image")
    shown = shell("retention", "plan")
    assert ("default-image" in shown.out, "retention apply " in shown.err) == (True, True)
    shell("retention", "apply", plan["plan_id"], code=ExitCode.USAGE)
    assert "default-image" in shell("retention", "apply", plan["plan_id"], "--dry-run").out
    (counted,) = shell("cleanup", "--dry-run", "--json").lines
    assert (counted["dry_run"], counted["local_files_deleted"]) == (True, 1)
    done = shell("retention", "apply", plan["plan_id"], "--yes")
    assert done.out.startswith("deleted 1 file and 0 violations")
    nothing = shell("retention", "plan")
    (names,) = re.findall(r"the plan ([0-9a-f-]{36}) deletes nothing", nothing.err)
    assert shell("retention", "apply", names, "--dry-run").out.startswith("RULE")
    assert "it was deleted at" in shell("retention", "explain", "a").out
    would = shell("cleanup", "--dry-run").out
    told = shell("cleanup", "--yes").out
    assert would.startswith("would delete 0 files and 0 violations; 0 B freed")
    assert told.startswith("deleted 0 files and 0 violations; 0 B freed")
    for text in (would, told):
        assert not re.search(r"True|False|None|[{}\[\]]", text)
    (cleaned,) = shell("cleanup", "--yes", "--json").lines
    assert (cleaned["dry_run"], cleaned["local_files_deleted"]) == (False, 0)
