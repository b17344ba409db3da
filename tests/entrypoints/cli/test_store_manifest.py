"""`store --manifest`: rows of a table or of JSON Lines, told by their lines, and resumable."""

import json
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.entrypoints.cli.command import Program, Result, Shell, ended, interrupt, read_until
from tests.entrypoints.cli.test_store import jpeg
from tests.support.media import video
from traffic_storage.entrypoints.cli.exit_codes import ExitCode

HEADER = (
    "path,file_id,device_id,captured_at,metadata,violation_id,violation_type,timestamp,"
    "vehicle_bbox,vehicle_class,confidence,camera_info,image,video"
)
V1 = ',,cam-1,,,V1,speed,2026-11-01T12:00:00Z,"[1,2,30,40]",car,0.9,"{""lane"": 2}",a.jpg,film.mp4'


def violation(number: int, **changes: Any) -> dict[str, Any]:
    """A row of a violation."""
    row: dict[str, Any] = {
        "violation_id": f"V{number:04d}",
        "device_id": "cam-1",
        "violation_type": "speed",
        "timestamp": (datetime(2026, 11, 1, tzinfo=UTC) + timedelta(seconds=number)).isoformat(),
        "vehicle_bbox": [1, 2, 30, 40],
        "vehicle_class": "car",
        "confidence": 0.9,
    }
    return {name: value for name, value in (row | changes).items() if value is not None}


def lines(path: Path, rows: list[dict[str, Any] | str]) -> Path:
    """A manifest of JSON Lines."""
    path.write_text(
        "".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows)
    )
    return path


