"""`serve --processes`: several processes serve one address as one would."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.entrypoints.cli.command import (
    Program,
    Shell,
    ended,
    interrupt,
    read_until,
)
from tests.entrypoints.cli.test_doctor_db import with_servers
from tests.entrypoints.cli.test_serve_demo import address_in, fetched
from tests.entrypoints.http.evidence import IMAGE, RECORD, video
from tests.support.process import descendants, state_of
from tests.support.servers import Bucket, Database, PostgresAddress, RedisAddress
from tests.support.waiting import until
from traffic_storage.entrypoints.cli.exit_codes import ExitCode

ANNOUNCED = "files on this machine"


@pytest.fixture
def config(
    tmp_path: Path, catalogue_database: Database, s3_bucket: Bucket, redis_database: RedisAddress
) -> Path:
    return with_servers(tmp_path, catalogue_database, s3_bucket, redis_database)


class Serving:
    """A running `serve` with several processes."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.told = read_until(process, "stderr", ANNOUNCED)
        self.address = address_in(self.told)

    @property
    def members(self) -> list[int]:
        """The ids of the processes that serve."""
        return descendants(self.process.pid)

    def metrics(self) -> dict[tuple[str, str], float]:
        """The requests that have ended, by process and path template."""
        found: dict[tuple[str, str], float] = {}
        text = fetched(f"{self.address}/metrics").decode()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == "traffic_storage_http_requests_total":
                    at = sample.labels["process"], sample.labels["route"]
                    found[at] = found.get(at, 0) + sample.value
        return found


@pytest.fixture
def serving(program: Program, config: Path) -> Iterator[Serving]:
    with program.started("serve", "--port", "0", "--processes", "2", "--config", config) as process:
        yield Serving(process)


@contextmanager
def paused(pid: int) -> Iterator[None]:
    """Stop a process, so that it accepts nothing, until the block ends."""
    os.kill(pid, signal.SIGSTOP)
    try:
        asyncio.run(until(lambda: state_of(pid) == "T"))
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_either_process_does_what_one_would(serving: Serving) -> None:
    """What one has stored the other hands out, by links of the first, too."""
    first, second = serving.members
    data = b'{"vehicles":7}'
    for number, (writer, reader) in enumerate(((first, second), (second, first))):
        with paused(reader):
            request = urllib.request.Request(
                f"{serving.address}/files/upload/metadata?file_id=M{number}",
                data,
                {"Content-Type": "application/json"},
            )
            with urllib.request.urlopen(request, timeout=30) as answer:
                assert answer.status == 201
            link = json.loads(fetched(f"{serving.address}/files/M{number}/url"))["url"]
        with paused(writer):
            assert fetched(f"{serving.address}/files/M{number}") == data
            assert fetched(link) == data


def test_what_one_changes_the_other_knows_at_once(serving: Serving) -> None:
    """Also what it has handed out before, and so has in its cache."""
    name, why = RECORD["violation_id"], {"reason": "by mistake", "override": "1"}
    image, reason = f"/files/{name}~image", {"reason": "a test"}
    headers = {"Connection": "close"}
    with httpx.Client(base_url=serving.address, headers=headers, timeout=60) as client:

        def ask(method: str, path: str, status: int, **given: Any) -> httpx.Response:
            answer = client.request(method, path, **given)
            assert answer.status_code == status, answer.text
            return answer

        def store(status: int) -> None:
            files = {"image_file": IMAGE, "video_file": video()}
            ask("POST", "/violations", status, data=RECORD, files=files)

        first, second = serving.members
        with paused(second):
            store(201)
        with paused(first):
            store(200)
            (found,) = ask("GET", "/violations?device_id=cam_001", 200).json()["violations"]
            assert found["violation_id"] == name
            assert ask("GET", image, 200).content == IMAGE[1]
        with paused(second):
            assert ask("GET", image, 200).content == IMAGE[1]
            hold = {"violation_id": name, "case_reference": "2025/7", **reason}
            hold_id = ask("POST", "/holds", 201, json=hold).json()["hold_id"]
        with paused(first):
            ask("DELETE", f"/violations/{name}", 409, params=why)
            ask("POST", f"/holds/{hold_id}/release", 200, json=reason)
        with paused(second):
            ask("DELETE", f"/violations/{name}", 200, params=why)
        with paused(first):
            ask("GET", image, 410)
            ask("POST", f"/violations/{name}/undelete", 200, json=reason)
        with paused(second):
            assert ask("GET", image, 200).content == IMAGE[1]


