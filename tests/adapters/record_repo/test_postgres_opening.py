"""Connections to PostgreSQL as it is in production: TLS, poolers, several hosts, shared databases."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import trustme
from attrs import evolve, frozen
from sqlalchemy import func, select

from tests.support.adapter_settings import postgres_settings
from tests.support.postgres_fronts import TlsFront, TransactionPooler
from tests.support.servers import Database, PostgresAddress, PostgresServer
from tests.support.stall import StallProxy
from traffic_storage.adapters.record_repo.sql import tables
from traffic_storage.adapters.record_repo.sql.postgres import (
    PostgresDriver,
    PostgresSettings,
    postgres_repo,
)
from traffic_storage.adapters.record_repo.sql.postgres_address import addresses
from traffic_storage.adapters.record_repo.sql.postgres_tls import SslMode, Tls, TlsSettings
from traffic_storage.adapters.record_repo.sql.repo import SqlRecordRepo
from traffic_storage.adapters.record_repo.sql.statement import Statement
from traffic_storage.domain.errors import ConfigurationError
from traffic_storage.domain.ingest import Unit
from traffic_storage.entrypoints.testing.contracts.record_repo import is_whole, local
from traffic_storage.entrypoints.testing.units import new_evidence, new_file, new_record, store
from traffic_storage.ports.errors import CatalogueUnavailable

NOWHERE = "127.0.0.1:1"
OTHERS_VERSION = "CREATE TABLE alembic_version AS SELECT '{}' AS version_num"
AN_INDEX = min(str(index.name) for index in tables.file.indexes)
SETTINGS = Statement(
    select(*map(func.current_setting, ("statement_timeout", "enable_seqscan", "search_path"))),
    (),
)
FILES = Statement(select(func.count()).select_from(tables.file), ())
SLEEP = Statement(select(func.pg_sleep(60)), ())


@asynccontextmanager
async def opened(settings: PostgresSettings) -> AsyncIterator[SqlRecordRepo]:
    repo = postgres_repo(settings)
    try:
        yield repo
    finally:
        await repo.aclose()


@frozen
class Certificates:
    """Files of an authority, of a server `127.0.0.1` that it certifies, and of a client."""

    authority: Path
    client: Path
    client_key: Path
    server: ssl.SSLContext

    def demanding(self) -> ssl.SSLContext:
        """The server's context when it demands a certificate of its clients."""
        self.server.load_verify_locations(self.authority)
        self.server.verify_mode = ssl.CERT_REQUIRED
        return self.server


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return certificates_in(tmp_path, "127.0.0.1")


def certificates_in(folder: Path, name: str) -> Certificates:
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(server)
    client = authority.issue_cert("traffic@example.org")
    made = Certificates(folder / "ca.pem", folder / "client.pem", folder / "client.key", server)
    authority.cert_pem.write_to_path(str(made.authority))
    client.cert_chain_pems[0].write_to_path(str(made.client))
    client.private_key_pem.write_to_path(str(made.client_key))
    return made


@pytest.fixture
def behind_tls(catalogue_database: Database, certificates: Certificates) -> Iterator[Database]:
    with TlsFront(catalogue_database, certificates.server) as front:
        yield catalogue_database.at(front.port)


