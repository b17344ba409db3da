"""`analyze`: tables, bars and JSON."""

from pathlib import Path

from tests.entrypoints.cli.command import Shell
from tests.support.media import shipped_jpeg
from traffic_storage.entrypoints.cli.bars import bar
from traffic_storage.entrypoints.cli.exit_codes import ExitCode


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
    assert shell("analyze", "storage", "--json").value["files"] == 2


def test_a_bar_is_as_long_as_its_share() -> None:
    assert (bar(0), bar(1), bar(0.5), bar(1 / 240)) == ("", "█" * 30, "█" * 15, "▏")
