"""Several processes of one address tell each other their metrics; what one can't tell is left out."""

import asyncio
import logging
import socket
from collections.abc import Sequence
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter

from traffic_storage.entrypoints.http import siblings
from traffic_storage.entrypoints.http.siblings import Siblings


def registry(count: int) -> CollectorRegistry:
    found = CollectorRegistry()
    Counter("requests", "Requests", registry=found).inc(count)
    return found


async def gathered(folder: Path) -> Sequence[tuple[str, float]]:
    """The requests, by process, as process 0 tells them."""
    (family,) = await Siblings(folder, 0).gathered(registry(5))
    return [
        (one.labels["process"], one.value) for one in family.samples if one.name == "requests_total"
    ]


@pytest.mark.parametrize(
    "answer", [b"", b"# TYPE requests counter\nrequests_total 7.0\n", b"# TYPE requ", b"\xff\n"]
)
async def test_a_process_that_ends_while_it_answers_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, answer: bytes
) -> None:
    async def answered(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        writer.close()

    async with (
        await asyncio.start_unix_server(answered, tmp_path / "1.sock"),
        Siblings(tmp_path, 2).answering(lambda: registry(9)),
    ):
        assert await gathered(tmp_path) == [("0", 5), ("2", 9)]
    assert "process 1 does not tell its metrics" in caplog.text


async def test_a_process_that_hangs_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(siblings, "_PATIENCE_SECONDS", 0.05)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "1.sock"))
        listener.listen()
        assert await gathered(tmp_path) == [("0", 5)]
    assert "does not tell its metrics: no answer within 0.05 seconds" in caplog.text


async def test_a_folder_that_was_removed_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gone = tmp_path / "gone"
    with caplog.at_level(logging.WARNING):
        assert await gathered(gone) == [("0", 5)]
    assert "can't be asked" in caplog.text


async def test_one_that_asked_and_does_not_wait_is_no_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with Siblings(tmp_path, 1).answering(lambda: registry(9)):
        with socket.socket(socket.AF_UNIX) as gone:
            gone.connect(str(tmp_path / "1.sock"))
        assert await gathered(tmp_path) == [("0", 5), ("1", 9)]
    assert caplog.text == ""
