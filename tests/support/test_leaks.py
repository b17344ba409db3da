"""The watch for leaks sees what is left behind, and nothing else."""

import asyncio
from pathlib import Path

from tests.support.leaks import leaks_since, open_descriptors, tasks_besides_ours


async def test_sees_an_open_file_and_an_open_connection(tmp_path: Path) -> None:
    before, tasks = open_descriptors(), tasks_besides_ours()
    listener = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
    with (tmp_path / "left").open("w"):
        open_now, running = await leaks_since(before, tasks, 0.2)
        listener.close()
    assert dict(open_now) == {str(tmp_path / "left"): 1, "socket": 1}
    assert not running


async def test_sees_a_running_task() -> None:
    before, tasks = open_descriptors(), tasks_besides_ours()
    task = asyncio.ensure_future(asyncio.Event().wait())
    _, running = await leaks_since(before, tasks, 0.2)
    task.cancel()
    assert running == {task}


async def test_waits_for_what_is_about_to_end(tmp_path: Path) -> None:
    before, tasks = open_descriptors(), tasks_besides_ours()
    file = (tmp_path / "late").open("w")
    asyncio.get_running_loop().call_later(0.1, file.close)
    task = asyncio.ensure_future(asyncio.sleep(0.1))
    still_open, running = await leaks_since(before, tasks)
    assert not still_open
    assert not running
    assert task.done()


async def test_a_clean_test_passes(no_leaks: None, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("closed")
    await asyncio.ensure_future(asyncio.sleep(0))
