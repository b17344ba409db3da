"""The tables, the same in both databases.

Times are microseconds since 1970 (UTC), digests and UUIDs bytes, JSON canonical text. Words such
as states are plain text, which the domain checks. Text is
ordered by code point in both: SQLite does so by itself, PostgreSQL by the collation "C".

The database itself ensures the invariants of storing: an id is claimed once and a replica written
once (primary keys), a replica belongs to a file, and a violation is never visible without its files
(foreign keys). A replica's key follows from its id, its file's kind and digest.
"""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ColumnElement,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    and_,
    literal_column,
)
from sqlalchemy.dialects.postgresql import TEXT, UUID
from sqlalchemy.types import TypeEngine

from traffic_storage.domain.files import FileState, ReplicaState
from traffic_storage.domain.jobs import LIVE, JobState
from traffic_storage.domain.violation import ViolationState

# Room beside each row for its next versions: a total changes with each fold.
_ROOM_FOR_VERSIONS = {"fillfactor": "10"}

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


def _uuid() -> TypeEngine[Any]:
    """Return a type of 16 bytes. PostgreSQL's own `uuid` has no length field, so indexes are smaller."""
    return LargeBinary().with_variant(UUID, "postgresql")


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
    Column("registered_at", BigInteger, nullable=False),
    Column("incarnation", _text()),
    Column("intended", _text()),
    Column("intended_at", BigInteger),
    Column("confirmed_at", BigInteger),
    # Stands for the id in each replica.
    Column("number", SmallInteger, nullable=False),
    # The level of `domain.pressure`.
    Column("pressure", SmallInteger, nullable=False),
    Column("usage_alert", Boolean, nullable=False),
    UniqueConstraint("number"),
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
    # Numbers come before texts: PostgreSQL aligns each of them to 8 bytes.
    Column("size_bytes", BigInteger, nullable=False),
    # NULL, as is the digest: the same as of the content.
    Column("stored_size_bytes", BigInteger),
    Column("created_at", BigInteger, nullable=False),
    Column("captured_at", BigInteger),
    Column("keep_until", BigInteger, nullable=False),
    # NULL: at created_at.
    Column("state_at", BigInteger),
    # NULL: at the time that `retention_clock` names.
    Column("retention_at", BigInteger),
    Column("width", BigInteger),
    Column("height", BigInteger),
    Column("channels", BigInteger),
    Column("duration_seconds", Double),
    Column("historic", Boolean, nullable=False),
    Column("kind", _text(), nullable=False),
    Column("content_type", _text(), nullable=False),
    Column("sha256", LargeBinary, nullable=False),
    Column("stored_sha256", LargeBinary),
    Column("coding", _text(), nullable=False),
    Column("device_id", _text()),
    Column("violation_id", _text()),
    Column("channel_order", _text()),
    Column("pixel_sha256", LargeBinary),
    Column("placement_decision", _text(), nullable=False),
    Column("placement_reason", _text(), nullable=False),
    Column("metadata", _text()),
    Column("state", _text(), nullable=False),
    Column("retention_rule", _text(), nullable=False),
    Column("retention_clock", _text(), nullable=False),
    # NULL: the usual reason of `retention_clock`.
    Column("retention_reason", _text()),
    Column("original_name", _text()),
    Column("quality", _text()),
    # The names of labels that were added later, separated by commas; NULL: none.
    Column("added_labels", _text()),
    # Long ones last, so that a read of the others need not pass over them. The digests of the
    # segments of the content; of the stored bytes only where they differ.
    Column("segments", LargeBinary),
    Column("stored_segments", LargeBinary),
    CheckConstraint("size_bytes >= 0 AND stored_size_bytes >= 0", name="sizes_are_sizes"),
    CheckConstraint(
        "length(sha256) = 32 AND length(stored_sha256) = 32", name="digests_are_digests"
    ),
)
# Files of a violation, oldest first. The few that have one time are sorted when they are read.
Index(
    "file_violation_id_idx",
    file.c.violation_id,
    file.c.created_at,
    postgresql_where=file.c.violation_id.is_not(None),
    sqlite_where=file.c.violation_id.is_not(None),
)

