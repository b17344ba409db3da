"""The first tables: stores, attempts, files, replicas, violations and the counters."""

from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TEXT, UUID

revision = "0001"
down_revision = None

_ROOM_FOR_VERSIONS = {"fillfactor": "10"}


def _text() -> sa.types.TypeEngine[str]:
    return sa.Text().with_variant(TEXT(collation="C"), "postgresql")


def _uuid() -> sa.types.TypeEngine[Any]:
    return sa.LargeBinary().with_variant(UUID, "postgresql")


def upgrade() -> None:
    """Make the tables and the catalogue's id."""
    _make_catalogue()
    _make_stores()
    _make_files()
    _make_violations()
    _make_retention()
    _make_jobs()
    _make_holds()
    _make_deletions()
    _make_events()
    _make_fixity()
    _make_counters()
    _make_quarantine()
    _make_migrations()


def _make_migrations() -> None:
    op.create_table(
        "migration",
        sa.Column("source", _text(), nullable=False),
        sa.Column("start_at", sa.BigInteger, nullable=False),
        sa.Column("end_at", sa.BigInteger, nullable=False),
        sa.Column("after_at", sa.BigInteger, nullable=False),
        sa.Column("after_id", _text(), nullable=False),
        sa.Column("records", sa.BigInteger, nullable=False),
        sa.Column("files", sa.BigInteger, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("source", "start_at", "end_at", name="migration_pkey"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "seal",
        sa.Column("one", sa.SmallInteger, autoincrement=False),
        sa.Column("sealed_at", sa.BigInteger, nullable=False),
        sa.Column("sealed_by", _text(), nullable=False),
        sa.Column("reason", _text(), nullable=False),
        sa.PrimaryKeyConstraint("one", name="seal_pkey"),
        sa.CheckConstraint("one = 1", name="is_one_row"),
    )
    op.create_table(
        "loaded",
        sa.Column("one", sa.SmallInteger, autoincrement=False),
        sa.Column("backup_at", sa.BigInteger, nullable=False),
        sa.Column("loaded_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("one", name="loaded_pkey"),
        sa.CheckConstraint("one = 1", name=op.f("loaded_is_one_row")),
    )


def _make_quarantine() -> None:
    op.create_table(
        "quarantine",
        sa.Column("store", sa.SmallInteger, autoincrement=False),
        sa.Column("key", _text(), nullable=False),
        sa.Column("seen_at", sa.BigInteger, nullable=False),
        sa.Column("size_bytes", sa.BigInteger),
        sa.Column("reason", _text(), nullable=False),
        sa.Column("state", _text(), nullable=False),
        sa.Column("file_id", _text()),
        sa.Column("note", _text(), nullable=False),
        sa.PrimaryKeyConstraint("store", "key", name="quarantine_pkey"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "journal",
        sa.Column("store_id", _text(), nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("store_id", name="journal_pkey"),
    )
    op.create_table(
        "rebuild",
        sa.Column("store_id", _text(), nullable=False),
        sa.Column("after", _uuid()),
        sa.Column("is_done", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("store_id", name="rebuild_pkey"),
    )


def _make_catalogue() -> None:
    catalogue = op.create_table(
        "catalogue",
        sa.Column("one", sa.SmallInteger, autoincrement=False),
        sa.Column("catalogue_id", _text(), nullable=False),
        sa.PrimaryKeyConstraint("one", name="catalogue_pkey"),
        sa.CheckConstraint("one = 1", name=op.f("catalogue_is_one_row")),
    )
    op.bulk_insert(catalogue, [{"one": 1, "catalogue_id": str(uuid4())}])


def _make_stores() -> None:
    op.create_table(
        "store",
        sa.Column("store_id", _text(), nullable=False),
        sa.Column("tier", _text(), nullable=False),
        sa.Column("location", _text(), nullable=False),
        sa.Column("registered_at", sa.BigInteger, nullable=False),
        sa.Column("incarnation", _text()),
        sa.Column("intended", _text()),
        sa.Column("intended_at", sa.BigInteger),
        sa.Column("confirmed_at", sa.BigInteger),
        sa.Column("number", sa.SmallInteger, nullable=False),
        sa.Column("pressure", sa.SmallInteger, nullable=False),
        sa.Column("usage_alert", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("store_id", name="store_pkey"),
        sa.UniqueConstraint("number", name="store_number_key"),
    )
    op.create_table(
        "attempt",
        sa.Column("attempt_id", _text(), nullable=False),
        sa.Column("owner", _text(), nullable=False),
        sa.Column("deadline", sa.BigInteger, nullable=False),
        sa.Column("keys", _text(), nullable=False),
        sa.Column("condemned", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("attempt_id", name="attempt_pkey"),
    )
    op.create_index("attempt_condemned_idx", "attempt", ["condemned", "deadline", "attempt_id"])


def _make_files() -> None:
    op.create_table(
        "file",
        sa.Column("file_id", _text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("stored_size_bytes", sa.BigInteger),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("captured_at", sa.BigInteger),
        sa.Column("keep_until", sa.BigInteger, nullable=False),
        sa.Column("state_at", sa.BigInteger),
        sa.Column("retention_at", sa.BigInteger),
        sa.Column("width", sa.BigInteger),
        sa.Column("height", sa.BigInteger),
        sa.Column("channels", sa.BigInteger),
        sa.Column("duration_seconds", sa.Double),
        sa.Column("historic", sa.Boolean, nullable=False),
        sa.Column("kind", _text(), nullable=False),
        sa.Column("content_type", _text(), nullable=False),
        sa.Column("sha256", sa.LargeBinary, nullable=False),
        sa.Column("stored_sha256", sa.LargeBinary),
        sa.Column("coding", _text(), nullable=False),
        sa.Column("device_id", _text()),
        sa.Column("violation_id", _text()),
        sa.Column("channel_order", _text()),
        sa.Column("pixel_sha256", sa.LargeBinary),
        sa.Column("placement_decision", _text(), nullable=False),
        sa.Column("placement_reason", _text(), nullable=False),
        sa.Column("metadata", _text()),
        sa.Column("state", _text(), nullable=False),
        sa.Column("retention_rule", _text(), nullable=False),
        sa.Column("retention_clock", _text(), nullable=False),
        sa.Column("retention_reason", _text()),
        sa.Column("original_name", _text()),
        sa.Column("quality", _text()),
        sa.Column("segments", sa.LargeBinary),
        sa.Column("stored_segments", sa.LargeBinary),
        sa.PrimaryKeyConstraint("file_id", name="file_pkey"),
        sa.CheckConstraint(
            "size_bytes >= 0 AND stored_size_bytes >= 0", name=op.f("file_sizes_are_sizes")
        ),
        sa.CheckConstraint(
            "length(sha256) = 32 AND length(stored_sha256) = 32",
            name=op.f("file_digests_are_digests"),
        ),
    )
    named = sa.text("violation_id IS NOT NULL")
    op.create_index(
        "file_violation_id_idx",
        "file",
        ["violation_id", "created_at"],
        postgresql_where=named,
        sqlite_where=named,
    )
    _make_file_pages()
    op.create_table(
        "replica",
        sa.Column("replica_id", _uuid(), nullable=False),
        sa.Column("file_id", _text(), nullable=False),
        sa.Column("store", sa.SmallInteger, nullable=False),
        sa.Column("state", _text(), nullable=False),
        sa.Column("verified_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("replica_id", name="replica_pkey"),
        sa.ForeignKeyConstraint(["file_id"], ["file.file_id"], name="replica_file_id_fkey"),
        sqlite_with_rowid=False,
    )
    op.create_index("replica_file_id_idx", "replica", ["file_id"])
    _make_partial(
        "replica_verified_at_idx",
        "replica",
        ["store", "verified_at", "replica_id"],
        "state = 'present'",
    )
    _make_partial(
        "replica_doubtful_idx", "replica", ["store", "file_id"], "state IN ('corrupt', 'missing')"
    )
    _make_partial("replica_age_idx", "replica", ["store", "replica_id"], "state = 'present'")


def _make_partial(
    name: str, table: str, columns: list[str | sa.TextClause], condition: str
) -> None:
    where = sa.text(condition)
    op.create_index(name, table, columns, postgresql_where=where, sqlite_where=where)


def _make_file_pages() -> None:
    indexes = {
        "kind_time": (["kind"], "state = 'available'"),
        "device_time": (["device_id", "kind"], "state = 'available' AND device_id IS NOT NULL"),
        "state_time": (["state", "kind"], "state != 'available'"),
        "state_device_time": (
            ["device_id", "state", "kind"],
            "state != 'available' AND device_id IS NOT NULL",
        ),
    }
    for name, (columns, condition) in indexes.items():
        _make_partial(f"file_{name}_idx", "file", [*columns, "created_at", "file_id"], condition)
    _make_partial(
        "file_keep_until_idx",
        "file",
        ["keep_until", "file_id"],
        "state = 'available'",
    )


def _make_violations() -> None:
    op.create_table(
        "violation",
        sa.Column("violation_id", _text(), nullable=False),
        sa.Column("device_id", _text(), nullable=False),
        sa.Column("violation_type", _text(), nullable=False),
        sa.Column("vehicle_class", _text(), nullable=False),
        sa.Column("confidence", sa.Double, nullable=False),
        sa.Column("occurred_at", sa.BigInteger, nullable=False),
        sa.Column("timestamp", _text(), nullable=False),
        sa.Column("zone_assumed", _text()),
        sa.Column("received_at", sa.BigInteger, nullable=False),
        sa.Column("vehicle_bbox", _text(), nullable=False),
        sa.Column("processing_time_ms", sa.Double, nullable=False),
        sa.Column("image_path", _text()),
        sa.Column("video_path", _text()),
        sa.Column("camera_info", _text(), nullable=False),
        sa.Column("model_versions", _text(), nullable=False),
        sa.Column("record_sha256", sa.LargeBinary, nullable=False),
        sa.Column("metadata_file_id", _text(), nullable=False),
        sa.Column("image_file_id", _text()),
        sa.Column("video_file_id", _text()),
        sa.Column("state", _text(), nullable=False),
        sa.Column("state_at", sa.BigInteger),
        sa.Column("image_state", _text()),
        sa.Column("video_state", _text()),
        sa.Column("confidence_band", sa.SmallInteger, nullable=False),
        sa.PrimaryKeyConstraint("violation_id", name="violation_pkey"),
        *(
            sa.ForeignKeyConstraint([column], ["file.file_id"], name=f"violation_{column}_fkey")
            for column in ("metadata_file_id", "image_file_id", "video_file_id")
        ),
        sa.CheckConstraint(
            "confidence >= 0 AND confidence <= 1", name=op.f("violation_confidence_is_a_share")
        ),
        sa.CheckConstraint("length(record_sha256) = 32", name=op.f("violation_digest_is_a_digest")),
    )
    device, of_type, of_class = "device_id", "violation_type", "vehicle_class"
    order: list[str | sa.TextClause] = [sa.text("occurred_at DESC"), "violation_id"]
    in_band = ["confidence_band", *order, "confidence"]
    indexes: dict[str, list[str | sa.TextClause]] = {
        "violation_time_idx": order,
        "violation_device_time_idx": [device, *order],
        "violation_type_time_idx": [of_type, *order],
        "violation_device_type_time_idx": [device, of_type, *order, of_class, "confidence"],
        "violation_device_class_time_idx": [device, of_class, *order, "confidence"],
        "violation_type_class_time_idx": [of_type, of_class, *order, "confidence"],
        "violation_band_time_idx": in_band,
        "violation_device_band_time_idx": [device, *in_band],
        "violation_type_band_time_idx": [of_type, *in_band],
        "violation_class_band_time_idx": [of_class, *in_band],
    }
    available = sa.text("state = 'available'")
    for name, columns in indexes.items():
        op.create_index(
            name, "violation", columns, postgresql_where=available, sqlite_where=available
        )
    op.create_index(
        "violation_confidence_idx",
        "violation",
        ["confidence", *order],
        postgresql_where=sa.text("confidence >= 0 AND state = 'available'"),
        sqlite_where=available,
    )


def _make_retention() -> None:
    op.create_table(
        "retention_rules",
        sa.Column("revision", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("entered_at", sa.BigInteger, nullable=False),
        sa.Column("change_id", _uuid()),
        sa.Column("entered_by", _text(), nullable=False),
        sa.Column("reason", _text(), nullable=False),
        sa.Column("rules", _text(), nullable=False),
        sa.PrimaryKeyConstraint("revision", name="retention_rules_pkey"),
    )
    op.create_table(
        "retention_change",
        sa.Column("change_id", _uuid(), nullable=False),
        sa.Column("base_revision", sa.Integer, nullable=False),
        sa.Column("staged_at", sa.BigInteger, nullable=False),
        sa.Column("staged_by", _text(), nullable=False),
        sa.Column("reason", _text(), nullable=False),
        sa.Column("effect", _text(), nullable=False),
        sa.Column("rules", _text(), nullable=False),
        sa.PrimaryKeyConstraint("change_id", name="retention_change_pkey"),
    )
    op.create_table(
        "retention_plan",
        sa.Column("plan_id", _uuid(), nullable=False),
        sa.Column("as_of", sa.BigInteger, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("planned_by", _text(), nullable=False),
        sa.Column("counts", _text(), nullable=False),
        sa.PrimaryKeyConstraint("plan_id", name="retention_plan_pkey"),
    )
    op.create_table(
        "snapshot_pin",
        sa.Column("name", _text(), nullable=False),
        sa.Column("begun_at", sa.BigInteger, nullable=False),
        sa.Column("until", sa.BigInteger, nullable=False),
        sa.Column("newest", sa.BigInteger),
        sa.Column("location", _text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="snapshot_pin_pkey"),
    )


def _make_jobs() -> None:
    op.create_table(
        "job",
        sa.Column("job_id", _uuid(), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("run_at", sa.BigInteger, nullable=False),
        sa.Column("leased_until", sa.BigInteger),
        sa.Column("ended_at", sa.BigInteger),
        sa.Column("done", sa.BigInteger, nullable=False),
        sa.Column("total", sa.BigInteger),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("max_attempts", sa.Integer, nullable=False),
        sa.Column("cancelling", sa.Boolean, nullable=False),
        sa.Column("lease_id", _uuid()),
        sa.Column("kind", _text(), nullable=False),
        sa.Column("state", _text(), nullable=False),
        sa.Column("key", _text()),
        sa.Column("needs", _text(), nullable=False),
        sa.Column("owner", _text()),
        sa.Column("message", _text(), nullable=False),
        sa.Column("error", _text(), nullable=False),
        sa.Column("arguments", _text(), nullable=False),
        sa.Column("result", _text()),
        sa.PrimaryKeyConstraint("job_id", name="job_pkey"),
        postgresql_with={"autovacuum_vacuum_scale_factor": "0.01", "fillfactor": "70"},
    )
    live = sa.text("state IN ('ready', 'running')")
    op.create_index(
        "job_key_idx", "job", ["key"], unique=True, postgresql_where=live, sqlite_where=live
    )
    _make_partial("job_due_idx", "job", ["needs", "priority", "run_at"], "state = 'ready'")
    _make_partial(
        "job_live_idx", "job", ["kind", "created_at", "job_id"], "state IN ('ready', 'running')"
    )
    _make_partial("job_leased_until_idx", "job", ["leased_until"], "state = 'running'")
    _make_partial("job_lease_id_idx", "job", ["lease_id"], "state = 'running'")
    _make_partial("job_ended_idx", "job", ["ended_at"], "state IN ('cancelled', 'dead', 'done')")
    op.create_index("job_time_idx", "job", ["created_at", "job_id"])
    op.create_index("job_state_time_idx", "job", ["state", "created_at", "job_id"])
    op.create_index("job_kind_time_idx", "job", ["kind", "created_at", "job_id"])
    op.create_table(
        "job_slot",
        sa.Column("name", _text(), nullable=False),
        sa.Column("slot", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("name", name="job_slot_pkey"),
    )


def _make_holds() -> None:
    op.create_table(
        "hold",
        sa.Column("hold_id", _uuid(), nullable=False),
        sa.Column("placed_at", sa.BigInteger, nullable=False),
        sa.Column("until", sa.BigInteger),
        sa.Column("released_at", sa.BigInteger),
        sa.Column("start_time", sa.BigInteger),
        sa.Column("end_time", sa.BigInteger),
        sa.Column("include_future", sa.Boolean, nullable=False),
        sa.Column("file_id", _text()),
        sa.Column("violation_id", _text()),
        sa.Column("device_id", _text()),
        sa.Column("kind", _text()),
        sa.Column("violation_type", _text()),
        sa.Column("case_reference", _text(), nullable=False),
        sa.Column("reason", _text(), nullable=False),
        sa.Column("placed_by", _text(), nullable=False),
        sa.Column("released_by", _text()),
        sa.Column("release_reason", _text()),
        sa.PrimaryKeyConstraint("hold_id", name="hold_pkey"),
    )
    op.create_index("hold_time_idx", "hold", ["placed_at", "hold_id"])
    for column in ("file_id", "violation_id", "device_id"):
        _make_partial(
            f"hold_{column}_idx", "hold", [column], f"{column} IS NOT NULL AND released_at IS NULL"
        )
    _make_partial("hold_unreleased_idx", "hold", ["placed_at", "hold_id"], "released_at IS NULL")


def _make_deletions() -> None:
    op.create_table(
        "deletion",
        sa.Column("file_id", _text(), nullable=False),
        sa.Column("deletion_id", _uuid(), nullable=False),
        sa.Column("tombstoned_at", sa.BigInteger, nullable=False),
        sa.Column("purge_after", sa.BigInteger, nullable=False),
        sa.Column("purged_at", sa.BigInteger),
        sa.Column("override", sa.Boolean, nullable=False),
        sa.Column("reason", _text(), nullable=False),
        sa.Column("actor", _text(), nullable=False),
        sa.Column("rule", _text()),
        sa.PrimaryKeyConstraint("file_id", name="deletion_pkey"),
        sa.ForeignKeyConstraint(["file_id"], ["file.file_id"], name="deletion_file_id_fkey"),
    )
    _make_partial("deletion_due_idx", "deletion", ["purge_after", "file_id"], "purged_at IS NULL")
    op.create_table(
        "removal",
        sa.Column("replica_id", _uuid(), nullable=False),
        sa.Column("file_id", _text(), nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("answer", _text(), nullable=False),
        sa.PrimaryKeyConstraint("replica_id", name="removal_pkey"),
        sa.ForeignKeyConstraint(["file_id"], ["file.file_id"], name="removal_file_id_fkey"),
        sqlite_with_rowid=False,
    )
    op.create_index("removal_file_id_idx", "removal", ["file_id"])
    op.create_table(
        "certificate",
        sa.Column("file_id", _text(), nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.LargeBinary, nullable=False),
        sa.Column("document", _text(), nullable=False),
        sa.PrimaryKeyConstraint("file_id", name="certificate_pkey"),
        sa.ForeignKeyConstraint(["file_id"], ["file.file_id"], name="certificate_file_id_fkey"),
    )


def _make_events() -> None:
    op.create_table(
        "event",
        sa.Column(
            "sequence",
            sa.BigInteger().with_variant(sa.Integer, "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("kind", _text(), nullable=False),
        sa.Column("file_id", _text()),
        sa.Column("violation_id", _text()),
        sa.Column("details", _text(), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name="event_pkey"),
        sqlite_autoincrement=True,
    )


def _make_fixity() -> None:
    op.create_table(
        "fixity_batch",
        sa.Column("batch_id", _uuid(), nullable=False),
        sa.Column("recorded_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("batch_id", name="fixity_batch_pkey"),
    )
    op.create_index("fixity_batch_recorded_at_idx", "fixity_batch", ["recorded_at"])
    results = ("checked", "corrupted", "missing", "altered", "unknown", "healed", "bytes")
    op.create_table(
        "fixity_day",
        sa.Column("day", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("store", sa.SmallInteger, autoincrement=False, nullable=False),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in results),
        sa.PrimaryKeyConstraint("day", "store", name="fixity_day_pkey"),
        postgresql_with=_ROOM_FOR_VERSIONS,
    )
    op.create_table(
        "incident",
        sa.Column("incident_id", _uuid(), nullable=False),
        sa.Column("opened_at", sa.BigInteger, nullable=False),
        sa.Column("closed_at", sa.BigInteger),
        sa.Column("replica_id", _uuid(), nullable=False),
        sa.Column("kind", _text(), nullable=False),
        sa.Column("file_id", _text(), nullable=False),
        sa.Column("store_id", _text()),
        sa.Column("details", _text(), nullable=False),
        sa.Column("closed_by", _text(), nullable=False),
        sa.Column("resolution", _text(), nullable=False),
        sa.PrimaryKeyConstraint("incident_id", name="incident_pkey"),
    )
    is_open = sa.text("closed_at IS NULL")
    op.create_index(
        "incident_open_idx",
        "incident",
        ["file_id", "replica_id", "kind"],
        unique=True,
        postgresql_where=is_open,
        sqlite_where=is_open,
    )
    in_time = ["opened_at", "incident_id"]
    op.create_index("incident_time_idx", "incident", in_time)
    op.create_index("incident_file_time_idx", "incident", ["file_id", *in_time])
    _make_partial("incident_open_time_idx", "incident", [*in_time], "closed_at IS NULL")


def _make_counters() -> None:
    op.create_table(
        "usage_delta",
        sa.Column(
            "delta_id",
            sa.BigInteger().with_variant(sa.Integer, "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("day", sa.Integer, nullable=False),
        sa.Column("store", sa.SmallInteger, nullable=False),
        sa.Column("kind", _text(), nullable=False),
        sa.Column("device", _text(), nullable=False),
        *_amounts(),
        sa.PrimaryKeyConstraint("delta_id", name="usage_delta_pkey"),
        sqlite_autoincrement=True,
    )
    fold = op.create_table(
        "usage_fold",
        sa.Column("one", sa.SmallInteger, autoincrement=False),
        sa.Column("watermark", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("one", name="usage_fold_pkey"),
        sa.CheckConstraint("one = 1", name=op.f("usage_fold_is_one_row")),
        postgresql_with=_ROOM_FOR_VERSIONS,
    )
    op.bulk_insert(fold, [{"one": 1, "watermark": 0}])
    _make_folded_counters()


def _make_folded_counters() -> None:
    op.create_table(
        "usage_total",
        sa.Column("store", sa.SmallInteger, autoincrement=False, nullable=False),
        sa.Column("kind", _text(), nullable=False),
        *_amounts(),
        sa.PrimaryKeyConstraint("store", "kind", name="usage_total_pkey"),
        postgresql_with=_ROOM_FOR_VERSIONS,
    )
    op.create_table(
        "usage_day",
        sa.Column("day", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("store", sa.SmallInteger, autoincrement=False, nullable=False),
        sa.Column("kind", _text(), nullable=False),
        *_amounts(),
        sa.PrimaryKeyConstraint("day", "store", "kind", name="usage_day_pkey"),
    )
    op.create_table(
        "usage_device_day",
        sa.Column("device", _text(), nullable=False),
        sa.Column("day", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("store", sa.SmallInteger, autoincrement=False, nullable=False),
        sa.Column("kind", _text(), nullable=False),
        *_amounts(),
        sa.PrimaryKeyConstraint("device", "day", "store", "kind", name="usage_device_day_pkey"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "usage_received",
        sa.Column("day", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("store", sa.SmallInteger, autoincrement=False, nullable=False),
        sa.Column("kind", _text(), nullable=False),
        *_amounts(),
        sa.PrimaryKeyConstraint("day", "store", "kind", name="usage_received_pkey"),
    )
    op.create_table(
        "usage_device",
        sa.Column("device", _text(), nullable=False),
        sa.Column("store", sa.SmallInteger, autoincrement=False, nullable=False),
        sa.Column("kind", _text(), nullable=False),
        *_amounts(),
        sa.PrimaryKeyConstraint("device", "store", "kind", name="usage_device_pkey"),
        sqlite_with_rowid=False,
    )


def _amounts() -> tuple[sa.Column[int], sa.Column[int]]:
    return (
        sa.Column("items", sa.BigInteger, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
    )
