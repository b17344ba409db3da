"""SIGKILL at each step of a move: the file can be read at once, and one restart ends the move."""

import asyncio
import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.support.servers import PostgresServer, S3Server
from tests.support.setups import on_bucket, on_database

# A move in its order: after which call of a port the process dies. What is durable after one call
# is what is durable before the next.
STEPS = [
    ("enqueue", 1),
    ("claim", 1),
    ("read", 1),
    ("begin", 1),
    ("put", 1),
    ("verify", 1),
    ("finish", 1),
    ("claim", 2),
    ("verify", 2),
    ("finish", 2),
    ("claim", 3),
    ("delete", 1),
    ("finish", 3),
]
_AN_HOUR = 3_600_000_000
_REWIND = f"UPDATE job SET leased_until = leased_until - {_AN_HOUR}, run_at = run_at - {_AN_HOUR}"
pytestmark = pytest.mark.timeout(900)  # many starts of a service, one after the other


@pytest.fixture(params=["embedded", "servers"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """A bucket and a database of its own; all that is on local disk must leave it."""
    local = {
        "local_base_path": str(tmp_path / "base"),
        "local_reserve_gb": 0.0,
        "attempt_timeout_seconds": 30.0,
        "high_water": 0.0,
        "low_water": 0.0,
    }
    with S3Server() as s3:
        local |= on_bucket(s3.create_bucket())
        if request.param == "embedded":
            yield local
            return
        with PostgresServer() as postgres:
            yield local | on_database(postgres.create_database())


def run(order: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Run a process to its end; return its exit code and all that it told."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.crash.copier", json.dumps(order)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    told: dict[str, Any] = {"err": done.stderr[-2000:]}
    for line in done.stdout.splitlines():
        told |= json.loads(line)
    return done.returncode, told


async def rewind(settings: dict[str, Any]) -> None:
    """Let the leases and pauses of all jobs pass."""
    if "db_host" not in settings:
        path = Path(settings["local_base_path"]) / "catalogue.sqlite3"
        with closing(sqlite3.connect(path)) as connection:
            connection.execute(_REWIND)
            connection.commit()
        return
    connection = await asyncpg.connect(
        host=settings["db_host"],
        port=settings["db_port"],
        database=settings["db_name"],
        user=settings["db_user"],
        password=settings["db_password"],
    )
    try:
        await connection.execute(_REWIND)
    finally:
        await connection.close()


def test_a_move_that_is_killed_at_any_step_loses_nothing(settings: dict[str, Any]) -> None:
    acknowledged: dict[str, str] = {}
    last = "the beginning"
    for number, (method, call) in enumerate(STEPS):
        fault = {"method": method, "moment": "after", "call": call}
        order = {"settings": settings, "acknowledged": acknowledged}
        code, told = run({**order, "number": number, "fault": fault})
        assert told.get("broken", []) == [], last
        last = f"after {method} {call}"
        assert code == -signal.SIGKILL, (last, told)
        acknowledged |= told["ack"]
        asyncio.run(rewind(settings))
    code, told = run({"settings": settings, "acknowledged": acknowledged})
    assert (code, told["broken"]) == (0, []), (last, told)
    assert len(acknowledged) == len(STEPS)
