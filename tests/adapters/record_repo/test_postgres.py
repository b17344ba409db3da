"""PostgreSQL: servers that stop, stall, refuse and come back; commits whose answer gets lost."""

import asyncio
import json
import logging
import secrets
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from attrs import evolve

from tests.support.adapter_settings import PATIENT_SECONDS, postgres_settings
from tests.support.proxy import Proxy, reset
from tests.support.servers import Database, PostgresAddress, PostgresServer
from tests.support.stall import StallProxy
from traffic_storage.adapters.record_repo.sql import keyed_uploads, rows, statements
from traffic_storage.adapters.record_repo.sql.driver import Step
from traffic_storage.adapters.record_repo.sql.pool import DIALECT, Connection, Pool
from traffic_storage.adapters.record_repo.sql.postgres import (
    PostgresDriver,
    PostgresSettings,
    postgres_repo,
)
from traffic_storage.adapters.record_repo.sql.repo import SqlRecordRepo
from traffic_storage.domain.changes import CommitUnit, ObserveReplica
from traffic_storage.domain.errors import ConfigurationError
from traffic_storage.domain.files import ReplicaState
from traffic_storage.domain.holds import HeldFile, PlaceHold
from traffic_storage.domain.identifiers import FileId
from traffic_storage.domain.identity import RegisteredStore
from traffic_storage.domain.ingest import Attempt, Unit
from traffic_storage.domain.query import ViolationQuery
from traffic_storage.domain.upload_keys import BindKey
from traffic_storage.entrypoints.testing.contracts.deletions import new_hold
from traffic_storage.entrypoints.testing.contracts.record_repo import (
    all_pages,
    is_whole,
    local,
    recount,
)
from traffic_storage.entrypoints.testing.units import (
    LATER,
    NOON,
    new_attempt,
    new_evidence,
    new_file,
    new_record,
    store,
)
from traffic_storage.ports.errors import (
    CatalogueReadOnly,
    CatalogueUnavailable,
    IdsTaken,
    KeyTaken,
    OutcomeUnknown,
)
from traffic_storage.ports.record_repo import RecordRepo

SOON = 0.5
SLACK = 3.0
"""What a busy machine may take beyond a deadline."""


def settings_of(
    database: Database, seconds: float = PATIENT_SECONDS, *, pool_size: int = 4, writers: int = 2
) -> PostgresSettings:
    return postgres_settings(
        database, timeout_seconds=seconds, pool_size=pool_size, writers=writers
    )


@asynccontextmanager
async def opened(settings: PostgresSettings) -> AsyncIterator[SqlRecordRepo]:
    """A catalogue for the time of a block."""
    repo = postgres_repo(settings)
    try:
        yield repo
    finally:
        await repo.aclose()


@pytest.fixture
async def database(postgres_database: Database, no_leaks: None) -> Database:
    """A database with the tables."""
    async with opened(settings_of(postgres_database)) as repo:
        await repo.upgrade()
    return postgres_database


@pytest.fixture
async def repo(database: Database) -> AsyncIterator[SqlRecordRepo]:
    async with opened(settings_of(database)) as repo:
        yield repo


async def begun(repo: RecordRepo, place: RegisteredStore) -> tuple[Attempt, Unit]:
    """An attempt at new evidence that has begun."""
    unit = new_evidence(new_record(), place)
    attempt = new_attempt(unit)
    await repo.begin(attempt, unit.names)
    return attempt, unit


async def seconds_until_it_fails(call: Awaitable[object]) -> float:
    """How long a call takes to say that the database is away."""
    started = time.monotonic()
    with pytest.raises(CatalogueUnavailable):
        await call
    return time.monotonic() - started


