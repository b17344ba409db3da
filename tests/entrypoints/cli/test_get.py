"""`get` and `url`: what comes out is what went in, or nothing under that name."""

import asyncio
import contextlib
import errno
import json
import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.entrypoints.cli.command import PROGRAM, Shell
from tests.entrypoints.cli.test_store import jpeg
from tests.support.media import video_of
from traffic_storage import StorageConfig, StorageService, ViolationRecord
from traffic_storage.domain.canonical import canonical_json

FILM = video_of(5 * 1024 * 1024)
"""More than four megabytes: kept and verified in segments."""


@pytest.fixture
def stored(shell: Shell, tmp_path: Path) -> Shell:
    """A picture P and metadata M."""
    (tmp_path / "p.jpg").write_bytes(jpeg(3))
    (tmp_path / "m.json").write_text('{"vehicles": 7}')
    for name, path in (("P", "p.jpg"), ("M", "m.json")):
        shell("store", tmp_path / path, "--file-id", name)
    return shell


@pytest.fixture
def filmed(stored: Shell, tmp_path: Path) -> Shell:
    """A film F of several segments, too."""
    (tmp_path / "f.mp4").write_bytes(FILM)
    stored("store", tmp_path / "f.mp4", "--file-id", "F")
    return stored


def blobs(shell: Shell, kind: str) -> list[Path]:
    return [path for path in (shell.base / "blobs" / kind).rglob("*-*") if path.is_file()]


def test_a_file_comes_out_byte_for_byte(filmed: Shell, tmp_path: Path) -> None:
    result = filmed("get", "F", "-o", tmp_path / "out.mp4")

    assert (tmp_path / "out.mp4").read_bytes() == FILM
    assert result.out == ""
    assert "verified" in result.err


def test_a_file_goes_down_a_pipe(filmed: Shell) -> None:
    done = subprocess.run(
        [PROGRAM, "get", "F"],
        capture_output=True,
        check=True,
        env={"HOME": str(filmed.home), "PATH": os.defpath},
    )

    assert done.stdout == FILM


@pytest.mark.parametrize("output", [("-o", "-"), ("--output", "-"), ("--output=-",)])
def test_a_hyphen_is_stdout(stored: Shell, output: tuple[str, ...]) -> None:
    done = subprocess.run(
        [PROGRAM, "get", *output, "P"],
        capture_output=True,
        check=True,
        env={"HOME": str(stored.home), "PATH": os.defpath},
    )

    assert done.stdout == jpeg(3)
    assert "looks like an option" in stored("get", "P", "-o", "--force", code=2).err


