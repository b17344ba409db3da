"""Hypothesis strategies for all domain values. They draw only valid values.

Dependent values are drawn consistently: the digests of a file match its size, and the row of a
violation names the files that are stored together with it.

Strategies that others use often are cached, because building a strategy costs more than drawing
from it.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import cache
from typing import Any, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from hypothesis.strategies import DrawFn, SearchStrategy, composite

from traffic_storage.domain.canonical import Json, canonical_json
from traffic_storage.domain.digests import (
    SEGMENT_BYTES,
    WHOLE_READ_BYTES,
    Digests,
    Sha256,
    sha256_of,
)
from traffic_storage.domain.files import (
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
from traffic_storage.domain.identifiers import (
    MAX_FILE_ID,
    MAX_TEXT,
    MAX_VIOLATION_ID,
    AttemptId,
    CatalogueId,
    DeviceId,
    FileId,
    Incarnation,
    StoreId,
    ViolationId,
    evidence_file_id,
)
from traffic_storage.domain.identity import Marker, RegisteredStore
from traffic_storage.domain.image_layout import ChannelOrder, Dimensions
from traffic_storage.domain.ingest import (
    Attempt,
    ClaimedIds,
    ExistingRows,
    Unit,
)
from traffic_storage.domain.manifest import BlobManifest, manifest_of
from traffic_storage.domain.pixels import Pixels
from traffic_storage.domain.placement import CloudRoute, StorageStrategy, StoreStatus, Thresholds
from traffic_storage.domain.query import MAX_LIMIT, Cursor, FilesQuery, ViolationQuery
from traffic_storage.domain.retention import CaptureBounds, RetentionPeriods, RetentionPolicy
from traffic_storage.domain.retention_rules import RetentionFacts, RetentionRule, RuleSet, Site
from traffic_storage.domain.times import EARLIEST, Moment, instant
from traffic_storage.domain.usage import CatalogueUsage, FileUsage, StoreUsage
from traffic_storage.domain.violation import (
    EvidencePart,
    StoredViolation,
    ViolationRecord,
    with_paths,
)

_ID_LETTERS = "ABCXYZabcxyz0123456789._-:@+="
_LATEST = datetime(2200, 1, 1, tzinfo=UTC)
_UTC_ZONE = ZoneInfo("UTC")
_MOST_BYTES = 2**40

T = TypeVar("T")


def _given(strategy: SearchStrategy[T] | None, otherwise: SearchStrategy[T]) -> SearchStrategy[T]:
    return otherwise if strategy is None else strategy


# Texts


@cache
def ids(longest: int) -> SearchStrategy[str]:
    """Texts that are valid as an id: ASCII, not only dots."""
    return st.text(_ID_LETTERS, min_size=1, max_size=longest).filter(lambda text: text.strip("."))


@cache
def file_ids() -> SearchStrategy[FileId]:
    """File ids that a caller may choose."""
    return ids(MAX_FILE_ID).map(FileId)


@cache
def violation_ids() -> SearchStrategy[ViolationId]:
    """Ids of violations."""
    return ids(MAX_VIOLATION_ID).map(ViolationId)


@cache
def texts(longest: int = MAX_TEXT) -> SearchStrategy[str]:
    """Printable texts of any script, not blank."""
    printable = st.characters(codec="utf-8", categories=("L", "M", "N", "P", "S", "Zs"))
    return st.text(printable, min_size=1, max_size=longest).filter(
        lambda text: text.isprintable() and not text.isspace()
    )


@cache
def device_ids() -> SearchStrategy[DeviceId]:
    """Ids of devices."""
    return texts().map(DeviceId)


@cache
def uuids7() -> SearchStrategy[UUID]:
    """UUIDs of version 7 with any timestamp up to the year 9999, and any random bits."""
    year_10000 = 253_402_300_800_000  # in milliseconds since 1970
    return st.integers(0, (year_10000 << 80) - 1).map(
        lambda n: UUID(int=n & ~(0xF << 76) & ~(0x3 << 62) | 0x7 << 76 | 0x2 << 62)
    )


def attempt_ids() -> SearchStrategy[AttemptId]:
    """Ids of attempts, each of which is one try to store files."""
    return uuids7().map(lambda made: AttemptId(str(made)))


def store_ids(tier: Tier = Tier.LOCAL) -> SearchStrategy[StoreId]:
    """Ids of stores of a tier."""
    return uuids7().map(lambda made: StoreId(f"{tier}-{made}"))


def incarnations() -> SearchStrategy[Incarnation]:
    """Incarnations: random ids of a store that are renewed regularly."""
    return uuids7().map(lambda made: Incarnation(str(made)))


def catalogue_ids() -> SearchStrategy[CatalogueId]:
    """Ids of catalogues, the databases of the system."""
    return st.uuids(version=4).map(lambda made: CatalogueId(str(made)))


# JSON


@cache
def numbers() -> SearchStrategy[int | float]:
    """Finite numbers, including integers of more than 64 bits."""
    return st.integers(-(10**30), 10**30) | st.floats(allow_nan=False, allow_infinity=False)


@cache
def json_values() -> SearchStrategy[Json]:
    """Values that JSON can represent."""
    leaves: SearchStrategy[Json] = st.one_of(
        st.none(), st.booleans(), numbers(), st.text(st.characters(codec="utf-8"), max_size=20)
    )
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_keys(), inner, max_size=3),
        max_leaves=8,
    )


@cache
def json_objects() -> SearchStrategy[dict[str, Json]]:
    """JSON objects, such as a caller's metadata or a record's `camera_info`."""
    return st.dictionaries(_keys(), json_values(), max_size=4)


def _keys() -> SearchStrategy[str]:
    return st.text(st.characters(codec="utf-8"), max_size=12)


# Times


@cache
def instants() -> SearchStrategy[datetime]:
    """Aware times in UTC from `EARLIEST` to 2200."""
    return st.datetimes(
        EARLIEST.replace(tzinfo=None), _LATEST.replace(tzinfo=None), timezones=st.just(UTC)
    )


@cache
def timestamps() -> SearchStrategy[datetime]:
    """Times as devices send them: naive, in UTC, or with another offset."""
    offsets = st.integers(-14 * 60, 14 * 60).map(lambda n: timezone(timedelta(minutes=n)))
    zones: SearchStrategy[tzinfo | None] = st.one_of(st.none(), st.just(UTC), offsets)
    naive = st.datetimes(datetime(1970, 1, 3), datetime(2200, 1, 1))  # noqa: DTZ001
    return st.builds(lambda time, zone: time.replace(tzinfo=zone), naive, zones)


def moments() -> SearchStrategy[Moment]:
    """Instants, with the assumed zone if the timestamp was naive."""
    return timestamps().map(lambda time: instant(time, _UTC_ZONE))


def retention_periods() -> SearchStrategy[RetentionPeriods]:
    """How long files are kept, by kind of file."""
    days = st.integers(1, 3650).map(lambda n: timedelta(days=n))
    return st.builds(RetentionPeriods, image=days, video=days, metadata=days)


def capture_bounds() -> SearchStrategy[CaptureBounds]:
    """Bounds of plausible capture times: the earliest, and the longest time until receipt."""
    return st.builds(
        CaptureBounds, instants(), st.integers(0, 3650).map(lambda n: timedelta(days=n))
    )


DEVICES = ("cam_001", "cam_002", "cam_m30_7", "radar-9")
_PATTERNS = ("cam_*", "cam_00?", "radar-9", "*", "none")
_JURISDICTIONS = ("ES", "ES-MD", "ES-CT", "FR")
_TYPES = ("speed", "red_light")


@cache
def retention_facts() -> SearchStrategy[RetentionFacts]:
    """What retention rules ask about a file, with devices and types that rules of the kit name."""
    return st.builds(
        RetentionFacts,
        st.sampled_from(FileKind),
        st.none() | st.sampled_from(DEVICES),
        st.none() | st.sampled_from(_TYPES),
    )


@cache
def retention_rules() -> SearchStrategy[RetentionRule]:
    """Retention rules with any conditions."""
    return st.builds(
        RetentionRule,
        st.text("abcdef", min_size=1, max_size=6),
        st.integers(1, 3650),
        kind=st.none() | st.sampled_from(FileKind),
        violation_type=st.none() | st.sampled_from(_TYPES),
        device=st.none() | st.sampled_from(_PATTERNS),
        site=st.none() | st.sampled_from(("north", "n*", "*")),
        jurisdiction=st.none() | st.sampled_from(_JURISDICTIONS),
        legal_source=st.sampled_from(("", "art. 5")),
        priority=st.integers(-2, 2),
    )


@cache
def sites() -> SearchStrategy[Site]:
    """Sites whose devices are among those that `retention_facts` draws."""
    return st.builds(
        Site,
        st.sampled_from(("north", "south", "n2")),
        st.lists(st.sampled_from(_PATTERNS), min_size=1, max_size=2).map(tuple),
        st.none() | st.sampled_from(_JURISDICTIONS),
    )


@cache
def rule_sets() -> SearchStrategy[RuleSet]:
    """The default rules together with any others, in any order."""
    more = st.lists(retention_rules(), max_size=6, unique_by=lambda rule: rule.rule_id)
    places = st.lists(sites(), max_size=3, unique_by=lambda site: site.site_id)

    def build(
        periods: RetentionPeriods, rules: list[RetentionRule], at: list[Site]
    ) -> SearchStrategy[RuleSet]:
        order = st.permutations([*periods.rules, *rules])
        return order.map(lambda all_rules: RuleSet(tuple(all_rules), tuple(at)))

    return st.tuples(retention_periods(), more, places).flatmap(lambda given: build(*given))


def retention_policies() -> SearchStrategy[RetentionPolicy]:
    """Retention policies: the rules, and the bounds of plausible capture times."""
    return st.builds(RetentionPolicy, rule_sets(), capture_bounds())


# Bytes and pixels


@cache
def sha256s() -> SearchStrategy[Sha256]:
    """SHA-256 digests."""
    return st.binary(min_size=8, max_size=8).map(sha256_of)


@composite
def digests(draw: DrawFn) -> Digests:
    """Digests of content of any size, with segment digests above `WHOLE_READ_BYTES`."""
    size = draw(st.integers(0, _MOST_BYTES) | st.integers(0, 16 * SEGMENT_BYTES))
    if size <= WHOLE_READ_BYTES:
        return Digests(size, draw(sha256s()))
    # Limit the number of segments: the digests of a very large file would fill the memory.
    size = min(size, 16 * SEGMENT_BYTES)
    count = -(-size // SEGMENT_BYTES)
    one = bytes.fromhex(draw(sha256s()))
    return Digests(size, draw(sha256s()), one * count)


def channel_orders() -> SearchStrategy[ChannelOrder]:
    """Orders of the colour channels of an array, such as RGB and BGR."""
    return st.sampled_from(ChannelOrder)


def dimensions() -> SearchStrategy[Dimensions]:
    """Dimensions of images."""
    side = st.integers(1, 20_000)
    return st.builds(Dimensions, side, side, st.sampled_from([1, 3, 4]))


def pixels(largest: int = 16) -> SearchStrategy[Pixels]:
    """Image arrays with sides of at most `largest`."""
    side = st.integers(1, largest)
    shapes = st.tuples(side, side) | st.tuples(side, side, st.sampled_from([3, 4]))
    return npst.arrays(np.uint8, shapes)


# Stores


@cache
def stores(tier: Tier | None = None) -> SearchStrategy[RegisteredStore]:
    """Registered stores of `tier`, or of any tier."""
    tiers = st.sampled_from(Tier) if tier is None else st.just(tier)
    return tiers.flatmap(
        lambda one: st.builds(
            RegisteredStore,
            store_ids(one),
            st.just(one),
            texts(),
            instants(),
            st.none() | incarnations(),
            st.none() | incarnations(),
            st.none() | instants(),
            st.none() | instants(),
        )
    )


def markers() -> SearchStrategy[Marker]:
    """Markers: the identification files of stores."""
    return st.builds(Marker, catalogue_ids(), store_ids(), incarnations())


def store_statuses(tier: Tier | None = None) -> SearchStrategy[StoreStatus]:
    """States of stores, from which the stores of a file are chosen.

    They are usable, unavailable or full, with or without limits.
    """
    tiers = st.sampled_from(Tier) if tier is None else st.just(tier)
    size = st.integers(0, _MOST_BYTES)
    return st.builds(
        StoreStatus,
        store_id=store_ids(),
        tier=tiers,
        unavailable_reason=st.just("") | texts(),
        full=st.just("") | texts(),
        used_bytes=size,
        limit_bytes=st.none() | size,
        free_bytes=st.none() | size,
        reserve_bytes=size,
        free_inodes=st.none() | st.integers(0, 1_000),
    )


def thresholds() -> SearchStrategy[Thresholds]:
    """Limits of the choice of a file's stores, such as the size above which the cloud is used."""
    return st.builds(
        Thresholds,
        high_water=st.floats(0.01, 1.0),
        large_bytes=st.integers(0, _MOST_BYTES),
        hybrid_local_kinds=st.frozensets(st.sampled_from(FileKind)),
        cache_item_bytes=st.integers(0, _MOST_BYTES),
    )