def test_whichever_process_is_asked_tells_the_metrics_of_all(serving: Serving) -> None:
    for pid in serving.members:
        with paused(pid):
            fetched(f"{serving.address}/storage/stats")
    told = serving.metrics()
    stats = {process: n for (process, route), n in told.items() if route == "/storage/stats"}
    assert stats == {"0": 1, "1": 1}
    lines = fetched(f"{serving.address}/metrics").decode().splitlines()
    for name in ("traffic_storage_files_stored_total", "process_resident_memory_bytes"):
        assert sum(line.startswith(f"{name}{{process=") for line in lines) == 2, name
    assert sum(line.startswith("traffic_storage_violations ") for line in lines) == 1


def test_a_process_that_is_killed_is_replaced_and_the_others_serve_meanwhile(
    serving: Serving,
) -> None:
    before = serving.members
    for victim in before:
        os.kill(victim, signal.SIGKILL)
        told = read_until(serving.process, "stderr", "another one starts")
        assert f"was killed by signal {signal.SIGKILL:d}" in told
        assert fetched(f"{serving.address}/healthz")
        asyncio.run(until(lambda: len(serving.metrics()) and _processes(serving) == {"0", "1"}))
    assert not set(before) & set(serving.members)
    out, err = interrupt(serving.process, signal.SIGTERM)
    assert (serving.process.returncode, out) == (ExitCode.OK, "")
    assert err.splitlines()[-1] == "stopped"


def test_one_that_ends_while_the_end_of_another_is_told_is_replaced_too(serving: Serving) -> None:
    first, second = serving.members
    with Path(f"/proc/{serving.process.pid}/fd/2").open("wb", buffering=0) as stderr:
        os.set_blocking(stderr.fileno(), False)
        for some in (b"full\n" * 100, b"\n"):
            while stderr.write(some):
                pass
    os.kill(first, signal.SIGKILL)
    asyncio.run(until(lambda: state_of(first) is None))
    # The process that started them waits until it can tell it.
    os.kill(second, signal.SIGKILL)
    asyncio.run(until(lambda: state_of(second) == "Z"))
    read_until(serving.process, "stderr", "process 0 of 2")
    read_until(serving.process, "stderr", "process 1 of 2")
    asyncio.run(until(lambda: _processes(serving) == {"0", "1"}))


def _processes(serving: Serving) -> set[str]:
    return {process for process, _ in serving.metrics()}


