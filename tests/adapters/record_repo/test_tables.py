"""The migrations make the tables that the code means, and the databases hold the invariants."""

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from attrs import evolve
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from tests.adapters.record_repo.test_postgres import opened, settings_of
from tests.support.servers import Database, PostgresAddress
from traffic_storage.adapters.record_repo.sql import migrations, rows, statements, tables
from traffic_storage.adapters.record_repo.sql.driver import Refused, Step, Write, merged, recording
from traffic_storage.adapters.record_repo.sql.postgres import postgres_repo
from traffic_storage.adapters.record_repo.sql.repo import SqlRecordRepo, folding
from traffic_storage.adapters.record_repo.sql.sqlite import (
    SqliteDriver,
    SqliteSettings,
    sqlite_repo,
)
from traffic_storage.domain.changes import CommitUnit
from traffic_storage.domain.digests import Sha256, sha256_of
from traffic_storage.domain.errors import ConfigurationError
from traffic_storage.domain.files import FileKind, ReplicaState
from traffic_storage.domain.identifiers import DeviceId, FileId, StoreId
from traffic_storage.domain.ingest import Unit
from traffic_storage.domain.usage import CounterChange
from traffic_storage.entrypoints.testing.contracts.keyed_uploads import new_key, upload
from traffic_storage.entrypoints.testing.contracts.record_repo import is_whole, local
from traffic_storage.entrypoints.testing.ids import uuid7_at
from traffic_storage.entrypoints.testing.units import (
    new_attempt,
    new_evidence,
    new_file,
    new_record,
    store,
)
from traffic_storage.ports.errors import AttemptCondemned, KeyTaken
from traffic_storage.ports.record_repo import RecordRepo

_SHAPE = """
    SELECT 'column', c.relname || '.' || a.attname, format_type(a.atttypid, a.atttypmod)
        || CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END || coalesce(' ' || l.collname, '')
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        LEFT JOIN pg_collation l ON l.oid = a.attcollation AND l.collname <> 'default'
        WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace AND a.attnum > 0
    UNION ALL SELECT 'constraint', conname, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace
    UNION ALL SELECT 'index', indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
    UNION ALL SELECT 'options', relname, array_to_string(reloptions, ',') FROM pg_class
        WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
"""


_COUNTED_ON = date(2025, 10, 1)
_COUNTED = f"""
    INSERT INTO usage_delta (day, store, kind, device, items, bytes)
    SELECT {(_COUNTED_ON - date(1970, 1, 1)).days}, number, 'image', 'cam', 3, 30 FROM store
"""


async def shape(database: Database) -> set[tuple[str, ...]]:
    """Columns, constraints, indexes and options, as the server describes them."""
    connection = await asyncpg.connect(database.dsn)
    try:
        found = await connection.fetch(_SHAPE)
    finally:
        await connection.close()
    return {tuple(row) for row in found if "alembic_version" not in row[1]}


