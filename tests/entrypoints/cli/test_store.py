"""`store`: files and folders, several at once, failures told and not in the way."""

import io
import json
import os
import pwd
import subprocess
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from PIL import Image

from tests.entrypoints.cli.command import PROGRAM, Program, Shell, interrupt
from tests.support.media import video
from tests.support.privileged import remount, small_memory_disk
from traffic_storage import ConfigurationError, StorageConfig
from traffic_storage.entrypoints import base_path
from traffic_storage.entrypoints.cli.exit_codes import ExitCode


def jpeg(tone: int = 0) -> bytes:
    """A small picture."""
    out = io.BytesIO()
    Image.new("RGB", (32, 24), (20 * tone, 90, 10)).save(out, "JPEG")
    return out.getvalue()


@pytest.fixture
def evidence(tmp_path: Path) -> Path:
    """A folder as a camera leaves it: pictures, a film, an analysis, below several folders."""
    folder = tmp_path / "evidence"
    (folder / "2026" / "deep").mkdir(parents=True)
    for place in range(4):
        (folder / "2026" / f"{place}.jpg").write_bytes(jpeg(place))
    (folder / "2026" / "deep" / "film.dat").write_bytes(video(seconds=0.2))
    (folder / "analysis.json").write_text('{"vehicles": 7}')
    (folder / ".hidden").write_text("not evidence")
    return folder


def test_a_folder_is_stored_whole_and_each_kind_is_told_by_its_bytes(
    shell: Shell, evidence: Path
) -> None:
    result = shell("store", evidence, "--device-id", "cam-1", "--json")
    stored = {Path(line["path"]).name: line["file"] for line in result.lines}

    assert sorted(stored) == ["0.jpg", "1.jpg", "2.jpg", "3.jpg", "analysis.json", "film.dat"]
    assert {file["kind"] for file in stored.values()} == {"image", "video", "metadata"}
    assert stored["film.dat"]["content_type"] == "video/mp4"
    assert all(file["device_id"] == "cam-1" for file in stored.values())
    assert all(line["created"] and line["error"] is None for line in result.lines)
    assert "6 of 6 files are stored" in result.err


def test_the_same_again_changes_nothing(shell: Shell, evidence: Path) -> None:
    first = {line["path"]: line["file"] for line in shell("store", evidence, "--json").lines}
    second = shell("store", evidence, "--json").lines

    assert all(not line["created"] for line in second)
    assert {line["path"]: line["file"] for line in second} == first


def test_names_of_files_move_no_terminal(program: Program, tmp_path: Path) -> None:
    folder = tmp_path / "evidence"
    folder.mkdir()
    good, bad, raw = b"a\nb\x1b[31m.json", b"c\x1b]0;title\x07.jpg", b"d\xff.json"
    (folder / os.fsdecode(good)).write_bytes(b'{"vehicles": 7}')
    (folder / os.fsdecode(bad)).write_bytes(b"no picture")
    (folder / os.fsdecode(raw)).write_bytes(b'{"vehicles": 8}')

    told = program("store", folder, code=None)
    rehearsed = program("store", folder, "--dry-run", code=None)
    as_json = program("store", folder, "--json", code=None)

    for result in (told, rehearsed):
        assert "\x1b" not in result.out + result.err
        assert "a\\nb\\x1b[31m.json" in result.out
        assert "c\\x1b]0;title\\x07.jpg" in result.err
        assert "\\udcff.json" in result.out
    assert len(told.out.splitlines()) == 2
    assert {Path(line["path"]).name for line in as_json.lines} == {
        os.fsdecode(name) for name in (good, bad, raw)
    }


def test_people_get_a_line_a_file(shell: Shell, evidence: Path) -> None:
    result = shell("store", evidence / "2026" / "0.jpg", "--file-id", "F1")
    again = shell("store", evidence / "2026" / "0.jpg", "--file-id", "F1")

    assert result.out == f"F1  {evidence / '2026' / '0.jpg'}: stored, local\n"
    assert "already stored" in again.out


