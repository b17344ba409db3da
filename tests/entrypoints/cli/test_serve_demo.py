"""`serve` and `demo` as installed programs: served, found, stopped cleanly."""

import gc
import json
import re
import shlex
import signal
import socket
import sqlite3
import stat
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
import uvicorn

from tests.entrypoints.cli.command import (
    Program,
    Shell,
    ended,
    interrupt,
    read_until,
)
from tests.entrypoints.cli.test_doctor_db import with_servers
from tests.support.servers import Bucket, Database, RedisAddress
from traffic_storage.domain.errors import InvalidInput
from traffic_storage.entrypoints.cli.exit_codes import ExitCode
from traffic_storage.entrypoints.cli.listening import bound, bound_to_file
from traffic_storage.entrypoints.cli.serving import run_server
from traffic_storage.entrypoints.settings import StorageConfig


def address_in(text: str) -> str:
    """The first address of a service in a text."""
    found = re.search(r"http://\S+?:\d+", text)
    assert found, text
    return found[0]


def fetched(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=30) as answer:
        body: bytes = answer.read()
        return body


def failing(url: str) -> int:
    with pytest.raises(urllib.error.HTTPError) as caught:
        fetched(url)
    caught.value.close()
    return caught.value.code


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_it_is_stopped(program: Program, number: int) -> None:
    with program.started("serve", "--port", "0") as process:
        told = read_until(process, "stderr", "files on this machine")
        assert b"local_storage" in fetched(f"{address_in(told)}/storage/stats")

        out, err = interrupt(process, number)

    assert process.returncode == ExitCode.OK
    assert out == ""
    assert err.splitlines()[-1] == "stopped"
    assert "Traceback" not in told + err