# A page of files is a range of one of these, in order. Files that are not available are few, or
# are looked for by their state; so each file is in one index of either set.
_available = file.c.state == literal_column(f"'{FileState.AVAILABLE}'")
_not_available = file.c.state != literal_column(f"'{FileState.AVAILABLE}'")
# Read backwards; so what is new comes to the end of a range, and pages of an index are full.
_IN_TIME = (file.c.created_at, file.c.file_id)


def _file_index(name: str, *columns: Column[str], where: ColumnElement[bool]) -> None:
    Index(f"file_{name}_idx", *columns, *_IN_TIME, postgresql_where=where, sqlite_where=where)


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

# Files whose retention ends, in that order.
Index(
    "file_keep_until_idx",
    file.c.keep_until,
    file.c.file_id,
    postgresql_where=_available,
    sqlite_where=_available,
)

replica = Table(
    "replica",
    metadata,
    Column("replica_id", _uuid(), primary_key=True),
    Column("file_id", _text(), ForeignKey(file.c.file_id), nullable=False),
    # `store.number`. No foreign key: each insertion would lock the store's row, and stores stay.
    Column("store", SmallInteger, nullable=False),
    Column("state", _text(), nullable=False),
    Column("verified_at", BigInteger),
    Index("replica_file_id_idx", "file_id"),
    # One tree instead of a table and an index.
    sqlite_with_rowid=False,
)


def _is_one_of(states: Iterable[str]) -> ColumnElement[bool]:
    """Return the condition of a partial index; a query must spell it in the same way."""
    listed = [f"'{state}'" for state in states]
    return literal_column(
        f"state IN ({', '.join(listed)})" if len(listed) > 1 else f"state = {listed[0]}"
    )


def _replica_index(name: str, *columns: Column[Any], states: Iterable[ReplicaState]) -> None:
    where = _is_one_of(states)
    Index(
        f"replica_{name}_idx",
        replica.c.store,
        *columns,
        postgresql_where=where,
        sqlite_where=where,
    )


# Due for verification, store by store; those that were never verified are looked for by IS NULL.
_replica_index(
    "verified_at", replica.c.verified_at, replica.c.replica_id, states=[ReplicaState.PRESENT]
)
_replica_index("doubtful", replica.c.file_id, states=[ReplicaState.CORRUPT, ReplicaState.MISSING])
# The oldest first.
_replica_index("age", replica.c.replica_id, states=[ReplicaState.PRESENT])

# Batches of verifications that were recorded, so that none is counted twice. Old ones are deleted.
fixity_batch = Table(
    "fixity_batch",
    metadata,
    Column("batch_id", _uuid(), primary_key=True),
    Column("recorded_at", BigInteger, nullable=False),
    Index("fixity_batch_recorded_at_idx", "recorded_at"),
)