def test_bad_files_are_named_and_do_not_stop_the_others(shell: Shell, evidence: Path) -> None:
    (evidence / "cut.jpg").write_bytes(jpeg()[:-40])
    (evidence / "notes.txt").write_text("somebody's notes")
    (evidence / "list.json").write_text("[1, 2]")

    result = shell("store", evidence, evidence / "missing.jpg", "--json", code=1)
    lines = {Path(line["path"]).name: line for line in result.lines}

    assert len([line for line in lines.values() if line["created"]]) == 6
    for name in ("cut.jpg", "notes.txt", "list.json", "missing.jpg"):
        assert lines[name]["file"] is None
        assert lines[name]["error"]
        assert f"{name}: " in result.err
    assert "6 of 10 files are stored" in result.err


@pytest.mark.parametrize(
    ("content", "code"), [(b"plain words", 6), (jpeg()[:-40], 6), (b'{"a": NaN}', 2)]
)
def test_failures_of_one_sort_end_with_its_code(
    shell: Shell, tmp_path: Path, content: bytes, code: int
) -> None:
    (tmp_path / "file").write_bytes(content)

    shell("store", tmp_path / "file", code=code)


def test_what_is_no_file_is_told(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "inside")
    os.mkfifo(tmp_path / "pipe")

    result = shell("store", tmp_path / "link" / "..", "--json", code=2)
    told = {Path(line["path"]).name: line["error"] for line in result.lines}

    assert "link to a folder" in told["link"]
    assert "not a regular file" in told["pipe"]
    assert "does not exist" in shell("store", tmp_path / "none", code=2).err


