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
        ["V001", "record", "1.00", "-", "-"],
        ["V001", "record", "1.00", "-", "-"],
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


def test_the_kind_of_files_can_be_given(shell: Shell, tmp_path: Path) -> None:
    note = tmp_path / "note.jpg"
    note.write_text("no picture")
    told = shell("validate", note, code=ExitCode.FINDINGS).err
    assert "note.jpg: file " in told
    assert "file file" not in told
    assert "--kind" in told
    found = shell("validate", note, "--kind", "image", "--json", code=ExitCode.FINDINGS).value
    assert (found["kind"], found["errors"][0]["kind"]) == ("image", "unreadable")


def test_each_record_of_a_file_is_named(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "many.json").write_text(
        json.dumps([RECORD, RECORD | {"violation_id": "V002", "confidence": 2}])
    )
    rows = [RECORD | {"violation_id": f"N{number}", "device_id": f"d{number}"} for number in (1, 2)]
    export = {"received_at": "2026-03-14T12:01:00Z", "incomplete": True, "image_path": None}
    lines = [*(json.dumps(row | export) for row in rows), "{"]
    (tmp_path / "rows.ndjson").write_text("\n".join(lines))
    features = [{"type": "Feature", "geometry": None, "properties": row | export} for row in rows]
    (tmp_path / "rows.geojson").write_text(
        json.dumps({"type": "FeatureCollection", "features": features})
    )
    files = [tmp_path / name for name in ("many.json", "rows.ndjson", "rows.geojson")]
    files += [Path("--received-at"), Path("2026-03-14T12:01:00Z")]
    found = shell("validate", *files, "--json", code=ExitCode.FINDINGS).lines
    assert [(one["record"], one["violation_id"]) for one in found] == [
        *((1, "V001"), (2, "V002"), (1, "N1"), (2, "N2"), (3, None), (1, "N1"), (2, "N2")),
    ]
    bad = [number for number, one in enumerate(found) if one["errors"] or one["warnings"]]
    assert bad == [1, 4]
    result = shell("validate", *files, code=ExitCode.FINDINGS)
    assert "many.json[2] V002: confidence is 2" in result.err
    assert "rows.ndjson[3]: record is not JSON" in result.err


def test_duplicates_are_found_among_all_files(shell: Shell, tmp_path: Path) -> None:
    bare = {name: value for name, value in RECORD.items() if name != "model_versions"}
    del bare["processing_time_ms"]
    (tmp_path / "one.json").write_text(json.dumps(bare))
    (tmp_path / "two.json").write_text(json.dumps(bare | {"violation_id": "V002"}))
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(encode(photograph("chelsea"), "JPEG"))
    at = ("--received-at", "2026-03-14T12:01:00Z")
    result = shell("validate", tmp_path, *at, code=ExitCode.FINDINGS)
    expected = "not_given(processing_time_ms,model_versions)"
    assert [line.split()[3:] for line in result.out.splitlines()[1:]] == [
        ["-", "-"],
        ["-", "same_bytes"],
        ["-", expected],
        ["duplicate", expected],
    ]
    assert f"has the same bytes as {tmp_path / 'a.jpg'}" in result.err


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
