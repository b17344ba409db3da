"""Keys, settings and completion: commands that open nothing."""

import hashlib
import shlex
import subprocess
from datetime import date
from pathlib import Path

import pytest

from tests.entrypoints.cli.command import Shell
from tests.support.canary import CANARY
from traffic_storage.domain.principal import Scope, parse_api_key
from traffic_storage.entrypoints.settings import StorageConfig


def test_a_key_is_shown_once_with_the_line_that_lets_it_in(shell: Shell, tmp_path: Path) -> None:
    result = shell("keys", "new", "--name", "camera-7")
    key = result.out.strip()
    line = next(line.strip() for line in result.err.splitlines() if "api_keys = " in line)
    file = tmp_path / "config.toml"
    file.write_text(line + "\n")

    assert StorageConfig.load(file, {}).api_keys == (
        f"camera-7:{hashlib.sha256(key.encode()).hexdigest()}",
    )
    assert key not in result.err
    assert len(key) >= 43


def test_no_two_keys_are_the_same(shell: Shell) -> None:
    keys = {shell("keys", "new", "--json").value["key"] for _ in range(5)}

    assert len(keys) == 5


def test_a_key_is_json_where_that_is_asked_for(shell: Shell) -> None:
    made = shell("keys", "new", "--name", "n", "--json").value

    assert made["setting"] == f"n:{hashlib.sha256(made['key'].encode()).hexdigest()}"


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a,b", "é", "x" * 65])
def test_a_name_that_no_key_can_have_is_refused(shell: Shell, name: str) -> None:
    assert "name" in shell("keys", "new", "--name", name, code=2).err


def test_a_key_has_scopes_devices_and_an_expiry(shell: Shell, tmp_path: Path) -> None:
    options = ("--scope", "evidence:write", "--scope", "hold", "--device", "cam 0*")
    made = shell("keys", "new", "camera-7", *options, "--expires", "2027-01-31", "--json").value
    key = parse_api_key(made["setting"])

    assert key.principal.scopes == {Scope.EVIDENCE_WRITE, Scope.HOLD}
    assert key.principal.devices == ("cam 0*",)
    assert key.expires == date(2027, 1, 31)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--scope", "everything"), "everything"),
        (("--expires", "soon"), "not a date"),
        (("--device", ""), "device pattern"),
    ],
)
def test_what_no_key_can_have_is_refused(
    shell: Shell, options: tuple[str, ...], words: str
) -> None:
    assert words in shell("keys", "new", "n", *options, code=2).err


def test_keys_of_settings_and_file_are_listed(shell: Shell, tmp_path: Path) -> None:
    lines = [
        shell("keys", "new", name, *options, "--json").value["setting"]
        for name, options in (("a", ()), ("b", ("--expires", "9999-01-01", "--device", "gate")))
    ]
    lines[1] = lines[1].replace("9999", "2020")
    keys, config = tmp_path / "keys", tmp_path / "config.toml"
    keys.write_text(f"# by file\n{lines[1]}\n")
    config.write_text(f'api_keys = ["{lines[0]}"]\napi_keys_file = "{keys}"\n')

    listed = shell("keys", "list", "--config", config, "--json").value
    assert [(key["name"], key["source"]) for key in listed] == [("a", "api_keys"), ("b", str(keys))]
    assert [key["expired"] for key in listed] == [False, True]
    text = shell("keys", "list", "--config", config).out
    assert "b  evidence:read, evidence:write  gate  until 2020-01-01 (expired)" in text
    assert not any(line.partition(":")[2][:64] in text for line in lines)
    keys.write_text("nonsense\n")
    assert "line 1" in shell("keys", "list", "--config", config, code=7).err


def test_no_key_is_made_that_has_expired(shell: Shell) -> None:
    failed = shell("keys", "new", "late", "--expires", "2020-01-01", code=2)
    assert "expires: 2020-01-01 has passed" in failed.err
    assert failed.out == ""


def test_the_line_for_the_environment_can_be_pasted_into_a_shell(shell: Shell) -> None:
    made = shell("keys", "new", "gate", "--scope", "evidence:write", "--device", "gate*")
    (line,) = [one.strip() for one in made.err.splitlines() if "TRAFFIC_STORAGE_API_KEYS=" in one]
    (assigned,) = shlex.split(line)
    assert assigned.removeprefix("TRAFFIC_STORAGE_API_KEYS=") in made.err.replace(line, "")


def test_settings_are_shown_with_source_and_without_secrets(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "own.toml"
    file.write_text(f's3_access_key = "{CANARY}"\nurl_signing_key = "{CANARY}"\n')
    monkeypatch.setenv("TRAFFIC_STORAGE_S3_SECRET_KEY", CANARY)

    text = shell("config", "show", "--config", file)
    shown = {
        line["name"]: line for line in shell("config", "show", "--config", file, "--json").value
    }

    assert CANARY not in text.out + text.err + repr(shown)
    assert shown["s3_access_key"]["source"] == str(file)
    assert shown["s3_secret_key"]["source"] == "TRAFFIC_STORAGE_S3_SECRET_KEY"
    assert shown["s3_secret_key"]["value"] == "********"
    assert all(name in text.out for name in shown)


def test_the_page_of_settings_shows_every_setting_as_it_is(shell: Shell) -> None:
    page = Path(__file__).parents[3] / "docs" / "settings.md"

    assert page.read_text() == shell("config", "reference").out


def test_the_place_of_the_settings_file_is_told(shell: Shell, tmp_path: Path) -> None:
    default = shell.home / ".config" / "traffic-storage" / "config.toml"
    own = tmp_path / "own.toml"
    own.touch()

    assert shell("config", "path").out == f"{default}\n"
    assert shell("config", "path", "--json").value == {"path": str(default), "exists": False}
    assert shell("config", "path", "--config", own, "--json").value == {
        "path": str(own),
        "exists": True,
    }


def test_a_settings_file_that_is_not_there_ends_with_7(shell: Shell, tmp_path: Path) -> None:
    result = shell("config", "show", "--config", tmp_path / "none.toml", code=7)

    assert "none.toml" in result.err


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_a_completion_script_knows_the_commands(shell: Shell, name: str) -> None:
    script = shell("completion", name).out

    assert "violations" in script
    assert "--base-path" in script


def test_bash_reads_the_completion_script(shell: Shell, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text(shell("completion", "bash").out)

    subprocess.run(["bash", "-n", script], check=True)
