"""`violations` and `stats`: what was stored is found and counted."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.application.rig import picture
from tests.entrypoints.cli.command import Shell
from traffic_storage import StorageConfig, StorageService, ViolationRecord

START = datetime(2026, 3, 1, 10, 0, tzinfo=UTC)


def record(number: int) -> ViolationRecord:
    """A violation; every second one is of the other camera, an hour after the one before."""
    return ViolationRecord(
        violation_id=f"V{number:03}",
        device_id=f"cam-{number % 2}",
        violation_type="speed" if number % 3 else "red_light",
        timestamp=START + timedelta(hours=number),
        vehicle_bbox=[1, 2, 3, 4],
        vehicle_class="van" if number == 4 else "car",
        confidence=0.5 + number / 100,
        camera_info={"location": "Main St"},
    )


@pytest.fixture
def stored(shell: Shell) -> Shell:
    """Seven violations without files."""

    async def fill() -> None:
        async with StorageService(StorageConfig(local_base_path=shell.base)) as storage:
            for number in range(7):
                await storage.store_violation_evidence(violation_record=record(number))

    asyncio.run(fill())
    return shell


def with_image(shell: Shell) -> None:
    """Store V000 with an image."""

    async def fill() -> None:
        async with StorageService(StorageConfig(local_base_path=shell.base)) as storage:
            await storage.store_violation_evidence(record(0), picture())

    asyncio.run(fill())


def ids(shell: Shell, *arguments: str) -> list[str]:
    return [line["violation_id"] for line in shell("violations", "--json", *arguments).lines]


def test_the_newest_come_first(stored: Shell) -> None:
    assert ids(stored) == [f"V{number:03}" for number in reversed(range(7))]


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (("--device-id", "cam-1"), ["V005", "V003", "V001"]),
        (("--violation-type", "red_light"), ["V006", "V003", "V000"]),
        (("--vehicle-class", "van"), ["V004"]),
        (("--min-confidence", "0.55"), ["V006", "V005"]),
        (("--max-confidence", "0.51"), ["V001", "V000"]),
        (("--start", "2026-03-01T15:00:00Z"), ["V006", "V005"]),
        (("--end", "2026-03-01T11:00:00+00:00"), ["V000"]),
        (("--start", "2026-03-01T13:00", "--end", "2026-03-01T14:00"), ["V003"]),
        (("--limit", "2"), ["V006", "V005"]),
        (("--limit", "2", "--all"), [f"V{number:03}" for number in reversed(range(7))]),
        (("--device-id", "nobody"), []),
    ],
)
def test_filters_narrow_it(stored: Shell, arguments: tuple[str, ...], found: list[str]) -> None:
    assert ids(stored, *arguments) == found


def test_a_time_without_zone_is_read_in_the_setting(
    stored: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAFFIC_STORAGE_TIMEZONE", "Europe/Madrid")

    assert ids(stored, "--end", "2026-03-01T12:00") == ["V000"]


@pytest.mark.parametrize(
    ("start", "end", "found"),
    [
        ("2026-03-01", "2026-03-01", 7),
        ("20260301", "20260301", 7),
        ("2026-02-28", "2026-02-28", 0),
        ("2026-03-02", "9999-12-31", 0),
        ("2026-03-01", "2026-03-01T00:00", 0),
    ],
)
def test_a_day_as_the_end_is_included(stored: Shell, start: str, end: str, found: int) -> None:
    assert len(ids(stored, "--start", start, "--end", end)) == found


def test_times_are_printed_in_the_zone_in_which_filters_are_read(
    stored: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAFFIC_STORAGE_TIMEZONE", "Asia/Tokyo")

    row = stored("violations", "--limit", "1").out.splitlines()[1]
    shown = stored("violations", "show", "V006").out

    assert row.startswith("2026-03-02T01:00:00+09:00")
    assert "timestamp           2026-03-02T01:00:00+09:00" in shown
    assert len(ids(stored, "--start", "2026-03-02", "--end", "2026-03-02")) == 2
    assert len(stored("files", "--limit", "1").out.split("+09:00")) == 2


def test_all_of_them_come_page_by_page(stored: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("traffic_storage.domain.query.MAX_LIMIT", 3)

    lines = stored("violations", "--all").out.splitlines()

    assert [line.split()[1] for line in lines[1:]] == [f"V{n:03}" for n in reversed(range(7))]


def test_a_deleted_image_is_shown_as_deleted(shell: Shell) -> None:
    with_image(shell)
    assert shell("violations").out.rstrip().endswith(" image")
    shell("delete", "V000~image", "wrong car", "--override", "--yes")
    assert shell("violations").out.rstrip().endswith(" image (deleted)")


def test_people_get_a_table(stored: Shell) -> None:
    out = stored("violations", "--limit", "1").out

    assert out.splitlines()[0].split()[:3] == ["time", "violation", "device"]
    assert "V006" in out
    assert "incomplete" in out


def test_it_says_when_there_are_more(stored: Shell) -> None:
    assert "there are more violations: --all" in stored("violations", "--limit", "6").err
    assert "more" not in stored("violations", "--limit", "7").err
    assert "more" not in stored("violations", "--limit", "2", "--all").err


def test_nothing_found_is_no_error(stored: Shell) -> None:
    result = stored("violations", "--device-id", "cam-9")

    assert result.out == ""
    assert "no violations" in result.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--limit", "0"), "limit"),
        (("--limit", "1001"), "limit"),
        (("--start", "then"), "start"),
        (("--min-confidence", "1.5"), "min_confidence"),
        (("--device-id", " "), "device_id"),
    ],
)
def test_a_wrong_filter_ends_with_2(shell: Shell, arguments: tuple[str, ...], said: str) -> None:
    assert said in shell("violations", *arguments, code=2).err
    assert not shell.base.exists()


def test_one_is_shown_with_its_files(stored: Shell) -> None:
    out = stored("violations", "show", "V004").out
    as_json = stored("violations", "show", "V004", "--json").value

    assert "V004~metadata" in out
    assert '{"location": "Main St"}' in out
    assert as_json["violation"]["vehicle_class"] == "van"
    assert [file["file_id"] for file in as_json["files"]] == ["V004~metadata"]


def test_its_own_files_are_shown_before_some_or_all_that_name_it(
    stored: Shell, tmp_path: Path
) -> None:
    for number in range(3):
        (tmp_path / f"{number}.json").write_text(f'{{"n": {number}}}')
        stored("store", tmp_path / f"{number}.json", "--violation-id", "V004")

    some = stored("violations", "show", "V004", "--limit", "2")
    every = stored("violations", "show", "V004", "--all", "--json").value

    assert "V004~metadata" in some.out
    assert "there are more files" in some.err
    assert [len(every["files"]), every["more"]] == [4, False]
    assert every["files"][0]["file_id"] == "V004~metadata"


@pytest.mark.parametrize(("violation_id", "code"), [("V999", 4), ("V1~image", 2), ("..", 2)])
def test_one_that_is_not_there_is_not_shown(stored: Shell, violation_id: str, code: int) -> None:
    stored("violations", "show", violation_id, code=code)


def test_statistics_count_what_is_there(stored: Shell) -> None:
    as_json = stored("stats", "--json").value
    out = stored("stats").out

    assert as_json["database"]["violations"] == 7
    assert as_json["local_storage"]["files"] == 7
    assert as_json["local_storage"]["by_kind"]["metadata"]["files"] == 7
    assert not as_json["cloud_storage"]["configured"]
    assert "violations  7" in out
    assert sum(day["files"] for day in as_json["growth"]) == 7
    assert len(as_json["growth"]) == 7
    assert "in the last 7 days" in out
    assert "not configured" in out
