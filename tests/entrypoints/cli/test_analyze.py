"""`analyze`: tables, bars and JSON."""

import asyncio
from pathlib import Path

import pytest

from tests.domain.test_data_quality import NONE, sharp
from tests.entrypoints.cli.command import Shell
from tests.support.media import shipped_jpeg
from traffic_storage import StorageConfig, StorageService
from traffic_storage.domain.data_quality import data_quality
from traffic_storage.domain.duplicates import DuplicateGroup, DuplicateReport
from traffic_storage.domain.identifiers import FileId
from traffic_storage.entrypoints.analysis_views import data_quality_view
from traffic_storage.entrypoints.cli.analyze import _say_quality
from traffic_storage.entrypoints.cli.bars import bar
from traffic_storage.entrypoints.cli.exit_codes import ExitCode
from traffic_storage.entrypoints.testing.units import NOON, new_record


def test_storage_is_shown_with_bars(shell: Shell, tmp_path: Path) -> None:
    assert shell("analyze", "storage", code=ExitCode.NOT_FOUND).out == ""
    for name in ("x.jpg", "y.jpg"):
        (tmp_path / name).write_bytes(shipped_jpeg())
        shell("store", tmp_path / name, "--device-id", "cam-1", "--file-id", name)
    out = shell("analyze", "storage").out
    assert "storage efficiency  0.500" in out.replace("   ", "  ")
    assert f"  cam-1  {bar(1.0)}" in out
    assert "LOCAL_ONLY (now)" in out
    assert "repeat the content of another file" in out
    assert "never (too little history)" in out
    found = shell("analyze", "storage", "--json").value
    assert found["files"] == 2
    growth = found["growth"][0]["forecast"]
    assert (growth["enough_history"], growth["low"], growth["high"]) == (False, [], [])


def test_each_analysis_is_shown_and_written_as_a_page(shell: Shell, tmp_path: Path) -> None:
    async def fill() -> None:
        async with StorageService(StorageConfig(local_base_path=shell.base)) as storage:
            for number in range(2):
                record = new_record(f"V{number}", device_id="<cam>")
                await storage.store_violation_evidence(record, image=shipped_jpeg())

    asyncio.run(fill())
    shown = {
        "quality": ("valid", "2 images: V0~image, V1~image"),
        "storage": ("GROWTH", "too little history"),
        "violations": ("BY HOUR", "<cam>"),
    }
    for what, words in shown.items():
        page = tmp_path / f"{what}.html"
        out = shell("analyze", what, "--html", page).out
        assert all(word in out for word in words)
        text = page.read_text("utf-8")
        assert text.startswith("<!doctype html>")
        assert "<svg" in text
        assert "<script" not in text
        assert "<cam>" not in text
        assert "http" not in text
        assert shell("analyze", what, "--json").value["measured_at"]
    assert "From all 2 violations." in (tmp_path / "violations.html").read_text("utf-8")
    unknown = shell("analyze", "quality", "--device-id", "cam_9", code=ExitCode.NOT_FOUND)
    assert "there is no device 'cam_9'" in unknown.err
    none = shell("analyze", "violations", "--start", "2000-01-01", "--end", "2000-02-01", "--json")
    assert none.value["violations"] == 0
    denied = shell("analyze", "storage", "--html", tmp_path / "no" / "x.html", code=ExitCode.USAGE)
    assert "can't be written" in denied.err
    assert len(list(tmp_path.glob("*.html"))) == 3


def test_a_bar_is_as_long_as_its_share() -> None:
    assert (bar(0), bar(1), bar(0.5), bar(1 / 240)) == ("", "█" * 30, "█" * 15, "▏")


def test_cameras_that_change_come_before_the_duplicates(capsys: pytest.CaptureFixture[str]) -> None:
    samples = [sharp("cam-1", day, 0.4 - 0.01 * day) for day in range(20)]
    near = DuplicateReport(
        600, 1, tuple(DuplicateGroup((FileId(f"a{n}"), FileId(f"b{n}")), 1) for n in range(251))
    )
    _say_quality(data_quality_view(data_quality(samples, NOON, NONE, near)))
    out = capsys.readouterr().out
    assert (
        out.index("cam-1: the acuity") < out.index("SCORES") < out.index("502 of 600 images look")
    )
    assert out.count(" images: ") == 3