@pytest.mark.parametrize("error", [errno.EPERM, errno.EOPNOTSUPP])
def test_a_file_system_without_hard_links_does(
    filmed: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    def refused(*_paths: object, **_folders: object) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr("os.link", refused)
    out = tmp_path / "card" / "out"
    out.parent.mkdir()

    filmed("get", "P", "-o", out)

    assert out.read_bytes() == jpeg(3)
    assert list(out.parent.iterdir()) == [out]
    assert "exists" in filmed("get", "F", "-o", out, code=2).err
    assert out.read_bytes() == jpeg(3)


def test_into_a_folder_it_takes_its_id_and_type_as_name(filmed: Shell, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    for file_id in ("P", "F", "M"):
        filmed("get", file_id, "-o", tmp_path / "out")

    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "F.mp4",
        "M.json",
        "P.jpg",
    ]


def test_what_exists_is_not_overwritten_unless_forced(stored: Shell, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.write_text("mine")

    assert "exists" in stored("get", "P", "-o", out, code=2).err
    assert out.read_text() == "mine"
    stored("get", "P", "-o", out, "--force")
    assert out.read_bytes() == jpeg(3)


def test_a_link_that_leads_nowhere_is_not_written_through(stored: Shell, tmp_path: Path) -> None:
    out, target = tmp_path / "out", tmp_path / "elsewhere"
    out.symlink_to(target)

    assert "exists" in stored("get", "P", "-o", out, code=2).err
    assert not target.exists()


def test_a_place_that_cant_be_written_is_told(stored: Shell, tmp_path: Path) -> None:
    assert "No such file" in stored("get", "P", "-o", tmp_path / "none" / "out", code=1).err


def test_a_store_that_is_away_is_not_called_a_bad_output(stored: Shell, tmp_path: Path) -> None:
    (stored.base / "blobs").rename(tmp_path / "elsewhere")

    result = stored("get", "P", "-o", tmp_path / "out", code=5)

    assert "--output" not in result.err
    assert "P can't be read now" in result.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("offset", [0.1, 0.9])
def test_altered_bytes_are_not_handed_out(filmed: Shell, tmp_path: Path, offset: float) -> None:
    (blob,) = blobs(filmed, "video")
    data = bytearray(blob.read_bytes())
    data[int(len(data) * offset)] ^= 1
    blob.chmod(0o600)
    blob.write_bytes(data)
    out = tmp_path / "out"

    result = filmed("get", "F", "-o", out, code=1)

    assert "no intact copy" in result.err
    assert not out.exists()
    assert [path.name for path in tmp_path.iterdir() if ".part" in path.name] == []


def test_a_terminal_gets_text_but_no_binary_unless_forced(stored: Shell) -> None:
    def on_a_terminal(*arguments: str) -> tuple[int, bytes]:
        shown, told = os.openpty()
        try:
            done = subprocess.run(
                [PROGRAM, "get", *arguments],
                stdout=told,
                stderr=subprocess.PIPE,
                env={"HOME": str(stored.home), "TERM": "dumb"},
                check=False,
            )
            os.set_blocking(shown, False)
            with contextlib.suppress(BlockingIOError):
                return done.returncode, os.read(shown, 65536)
            return done.returncode, done.stderr
        finally:
            os.close(shown)
            os.close(told)

    code, told = on_a_terminal("P")
    assert code == 2
    assert b"is a terminal" in told
    assert on_a_terminal("M") == (0, b'{"vehicles":7}')
    assert on_a_terminal("P", "--force")[0] == 0


def test_what_is_known_can_be_json(stored: Shell, tmp_path: Path) -> None:
    result = stored("get", "P", "-o", tmp_path / "out", "--json")

    assert result.value["file_id"] == "P"
    assert result.value["output"] == str(tmp_path / "out")
    assert "--output" in stored("get", "P", "--json", code=2).err


@pytest.mark.parametrize(("file_id", "code"), [("unknown", 4), ("a/b", 2), ("..", 2)])
def test_what_is_not_there_is_not_got(stored: Shell, file_id: str, code: int) -> None:
    stored("get", file_id, code=code)
    stored("url", file_id, code=code)


def test_a_link_is_made(stored: Shell) -> None:
    link = stored("url", "P").out.strip()
    as_json = stored("url", "P", "--expires-in", "60", "--json").value

    assert link.startswith("http://localhost:8001/access/v1.")
    assert "assumes that `serve` runs at http://localhost:8001" in stored("url", "P").err
    assert set(as_json) == {"url", "expires_at"}
    assert (stored.base / "signing.key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("seconds", ["0", "-1", "604801", "nan", "inf"])
def test_a_link_has_a_bounded_life(stored: Shell, seconds: str) -> None:
    assert "expires_in" in stored("url", "P", f"--expires-in={seconds}", code=2).err


def test_a_folder_that_is_none_is_no_file_name(stored: Shell, tmp_path: Path) -> None:
    assert "not a folder" in stored("get", "P", "-o", f"{tmp_path}/none/", code=2).err
    assert not (tmp_path / "none").exists()


def test_what_is_too_much_is_named_with_the_help_of_the_command(shell: Shell) -> None:
    told = shell("url", "P", "more", code=2).err

    assert "too many arguments: more" in told
    assert "`traffic-storage url --help`" in told


def test_several_files_go_into_a_folder_and_one_that_fails_stops_none(
    stored: Shell, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert "2 files are asked for" in stored("get", "P", "M", "-o", out, code=2).err
    assert "2 files are asked for" in stored("get", "P", "M", code=2).err
    out.mkdir()

    result = stored("get", "P", "unknown", "M", "-o", out, "--json", code=4)

    assert [line["file_id"] for line in result.lines] == ["P", "M"]
    assert "unknown" in result.err
    assert (out / "P.jpg").read_bytes() == jpeg(3)
    assert (out / "M.json").exists()


CONTROLS = "\x1b]0;x\x07\x9b31m\u202e\u2066\u200b\x7f\x00"


@pytest.fixture
def controlling(shell: Shell, tmp_path: Path) -> Shell:
    """A violation and a document with characters that a terminal obeys."""
    (tmp_path / "m.json").write_text(json.dumps({"a": CONTROLS}))
    shell("store", tmp_path / "m.json", "--file-id", "M")
    record = ViolationRecord(
        violation_id="V001",
        device_id="cam_001",
        violation_type="speed",
        timestamp=datetime.now(UTC),
        vehicle_bbox=[1, 2, 3, 4],
        vehicle_class="car",
        confidence=0.9,
        camera_info={"a": CONTROLS},
    )

    async def fill() -> None:
        async with StorageService(StorageConfig(local_base_path=shell.base)) as storage:
            await storage.store_violation_evidence(violation_record=record)

    asyncio.run(fill())
    return shell


@pytest.mark.parametrize(
    "command",
    [
        ("violations", "--json"),
        ("violations", "show", "V001", "--json"),
        ("violations", "show", "V001"),
        ("get", "M"),
        ("get", "V001~metadata"),
        ("export", "violations", "--format", "ndjson"),
        ("export", "violations", "--format", "geojson"),
    ],
)
def test_nothing_stored_controls_a_terminal(
    controlling: Shell, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    shown = controlling(*command).out

    assert "cam_001" in shown or command == ("get", "M")
    assert not any(letter in shown for letter in CONTROLS if letter not in "x;0]31m")
    if command == ("get", "M"):
        assert json.loads(shown) == {"a": CONTROLS}


def test_json_in_a_pipe_says_the_same_with_escapes(controlling: Shell) -> None:
    (found,) = controlling("violations", "--json").lines
    assert found["camera_info"] == {"a": CONTROLS}


def test_a_stored_text_in_a_pipe_is_unchanged(controlling: Shell) -> None:
    assert controlling("get", "M").out.encode() == canonical_json({"a": CONTROLS})
