"""Access URLs, and the key that signs them."""

import asyncio
import os
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.application.rig import Rig
from traffic_storage.application.access_urls import AccessUrls
from traffic_storage.domain.errors import AccessDenied, ConfigurationError, InvalidInput
from traffic_storage.entrypoints.settings import StorageConfig
from traffic_storage.entrypoints.signing import KEY_FILE, SigningKey
from traffic_storage.entrypoints.testing.containers import NOON


def signer(rig: Rig) -> AccessUrls:
    return rig.boot().container.signer()


def token_of(url: str) -> bytes:
    base, _, token = url.rpartition("/access/")
    assert base == "http://localhost:8001"
    return token.encode()


def test_a_url_opens_its_file_until_it_expires() -> None:
    rig = Rig()
    urls = signer(rig)
    link = urls.url("V001~image", 60)
    assert link.expires_at == NOON + timedelta(seconds=60)
    token = token_of(link.url)
    assert urls.open(token) == "V001~image"
    rig.clock.advance(timedelta(seconds=60) - timedelta.resolution)
    assert urls.open(token) == "V001~image"
    rig.clock.advance(timedelta.resolution)
    with pytest.raises(AccessDenied, match="has expired"):
        urls.open(token)


def test_an_expiry_is_a_whole_second_and_never_later_than_asked() -> None:
    rig = Rig()
    rig.clock.advance(timedelta(milliseconds=700))
    link = signer(rig).url("f", 10)
    assert link.expires_at == NOON + timedelta(seconds=10)


def test_the_public_address_is_a_setting() -> None:
    urls = signer(Rig(public_url="https://evidence.example/storage/"))
    assert urls.url("f").url.startswith("https://evidence.example/storage/access/v1.")


def test_an_hour_is_what_is_not_asked_for_and_the_setting_is_the_longest() -> None:
    urls = signer(Rig(max_url_expiry_seconds=7_200))
    assert urls.url("f").expires_at == NOON + timedelta(hours=1)
    assert urls.url("f", 7_200).expires_at == NOON + timedelta(hours=2)
    with pytest.raises(InvalidInput, match="expires_in"):
        urls.url("f", 7_201)


@pytest.mark.parametrize("file_id", ["", "a/b", "a~b", "..", "x" * 201])
def test_an_id_that_no_file_can_have_gets_no_url(file_id: str) -> None:
    with pytest.raises(InvalidInput, match="file_id"):
        signer(Rig()).url(file_id)


def test_hosts_that_share_the_key_open_each_others_urls_and_no_others() -> None:
    one, two = signer(Rig(url_signing_key="s" * 32)), signer(Rig(url_signing_key="s" * 32))
    other = signer(Rig(url_signing_key="t" * 32))
    token = token_of(one.url("f").url)
    assert two.open(token) == "f"
    with pytest.raises(AccessDenied, match="was not signed with the key of this service"):
        other.open(token)


async def test_a_url_may_be_made_before_anything_was_started() -> None:
    assert signer(Rig()).url("not-stored-yet").url


# The key file


def key_of(folder: Path, **settings: Any) -> SigningKey:
    return SigningKey(StorageConfig(local_base_path=folder, **settings))


def test_a_key_file_is_made_at_first_need_for_its_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    old = os.umask(0)
    try:
        key = key_of(folder)
        assert not folder.exists()
        assert len(key()) == 32
    finally:
        os.umask(old)
    path = folder / KEY_FILE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in folder.iterdir()] == [KEY_FILE]
    assert key_of(folder)() == key() == bytes.fromhex(path.read_text())
    assert key_of(tmp_path / "other")() != key()


def test_the_setting_needs_no_file(tmp_path: Path) -> None:
    assert key_of(tmp_path, url_signing_key="s" * 40)() == b"s" * 40
    assert not list(tmp_path.iterdir())


def test_of_many_makers_at_once_all_get_one_key(tmp_path: Path) -> None:
    makers = 16
    for attempt in range(10):
        folder = tmp_path / str(attempt)
        start = threading.Barrier(makers)

        def made(folder: Path = folder, start: threading.Barrier = start) -> bytes:
            key = key_of(folder)
            start.wait()
            return key()

        with ThreadPoolExecutor(makers) as pool:
            futures = [pool.submit(made) for _ in range(makers)]
            assert len({future.result() for future in futures}) == 1
        assert [entry.name for entry in folder.iterdir()] == [KEY_FILE]


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"ab" * 31, b"xyz" * 32, b"\xff" * 64, b"a" * 63, b"\x00" * 64]
)
def test_a_broken_key_file_is_named_and_not_replaced(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / KEY_FILE
    path.write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        key_of(tmp_path)()
    (problem,) = caught.value.problems
    assert problem.field == "url_signing_key"
    assert str(path) in problem.message
    assert "set url_signing_key" in problem.remedy
    assert path.read_bytes() == content


def test_a_place_where_no_key_can_be_kept_is_named(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("in the way")
    for folder in (in_the_way, in_the_way / "below"):
        with pytest.raises(ConfigurationError, match="url_signing_key: the key file"):
            key_of(folder)()
    (tmp_path / KEY_FILE).mkdir()
    with pytest.raises(ConfigurationError, match="url_signing_key: the key file"):
        key_of(tmp_path)()


def test_a_key_that_could_not_be_read_is_read_when_it_can(tmp_path: Path) -> None:
    path = tmp_path / KEY_FILE
    path.write_text("broken")
    key = key_of(tmp_path)
    with pytest.raises(ConfigurationError):
        key()
    path.write_text("ab" * 32)
    assert key() == b"\xab" * 32


async def test_signing_is_safe_from_many_tasks(tmp_path: Path) -> None:
    key = key_of(tmp_path)
    keys = await asyncio.gather(*(asyncio.to_thread(key) for _ in range(20)))
    assert len(set(keys)) == 1
