"""Converts values to rows and back.

Rows are not checked when they are read: their values were checked before they were written.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from json import loads as exact_loads
from operator import itemgetter
from typing import Any, TypeAlias
from uuid import UUID

from orjson import OPT_SORT_KEYS, dumps, loads

from traffic_storage.adapters.record_repo.sql.statement import Args
from traffic_storage.adapters.record_repo.sql.tables import confidence_band
from traffic_storage.domain.canonical import Json, canonical_json
from traffic_storage.domain.digests import Digests, Sha256
from traffic_storage.domain.events import Event, EventKind, RecordedEvent
from traffic_storage.domain.files import (
    OCCUPYING,
    BlobKey,
    Coding,
    FileKind,
    FileState,
    MediaInfo,
    PlacementNote,
    Replica,
    ReplicaState,
    RetentionBasis,
    RetentionClock,
    StoredFile,
    Tier,
    blob_key,
)
from traffic_storage.domain.frozen_json import frozen_json
from traffic_storage.domain.identifiers import (
    AttemptId,
    DeviceId,
    FileId,
    Incarnation,
    StoreId,
    ViolationId,
)
from traffic_storage.domain.identity import RegisteredStore
from traffic_storage.domain.image_layout import ChannelOrder
from traffic_storage.domain.ingest import Attempt
from traffic_storage.domain.jobs import (
    Done,
    Job,
    JobKind,
    JobState,
    NewJob,
    Priority,
    Progress,
    Run,
)
from traffic_storage.domain.quarantine import Quarantined, QuarantineReason, QuarantineState
from traffic_storage.domain.query import Cursor, JobsQuery
from traffic_storage.domain.rebuild import RebuildCursor
from traffic_storage.domain.reconcile import Recorded, replica_id_of
from traffic_storage.domain.retention import USUAL_REASONS
from traffic_storage.domain.usage import CatalogueUsage, CounterChange, DailyUsage
from traffic_storage.domain.violation import StoredViolation, ViolationState, recorded, stored

Row: TypeAlias = Sequence[Any]
"""A row as a database gives it; the columns of the statement in order."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def event_row(event: Event) -> Args:
    """Return the arguments of the insertion of an event."""
    details = _json(event.details)
    return micros(event.at), event.kind.value, event.file_id, event.violation_id, details


def event_of(row: Row) -> RecordedEvent:
    """Return the event of a row."""
    sequence, at, kind, file_id, violation_id, details = row
    event = Event(
        EventKind(kind),
        moment(at),
        file_id and FileId(file_id),
        violation_id and ViolationId(violation_id),
        _frozen([details])[0],
    )
    return RecordedEvent(sequence, event)


NO_STORE = ""
_MICROSECOND = timedelta(microseconds=1)
# Microseconds until 2106. Seconds until then, as a double, lie within a quarter of a microsecond, and
# `fromtimestamp` rounds to the nearest: as exact as a sum, in two thirds of the time.
_FLOAT_IS_EXACT = 2**32 * 1_000_000
_FILE_COLUMNS = 34
# Integers beyond 64 bits orjson can't write, and reads as floats; Python's own JSON does both. A
# text that holds one begins with a tab, which it has nowhere else, so that reading need not search.
_LONG = "\t"
_NEVER = datetime.max.replace(tzinfo=UTC)
_EARLIEST = -(2**63)
_LATEST = 2**63 - 1
_BEHIND_ALL_UUIDS = b"\xff" * 16


def micros(moment: datetime) -> int:
    """Return a time as microseconds since 1970 (UTC), exactly."""
    return (moment - _EPOCH) // _MICROSECOND


def moment(value: int) -> datetime:
    """Return the time (UTC) of microseconds since 1970: the exact inverse of `micros`."""
    if 0 <= value < _FLOAT_IS_EXACT:
        return datetime.fromtimestamp(value / 1_000_000, UTC)
    return _EPOCH + timedelta(0, 0, value)


def _micros_or_none(given: datetime | None) -> int | None:
    return None if given is None else micros(given)


def _moments(values: Sequence[int]) -> list[datetime]:
    """Return the times of a column."""
    if min(values) < 0 or max(values) >= _FLOAT_IS_EXACT:
        return [*map(moment, values)]
    read = datetime.fromtimestamp
    return [read(value / 1_000_000, UTC) for value in values]


def _moment_or_none(value: int | None) -> datetime | None:
    return None if value is None else moment(value)