@contextmanager
def uploading(serving: Serving) -> Iterator[socket.socket]:
    """A connection on which a request has begun, and its body is still to be sent."""
    port = int(serving.address.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(
            b"POST /files/upload/metadata?file_id=M HTTP/1.1\r\nHost: localhost\r\n"
            b"Expect: 100-continue\r\nContent-Type: application/json\r\n"
            b"Content-Length: 14\r\n\r\n"
        )
        assert connection.recv(4096).startswith(b"HTTP/1.1 100")
        yield connection


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all_after_their_requests(serving: Serving, number: signal.Signals) -> None:
    members = serving.members
    with uploading(serving) as connection:
        # As a terminal does it: to all of them.
        for pid in (*members, serving.process.pid):
            if number == signal.SIGINT or pid == serving.process.pid:
                os.kill(pid, number)
        read_until(serving.process, "stderr", "waiting up to")
        connection.sendall(b'{"vehicles":7}')
        assert connection.recv(4096).startswith(b"HTTP/1.1 201")
    out, err = ended(serving.process)
    assert (serving.process.returncode, out) == (ExitCode.OK, "")
    assert err.splitlines().count("stopped") == 1
    assert "Traceback" not in err
    assert all(state_of(pid) is None for pid in members)


def test_a_service_manager_that_asks_each_process_to_stop_cancels_no_request(
    serving: Serving,
) -> None:
    """They are asked twice: by it, and by the process that started them."""
    with uploading(serving) as connection:
        for pid in serving.members:
            os.kill(pid, signal.SIGTERM)
        read_until(serving.process, "stderr", "waiting up to")
        for pid in (*serving.members, serving.process.pid):
            os.kill(pid, signal.SIGTERM)
        connection.sendall(b'{"vehicles":7}')
        assert connection.recv(4096).startswith(b"HTTP/1.1 201")
    ended(serving.process)
    assert serving.process.returncode == ExitCode.OK


def test_a_second_signal_cancels_the_requests(serving: Serving) -> None:
    with uploading(serving) as connection:
        serving.process.terminate()
        read_until(serving.process, "stderr", "waiting up to")
        serving.process.terminate()
        assert not connection.recv(4096).startswith(b"HTTP/1.1 201")
    _, err = ended(serving.process)
    assert serving.process.returncode == ExitCode.OK
    assert "Traceback" not in err


def runs_python(pid: int) -> bool:
    """Whether a process runs Python, and no longer the shell that may start it."""
    return Path(f"/proc/{pid}/exe").resolve().name.startswith("python")


def test_a_process_that_is_killed_while_it_starts_is_told(program: Program, config: Path) -> None:
    command = ("serve", "--port", "0", "--processes", "2", "--config", config)
    with program.started(*command) as process:
        asyncio.run(until(lambda: runs_python(process.pid) and descendants(process.pid)))
        os.kill(descendants(process.pid)[0], signal.SIGKILL)
        _, err = ended(process)
    assert process.returncode == ExitCode.FAILURE
    assert f"process 0 of 2 was killed by signal {signal.SIGKILL:d}" in err


def test_they_end_with_the_process_that_started_them(serving: Serving) -> None:
    members = serving.members
    serving.process.kill()
    asyncio.run(until(lambda: all(state_of(pid) in {None, "Z"} for pid in members)))


def test_an_error_that_prevents_the_start_is_told_once(
    program: Program,
    tmp_path: Path,
    postgres: PostgresAddress,
    postgres_database: Database,
    s3_bucket: Bucket,
    redis_database: RedisAddress,
) -> None:
    # A database of its own: the others are lent to further tests, as they were made.
    config = with_servers(tmp_path, postgres_database, s3_bucket, redis_database)
    program("db", "upgrade", "--config", config)
    postgres.execute("UPDATE alembic_version SET version_num = '9999'", postgres_database.name)
    result = program("serve", "--port", "0", "--processes", "3", "--config", config, code=7)
    assert result.err.count("newer") == 1


@pytest.mark.parametrize(
    ("count", "told"),
    [("2", "SQLite"), ("0", "from 1 to 64"), ("65", "from 1 to 64"), ("-1", "from 1 to 64")],
)
def test_what_can_not_be_is_told(shell: Shell, count: str, told: str) -> None:
    result = shell("serve", "--port", "0", f"--workers={count}", code=2)
    assert "--processes" in result.err
    assert told in result.err


def test_a_folder_for_sockets_with_too_long_a_path_is_told(
    program: Program, config: Path, tmp_path: Path
) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    elsewhere = Program(program.home, {"TMPDIR": str(long)})
    result = elsewhere("serve", "--port", "0", "--processes", "2", "--config", config, code=2)
    assert "TMPDIR" in result.err


def test_a_unix_socket_is_shared_too(program: Program, config: Path, tmp_path: Path) -> None:
    place = tmp_path / "s.sock"
    command = ("serve", "--uds", place, "--processes", "2", "--config", config)
    with program.started(*command) as process:
        read_until(process, "stderr", ANNOUNCED)
        for pid in descendants(process.pid):
            transport = httpx.HTTPTransport(uds=str(place))
            with paused(pid), httpx.Client(transport=transport) as client:
                assert client.get("http://localhost/storage/stats").status_code == 200
        interrupt(process)
    assert process.returncode == ExitCode.OK
    assert not place.exists()
