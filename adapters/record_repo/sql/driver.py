"""The protocol of a database driver: read, write in groups, upgrade.

A write is a value: statements, and the number of rows that each must change. A driver runs all
queued writes as one transaction. If one of them fails, only that one is rolled back. If the outcome
of a commit is unknown (its connection was lost), the driver runs the writes again: each write
detects, when it is repeated, whether it had happened before.
"""

from abc import abstractmethod
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from attrs import evolve, frozen

from traffic_storage.adapters.record_repo.sql.event_statements import INSERT_EVENT
from traffic_storage.adapters.record_repo.sql.rows import Row, counter_row, event_row
from traffic_storage.adapters.record_repo.sql.statement import Args, Statement
from traffic_storage.adapters.record_repo.sql.statements import ADD_USAGE
from traffic_storage.domain.database_backup import DatabaseForm, Loading
from traffic_storage.domain.events import Event
from traffic_storage.domain.usage import CounterChange
from traffic_storage.ports.database_backup import DatabaseCopy


@frozen
class Step:
    """A statement and the arguments of its executions (`rows`).

    `expects` is the number of rows that all executions together must change; None allows any
    number.
    """

    statement: Statement
    rows: tuple[Args, ...]
    expects: int | None = None


@frozen
class Write:
    """The changes of one call of the catalogue port: all of them happen, or none.

    `counters` and `events` are recorded after the steps. `grows` is whether the write needs more
    disk space. A write that frees space is accepted even when the disk is full.
    """

    steps: tuple[Step, ...]
    counters: Sequence[CounterChange] = ()
    events: Sequence[Event] = ()
    grows: bool = False


class Refused(Exception):
    """A write was rolled back because the rows in the database were not as it expects.

    `statement` is the statement that changed too few rows, inserted a key that exists, or (if
    `dangling`) referred to a row that does not exist. `repeated` is whether an earlier run of the
    same write had an unknown outcome: that run may have changed the rows.
    """

    def __init__(self, statement: Statement, *, dangling: bool = False) -> None:
        super().__init__("the rows are not as the write expects them")
        self.statement = statement
        self.dangling = dangling
        self.repeated = False


class Reader(Protocol):
    """Runs queries."""

    @abstractmethod
    async def read(self, statement: Statement, executions: Sequence[Args]) -> Sequence[Row]:
        """Run a query once for each tuple of arguments; return all rows, in the same order."""


class MomentReader(Reader, DatabaseCopy, Protocol):
    """Runs queries, and copies the database, in one read-only transaction."""


class Driver(Reader, Protocol):
    """Runs statements in one database, which is opened at the first use.

    All methods may be called concurrently.

    Errors of all methods:
        CatalogueUnavailable: the database can't be reached, refuses the request, or did not
            answer in time. A write did not happen, except with OutcomeUnknown: then it is unknown
            whether it did.
        StorageFull: the disk of the database is full.
    """

    @abstractmethod
    def at_one_moment(self) -> AbstractAsyncContextManager[MomentReader]:
        """Return a context with a reader all of whose queries see the rows as the first one does.

        It has a connection of its own and one read-only transaction. The calls must follow one
        another.
        """

    @property
    @abstractmethod
    def form(self) -> DatabaseForm:
        """What the bytes of a copy of this database are."""

    @abstractmethod
    async def is_blank(self) -> bool:
        """Return whether a copy may be loaded, as `DatabaseBackup.is_blank` specifies."""

    @abstractmethod
    async def load(self, chunks: AsyncIterator[bytes], loading: Loading) -> None:
        """Load a copy, as `DatabaseBackup.load_database` specifies."""

    @abstractmethod
    async def write(self, write: Write) -> None:
        """Run a write. It is durable when this method returns.

        If the caller is cancelled, a write that has begun continues to its end and may succeed or
        fail; a write that has not begun does not happen.

        Raises:
            Refused: the rows are not as the write expects; the write was rolled back.
        """

    @abstractmethod
    async def upgrade(self, *, slow: bool) -> None:
        """Apply pending migrations of the tables, as `RecordRepo.upgrade` specifies."""

    @abstractmethod
    async def version(self) -> str | None:
        """Return the version of the existing tables; None if there are no tables."""

    @abstractmethod
    async def aclose(self) -> None:
        """Wait until running calls have ended, then close all connections."""


LOOKED_UP = 250
"""The number of rows that one read looks up: each may be a page of a slow disk."""


async def looked_up(reader: Reader, statement: Statement, executions: Sequence[Args]) -> list[Row]:
    """Return the rows that all executions of a look-up find, in their order, in reads of few each."""
    found: list[Row] = []
    for at in range(0, len(executions), LOOKED_UP):
        found += await reader.read(statement, executions[at : at + LOOKED_UP])
    return found


class CsvDriver(Driver):
    """A driver of a database that can write the rows of a query as CSV."""

    @abstractmethod
    async def csv(self, statement: Statement, args: Args, zone: str) -> tuple[bytes, int]:
        """Run a query whose columns are texts and numbers; return its rows as CSV, and their number.

        `zone` is the time zone in which the database writes times. The CSV has no header, commas
        between the fields, and a line feed behind each row; NULL is an empty field.
        """


def merged(writes: Iterable[Write]) -> list[Step]:
    """Return the steps of several writes as one transaction: each statement once, with all its rows.

    Statements are ordered by their definition and rows by their first argument, so that two
    transactions that change the same rows lock them in the same order.
    """
    steps: dict[Statement, Step] = {}
    for write in writes:
        for step in write.steps:
            known = steps.get(step.statement)
            steps[step.statement] = _joined(known, step) if known else step
    ordered = sorted(steps.values(), key=lambda step: step.statement.rank)
    return [evolve(step, rows=_in_order(step.rows)) for step in ordered]


def recording(writes: Sequence[Write]) -> list[Step]:
    """Return the steps that record the events and the summed counter changes of several writes.

    They are the last steps of their transaction and follow a statement that changed a row. So the
    transaction has its id before it draws the number of an event or of a counter change, on which
    `SqlRecordRepo.fold_counters` and `SqlOutbox.events` rely.
    """
    events = tuple(event_row(event) for write in writes for event in write.events)
    return [*([Step(INSERT_EVENT, events)] if events else []), *_counting(writes)]


def _counting(writes: Iterable[Write]) -> list[Step]:
    # Additions and removals apart: what was received is counted without what was removed.
    sums: defaultdict[Args, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for write in writes:
        for change in write.counters:
            key = *counter_row(change), change.moved, change.items > 0
            items, size = sums[key]
            sums[key] = items + change.items, size + change.bytes
    rows = tuple((*key[:4], *sums[key], key[4]) for key in sorted(sums) if any(sums[key]))
    return [Step(ADD_USAGE, rows)] if rows else []


def _joined(one: Step, other: Step) -> Step:
    expects = None if one.expects is None else one.expects + (other.expects or 0)
    return Step(one.statement, one.rows + other.rows, expects)


def _in_order(rows: tuple[Args, ...]) -> tuple[Args, ...]:
    return rows if len(rows) < 2 else tuple(sorted(rows, key=lambda row: str(row[0])))
