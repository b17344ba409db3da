"""The tables, the same in both databases.

Times are microseconds since 1970 (UTC), digests hexadecimal text, JSON canonical text. Text is
ordered by code point in both: SQLite does so by itself, PostgreSQL by the collation "C".

What the invariants of storing need is held by the database itself: a name is claimed once
(primary keys), a key is written once (`replica_place_is_unique`), a copy belongs to a file and a
store, and a violation never shows without its files (foreign keys).
"""

from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ColumnElement,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    literal_column,
)
from sqlalchemy.dialects.postgresql import TEXT
from sqlalchemy.types import TypeEngine

from traffic_storage.domain.files import Coding, FileKind, FileState, ReplicaState, Tier

SHARDS = 16
"""How many rows a counter is spread over, so that writers on PostgreSQL don't queue for one."""

metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "fk": "%(table_name)s_%(column_0_name)s_fkey",
        "uq": "%(table_name)s_%(column_0_name)s_key",
        "ck": "%(table_name)s_%(constraint_name)s",
        "ix": "%(table_name)s_%(column_0_name)s_idx",
    }
)


def _text() -> TypeEngine[str]:
    return Text().with_variant(TEXT(collation="C"), "postgresql")


def _one_of(column: str, values: type[StrEnum]) -> CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=f"{column}_is_known")


catalogue = Table(
    "catalogue",
    metadata,
    Column("one", SmallInteger, primary_key=True, autoincrement=False),
    Column("catalogue_id", _text(), nullable=False),
    CheckConstraint("one = 1", name="is_one_row"),
)

store = Table(
    "store",
    metadata,
    Column("store_id", _text(), primary_key=True),
    Column("tier", _text(), nullable=False),
    Column("location", _text(), nullable=False),
    Column("marked", Boolean, nullable=False),
    _one_of("tier", Tier),
    UniqueConstraint("location"),
    UniqueConstraint("store_id", "tier"),
)

attempt = Table(
    "attempt",
    metadata,
    Column("attempt_id", _text(), primary_key=True),
    Column("owner", _text(), nullable=False),
    Column("deadline", BigInteger, nullable=False),
    Column("keys", _text(), nullable=False),
    Column("condemned", Boolean, nullable=False),
    Index("attempt_condemned_idx", "condemned", "deadline", "attempt_id"),
)

