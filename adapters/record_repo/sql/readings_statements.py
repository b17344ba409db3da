"""The SQL statements of metrics and health, built once. Each follows an index and ends at a limit."""

from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Integer,
    bindparam,
    func,
    literal_column,
    select,
)

from traffic_storage.adapters.record_repo.sql.statement import Statement
from traffic_storage.adapters.record_repo.sql.tables import file, is_live, job, store
from traffic_storage.domain.files import FileState
from traffic_storage.domain.jobs import JobState
from traffic_storage.domain.readings import MOST_COUNTED

_ONE = literal_column("1", Integer)
_MOST = literal_column(str(MOST_COUNTED), Integer)


def _given(name: str) -> BindParameter[Any]:
    return bindparam(name)


def _in(state: JobState) -> ColumnElement[bool]:
    return job.c.state == literal_column(f"'{state}'")


# Of a kind, along `job_live_idx`; the running jobs that are passed over are few.
_is_ready = (is_live, _in(JobState.READY), job.c.kind == _given("of_kind"))
_ready = select(_ONE).where(*_is_ready).limit(_MOST).subquery()
_oldest = (
    select(job.c.created_at)
    .where(*_is_ready)
    .order_by(job.c.created_at, job.c.job_id)
    .limit(_ONE)
    .scalar_subquery()
)
READY_JOBS = Statement(
    select(select(func.count()).select_from(_ready).scalar_subquery(), _oldest), ("of_kind",)
)


def _by_kind(state: JobState) -> Statement:
    few = select(job.c.kind).where(_in(state)).limit(_MOST).subquery()
    return Statement(select(few.c.kind, func.count()).group_by(few.c.kind), ())


RUNNING_JOBS = _by_kind(JobState.RUNNING)
DEAD_JOBS = _by_kind(JobState.DEAD)

_due = (
    select(func.coalesce(file.c.stored_size_bytes, file.c.size_bytes).label("stored_bytes"))
    .where(
        file.c.state == literal_column(f"'{FileState.AVAILABLE}'"),
        file.c.keep_until <= _given("as_of"),
    )
    .order_by(file.c.keep_until)
    .limit(_MOST)
    .subquery()
)
DUE_RETENTION = Statement(
    select(func.count(), func.coalesce(func.sum(_due.c.stored_bytes), literal_column("0"))),
    ("as_of",),
)
PRESSURES = Statement(select(store.c.store_id, store.c.pressure, store.c.usage_alert), ())