class TestTls:
    @pytest.mark.parametrize("mode", [SslMode.REQUIRE, SslMode.VERIFY_CA, SslMode.VERIFY_FULL])
    async def test_without_tls_nothing_is_sent(
        self, no_leaks: None, catalogue_database: Database, mode: SslMode
    ) -> None:
        settings = postgres_settings(catalogue_database, tls=TlsSettings(mode))
        async with opened(settings) as repo:
            with pytest.raises(CatalogueUnavailable, match=r"does not speak TLS.*db_ssl_mode"):
                await repo.ping()

    @pytest.mark.parametrize(
        ("mode", "trusts"),
        [
            (SslMode.PREFER, False),
            (SslMode.REQUIRE, False),
            (SslMode.REQUIRE, True),
            (SslMode.VERIFY_CA, True),
            (SslMode.VERIFY_FULL, True),
        ],
    )
    async def test_a_server_that_is_trusted_is_used(
        self,
        no_leaks: None,
        certificates: Certificates,
        behind_tls: Database,
        mode: SslMode,
        trusts: bool,
    ) -> None:
        tls = TlsSettings(mode, certificates.authority if trusts else None)
        async with opened(postgres_settings(behind_tls, tls=tls)) as repo:
            await local(repo)
            await repo.usage()

    @pytest.mark.parametrize("mode", [SslMode.VERIFY_CA, SslMode.VERIFY_FULL])
    async def test_a_server_that_nobody_vouches_for_is_refused(
        self, no_leaks: None, behind_tls: Database, mode: SslMode
    ) -> None:
        async with opened(postgres_settings(behind_tls, tls=TlsSettings(mode))) as repo:
            with pytest.raises(CatalogueUnavailable, match=r"not trusted.*db_ca_file"):
                await repo.ping()

    async def test_the_name_counts_where_it_is_demanded(
        self, no_leaks: None, catalogue_database: Database, tmp_path: Path
    ) -> None:
        other = certificates_in(tmp_path, "db.example.org")
        with TlsFront(catalogue_database, other.server) as front:
            behind = postgres_settings(catalogue_database.at(front.port))
            by_authority = TlsSettings(SslMode.VERIFY_CA, other.authority)
            async with opened(evolve(behind, tls=by_authority)) as repo:
                await repo.ping()
            by_name = evolve(by_authority, mode=SslMode.VERIFY_FULL)
            async with opened(evolve(behind, tls=by_name)) as repo:
                with pytest.raises(CatalogueUnavailable, match=r"not trusted.*db_host"):
                    await repo.ping()

    async def test_a_certificate_of_the_client_is_shown(
        self, no_leaks: None, catalogue_database: Database, certificates: Certificates
    ) -> None:
        with TlsFront(catalogue_database, certificates.demanding()) as front:
            behind = postgres_settings(catalogue_database.at(front.port))
            tls = TlsSettings(
                SslMode.VERIFY_FULL,
                certificates.authority,
                certificates.client,
                certificates.client_key,
            )
            async with opened(evolve(behind, tls=tls)) as repo:
                await repo.ping()
            without = evolve(tls, cert_file=None, key_file=None)
            async with opened(evolve(behind, tls=without)) as repo:
                with pytest.raises(CatalogueUnavailable, match="db_cert_file"):
                    await repo.ping()

    async def test_plain_text_is_told_once_unless_it_is_meant(
        self,
        no_leaks: None,
        catalogue_database: Database,
        caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(
            "traffic_storage.adapters.record_repo.sql.postgres_opening.is_this_machine",
            lambda _host: False,
        )
        for mode in (None, SslMode.PREFER, SslMode.DISABLE):
            settings = postgres_settings(catalogue_database, tls=TlsSettings(mode))
            async with opened(settings) as repo:
                await asyncio.gather(*(repo.ping() for _ in range(3)))
                await local(repo)
        told = [one.getMessage() for one in caplog.records if "not encrypted" in one.getMessage()]
        assert len(told) == 1
        assert "db_ssl_mode" in told[0]


class TestTlsSettings:
    @pytest.mark.parametrize(
        ("environment", "mode"),
        [
            ({}, SslMode.PREFER),
            ({"PGSSLMODE": "allow"}, SslMode.PREFER),
            ({"PGSSLMODE": "verify-full"}, SslMode.VERIFY_FULL),
            ({"PGSSLMODE": "disable"}, SslMode.DISABLE),
        ],
    )
    def test_the_environment_counts_where_no_setting_is(
        self, environment: Mapping[str, str], mode: SslMode
    ) -> None:
        assert Tls(TlsSettings(), environment).mode is mode
        assert Tls(TlsSettings(SslMode.REQUIRE), environment).mode is SslMode.REQUIRE

    def test_a_slip_of_the_environment_is_named(self) -> None:
        with pytest.raises(ConfigurationError, match=r"PGSSLMODE: must be one of.*verify-full"):
            Tls(TlsSettings(), {"PGSSLMODE": "verify-ful"}).context()
        environment = {"PGSSLMODE": "verify-full", "PGSSLROOTCERT": "/no/such"}
        with pytest.raises(ConfigurationError, match="PGSSLROOTCERT: /no/such can't be read"):
            Tls(TlsSettings(), environment).context()

    @pytest.mark.parametrize("name", ["ca_file", "cert_file", "key_file"])
    @pytest.mark.parametrize("content", [None, b"", b"no certificate"])
    def test_a_file_that_is_none_is_named(
        self, certificates: Certificates, tmp_path: Path, name: str, content: bytes | None
    ) -> None:
        wrong = tmp_path / "wrong.pem"
        if content is not None:
            wrong.write_bytes(content)
        changed: dict[str, Any] = {name: wrong}
        good = TlsSettings(
            SslMode.VERIFY_FULL,
            certificates.authority,
            certificates.client,
            certificates.client_key,
        )
        assert Tls(good).context() is not None
        with pytest.raises(ConfigurationError, match=r"db_.*_file: .*(wrong|client)\.pem"):
            Tls(evolve(good, **changed)).context()

    def test_a_key_of_another_certificate_is_refused(
        self, certificates: Certificates, tmp_path: Path
    ) -> None:
        other = tmp_path / "other.key"
        trustme.CA().issue_cert("x").private_key_pem.write_to_path(str(other))
        given = TlsSettings(SslMode.REQUIRE, None, certificates.client, other)
        with pytest.raises(ConfigurationError, match="db_cert_file"):
            Tls(given).context()

    def test_files_that_were_replaced_take_effect_and_broken_ones_do_not(
        self, certificates: Certificates
    ) -> None:
        tls = Tls(TlsSettings(SslMode.VERIFY_FULL, certificates.authority))
        first = tls.context()
        assert tls.context() is first
        trustme.CA().cert_pem.write_to_path(str(certificates.authority))
        second = tls.context()
        assert second is not first
        certificates.authority.write_bytes(b"half")
        assert tls.context() is second


class TestPooler:
    @pytest.fixture(params=[True, False], ids=["refuses settings", "drops settings"])
    def behind(
        self, postgres_database: Database, request: pytest.FixtureRequest
    ) -> Iterator[TransactionPooler]:
        with TransactionPooler(postgres_database, strict=request.param) as pooler:
            yield pooler

    @pytest.fixture
    async def repo(
        self, no_leaks: None, postgres_database: Database, behind: TransactionPooler
    ) -> AsyncIterator[SqlRecordRepo]:
        settings = postgres_settings(postgres_database.at(behind.port), writers=2, pool_size=4)
        async with opened(settings) as repo:
            await repo.upgrade()
            yield repo

    async def test_each_transaction_may_run_in_another_session(
        self, repo: SqlRecordRepo, behind: TransactionPooler
    ) -> None:
        place = await local(repo)
        before = behind.transactions

        async def stored_and_read() -> bool:
            return await is_whole(repo, await store(repo, new_evidence(new_record(), place)))

        assert all(await asyncio.gather(*(stored_and_read() for _ in range(20))))
        assert behind.transactions > before + 20

    async def test_settings_hold_in_each_transaction_and_nowhere_else(
        self, repo: SqlRecordRepo, postgres_database: Database, behind: TransactionPooler
    ) -> None:
        del repo
        driver = PostgresDriver(postgres_settings(postgres_database.at(behind.port), schema="x"))
        try:
            for _ in range(4):
                found = await driver.read(SETTINGS, [()])
                assert [tuple(row) for row in found] == [("1min", "off", "x")]
        finally:
            await driver.aclose()
        given = postgres_database
        plain = await asyncpg.connect(
            host=given.host, port=behind.port, user=given.user, database=given.name
        )
        try:
            untouched = "SELECT 1 WHERE current_setting('enable_seqscan') = 'on'"
            assert [await plain.execute(untouched) for _ in range(4)] == ["SELECT 1"] * 4
        finally:
            await plain.close()

    async def test_a_moment_sees_the_rows_as_they_were(
        self, repo: SqlRecordRepo, postgres_database: Database, behind: TransactionPooler
    ) -> None:
        driver = PostgresDriver(postgres_settings(postgres_database.at(behind.port)))
        place = await local(repo)
        try:
            async with driver.at_one_moment() as moment:
                ((before,),) = await moment.read(FILES, [()])
                await store(repo, Unit((new_file(place),)))
                ((then,),) = await moment.read(FILES, [()])
                assert then == before
            ((after,),) = await driver.read(FILES, [()])
            assert after == before + 1
        finally:
            await driver.aclose()

    async def test_a_copy_of_the_database_passes_through(
        self, repo: SqlRecordRepo, postgres_database: Database, behind: TransactionPooler
    ) -> None:
        parts: list[bytes] = []

        async def keep(data: bytes) -> None:
            parts.append(data)

        driver = PostgresDriver(postgres_settings(postgres_database.at(behind.port)))
        await store(repo, Unit((new_file(await local(repo)),)))
        try:
            async with driver.at_one_moment() as moment:
                await moment.copy_database(keep)
        finally:
            await driver.aclose()
        assert b'"file": 1' in b"".join(parts)

    async def test_a_cancelled_read_harms_no_later_one(
        self, repo: SqlRecordRepo, postgres_database: Database, behind: TransactionPooler
    ) -> None:
        del repo
        driver = PostgresDriver(
            postgres_settings(postgres_database.at(behind.port), pool_size=1, timeout_seconds=10.0)
        )
        try:
            for _ in range(3):
                slow = asyncio.create_task(driver.read(SLEEP, [()]))
                await asyncio.sleep(0)
                slow.cancel()
                await asyncio.wait([slow])
                ((found,),) = await driver.read(FILES, [()])
                assert found == 0
        finally:
            await driver.aclose()

    async def test_two_may_upgrade_at_once(
        self, no_leaks: None, postgres_database: Database, behind: TransactionPooler
    ) -> None:
        settings = postgres_settings(postgres_database.at(behind.port))
        async with opened(settings) as one, opened(settings) as other:
            await asyncio.gather(one.upgrade(), other.upgrade())
            assert await one.catalogue_id() == await other.catalogue_id()
            # No lock is left in a session of the pooler.
            await other.upgrade()


class TestHosts:
    @pytest.mark.parametrize(
        ("text", "found"),
        [
            ("db", [("db", 5432)]),
            ("db1,db2", [("db1", 5432), ("db2", 5432)]),
            ("db1:5433, 10.0.0.7", [("db1", 5433), ("10.0.0.7", 5432)]),
            (
                "[::1]:5433,::1,[fe80::1%eth0]",
                [("::1", 5433), ("::1", 5432), ("fe80::1%eth0", 5432)],
            ),
            ("/run/postgresql", [("/run/postgresql", 5432)]),
        ],
    )
    def test_a_list_of_hosts_is_read(self, text: str, found: list[tuple[str, int]]) -> None:
        assert list(addresses(text, 5432)) == found

    @pytest.mark.parametrize("text", ["", "db1,", "db:0", "db:65536", "db:x", "user:p@db", "a b"])
    def test_what_is_no_host_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match="not a host"):
            addresses(text, 5432)

    async def test_the_next_host_is_used_when_one_is_away(
        self, no_leaks: None, catalogue_database: Database
    ) -> None:
        hosts = f"{NOWHERE},127.0.0.1:{catalogue_database.port}"
        async with opened(postgres_settings(catalogue_database, host=hosts)) as repo:
            await local(repo)
            await repo.usage()

    async def test_a_host_that_says_nothing_costs_a_share_of_the_time_once(
        self, no_leaks: None, catalogue_database: Database, postgres_proxy: StallProxy
    ) -> None:
        postgres_proxy.stall()
        hosts = f"127.0.0.1:{postgres_proxy.port},127.0.0.1:{catalogue_database.port}"
        settings = postgres_settings(catalogue_database, host=hosts, timeout_seconds=10.0)
        async with opened(settings) as repo:
            await repo.ping()
            tried = postgres_proxy.connections
            await asyncio.gather(*(repo.ping() for _ in range(3)), local(repo))
            assert postgres_proxy.connections <= tried

    async def test_a_standby_among_hosts_is_passed_over(
        self, no_leaks: None, own_postgres: PostgresServer, catalogue_database: Database
    ) -> None:
        standby = own_postgres.address
        name, password = catalogue_database.name, catalogue_database.password
        standby.execute(f"ALTER ROLE \"{standby.user}\" PASSWORD '{password}'")
        standby.execute(f'CREATE DATABASE "{name}" OWNER "{standby.user}"')
        standby.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
        hosts = [f"127.0.0.1:{standby.port}", f"127.0.0.1:{catalogue_database.port}"]
        settings = postgres_settings(catalogue_database, host=",".join(hosts))
        async with opened(settings) as repo:
            assert await is_whole(repo, await store(repo, Unit((new_file(await local(repo)),))))
        async with opened(evolve(settings, host=f"{hosts[0]},{NOWHERE}")) as repo:
            with pytest.raises(CatalogueUnavailable, match="can't be reached"):
                await repo.ping()
        async with opened(evolve(settings, host=f"{hosts[0]},{hosts[0]}")) as repo:
            with pytest.raises(CatalogueUnavailable, match=r"none of these hosts is a primary"):
                await repo.ping()


