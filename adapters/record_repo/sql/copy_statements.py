"""The SQL statements that read the replicas of a store by their age, built once."""

from sqlalchemy import bindparam, cast, literal_column, select

from traffic_storage.adapters.record_repo.sql.statement import Statement
from traffic_storage.adapters.record_repo.sql.statements import COPIES, with_copies
from traffic_storage.adapters.record_repo.sql.tables import file, replica, store
from traffic_storage.domain.files import ReplicaState

_number = select(store.c.number).where(store.c.store_id == bindparam("in_store")).scalar_subquery()
_mine = replica.alias("mine")
_oldest = (
    select(_mine.c.replica_id.label("place"), _mine.c.file_id.label("named"))
    .where(
        _mine.c.store == _number,
        _mine.c.state == literal_column(f"'{ReplicaState.PRESENT}'"),
        _mine.c.replica_id > cast(bindparam("after"), _mine.c.replica_id.type),
    )
    .order_by(_mine.c.replica_id)
    .limit(bindparam("limit"))
    .subquery("oldest")
)
_files = _oldest.join(file, file.c.file_id == _oldest.c.named)
OLDEST_IN = Statement(
    select(file, *COPIES)
    .select_from(with_copies(_files, file.c.file_id))
    .order_by(_oldest.c.place),
    ("in_store", "after", "limit"),
)
