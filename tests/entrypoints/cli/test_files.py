"""`files`: what was stored is listed by filters and pages, and described."""

import asyncio
from pathlib import Path

import pytest

from tests.entrypoints.cli.command import Shell
from traffic_storage import StorageConfig, StorageService


@pytest.fixture
def stored(shell: Shell) -> Shell:
    """Five documents of two cameras; the even ones name a violation."""

    async def fill() -> None:
        async with StorageService(StorageConfig(local_base_path=shell.base)) as storage:
            for number in range(5):
                metadata = {"device_id": f"cam-{number % 2}"}
                if number % 2 == 0:
                    metadata["violation_id"] = "V001"
                await storage.store_metadata({"n": number}, f"n{number}", metadata=metadata)

    asyncio.run(fill())
    return shell


def ids(shell: Shell, *arguments: str) -> set[str]:
    return {line["file_id"] for line in shell("files", "--json", *arguments).lines}


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ((), {"n0", "n1", "n2", "n3", "n4"}),
        (("--device-id", "cam-1"), {"n1", "n3"}),
        (("--violation-id", "V001"), {"n0", "n2", "n4"}),
        (("--kind", "metadata", "--device-id", "cam-0"), {"n0", "n2", "n4"}),
        (("--kind", "video"), set()),
        (("--state", "tombstoned"), set()),
        (("--end", "2020-01-01"), set()),
        (("--start", "2020-01-01T00:00"), {"n0", "n1", "n2", "n3", "n4"}),
    ],
)
def test_files_are_listed_by_filters(
    stored: Shell, arguments: tuple[str, ...], found: set[str]
) -> None:
    assert ids(stored, *arguments) == found


@pytest.mark.parametrize("as_json", [True, False])
def test_it_says_when_there_are_more(stored: Shell, as_json: bool) -> None:
    options = ("--json",) if as_json else ()
    part = stored("files", "--limit", "2", *options)
    assert len(part.out.splitlines()) == (2 if as_json else 3)
    assert "there are more files: --all" in part.err
    whole = stored("files", "--limit", "2", "--all", *options)
    assert len(whole.out.splitlines()) == (5 if as_json else 6)
    assert "more" not in whole.err
    assert "more" not in stored("files", "--limit", "5", *options).err


def test_people_get_a_table(stored: Shell) -> None:
    header, *rows = stored("files", "--violation-id", "V001").out.splitlines()
    assert header.split() == ["received", "file", "type", "size", "device", "violation", "where"]
    assert len(rows) == 3
    assert all("V001" in row and "local (present)" in row for row in rows)


def test_nothing_found_is_no_error(stored: Shell) -> None:
    result = stored("files", "--device-id", "cam-9")
    assert (result.out, "no files" in result.err) == ("", True)


def test_one_is_shown(stored: Shell) -> None:
    view = stored("files", "show", "n1", "--json").value
    assert (view["file_id"], view["device_id"], view["state"]) == ("n1", "cam-1", "available")
    assert "local (present)" in stored("files", "show", "n1").out


@pytest.mark.parametrize(("file_id", "code"), [("n9", 4), ("a~b", 2), ("..", 2)])
def test_one_that_is_not_there_is_not_shown(stored: Shell, file_id: str, code: int) -> None:
    stored("files", "show", file_id, code=code)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--limit", "0"), "limit"),
        (("--start", "then"), "start"),
        (("--kind", "sound"), "sound"),
        (("--violation-id", "a~b"), "violation_id"),
    ],
)
def test_a_wrong_filter_ends_with_2(shell: Shell, arguments: tuple[str, ...], said: str) -> None:
    assert said in shell("files", *arguments, code=2).err
    assert not shell.base.exists()


def test_a_stored_path_gives_its_name(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "count of the night.json"
    path.write_text("{}")
    stored = shell("store", str(path), "--json").lines[0]
    assert stored["file"]["original_name"] == "count of the night.json"