file = Table(
    "file",
    metadata,
    Column("file_id", _text(), primary_key=True),
    Column("kind", _text(), nullable=False),
    Column("content_type", _text(), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("sha256", _text(), nullable=False),
    Column("stored_size_bytes", BigInteger, nullable=False),
    Column("stored_sha256", _text(), nullable=False),
    Column("coding", _text(), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("captured_at", BigInteger),
    Column("device_id", _text()),
    Column("violation_id", _text()),
    Column("width", BigInteger),
    Column("height", BigInteger),
    Column("channels", BigInteger),
    Column("channel_order", _text()),
    Column("duration_seconds", Double),
    Column("pixel_sha256", _text()),
    Column("placement_decision", _text(), nullable=False),
    Column("placement_reason", _text(), nullable=False),
    Column("metadata", _text()),
    Column("state", _text(), nullable=False),
    # NULL: at created_at.
    Column("state_at", BigInteger),
    Column("keep_until", BigInteger, nullable=False),
    Column("retention_rule", _text(), nullable=False),
    Column("retention_clock", _text(), nullable=False),
    Column("retention_at", BigInteger, nullable=False),
    Column("retention_reason", _text(), nullable=False),
    Column("historic", Boolean, nullable=False),
    Column("original_name", _text()),
    # Long ones last, so that a read of the others need not pass over them. The digests of the
    # segments of the content; of the stored bytes only where they differ.
    Column("segments", LargeBinary),
    Column("stored_segments", LargeBinary),
    _one_of("kind", FileKind),
    _one_of("coding", Coding),
    _one_of("state", FileState),
    CheckConstraint("size_bytes >= 0 AND stored_size_bytes >= 0", name="sizes_are_sizes"),
    CheckConstraint(
        "length(sha256) = 64 AND length(stored_sha256) = 64", name="digests_are_digests"
    ),
)
# Files of a violation, in the order in which they are given.
Index(
    "file_violation_id_idx",
    file.c.violation_id,
    file.c.created_at,
    file.c.file_id,
    postgresql_where=file.c.violation_id.is_not(None),
    sqlite_where=file.c.violation_id.is_not(None),
)

# A page of files is a range of one of these, in order. Files that are not available are few, or
# are looked for by their state; so each file is in one index of either set.
_available = file.c.state == literal_column(f"'{FileState.AVAILABLE}'")
_not_available = file.c.state != literal_column(f"'{FileState.AVAILABLE}'")
_NEWEST_FIRST = (file.c.created_at.desc(), file.c.file_id)


def _file_index(name: str, *columns: Column[str], where: ColumnElement[bool]) -> None:
    Index(f"file_{name}_idx", *columns, *_NEWEST_FIRST, postgresql_where=where, sqlite_where=where)


_file_index("kind_time", file.c.kind, where=_available)
_file_index(
    "device_time", file.c.device_id, file.c.kind, where=_available & file.c.device_id.is_not(None)
)
_file_index("state_time", file.c.state, file.c.kind, where=_not_available)
_file_index(
    "state_device_time",
    *(file.c.device_id, file.c.state, file.c.kind),
    where=_not_available & file.c.device_id.is_not(None),
)

replica = Table(
    "replica",
    metadata,
    Column("file_id", _text(), ForeignKey(file.c.file_id), primary_key=True),
    Column("store_id", _text(), primary_key=True),
    Column("key", _text(), primary_key=True),
    Column("tier", _text(), nullable=False),
    Column("state", _text(), nullable=False),
    Column("verified_at", BigInteger),
    _one_of("state", ReplicaState),
    UniqueConstraint("store_id", "key", name="replica_place_is_unique"),
    ForeignKeyConstraint(["store_id", "tier"], [store.c.store_id, store.c.tier]),
    # One tree instead of a table and an index: the copies of a file lie together.
    sqlite_with_rowid=False,
)

# The copies that are due, store by store.
_planned = replica.c.state == literal_column(f"'{ReplicaState.PLANNED}'")
Index(
    "replica_planned_idx",
    replica.c.store_id,
    replica.c.file_id,
    postgresql_where=_planned,
    sqlite_where=_planned,
)

violation = Table(
    "violation",
    metadata,
    Column("violation_id", _text(), primary_key=True),
    Column("device_id", _text(), nullable=False),
    Column("violation_type", _text(), nullable=False),
    Column("vehicle_class", _text(), nullable=False),
    Column("confidence", Double, nullable=False),
    Column("occurred_at", BigInteger, nullable=False),
    # As the caller gave it: with its own offset, or none.
    Column("timestamp", _text(), nullable=False),
    Column("zone_assumed", _text()),
    Column("received_at", BigInteger, nullable=False),
    Column("vehicle_bbox", _text(), nullable=False),
    Column("processing_time_ms", Double, nullable=False),
    # NULL: the id of the file, as it is whenever storing has assigned it.
    Column("image_path", _text()),
    Column("video_path", _text()),
    Column("camera_info", _text(), nullable=False),
    Column("model_versions", _text(), nullable=False),
    Column("record_sha256", _text(), nullable=False),
    Column("metadata_file_id", _text(), ForeignKey(file.c.file_id), nullable=False),
    Column("image_file_id", _text(), ForeignKey(file.c.file_id)),
    Column("video_file_id", _text(), ForeignKey(file.c.file_id)),
    CheckConstraint("confidence >= 0 AND confidence <= 1", name="confidence_is_a_share"),
    CheckConstraint("length(record_sha256) = 64", name="digest_is_a_digest"),
)
# A page is a range of one of these, in order. What else may be asked of it stands at the end, so
# that rows which don't match are passed over without touching the table.
_ORDER = (violation.c.occurred_at.desc(), violation.c.violation_id)
_OTHERS = (violation.c.violation_type, violation.c.vehicle_class, violation.c.confidence)
Index("violation_time_idx", *_ORDER, violation.c.confidence)
Index("violation_device_time_idx", violation.c.device_id, *_ORDER, *_OTHERS)
Index("violation_type_time_idx", violation.c.violation_type, *_ORDER, *_OTHERS[1:])
Index("violation_class_time_idx", violation.c.vehicle_class, *_ORDER, violation.c.confidence)
# For a band of confidence that few violations fall into (see `statements.RARE`). Its condition,
# which all rows meet, lets only those statements use it that say so: a planner who took a wide
# band for a narrow one would sort half the table.
whole_band = violation.c.confidence >= literal_column("0")
Index(
    "violation_confidence_idx",
    violation.c.confidence,
    *_ORDER,
    postgresql_where=whole_band,
    sqlite_where=whole_band,
)

usage = Table(
    "usage",
    metadata,
    Column("store_id", _text(), ForeignKey(store.c.store_id), primary_key=True),
    Column("kind", _text(), primary_key=True),
    Column("shard", Integer, primary_key=True, autoincrement=False),
    Column("files", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    _one_of("kind", FileKind),
    # Room beside each row for its next versions: a counter changes all the time.
    postgresql_with={"fillfactor": "10"},
)

violation_count = Table(
    "violation_count",
    metadata,
    Column("shard", Integer, primary_key=True, autoincrement=False),
    Column("violations", BigInteger, nullable=False),
    postgresql_with={"fillfactor": "10"},
)