def _json(value: Json) -> str:
    """Return a checked value as JSON text, its keys sorted: equal values are equal rows of exports."""
    try:
        return dumps(value, default=dict, option=OPT_SORT_KEYS).decode()
    except TypeError:
        return _LONG + canonical_json(value).decode()


def _parsed(texts: Iterable[str]) -> list[Any]:
    """Parse JSON texts, all in one call of the parser."""
    together = f"[{','.join(texts)}]"
    read = exact_loads if _LONG in together else loads
    return read(together)  # type: ignore[no-any-return]


def _frozen(texts: Sequence[str]) -> list[Any]:
    """Parse JSON texts into frozen values; equal texts share one value."""
    distinct = tuple(dict.fromkeys(texts))
    values = dict(zip(distinct, map(frozen_json, _parsed(distinct)), strict=True))
    return [values[text] for text in texts]


def attempt_row(attempt: Attempt) -> Args:
    """Return the row of a new attempt."""
    keys = _json([[store_id, key] for store_id, key in attempt.keys])
    return attempt.attempt_id, attempt.owner, micros(attempt.deadline), keys, False


def attempt_of(row: Row) -> Attempt:
    """Return the attempt of a row."""
    attempt_id, owner, deadline, keys, _ = row
    places = tuple((StoreId(store_id), BlobKey(key)) for store_id, key in loads(keys))
    return Attempt(AttemptId(attempt_id), owner, moment(deadline), places)


def store_row(store: RegisteredStore) -> Args:
    """Return the row of a store."""
    return (
        store.store_id,
        store.tier.value,
        store.location,
        micros(store.registered_at),
        store.incarnation,
        store.intended,
        _micros_or_none(store.intended_at),
        _micros_or_none(store.confirmed_at),
    )


def exchange_row(was: RegisteredStore, becomes: RegisteredStore) -> Args:
    """Return the arguments of the compare-and-set of a store's row."""
    return (
        was.store_id,
        was.incarnation,
        was.intended,
        becomes.location,
        becomes.incarnation,
        becomes.intended,
        _micros_or_none(becomes.intended_at),
        _micros_or_none(becomes.confirmed_at),
    )


def store_of(row: Row) -> RegisteredStore:
    """Return the store of a row."""
    store_id, tier, location, registered_at, incarnation, intended, *times = row
    intended_at, confirmed_at = map(_moment_or_none, times)
    return RegisteredStore(
        StoreId(store_id),
        Tier(tier),
        location,
        moment(registered_at),
        None if incarnation is None else Incarnation(incarnation),
        None if intended is None else Incarnation(intended),
        intended_at,
        confirmed_at,
    )


def file_row(file: StoredFile) -> Args:
    """Return the row of a file, without its replicas."""
    content, stored, media = file.content, file.stored, file.media
    basis_at, basis_clock, basis_reason = _basis_row(file)
    same = (stored.size_bytes, stored.sha256) == (content.size_bytes, content.sha256)
    return (
        file.file_id,
        content.size_bytes,
        None if same else stored.size_bytes,
        micros(file.created_at),
        _micros_or_none(file.captured_at),
        micros(file.keep_until),
        _micros_or_none(file.state_at),
        basis_at,
        media.width,
        media.height,
        media.channels,
        media.duration_seconds,
        file.historic,
        file.kind.value,
        file.content_type,
        bytes.fromhex(content.sha256),
        None if same else bytes.fromhex(stored.sha256),
        file.coding.value,
        file.device_id,
        file.violation_id,
        media.channel_order.value if media.channel_order else None,
        None if media.pixel_sha256 is None else bytes.fromhex(media.pixel_sha256),
        file.placement.decision,
        file.placement.reason,
        file.metadata,
        file.state.value,
        file.retention_rule,
        basis_clock,
        basis_reason,
        file.original_name,
        file.quality,
        _labels_text(file),
        content.segments or None,
        None if stored.segments == content.segments else stored.segments,
    )


def labelling_row(was: StoredFile, becomes: StoredFile) -> Args:
    """Return the arguments of the compare-and-set of a file's labels and retention."""
    return (
        was.file_id,
        micros(was.keep_until),
        was.device_id,
        was.violation_id,
        _micros_or_none(was.captured_at),
        _labels_text(was),
        sum(copy.state in OCCUPYING for copy in was.replicas),
        becomes.device_id,
        becomes.violation_id,
        _micros_or_none(becomes.captured_at),
        becomes.historic,
        _labels_text(becomes),
        micros(becomes.keep_until),
        becomes.retention_rule,
        *_basis_row(becomes),
    )