class Writers:
    """Callers that store evidence without a pause, and note what became of it."""

    def __init__(self, repo: RecordRepo, place: RegisteredStore) -> None:
        self.acknowledged: list[Unit] = []
        self.unknown: list[Unit] = []
        self.failed = 0
        self._repo = repo
        self._place = place
        self._ended = asyncio.Event()

    @asynccontextmanager
    async def at_work(self, count: int = 8) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            for _ in range(count):
                group.create_task(self._work())
            yield
            self._ended.set()

    async def until(self, more: int) -> None:
        """Wait until so many more are acknowledged."""
        target = len(self.acknowledged) + more
        while len(self.acknowledged) < target:  # noqa: ASYNC110 - each of many tasks adds to it
            await asyncio.sleep(0.01)

    async def _work(self) -> None:
        while not self._ended.is_set():
            unit = new_evidence(new_record(), self._place)
            try:
                await store(self._repo, unit)
                self.acknowledged.append(unit)
            except OutcomeUnknown:
                self.unknown.append(unit)
            except CatalogueUnavailable:
                self.failed += 1
                await asyncio.sleep(0.05)

    async def check(self) -> None:
        """What was acknowledged is there, nothing is there by half, the counters are right."""
        for unit in self.acknowledged:
            assert await is_whole(self._repo, unit)
        for unit in self.unknown:
            await is_whole(self._repo, unit)
        shown = await all_pages(self._repo, ViolationQuery(limit=1000))
        assert (await self._repo.usage()).violations == len(shown)
        names = [name for v in shown for name in (v.metadata_file_id, v.image_file_id) if name]
        assert list((await self._repo.usage()).stores) == await recount(self._repo, names)


class TestOutage:
    @pytest.mark.parametrize("how", ["immediate", "fast", "kill"])
    async def test_nothing_acknowledged_is_lost_and_it_comes_back_by_itself(
        self, own_postgres: PostgresServer, how: str
    ) -> None:
        async with opened(settings_of(own_postgres.create_database(), 2.0)) as repo:
            await repo.upgrade()
            writers = Writers(repo, await local(repo))
            async with writers.at_work():
                for _ in range(2):
                    await writers.until(50)
                    stop = own_postgres.kill if how == "kill" else self._stop(own_postgres, how)
                    await asyncio.to_thread(stop)
                    await asyncio.to_thread(own_postgres.start)
                await writers.until(50)
            await writers.check()
            assert writers.failed + len(writers.unknown) > 0

    @staticmethod
    def _stop(server: PostgresServer, how: str) -> Callable[[], None]:
        return lambda: server.stop("fast" if how == "fast" else "immediate")

    async def test_a_stalled_server_is_an_error_in_time(self, own_postgres: PostgresServer) -> None:
        """503 after 2 s, for who reads, who begins, and who commits."""
        async with opened(settings_of(own_postgres.create_database(), 2.0)) as repo:
            await repo.upgrade()
            place = await local(repo)
            attempt, unit = await begun(repo, place)
            await repo.usage()
            own_postgres.stall()
            try:
                calls = [
                    repo.usage(),
                    repo.apply(CommitUnit(attempt.attempt_id, unit)),
                    repo.begin(new_attempt(unit), unit.names),
                    repo.ping(),
                    *(repo.violations(ViolationQuery()) for _ in range(20)),
                ]
                waited = await asyncio.gather(*(seconds_until_it_fails(call) for call in calls))
            finally:
                own_postgres.resume()
            assert max(waited) < 3.0 + SLACK
            await repo.forget(attempt.attempt_id)
            await is_whole(repo, unit)
            assert await is_whole(repo, await store(repo, new_evidence(new_record(), place)))

    async def test_a_server_that_is_down_is_an_error_at_once(
        self, own_postgres: PostgresServer
    ) -> None:
        async with opened(settings_of(own_postgres.create_database(), 20.0)) as repo:
            await repo.upgrade()
            place = await local(repo)
            own_postgres.stop()
            unit = new_evidence(new_record(), place)
            for call in (repo.usage(), repo.ping(), repo.begin(new_attempt(unit), unit.names)):
                assert await seconds_until_it_fails(call) < SLACK
            own_postgres.start()
            await store(repo, unit)

    async def test_a_black_hole_is_an_error_in_time(
        self, database: Database, postgres_proxy: StallProxy
    ) -> None:
        async with opened(settings_of(database.at(postgres_proxy.port), SOON)) as repo:
            place = await local(repo)
            postgres_proxy.stall()
            for call in (repo.usage(), store(repo, new_evidence(new_record(), place))):
                assert await seconds_until_it_fails(call) < SOON + 1.0 + SLACK
            postgres_proxy.refuse()
            assert await seconds_until_it_fails(repo.usage()) < SLACK
            postgres_proxy.forward()
            await self._comes_back(repo, place)

    async def _comes_back(self, repo: RecordRepo, place: RegisteredStore) -> None:
        """On a busy machine half a second may be short for one try or another."""
        for _ in range(20):
            with suppress(CatalogueUnavailable):
                return await self._store(repo, place)
        return await self._store(repo, place)

    async def _store(self, repo: RecordRepo, place: RegisteredStore) -> None:
        await store(repo, new_evidence(new_record(), place))

    async def test_connections_that_broke_while_idle_are_replaced(
        self, database: Database, postgres_proxy: StallProxy
    ) -> None:
        """The server may have restarted since a connection was used last: nobody notices."""
        async with opened(settings_of(database.at(postgres_proxy.port))) as repo:
            place = await local(repo)
            await asyncio.gather(*(repo.usage() for _ in range(8)))
            for _ in range(3):
                postgres_proxy.drop()
                assert (await repo.usage()).stores == ()
                postgres_proxy.drop()
                attempt, _ = await begun(repo, place)
                postgres_proxy.drop()
                await repo.forget(attempt.attempt_id)