class TestSharedDatabase:
    async def test_a_schema_of_its_own_is_made_and_used(
        self, no_leaks: None, postgres: PostgresAddress, postgres_database: Database
    ) -> None:
        for sql in (OTHERS_VERSION.format("0001"), "CREATE TABLE violation (plate text)"):
            postgres.execute(sql, postgres_database.name)
        settings = postgres_settings(postgres_database, schema="traffic_storage")
        async with opened(settings) as repo:
            await repo.upgrade()
            assert await is_whole(repo, await store(repo, Unit((new_file(await local(repo)),))))
        async with opened(settings) as repo:
            await repo.upgrade()
            assert await repo.pending() == []
        count = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
        assert postgres.execute(count, postgres_database.name) == "2"

    @pytest.mark.parametrize(
        "sql",
        [
            "CREATE TABLE alembic_version (version_num text)",
            OTHERS_VERSION.format("9a1f3c2b7d10"),
            OTHERS_VERSION.format("0001"),
            "CREATE TABLE violation (id int)",
            "CREATE VIEW file AS SELECT 1",
            "CREATE TABLE catalogue (id int)",
            f"CREATE TABLE photo (size int); CREATE INDEX {AN_INDEX} ON photo (size)",
        ],
    )
    async def test_tables_of_another_application_are_told_and_left_alone(
        self, no_leaks: None, postgres: PostgresAddress, postgres_database: Database, sql: str
    ) -> None:
        postgres.execute(sql, postgres_database.name)
        relations = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        before = postgres.execute(relations, postgres_database.name)
        async with opened(postgres_settings(postgres_database)) as repo:
            with pytest.raises(ConfigurationError, match=r"another application.*db_schema"):
                await repo.upgrade()
        assert postgres.execute(relations, postgres_database.name) == before

    async def test_two_catalogues_in_one_database_know_nothing_of_each_other(
        self, no_leaks: None, postgres_database: Database
    ) -> None:
        first = postgres_settings(postgres_database, schema="north")
        async with opened(first) as one, opened(evolve(first, schema="south")) as other:
            await asyncio.gather(one.upgrade(), other.upgrade())
            unit = await store(one, Unit((new_file(await local(one)),)))
            assert await one.catalogue_id() != await other.catalogue_id()
            assert await is_whole(one, unit)
            assert not await is_whole(other, unit)


class TestPassword:
    async def test_a_rotated_password_is_used_at_the_next_connection(
        self, no_leaks: None, postgres: PostgresAddress, catalogue_database: Database
    ) -> None:
        postgres.execute("CREATE ROLE rotating LOGIN PASSWORD 'first' IN ROLE traffic")
        passwords = ["first"]
        try:
            settings = postgres_settings(
                catalogue_database, user="rotating", password=lambda: passwords[-1]
            )
            async with opened(settings) as repo:
                await repo.ping()
                postgres.execute("ALTER ROLE rotating PASSWORD 'second'")
                passwords.append("second")
                postgres.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE usename = 'rotating'"
                )
                await repo.ping()
        finally:
            postgres.execute("DROP ROLE rotating")