class TestMigrations:
    async def test_postgres_has_the_tables_that_the_code_means(
        self, postgres: PostgresAddress
    ) -> None:
        with postgres.temporary_database() as migrated, postgres.temporary_database() as made:
            async with opened(settings_of(migrated)) as repo:
                await repo.upgrade()
            engine = create_async_engine(made.url, poolclass=NullPool)
            async with engine.begin() as connection:
                await connection.run_sync(tables.metadata.create_all)
            assert await shape(migrated) == await shape(made)

    async def test_sqlite_has_the_tables_that_the_code_means(self, tmp_path: Path) -> None:
        path = tmp_path / "catalogue.sqlite3"
        repo = sqlite_repo(SqliteSettings(path))
        await repo.upgrade()
        await repo.aclose()
        engine = create_engine(f"sqlite:///{path}", poolclass=NullPool)
        with engine.connect() as connection:
            context = MigrationContext.configure(connection)
            assert compare_metadata(context, tables.metadata) == []
        with closing(sqlite3.connect(path)) as other, closing(sqlite3.connect(":memory:")) as made:
            engine = create_engine("sqlite://", creator=lambda: made)
            tables.metadata.create_all(engine)
            assert _indexes(other) == _indexes(made)

    @pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
    async def test_a_catalogue_of_the_first_version_goes_on(
        self,
        kind: str,
        postgres_database: Database,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """What it has counted and not folded yet counts as received, not as moved."""
        path = tmp_path / "catalogue.sqlite3"
        if kind == "sqlite":
            repo = sqlite_repo(SqliteSettings(path))
        else:
            repo = postgres_repo(settings_of(postgres_database))
        with monkeypatch.context() as earlier:
            earlier.setattr(migrations, "HEAD", "0001")
            await repo.upgrade()
        place = await local(repo)
        if kind == "sqlite":
            with closing(sqlite3.connect(path)) as connection:
                connection.execute(_COUNTED)
                connection.commit()
        else:
            server = await asyncpg.connect(postgres_database.dsn)
            await server.execute(_COUNTED)
            await server.close()
        assert list(await repo.pending()) == ["v0002_labels", "v0003_keyed_uploads"]
        await repo.upgrade()
        assert list(await repo.pending()) == []
        unit = await store(repo, new_evidence(new_record(), place))
        assert await is_whole(repo, unit)
        await repo.fold_counters()
        (day,) = await repo.daily_received(_COUNTED_ON, _COUNTED_ON)
        assert [row.bytes for row in day.change.stores] == [30]
        await repo.aclose()

    @pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
    async def test_keys_that_were_used_before_keep_their_files(
        self,
        kind: str,
        postgres_database: Database,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """A catalogue of the second version: the derived ids of its files say which keys were used."""
        if kind == "sqlite":
            repo = sqlite_repo(SqliteSettings(tmp_path / "catalogue.sqlite3"))
        else:
            repo = postgres_repo(settings_of(postgres_database))
        with monkeypatch.context() as earlier:
            earlier.setattr(migrations, "HEAD", "0002")
            await repo.upgrade()
        place, (used, unused) = await local(repo), (new_key(), new_key())
        unit = await store(repo, Unit((new_file(place, file_id=used),)))
        assert list(await repo.pending()) == ["v0003_keyed_uploads"]
        await repo.upgrade()
        assert list(await repo.pending()) == []
        assert await is_whole(repo, unit)
        assert await repo.file_of_key(used) == used
        with pytest.raises(KeyTaken):
            await upload(repo, place, used, FileId("mine"))
        await upload(repo, place, unused, FileId("mine"))
        assert await repo.file_of_key(unused) == "mine"
        await repo.aclose()

    async def test_two_catalogues_have_two_ids(
        self, postgres_database: Database, tmp_path: Path
    ) -> None:
        async with opened(settings_of(postgres_database)) as one:
            other = sqlite_repo(SqliteSettings(tmp_path / "catalogue.sqlite3"))
            await asyncio.gather(one.upgrade(), other.upgrade())
            assert await one.catalogue_id() != await other.catalogue_id()
            await other.aclose()


NEXT = f"{int(migrations.HEAD) + 1:04}"


def add_migration(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, body: str) -> None:
    """Add a further migration, `NEXT`, which is not quick, to a copy of the migrations in `folder`."""
    shutil.copytree(migrations._HERE, folder)
    (folder / "versions" / f"v{NEXT}_{name}.py").write_text(
        f'revision = "{NEXT}"\ndown_revision = "{migrations.HEAD}"\nquick = False\n'
        f"def upgrade() -> None:\n{body}"
    )
    monkeypatch.setattr(migrations, "_HERE", folder)


@pytest.fixture
def slow_migration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A further migration, which does nothing."""
    add_migration(tmp_path / "migrations", monkeypatch, "slow", "    pass\n")


class TestSlowMigrations:
    async def test_one_is_applied_only_where_it_is_asked_for(
        self,
        repo: RecordRepo,
        slow_migration: None,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """upgrade: "a slow migration is pending and `slow` is False"; "Nothing is changed then"."""
        monkeypatch.setattr(migrations, "HEAD", NEXT)
        for _ in range(2):
            with pytest.raises(ConfigurationError, match=rf"v{NEXT}_slow is pending.*db upgrade"):
                await repo.upgrade()
            assert list(await repo.pending()) == [f"v{NEXT}_slow"]
        await repo.upgrade(slow=True)
        assert list(await repo.pending()) == []
        await repo.upgrade()

    async def test_a_new_catalogue_takes_all(
        self, slow_migration: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """upgrade: "on a new one all are quick"."""
        monkeypatch.setattr(migrations, "HEAD", NEXT)
        made = sqlite_repo(SqliteSettings(tmp_path / "new.sqlite3"))
        await made.upgrade()
        assert list(await made.pending()) == []
        await made.aclose()


@pytest.fixture
def index_migration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A further migration, which builds an index."""
    body = (
        "    from traffic_storage.adapters.record_repo.sql.migrations import build_index\n"
        "    build_index('file_size', 'file', ['size_bytes'])\n"
    )
    add_migration(tmp_path / "migrations", monkeypatch, "index", body)
    monkeypatch.setattr(migrations, "HEAD", NEXT)


class TestAnIndexOnALargeTable:
    VALID = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('file_size')"

    async def test_it_is_built_on_both_databases(
        self, repo: RecordRepo, request: pytest.FixtureRequest
    ) -> None:
        request.getfixturevalue("index_migration")
        await repo.upgrade(slow=True)
        assert list(await repo.pending()) == []
        await store(repo, Unit((new_file(await local(repo)),)))

    async def test_writers_go_on_while_it_is_built(
        self, postgres_database: Database, request: pytest.FixtureRequest
    ) -> None:
        async with opened(settings_of(postgres_database)) as repo:
            await repo.upgrade()
            place = await local(repo)
            request.getfixturevalue("index_migration")
            other = await asyncpg.connect(postgres_database.dsn)
            async with other.transaction():
                # A transaction that has written to the table: an index build waits for its end.
                await other.execute("DELETE FROM file WHERE file_id = 'absent'")
                upgrades = [asyncio.create_task(repo.upgrade(slow=True)) for _ in range(2)]
                watcher = await asyncpg.connect(postgres_database.dsn)
                async with asyncio.timeout(30):
                    while await watcher.fetchval(self.VALID) is None:  # noqa: ASYNC110
                        await asyncio.sleep(0.01)
                await store(repo, Unit((new_file(place),)))
                assert await watcher.fetchval(self.VALID) is False
            await asyncio.gather(*upgrades)
            assert await watcher.fetchval(self.VALID) is True
            assert list(await repo.pending()) == []
            await watcher.close()
            await other.close()

    async def test_an_unusable_index_of_a_stopped_build_is_replaced(
        self, postgres_database: Database, request: pytest.FixtureRequest
    ) -> None:
        async with opened(settings_of(postgres_database)) as repo:
            await repo.upgrade()
            request.getfixturevalue("index_migration")
            writer = await asyncpg.connect(postgres_database.dsn)
            other = await asyncpg.connect(postgres_database.dsn)
            await other.execute("SET statement_timeout = '200ms'")
            async with writer.transaction():
                await writer.execute("DELETE FROM file WHERE file_id = 'absent'")
                with pytest.raises(asyncpg.QueryCanceledError):
                    await other.execute("CREATE INDEX CONCURRENTLY file_size ON file (size_bytes)")
            assert await other.fetchval(self.VALID) is False
            await repo.upgrade(slow=True)
            assert await other.fetchval(self.VALID) is True
            await other.close()
            await writer.close()


def _indexes(connection: sqlite3.Connection) -> set[tuple[str, str]]:
    found = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'index'")
    return {(name, sql) for name, sql in found if sql}


@pytest.fixture(params=["sqlite", "postgres"])
async def repo(
    request: pytest.FixtureRequest, tmp_path: Path, no_leaks: None
) -> AsyncIterator[RecordRepo]:
    if request.param == "sqlite":
        made = sqlite_repo(SqliteSettings(tmp_path / "catalogue.sqlite3"))
        await made.upgrade()
        yield made
        await made.aclose()
    else:
        database: Database = request.getfixturevalue("postgres_database")
        async with opened(settings_of(database)) as made:
            await made.upgrade()
            yield made


class TestInvariants:
    """What a mistaken program must not be able to write."""

    async def test_a_violation_never_shows_without_its_files(self, repo: RecordRepo) -> None:
        unit = new_evidence(new_record(), await local(repo))
        alone = Unit((), unit.violation)
        attempt = new_attempt(alone)
        await repo.begin(attempt, alone.names)
        with pytest.raises(Exception, match=r"(?i)foreign key"):
            await repo.apply(CommitUnit(attempt.attempt_id, alone))
        assert (await repo.usage()).violations == 0

    async def test_a_key_is_never_written_twice(self, repo: RecordRepo) -> None:
        place = await local(repo)
        one = (await store(repo, Unit((new_file(place),)))).files[0]
        other = evolve(one, file_id=FileId("other"))
        with pytest.raises(AttemptCondemned):
            await store(repo, Unit((other,)))
        assert await repo.file(other.file_id) is None

    async def test_a_copy_belongs_to_a_store(self, repo: RecordRepo) -> None:
        file = new_file(evolve(await local(repo), store_id=StoreId("absent")))
        with pytest.raises(AttemptCondemned):
            await store(repo, Unit((file,)))

    async def test_digests_and_sizes_are_what_they_are_called(self, repo: RecordRepo) -> None:
        file = new_file(await local(repo))
        short = evolve(file.content, sha256=Sha256("00"))
        for content in (short, evolve(file.content, size_bytes=-1)):
            with pytest.raises(Exception, match=r"(?i)check constraint"):
                await store(repo, Unit((evolve(file, content=content),)))
        assert await repo.file(file.file_id) is None

    async def test_a_mistaken_write_takes_no_neighbour_with_it(self, repo: RecordRepo) -> None:
        """A group is one transaction, but each of its writes has an outcome of its own."""
        place = await local(repo)
        good = [new_evidence(new_record(), place) for _ in range(20)]
        file = new_file(place)
        bad = Unit((evolve(file, content=evolve(file.content, size_bytes=2**70)),))
        outcomes = await asyncio.gather(
            *(store(repo, unit) for unit in [*good[:10], bad, *good[10:]]), return_exceptions=True
        )
        assert [*outcomes[:10], *outcomes[11:]] == good
        assert isinstance(outcomes[10], Exception)
        assert (await repo.usage()).violations == 20


class TestFolding:
    """Deltas move into the totals."""

    async def test_a_fold_that_is_repeated_counts_nothing_twice(self, tmp_path: Path) -> None:
        """Its outcome was unknown: the second run finds the watermark moved."""
        driver = SqliteDriver(SqliteSettings(tmp_path / "catalogue.sqlite3"))
        repo = SqlRecordRepo(driver)
        await repo.upgrade()
        await store(repo, new_evidence(new_record(), await local(repo)))
        before = await repo.usage()
        ((newest, _),) = await driver.read(statements.HORIZON, [()])
        await driver.write(folding(0, newest))
        with pytest.raises(Refused):
            await driver.write(folding(0, newest))
        assert await repo.usage() == before
        await repo.aclose()

    async def test_ids_of_deltas_grow_after_the_table_was_emptied(self, repo: RecordRepo) -> None:
        for count in range(1, 4):
            await store(repo, new_evidence(new_record(), await local(repo)))
            await repo.fold_counters()
            assert (await repo.usage()).violations == count


class TestMerging:
    """Several writes become one transaction."""

    def test_statements_come_in_their_order_and_rows_by_name(self) -> None:
        one = Write((Step(statements.INSERT_VIOLATION, (("b",),)),))
        other = Write(
            (
                Step(statements.INSERT_FILE, (("d",), ("c",))),
                Step(statements.INSERT_VIOLATION, (("a",),)),
                Step(statements.END_ATTEMPT, (("x",),), 1),
            )
        )
        end = Write((Step(statements.END_ATTEMPT, (("w",),), 1),))
        assert merged([one, other, end]) == [
            Step(statements.END_ATTEMPT, (("w",), ("x",)), 2),
            Step(statements.INSERT_FILE, (("c",), ("d",))),
            Step(statements.INSERT_VIOLATION, (("a",), ("b",))),
        ]

    def test_counter_changes_are_summed(self) -> None:
        day = date(2025, 11, 1)
        image, camera = FileKind.IMAGE, DeviceId("c")
        writes = [
            Write(
                (),
                counters=(
                    CounterChange(day, StoreId("s"), image, camera, 1, 10),
                    CounterChange(day, StoreId("r"), image, None, -1, -5),
                    CounterChange(day, None, None, camera, n, 0),
                    CounterChange(day, None, image, camera, n - 1, n - 1),
                ),
            )
            for n in range(3)
        ]
        number = (day - date(1970, 1, 1)).days
        assert recording(writes) == [
            Step(
                statements.ADD_USAGE,
                (
                    # Additions are not offset by removals.
                    (number, "", "image", "c", -1, -1, False),
                    (number, "", "image", "c", 1, 1, False),
                    (number, "", "violation", "c", 3, 0, False),
                    (number, "r", "image", "", -3, -15, False),
                    (number, "s", "image", "c", 3, 30, False),
                ),
            )
        ]
        assert recording([Write(())]) == []


def test_rows_of_files_without_copies_and_with_other_stored_segments() -> None:
    file = new_file()
    digests = evolve(file.content, segments=sha256_of(b"x").encode())
    coded = evolve(file, content=digests, stored=evolve(digests, segments=b""))
    for one in (file, coded, evolve(coded, stored=digests)):
        row = (*rows.file_row(one), *(None,) * 5)
        assert rows.files_of([row]) == (one,)


def test_rows_of_replicas_keep_their_states() -> None:
    file = new_file()
    replica_id = uuid7_at(datetime(2026, 3, 14, tzinfo=UTC))
    for state in ReplicaState:
        row = (*rows.file_row(file), replica_id.bytes, "s", "local", state.value, None)
        found = rows.files_of([row])[0].replicas[0]
        assert (found.state, found.replica_id, found.store_id) == (state, replica_id, "s")