class CommitCutter(Proxy):
    """Cuts the connection that sends a COMMIT: before it is handed on, or instead of the answer."""

    def __init__(self, target: Database, *, hand_on: bool) -> None:
        super().__init__()
        self._target = (target.host, target.port)
        self._hand_on = hand_on
        self.cuts_left = 0
        self.refuses_afterwards = False

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(*self._target)
        back = asyncio.ensure_future(self._pump(far_reader, writer))
        try:
            while piece := await reader.read(65_536):
                if b"COMMIT" in piece and self.cuts_left:
                    self.cuts_left -= 1
                    await self._cut(piece, back, far_writer, writer)
                    return
                far_writer.write(piece)
                await far_writer.drain()
        finally:
            back.cancel()
            far_writer.close()

    async def _cut(
        self,
        piece: bytes,
        back: "asyncio.Future[None]",
        far_writer: asyncio.StreamWriter,
        writer: asyncio.StreamWriter,
    ) -> None:
        back.cancel()
        if self.refuses_afterwards:
            await self._unlisten()
        if self._hand_on:
            far_writer.write(piece)
            await far_writer.drain()
        reset(writer)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while piece := await source.read(65_536):
            sink.write(piece)
            await sink.drain()

    def listen(self) -> None:
        """Accept connections again."""
        self._call(self._listen())


@pytest.fixture(params=[True, False], ids=["committed", "not committed"])
def cutter(request: pytest.FixtureRequest, database: Database) -> Iterator[CommitCutter]:
    with CommitCutter(database, hand_on=request.param) as cutter:
        yield cutter


class TestLostAnswers:
    async def test_a_lost_commit_is_looked_up(
        self, database: Database, cutter: CommitCutter
    ) -> None:
        """A commit whose outcome is unclear is looked up before anything is said."""
        async with opened(settings_of(database.at(cutter.port), writers=1)) as repo:
            place = await local(repo)
            for _ in range(5):
                attempt, unit = await begun(repo, place)
                cutter.cuts_left = 1
                await repo.apply(CommitUnit(attempt.attempt_id, unit))
                assert not cutter.cuts_left
                assert await is_whole(repo, unit)
            assert (await repo.usage()).violations == 5
            assert await repo.condemn(LATER) == []

    async def test_a_lost_group_is_looked_up_one_by_one(
        self, database: Database, cutter: CommitCutter
    ) -> None:
        async with opened(settings_of(database.at(cutter.port), writers=1)) as repo:
            place = await local(repo)
            there = await store(repo, new_evidence(new_record("shared"), place))
            tries = [await begun(repo, place) for _ in range(10)]
            rival = new_evidence(new_record("shared"), place)
            late = new_attempt(rival)
            await repo.begin(late, rival.names)
            cutter.cuts_left = 2
            outcomes = await asyncio.gather(
                *(repo.apply(CommitUnit(attempt.attempt_id, unit)) for attempt, unit in tries),
                repo.apply(CommitUnit(late.attempt_id, rival)),
                return_exceptions=True,
            )
            assert not cutter.cuts_left
            # False: a commit whose answer was cut off had happened before it was repeated.
            assert set(outcomes[:-1]) <= ({True, False} if cutter._hand_on else {True})
            assert isinstance(outcomes[-1], IdsTaken)
            for _, unit in tries:
                assert await is_whole(repo, unit)
            assert await is_whole(repo, there)
            assert (await repo.usage()).violations == 11

    async def test_what_cannot_be_looked_up_is_said_to_be_unknown(
        self, database: Database, cutter: CommitCutter
    ) -> None:
        """OutcomeUnknown: "it could not be looked up; it may have happened"."""
        async with opened(settings_of(database.at(cutter.port), 2.0, writers=1)) as repo:
            place = await local(repo)
            attempt, unit = await begun(repo, place)
            cutter.cuts_left, cutter.refuses_afterwards = 1, True
            with pytest.raises(OutcomeUnknown, match="unknown whether"):
                await repo.apply(CommitUnit(attempt.attempt_id, unit))
            cutter.listen()
            await repo.apply(CommitUnit(attempt.attempt_id, unit))
            assert await is_whole(repo, unit)
            assert (await repo.usage()).violations == 1

    async def test_a_mark_is_ours_also_when_its_answer_was_lost(
        self, database: Database, cutter: CommitCutter
    ) -> None:
        """mark: "of several callers one gets True"."""
        async with opened(settings_of(database.at(cutter.port), writers=1)) as repo:
            file = new_file(await local(repo))
            await store(repo, Unit((file,)))
            copy = file.replicas[0]
            cutter.cuts_left = 1
            assert await repo.apply(
                ObserveReplica(file.file_id, copy.replica_id, ReplicaState.MISSING, LATER)
            )
            assert not cutter.cuts_left
            assert (await repo.usage()).stores == ()