def strategies() -> SearchStrategy[StorageStrategy]:
    """Storage strategies: how files are placed on the local disk and in the cloud."""
    return st.sampled_from(StorageStrategy)


def cloud_routes() -> SearchStrategy[CloudRoute[StoreId]]:
    """Pairs of a pattern of device ids and the cloud store of these devices' files."""
    return st.builds(CloudRoute, texts(), store_ids(Tier.CLOUD))


# Files


def kinds() -> SearchStrategy[FileKind]:
    """Kinds of files."""
    return st.sampled_from(FileKind)


@composite
def blob_keys(draw: DrawFn, kind: FileKind | None = None, stored: Sha256 | None = None) -> BlobKey:
    """Blob keys. Two draws are equal only with negligible probability."""
    return blob_key(kind or draw(kinds()), draw(uuids7()), stored or draw(sha256s()))


@composite
def replicas(
    draw: DrawFn,
    store: SearchStrategy[RegisteredStore] | None = None,
    kind: FileKind | None = None,
    states: Sequence[ReplicaState] = tuple(ReplicaState),
    stored: Sha256 | None = None,
) -> Replica:
    """Replicas (copies of a file) in a store, in one of `states`."""
    place = draw(_given(store, stores()))
    return Replica(
        place.store_id,
        place.tier,
        draw(blob_keys(kind, stored)),
        draw(st.sampled_from(states)),
        draw(st.none() | instants()),
    )