def test_an_empty_folder_is_no_success(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    assert "contain no file" in shell("store", tmp_path / "empty", code=2).err
    assert "are missing" in shell("store", code=2).err


def test_results_come_in_the_order_of_the_files(shell: Shell, tmp_path: Path) -> None:
    names = [f"{number:02}.jpg" for number in range(40)]
    for number, name in enumerate(names):
        (tmp_path / name).write_bytes(b"no picture" if number % 7 == 3 else jpeg(number % 12))

    lines = shell("store", tmp_path, "--parallel", "5", "--json", code=6).lines

    assert [Path(line["path"]).name for line in lines] == names
    assert [line["error"] is None for line in lines] == [n % 7 != 3 for n in range(40)]


def test_an_empty_file_is_said_to_be_empty(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    assert "empty.jpg: is empty" in shell("store", tmp_path / "empty.jpg", code=6).err


def test_a_rehearsal_opens_nothing(shell: Shell, evidence: Path) -> None:
    result = shell("store", evidence, "--dry-run")
    as_json = shell("store", evidence, "--dry-run", "--json").lines

    assert "would store" in result.out
    assert {line["kind"] for line in as_json} == {"image", "video", "metadata"}
    assert not shell.base.exists()


def test_a_rehearsal_tells_what_would_fail(shell: Shell, evidence: Path) -> None:
    (evidence / "notes.txt").write_text("somebody's notes")

    assert "notes.txt" in shell("store", evidence, "--dry-run", code=6).err


def test_a_rehearsal_refuses_what_storing_refuses(
    shell: Shell, evidence: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAFFIC_STORAGE_MAX_METADATA_BYTES", "100000")
    (evidence / "cut.jpg").write_bytes(jpeg()[:-200])
    (evidence / "cut.mp4").write_bytes(video(seconds=0.2)[:-500])
    (evidence / "list.json").write_text("{")
    (evidence / "twice.json").write_text('{"a": 1, "a": 2}')
    (evidence / "large.json").write_text(json.dumps({"text": "x" * (2 << 20)}))
    bad = {"cut.jpg", "cut.mp4", "list.json", "twice.json", "large.json"}

    def refused(*options: str) -> dict[str, str]:
        lines = shell("store", evidence, "--json", *options, code=None).lines
        return {Path(line["path"]).name: line["error"] for line in lines if line["error"]}

    rehearsed = refused("--dry-run")
    assert not shell.base.exists()
    assert rehearsed == refused()
    assert set(rehearsed) == bad
    future = refused("--dry-run", "--captured-at", "2999-01-01T00:00:00Z")
    late = {name for name, error in future.items() if "captured_at" in error}
    assert {"0.jpg", "film.dat", "analysis.json"} <= late


def test_a_user_without_name_and_home_gives_the_folder(
    shell: Shell, evidence: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container that runs under any user id: the default settings file is passed over."""

    def unknown(user: int) -> None:
        raise KeyError(user)

    for variable in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "LOGNAME", "USER", "LNAME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.delenv("USERNAME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    used = ("--base-path", tmp_path / "base")
    picture = evidence / "2026" / "0.jpg"
    shell("store", picture, "--file-id", "X", *used)
    shell("get", "X", "--evidence", "--output", tmp_path / "produced", *used)
    for words in ("doctor", "violations", "config show", "hold list"):
        shell(*words.split(), *used)
    shell("incidents", "close", "1", "--reason", "-", *used, code=None)
    for words in ("store", "violations", "config show", "config path", "serve --port 0"):
        given = [picture] if words == "store" else []
        assert "home folder" in shell(*words.split(), *given, code=7).err
    assert "local_base_path" in shell("doctor", code=3).out
    assert "local_base_path" in shell("stats", "--base-path", "~/x", code=7).err
    assert "--temporary" in shell("demo", "--once", code=2).err


@pytest.mark.parametrize("name", ["file", "file/below", "link", "x" * 300, "/proc/x"])
@pytest.mark.parametrize("command", ["store", "store --dry-run", "violations", "serve --port 0"])
def test_a_folder_that_can_never_be_used_is_a_wrong_setting(
    shell: Shell, evidence: Path, tmp_path: Path, name: str, command: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    words = command.split()
    given = [evidence] if words[0] == "store" else []
    makes = "serve" in words or words == ["store"]
    # Whether a folder can be made in /proc is known only once it is tried.
    code = 7 if makes or name != "/proc/x" else 4 if words == ["violations"] else 0
    told = shell(*words, *given, "--base-path", tmp_path / name, code=code).err
    assert code != 7 or "local_base_path: " in told
    assert not (tmp_path / "nowhere").exists()


def test_who_only_reads_need_not_be_able_to_make_the_folder(
    shell: Shell, evidence: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is the folder needed to read what a server and a bucket have."""
    monkeypatch.setattr("os.access", lambda *_: False)
    place = ("--base-path", tmp_path / "new" / "base")
    shell("violations", *place, code=4)
    shell("store", "--dry-run", evidence, *place, code=7)
    (tmp_path / "file").touch()
    away = StorageConfig(
        local_base_path=tmp_path / "file",
        db_host="db.example",
        db_name="evidence",
        db_user="reader",
        db_password="x",
    )
    base_path.check_base_path(away, make=False, to_write=False)
    with pytest.raises(ConfigurationError, match="local_base_path"):
        base_path.check_base_path(away, make=True)


@pytest.mark.parametrize(
    "command",
    [
        "violations",
        "files",
        "stats",
        "get X",
        "verify",
        "url X",
        "snapshot list",
        "snapshot verify S",
        "snapshot delete S --yes",
        "retention rules enter 00000000-0000-0000-0000-000000000000 --yes",
        "jobs list",
        "hold list",
        "incidents list",
        "reconcile --dry-run",
        "delete X wrong --yes",
    ],
)
def test_a_mistyped_folder_becomes_no_store(shell: Shell, tmp_path: Path, command: str) -> None:
    base = tmp_path / "mistyped"
    assert "nothing is stored there" in shell(*command.split(), "--base-path", base, code=4).err
    assert not base.exists()


def test_labels_go_with_each_file(shell: Shell, evidence: Path) -> None:
    result = shell(
        "store",
        evidence / "2026" / "0.jpg",
        *("--violation-id", "V7", "--captured-at", "2026-03-01T10:00:00+01:00"),
        *("--metadata", '{"lane": 2}', "--historic", "--json"),
    )
    file = result.value["file"]

    assert file["violation_id"] == "V7"
    assert "violation V7 does not exist yet" in result.err
    assert file["captured_at"] == "2026-03-01T09:00:00+00:00"
    assert file["metadata"] == {"lane": 2}
    assert file["expires_at"] == "2026-05-30T09:00:00+00:00"
    assert "retention counts from receipt" not in result.err


def test_an_implausible_capture_time_is_told(shell: Shell, evidence: Path) -> None:
    result = shell(
        "store", evidence / "2026" / "0.jpg", "--captured-at", "2000-01-01T00:00:09", "--json"
    )
    file = result.value["file"]

    assert (
        "0.jpg: retention counts from receipt: the capture time is before 2000-01-02" in result.err
    )
    received = datetime.fromisoformat(file["created_at"])
    assert datetime.fromisoformat(file["expires_at"]) == received + timedelta(days=90)


def test_a_time_without_zone_is_read_in_the_setting(
    shell: Shell, evidence: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAFFIC_STORAGE_TIMEZONE", "Europe/Madrid")

    result = shell(
        "store", evidence / "2026" / "0.jpg", "--captured-at", "2026-03-01T10:00", "--json"
    )

    assert result.value["file"]["captured_at"] == "2026-03-01T09:00:00+00:00"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--metadata", "{"), "metadata"),
        (("--metadata", "[]"), "metadata"),
        (("--captured-at", "yesterday"), "captured_at"),
        (
            ("--captured-at", "2026-03-01", "--metadata", '{"timestamp": "2026-03-02"}'),
            "captured_at",
        ),
        (("--file-id", "a/b"), "file_id"),
        (("--file-id", "V1~image"), "file_id"),
        (("--device-id", ""), "device_id"),
        (("--kind", "photo"), "photo"),
        (("--parallel", "0"), "parallel"),
    ],
)
def test_wrong_labels_end_with_2_and_store_nothing(
    shell: Shell, evidence: Path, arguments: tuple[str, ...], said: str
) -> None:
    result = shell("store", evidence / "2026" / "0.jpg", *arguments, code=2)

    assert said in result.err
    assert not shell.base.exists()


def test_an_id_is_for_one_file(shell: Shell, evidence: Path) -> None:
    assert "one file" in shell("store", evidence, "--file-id", "F1", code=2).err


def test_an_id_that_holds_other_content_is_refused(shell: Shell, evidence: Path) -> None:
    shell("store", evidence / "2026" / "0.jpg", "--file-id", "F1")

    result = shell("store", evidence / "2026" / "1.jpg", "--file-id", "F1", code=6)

    assert "exists already with other content" in result.err


def test_a_label_that_is_not_taken_is_no_promise(shell: Shell, evidence: Path) -> None:
    stored = "store", evidence / "2026" / "0.jpg", "--file-id", "F1"
    shell(*stored, "--violation-id", "V6")

    result = shell(*stored, "--violation-id", "V7", code=6)

    assert "other labels: violation_id" in result.err
    assert "once it is stored" not in result.err


def test_a_label_that_a_file_lacks_is_added(shell: Shell, evidence: Path) -> None:
    stored = "store", evidence / "2026" / "0.jpg", "--file-id", "F1"
    shell(*stored)

    result = shell(*stored, "--violation-id", "V7")
    (line,) = shell(*stored, "--violation-id", "V7", "--device-id", "cam-1", "--json").lines
    (again,) = shell(*stored, "--violation-id", "V7", "--json").lines

    assert "already stored" in result.out
    assert "added violation_id" in result.out
    assert (line["created"], line["file"]["labels_added"]) == (False, ["device_id"])
    assert "labels_added" not in again["file"]
    (found,) = shell("files", "--violation-id", "V7", "--json").lines
    assert (found["file_id"], found["device_id"]) == ("F1", "cam-1")


def test_a_row_of_a_manifest_adds_labels(shell: Shell, evidence: Path) -> None:
    shell("store", evidence / "2026" / "0.jpg", "--file-id", "F1")
    rows = evidence / "rows.csv"
    rows.write_text("path,file_id,device_id\n2026/0.jpg,F1,cam-1\n")

    told = shell("store", "--manifest", rows, "--json").lines

    assert (told[0]["result"], told[0]["labels_added"]) == ("known", ["device_id"])
    assert "labels_added" not in shell("store", "--manifest", rows, "--json").lines[0]


def test_the_film_of_a_killed_recorder_is_stored_if_that_is_asked_for(
    shell: Shell, tmp_path: Path
) -> None:
    film = tmp_path / "film.mp4"
    whole = video(seconds=0.2)
    film.write_bytes(whole[: whole.index(b"moov") - 4])

    refused = shell("store", film, "--file-id", "F1", code=6)
    shell("store", film, "--dry-run", code=6)
    shell("store", film, "--dry-run", "--accept-damaged-video")
    stored = shell("store", film, "--file-id", "F1", "--accept-damaged-video", "--json").lines

    assert "--accept-damaged-video" in refused.err
    assert stored[0]["file"]["quality"]["integrity"] == "damaged"
    assert stored[0]["file"]["size_bytes"] == film.stat().st_size


def test_a_label_that_may_not_be_added_is_told_apart_from_one_that_differs(
    shell: Shell, evidence: Path
) -> None:
    stored = "store", evidence / "2026" / "0.jpg", "--file-id", "F1"
    shell(*stored, "--device-id", "cam-1")

    result = shell(*stored, "--device-id", "cam-2", "--metadata", '{"lane": 1}', code=6)

    assert "device_id is 'cam-1', not 'cam-2'" in result.err
    assert "metadata was not given when it was stored" in result.err


def test_the_kind_may_be_said(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "film.mp4").write_bytes(video(seconds=0.2))

    assert shell("store", tmp_path / "film.mp4", "--kind", "image", code=6).err
    assert shell("store", tmp_path / "film.mp4", "--kind", "video").out


def test_metadata_that_is_too_large_is_not_read_whole(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAFFIC_STORAGE_MAX_METADATA_BYTES", "1000")
    (tmp_path / "large.json").write_text(json.dumps({"text": "x" * 5000}))

    assert "max_metadata_bytes" in shell("store", tmp_path / "large.json", code=6).err


def test_many_at_once_are_all_stored(shell: Shell, tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for place in range(60):
        (folder / f"{place}.json").write_text(json.dumps({"place": place}))

    assert len(shell("store", folder, "--parallel", "16", "--json").lines) == 60
    assert shell("stats", "--json").value["local_storage"]["files"] == 60


def test_data_stays_on_stdout_while_a_bar_is_shown(shell: Shell, evidence: Path) -> None:
    shown, told = os.openpty()
    try:
        done = subprocess.run(
            [PROGRAM, "store", evidence, "--json"],
            stdout=subprocess.PIPE,
            stderr=told,
            env={"HOME": str(shell.home), "TERM": "xterm", "COLUMNS": "100"},
            check=True,
        )
        bar = os.read(shown, 65536).decode()
    finally:
        os.close(shown)
        os.close(told)

    assert len([json.loads(line) for line in done.stdout.splitlines()]) == 6
    assert "/6" in bar
    assert '"path"' not in bar


def test_it_can_be_interrupted_and_run_again(
    program: Program, shell: Shell, tmp_path: Path
) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for place in range(400):
        (folder / f"{place:03}.jpg").write_bytes(jpeg(place % 12) + place.to_bytes(2))
    (folder / "000.jpg").write_bytes(b"no picture")

    with program.started("store", folder, "--json") as process:
        assert process.stdout is not None
        process.stdout.readline()
        _, err = interrupt(process)
    again = shell("store", folder, "--json", code=6)

    assert process.returncode == ExitCode.INTERRUPTED
    assert "of 400 files are known to be stored; repeat the command" in err
    assert err.endswith("interrupted\n")
    assert "000.jpg: is text/plain" in err
    assert len(again.lines) == 400
    assert any(not line["created"] for line in again.lines)
    assert shell("stats", "--json").value["local_storage"]["files"] == 399


class TestRehearsalOfARefusal:
    """`store --dry-run` tells what `store` then tells, and stores nothing."""

    @pytest.fixture
    def photo(self, tmp_path: Path) -> Path:
        (tmp_path / "a.jpg").write_bytes(jpeg(1))
        (tmp_path / "b.jpg").write_bytes(jpeg(2))
        return tmp_path / "a.jpg"

    @staticmethod
    def refused(shell: Shell, *arguments: str | Path, code: int) -> str:
        """Why both refuse; the last line, which counts files, has other words."""
        rehearsed = shell("store", *arguments, "--dry-run", code=code).err
        stored = shell("store", *arguments, code=code).err
        assert rehearsed.splitlines()[:-1] == stored.splitlines()[:-1]
        return rehearsed

    @pytest.mark.parametrize("label", ["device_id", "violation_id", "captured_at", "metadata"])
    def test_of_an_id_with_other_labels(self, shell: Shell, photo: Path, label: str) -> None:
        first, other = {
            "captured_at": ("2026-01-02", "2026-01-03"),
            "metadata": ('{"lane": 1}', '{"lane": 2}'),
        }.get(label, ("A", "B"))
        option = f"--{label.replace('_', '-')}"
        shell("store", photo, "--file-id", "X", option, first)
        given = (photo, "--file-id", "X", option)
        assert label in self.refused(shell, *given, other, code=6)
        assert "already stored" in shell("store", *given, first, "--dry-run").out

    def test_of_an_id_with_other_content(self, shell: Shell, photo: Path) -> None:
        shell("store", photo, "--file-id", "X")
        said = self.refused(shell, photo.with_name("b.jpg"), "--file-id", "X", code=6)
        assert "other content" in said
        (line,) = shell("store", photo, "--file-id", "X", "--dry-run", "--json").lines
        assert (line["already_stored"], line["error"]) == (True, None)
        assert "would store" in shell("store", photo.with_name("b.jpg"), "--dry-run").out
        assert len(shell("files", "--json").lines) == 1

    def test_of_a_deleted_file(self, shell: Shell, photo: Path) -> None:
        shell("store", photo, "--file-id", "X")
        shell("delete", "X", "a test", "--override", "--yes")
        assert "tombstoned" in self.refused(shell, photo, "--file-id", "X", code=6)

    def test_of_a_sealed_service(self, shell: Shell, photo: Path) -> None:
        shell("store", photo)
        shell("seal", "place", "it has moved")
        assert "it has moved" in self.refused(shell, photo.with_name("b.jpg"), code=6)
        assert "already stored" in shell("store", photo, "--dry-run").out

    @pytest.mark.parametrize("is_new", [True, False])
    def test_of_files_that_have_too_little_space_together(
        self, shell: Shell, photo: Path, monkeypatch: pytest.MonkeyPatch, *, is_new: bool
    ) -> None:
        if not is_new:
            shell("store", photo.with_name("b.jpg"), "--file-id", "before")
        pictures = [photo.with_name(f"{number}.jpg") for number in range(5)]
        for number, picture in enumerate(pictures):
            picture.write_bytes(jpeg(number) + bytes(300_000))
        monkeypatch.setenv("TRAFFIC_STORAGE_MAX_LOCAL_SIZE_GB", "0.001")
        monkeypatch.setenv("TRAFFIC_STORAGE_EVIDENCE_RESERVE_SHARE", "0")
        rehearsed = shell("store", *pictures, "--parallel", "1", "--dry-run", code=1)
        assert shell.base.exists() is not is_new
        stored = shell("store", *pictures, "--parallel", "1", code=1)
        assert "its limit of 1000000 bytes" in stored.err
        # How many bytes are used differs by what else the catalogue counts.
        named = [
            [line.split(": ")[:2] for line in one.err.splitlines()] for one in (rehearsed, stored)
        ]
        assert named[0][:-1] == named[1][:-1]
        assert "3 of 5 files" in rehearsed.err

    def test_of_a_disk_that_is_too_small(
        self, shell: Shell, photo: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TRAFFIC_STORAGE_LOCAL_RESERVE_GB", "1000000")
        for options in (["--dry-run"], []):
            assert "must stay free" in shell("store", photo, *options, code=1).err

    def test_the_same_content_twice_is_one_file(self, shell: Shell, photo: Path) -> None:
        photo.with_name("copy.jpg").write_bytes(photo.read_bytes())
        both = (photo, photo.with_name("copy.jpg"))
        for _ in range(2):
            lines = shell("store", *both, "--dry-run", "--json").lines
            assert [line["already_stored"] for line in lines] == [False, True]
            shell("store", photo.with_name("b.jpg"))

    @pytest.mark.privileged
    def test_of_a_disk_that_is_read_only(
        self, shell: Shell, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TRAFFIC_STORAGE_LOCAL_RESERVE_GB", "0")
        with small_memory_disk(tmp_path / "disk", "size=12m") as disk:
            place = ("--base-path", disk / "base")
            assert "would store" in shell("store", photo, *place, "--dry-run").out
            assert not (disk / "base").exists()
            shell("store", photo, *place)
            remount(disk, "ro")
            shell("store", photo.with_name("b.jpg"), *place, code=5)
            said = shell("store", photo.with_name("b.jpg"), *place, "--dry-run", code=5).err
            assert "read but not written" in said
            new = ("--base-path", disk / "new")
            self.refused(shell, photo, *new, code=7)
