"""Files that callers name: read to their end, however little a file system gives at once."""

import os
from pathlib import Path

import pytest

from traffic_storage.adapters.files.given import CHUNK_BYTES, GivenFile
from traffic_storage.domain.errors import InvalidInput


def whole(file: GivenFile) -> bytes:
    return b"".join(iter(file.read, b""))


def test_a_short_read_is_not_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system in user space answers with what it has at hand."""
    data = os.urandom(3 * CHUNK_BYTES + 17)
    (tmp_path / "video").write_bytes(data)
    read = os.read
    monkeypatch.setattr(os, "read", lambda fd, size: read(fd, min(size, 100_003)))
    assert whole(GivenFile(tmp_path / "video", "video")) == data


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES, CHUNK_BYTES + 1])
def test_after_the_end_there_is_nothing(tmp_path: Path, size: int) -> None:
    (tmp_path / "video").write_bytes(bytes(size))
    file = GivenFile(tmp_path / "video", "video")
    assert whole(file) == bytes(size)
    (tmp_path / "video").write_bytes(b"more")
    assert file.read() == b""


def test_a_file_without_a_size_of_its_own_is_no_evidence() -> None:
    """What the kernel makes up while it is read can't be told from what changed."""
    with pytest.raises(InvalidInput, match="image: '/proc/self/status': changed while it was read"):
        whole(GivenFile("/proc/self/status", "image"))


def test_closed_early_there_is_nothing_more(tmp_path: Path) -> None:
    (tmp_path / "video").write_bytes(bytes(2 * CHUNK_BYTES))
    file = GivenFile(tmp_path / "video", "video")
    file.read()
    file.close()
    assert file.read() == b""
