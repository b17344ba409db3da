"""`validate`: images, videos and records in files are judged, and nothing is stored."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.entrypoints.cli.command import Shell
from tests.support.damage import blurred
from tests.support.media import encode, photograph, video
from traffic_storage.entrypoints.cli.exit_codes import ExitCode

RECORD: dict[str, Any] = {
    "violation_id": "V001",
    "device_id": "cam_001",
    "violation_type": "speed",
    "timestamp": "2026-03-14T12:00:00+00:00",
    "vehicle_bbox": [100, 100, 200, 200],
    "vehicle_class": "car",
    "confidence": 0.95,
    "camera_info": {"location": "Main St"},
    "processing_time_ms": 150,
    "model_versions": {"detector": "yolov8"},
}


def test_good_files_are_clean(shell: Shell, tmp_path: Path) -> None:
    folder = tmp_path / "good"
    folder.mkdir()
    (folder / "cat.jpg").write_bytes(encode(photograph("chelsea"), "JPEG"))
    (folder / "film.mp4").write_bytes(video("mp4"))
    document = {"schema": "traffic-storage/violation/1", "record": RECORD, "files": {}}
    (folder / "records.json").write_text(json.dumps([RECORD, document]))
    arguments = ("validate", folder, "--received-at", "2026-03-14T12:01:00Z")
    result = shell(*arguments)
    assert [line.split()[1:] for line in result.out.splitlines()[1:]] == [
        ["image", "1.00", "-", "-"],
        ["video", "1.00", "-", "-"],
        ["record", "1.00", "-", "-"],
        ["record", "1.00", "-", "-"],
    ]
    lines = shell(*arguments, "--json").lines
    assert [line["kind"] for line in lines] == ["image", "video", "record", "record"]
    assert lines[0]["metrics"]["width"] == 451
    assert lines[1]["metrics"]["frames"] == 50
    assert not shell.base.exists()


def test_findings_are_told_with_exit_code_3(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "blurred.png").write_bytes(encode(blurred(photograph("coffee"), 6), "PNG"))
    (tmp_path / "late.json").write_text(
        json.dumps(RECORD | {"confidence": 2, "timestamp": str(datetime(2020, 1, 1, tzinfo=UTC))})
    )
    (tmp_path / "list.json").write_text("[7]")
    (tmp_path / "text.txt").write_text("no evidence")
    files = [tmp_path / name for name in ("blurred.png", "late.json", "list.json", "text.txt")]
    result = shell("validate", *files, tmp_path / "absent.jpg", code=ExitCode.FINDINGS)
    rows = [line.split() for line in result.out.splitlines()[1:]]
    assert rows[0][3] == "blurred"
    assert rows[1][3:] == ["wrong_field", "late"]
    assert [row[-2] for row in rows[2:]] == ["unreadable"] * 3
    assert "late.json: confidence is 2 (give a number in [0, 1])" in result.err


def test_no_file_is_an_error_of_usage(shell: Shell, tmp_path: Path) -> None:
    assert "name no file" in shell("validate", code=ExitCode.USAGE).err


def test_records_are_judged_by_the_profile_for_their_type(shell: Shell, tmp_path: Path) -> None:
    profiles = tmp_path / "profiles.toml"
    profiles.write_text(
        '[[profiles]]\nprofile_id = "own"\nviolation_type = "speed"\njurisdiction = "ES"\n'
        'legal_source = "an agreement"\nimages = 2\nfields = ["camera_info.speed_kmh"]\n'
    )
    (tmp_path / "config.toml").write_text('profiles_file = "profiles.toml"\n')
    (tmp_path / "record.json").write_text(json.dumps(RECORD))
    at = ("--received-at", "2026-03-14T12:01:00Z")
    config = ("--config", tmp_path / "config.toml")
    command = ("validate", tmp_path / "record.json", *at, *config, "--json")
    assert shell(*command).value["valid"]
    found = shell(*command, "--profile", "own", code=ExitCode.FINDINGS).value
    assert [error["field"] for error in found["errors"]] == ["camera_info.speed_kmh"]
    assert found["parts"]["profile"] == 0.9
    assert "did you mean own" in shell(*command, "--profile", "own1", code=ExitCode.USAGE).err
    profiles.write_text(profiles.read_text().replace("images = 2", "images = '2'"))
    wrong = shell(*command, code=ExitCode.CONFIGURATION).err
    assert "profiles[1].images: must be of type int" in wrong
    assert str(profiles) in wrong
