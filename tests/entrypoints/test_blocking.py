"""`StorageService.sync`: the same service without `await`, also where a loop runs already."""

import asyncio
import inspect
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import pytest

from tests.support import media
from traffic_storage import (
    BlockingStorageService,
    Conflict,
    DataAnalyzer,
    InvalidInput,
    NotFound,
    StorageConfig,
    StorageService,
    ViolationRecord,
)

FRAME = np.zeros((4, 6, 3), np.uint8)
RECORD = ViolationRecord(
    violation_id="V001",
    device_id="cam_001",
    violation_type="speed",
    timestamp=datetime(2026, 11, 1, 12, tzinfo=UTC),
    vehicle_bbox=[0, 0, 2, 2],
    vehicle_class="car",
    confidence=0.9,
)


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[BlockingStorageService]:
    with StorageService.sync(StorageConfig(local_base_path=tmp_path)) as storage:
        yield storage


def _work(storage: BlockingStorageService) -> None:
    stored = storage.store_violation_evidence(RECORD, FRAME)
    assert stored["image"]["file_id"] == "V001~image"
    assert storage.get_violation_records()[0]["violation_id"] == "V001"
    image, _ = storage.retrieve_image("V001~image")
    np.testing.assert_array_equal(image, FRAME)
    with pytest.raises(NotFound):
        storage.get_file("V002~image")


def _error(call: Callable[..., object], *args: object) -> BaseException | None:
    """Return what a call raises, None if it returns."""
    try:
        call(*args)
    except BaseException as error:  # noqa: BLE001 - the test looks at it
        return error
    return None


def test_a_script_needs_no_await(storage: BlockingStorageService) -> None:
    _work(storage)
    assert storage.generate_access_url("V001~image").startswith("http")
    assert storage.run(DataAnalyzer(storage.service).analyze_data_quality())["sampled"] >= 0


async def test_it_works_where_a_loop_runs_already(storage: BlockingStorageService) -> None:
    _work(storage)


def test_a_file_is_read_in_chunks(storage: BlockingStorageService) -> None:
    data = media.video("mp4")
    storage.store_video_segment(data, "S1")
    stream = storage.open_file("S1")
    assert stream.metadata["size_bytes"] == len(data)
    assert b"".join(stream.chunks()) == data
    assert b"".join(stream.chunks(10, 20)) == data[10:20]
    chunks = stream.chunks()
    next(chunks)
    chunks.close()


def test_what_is_opened_closes_its_chunks(storage: BlockingStorageService) -> None:
    data = media.video("mp4")
    storage.store_video_segment(data, "S1")
    with storage.open_file("S1") as stream:
        chunks, others = stream.chunks(), stream.chunks()
        next(chunks)
        assert next(others)
    assert list(chunks) == list(others) == []
    assert b"".join(stream.chunks()) == data


async def test_what_is_opened_with_await_closes_its_chunks(tmp_path: Path, no_leaks: None) -> None:
    data = media.video("mp4")
    async with StorageService(StorageConfig(local_base_path=tmp_path, workers=0)) as storage:
        await storage.store_video_segment(data, "S1")
        async with await storage.open_file("S1") as stream:
            chunks = stream.chunks()
            assert await anext(chunks)
        assert [chunk async for chunk in chunks] == []


def test_several_threads_may_call_it(storage: BlockingStorageService) -> None:
    with ThreadPoolExecutor(4) as threads:
        calls = [
            threads.submit(storage.store_metadata, {"number": number % 2}, "M")
            for number in range(8)
        ]
    errors = [call.exception() for call in calls]
    assert sum(error is None for error in errors) == 4
    assert all(error is None or isinstance(error, Conflict) for error in errors)


def test_every_coroutine_of_the_service_has_its_method() -> None:
    for name, method in inspect.getmembers(StorageService, inspect.iscoroutinefunction):
        if name.startswith("_") or name == "aclose":
            continue
        waiting = getattr(BlockingStorageService, name)
        assert not inspect.iscoroutinefunction(waiting)
        assert waiting.__doc__
        if name != "open_file":
            assert inspect.signature(waiting) == inspect.signature(method)


def test_what_is_closed_is_told(tmp_path: Path, no_leaks: None) -> None:
    storage = StorageService.sync(StorageConfig(local_base_path=tmp_path))
    storage.store_metadata({}, "M")
    storage.close()
    storage.close()
    with pytest.raises(RuntimeError, match="the service is closed"):
        storage.get_file("M")