@cache
def pictures() -> SearchStrategy[MediaInfo]:
    """Dimensions, channels and duration of images and videos, with any of them missing."""
    side = st.none() | st.integers(1, 100_000)
    return st.builds(
        MediaInfo,
        width=side,
        height=side,
        channels=st.none() | st.sampled_from([1, 3, 4]),
        channel_order=st.none() | channel_orders(),
        duration_seconds=st.none() | st.floats(0, 1e6),
        pixel_sha256=st.none() | sha256s(),
    )


@cache
def placement_notes() -> SearchStrategy[PlacementNote]:
    """The stores chosen for a file and the reason, both as text."""
    return st.builds(PlacementNote, texts(), texts())


@cache
def retention_bases() -> SearchStrategy[RetentionBasis]:
    """The time from which the retention of a file counts, and the reason.

    Also whether it is the time of capture or of receipt.
    """
    return st.builds(RetentionBasis, st.sampled_from(RetentionClock), instants(), texts())


@composite
def stored_files(
    draw: DrawFn,
    file_id: SearchStrategy[FileId] | None = None,
    kind: FileKind | None = None,
    places: Sequence[RegisteredStore] | None = None,
    violation_id: SearchStrategy[ViolationId | None] | None = None,
) -> StoredFile:
    """Files with present replicas, one or several."""
    of_kind = kind or draw(kinds())
    content, coding = draw(digests()), draw(st.sampled_from(Coding))
    stored = content if coding is Coding.IDENTITY else draw(digests())
    given = draw(st.none() | json_objects())
    if places is None:
        places = draw(st.lists(stores(), min_size=1, max_size=3, unique_by=lambda s: s.store_id))
    held = draw(st.lists(st.sampled_from(places), min_size=1, unique_by=lambda s: s.store_id))
    return StoredFile(
        file_id=draw(_given(file_id, file_ids())),
        kind=of_kind,
        content_type=draw(st.sampled_from(["image/webp", "video/mp4", "application/json"])),
        content=content,
        stored=stored,
        coding=coding,
        created_at=draw(instants()),
        captured_at=draw(st.none() | instants()),
        device_id=draw(st.none() | device_ids()),
        violation_id=draw(_given(violation_id, st.none() | violation_ids())),
        media=draw(pictures()),
        placement=draw(placement_notes()),
        metadata=None if given is None else canonical_json(given).decode(),
        replicas=tuple(
            sorted(
                (
                    draw(replicas(st.just(store), of_kind, [ReplicaState.PRESENT], stored.sha256))
                    for store in held
                ),
                key=lambda copy: (copy.tier is not Tier.LOCAL, copy.store_id),
            )
        ),
        state_at=draw(st.none() | instants()),
        keep_until=draw(instants()),
        retention_rule=draw(texts()),
        retention_basis=draw(retention_bases()),
        historic=draw(st.booleans()),
        original_name=draw(st.none() | texts()),
        quality=draw(st.none() | st.just('{"score":0.5,"valid":true}')),
    )