# The key of an upload, as the id derived from it, and its file, where that has another id.
keyed_upload = Table(
    "keyed_upload",
    metadata,
    Column("derived_id", _text(), primary_key=True),
    Column("file_id", _text(), ForeignKey(file.c.file_id), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# What was verified: days since 1970 (UTC) and `store.number`.
fixity_day = Table(
    "fixity_day",
    metadata,
    Column("day", Integer, primary_key=True, autoincrement=False),
    Column("store", SmallInteger, primary_key=True, autoincrement=False),
    Column("checked", BigInteger, nullable=False),
    Column("corrupted", BigInteger, nullable=False),
    Column("missing", BigInteger, nullable=False),
    Column("altered", BigInteger, nullable=False),
    Column("unknown", BigInteger, nullable=False),
    Column("healed", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    postgresql_with=_ROOM_FOR_VERSIONS,
)

incident = Table(
    "incident",
    metadata,
    Column("incident_id", _uuid(), primary_key=True),
    Column("opened_at", BigInteger, nullable=False),
    # NULL while the incident is open.
    Column("closed_at", BigInteger),
    # 16 zero bytes: the incident concerns the file. Not NULL, because NULLs are never equal.
    Column("replica_id", _uuid(), nullable=False),
    Column("kind", _text(), nullable=False),
    Column("file_id", _text(), nullable=False),
    Column("store_id", _text()),
    Column("details", _text(), nullable=False),
    Column("closed_by", _text(), nullable=False),
    Column("resolution", _text(), nullable=False),
)
_open = incident.c.closed_at.is_(None)
# One open incident for each kind and copy.
Index(
    "incident_open_idx",
    *(incident.c.file_id, incident.c.replica_id, incident.c.kind),
    unique=True,
    postgresql_where=_open,
    sqlite_where=_open,
)
# Pages, newest first.
Index("incident_time_idx", incident.c.opened_at, incident.c.incident_id)
Index("incident_file_time_idx", incident.c.file_id, incident.c.opened_at, incident.c.incident_id)
Index(
    "incident_open_time_idx",
    *(incident.c.opened_at, incident.c.incident_id),
    postgresql_where=_open,
    sqlite_where=_open,
)

# Blobs that no replica explains (`domain.quarantine`).
quarantine = Table(
    "quarantine",
    metadata,
    # `store.number`.
    Column("store", SmallInteger, primary_key=True, autoincrement=False),
    Column("key", _text(), primary_key=True),
    Column("seen_at", BigInteger, nullable=False),
    Column("size_bytes", BigInteger),
    Column("reason", _text(), nullable=False),
    Column("state", _text(), nullable=False),
    Column("file_id", _text()),
    Column("note", _text(), nullable=False),
    sqlite_with_rowid=False,
)

# How far the journal beside the blobs of each store has come.
journal = Table(
    "journal",
    metadata,
    Column("store_id", _text(), primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    Column("number", BigInteger, nullable=False),
)

# How far the rebuild of each store has come.
rebuild = Table(
    "rebuild",
    metadata,
    Column("store_id", _text(), primary_key=True),
    # NULL: at the beginning.
    Column("after", _uuid()),
    Column("is_done", Boolean, nullable=False),
)

# How far each unfinished migration into this catalogue has come.
migration = Table(
    "migration",
    metadata,
    Column("source", _text(), primary_key=True),
    Column("start_at", BigInteger, primary_key=True),
    Column("end_at", BigInteger, primary_key=True),
    Column("after_at", BigInteger, nullable=False),
    Column("after_id", _text(), nullable=False),
    Column("records", BigInteger, nullable=False),
    Column("files", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# While there is a row, nothing new is stored.
seal = Table(
    "seal",
    metadata,
    Column("one", SmallInteger, primary_key=True, autoincrement=False),
    Column("sealed_at", BigInteger, nullable=False),
    Column("sealed_by", _text(), nullable=False),
    Column("reason", _text(), nullable=False),
    CheckConstraint("one = 1", name="is_one_row"),
)

# While there is a row, the catalogue was loaded from a backup and awaits a rebuild.
loaded = Table(
    "loaded",
    metadata,
    Column("one", SmallInteger, primary_key=True, autoincrement=False),
    Column("backup_at", BigInteger, nullable=False),
    Column("loaded_at", BigInteger, nullable=False),
    CheckConstraint("one = 1", name="is_one_row"),
)

CONFIDENCE_BANDS = 33
"""How many confidence bands there are."""


def confidence_band(confidence: float) -> int:
    """Return the number of the band of a confidence in [0, 1], which increases with the confidence.

    Bands are narrower near 1, where the confidences of detectors are dense.
    """
    return int((CONFIDENCE_BANDS - 1) * confidence * confidence)


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
    Column("record_sha256", LargeBinary, nullable=False),
    Column("metadata_file_id", _text(), ForeignKey(file.c.file_id), nullable=False),
    Column("image_file_id", _text(), ForeignKey(file.c.file_id)),
    Column("video_file_id", _text(), ForeignKey(file.c.file_id)),
    Column("state", _text(), nullable=False),
    # NULL: since `received_at`.
    Column("state_at", BigInteger),
    # The states of the files; NULL: available, or there is no such file.
    Column("image_state", _text()),
    Column("video_state", _text()),
    # `confidence_band(confidence)`, for the indexes.
    Column("confidence_band", SmallInteger, nullable=False),
    CheckConstraint("confidence >= 0 AND confidence <= 1", name="confidence_is_a_share"),
    CheckConstraint("length(record_sha256) = 32", name="digest_is_a_digest"),
)
is_available = violation.c.state == literal_column(f"'{ViolationState.AVAILABLE}'")


def _violation_index(
    name: str, *columns: ColumnElement[Any], where: ColumnElement[bool] = is_available
) -> None:
    Index(f"violation_{name}_idx", *columns, postgresql_where=where, sqlite_where=is_available)


# What `violation_pages` reads, of available violations: equal columns first, then the order of a page, then columns that its
# other filters compare without a look at the table.
_ORDER = (violation.c.occurred_at.desc(), violation.c.violation_id)
_DEVICE, _TYPE, _CLASS = (
    violation.c.device_id,
    violation.c.violation_type,
    violation.c.vehicle_class,
)
_IN_BAND = (violation.c.confidence_band, *_ORDER, violation.c.confidence)
_violation_index("time", *_ORDER)
_violation_index("device_time", _DEVICE, *_ORDER)
_violation_index("type_time", _TYPE, *_ORDER)
_violation_index("device_type_time", _DEVICE, _TYPE, *_ORDER, _CLASS, violation.c.confidence)
_violation_index("device_class_time", _DEVICE, _CLASS, *_ORDER, violation.c.confidence)
_violation_index("type_class_time", _TYPE, _CLASS, *_ORDER, violation.c.confidence)
_violation_index("band_time", *_IN_BAND)
_violation_index("device_band_time", _DEVICE, *_IN_BAND)
_violation_index("type_band_time", _TYPE, *_IN_BAND)
_violation_index("class_band_time", _CLASS, *_IN_BAND)
# The always-true predicate hides this index from PostgreSQL unless a query repeats it (a planner
# hint): the planner can't know whether a range of confidence is narrow.
whole_range = violation.c.confidence >= literal_column("0")
_violation_index(
    "confidence", violation.c.confidence, *_ORDER, where=and_(whole_range, is_available)
)

# Legal holds. One column or set of columns says what is held: a file, a violation, or a device's
# files of a time range.
hold = Table(
    "hold",
    metadata,
    Column("hold_id", _uuid(), primary_key=True),
    Column("placed_at", BigInteger, nullable=False),
    # NULL: open.
    Column("until", BigInteger),
    Column("released_at", BigInteger),
    Column("start_time", BigInteger),
    Column("end_time", BigInteger),
    Column("include_future", Boolean, nullable=False),
    Column("file_id", _text()),
    Column("violation_id", _text()),
    Column("device_id", _text()),
    Column("kind", _text()),
    Column("violation_type", _text()),
    Column("case_reference", _text(), nullable=False),
    Column("reason", _text(), nullable=False),
    Column("placed_by", _text(), nullable=False),
    Column("released_by", _text()),
    Column("release_reason", _text()),
    # Pages, newest first.
    Index("hold_time_idx", "placed_at", "hold_id"),
)
is_unreleased = hold.c.released_at.is_(None)
for _held in (hold.c.file_id, hold.c.violation_id, hold.c.device_id):
    _is_held = and_(_held.is_not(None), is_unreleased)
    Index(
        f"hold_{_held.name}_idx",
        _held,
        postgresql_where=_is_held,
        sqlite_where=_is_held,
    )
Index(
    "hold_unreleased_idx",
    hold.c.placed_at,
    hold.c.hold_id,
    postgresql_where=is_unreleased,
    sqlite_where=is_unreleased,
)

# Why, by whom and when a file was deleted; an undelete removes the row.
deletion = Table(
    "deletion",
    metadata,
    Column("file_id", _text(), ForeignKey(file.c.file_id), primary_key=True),
    # Names the change that inserted the row.
    Column("deletion_id", _uuid(), nullable=False),
    Column("tombstoned_at", BigInteger, nullable=False),
    Column("purge_after", BigInteger, nullable=False),
    Column("purged_at", BigInteger),
    Column("override", Boolean, nullable=False),
    Column("reason", _text(), nullable=False),
    Column("actor", _text(), nullable=False),
    # NULL: a person deleted the file.
    Column("rule", _text()),
)
_is_not_purged = deletion.c.purged_at.is_(None)
Index(
    "deletion_due_idx",
    deletion.c.purge_after,
    deletion.c.file_id,
    postgresql_where=_is_not_purged,
    sqlite_where=_is_not_purged,
)

# The replicas that a purge has removed, and what the store answered.
removal = Table(
    "removal",
    metadata,
    Column("replica_id", _uuid(), primary_key=True),
    Column("file_id", _text(), ForeignKey(file.c.file_id), nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("answer", _text(), nullable=False),
    Index("removal_file_id_idx", "file_id"),
    sqlite_with_rowid=False,
)

certificate = Table(
    "certificate",
    metadata,
    Column("file_id", _text(), ForeignKey(file.c.file_id), primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("sha256", LargeBinary, nullable=False),
    Column("document", _text(), nullable=False),
)

# What has happened, in the order of `sequence`; notifications and the audit read it later.
event = Table(
    "event",
    metadata,
    Column(
        "sequence",
        BigInteger().with_variant(Integer, "sqlite"),
        primary_key=True,
        autoincrement=True,
    ),
    Column("at", BigInteger, nullable=False),
    Column("kind", _text(), nullable=False),
    Column("file_id", _text()),
    Column("violation_id", _text()),
    Column("details", _text(), nullable=False),
    # Numbers always grow, also after the table was emptied.
    sqlite_autoincrement=True,
)

# The retention rules; the highest revision is in force.
retention_rules = Table(
    "retention_rules",
    metadata,
    Column("revision", Integer, primary_key=True, autoincrement=False),
    Column("entered_at", BigInteger, nullable=False),
    # NULL: the first rules, which no staged change has brought.
    Column("change_id", _uuid()),
    Column("entered_by", _text(), nullable=False),
    Column("reason", _text(), nullable=False),
    Column("rules", _text(), nullable=False),
)

# Changes of the rules that were shown, and perhaps entered.
retention_change = Table(
    "retention_change",
    metadata,
    Column("change_id", _uuid(), primary_key=True),
    Column("base_revision", Integer, nullable=False),
    Column("staged_at", BigInteger, nullable=False),
    Column("staged_by", _text(), nullable=False),
    Column("reason", _text(), nullable=False),
    Column("effect", _text(), nullable=False),
    Column("rules", _text(), nullable=False),
)

# What a deletion by retention would do: counts, as JSON.
retention_plan = Table(
    "retention_plan",
    metadata,
    Column("plan_id", _uuid(), primary_key=True),
    Column("as_of", BigInteger, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("planned_by", _text(), nullable=False),
    Column("counts", _text(), nullable=False),
)

# What keeps files from being purged while a snapshot has them (`domain.snapshot.SnapshotPin`).
snapshot_pin = Table(
    "snapshot_pin",
    metadata,
    Column("name", _text(), primary_key=True),
    Column("begun_at", BigInteger, nullable=False),
    Column("until", BigInteger, nullable=False),
    # NULL: all files are pinned.
    Column("newest", BigInteger),
    Column("location", _text(), nullable=False),
)

# Jobs. `key` is unique among live jobs; times are those of the database's clock.
job = Table(
    "job",
    metadata,
    Column("job_id", _uuid(), primary_key=True),
    Column("created_at", BigInteger, nullable=False),
    # The earliest time of the next run.
    Column("run_at", BigInteger, nullable=False),
    Column("leased_until", BigInteger),
    Column("ended_at", BigInteger),
    Column("done", BigInteger, nullable=False),
    Column("total", BigInteger),
    Column("bytes", BigInteger, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("max_attempts", Integer, nullable=False),
    Column("cancelling", Boolean, nullable=False),
    Column("lease_id", _uuid()),
    Column("kind", _text(), nullable=False),
    Column("state", _text(), nullable=False),
    Column("key", _text()),
    # The stores that a worker must reach, as one text; empty: any worker can do the job. So those
    # that wait for a store that is away are a range of an index that no claim reads.
    Column("needs", _text(), nullable=False),
    Column("owner", _text()),
    Column("message", _text(), nullable=False),
    Column("error", _text(), nullable=False),
    Column("arguments", _text(), nullable=False),
    Column("result", _text()),
    # Rows change often and live shortly: dead versions must not pile up in the indexes.
    postgresql_with={"autovacuum_vacuum_scale_factor": "0.01", "fillfactor": "70"},
)


is_ended = _is_one_of(sorted(set(JobState) - LIVE))
is_live = _is_one_of(sorted(LIVE))


def _job_index(
    name: str, *columns: ColumnElement[Any], states: Iterable[JobState], unique: bool = False
) -> None:
    """Make a partial index of the jobs in these states."""
    where = _is_one_of(states)
    Index(f"job_{name}_idx", *columns, unique=unique, postgresql_where=where, sqlite_where=where)


_job_index("key", job.c.key, states=sorted(LIVE), unique=True)
# The stores first: jobs that wait for a store that is away are never walked through.
_job_index("due", job.c.needs, job.c.priority, job.c.run_at, states=[JobState.READY])
_job_index("live", job.c.kind, job.c.created_at, job.c.job_id, states=sorted(LIVE))
_job_index("leased_until", job.c.leased_until, states=[JobState.RUNNING])
_job_index("lease_id", job.c.lease_id, states=[JobState.RUNNING])
_job_index("ended", job.c.ended_at, states=sorted(set(JobState) - LIVE))
# Pages, newest first.
Index("job_time_idx", job.c.created_at, job.c.job_id)
Index("job_state_time_idx", job.c.state, job.c.created_at, job.c.job_id)
Index("job_kind_time_idx", job.c.kind, job.c.created_at, job.c.job_id)

# The newest slot of each schedule that has its job.
job_slot = Table(
    "job_slot",
    metadata,
    Column("name", _text(), primary_key=True),
    Column("slot", BigInteger, nullable=False),
)

# Counters. Each transaction appends its changes to `usage_delta`; folding moves them into the
# others. `store` is the number of a store, whose replicas `items` counts; 0: `items` are files,
# each once, or violations where the kind is `violation`. A `day` is days since 1970 (UTC).
# `device` is empty where none was given.
usage_delta = Table(
    "usage_delta",
    metadata,
    Column(
        "delta_id",
        BigInteger().with_variant(Integer, "sqlite"),
        primary_key=True,
        autoincrement=True,
    ),
    Column("day", Integer, nullable=False),
    Column("store", SmallInteger, nullable=False),
    Column("kind", _text(), nullable=False),
    Column("device", _text(), nullable=False),
    Column("items", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    # Whether it was counted before, under another device.
    Column("moved", Boolean, nullable=False),
    # Ids always grow, also after the table was emptied.
    sqlite_autoincrement=True,
)

# Deltas up to `watermark` are in the totals. A reader begins behind it, and so meets none of the
# dead rows that PostgreSQL must keep for a long snapshot.
usage_fold = Table(
    "usage_fold",
    metadata,
    Column("one", SmallInteger, primary_key=True, autoincrement=False),
    Column("watermark", BigInteger, nullable=False),
    CheckConstraint("one = 1", name="is_one_row"),
    postgresql_with=_ROOM_FOR_VERSIONS,
)

usage_total = Table(
    "usage_total",
    metadata,
    Column("store", SmallInteger, primary_key=True, autoincrement=False),
    Column("kind", _text(), primary_key=True),
    Column("items", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    postgresql_with=_ROOM_FOR_VERSIONS,
)

# Changes per day; their sum is the total. At most days x (stores + 1) x kinds rows.
usage_day = Table(
    "usage_day",
    metadata,
    Column("day", Integer, primary_key=True, autoincrement=False),
    Column("store", SmallInteger, primary_key=True, autoincrement=False),
    Column("kind", _text(), primary_key=True),
    Column("items", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
)

# The same for each device. At most (stores + 1) x kinds rows for a device and a day on which
# something changed: with 10,000 cameras that send images to one store every day about 50,000 a day.
usage_device_day = Table(
    "usage_device_day",
    metadata,
    Column("device", _text(), primary_key=True),
    Column("day", Integer, primary_key=True, autoincrement=False),
    Column("store", SmallInteger, primary_key=True, autoincrement=False),
    Column("kind", _text(), primary_key=True),
    Column("items", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# What was added on each day, without what was removed.
usage_received = Table(
    "usage_received",
    metadata,
    Column("day", Integer, primary_key=True, autoincrement=False),
    Column("store", SmallInteger, primary_key=True, autoincrement=False),
    Column("kind", _text(), primary_key=True),
    Column("items", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
)

# The totals of each device: at most (stores + 1) x kinds rows for a device.
usage_device = Table(
    "usage_device",
    metadata,
    Column("device", _text(), primary_key=True),
    Column("store", SmallInteger, primary_key=True, autoincrement=False),
    Column("kind", _text(), primary_key=True),
    Column("items", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