@pytest.mark.parametrize("interrupted", [False, True])
def test_closing_ends_the_calls_that_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, interrupted: bool
) -> None:
    storage = StorageService.sync(StorageConfig(local_base_path=tmp_path))
    waiting = threading.Event()

    async def endless() -> None:
        waiting.set()
        await asyncio.Event().wait()

    # A daemon, so that a call that never ends fails this test only.
    errors: SimpleQueue[BaseException | None] = SimpleQueue()
    threading.Thread(target=lambda: errors.put(_error(storage.run, endless())), daemon=True).start()
    assert waiting.wait(60)
    if interrupted:
        _interrupt(monkeypatch)
        with pytest.raises(KeyboardInterrupt):
            storage.close()
    else:
        storage.close()
    error = errors.get(timeout=20)
    assert isinstance(error, RuntimeError)
    assert str(error) == "the service is closed: make a new one"


def test_closing_ends_a_store_from_a_slow_reader(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    storage = StorageService.sync(StorageConfig(local_base_path=tmp_path))
    reading, ended = threading.Event(), threading.Event()

    class Slow:
        """Gives its bytes only once the call that reads them has ended."""

        def read(self, _size: int) -> bytes:
            reading.set()
            ended.wait(20)
            return media.encoded()

    def store() -> BaseException | None:
        try:
            return _error(storage.store_image, Slow(), "I")
        finally:
            ended.set()

    with ThreadPoolExecutor(1) as threads:
        stored = threads.submit(store)
        assert reading.wait(60)
        storage.close()
    assert str(stored.result()) == "the service is closed: make a new one"
    assert not caplog.records
    with StorageService.sync(StorageConfig(local_base_path=tmp_path)) as storage:
        assert storage.find_files().items == ()


def test_chunks_of_a_closed_service_may_be_closed(storage: BlockingStorageService) -> None:
    storage.store_video_segment(media.video("mp4"), "S1")
    stream = storage.open_file("S1")
    chunks = stream.chunks()
    next(chunks)
    storage.close()
    chunks.close()
    with pytest.raises(RuntimeError, match="the service is closed"):
        next(stream.chunks())


def test_a_forked_process_is_told_to_make_its_own(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys; from traffic_storage import *\n"
        "with StorageService.sync(StorageConfig(local_base_path=sys.argv[1])) as storage:\n"
        "    storage.store_metadata({}, 'M')\n"
        "    if not (child := os.fork()):\n"
        "        signal.alarm(20)\n"
        "        try:\n"
        "            storage.find_files()\n"
        "        except RuntimeError as error:\n"
        "            print(error, flush=True)\n"
        "        storage.close()\n"
        "        os._exit(0)\n"
        "    print(os.waitpid(child, 0)[1], storage.get_file('M')['file_id'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script, tmp_path],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    told = "the service belongs to another process: make one in each process, after the fork\n"
    assert (done.stdout, done.stderr) == (f"{told}0 M\n", "")


def test_a_start_that_fails_leaves_no_thread(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    before = set(threading.enumerate())
    with (
        pytest.raises(Exception, match="file"),
        StorageService.sync(StorageConfig(local_base_path=tmp_path / "file")),
    ):
        pass
    assert not [one for one in set(threading.enumerate()) - before if "service" in one.name]


def test_its_own_thread_can_not_wait_for_itself(storage: BlockingStorageService) -> None:
    async def inside() -> Any:
        return storage.get_storage_statistics()

    with pytest.raises(RuntimeError, match="can't wait for it"):
        storage.run(inside())


class Interrupted:
    """A future whose waiting is interrupted once its coroutine runs."""

    def __init__(self, future: Any) -> None:
        self._future = future

    def result(self) -> None:
        raise KeyboardInterrupt

    def __getattr__(self, name: str) -> Any:
        return getattr(self._future, name)


def _interrupt(patched: pytest.MonkeyPatch) -> None:
    submit = asyncio.run_coroutine_threadsafe
    patched.setattr(
        asyncio,
        "run_coroutine_threadsafe",
        lambda coroutine, loop: Interrupted(submit(coroutine, loop)),
    )


def test_an_interrupt_cancels_the_call(
    storage: BlockingStorageService, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = threading.Event()

    async def endless() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    with monkeypatch.context() as patched:
        _interrupt(patched)
        with pytest.raises(KeyboardInterrupt):
            storage.run(endless())
    assert storage.find_files().items == ()


def test_a_script_that_does_not_close_it_ends(tmp_path: Path) -> None:
    script = (
        "import sys; from traffic_storage import *\n"
        "storage = StorageService.sync(StorageConfig(local_base_path=sys.argv[1]))\n"
        "print(storage.store_metadata({}, 'M')['file_id'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "M\n"), done.stderr
    with StorageService.sync(StorageConfig(local_base_path=tmp_path)) as storage:
        assert storage.get_file("M")["file_id"] == "M"


def test_wrong_settings_are_told_at_once(tmp_path: Path) -> None:
    given: Any = "evidence"
    with pytest.raises(InvalidInput, match="config: is a str"):
        StorageService.sync(given)