def results(result: Result) -> dict[int, str]:
    """What became of each line."""
    return {one["line"]: one["result"] for one in result.lines if "line" in one}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with evidence."""
    folder = tmp_path / "evidence"
    folder.mkdir()
    for name, tone in {"a.jpg": 1, "b.jpg": 2, "cam_20261101_120005.jpg": 3}.items():
        (folder / name).write_bytes(jpeg(tone))
    (folder / "film.mp4").write_bytes(video(seconds=0.2))
    (folder / "note.json").write_text('{"vehicles": 7}')
    (folder / "text.txt").write_text("no evidence")
    return folder


def test_files_and_violations_of_a_table_are_stored_and_known_again(
    shell: Shell, folder: Path
) -> None:
    manifest = folder / "m.csv"
    manifest.write_text(
        f"{HEADER}\n"
        'b.jpg,still,cam-2,2026-11-01T10:00:00Z,"{""note"":\n""two lines""}",,,,,,,,,\n'
        f"{V1}\n\n"
        f"{folder / 'note.json'},,,,,,,,,,,,,\n"
    )
    first = shell("store", "--manifest", manifest, "--json")
    assert results(first) == {2: "stored", 4: "stored", 6: "stored"}
    assert first.lines[1]["file_ids"] == ["V1~image", "V1~video", "V1~metadata"]
    assert first.lines[-1] == {
        "manifest": str(manifest),
        "complete": True,
        "stored": 3,
        "known": 0,
        "refused": 0,
    }
    (file,) = [one for one in shell("files", "--json").lines if one["file_id"] == "still"]
    assert file["metadata"] == {"note": "two lines"}
    assert (file["device_id"], file["original_name"]) == ("cam-2", "b.jpg")
    assert file["captured_at"].startswith("2026-11-01T10:00:00")
    (found,) = shell("violations", "--json").lines
    assert (found["violation_id"], found["camera_info"]) == ("V1", {"lane": 2})

    again = shell("store", "--manifest", manifest)
    assert again.out.splitlines() == [
        f"{manifest}:2: known still",
        f"{manifest}:4: known V1",
        again.out.splitlines()[2],
    ]
    assert "3 of 3 rows are done: 0 stored, 3 known, 0 refused" in again.err


def test_each_refusal_has_its_line_and_cause_and_stops_no_other(shell: Shell, folder: Path) -> None:
    shell("store", "--manifest", lines(folder / "first.jsonl", [violation(1)]))
    rows = _faulty()
    result = shell("store", "--manifest", lines(folder / "m.jsonl", rows), "--json", code=None)
    told = {one["line"]: one["error"] for one in result.lines if "line" in one}
    assert result.code == ExitCode.FAILURE
    assert told[1] is None
    assert told[len(rows)] is None
    for number, (_, said) in enumerate(FAULTS, 2):
        assert said in told[number], told[number]
        assert f"m.jsonl:{number}: " in result.err
    counts = result.lines[-1]
    assert (counts["stored"], counts["refused"]) == (2, len(FAULTS))


FAULTS: list[tuple[dict[str, Any] | str, str]] = [
    ("{", "is not JSON"),
    ("[1]", "is not a JSON object"),
    ({"paht": "a.jpg"}, "unknown field 'paht'"),
    ({"path": "absent.jpg"}, "does not exist"),
    ({"path": "."}, "folder"),
    ({"path": 5}, "path: is a int, not a text"),
    ({"device_id": "cam-1"}, "path: is missing"),
    ({"path": "text.txt"}, "is text/plain, which can't be stored"),
    ({"path": "a.jpg", "image": "a.jpg"}, "give a row to each"),
    ({"path": "a.jpg", "kind": "sound"}, "kind: is 'sound'"),
    ({"path": "a.jpg", "captured_at": "yesterday"}, "captured_at"),
    ({"path": "a.jpg", "captured_at": "2999-01-01"}, "captured_at"),
    ({"path": "a.jpg", "file_id": "a/b"}, "file_id"),
    ({"path": "a.jpg", "sha256": "0" * 64}, "was declared"),
    ({"path": "a.jpg", "metadata": "words"}, "metadata"),
    ({"path": "a.jpg", "historic": "perhaps"}, "historic"),
    ({"path": "film.mp4", "duration_seconds": 500}, "duration_seconds"),
    (violation(5, vehicle_bbox=None, confidence=7), "vehicle_bbox"),
    (violation(5, timestamp=None), "timestamp: is missing"),
    (violation(5, image="absent.jpg"), "absent.jpg"),
    (violation(5, image="film.mp4"), "image"),
    (violation(5, duration_seconds=3), "duration_seconds"),
]
"""Rows that are refused, and what is said of them."""


def _faulty() -> list[dict[str, Any] | str]:
    return [violation(2), *(row for row, _ in FAULTS), violation(3)]


def test_a_dry_run_refuses_what_storing_refuses(shell: Shell, folder: Path) -> None:
    manifest = lines(folder / "m.jsonl", _faulty())
    dry = shell("store", "--manifest", manifest, "--dry-run", "--json", code=None)
    assert not shell.base.exists()
    stored = shell("store", "--manifest", manifest, "--json", code=None)
    assert dry.code == stored.code
    refused = [
        {one["line"]: one["error"] for one in result.lines if one.get("result") == "refused"}
        for result in (dry, stored)
    ]
    assert refused[0] == refused[1]
    assert len(refused[0]) == len(FAULTS)
    assert dry.lines[-1]["ready"] == 2


def test_other_content_under_a_known_id_is_refused_with_its_cause(
    shell: Shell, folder: Path
) -> None:
    shell(
        "store",
        "--manifest",
        lines(
            folder / "m.jsonl",
            [violation(1), {"path": "a.jpg", "file_id": "a", "device_id": "cam-1"}],
        ),
    )
    rows: list[dict[str, Any] | str] = [
        violation(1, confidence=0.5),
        {"path": "b.jpg", "file_id": "a"},
        {"path": "a.jpg", "file_id": "a", "device_id": "cam-9"},
        violation(2),
        violation(2),
    ]
    manifest = lines(folder / "m.jsonl", rows)
    dry = shell("store", "--manifest", manifest, "--dry-run", "--json", code=ExitCode.REFUSED)
    result = shell("store", "--manifest", manifest, "--json", code=ExitCode.REFUSED)
    assert results(dry) == results(result) | {4: "ready"}
    assert [one["error"] for one in dry.lines[:-1]] == [one["error"] for one in result.lines[:-1]]
    errors = [one["error"] for one in result.lines[:-1]]
    assert "its record differs in confidence" in errors[0]
    assert "its SHA-256 is" in errors[1]
    assert "device_id" in errors[2]
    assert results(result) | {1: "", 2: "", 3: ""} == {1: "", 2: "", 3: "", 4: "stored", 5: "known"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"path\n", "has no row"),
        (b"path,colour\na.jpg,red\n", "unknown column 'colour'"),
        (b"path,path\na.jpg,b.jpg\n", "a column twice"),
        (b'path,file_id\na.jpg,one\n"b.jpg,two\n', "line 3 is not CSV"),
        (b'path,file_id\na.jpg,one\n"b.jpg"x,two\n', "line 3 is not CSV"),
        (b"path,file_id\na.jpg,one\nb.jpg,\xf1\n", "is not UTF-8"),
        (b"path\na.jpg\n" + b"x" * (2 * 1024 * 1024 + 10), "line 3 has more than"),
    ],
)
def test_what_is_no_manifest_is_refused_before_anything_is_stored(
    shell: Shell, folder: Path, content: bytes, said: str
) -> None:
    manifest = folder / "m.csv"
    manifest.write_bytes(content)
    result = shell("store", "--manifest", manifest, code=ExitCode.USAGE)
    assert said in result.err
    assert not shell.base.exists()


def test_tables_of_spreadsheets_are_read(shell: Shell, folder: Path) -> None:
    manifest = folder / "m.CSV"
    row = "V7;cam-1;speed;2026-11-01T12:00:00;1 2 30 40;car;0.5;true"
    head = "violation_id;device_id;violation_type;timestamp;vehicle_bbox;vehicle_class;confidence;historic"
    manifest.write_bytes(f"\ufeff{head}\r\n{row}\r\n;;;;;;;\r\nV8;cam-1\r\n".encode())
    result = shell("store", "--manifest", manifest, "--json", code=None)
    assert results(result) == {2: "stored", 4: "refused"}
    assert "has 2 fields, but the header has 8" in result.err
    (found,) = shell("violations", "--json").lines
    assert found["vehicle_bbox"] == [1, 2, 30, 40]


def test_times_come_from_names(shell: Shell, folder: Path) -> None:
    rows: list[dict[str, Any] | str] = [
        {"path": "cam_20261101_120005.jpg", "file_id": "named"},
        {
            "path": "cam_20261101_120005.jpg",
            "file_id": "told",
            "captured_at": "2026-11-01T01:00:00Z",
        },
        {"path": "a.jpg"},
        violation(1, timestamp=None, image="cam_20261101_120005.jpg"),
    ]
    manifest = lines(folder / "m.jsonl", rows)
    pattern = ("--time-from-name", "cam_%Y%m%d_%H%M%S.jpg")
    result = shell("store", "--manifest", manifest, *pattern, "--json", code=ExitCode.USAGE)
    assert results(result) == {1: "stored", 2: "stored", 3: "refused", 4: "stored"}
    assert "does not match the pattern" in result.err
    times = {one["file_id"]: one["captured_at"] for one in shell("files", "--json").lines}
    assert times["named"].startswith("2026-11-01T12:00:05")
    assert times["told"].startswith("2026-11-01T01:00:00")
    assert times["V0001~image"].startswith("2026-11-01T12:00:05")

    alone = shell(
        "store", folder / "cam_20261101_120005.jpg", folder / "b.jpg", *pattern, code=None
    )
    assert alone.code == ExitCode.USAGE
    assert "1 of 2 files are stored" in alone.err


def test_options_hold_for_rows_that_say_nothing(shell: Shell, folder: Path) -> None:
    rows: list[dict[str, Any] | str] = [
        {"path": "a.jpg", "file_id": "a"},
        {"path": "b.jpg", "file_id": "b", "device_id": "own"},
        violation(1, device_id=None),
    ]
    manifest = lines(folder / "m.jsonl", rows)
    shell("store", "--manifest", manifest, "--device-id", "all", "--metadata", '{"batch": 4}')
    devices = {one["file_id"]: one["device_id"] for one in shell("files", "--json").lines}
    assert devices == {"a": "all", "b": "own", "V0001~metadata": "all"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("a.jpg",), "with paths"),
        (("--file-id", "x"), "file_id"),
        (("--from-line", "5"), "no row from line 5"),
        (("--time-from-name", "%H"), "has neither"),
        (("--time-from-name", "%Y%m%d", "--captured-at", "2026-11-01"), "captured_at"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    shell: Shell, folder: Path, options: tuple[str, ...], said: str
) -> None:
    manifest = lines(folder / "m.jsonl", [violation(1)])
    result = shell("store", *options, "--manifest", manifest, code=ExitCode.USAGE)
    assert said in result.err
    assert not shell.base.exists()


def test_it_tells_how_far_it_came_when_it_is_interrupted(program: Program, folder: Path) -> None:
    count = 1600
    manifest = lines(folder / "m.jsonl", [violation(number) for number in range(count)])
    with program.started("store", "--manifest", manifest, "--json") as process:
        read_until(process, "stdout", '"line": 1,')
        out, err = interrupt(process)
    assert process.returncode == ExitCode.INTERRUPTED
    stopped = json.loads(out.splitlines()[-1])
    assert stopped["complete"] is False
    done = stopped["stored"]
    assert 0 < done < count
    assert f"give --from-line {done + 1} to go on there" in err

    rest = program("store", "--manifest", manifest, "--from-line", str(done + 1), "--json")
    assert results(rest).keys() == set(range(done + 1, count + 1))
    assert set(results(rest).values()) == {"stored"}
    again = program("store", "--manifest", manifest, "--json").lines[-1]
    assert (again["known"], again["refused"]) == (count, 0)


def test_after_a_kill_a_repetition_stores_the_rest(program: Program, folder: Path) -> None:
    count = 1300
    manifest = lines(folder / "m.jsonl", [violation(number) for number in range(count)])
    with program.started("store", "--manifest", manifest, "--json") as process:
        seen = read_until(process, "stdout", '"line": 1,')
        process.send_signal(signal.SIGKILL)
        rest, _ = ended(process)
    # The last line may be cut.
    told = [line for line in f"{seen}{rest}".splitlines() if line.endswith("}")]
    acknowledged = {json.loads(line)["line"] for line in told}
    again = program("store", "--manifest", manifest, "--json")
    known = {line for line, word in results(again).items() if word == "known"}
    assert acknowledged <= known
    assert len(results(again)) == count
    assert again.lines[-1]["refused"] == 0
    assert len(program("violations", "--all", "--json").lines) == count