def file_states() -> SearchStrategy[FileState]:
    """States of files."""
    return st.sampled_from(FileState)


def manifest() -> SearchStrategy[BlobManifest]:
    """Manifests: the data beside a blob from which the catalogue row of its file can be rebuilt."""
    return stored_files().map(manifest_of)


def evidence_parts() -> SearchStrategy[EvidencePart]:
    """Files as a violation's metadata file lists them."""
    return stored_files().map(
        lambda file: EvidencePart(
            file.file_id, file.content_type, file.content.size_bytes, file.content.sha256
        )
    )


# Violations


@composite
def boxes(draw: DrawFn) -> tuple[float, float, float, float]:
    """Bounding boxes of vehicles, with integer or fractional coordinates."""
    edges = st.integers(-10_000, 10_000) | st.floats(-1e6, 1e6)
    x1, x2 = sorted(draw(st.lists(edges, min_size=2, max_size=2, unique=True)))
    y1, y2 = sorted(draw(st.lists(edges, min_size=2, max_size=2, unique=True)))
    return x1, y1, x2, y2


def confidences() -> SearchStrategy[float]:
    """Numbers in [0, 1], including the integers 0 and 1."""
    return st.floats(0.0, 1.0) | st.sampled_from([0, 1])


def records(
    violation_id: SearchStrategy[ViolationId] | None = None,
    device_id: SearchStrategy[str] | None = None,
    timestamp: SearchStrategy[datetime] | None = None,
) -> SearchStrategy[ViolationRecord]:
    """Violation records as devices send them, without paths."""
    return st.builds(
        ViolationRecord,
        violation_id=_given(violation_id, violation_ids()),
        device_id=_given(device_id, texts()),
        violation_type=st.sampled_from(["speed", "red_light"]) | texts(),
        timestamp=_given(timestamp, timestamps()),
        vehicle_bbox=boxes(),
        vehicle_class=st.sampled_from(["car", "lorry"]) | texts(),
        confidence=confidences(),
        camera_info=json_objects(),
        processing_time_ms=st.floats(0, 1e9) | st.integers(0, 2**53),
        model_versions=st.dictionaries(texts(), st.text(max_size=10), max_size=3),
    )


