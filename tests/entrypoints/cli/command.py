"""Running the command: in this process where that is enough, or as the installed program."""

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from attrs import field, frozen

from traffic_storage.entrypoints.cli.app import run
from traffic_storage.entrypoints.cli.exit_codes import ExitCode

PROGRAM = Path(sys.executable).with_name("traffic-storage")
LONGEST_SECONDS = 120


@frozen
class Result:
    """What a command printed and told the shell."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[Any]:
        """The values of a line of JSON each."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def value(self) -> Any:
        """The one value that was printed as JSON."""
        return json.loads(self.out)


@frozen
class Shell:
    """Commands in a home of their own, seen by nobody else."""

    home: Path
    capture: pytest.CaptureFixture[str]

    @property
    def base(self) -> Path:
        """The default local_base_path there."""
        return self.home / ".local" / "share" / "traffic-storage"

    def __call__(self, *arguments: str | Path, code: int | None = 0) -> Result:
        """Run a command in this process; `code` is what it must end with (None: anything)."""
        self.capture.readouterr()
        try:
            got = run([str(argument) for argument in arguments])
        finally:
            # A command sets it for its process, which is that of other tests, too.
            logging.getLogger("traffic_storage").setLevel(logging.NOTSET)
        out, err = self.capture.readouterr()
        result = Result(got, out, err)
        assert code is None or got == code, result
        assert isinstance(got, ExitCode)
        return result


@frozen
class Program:
    """The installed program in a home of its own."""

    home: Path
    environment: Mapping[str, str] = field(factory=dict)

    def __call__(self, *arguments: str | Path, code: int | None = 0) -> Result:
        """Run the program to its end."""
        with self.started(*arguments) as process:
            out, err = process.communicate(timeout=LONGEST_SECONDS)
        result = Result(process.returncode, out, err)
        assert code is None or process.returncode == code, result
        return result

    @contextmanager
    def started(self, *arguments: str | Path) -> Iterator["subprocess.Popen[str]"]:
        """The program, running; killed at the end if it still does."""
        process = subprocess.Popen(
            [PROGRAM, *map(str, arguments)],
            env=self.variables(),
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    stream.close()

    def variables(self) -> dict[str, str]:
        """The environment in which it runs."""
        kept = {
            name: os.environ[name]
            for name in ("PATH", "COVERAGE_PROCESS_START")
            if name in os.environ
        }
        return {**kept, "HOME": str(self.home), "LANG": "C.UTF-8", **self.environment}


def read_until(process: "subprocess.Popen[str]", stream: str, text: str) -> str:
    """What a running program printed until a line that contains `text`."""
    source = process.stderr if stream == "stderr" else process.stdout
    assert source is not None
    seen = []
    for line in source:
        seen.append(line)
        if text in line:
            return "".join(seen)
    raise AssertionError(f"ended without {text!r}: {''.join(seen)}")


def interrupt(process: "subprocess.Popen[str]", number: int = signal.SIGINT) -> tuple[str, str]:
    """Send a signal and wait for the end; the rest of what was printed."""
    process.send_signal(number)
    return ended(process)


def ended(process: "subprocess.Popen[str]") -> tuple[str, str]:
    """Wait for the end of a program; the rest of what was printed.

    `communicate` would lose what `read_until` has read behind its line.
    """
    assert process.stdout is not None
    assert process.stderr is not None
    with ThreadPoolExecutor(2) as threads:
        out, err = threads.submit(process.stdout.read), threads.submit(process.stderr.read)
        try:
            process.wait(LONGEST_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        return out.result(), err.result()


def set_environment(monkeypatch: pytest.MonkeyPatch, home: Path, names: Sequence[str] = ()) -> None:
    """Give this process a home of its own and no setting of the environment."""
    for name in [*os.environ, *names]:
        if name.startswith(("TRAFFIC_STORAGE_", "XDG_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("NO_COLOR", "1")