def test_it_says_who_may_come_in(program: Program, shell: Shell, tmp_path: Path) -> None:
    key = shell("keys", "new", "--json").value
    file = tmp_path / "config.toml"
    file.write_text(f'api_keys = ["{key["setting"]}"]\n')

    logs = ("--log-format", "json", "--log-level", "info")
    with program.started("serve", "--port", "0", "--config", file, *logs) as process:
        told = read_until(process, "stderr", "files on this machine")
        address = address_in(told)
        assert failing(f"{address}/storage/stats") == 401
        request = urllib.request.Request(
            f"{address}/storage/stats", headers={"Authorization": f"Bearer {key['key']}"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert answer.status == 200
            request_id = answer.headers["x-request-id"]
        _, err = interrupt(process)

    assert "keys registered: 1" in told
    assert key["key"] not in told + err
    lines = [json.loads(line) for line in err.splitlines() if line.startswith("{")]
    (line,) = [line for line in lines if line.get("request_id") == request_id]
    assert (line["level"], line["status"]) == ("info", 200)
    assert (line["method"], line["path"]) == ("GET", "/storage/stats")


def test_without_keys_only_this_machine_is_served(program: Program) -> None:
    def asked(port: int, target: str) -> bytes:
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            head = f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            connection.sendall(head.encode())
            return connection.makefile("rb").readline().split()[1]

    with program.started("serve", "--port", "0") as process:
        told = read_until(process, "stderr", "files on this machine")
        port = int(address_in(told).rpartition(":")[2])
        statuses = [
            asked(port, target)
            for target in (
                "/storage/stats",
                # The host of a target in absolute form counts, not the header's.
                f"http://localhost:{port}/storage/stats",
                "http://evidence.example.org/storage/stats",
                "http://localhost@evidence.example.org/storage/stats",
            )
        ]
        interrupt(process)

    assert "accepts only requests from its own machine" in told
    assert "set api_keys before you use a proxy" in told
    assert statuses == [b"200", b"200", b"403", b"403"]


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_without_keys_it_does_not_start_where_others_can_connect(shell: Shell, host: str) -> None:
    result = shell("serve", "--port", "0", "--host", host, code=2)

    assert "lets other machines connect" in result.err
    for remedy in ("keys new", "127.0.0.1", "--uds", "open_access"):
        assert remedy in result.err


@pytest.mark.parametrize("mode", ["keys", "open_access"])
def test_with_keys_or_open_access_it_starts_on_every_address(program: Program, mode: str) -> None:
    given = {"keys": ("API_KEYS", "a:" + "0" * 64), "open_access": ("OPEN_ACCESS", "true")}
    name, value = given[mode]
    serving = Program(program.home, {f"TRAFFIC_STORAGE_{name}": value})
    with serving.started("serve", "--port", "0", "--host", "0.0.0.0") as process:
        address = address_in(read_until(process, "stderr", "files on this machine"))
        port = address.rpartition(":")[2]
        assert fetched(f"http://127.0.0.1:{port}/healthz")
        interrupt(process)


def by_socket(file: Path, path: str, *arguments: str) -> tuple[int, str]:
    """The status and the body of a response by a Unix socket."""
    written = ("-w", "\n%{http_code}", "--max-time", "60")
    done = subprocess.run(
        ["curl", "-s", *written, "--unix-socket", file, *arguments, f"http://localhost{path}"],
        capture_output=True,
        text=True,
        check=True,
    )
    body, _, status = done.stdout.rpartition("\n")
    return int(status), body


def test_a_socket_is_for_a_proxy_of_this_machine(program: Program, tmp_path: Path) -> None:
    file = tmp_path / "service.sock"
    abandoned = bound_to_file(file)
    abandoned.close()
    public = Program(program.home, {"TRAFFIC_STORAGE_PUBLIC_URL": "https://evidence.example"})

    with public.started("serve", "--uds", file) as process:
        told = read_until(process, "stderr", "files on this machine")
        mode = stat.S_IMODE(file.stat().st_mode)
        forwarded = ("-H", "X-Forwarded-For: 10.0.0.7", "-H", "Host: evidence.example")
        own = by_socket(file, "/storage/stats")
        passed_on = by_socket(file, "/storage/stats", *forwarded)
        page = ("-H", "Origin: https://evil.example")
        of_a_page = by_socket(file, "/storage/stats", *forwarded, *page)
        of_another_name = by_socket(file, "/storage/stats", "-H", "Host: evil.example")
        second = public("serve", "--uds", file, code=2)
        interrupt(process)

    assert "needs no API key" in told
    assert mode == 0o660
    assert (own[0], passed_on[0]) == (200, 200)
    assert (of_a_page[0], of_another_name[0]) == (403, 403)
    assert "foreign-page" in of_a_page[1]
    assert "foreign-host" in of_another_name[1]
    assert "in use" in second.err
    assert not file.exists()


def test_what_is_no_socket_is_kept(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "evidence.txt"
    file.write_text("kept")

    assert "can't listen" in shell("serve", "--uds", file, code=2).err
    assert file.read_text() == "kept"
    assert "together" in shell("serve", "--uds", file, "--port", "9", code=2).err
    assert "can't listen" in shell("serve", "--uds", tmp_path / ("a" * 200), code=2).err


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate of localhost and its key."""
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    made = authority.issue_cert("localhost")
    made.private_key_pem.write_to_path(folder / "key.pem")
    for part in made.cert_chain_pems:
        part.write_to_path(folder / "chain.pem", append=True)
    return folder / "chain.pem", folder / "key.pem"


def test_it_speaks_https(program: Program, certificate: tuple[Path, Path]) -> None:
    cert, key = certificate
    with program.started("serve", "--port", "0", "--tls-cert", cert, "--tls-key", key) as process:
        told = read_until(process, "stderr", "files on this machine")
        port = told.partition("https://127.0.0.1:")[2].split()[0]
        ask: list[str | Path] = ["curl", "-s", "--cacert", cert.with_name("ca.pem")]
        files = f"https://localhost:{port}/files"
        json = ["-H", "Content-Type: application/json", "-d", '{"vehicles": 7}']
        stored, link = (
            subprocess.run([*ask, *arguments], capture_output=True, check=True).stdout
            for arguments in ([*json, f"{files}/upload/metadata?file_id=M"], [f"{files}/M/url"])
        )
        _, err = interrupt(process)

    assert b'"file_id":"M"' in stored
    assert f"https://localhost:{port}/access/".encode() in link
    assert err.splitlines()[-1] == "stopped"


def test_a_wrong_certificate_is_told(
    shell: Shell, tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    cert, key = certificate
    other = tmp_path / "other.pem"
    trustme.CA().issue_cert("localhost").private_key_pem.write_to_path(other)
    rubbish = tmp_path / "rubbish.pem"
    rubbish.write_text("no certificate")
    for given, words in (
        (("--tls-key", key), "needed with --tls-key"),
        (("--tls-cert", tmp_path / "none.pem"), "none.pem can't be read: No such file"),
        (("--tls-cert", tmp_path), "can't be read"),
        (("--tls-cert", cert), "can't be loaded"),
        (("--tls-cert", cert, "--tls-key", other), "can't be loaded"),
        (("--tls-cert", rubbish, "--tls-key", key), "can't be loaded"),
    ):
        assert words in shell("serve", "--port", "0", *given, code=2).err


@pytest.mark.parametrize("given", ["http://localhost:8001", "https://evidence.example/store"])
def test_a_given_public_url_is_kept(program: Program, given: str) -> None:
    serving = Program(program.home, {"TRAFFIC_STORAGE_PUBLIC_URL": given})
    (program.home / "m.json").write_text('{"vehicles": 7}')
    serving("store", program.home / "m.json", "--file-id", "M")
    with serving.started("serve", "--port", "0") as process:
        address = address_in(read_until(process, "stderr", "files on this machine"))
        link = fetched(f"{address}/files/M/url").decode()
        interrupt(process)

    assert f"{given}/access/" in link


def test_links_lead_to_the_port_that_is_served(
    program: Program, shell: Shell, tmp_path: Path
) -> None:
    (tmp_path / "m.json").write_text('{"vehicles": 7}')
    shell("store", tmp_path / "m.json", "--file-id", "M")

    with program.started("serve", "--port", "0") as process:
        address = address_in(read_until(process, "stderr", "files on this machine"))
        link = fetched(f"{address}/files/M/url").decode()
        port = address.rpartition(":")[2]
        interrupt(process)

    assert f"http://localhost:{port}/access/" in link


@pytest.mark.parametrize("patient", [True, False])
def test_a_stalled_upload_does_not_hold_the_end_up_for_long(
    program: Program, patient: bool
) -> None:
    with program.started("serve", "--port", "0") as process:
        told = read_until(process, "stderr", "files on this machine")
        port = int(address_in(told).rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            connection.sendall(
                b"PUT /files/a/content HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
                b"Content-Type: image/jpeg\r\nContent-Length: 9\r\n\r\n"
            )
            # From here on it waits for the body.
            assert connection.recv(4096).startswith(b"HTTP/1.1 100")
            process.send_signal(signal.SIGINT)
            read_until(process, "stderr", "waiting up to")
            if not patient:
                process.send_signal(signal.SIGINT)
            _, err = ended(process)

    assert process.returncode == ExitCode.OK
    assert err.splitlines()[-1] == "stopped"
    assert "Traceback" not in err
    assert "Cancelled" not in err


@pytest.mark.parametrize("command", [("serve",), ("demo",)])
def test_a_port_in_use_is_told_at_once(shell: Shell, command: tuple[str, ...]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = shell(*command, "--port", str(taken.getsockname()[1]), code=2)

    assert "in use" in result.err
    assert result.out == ""


def test_no_connection_is_accepted_before_the_application_has_started() -> None:
    with bound("127.0.0.1", 0) as listener, pytest.raises(ConnectionRefusedError):
        socket.create_connection(listener.getsockname(), timeout=30)


def test_a_newer_database_is_told_in_words(program: Program, shell: Shell) -> None:
    shell("db", "upgrade")
    with closing(sqlite3.connect(shell.base / "catalogue.sqlite3")) as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
        database.commit()

    result = program("serve", "--port", "0", code=7)

    assert "newer" in result.err
    assert "Traceback" not in result.err


@pytest.fixture
def signal_handlers() -> Iterator[None]:
    """A server sets them for its process."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("signal_handlers")
def test_a_port_that_is_taken_while_the_application_starts_is_told(tmp_path: Path) -> None:
    settings = StorageConfig(local_base_path=tmp_path / "evidence", workers=0)
    with bound("127.0.0.1", 0) as listener, socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(listener.getsockname())
        other.listen()
        with pytest.raises(InvalidInput, match="in use"):
            run_server(settings, listener, lambda: pytest.fail("it serves"))


@pytest.mark.usefixtures("signal_handlers")
def test_a_signal_that_comes_before_the_server_handles_signals_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = StorageConfig(local_base_path=tmp_path / "evidence", workers=0)
    run = uvicorn.Server.run

    def after_a_signal(server: uvicorn.Server, sockets: list[socket.socket]) -> None:
        signal.raise_signal(signal.SIGTERM)
        assert server.should_exit
        run(server, sockets)

    monkeypatch.setattr(uvicorn.Server, "run", after_a_signal)
    with bound("127.0.0.1", 0) as listener:
        assert run_server(settings, listener, lambda: None) is ExitCode.OK


@pytest.mark.usefixtures("signal_handlers")
def test_garbage_collections_spare_what_the_start_has_made(tmp_path: Path) -> None:
    settings = StorageConfig(local_base_path=tmp_path / "evidence", workers=0)
    before, spared = gc.get_freeze_count(), list[int]()

    def serving() -> None:
        spared.append(gc.get_freeze_count())
        signal.raise_signal(signal.SIGTERM)

    with bound("127.0.0.1", 0) as listener:
        assert run_server(settings, listener, serving) is ExitCode.OK
    assert spared[0] > before


def test_a_host_that_is_none_is_told(shell: Shell) -> None:
    assert "can't listen" in shell("serve", "--host", "203.0.113.1", code=2).err
    assert "a port is a number from 0 to 65535" in shell("serve", "--port", "70000", code=2).err


def test_the_demo_runs_twice_in_a_folder_of_its_own(program: Program, tmp_path: Path) -> None:
    settings = {"TRAFFIC_STORAGE_LOCAL_BASE_PATH": str(tmp_path / "evidence")}
    demo = Program(program.home, settings)
    first, second = demo("demo", "--once"), demo("demo", "--once")

    for result in (first, second):
        assert "9 violations" in result.out or "violations  9" in result.out
        assert "each byte is as it was stored" in result.out
        assert "recognised as a retry, nothing changed" in result.out
        assert result.err == ""
    assert "already stored" not in first.out
    assert second.out.count("already stored") == 9
    assert not (tmp_path / "evidence").exists()
    own = program.home / ".local" / "share" / "traffic-storage-demo"
    assert (own / "catalogue.sqlite3").exists()


def test_the_demo_can_leave_nothing_behind(program: Program, tmp_path: Path) -> None:
    own = Program(program.home, {"TMPDIR": str(tmp_path)})
    own("demo", "--once", "--temporary")

    assert list(tmp_path.glob("traffic-storage-demo-*")) == []
    assert list(program.home.iterdir()) == []


def test_the_demo_puts_nothing_for_good_where_it_shall_leave_nothing(
    shell: Shell, tmp_path: Path
) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(f'local_base_path = "{tmp_path / "evidence"}"\n')

    result = shell("demo", "--once", "--temporary", "--config", file, code=2)

    assert "--temporary" in result.err
    assert not (tmp_path / "evidence").exists()


def test_the_demo_serves_what_it_stored_and_its_lines_work(program: Program) -> None:
    with program.started("demo", "--port", "0") as process:
        told = read_until(process, "stdout", "in a browser")
        lines = [shlex.split(line) for line in told.splitlines() if line.startswith("  curl")]
        answers = [
            subprocess.run(
                [*line, "-sS", "--fail"], capture_output=True, check=True, cwd=program.home
            ).stdout
            for line in lines
        ]
        assert b"DEMO-" in answers[0]
        assert (program.home / "evidence.webp").stat().st_size > 10_000
        assert b"206" in answers[2]
        assert b"/access/" in answers[3]
        assert b"local_storage" in answers[4]
        assert b"<html" in fetched(f"{address_in(told)}/docs").lower()

        _, err = interrupt(process)

    assert process.returncode == ExitCode.OK
    assert err.splitlines()[-1] == "stopped"


def test_the_demo_can_be_interrupted_while_it_works(program: Program, shell: Shell) -> None:
    with program.started("demo", "--once") as process:
        read_until(process, "stdout", "cameras")
        _, err = interrupt(process)

    assert process.returncode == ExitCode.INTERRUPTED
    assert err == "interrupted\n"
    assert shell("demo", "--once").code == ExitCode.OK


def test_the_demo_runs_on_the_real_thing_that_a_named_file_says(
    program: Program,
    shell: Shell,
    tmp_path: Path,
    postgres_database: Database,
    s3_bucket: Bucket,
    redis_database: RedisAddress,
) -> None:
    file = with_servers(tmp_path, postgres_database, s3_bucket, redis_database)

    out = program("demo", "--once", "--config", file).out

    assert "strategy HYBRID" in out
    assert "each byte is as it was stored" in out
    assert shell("stats", "--config", file, "--json").value["cloud_storage"]["files"] == 3


def test_what_another_version_of_the_demo_drew_is_told(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text('{"vehicles": 7}')
    base = tmp_path / "demo"
    for day in (datetime.now(UTC), datetime.now(UTC) + timedelta(minutes=10)):
        snapshot = f"DEMO-{day:%Y%m%d}-snapshot"
        shell("store", tmp_path / "m.json", "--file-id", snapshot, "--base-path", base)

    result = shell("demo", "--once", "--base-path", base, code=2)

    assert "--temporary" in result.err
