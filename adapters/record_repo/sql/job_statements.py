"""All SQL statements of jobs, built once; those of one transaction run in the order of this module.

Times are computed from the database's clock, so that workers need no clocks that agree.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    BindParameter,
    ColumnElement,
    Integer,
    Text,
    bindparam,
    case,
    cast,
    delete,
    func,
    literal_column,
    null,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler

from traffic_storage.adapters.record_repo.sql.statement import Statement
from traffic_storage.adapters.record_repo.sql.tables import is_ended, is_live, job, job_slot, store
from traffic_storage.domain.files import Tier
from traffic_storage.domain.jobs import FIRST_PAUSE, JobState

_MICROS = 1_000_000
_MOST_DOUBLINGS = 10


class Now(ColumnElement[int]):
    """The time of the database, in microseconds since 1970; the same throughout a transaction."""

    inherit_cache = True
    type = BigInteger()


@compiles(Now, "postgresql")
def _now_in_postgres(_element: Now, _compiler: SQLCompiler, **_: Any) -> str:  # noqa: ANN401
    return "(extract(epoch FROM now()) * 1000000)::bigint"


@compiles(Now, "sqlite")
def _now_in_sqlite(_element: Now, _compiler: SQLCompiler, **_: Any) -> str:  # noqa: ANN401
    return "CAST((julianday('now') - 2440587.5) * 86400000.0 AS INTEGER) * 1000"


NOW = Now()


def _given(name: str) -> BindParameter[Any]:
    return bindparam(name)


def _in(state: JobState) -> ColumnElement[bool]:
    return job.c.state == _word(state)


def _word(state: JobState) -> ColumnElement[str]:
    return literal_column(f"'{state}'", Text)


# The key first: rows of a step are ordered by it, so that transactions lock keys in one order.
_NEW = ("key", "job_id", "kind", "arguments", "priority", "max_attempts", "delay", "needs")
_new_job: dict[str, Any] = {
    "job_id": _given("new_job_id"),
    "key": _given("new_key"),
    "kind": _given("new_kind"),
    "arguments": _given("new_arguments"),
    "priority": _given("new_priority"),
    "max_attempts": _given("new_max_attempts"),
    "needs": _given("new_needs"),
    "created_at": NOW,
    "run_at": NOW + cast(_given("new_delay"), BigInteger),
    "state": _word(JobState.READY),
    "attempts": literal_column("0"),
    "done": literal_column("0"),
    "bytes": literal_column("0"),
    "cancelling": literal_column("false"),
    "message": literal_column("''"),
    "error": literal_column("''"),
}
# Left out where the id, or the key of a live job, exists.
INSERT_JOB = Statement(
    postgresql.insert(job).values(_new_job).on_conflict_do_nothing(),
    tuple(f"new_{name}" for name in _NEW),
    on_sqlite=sqlite.insert(job).values(_new_job).on_conflict_do_nothing(),
)


def _slot_claim(insert: Any) -> Any:  # noqa: ANN401 - the dialects' classes share no base
    slot = NOW // cast(_given("every"), BigInteger)
    claim = insert(job_slot).values(name=_given("schedule"), slot=slot)
    return claim.on_conflict_do_update(
        index_elements=[job_slot.c.name],
        set_={"slot": claim.excluded.slot},
        where=job_slot.c.slot < claim.excluded.slot,
    )


# Changes no row where the slot has its job.
CLAIM_SLOT = Statement(
    _slot_claim(postgresql.insert), ("schedule", "every"), on_sqlite=_slot_claim(sqlite.insert)
)

# Leases.
_spent = job.c.attempts >= job.c.max_attempts
_doublings = case((job.c.attempts > _MOST_DOUBLINGS, _MOST_DOUBLINGS), else_=job.c.attempts - 1)
_pause = literal_column(str(FIRST_PAUSE.seconds * _MICROS), BigInteger).bitwise_lshift(_doublings)
TAKE_BACK = Statement(
    update(job)
    .where(_in(JobState.RUNNING), job.c.leased_until < NOW)
    .values(
        state=case(
            (job.c.cancelling, _word(JobState.CANCELLED)),
            (_spent, _word(JobState.DEAD)),
            else_=_word(JobState.READY),
        ),
        ended_at=case((job.c.cancelling | _spent, NOW)),
        run_at=NOW + _pause,
        leased_until=null(),
        lease_id=null(),
        error=func.coalesce(job.c.owner, "") + _given("why"),
    ),
    ("why",),
)


def _is_listed(column: ColumnElement[str], name: str, *, is_sqlite: bool) -> ColumnElement[bool]:
    if is_sqlite:
        listed: Any = select(literal_column("value")).select_from(func.json_each(_given(name)))
        return column.in_(listed)
    elements = func.jsonb_array_elements_text(cast(_given(name), postgresql.JSONB))
    # An array can be a condition of an index scan; a subquery with many rows can't.
    return column == func.any(func.array(select(elements).scalar_subquery()))


def _claim(*, is_sqlite: bool) -> Any:  # noqa: ANN401 - an update of either form
    mine = job.alias("mine")
    claimed = (
        select(func.count())
        .select_from(mine)
        .where(mine.c.state == _word(JobState.RUNNING), mine.c.lease_id == _given("lease"))
        .scalar_subquery()
    )
    due = job.alias("due")
    found = (
        select(due.c.job_id)
        .where(
            due.c.state == _word(JobState.READY),
            due.c.needs == _given("needed"),
            due.c.priority == _given("priority"),
            due.c.run_at <= NOW,
            _is_listed(due.c.kind, "kinds", is_sqlite=is_sqlite),
        )
        .order_by(due.c.run_at)
        .limit(cast(_given("most"), BigInteger) - claimed)
        .with_for_update(skip_locked=True)
    )
    # An array is computed once; a subquery with a limit may run again for each row.
    is_found = (
        job.c.job_id.in_(found)
        if is_sqlite
        else job.c.job_id == func.any(func.array(found.scalar_subquery()))
    )
    return (
        update(job)
        .where(is_found)
        .values(
            state=_word(JobState.RUNNING),
            attempts=job.c.attempts + 1,
            lease_id=_given("lease"),
            owner=_given("owner"),
            leased_until=NOW + cast(_given("micros"), BigInteger),
        )
    )


# For one priority and one set of needed stores; together with the jobs that the same lease has, at most `most`.
CLAIM = Statement(
    _claim(is_sqlite=False),
    ("order", "priority", "kinds", "needed", "most", "lease", "owner", "micros"),
    on_sqlite=_claim(is_sqlite=True),
)
RENEW = Statement(
    update(job)
    .where(job.c.job_id == _given("id"), job.c.lease_id == _given("lease"), _in(JobState.RUNNING))
    .values(
        leased_until=NOW + cast(_given("micros"), BigInteger),
        done=_given("so_far"),
        total=_given("of"),
        bytes=_given("moved"),
        message=_given("text"),
    ),
    ("id", "lease", "micros", "so_far", "of", "moved", "text"),
)
END_JOB = Statement(
    update(job)
    .where(job.c.job_id == _given("id"), job.c.lease_id == _given("lease"), _in(JobState.RUNNING))
    .values(
        state=_given("becomes"),
        ended_at=case((cast(_given("becomes"), Text) != _word(JobState.READY), NOW)),
        run_at=NOW + cast(_given("pause"), BigInteger),
        attempts=job.c.attempts - cast(_given("uncounted"), Integer),
        leased_until=null(),
        error=_given("why"),
    ),
    ("id", "lease", "becomes", "pause", "uncounted", "why"),
)
END_DONE = Statement(
    update(job)
    .where(job.c.job_id == _given("id"), job.c.lease_id == _given("lease"), _in(JobState.RUNNING))
    .values(
        state=_word(JobState.DONE),
        ended_at=NOW,
        run_at=NOW,
        leased_until=null(),
        error=literal_column("''"),
        # What is not given stays as it was reported last.
        done=func.coalesce(cast(_given("so_far"), BigInteger), job.c.done),
        total=case(
            (cast(_given("so_far"), BigInteger).is_(None), job.c.total),
            else_=cast(_given("of"), BigInteger),
        ),
        bytes=func.coalesce(cast(_given("moved"), BigInteger), job.c.bytes),
        message=func.coalesce(cast(_given("text"), Text), job.c.message),
        result=_given("made"),
    ),
    ("id", "lease", "so_far", "of", "moved", "text", "made"),
)

# Operators.
CANCEL_READY = Statement(
    update(job)
    .where(job.c.job_id == _given("id"), _in(JobState.READY))
    .values(state=_word(JobState.CANCELLED), ended_at=NOW),
    ("id",),
)
CANCEL_RUNNING = Statement(
    update(job)
    .where(job.c.job_id == _given("id"), _in(JobState.RUNNING))
    .values(cancelling=literal_column("true")),
    ("id",),
)
REQUEUE = Statement(
    update(job)
    .where(
        job.c.job_id == _given("id"),
        job.c.state.in_([_word(JobState.DEAD), _word(JobState.CANCELLED)]),
    )
    .values(
        state=_word(JobState.READY),
        attempts=literal_column("0"),
        run_at=NOW,
        ended_at=null(),
        lease_id=null(),
        cancelling=literal_column("false"),
    ),
    ("id",),
)
RETARGET = Statement(
    update(job)
    .where(job.c.job_id == _given("id"), _in(JobState.READY))
    .values(needs=_given("needed")),
    ("id", "needed"),
)
_ended = select(job.c.job_id).where(is_ended, job.c.ended_at < _given("before"))
FORGET_JOBS = Statement(
    delete(job).where(job.c.job_id.in_(_ended.order_by(job.c.ended_at).limit(_given("most")))),
    ("before", "most"),
)


def _waiting_for_others(*, is_sqlite: bool) -> Any:  # noqa: ANN401 - a query of either form
    needed = cast(_given("first"), Text) + literal_column("' '") + store.c.store_id
    return (
        select(job.c.job_id)
        .select_from(store)
        .join(job, job.c.needs == needed)
        .where(
            _in(JobState.READY),
            store.c.tier == literal_column(f"'{Tier.CLOUD}'"),
            ~_is_listed(store.c.store_id, "kept", is_sqlite=is_sqlite),
        )
        .limit(cast(_given("most"), BigInteger))
    )


# Reads.
# Ready jobs of a first store that need a store of the cloud which is not listed.
WAITING_FOR_OTHERS = Statement(
    _waiting_for_others(is_sqlite=False),
    ("first", "kept", "most"),
    on_sqlite=_waiting_for_others(is_sqlite=True),
)
DATABASE_TIME = Statement(select(NOW), ())
COLUMNS = tuple(job.c)
JOB = Statement(select(*COLUMNS).where(job.c.job_id == _given("id")), ("id",))
CLAIMED = Statement(
    select(*COLUMNS)
    .where(_in(JobState.RUNNING), job.c.lease_id == _given("lease"))
    .order_by(job.c.priority.desc(), job.c.run_at),
    ("lease",),
)

LIVE_JOBS = Statement(
    select(*COLUMNS)
    # SQLite can't know that few jobs of a kind are live.
    .with_hint(job, "INDEXED BY job_live_idx", "sqlite")
    .where(
        is_live,
        job.c.kind == _given("of_kind"),
        job.c.created_at >= _given("earliest"),
        (job.c.created_at > _given("earliest")) | (job.c.job_id > _given("after")),
    )
    .order_by(job.c.created_at, job.c.job_id)
    .limit(_given("limit")),
    ("of_kind", "earliest", "after", "limit"),
)


def _page(state: bool, kind: bool) -> Statement:
    selected = select(*COLUMNS).where(
        job.c.created_at <= _given("latest"),
        (job.c.created_at < _given("latest")) | (job.c.job_id < _given("after")),
    )
    if state:
        selected = selected.where(job.c.state == _given("in_state"))
    if kind:
        selected = selected.where(job.c.kind == _given("of_kind"))
    ordered = selected.order_by(job.c.created_at.desc(), job.c.job_id.desc())
    return Statement(
        ordered.limit(_given("limit")), ("in_state", "of_kind", "latest", "after", "limit")
    )


PAGES = {(state, kind): _page(state, kind) for state in (False, True) for kind in (False, True)}