@composite
def stored_violations(
    draw: DrawFn,
    record: SearchStrategy[ViolationRecord] | None = None,
    with_kinds: frozenset[FileKind] | None = None,
) -> StoredViolation:
    """Stored violations with the files of `with_kinds`; if it is None, with any of image and video.

    The metadata file is always there.
    """
    given = draw(_given(record, records()))
    if with_kinds is None:
        with_kinds = draw(st.frozensets(st.sampled_from([FileKind.IMAGE, FileKind.VIDEO])))
    name = ViolationId(given.violation_id)
    of = {kind: evidence_file_id(name, kind) for kind in FileKind}
    image = of[FileKind.IMAGE] if FileKind.IMAGE in with_kinds else None
    video = of[FileKind.VIDEO] if FileKind.VIDEO in with_kinds else None
    moment = instant(given.timestamp, _UTC_ZONE)
    return StoredViolation(
        record=with_paths(given, image or "", video or ""),
        record_sha256=given.sha256(),
        occurred_at=moment.at,
        zone_assumed=moment.zone_assumed,
        received_at=draw(instants()),
        metadata_file_id=of[FileKind.METADATA],
        image_file_id=image,
        video_file_id=video,
    )


# Units


@composite
def evidence_units(
    draw: DrawFn,
    record: SearchStrategy[ViolationRecord] | None = None,
    places: Sequence[RegisteredStore] | None = None,
) -> Unit:
    """Units (what is stored together) of a violation with its files.

    The files are the metadata file, and optionally an image and a video.
    """
    violation = draw(stored_violations(record))
    kinds_given = [
        kind
        for kind, name in (
            (FileKind.IMAGE, violation.image_file_id),
            (FileKind.VIDEO, violation.video_file_id),
            (FileKind.METADATA, violation.metadata_file_id),
        )
        if name
    ]
    files = (draw(evidence_files(violation.violation_id, kind, places)) for kind in kinds_given)
    return Unit(tuple(files), violation)


