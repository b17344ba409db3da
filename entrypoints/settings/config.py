"""`StorageConfig`: every setting of the system with its default, its rule and its description."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar
from zoneinfo import ZoneInfo

from attrs import Attribute, field, fields_dict, frozen

from traffic_storage.adapters.record_repo.sql.postgres_tls import SslMode
from traffic_storage.domain.access import MIN_KEY_BYTES
from traffic_storage.domain.encoding import Encoding, ImageFormat
from traffic_storage.domain.errors import ConfigurationError, FieldProblem
from traffic_storage.domain.files import FileKind
from traffic_storage.domain.image_checks import VerifyImages
from traffic_storage.domain.media import USUAL_FORMATS, StillFormat
from traffic_storage.domain.placement import StorageStrategy, Thresholds
from traffic_storage.domain.prices import Price
from traffic_storage.domain.quality.assessment import ValidationMode
from traffic_storage.domain.retention import RetentionPeriods
from traffic_storage.domain.snapshot import SnapshotSchedule
from traffic_storage.entrypoints.settings import rules
from traffic_storage.entrypoints.settings.rules import BucketRoute, Rule
from traffic_storage.entrypoints.settings.secret import Secret
from traffic_storage.entrypoints.settings.sources import (
    PARTS_OF_REDIS_URL,
    Given,
    collect,
    unknown_setting,
    with_source,
)

if TYPE_CHECKING:
    from traffic_storage.adapters.cache.redis.url import RedisAddress

Default = TypeVar("Default")

GB = 1000**3
MIB = 1024**2

_S3 = "s3://"
_OWN_FOLDERS = "blobs", "cache", "spool"
_DAYS = rules.whole(1, 36_500)
_PORT = rules.whole(1, 65_535)
_SECONDS = rules.number(0.001, 86_400)
_BYTES = rules.whole(0, 2**62)
_SECRET = rules.secret()
_HOST_PATTERN = r"[A-Za-z0-9._\-:%]+|\[[A-Fa-f0-9:.%]+\]"
_HOST = rules.text("a host name or address", _HOST_PATTERN)
_REDIS_HOST = rules.text(
    "a host name, an address or the path of a socket", _HOST_PATTERN + r"|/[^\0@?]*"
)


def described(rule: Rule, doc: str) -> dict[str, object]:
    """Return the metadata of a setting: its rule and its description."""
    return {"rule": rule, "doc": doc}


def setting(default: Default, rule: Rule, doc: str) -> Default:
    """Return the attrs field of a setting without a converter."""
    return field(default=default, metadata=described(rule, doc))


def _name(others: str) -> Rule:
    # A driver parses a name with these characters as a complete address, password included.
    wanted = f"a name alone, without '://', '=' and '@'; {others} are settings of their own"
    return rules.text(wanted, r"(?!.*://)[^\x00-\x1f\x7f=@]+", 128)


# Users of some providers have an '@' in their names; with a ':' before it, it is an address.
_ROLE = rules.text(
    "a name alone, without '://', '=' and 'name:password@'; db_host and db_password are settings of "
    "their own",
    r"(?!.*://)(?![^@]*:.*@)[^\x00-\x1f\x7f=]+",
    128,
)


def _default_base() -> Path:
    from platformdirs import user_data_path

    try:
        return user_data_path("traffic-storage", appauthor=False)
    except RuntimeError as error:  # No HOME, and no entry in the table of users.
        raise ConfigurationError.of(
            "local_base_path",
            "is not set, and this user has no home folder in which it would be",
            "set it, as TRAFFIC_STORAGE_LOCAL_BASE_PATH or with --base-path",
        ) from error


@frozen(kw_only=True)
class StorageConfig:
    """All settings. The constructor uses only its arguments; `load` also reads the settings file
    and the environment.

    Every setting is optional: the defaults are a complete system with an SQLite file, blobs on
    the local disk and a cache in the process. Creating a configuration opens no connection.

    Raises:
        ConfigurationError: settings are wrong, unknown or incomplete; the error names all of them.
    """

    local_base_path: Path = field(
        factory=_default_base,
        converter=rules.as_folder,
        metadata=described(
            rules.FOLDER, "folder of all files that the system keeps on this machine"
        ),
    )
    strategy: StorageStrategy | None = field(
        default=None,
        converter=rules.as_strategy,
        metadata=described(
            rules.word_of(StorageStrategy),
            "how files are placed on tiers (local, cloud); unset: HYBRID with S3, else LOCAL_ONLY",
        ),
    )
    max_local_size_gb: float = setting(
        100.0, rules.number(1e-6, 1e9), "maximum size of all files on the local disk, in 10⁹ bytes"
    )
    local_reserve_gb: float = setting(
        0.25, rules.number(0, 1e9), "space that stays free on the local disk, in 10⁹ bytes"
    )
    max_cloud_size_gb: float | None = setting(
        None,
        rules.number(1e-6, 1e12),
        "maximum size of all files in each bucket, in 10⁹ bytes; unset: no limit",
    )

    db_host: str | None = field(
        default=None,
        converter=rules.as_hosts,
        metadata=described(
            rules.DB_HOSTS,
            "host of PostgreSQL or folder of its socket; of several hosts the primary is used; "
            "unset: SQLite",
        ),
    )
    db_port: int = setting(5432, _PORT, "port of PostgreSQL")
    db_name: str | None = setting(
        None, _name("db_host, db_user and db_password"), "name of the database"
    )
    db_user: str | None = setting(None, _ROLE, "user of the database")
    db_password: Secret | None = field(
        default=None,
        converter=rules.as_secret,
        metadata=described(_SECRET, "password of the database's user"),
    )
    db_schema: str | None = setting(
        None,
        rules.SCHEMA,
        "schema of the tables, made if missing, for a database that others use too; unset: the user's",
    )
    db_ssl_mode: SslMode | None = field(
        default=None,
        converter=rules.as_ssl_mode,
        metadata=described(
            rules.word_of(SslMode),
            "what TLS the database must have; unset: that of PGSSLMODE, or prefer, which goes on "
            "without TLS",
        ),
    )
    db_ca_file: Path | None = field(
        default=None,
        converter=rules.as_file,
        metadata=described(
            rules.FILE,
            "PEM file of the authorities that sign the database's certificate; unset: the system's",
        ),
    )
    db_cert_file: Path | None = field(
        default=None,
        converter=rules.as_file,
        metadata=described(
            rules.FILE, "PEM file of the certificate that the database asks its clients for"
        ),
    )
    db_key_file: Path | None = field(
        default=None,
        converter=rules.as_file,
        metadata=described(
            rules.FILE, "PEM file of the key of db_cert_file; unset: it is in the same file"
        ),
    )
    db_timeout_seconds: float = setting(2.0, _SECONDS, "longest wait for the database")
    db_pool_size: int = setting(
        8, rules.whole(2, 256), "maximum number of connections to the database"
    )

    s3_endpoint: str | None = field(
        default=None,
        converter=rules.without_slash,
        metadata=described(rules.URL, "address of the S3 service; unset: AWS"),
    )
    s3_access_key: Secret | None = field(
        default=None,
        converter=rules.as_secret,
        metadata=described(_SECRET, "access key of the S3 service"),
    )
    s3_secret_key: Secret | None = field(
        default=None,
        converter=rules.as_secret,
        metadata=described(_SECRET, "secret key of the S3 service"),
    )
    s3_session_token: Secret | None = field(
        default=None,
        converter=rules.as_secret,
        metadata=described(_SECRET, "token of temporary keys of the S3 service"),
    )
    s3_credentials: rules.S3Credentials = field(
        default=rules.S3Credentials.KEYS,
        converter=rules.as_credentials,
        metadata=described(
            rules.word_of(rules.S3Credentials),
            "keys: the settings s3_access_key and s3_secret_key; aws: the variables AWS_*, a profile, "
            "web identity, or the role of the machine",
        ),
    )
    s3_bucket: str = setting(
        "traffic-evidence", rules.BUCKET, "bucket for devices that no entry of s3_buckets matches"
    )
    s3_region: str = setting("us-east-1", rules.REGION, "region of the bucket")
    s3_buckets: tuple[BucketRoute, ...] = field(
        default=(),
        converter=rules.as_routes,
        metadata=described(
            rules.ROUTES,
            "buckets for patterns of device ids; the first entry that matches a device applies",
        ),
    )
    s3_prefix: str | None = setting(
        None, rules.PREFIX, "part of each bucket that is used; unset: all of it"
    )
    s3_virtual_hosted_style: bool = setting(
        False, rules.SWITCH, "whether the bucket is a part of the host's name, not of the path"
    )
    s3_ca_file: Path | None = field(
        default=None,
        converter=rules.as_file,
        metadata=described(
            rules.FILE, "PEM file of authorities that are trusted for S3 beside the system's"
        ),
    )
    s3_encryption: rules.S3Encryption | None = field(
        default=None,
        converter=rules.as_encryption,
        metadata=described(
            rules.word_of(rules.S3Encryption),
            "encryption that the S3 service is asked for (SSE-S3 or SSE-KMS); unset: that of the bucket",
        ),
    )
    s3_kms_key: str | None = setting(
        None, rules.KMS_KEY, "key of s3_encryption kms; unset: the account's own"
    )
    s3_checksum_headers: bool = setting(
        True,
        rules.SWITCH,
        "whether an upload states its SHA-256 in a header; without, it is read back",
    )
    s3_conditional_writes: bool = setting(
        True,
        rules.SWITCH,
        "whether the S3 service is asked to refuse an overwrite (If-None-Match)",
    )
    s3_timeout_seconds: float = setting(30.0, _SECONDS, "longest wait for a response of S3")

    redis_host: str | None = field(
        default=None,
        converter=rules.without_brackets,
        metadata=described(
            _REDIS_HOST, "host of Redis or path of its socket; unset: a cache in the process"
        ),
    )
    redis_port: int = setting(6379, _PORT, "port of Redis")
    redis_db: int = setting(0, rules.whole(0, 1023), "number of the Redis database")
    redis_cluster: bool = setting(False, rules.SWITCH, "whether Redis is a cluster")
    redis_username: str | None = setting(
        None, _name("redis_host and redis_password"), "user of Redis"
    )
    redis_password: Secret | None = field(
        default=None, converter=rules.as_secret, metadata=described(_SECRET, "password of Redis")
    )
    redis_tls: bool = setting(False, rules.SWITCH, "whether Redis is reached with TLS")
    redis_ca_file: Path | None = field(
        default=None,
        converter=rules.as_file,
        metadata=described(
            rules.FILE,
            "PEM file of the authorities that sign the certificate of Redis; unset: the system's",
        ),
    )
    redis_url: Secret | None = field(
        default=None,
        converter=rules.as_secret,
        metadata=described(
            rules.REDIS_URL,
            "whole address of Redis, instead of redis_host and the settings of its parts",
        ),
    )
    redis_timeout_seconds: float = setting(0.05, rules.number(0.001, 10), "longest wait for Redis")

    image_retention_days: int = setting(90, _DAYS, "days that images are kept")
    video_retention_days: int = setting(30, _DAYS, "days that videos are kept")
    metadata_retention_days: int = setting(365, _DAYS, "days that metadata is kept")
    max_deletion_share: float = setting(
        0.01, rules.number(0, 1), "share of the files that retention deletes without an override"
    )
    max_deletion_files: int = setting(
        10_000,
        rules.whole(0, 2**62),
        "number of files that retention deletes without an override, whatever their share",
    )
    retention_rules_file: Path | None = field(
        default=None,
        converter=rules.as_file,
        metadata=described(
            rules.FILE,
            "TOML file of further retention rules; `retention rules stage` shows what a change does",
        ),
    )
    migration_targets: Path | None = field(
        default=None,
        converter=rules.as_file,
        metadata=described(
            rules.FOLDER,
            "folder with a settings file NAME.toml for each target that POST /migrations may name",
        ),
    )
    earliest_capture: date = field(
        default=date(2000, 1, 2),
        converter=rules.as_date,
        metadata=described(
            rules.DATE,
            "earliest plausible capture date (UTC); if earlier, retention counts from receipt",
        ),
    )
    max_backdating: timedelta = field(
        default=timedelta(days=30),
        converter=rules.as_duration,
        metadata=described(
            rules.duration(timedelta(days=36_500)),
            "longest plausible time from capture to receipt; if longer, retention counts from receipt",
        ),
    )

    compression_enabled: bool = setting(True, rules.SWITCH, "whether JSON is compressed")
    parallel_uploads: int = setting(
        4, rules.whole(1, 256), "maximum number of files stored at the same time"
    )
    image_format: ImageFormat = field(
        default=ImageFormat.WEBP,
        converter=rules.as_format,
        metadata=described(rules.word_of(ImageFormat), "format in which image arrays are encoded"),
    )
    image_quality: int = setting(80, rules.whole(1, 100), "quality of encoded image arrays")
    image_effort: int = setting(
        0, rules.whole(0, 6), "effort of the WebP encoder; more effort gives smaller files"
    )
    image_lossless: bool = setting(
        False, rules.SWITCH, "whether image arrays are encoded without loss (webp, png)"
    )
    image_formats: tuple[StillFormat, ...] = field(
        default=USUAL_FORMATS,
        converter=rules.as_still_formats,
        metadata=described(
            rules.list_of(rules.word_of(StillFormat), bool, ", at least one"),
            "formats in which encoded images are accepted; heic needs the extra `heic`",
        ),
    )
    accept_unknown_video: bool = setting(
        False, rules.SWITCH, "whether videos in unknown containers are accepted"
    )
    accept_damaged_video: bool = setting(
        False,
        rules.SWITCH,
        "whether videos that are cut or damaged behind their first frame are stored as they are",
    )
    verify_images: VerifyImages = field(
        default=VerifyImages.ALWAYS,
        converter=rules.as_verify_images,
        metadata=described(
            rules.word_of(VerifyImages),
            "which encoded images are decoded before they are stored; unless_vouched: a JPEG that comes "
            "with its SHA-256 is decoded afterwards by a job, which opens an incident if it is damaged",
        ),
    )
    validate_on_store: ValidationMode = field(
        default=ValidationMode.OFF,
        converter=rules.as_validation_mode,
        metadata=described(
            rules.word_of(ValidationMode),
            "whether images, videos and violation records are judged when they are stored, and the "
            "result is kept with the file; refuse: what has an error is not stored",
        ),
    )
    profiles_file: Path | None = field(
        default=None,
        converter=rules.as_file,
        metadata=described(
            rules.FILE, "TOML file of completeness profiles: what evidence must have to be exported"
        ),
    )
    evidence_profile: tuple[str, ...] = field(
        default=(),
        converter=rules.as_words,
        metadata=described(
            rules.list_of(rules.PROFILE),
            "completeness profiles that violations in an evidence package must meet, at most one for "
            "each type of violation",
        ),
    )
    max_image_bytes: int = setting(64 * MIB, _BYTES, "largest image that is accepted")
    max_video_bytes: int = setting(8192 * MIB, _BYTES, "largest video that is accepted")
    max_metadata_bytes: int = setting(16 * MIB, _BYTES, "largest metadata that is accepted")
    max_pixels: int = setting(
        100_000_000, rules.whole(1, 16_383 * 16_383), "maximum number of pixels of an image"
    )
    timezone: str = setting("UTC", rules.ZONE, "time zone of times without a zone")
    max_clock_ahead: timedelta = field(
        default=timedelta(hours=24),
        converter=rules.as_duration,
        metadata=described(
            rules.duration(timedelta(days=366)), "how far in the future a capture time may be"
        ),
    )

    high_water: float = setting(
        0.85,
        rules.number(0, 1),
        "share of max_local_size_gb above which files leave it, and LOCAL_THEN_CLOUD uses the cloud",
    )
    low_water: float = setting(
        0.75,
        rules.number(0, 1),
        "share of max_local_size_gb below which no file leaves any more; at most high_water",
    )
    evidence_reserve_share: float = setting(
        0.02,
        rules.number(0, 0.5),
        "share of each limited store that only evidence of violations may use; other files are "
        "refused before it is full",
    )
    warn_days_before_full: float = setting(
        14.0,
        rules.number(0, 3650),
        "operators are told when a store will be full within this number of days",
    )
    alert_usage_percent: float = setting(
        90.0,
        rules.number(1, 100),
        "operators are told when so many percent of what a store can hold are used; the alert ends "
        "5 points below",
    )
    move_days_before_full: float = setting(
        2.0,
        rules.number(0, 3650),
        "copies that are proven good elsewhere leave a store that will be full within this number "
        "of days",
    )
    promote_reads: int = setting(
        8,
        rules.whole(0, 1_000_000),
        "reads within an hour after which a file that is only in the cloud gets a local copy; 0: never",
    )
    copy_parallel: int = setting(
        4,
        rules.whole(1, 256),
        "maximum number of copies of files that are written at the same time",
    )
    fixity_days: int = setting(
        30,
        rules.whole(1, 3650),
        "time in which every copy of a file is verified: all its bytes are read and hashed",
    )
    fixity_bytes_per_second: int = setting(
        50_000_000,
        rules.whole(0, 10**12),
        "the most bytes a second that a process reads for periodic verification; 0: no limit",
    )
    copy_bytes_per_second: int = setting(
        0, rules.whole(0, 2**40), "average bytes copied between stores per second; 0: no limit"
    )
    hybrid_large_bytes: int = setting(16 * MIB, _BYTES, "size above which HYBRID uses the cloud")
    hybrid_local_kinds: tuple[FileKind, ...] = field(
        default=(FileKind.IMAGE, FileKind.METADATA),
        converter=rules.as_kinds,
        metadata=described(
            rules.list_of(rules.word_of(FileKind)),
            "kinds of files that HYBRID stores locally first",
        ),
    )

    cache_max_bytes: int = setting(64 * MIB, _BYTES, "maximum size of the cache in the process")
    cache_item_bytes: int = setting(512 * 1024, _BYTES, "largest item of the cache")
    cache_ttl_seconds: float = setting(
        3600.0, rules.number(0.001, 31_536_000), "how long an item stays in the cache, in seconds"
    )
    local_cache_gb: float = setting(
        10.0,
        rules.number(0, 1e9),
        "maximum size of the cache of CLOUD_WITH_CACHE in each process, in 10⁹ bytes",
    )
    local_cache_item_bytes: int = setting(
        64 * MIB, _BYTES, "largest file in the local cache of CLOUD_WITH_CACHE"
    )

    disk_timeout_seconds: float = setting(
        5.0,
        _SECONDS,
        "longest wait for one call to a local disk, and a second more for each 4 MiB of a file that is "
        "written, or for a catalogue in SQLite beyond its own limits; then the disk counts as "
        "unavailable until the call ends",
    )
    attempt_timeout_seconds: float = setting(
        600.0,
        rules.number(1, 86_400),
        "longest time that storing a file, or a violation with its files, may take",
    )
    workers: int = setting(
        1,
        rules.whole(0, 64),
        "number of workers in a server or an opened service, each of which does up to 4 jobs at a "
        "time; 0: jobs are left to other processes",
    )
    sweep_interval_seconds: float = setting(
        60.0,
        rules.number(0.01, 86_400),
        "time between two sweeps, which undo interrupted storing operations; also the time between "
        "two checks of the stores by a process",
    )
    keep_jobs_days: int = setting(
        30, rules.whole(1, 3650), "how long a job is listed after it has ended"
    )
    keep_events_days: int = setting(
        90, rules.whole(1, 3650), "how long an event (what happened to files and holds) is kept"
    )
    export_location: str | None = setting(
        None,
        rules.LOCATION,
        "where the files of exports and analyses that jobs make are kept; unset: below "
        "local_base_path. In a bucket of evidence or snapshots: s3://BUCKET/exports",
    )
    keep_exports_days: int = setting(
        7, rules.whole(1, 3650), "how long the file of an export or analysis of a job is kept"
    )
    keep_reviews_days: int = setting(
        30,
        rules.whole(1, 3650),
        "how long plans of retention and staged changes of its rules are kept",
    )
    deletion_grace_days: int = setting(
        7,
        rules.whole(0, 3650),
        "how long a deleted file can be undeleted; 0: it is erased at once",
    )
    purge_interval_seconds: float = setting(
        600.0,
        rules.number(0.01, 86_400),
        "time between two purges, which erase deleted files whose grace has ended",
    )

    reconcile_interval_hours: float = setting(
        24.0,
        rules.number(0.01, 8760),
        "time between two comparisons of a store with the catalogue",
    )
    reconcile_max_share: float = setting(
        0.05,
        rules.number(0, 1),
        "share of a store's files up to which a comparison acts on differences; with more, and "
        "more than reconcile_max_count, it changes nothing",
    )
    reconcile_max_count: int = setting(
        100,
        rules.whole(0, 1_000_000_000),
        "number of differences up to which a comparison always acts on them",
    )
    quarantine_days: int = setting(
        30,
        rules.whole(1, 3650),
        "how long a blob that no file in the catalogue explains, and that is not needed, is kept",
    )

    prices: tuple[Price, ...] = field(
        default=(),
        converter=rules.as_prices,
        metadata=described(
            rules.PRICES, "price of 10⁹ bytes a month in each tier, for the costs in analyses"
        ),
    )
    currency: str = setting("EUR", rules.CURRENCY, "currency of prices")
    snapshot_location: str | None = setting(
        None,
        rules.LOCATION,
        "where snapshots are; unset: snapshots in s3_bucket, or without S3 below local_base_path",
    )
    snapshot_schedule: SnapshotSchedule = field(
        default=SnapshotSchedule.OFF,
        converter=rules.as_snapshot_schedule,
        metadata=described(
            rules.word_of(SnapshotSchedule), "how often a snapshot is made by itself"
        ),
    )
    snapshot_database: bool = setting(
        True,
        rules.SWITCH,
        "whether a snapshot also has a backup of the whole database, for `snapshot restore-database`",
    )
    snapshot_keep: int = setting(
        7, rules.whole(1, 10_000), "how many of the snapshots that a schedule makes are kept"
    )
    snapshot_max_age_days: int = setting(
        30,
        rules.whole(1, 3650),
        "how long a snapshot pins its files, and how long one that a schedule makes is kept; the "
        "newest one is kept longer",
    )

    public_url: str = field(
        default="http://localhost:8001",
        converter=rules.without_slash,
        metadata=described(rules.URL, "address at which clients reach the service"),
    )
    url_signing_key: Secret | None = field(
        default=None,
        converter=rules.as_secret,
        metadata=described(
            rules.secret(MIN_KEY_BYTES),
            "key that signs access URLs; unset: a key file under local_base_path",
        ),
    )
    max_url_expiry_seconds: int = setting(
        604_800, rules.whole(1, 31_536_000), "longest validity of an access URL"
    )
    api_keys: tuple[str, ...] = field(
        default=(),
        converter=rules.as_list,
        repr=lambda keys: f"<{len(keys)} digests>",
        metadata=described(rules.API_KEYS, "lines that register the accepted API keys"),
    )
    api_keys_file: Path | None = field(
        default=None,
        converter=rules.as_file,
        metadata=described(
            rules.FILE,
            "file of lines that register API keys; changes take effect without a restart",
        ),
    )
    open_access: bool = setting(False, rules.SWITCH, "whether requests are accepted without a key")
    allowed_hosts: tuple[str, ...] = field(
        default=(),
        converter=rules.as_words,
        metadata=described(
            rules.HOSTS,
            "further names of the service that a request without a key may have as its Host, beside "
            "localhost and, with open_access, that of public_url and addresses",
        ),
    )
    cors_origins: tuple[str, ...] = field(
        default=(),
        converter=rules.as_words,
        metadata=described(
            rules.ORIGINS,
            "origins of other sites whose pages may send requests from a browser and read the "
            "responses (CORS)",
        ),
    )
    max_concurrent_requests: int = setting(
        64, rules.whole(1, 65_536), "maximum number of requests served at the same time"
    )
    keep_alive_seconds: int = setting(
        75,
        rules.whole(1, 86_400),
        "how long a connection is kept open for the next request; longer than a proxy in front keeps "
        "its own",
    )
    request_idle_timeout_seconds: float = setting(
        30.0, _SECONDS, "longest pause of a client while it sends a request, or takes a response"
    )
    min_upload_bytes_per_second: int = setting(
        1024, rules.whole(0, 2**32), "slowest upload that is accepted; 0: any"
    )

    def __new__(cls, *_args: object, **given: object) -> Self:
        if unknown := [unknown_setting(name, NAMES) for name in given if name not in NAMES]:
            raise ConfigurationError([*unknown, *_also_wrong(cls, given, unknown)])
        return super().__new__(cls)

    def __attrs_post_init__(self) -> None:
        values = {name: getattr(self, name) for name in NAMES}
        if problems := [*_wrong_values(values), *self._contradictions()]:
            raise ConfigurationError(problems)

    @classmethod
    def load(
        cls,
        path: str | PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        overrides: Mapping[str, object] | None = None,
    ) -> Self:
        """Load the settings from `overrides`, `TRAFFIC_STORAGE_*` variables and a TOML file, in
        this order of precedence.

        A secret may be in a file of its own, which `db_password_file = "…"` or
        `TRAFFIC_STORAGE_DB_PASSWORD_FILE` names. The settings file is `path`, else the file that
        TRAFFIC_STORAGE_CONFIG names, else `config.toml` in the user's configuration folder; only
        this last one may be missing. `env` defaults to `os.environ`; empty variables count as
        unset.

        Raises:
            ConfigurationError: the file can't be read, or settings are wrong, unknown or
                incomplete; the error names all of them, each with its file or variable.
        """
        return cls.of(*collect(fields_dict(cls), path, env, overrides))

    @classmethod
    def of(cls, given: Mapping[str, Given], problems: Sequence[FieldProblem] = ()) -> Self:
        """Build the settings from the values of all sources; raise the sources' `problems`, if any.

        Raises:
            ConfigurationError: as for `load`.
        """
        values = {name: entry.value for name, entry in given.items()}
        # The constructor can't tell a default value from one that is given.
        problems = [*problems, *(with_source(one, given) for one in _beside_redis_url(given))]
        if not problems:
            try:
                return cls(**values)  # type: ignore[arg-type]
            except ConfigurationError as error:
                problems = [with_source(problem, given) for problem in error.problems]
        else:
            others = _also_wrong(cls, values, problems)
            problems += [with_source(problem, given) for problem in others]
        raise ConfigurationError(list(dict.fromkeys(problems)))

    @property
    def snapshot_bucket(self) -> str | None:
        """The bucket of snapshots and the part of it, `bucket/part`; None: they are on disk."""
        if self.snapshot_location is None:
            part = f"{self.s3_prefix}/snapshots" if self.s3_prefix else "snapshots"
            return f"{self.s3_bucket}/{part}" if self.cloud_configured else None
        bucket = self.snapshot_location.removeprefix(_S3)
        return None if bucket == self.snapshot_location else bucket

    @property
    def snapshots_beside_evidence(self) -> bool:
        """Whether snapshots are below `local_base_path`, and are lost with its disk."""
        if self.snapshot_bucket is not None:
            return False
        return self.snapshot_folder.resolve().is_relative_to(self.local_base_path.resolve())

    @property
    def export_bucket(self) -> str | None:
        """The bucket of the exports of jobs and the part of it; None: they are on disk."""
        location = self.export_location or ""
        return location.removeprefix(_S3) if location.startswith(_S3) else None

    @property
    def export_folder(self) -> Path:
        """The folder of the exports of jobs, if they are on disk."""
        return Path(self.export_location or self.local_base_path / "exports")

    @property
    def buckets_of_evidence(self) -> frozenset[str]:
        """The buckets in which evidence or snapshots are."""
        snapshots = (self.snapshot_bucket or self.s3_bucket).partition("/")[0]
        # A route of another type is reported by the rule of the setting.
        routes = (getattr(one, "bucket", "") for one in self.s3_buckets)
        return frozenset({self.s3_bucket, snapshots, *routes})

    @property
    def snapshot_folder(self) -> Path:
        """The folder of snapshots, if they are on disk."""
        return Path(self.snapshot_location or self.local_base_path / "snapshots")

    @property
    def cloud_configured(self) -> bool:
        """Whether the settings include a cloud tier."""
        has_keys = bool(self.s3_access_key and self.s3_secret_key)
        return has_keys or self.s3_credentials is rules.S3Credentials.AWS

    @property
    def redis(self) -> "RedisAddress | None":
        """The address of Redis, from `redis_url` or the single settings; None: no Redis is used.

        Raises:
            ConfigurationError: the file of `redis_url` was changed and holds no such URL now.
        """
        if self.redis_url is not None:
            found = rules.redis_url_of(self.redis_url.reveal())
            if found is None:
                problem = FieldProblem("redis_url", f"must be {rules.REDIS_URL.wanted}")
                raise ConfigurationError([problem])
            return found
        if self.redis_host is None:
            return None
        from traffic_storage.adapters.cache.redis.url import RedisAddress

        return RedisAddress(
            self.redis_host,
            self.redis_port,
            self.redis_db,
            self.redis_username,
            self.redis_password.reveal() if self.redis_password else None,
            self.redis_tls,
        )

    @property
    def has_redis(self) -> bool:
        """Whether Redis is the cache; without it the cache is in this process."""
        return self.redis_host is not None or self.redis_url is not None

    @property
    def sqlite_file(self) -> Path:
        """The path of the SQLite file of the catalogue, which is used if `db_host` is unset."""
        return self.local_base_path / "catalogue.sqlite3"

    def effective_strategy(self, argument: StorageStrategy | str | None = None) -> StorageStrategy:
        """Return the strategy to use: the argument if given, else the setting `strategy`.

        If neither is given, the strategy is HYBRID if S3 is configured, else LOCAL_ONLY.

        Raises:
            ConfigurationError: there is no such strategy, or settings that it needs are missing.
        """
        strategy = rules.as_strategy(argument) or self.strategy
        if strategy is None:
            return StorageStrategy.HYBRID if self.cloud_configured else StorageStrategy.LOCAL_ONLY
        if problems := list(_wrong_values({"strategy": strategy})):
            raise ConfigurationError(problems)
        if missing := self.missing_for(strategy):
            raise missing
        return strategy

    def missing_for(self, strategy: StorageStrategy) -> ConfigurationError | None:
        """Return an error that names the settings which a strategy needs and which are not set.

        Returns None if no setting is missing.
        """
        if not strategy.needs_cloud or self.cloud_configured:
            return None
        names = [name for name in _S3_KEYS if getattr(self, name) is None]
        if len(names) == len(_S3_KEYS):
            why = f"{strategy} needs a cloud tier"
            return ConfigurationError([_without_credentials(why)])
        return ConfigurationError(
            FieldProblem(name, f"is missing, and {strategy} needs a cloud tier", f"set {name}")
            for name in names
        )

    @property
    def max_local_bytes(self) -> int:
        """The maximum total size of all files on the local disk, in bytes."""
        return int(self.max_local_size_gb * GB)

    @property
    def local_reserve_bytes(self) -> int:
        """The space that stays free on the local disk, in bytes."""
        return int(self.local_reserve_gb * GB)

    @property
    def max_cloud_bytes(self) -> int | None:
        """The maximum total size of the files in each bucket, in bytes; None if there is no limit."""
        return None if self.max_cloud_size_gb is None else int(self.max_cloud_size_gb * GB)

    @property
    def local_cache_bytes(self) -> int:
        """The maximum total size of cached copies on the local disk, in bytes."""
        return int(self.local_cache_gb * GB)

    @property
    def retention(self) -> RetentionPeriods:
        """The retention periods of the three kinds of files: the first retention rules."""
        return RetentionPeriods(
            image=timedelta(days=self.image_retention_days),
            video=timedelta(days=self.video_retention_days),
            metadata=timedelta(days=self.metadata_retention_days),
        )

    @property
    def thresholds(self) -> Thresholds:
        """The limits by which a strategy chooses stores, and by which files leave the local disk."""
        return Thresholds(
            high_water=self.high_water,
            low_water=min(self.low_water, self.high_water),
            large_bytes=self.hybrid_large_bytes,
            hybrid_local_kinds=frozenset(self.hybrid_local_kinds),
            cache_item_bytes=self.local_cache_item_bytes,
        )

    @property
    def encoding(self) -> Encoding:
        """The format and quality in which arrays are stored."""
        return Encoding(
            self.image_format, self.image_quality, self.image_effort, self.image_lossless
        )

    @property
    def zone(self) -> ZoneInfo:
        """The zone in which naive times are interpreted."""
        return ZoneInfo(self.timezone)

    def _location_contradictions(self) -> Iterator[FieldProblem]:
        for name in ("snapshot_location", "export_location"):
            if str(getattr(self, name)).startswith(_S3) and not self.cloud_configured:
                message = "is in a bucket, and no credentials of S3 are given"
                remedy = "set s3_access_key and s3_secret_key, or s3_credentials, or name a folder"
                yield FieldProblem(name, message, remedy)
        yield from self._folders_of_the_store()
        bucket, _, part = (self.export_bucket or "").partition("/")
        if bucket and bucket in self.buckets_of_evidence and part.partition("/")[0] != "exports":
            message = "is in a bucket with evidence or snapshots, and not below exports"
            remedy = f"give s3://{bucket}/exports, or another bucket"
            yield FieldProblem("export_location", message, remedy)

    def _folders_of_the_store(self) -> Iterator[FieldProblem]:
        """Yield each location in a folder that the service itself fills and empties."""
        # A value of another type is reported by the rule of the setting.
        base = Path(str(self.local_base_path))
        for name in ("snapshot_location", "export_location"):
            place = str(getattr(self, name) or "")
            if not place or place.startswith(_S3):
                continue
            for folder in (base / own for own in _OWN_FOLDERS):
                if Path(place).resolve().is_relative_to(folder.resolve()):
                    message = f"is in {str(folder)!r}, a folder of the service itself"
                    yield FieldProblem(name, message, "name another folder, best on another disk")

    def _contradictions_of_s3(self, given: Collection[str]) -> Iterator[FieldProblem]:
        given_of_s3 = [name for name in _OF_S3 if name in given]
        is_aws = "s3_credentials" in given and self.s3_credentials is rules.S3Credentials.AWS
        if given_of_s3 and not is_aws and not any(name in given for name in _S3_KEYS):
            yield _without_credentials(f"given are {', '.join(given_of_s3)}")
        if is_aws and (keys := [name for name in (*_S3_KEYS, "s3_session_token") if name in given]):
            yield FieldProblem(
                "s3_credentials", f"contradicts {', '.join(keys)}", "leave out one of the two"
            )
        if self.s3_kms_key is not None and self.s3_encryption is not rules.S3Encryption.KMS:
            yield FieldProblem("s3_kms_key", "needs s3_encryption kms", 'set s3_encryption = "kms"')

    def _contradictions_of_tls(self, given: Collection[str]) -> Iterator[FieldProblem]:
        unused = {
            SslMode.DISABLE: ("db_ca_file", "db_cert_file", "db_key_file"),
            SslMode.PREFER: ("db_ca_file",),
        }
        for name in unused.get(self.db_ssl_mode or SslMode.REQUIRE, ()):
            if name in given:
                message = f"is not used with db_ssl_mode {self.db_ssl_mode}"
                yield FieldProblem(name, message, f"set db_ssl_mode to {SslMode.VERIFY_FULL}")

    def _contradictions(self) -> Iterator[FieldProblem]:
        given = {n for n, a in fields_dict(type(self)).items() if getattr(self, n) != a.default}
        yield from _beside_redis_url(given)
        # A value of another type is reported by the rule of the setting.
        url = self.redis_url.reveal() if isinstance(self.redis_url, Secret) else ""
        by_url = rules.redis_url_of(url) if url else None
        if self.redis_url is not None:
            given |= {"redis_host"}
        if by_url is not None and by_url.tls:
            given |= {"redis_tls"}
        yield from self._contradictions_of_s3(given)
        for needed, causes in _NEEDS.items():
            if needed not in given and (found := [name for name in causes if name in given]):
                others = ", ".join(found)
                remedy = f"set {needed}, or leave out {others}"
                yield FieldProblem(needed, f"{_MISSING}; needed with {others}", remedy)
        if self.redis_cluster is True and "redis_db" in given:
            yield FieldProblem(
                "redis_db", "can't be set: a Redis cluster has only database 0", "leave it out"
            )
        if self.redis_cluster is True and by_url and (by_url.db or by_url.host.startswith("/")):
            message = "names a socket or a database, which a Redis cluster does not have"
            yield FieldProblem("redis_url", message, "leave out redis_cluster")
        if str(self.redis_host).startswith("/") and {"redis_tls", "redis_cluster"} & given:
            message = "is a socket, which supports neither TLS nor a cluster"
            yield FieldProblem("redis_host", message, "leave out redis_tls and redis_cluster")
        yield from self._contradictions_of_tls(given)
        yield from self._location_contradictions()
        if self.image_lossless is True and self.image_format is ImageFormat.JPEG:
            yield FieldProblem(
                "image_lossless", "must be false: JPEG can't be lossless", "use webp or png"
            )
        if self.open_access is True and not {"api_keys", "api_keys_file"}.isdisjoint(given):
            message = "contradicts API keys: if they are set, each request needs a key"
            yield FieldProblem("open_access", message, "leave out open_access or the API keys")


def _beside_redis_url(names: Iterable[str]) -> Iterator[FieldProblem]:
    """Yield a problem for each setting that gives a part of the address beside `redis_url`."""
    if "redis_url" in names:
        for name in PARTS_OF_REDIS_URL:
            if name in names:
                message = "is given twice: directly and by redis_url"
                yield FieldProblem(name, message, "leave out one of the two")


def _also_wrong(
    settings: type[StorageConfig], given: Mapping[str, object], problems: Sequence[FieldProblem]
) -> Sequence[FieldProblem]:
    """Return the problems of settings that have others already, as names that are none.

    A setting is not told as missing if it is one of those that have a problem, or is probably meant
    by one.
    """
    known = {name: value for name, value in given.items() if name in NAMES}
    try:
        settings(**known)  # type: ignore[arg-type]
    except ConfigurationError as error:
        told = " ".join(f"{one.field} {one.remedy}" for one in problems).lower()
        return [
            one
            for one in error.problems
            if not (one.message.startswith(_MISSING) and one.field in told)
        ]
    return ()


def _wrong_values(given: Mapping[str, object]) -> Iterator[FieldProblem]:
    """Yield the problems of single values; skip names that are not settings."""
    for name, value in given.items():
        attribute = fields_dict(StorageConfig).get(name)
        if attribute is not None and (value is not None or attribute.default is not None):
            convert: Any = attribute.converter
            yield from rule_of(attribute).problems(name, convert(value) if convert else value)


def rule_of(attribute: "Attribute[Any]") -> Rule:
    """Return the rule of a setting, which describes what its value must be."""
    rule: Rule = attribute.metadata["rule"]
    return rule


def _without_credentials(why: str) -> FieldProblem:
    """Return the problem that S3 is to be used, and no credentials are named."""
    return FieldProblem(
        "s3_credentials",
        f"must be aws where no keys of S3 are given; {why}",
        'set both keys, or s3_credentials = "aws" for those that the tools of AWS use',
    )


_MISSING = "is missing"
_S3_KEYS = ("s3_access_key", "s3_secret_key")
_OF_S3 = ("s3_endpoint", "s3_bucket", "s3_region", "s3_buckets", "s3_prefix")
_NEEDS = {
    "db_host": ("db_name", "db_user", "db_password", "db_port", "db_schema", "db_ssl_mode"),
    "db_ssl_mode": ("db_ca_file", "db_cert_file", "db_key_file"),
    "db_cert_file": ("db_key_file",),
    "db_name": ("db_host",),
    "db_user": ("db_host",),
    "redis_host": (
        "redis_port",
        "redis_db",
        "redis_cluster",
        "redis_username",
        "redis_password",
        "redis_tls",
        "redis_ca_file",
    ),
    "redis_tls": ("redis_ca_file",),
    "redis_password": ("redis_username",),
    "s3_access_key": ("s3_secret_key", "s3_session_token"),
    "s3_secret_key": ("s3_access_key", "s3_session_token"),
}
"""Maps each required setting to the settings that need it."""

NAMES = tuple(fields_dict(StorageConfig))
SECRETS = tuple(n for n, a in fields_dict(StorageConfig).items() if rule_of(a).kind is Secret)
