"""The file that reserves disk space is always one that was made for it."""

from pathlib import Path

import pytest

from traffic_storage.adapters.record_repo.sql.ballast import Ballast

SIZE = 64 * 1024


@pytest.mark.parametrize("kind", ["hard link", "symbolic link", "dangling link", "smaller file"])
def test_what_lies_there_is_neither_filled_nor_kept(tmp_path: Path, kind: str) -> None:
    other, place = tmp_path / "other", tmp_path / "ballast"
    other.write_text("of somebody else")
    match kind:
        case "hard link":
            place.hardlink_to(other)
        case "symbolic link":
            place.symlink_to(other)
        case "dangling link":
            place.symlink_to(tmp_path / "missing")
        case _:
            place.write_bytes(b"1")
    assert Ballast(place, SIZE).reserve()
    assert other.read_text() == "of somebody else"
    assert not (tmp_path / "missing").exists()
    assert not place.is_symlink()
    assert (place.stat().st_size, place.stat().st_nlink) == (SIZE, 1)


def test_one_that_is_large_enough_stays(tmp_path: Path) -> None:
    place = tmp_path / "ballast"
    assert Ballast(place, 2 * SIZE).reserve()
    before = place.stat().st_ino
    assert Ballast(place, SIZE).reserve()
    assert place.stat().st_ino == before
