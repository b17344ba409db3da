"""The key file of access URLs is its user's alone, and so are the folders made for it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from traffic_storage import ConfigurationError, StorageConfig, StorageService
from traffic_storage.entrypoints.signing import KEY_FILE


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    """As a shell has it."""
    before = os.umask(0o022)
    yield
    os.umask(before)


async def test_a_link_before_the_first_store_makes_folders_for_this_user_alone(
    tmp_path: Path,
) -> None:
    base = tmp_path / "data" / "evidence"
    async with StorageService(StorageConfig(local_base_path=base), "LOCAL_ONLY") as storage:
        assert storage.generate_access_url("V001~image")
    made = (base.parent, base, base / KEY_FILE)
    assert [path.stat().st_mode & 0o777 for path in made] == [0o700, 0o700, 0o600]


def test_a_pipe_in_place_of_the_key_holds_nobody_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / KEY_FILE)
    service = StorageService(StorageConfig(local_base_path=tmp_path), "LOCAL_ONLY")
    with pytest.raises(ConfigurationError, match="not a regular file"):
        service.generate_access_url("V001~image")


def test_a_link_of_a_service_that_is_not_open_does_so_too(tmp_path: Path) -> None:
    base = tmp_path / "data" / "evidence"
    service = StorageService(StorageConfig(local_base_path=base), "LOCAL_ONLY")
    assert service.generate_access_url("V001~image")
    assert [path.stat().st_mode & 0o777 for path in (base.parent, base)] == [0o700, 0o700]