def evidence_files(
    violation_id: ViolationId, kind: FileKind, places: Sequence[RegisteredStore] | None = None
) -> SearchStrategy[StoredFile]:
    """Files of one kind that belong to the violation."""
    name = st.just(evidence_file_id(violation_id, kind))
    return stored_files(name, kind, places, st.just(violation_id))


def file_units(places: Sequence[RegisteredStore] | None = None) -> SearchStrategy[Unit]:
    """Units (what is stored together) of a single file."""
    return stored_files(places=places).map(lambda file: Unit((file,)))


def units(places: Sequence[RegisteredStore] | None = None) -> SearchStrategy[Unit]:
    """Units (what is stored together): a single file, or a violation with its files.

    None adds a file to a violation that is stored already.
    """
    return file_units(places) | evidence_units(places=places)


def attempts(
    unit: SearchStrategy[Unit] | None = None, deadline: SearchStrategy[datetime] | None = None
) -> SearchStrategy[Attempt]:
    """Tries to store a file or a violation, with the keys of all replicas that may be written."""
    return st.builds(
        lambda attempt_id, owner, ends, tried: Attempt(
            attempt_id,
            owner,
            ends,
            tuple((copy.store_id, copy.key) for file in tried.files for copy in file.replicas),
        ),
        attempt_ids(),
        texts(),
        _given(deadline, instants()),
        _given(unit, units()),
    )


def names() -> SearchStrategy[ClaimedIds]:
    """Ids of the files and the violation that are stored together."""
    return units().map(lambda unit: unit.names)