class TestCallers:
    async def test_callers_who_go_away_leave_the_rest_alone(
        self, postgres: PostgresAddress, database: Database
    ) -> None:
        """A storm of cancelled reads and commits: no half, no connection left behind."""
        settings = settings_of(database, pool_size=3)
        async with opened(settings) as repo:
            place = await local(repo)
            tries = [await begun(repo, place) for _ in range(40)]
            running: list[asyncio.Task[object]] = []
            for number, (attempt, unit) in enumerate(tries):
                leaving = asyncio.ensure_future(repo.apply(CommitUnit(attempt.attempt_id, unit)))
                reading = asyncio.ensure_future(repo.violations(ViolationQuery()))
                for _ in range(number % 7):
                    await asyncio.sleep(0)
                leaving.cancel()
                reading.cancel()
                running += [leaving, reading]
            await asyncio.gather(*running, return_exceptions=True)
            await store(repo, new_evidence(new_record(), place))
            # A commit whose caller has gone may still be on its way.
            async with asyncio.timeout(PATIENT_SECONDS):
                while True:
                    done = [unit for _, unit in tries if await is_whole(repo, unit)]
                    if (await repo.usage()).violations == len(done) + 1:
                        break
            assert _connections(postgres, database) <= settings.pool_size + settings.writers
        await _until_none_are_connected(postgres, database)

    @pytest.mark.parametrize("ends", ["timed out", "cancelled"])
    async def test_a_slow_read_costs_no_connection_and_is_not_repeated(
        self, postgres: PostgresAddress, database: Database, ends: str
    ) -> None:
        seconds = 1.5 if ends == "timed out" else PATIENT_SECONDS
        settings = settings_of(database, seconds, pool_size=4)
        async with opened(settings) as repo, _locked(database, "violation") as other:
            # What is slow at first is the opening of connections.
            await asyncio.gather(*(repo.usage() for _ in range(8)))
            before = _readers(postgres, database)
            started = time.monotonic()
            slow = asyncio.ensure_future(repo.violations(ViolationQuery()))
            await _until_one_waits(other)
            if ends == "cancelled":
                slow.cancel()
            (error,) = await asyncio.gather(slow, return_exceptions=True)
            wanted = CatalogueUnavailable if ends == "timed out" else asyncio.CancelledError
            assert isinstance(error, wanted)
            assert time.monotonic() - started < seconds + SLACK
            await asyncio.gather(*(repo.usage() for _ in range(8)))
            assert _readers(postgres, database) == before

    async def test_a_connection_that_a_firewall_forgot_costs_no_request(
        self, database: Database, postgres_proxy: StallProxy
    ) -> None:
        async with opened(settings_of(database.at(postgres_proxy.port), 6.0)) as repo:
            place = await local(repo)
            await asyncio.gather(*(repo.usage() for _ in range(8)))
            postgres_proxy.forget()
            await asyncio.gather(*(repo.usage() for _ in range(4)))
            attempt, unit = await begun(repo, place)
            postgres_proxy.forget()
            await repo.apply(CommitUnit(attempt.attempt_id, unit))

    async def test_a_slow_command_is_not_taken_for_a_forgotten_connection(
        self, postgres: PostgresAddress, database: Database
    ) -> None:
        async with opened(settings_of(database, 8.0)) as repo:
            await asyncio.gather(*(repo.usage() for _ in range(8)))
            before = _readers(postgres, database)
            async with _locked(database, "violation") as other:
                slow = asyncio.ensure_future(repo.violations(ViolationQuery()))
                await _until_one_waits(other)
                # Until the server was asked about it by a connection that is closed again.
                async with asyncio.timeout(PATIENT_SECONDS):
                    while _readers(postgres, database) == before:  # noqa: ASYNC110
                        await asyncio.sleep(0.01)
                    while _readers(postgres, database) != before:  # noqa: ASYNC110
                        await asyncio.sleep(0.01)
            assert not (await slow).items
            assert _readers(postgres, database) == before

    async def test_refused_writes_of_a_group_open_no_connections(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        opened_ones: list[float] = []
        connect = PostgresDriver._connect

        async def counting(driver: PostgresDriver, seconds: float) -> Connection:
            opened_ones.append(seconds)
            return await connect(driver, seconds)

        monkeypatch.setattr(PostgresDriver, "_connect", counting)
        async with opened(settings_of(database, writers=2, pool_size=4)) as repo:
            holds = [PlaceHold(new_hold(HeldFile(FileId(str(uuid4()))))) for _ in range(40)]
            await asyncio.gather(*map(repo.apply, holds))
            again = await asyncio.gather(*map(repo.apply, holds))
        assert not any(again)
        assert len(opened_ones) <= 4

    async def test_a_wait_for_a_connection_has_an_end(self, database: Database) -> None:
        async with opened(settings_of(database, SOON, pool_size=1)) as repo:
            await repo.usage()
            other = await asyncpg.connect(database.dsn)
            try:
                await other.execute("BEGIN; LOCK TABLE violation")
                waited = await asyncio.gather(
                    *(seconds_until_it_fails(repo.violations(ViolationQuery())) for _ in range(5))
                )
            finally:
                await other.close()
            assert max(waited) < SOON + SLACK

    async def test_a_lock_that_is_not_released_ends_no_attempt(self, database: Database) -> None:
        async with opened(settings_of(database, SOON)) as repo:
            place = await local(repo)
            attempt, unit = await begun(repo, place)
            other = await asyncpg.connect(database.dsn)
            try:
                await other.execute("BEGIN; LOCK TABLE file")
                assert (
                    await seconds_until_it_fails(repo.apply(CommitUnit(attempt.attempt_id, unit)))
                    < SLACK
                )
            finally:
                await other.close()
            for _ in range(20):
                with suppress(CatalogueUnavailable):
                    await repo.apply(CommitUnit(attempt.attempt_id, unit))
            assert await is_whole(repo, unit)

    async def test_conflicts_of_serializable_transactions_are_run_again(
        self, postgres: PostgresAddress, database: Database
    ) -> None:
        """40001 and 40P01 are not the caller's business."""
        postgres.execute(
            f'ALTER DATABASE "{database.name}" SET default_transaction_isolation = serializable'
        )
        async with opened(settings_of(database, writers=4)) as repo:
            place = await local(repo)
            units = [new_evidence(new_record(), place) for _ in range(200)]
            await asyncio.gather(*(store(repo, unit) for unit in units))
            assert (await repo.usage()).violations == len(units)
            names = [name for unit in units for name in unit.names.files]
            assert list((await repo.usage()).stores) == await recount(repo, names)

    async def test_deadlocks_are_run_again(self, database: Database) -> None:
        """Another program locks the files and the attempts in the other order."""
        async with opened(settings_of(database, writers=1)) as repo:
            place = await local(repo)
            attempt, unit = await begun(repo, place)
            other = await asyncpg.connect(database.dsn)
            try:
                await other.execute("BEGIN; LOCK TABLE file IN EXCLUSIVE MODE")
                committing = asyncio.ensure_future(repo.apply(CommitUnit(attempt.attempt_id, unit)))
                await _until_one_waits(other)
                with suppress(asyncpg.DeadlockDetectedError):
                    await other.execute("SELECT 1 FROM attempt FOR UPDATE")
                await other.execute("ROLLBACK")
                await committing
            finally:
                await other.close()
            assert await is_whole(repo, unit)


async def fold_all(repo: SqlRecordRepo, connection: asyncpg.Connection) -> None:
    """Fold until no delta is left: a transaction of another database on the server delays it."""
    async with asyncio.timeout(120):
        while await connection.fetchval("SELECT count(*) FROM usage_delta"):
            await repo.fold_counters()


class TestCounters:
    """Counters on a busy server."""

    async def test_a_fold_leaves_out_what_a_running_transaction_may_still_add(
        self, database: Database, repo: SqlRecordRepo
    ) -> None:
        """A delta with a lower id that becomes visible later is counted, and counted once."""
        place = await local(repo)
        other = await asyncpg.connect(database.dsn)
        try:
            # As a commit does: it changes a row, then appends its delta.
            await other.execute("BEGIN; UPDATE catalogue SET one = one")
            await other.execute(_DELTA)
            await store(repo, new_evidence(new_record(), place))
            for _ in range(2):
                await repo.fold_counters()
                assert (await repo.usage()).violations == 1
            assert await other.fetchval("SELECT watermark FROM usage_fold") == 0
            await other.execute("COMMIT")
            assert (await repo.usage()).violations == 2
            await fold_all(repo, other)
            assert (await repo.usage()).violations == 2
            assert await other.fetchval("SELECT count(*) FROM usage_delta") == 0
        finally:
            await other.close()

    async def test_a_long_snapshot_does_not_slow_the_reading(
        self, database: Database, repo: SqlRecordRepo
    ) -> None:
        """Dead deltas that a snapshot keeps lie below the watermark, where no reading looks."""
        await repo.usage()
        exporting = await asyncpg.connect(database.dsn)
        other = await asyncpg.connect(database.dsn)
        try:
            await exporting.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM file")
            # A first fold, so that the totals exist.
            await other.execute(_DELTA)
            await fold_all(repo, other)
            before = await _pages_read(other)
            for _ in range(3):
                await other.execute(f"{_DELTA} FROM generate_series(1, 10000)")
                await fold_all(repo, other)
            assert (await repo.usage()).violations == 30_001
            assert await other.fetchval("SELECT watermark FROM usage_fold") >= 30_001
            assert await _pages_read(other) <= before + _PAGES_OF_FOLDS
        finally:
            await exporting.close()
            await other.close()


_DELTA = (
    "INSERT INTO usage_delta (day, store, kind, device, items, bytes, moved)"
    " SELECT 0, 0, 'violation', 'camera', 1, 0, false"
)
_PAGES_OF_FOLDS = 20
"""Versions of the totals and the inner pages of the index; 30,000 deltas fill more than 200 pages."""


async def _pages_read(connection: "asyncpg.Connection[asyncpg.Record]") -> int:
    """Return how many pages the reading of the counters touches."""
    await connection.execute("SET enable_seqscan = off")
    sql = statements.USAGE.text(DIALECT).sql
    plan = json.loads(await connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}"))[
        0
    ]["Plan"]
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