def _basis_row(file: StoredFile) -> tuple[int | None, str, str | None]:
    """Return the columns `retention_at`, `retention_clock` and `retention_reason`."""
    basis = file.retention_basis
    return (
        None if basis.at == _named_time(file, basis.clock) else micros(basis.at),
        basis.clock.value,
        None if basis.reason == USUAL_REASONS[basis.clock] else basis.reason,
    )


def _labels_text(file: StoredFile) -> str | None:
    """Return the column `added_labels`."""
    return ",".join(file.added_labels) or None


def _named_time(file: StoredFile, clock: RetentionClock) -> datetime | None:
    """Return the time of capture or of receipt, as `clock` says."""
    return file.captured_at if clock is RetentionClock.CAPTURED else file.created_at


def replica_row(file_id: FileId, replica: Replica) -> Args:
    """Return the row of a replica; the statement turns the store's id into its number."""
    return (
        replica.replica_id.bytes,
        file_id,
        replica.store_id,
        replica.tier.value,
        replica.state.value,
        _micros_or_none(replica.verified_at),
    )


def files_of(rows: Iterable[Row]) -> tuple[StoredFile, ...]:
    """Return the files of rows that hold a file and one replica each; a file's rows are adjacent."""
    return tuple(_file_of(list(group)) for _, group in groupby(rows, key=itemgetter(0)))


def single_copies_of(rows: Iterable[Row]) -> tuple[StoredFile, ...]:
    """Return a file with one replica for each row; rows of one file may be adjacent."""
    return tuple(_file_of([row]) for row in rows)


def _file_of(rows: Sequence[Row]) -> StoredFile:
    row = rows[0]
    file_id, size_bytes, stored_size_bytes, created_at, captured_at, keep_until = row[:6]
    state_at, basis_at, width, height, channels, duration_seconds, historic = row[6:13]
    kind, content_type, sha256, stored_sha256, coding, device_id, violation_id = row[13:20]
    channel_order, pixel_sha256, decision, reason, metadata, state = row[20:26]
    rule, clock, basis_reason, original_name, quality, added_labels = row[26:32]
    segments, stored_segments = row[32:_FILE_COLUMNS]
    of_kind = FileKind(kind)
    content = Digests(size_bytes, Sha256(sha256.hex()), segments or b"")
    stored = Digests(
        content.size_bytes if stored_size_bytes is None else stored_size_bytes,
        content.sha256 if stored_sha256 is None else Sha256(stored_sha256.hex()),
        content.segments if stored_segments is None else stored_segments,
    )
    replicas = _replicas_of(rows, of_kind, stored.sha256)
    return StoredFile(
        file_id=FileId(file_id),
        kind=of_kind,
        content_type=content_type,
        content=content,
        stored=stored,
        coding=Coding(coding),
        created_at=moment(created_at),
        captured_at=_moment_or_none(captured_at),
        device_id=device_id and DeviceId(device_id),
        violation_id=violation_id and ViolationId(violation_id),
        media=MediaInfo(
            width,
            height,
            channels,
            channel_order and ChannelOrder(channel_order),
            duration_seconds,
            pixel_sha256 and Sha256(pixel_sha256.hex()),
        ),
        placement=PlacementNote(decision, reason),
        metadata=metadata,
        replicas=tuple(sorted(replicas, key=_local_first)),
        state=FileState(state),
        state_at=_moment_or_none(state_at),
        keep_until=_end_of(keep_until),
        retention_rule=rule,
        retention_basis=_basis_of(clock, basis_at, basis_reason, created_at, captured_at),
        historic=bool(historic),
        original_name=original_name,
        quality=quality,
        added_labels=tuple(added_labels.split(",")) if added_labels else (),
    )


def _end_of(keep_until: object) -> datetime:
    """Return the end of a retention; a damaged value, which only SQLite can hold, keeps for ever."""
    return moment(keep_until) if isinstance(keep_until, int) else _NEVER


def _basis_of(
    clock: str, at: int | None, reason: str | None, created_at: int, captured_at: int
) -> RetentionBasis:
    of_clock = RetentionClock(clock)
    if at is None:
        at = captured_at if of_clock is RetentionClock.CAPTURED else created_at
    return RetentionBasis(
        of_clock, moment(at), USUAL_REASONS[of_clock] if reason is None else reason
    )


def _replicas_of(rows: Iterable[Row], kind: FileKind, stored: Sha256) -> Iterable[Replica]:
    for row in rows:
        replica_id, store_id, tier, state, verified_at = row[_FILE_COLUMNS:]
        if replica_id is not None:
            yield Replica(
                StoreId(store_id),
                Tier(tier),
                blob_key(kind, UUID(bytes=replica_id), stored),
                ReplicaState(state),
                _moment_or_none(verified_at),
            )


