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

# A move in its order: each call of a port, and which of the calls of this method.
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
POINTS = [(method, call, moment) for method, call in STEPS for moment in ("before", "after")]
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
    told: dict[str, Any] = {"err": done.stderr}
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
    for number, (method, call, moment) in enumerate(POINTS):
        point = f"{moment} {method} {call}"
        fault = {"method": method, "moment": moment, "call": call}
        code, told = run({"settings": settings, "number": number, "fault": fault})
        assert code == -signal.SIGKILL, (point, told)
        acknowledged |= told["ack"]
        asyncio.run(rewind(settings))
        code, told = run({"settings": settings, "number": number, "acknowledged": acknowledged})
        assert code == 0, (point, told)
        assert told["broken"] == [], point
        assert told["remaining"] == 0, point
        assert told["replicas"] == {"local": "gone", "cloud": "present"}, point
