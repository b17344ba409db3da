"""What a database does for the catalogue, whatever its make: read, write in groups, upgrade.

A write is a value: statements, and how many rows each must touch. A driver runs what has queued
as one transaction, keeps a write that fails from taking its neighbours with it, and when the
outcome of a commit is unknown (a connection lost in its midst) runs the write again: every write
here tells, when it is repeated, whether it had happened.
"""

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Protocol

from attrs import evolve, frozen

from traffic_storage.adapters.record_repo.sql.rows import Row, counter_row
from traffic_storage.adapters.record_repo.sql.statement import Args, Statement
from traffic_storage.adapters.record_repo.sql.statements import ADD_USAGE
from traffic_storage.domain.usage import CounterChange


@frozen
class Step:
    """A statement, its executions, and how many rows they touch in all (None: any number)."""

    statement: Statement
    rows: tuple[Args, ...]
    expects: int | None = None


@frozen
class Write:
    """What one call changes: all of it or nothing.

    `grows` says that it takes room; one that gives some back goes on when the disk is full.
    """

    steps: tuple[Step, ...]
    counters: Sequence[CounterChange] = ()
    grows: bool = False


class Refused(Exception):
    """A write met other rows than it expects, and nothing of it happened.

    `statement` is the one that touched too few rows, claimed what is taken, or (`dangling`)
    refers to what is not there. `repeated` says that an earlier run of the same write had an unknown outcome: it
    may have been this write itself that changed the rows.
    """

    def __init__(self, statement: Statement, *, dangling: bool = False) -> None:
        super().__init__("the rows are not as the write expects them")
        self.statement = statement
        self.dangling = dangling
        self.repeated = False


class Driver(Protocol):
    """A database. Opens at first use; every method may be called by many at once.

    Errors of all methods:
        CatalogueUnavailable: it can't be reached, refuses, or did not answer in time; a write
            did not happen, unless OutcomeUnknown says that this could not be found out.
        StorageFull: it has no room.
    """

    @abstractmethod
    async def read(self, statement: Statement, executions: Sequence[Args]) -> Sequence[Row]:
        """The rows of all executions, in order."""

    @abstractmethod
    async def write(self, write: Write) -> None:
        """Run a write; durable when this returns.

        A caller that is cancelled leaves a write that was begun to its end, for better or worse;
        one that was not begun does not happen.

        Raises:
            Refused: the rows are not as it expects; nothing of it happened.
        """

    @abstractmethod
    async def upgrade(self, *, slow: bool) -> None:
        """Bring the tables to this version's form, as the port says."""

    @abstractmethod
    async def version(self) -> str | None:
        """The version of the tables that are there; None where there are none."""

    @abstractmethod
    async def aclose(self) -> None:
        """Let running calls end, then free everything."""


def merged(writes: Iterable[Write]) -> list[Step]:
    """The steps of several writes as one transaction: each statement once, with all its rows.

    Statements come in the order of their definition, rows by their first argument, so that two
    transactions that touch the same rows lock them in the same order.
    """
    steps: dict[Statement, Step] = {}
    for write in writes:
        for step in write.steps:
            known = steps.get(step.statement)
            steps[step.statement] = _joined(known, step) if known else step
    ordered = sorted(steps.values(), key=lambda step: step.statement.rank)
    return [evolve(step, rows=_in_order(step.rows)) for step in ordered]


def counting(writes: Iterable[Write]) -> list[Step]:
    """The step that records the counter changes of several writes, summed up; last in its transaction.

    It comes after a statement that changed a row: `SqlRecordRepo.fold_counters` relies on it.
    """
    sums: defaultdict[Args, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for write in writes:
        for change in write.counters:
            key = counter_row(change)
            items, size = sums[key]
            sums[key] = items + change.items, size + change.bytes
    rows = tuple((*key, *sums[key]) for key in sorted(sums) if any(sums[key]))
    return [Step(ADD_USAGE, rows)] if rows else []


def _joined(one: Step, other: Step) -> Step:
    expects = None if one.expects is None else one.expects + (other.expects or 0)
    return Step(one.statement, one.rows + other.rows, expects)


def _in_order(rows: tuple[Args, ...]) -> tuple[Args, ...]:
    return rows if len(rows) < 2 else tuple(sorted(rows, key=lambda row: str(row[0])))