class TestRefusals:
    CANARY = f"canary-{secrets.token_hex(8)}@:/%"

    async def test_no_message_holds_the_password(
        self, database: Database, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        settings = evolve(settings_of(database), password=self.CANARY)
        said = [repr(settings), settings.where]
        async with opened(settings) as repo:
            said.append(repr(repo))
            for call in (repo.usage, repo.ping, repo.upgrade, lambda: local(repo)):
                with pytest.raises(
                    CatalogueUnavailable, match=r"refuses the login.*db_password"
                ) as got:
                    await call()
                said += traceback.format_exception(got.value)
                said += [repr(got.value), str(got.value.__cause__), repr(got.value.__cause__)]
        said += [record.getMessage() for record in caplog.records]
        assert not [text for text in said if self.CANARY in text]

    @pytest.mark.parametrize(
        ("changed", "words"),
        [
            ({"database": "absent"}, "no such database.*db_name"),
            ({"user": "absent"}, "refuses the login.*db_user"),
            ({"port": 1}, "can't be reached.*db_port"),
            ({"host": "absent.invalid"}, "can't be reached.*db_host"),
            ({"host": "/absent"}, "can't be reached.*db_host"),
        ],
        ids=lambda value: "".join(value) if isinstance(value, dict) else "",
    )
    async def test_each_cause_has_a_name_and_a_remedy(
        self, database: Database, changed: dict[str, Any], words: str
    ) -> None:
        async with opened(evolve(settings_of(database, 5.0), **changed)) as repo:
            for call in (repo.ping, repo.upgrade):
                with pytest.raises(CatalogueUnavailable, match=words):
                    await call()

    async def test_before_the_upgrade_it_says_what_to_do(
        self, postgres_database: Database, no_leaks: None
    ) -> None:
        async with opened(settings_of(postgres_database)) as repo:
            for call in (repo.usage, lambda: local(repo)):
                with pytest.raises(CatalogueUnavailable, match=r"no tables.*db upgrade"):
                    await call()

    async def test_a_read_only_standby(self, postgres: PostgresAddress, database: Database) -> None:
        postgres.execute(f'ALTER DATABASE "{database.name}" SET default_transaction_read_only = on')
        async with opened(settings_of(database)) as repo:
            await repo.usage()
            with pytest.raises(CatalogueReadOnly, match=r"read-only.*primary"):
                await local(repo)
            # What asks whether the service is ready is told, too.
            with pytest.raises(CatalogueReadOnly, match=r"not written.*primary"):
                await repo.ping()

    async def test_no_more_connections(self, postgres: PostgresAddress, database: Database) -> None:
        postgres.execute(f'ALTER DATABASE "{database.name}" CONNECTION LIMIT 1')
        async with opened(settings_of(database)) as repo:
            await repo.usage()
            with pytest.raises(CatalogueUnavailable, match=r"no more connections.*pool_size"):
                await local(repo)
            await repo.usage()

    async def test_a_database_of_another_owner(
        self, postgres: PostgresAddress, postgres_database: Database, no_leaks: None
    ) -> None:
        postgres.execute(f'ALTER DATABASE "{postgres_database.name}" OWNER TO postgres')
        async with opened(settings_of(postgres_database)) as repo:
            with pytest.raises(CatalogueUnavailable, match=r"privilege.*owner"):
                await repo.upgrade()

    async def test_a_database_that_cannot_hold_every_text(
        self, postgres: PostgresAddress, no_leaks: None
    ) -> None:
        name = f"t_{secrets.token_hex(8)}"
        postgres.execute(
            f"CREATE DATABASE {name} OWNER {postgres.user} ENCODING 'SQL_ASCII' TEMPLATE template0"
        )
        try:
            async with opened(settings_of(postgres.database(name))) as repo:
                with pytest.raises(ConfigurationError, match=r"SQL_ASCII.*UTF8"):
                    await repo.upgrade()
        finally:
            postgres.drop_database(name)


class TestUpgrade:
    async def test_newer_tables_are_refused(
        self, postgres: PostgresAddress, database: Database
    ) -> None:
        postgres.execute("UPDATE alembic_version SET version_num = '9999'", database.name)
        async with opened(settings_of(database)) as repo:
            with pytest.raises(ConfigurationError, match=r"9999.*newer"):
                await repo.upgrade()

    async def test_the_steps_that_are_due_are_told_and_not_taken(
        self, postgres_database: Database, no_leaks: None
    ) -> None:
        async with opened(settings_of(postgres_database)) as repo:
            for _ in range(2):
                assert list(await repo.pending()) == [
                    "v0001_first_tables",
                    "v0002_labels",
                    "v0003_keyed_uploads",
                ]
            await repo.upgrade()
            assert list(await repo.pending()) == []

    async def test_four_processes_make_the_tables_once(self, postgres_database: Database) -> None:
        processes = [_migrator(postgres_database) for _ in range(4)]
        for process in processes:
            assert process.stdout
            assert await asyncio.to_thread(process.stdout.readline) == "ready\n"
        for process in processes:
            assert process.stdin
            process.stdin.write("\n")
            process.stdin.flush()
        said = [await asyncio.to_thread(process.communicate) for process in processes]
        assert [process.returncode for process in processes] == [0] * 4
        assert len({out for out, _ in said}) == 1


class TestConnections:
    async def test_what_is_acknowledged_is_flushed_whatever_the_server_prefers(
        self, postgres: PostgresAddress, database: Database
    ) -> None:
        postgres.execute(f'ALTER DATABASE "{database.name}" SET synchronous_commit = off')
        driver = PostgresDriver(settings_of(database))
        pool: Pool = driver._writers
        deadline = asyncio.get_running_loop().time() + PATIENT_SECONDS
        async with pool.lease(deadline) as connection:
            rows = await connection.fetch("SHOW synchronous_commit", timeout=PATIENT_SECONDS)
        assert rows[0][0] == "on"
        await driver.aclose()

    async def test_a_unix_socket(self) -> None:
        with tempfile.TemporaryDirectory(prefix="pg-", dir="/tmp") as folder:
            _open_to_all(Path(folder))
            with PostgresServer(durable=False, settings={"unix_socket_directories": folder}) as own:
                database = own.create_database()
                async with opened(evolve(settings_of(database), host=folder)) as repo:
                    await repo.upgrade()
                    await store(repo, new_evidence(new_record(), await local(repo)))

    async def test_nothing_is_opened_before_it_is_used(
        self, postgres: PostgresAddress, postgres_database: Database, no_leaks: None
    ) -> None:
        repo = postgres_repo(settings_of(postgres_database))
        assert _connections(postgres, postgres_database) == 0
        await repo.aclose()


_MIGRATOR = """
import asyncio, sys
from traffic_storage.adapters.record_repo.sql.postgres import PostgresSettings, postgres_repo

async def main():
    host, port, database, user, password = sys.stdin.readline().split()
    repo = postgres_repo(PostgresSettings(host, database, user, password, int(port), 60.0))
    print("ready", flush=True)
    sys.stdin.readline()
    await repo.upgrade()
    print(await repo.catalogue_id())
    await repo.aclose()

asyncio.run(main())
"""


def _migrator(database: Database) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", _MIGRATOR],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin
    words = (database.host, str(database.port), database.name, database.user, database.password)
    process.stdin.write(" ".join(words) + "\n")
    process.stdin.flush()
    return process


def _open_to_all(folder: Path) -> None:
    # The server runs as another user.
    folder.chmod(0o777)


def _connections(postgres: PostgresAddress, database: Database) -> int:
    return int(
        postgres.execute(f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{database.name}'")
    )


def _readers(postgres: PostgresAddress, database: Database) -> set[str]:
    """The numbers of the connections of the service to a database."""
    found = postgres.execute(
        f"SELECT pid FROM pg_stat_activity WHERE datname = '{database.name}' "
        "AND application_name = 'traffic-storage'"
    )
    return {*found.split()}


@asynccontextmanager
async def _locked(
    database: Database, table: str
) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    other = await asyncpg.connect(database.dsn)
    try:
        await other.execute(f"BEGIN; LOCK TABLE {table}")
        yield other
    finally:
        await other.close()


async def _until_none_are_connected(postgres: PostgresAddress, database: Database) -> None:
    async with asyncio.timeout(PATIENT_SECONDS):
        while _connections(postgres, database):  # noqa: ASYNC110 - the server does not tell
            await asyncio.sleep(0.05)


class TestKeysOfUploads:
    @pytest.mark.parametrize("first", ["named", "alone"])
    async def test_a_commit_waits_for_another_one_with_the_same_key(
        self, database: Database, first: str
    ) -> None:
        """Two transactions that do not see each other's rows would store two files with one key."""
        async with opened(settings_of(database)) as repo:
            place, key = await local(repo), FileId(str(uuid4()))
            named, alone = new_file(place, file_id="mine"), new_file(place, file_id=key)
            ours, theirs = (alone, named) if first == "named" else (named, alone)
            unit = Unit((ours,))
            attempt = new_attempt(unit)
            await repo.begin(attempt, unit.names)
            other = await asyncpg.connect(database.dsn)
            async with other.transaction():
                binding = BindKey(key, theirs.file_id, NOON)
                lock, step = keyed_uploads.binding(binding)
                insertion = Step(statements.INSERT_FILE, (rows.file_row(theirs),))
                for one in (lock, insertion, step):
                    text = one.statement.text(DIALECT)
                    await other.execute(text.sql, *text.arrange(one.rows[0]))
                change = CommitUnit(attempt.attempt_id, unit, key=BindKey(key, ours.file_id, NOON))
                commit = asyncio.create_task(repo.apply(change))
                watcher = await asyncpg.connect(database.dsn)
                waits = asyncio.create_task(_until_one_waits(watcher))
                await asyncio.wait([waits, commit], return_when=asyncio.FIRST_COMPLETED)
                waits.cancel()
                assert not commit.done()
                await watcher.close()
            await other.close()
            with pytest.raises(KeyTaken):
                await commit
            assert await repo.file_of_key(key) == theirs.file_id
            assert await repo.file(ours.file_id) is None


_WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted"


async def _until_one_waits(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    async with asyncio.timeout(PATIENT_SECONDS):
        while not await connection.fetchval(_WAITING):  # noqa: ASYNC110 - nor does it tell this
            await asyncio.sleep(0.01)