def existing() -> SearchStrategy[ExistingRows]:
    """Rows of a catalogue that may exist before a file or a violation is stored, or none."""
    return st.just(ExistingRows()) | units().map(
        lambda unit: ExistingRows({file.file_id: file for file in unit.files}, unit.violation)
    )


def store_usages() -> SearchStrategy[StoreUsage]:
    """Number and bytes of the replicas of one kind of file in one store."""
    return st.builds(StoreUsage, store_ids(), kinds(), st.integers(1, 10**9), st.integers(0, 2**50))


def file_usages() -> SearchStrategy[FileUsage]:
    """Number and bytes of the files of one kind."""
    return st.builds(FileUsage, kinds(), st.integers(1, 10**9), st.integers(0, 2**50))


def catalogue_usages() -> SearchStrategy[CatalogueUsage]:
    """The counters of a catalogue: of replicas, files and violations."""
    stores = st.lists(store_usages(), max_size=4, unique_by=lambda row: (row.store_id, row.kind))
    files = st.lists(file_usages(), max_size=3, unique_by=lambda row: row.kind)
    return st.builds(CatalogueUsage, stores.map(tuple), files.map(tuple), st.integers(0, 10**9))


# Queries


def cursors() -> SearchStrategy[Cursor]:
    """Positions in a list of files or violations, after which the next page begins."""
    return st.builds(Cursor, instants(), violation_ids() | file_ids())


def file_queries(
    device_id: SearchStrategy[str] | None = None,
    violation_id: SearchStrategy[ViolationId] | None = None,
    moment: SearchStrategy[datetime] | None = None,
) -> SearchStrategy[FilesQuery]:
    """Queries of files with any set of filters."""
    time = _given(moment, instants())
    return st.builds(
        _files_query,
        kind=st.none() | kinds(),
        device_id=st.none() | _given(device_id, texts()),
        violation_id=st.none() | _given(violation_id, violation_ids()),
        start_time=st.none() | time,
        end_time=st.none() | time,
        state=file_states(),
        limit=st.integers(1, 5) | st.integers(1, MAX_LIMIT),
        after=st.none() | st.builds(Cursor, time, file_ids()),
    )


def _files_query(
    start_time: datetime | None,
    end_time: datetime | None,
    **filters: Any,  # noqa: ANN401 - as the constructor checks them
) -> FilesQuery:
    if start_time and end_time and start_time > end_time:
        start_time, end_time = end_time, start_time
    return FilesQuery(start_time=start_time, end_time=end_time, **filters)


def queries(
    device_id: SearchStrategy[str] | None = None, moment: SearchStrategy[datetime] | None = None
) -> SearchStrategy[ViolationQuery]:
    """Queries of violations with any set of filters."""
    time = _given(moment, instants())
    return st.builds(
        _query,
        device_id=st.none() | _given(device_id, texts()),
        violation_type=st.none() | st.sampled_from(["speed", "red_light"]),
        vehicle_class=st.none() | st.sampled_from(["car", "lorry"]),
        min_confidence=st.none() | confidences(),
        max_confidence=st.none() | confidences(),
        start_time=st.none() | time,
        end_time=st.none() | time,
        limit=st.integers(1, 5) | st.integers(1, MAX_LIMIT),
        after=st.none() | st.builds(Cursor, time, violation_ids()),
    )


def _query(
    start_time: datetime | None,
    end_time: datetime | None,
    **filters: Any,  # noqa: ANN401 - as the constructor checks them
) -> ViolationQuery:
    if start_time and end_time and start_time > end_time:
        start_time, end_time = end_time, start_time
    lowest, highest = filters["min_confidence"], filters["max_confidence"]
    if lowest is not None and highest is not None and lowest > highest:
        filters |= {"min_confidence": highest, "max_confidence": lowest}
    return ViolationQuery(start_time=start_time, end_time=end_time, **filters)