def _local_first(replica: Replica) -> tuple[bool, StoreId, BlobKey]:
    return replica.tier is not Tier.LOCAL, replica.store_id, replica.key


_STATES = {state.value: state for state in ViolationState}
_FILE_STATES: Mapping[str | None, FileState] = {
    None: FileState.AVAILABLE,
    **{state.value: state for state in FileState},
}


def _unless_available(state: FileState) -> str | None:
    return None if state is FileState.AVAILABLE else state.value


def violation_row(violation: StoredViolation) -> Args:
    """Return the row of a violation, with its record."""
    record = violation.record
    return (
        record.violation_id,
        record.device_id,
        record.violation_type,
        record.vehicle_class,
        record.confidence,
        micros(violation.occurred_at),
        record.timestamp.isoformat(),
        violation.zone_assumed,
        micros(violation.received_at),
        _json(tuple(record.vehicle_bbox)),
        record.processing_time_ms,
        _other_than(violation.image_file_id, record.image_path),
        _other_than(violation.video_file_id, record.video_path),
        _json(record.camera_info),
        _json(record.model_versions),
        bytes.fromhex(violation.record_sha256),
        violation.metadata_file_id,
        violation.image_file_id,
        violation.video_file_id,
        violation.state.value,
        _micros_or_none(violation.state_at),
        _unless_available(violation.image_state),
        _unless_available(violation.video_state),
        confidence_band(record.confidence),
    )


def _other_than(file_id: FileId | None, path: str) -> str | None:
    return None if path == (file_id or "") else path


def violations_of(rows: Iterable[Row]) -> tuple[StoredViolation, ...]:
    """Return the violations of rows, in their order. Works by columns: pages are read often."""
    columns = tuple(zip(*rows, strict=True))
    if not columns:
        return ()
    ids, devices, types, classes, confidences, occurred, timestamps, zones = columns[:8]
    received, boxes, durations, image_paths, video_paths, infos, versions = columns[8:15]
    digests, metadata_ids, image_ids, video_ids, states, states_at = columns[15:21]
    image_states, video_states = columns[21:]
    times = [*map(datetime.fromisoformat, timestamps)]
    records = map(
        recorded,
        ids,
        devices,
        types,
        times,
        map(tuple, _parsed(boxes)),
        classes,
        confidences,
        _paths(image_paths, image_ids),
        _paths(video_paths, video_ids),
        _frozen(infos),
        durations,
        _frozen(versions),
    )
    return tuple(
        map(
            stored,
            records,
            map(bytes.hex, digests),
            _instants(times, occurred),
            zones,
            _moments(received),
            metadata_ids,
            image_ids,
            video_ids,
            map(_STATES.__getitem__, states),
            map(_moment_or_none, states_at),
            map(_FILE_STATES.__getitem__, image_states),
            map(_FILE_STATES.__getitem__, video_states),
        )
    )


def _paths(paths: Sequence[str | None], file_ids: Sequence[FileId | None]) -> Iterable[str]:
    return [
        (file_id or "") if path is None else path
        for path, file_id in zip(paths, file_ids, strict=True)
    ]


def _instants(given: Sequence[datetime], micros: Sequence[int]) -> Iterable[datetime]:
    return [
        time if time.tzinfo is UTC else moment(value)
        for time, value in zip(given, micros, strict=True)
    ]


def new_job_row(job: NewJob) -> Args:
    """Return the arguments of the insertion of a job."""
    delay = job.delay // _MICROSECOND
    arguments = _json(job.arguments)
    row = (job.key, job.job_id.bytes, job.kind, arguments)
    # Each once: a store is claimed together with others, not with itself.
    needed = dict.fromkeys(one for one in (job.store_id, job.target_id) if one is not None)
    return *row, job.priority.value, job.max_attempts, delay, needs(*needed)


def done_row(run: Run, end: Done) -> Args:
    """Return the arguments of the end of a run that has succeeded."""
    progress = end.progress
    so_far = (
        (None, None, None, None)
        if progress is None
        else (progress.done, progress.total, progress.bytes, progress.message)
    )
    result = None if end.result is None else _json(end.result)
    return run.job_id.bytes, run.lease_id.bytes, *so_far, result


def needs(*stores: StoreId) -> str:
    """Return the text of the stores that a job needs."""
    return " ".join(stores)


def job_of(row: Row) -> Job:
    """Return the job of a row."""
    job_id, created_at, run_at, leased_until, ended_at, done, total, size, priority = row[:9]
    attempts, max_attempts, cancelling, _, kind, state, key, needed, owner = row[9:18]
    message, error, arguments, result = row[18:22]
    store_id, _, target_id = needed.partition(" ")
    return Job(
        job_id=UUID(bytes=job_id),
        kind=JobKind(kind),
        arguments=_frozen([arguments])[0],
        key=key,
        priority=Priority(priority),
        max_attempts=max_attempts,
        state=JobState(state),
        attempts=attempts,
        created_at=moment(created_at),
        run_at=moment(run_at),
        owner=owner,
        leased_until=_moment_or_none(leased_until),
        cancelling=bool(cancelling),
        progress=Progress(done, total, size, message),
        error=error,
        ended_at=_moment_or_none(ended_at),
        store_id=StoreId(store_id) if store_id else None,
        target_id=StoreId(target_id) if target_id else None,
        result=None if result is None else _frozen([result])[0],
    )


def live_jobs_row(kind: JobKind, after: Cursor | None, limit: int) -> Args:
    """Return the arguments of a page of live jobs; one row more shows whether there is a next page."""
    at = micros(after.at) if after is not None else _EARLIEST
    behind = UUID(after.row_id) if after is not None else UUID(int=0)
    return kind, at, behind.bytes, limit + 1


def jobs_query_row(query: JobsQuery) -> Args:
    """Return the arguments of a page of jobs."""
    at = _LATEST if query.after is None else micros(query.after.at)
    after = _BEHIND_ALL_UUIDS if query.after is None else UUID(query.after.row_id).bytes
    state = None if query.state is None else query.state.value
    return state, query.kind, at, after, query.limit + 1


NO_DEVICE = ""
VIOLATION = "violation"
"""The kind of counters of violations."""


def counter_row(change: CounterChange) -> Args:
    """Return the key columns of a counter's change."""
    kind = VIOLATION if change.kind is None else change.kind.value
    return day_number(change.day), change.store_id or NO_STORE, kind, change.device_id or NO_DEVICE


def day_number(day: date) -> int:
    """Return a date as days since 1970."""
    return (day - _EPOCH.date()).days


def usage_of(found: Iterable[Row]) -> CatalogueUsage:
    """Return the usage that rows of store, kind, items and bytes describe."""
    return CatalogueUsage.of(
        (
            StoreId(store_id) if store_id else None,
            None if kind == VIOLATION else FileKind(kind),
            items,
            size,
        )
        for store_id, kind, items, size in found
    )


def days_of(found: Sequence[Row]) -> Sequence[DailyUsage]:
    """Return the daily usage of rows whose first column is the day, in their order."""
    return [
        DailyUsage(_EPOCH.date() + timedelta(days=day), usage_of(row[1:] for row in of_day))
        for day, of_day in groupby(found, key=itemgetter(0))
    ]


def recorded_of(row: Row) -> Recorded:
    """Return the replica of a row of a scan."""
    replica_id, file_id, kind, sha256, state, size_bytes = row
    number = UUID(bytes=replica_id)
    key = blob_key(FileKind(kind), number, Sha256(sha256.hex()))
    return Recorded(number, FileId(file_id), key, ReplicaState(state), size_bytes)


def quarantined_row(entry: Quarantined) -> Args:
    """Return the arguments of the insertion of an entry of the quarantine."""
    return (
        entry.store_id,
        entry.key,
        micros(entry.seen_at),
        entry.size_bytes,
        entry.reason.value,
        entry.state.value,
        entry.file_id,
        entry.note,
        replica_id_of(entry.key).bytes,
    )


def quarantined_of(row: Row, store_id: StoreId) -> Quarantined:
    """Return the entry of the quarantine in a row."""
    _, key, seen_at, size_bytes, reason, state, file_id, note = row
    return Quarantined(
        store_id,
        BlobKey(key),
        QuarantineReason(reason),
        moment(seen_at),
        size_bytes,
        None if file_id is None else FileId(file_id),
        note,
        QuarantineState(state),
    )


def cursor_row(cursor: RebuildCursor) -> Args:
    """Return the row of a rebuild's cursor."""
    return cursor.store_id, cursor.after.bytes if cursor.after else None, cursor.is_done


def cursor_of(row: Row) -> RebuildCursor:
    """Return the cursor of a row."""
    store_id, after, is_done = row
    return RebuildCursor(StoreId(store_id), UUID(bytes=after) if after else None, bool(is_done))
