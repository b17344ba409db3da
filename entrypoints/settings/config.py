"""`StorageConfig`: every setting of the system, its default, what it may be, and what it is for."""

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from os import PathLike
from pathlib import Path
from typing import Self
from zoneinfo import ZoneInfo

from attrs import evolve, field, fields, fields_dict, frozen

from traffic_storage.domain.access import MIN_KEY_BYTES
from traffic_storage.domain.encoding import Encoding, ImageFormat
from traffic_storage.domain.errors import ConfigurationError, FieldProblem
from traffic_storage.domain.files import FileKind
from traffic_storage.domain.placement import StorageStrategy, Thresholds
from traffic_storage.domain.retention import RetentionPeriods
from traffic_storage.entrypoints.settings.kinds import (
    BUCKET,
    REGION,
    ApiKeys,
    BucketRoute,
    Choice,
    Choices,
    Duration,
    Folder,
    Kind,
    Number,
    Routes,
    Secret,
    Switch,
    Text,
    Url,
    Whole,
    Zone,
    as_duration,
    as_folder,
    as_routes,
    as_tuple,
    as_words,
    chosen,
    kind_of,
    unknown_word,
    without_slash,
)
from traffic_storage.entrypoints.settings.sources import collect, unknown_setting

GB = 1000**3
MIB = 1024**2
MASK = "********"

_DAYS = Whole(1, 36_500)
_PORT = Whole(1, 65_535)
_HOST = Text("a host name or address", r"[A-Za-z0-9._\-:%]+|\[[A-Fa-f0-9:.%]+\]", 255)
_DB_HOST = Text(
    "a host name, an address or the folder of a socket",
    r"[A-Za-z0-9._\-:%]+|\[[A-Fa-f0-9:.%]+\]|/[^\0@?]*",
    255,
)
# What a driver would take for a whole address, with its password in it, is no name: names are shown.
_NAME_PATTERN = r"(?!.*://)[^\x00-\x1f\x7f=@]+"
_DB_NAME = Text(
    "a bare name, without control characters, '://', '=' and '@'",
    _NAME_PATTERN,
    128,
    "give the name alone; db_host, db_user and db_password have settings of their own",
)
_REDIS_NAME = evolve(
    _DB_NAME,
    remedy="give the name alone; redis_host and redis_password have settings of their own",
)
_SECONDS = Number(0.001, 86_400)
_BYTES = Whole(0, 2**62)


def _about(doc: str, kind: Kind, *, secret: bool = False) -> dict[str, object]:
    return {"doc": doc, "kind": kind, "secret": secret}


def _default_base() -> Path:
    from platformdirs import user_data_path

    return user_data_path("traffic-storage", appauthor=False)


def _masked(value: object) -> str:
    return repr(MASK) if value else repr(value)


def _as_strategy(value: StorageStrategy | str | None) -> StorageStrategy | None:
    return chosen(StorageStrategy, value)  # type: ignore[return-value]


def _as_format(value: ImageFormat | str) -> ImageFormat:
    return chosen(ImageFormat, value)  # type: ignore[return-value]


def _as_kinds(value: Iterable[FileKind | str]) -> tuple[FileKind, ...]:
    return as_words(FileKind, value)


@frozen(kw_only=True)
class StorageConfig:
    """All settings. It takes exactly what it is given; `load` reads file and environment.

    Everything is optional: alone it is a complete system with an SQLite file, blobs on local disk
    and a cache in the process. Constructing one connects to nothing.

    Raises:
        ConfigurationError: one or more settings are wrong, unknown or half given; all are named.
    """

    local_base_path: Path = field(
        factory=_default_base,
        converter=as_folder,
        metadata=_about("folder of all that is kept on this machine", Folder()),
    )
    strategy: StorageStrategy | None = field(
        default=None,
        converter=_as_strategy,
        metadata=_about(
            "how files are spread over the tiers; unset: HYBRID with S3, else LOCAL_ONLY",
            Choice(StorageStrategy),
        ),
    )
    max_local_size_gb: float = field(
        default=100.0,
        metadata=_about("most that files on local disk may occupy, 10⁹ bytes", Number(1e-6, 1e9)),
    )
    local_reserve_gb: float = field(
        default=0.25,
        metadata=_about("what must stay free on the local disk, 10⁹ bytes", Number(0, 1e9)),
    )
    max_cloud_size_gb: float | None = field(
        default=None,
        metadata=_about(
            "most that files in each bucket may occupy, 10⁹ bytes; unset: no limit",
            Number(1e-6, 1e12),
        ),
    )

    db_host: str | None = field(
        default=None,
        metadata=_about(
            "host of PostgreSQL (or folder of its socket); unset: an SQLite file", _DB_HOST
        ),
    )
    db_port: int = field(default=5432, metadata=_about("port of PostgreSQL", _PORT))
    db_name: str | None = field(default=None, metadata=_about("name of the database", _DB_NAME))
    db_user: str | None = field(default=None, metadata=_about("user of the database", _DB_NAME))
    db_password: str | None = field(
        default=None,
        repr=_masked,
        metadata=_about("password of the database's user", Secret(), secret=True),
    )
    db_timeout_seconds: float = field(
        default=2.0, metadata=_about("longest wait for the database", _SECONDS)
    )
    db_pool_size: int = field(
        default=8, metadata=_about("connections to the database, at most", Whole(2, 256))
    )

    s3_endpoint: str | None = field(
        default=None,
        converter=without_slash,
        metadata=_about("address of the S3 service; unset: AWS", Url()),
    )
    s3_access_key: str | None = field(
        default=None,
        repr=_masked,
        metadata=_about("access key of the S3 service", Secret(), secret=True),
    )
    s3_secret_key: str | None = field(
        default=None,
        repr=_masked,
        metadata=_about("secret key of the S3 service", Secret(), secret=True),
    )
    s3_bucket: str = field(
        default="traffic-evidence", metadata=_about("bucket of all devices without a route", BUCKET)
    )
    s3_region: str = field(default="us-east-1", metadata=_about("region of the bucket", REGION))
    s3_buckets: tuple[BucketRoute, ...] = field(
        default=(),
        converter=as_routes,
        metadata=_about(
            "buckets by device: device_pattern, bucket, region, endpoint; the first match wins",
            Routes(),
        ),
    )
    s3_timeout_seconds: float = field(
        default=30.0, metadata=_about("longest wait for one answer of S3", _SECONDS)
    )

    redis_host: str | None = field(
        default=None, metadata=_about("host of Redis; unset: a cache in the process", _HOST)
    )
    redis_port: int = field(default=6379, metadata=_about("port of Redis", _PORT))
    redis_db: int = field(
        default=0, metadata=_about("number of the Redis database", Whole(0, 1023))
    )
    redis_cluster: bool = field(
        default=False, metadata=_about("whether Redis is a cluster", Switch())
    )
    redis_username: str | None = field(default=None, metadata=_about("user of Redis", _REDIS_NAME))
    redis_password: str | None = field(
        default=None,
        repr=_masked,
        metadata=_about("password of Redis", Secret(), secret=True),
    )
    redis_timeout_seconds: float = field(
        default=0.05, metadata=_about("longest wait for Redis", Number(0.001, 10))
    )

    image_retention_days: int = field(
        default=90, metadata=_about("days that images are kept, from capture", _DAYS)
    )
    video_retention_days: int = field(
        default=30, metadata=_about("days that videos are kept, from capture", _DAYS)
    )
    metadata_retention_days: int = field(
        default=365, metadata=_about("days that metadata is kept, from capture", _DAYS)
    )

    compression_enabled: bool = field(
        default=True, metadata=_about("whether JSON is stored compressed (never media)", Switch())
    )
    parallel_uploads: int = field(
        default=4, metadata=_about("files that are stored at the same time", Whole(1, 256))
    )
    image_format: ImageFormat = field(
        default=ImageFormat.WEBP,
        converter=_as_format,
        metadata=_about("format in which arrays are encoded", Choice(ImageFormat)),
    )
    image_quality: int = field(
        default=80, metadata=_about("quality of encoded arrays, 1 to 100", Whole(1, 100))
    )
    image_effort: int = field(
        default=0,
        metadata=_about("effort of the WebP encoder, 0 to 6: smaller and slower", Whole(0, 6)),
    )
    image_lossless: bool = field(
        default=False,
        metadata=_about("whether arrays keep their exact pixels (webp and png)", Switch()),
    )
    accept_unknown_video: bool = field(
        default=False,
        metadata=_about("whether videos of an unknown container are accepted", Switch()),
    )
    max_image_bytes: int = field(
        default=64 * MIB, metadata=_about("largest image that is accepted", _BYTES)
    )
    max_video_bytes: int = field(
        default=8192 * MIB, metadata=_about("largest video that is accepted", _BYTES)
    )
    max_metadata_bytes: int = field(
        default=16 * MIB, metadata=_about("largest metadata that is accepted", _BYTES)
    )
    max_pixels: int = field(
        default=100_000_000,
        metadata=_about("most pixels of an image", Whole(1, 16_383 * 16_383)),
    )
    timezone: str = field(
        default="UTC", metadata=_about("zone in which times without one are read", Zone())
    )
    max_clock_ahead: timedelta = field(
        default=timedelta(hours=24),
        converter=as_duration,
        metadata=_about(
            "how far a time may lie in the future, as 24h",
            Duration(timedelta(0), timedelta(days=366)),
        ),
    )

    high_water: float = field(
        default=0.85,
        metadata=_about(
            "share of max_local_size_gb above which LOCAL_THEN_CLOUD goes to the cloud",
            Number(0, 1),
        ),
    )
    hybrid_large_bytes: int = field(
        default=16 * MIB, metadata=_about("size above which HYBRID goes to the cloud", _BYTES)
    )
    hybrid_local_kinds: tuple[FileKind, ...] = field(
        default=(FileKind.IMAGE, FileKind.METADATA),
        converter=_as_kinds,
        metadata=_about("kinds that HYBRID keeps local first", Choices(FileKind)),
    )

    cache_max_bytes: int = field(
        default=64 * MIB, metadata=_about("size of the cache in the process", _BYTES)
    )
    cache_item_bytes: int = field(
        default=512 * 1024, metadata=_about("largest item of the cache", _BYTES)
    )
    cache_ttl_seconds: float = field(
        default=3600.0, metadata=_about("how long an item stays cached", Number(0.001, 31_536_000))
    )
    local_cache_gb: float = field(
        default=10.0,
        metadata=_about(
            "size of the local cache of CLOUD_WITH_CACHE, 10⁹ bytes, for each process",
            Number(0, 1e9),
        ),
    )
    local_cache_item_bytes: int = field(
        default=64 * MIB, metadata=_about("largest file of that local cache", _BYTES)
    )

    attempt_timeout_seconds: float = field(
        default=600.0,
        metadata=_about("longest time that storing one item may take", Number(1, 86_400)),
    )
    sweep_interval_seconds: float = field(
        default=60.0,
        metadata=_about("time between two looks for interrupted stores", Number(0.01, 86_400)),
    )

    public_url: str = field(
        default="http://localhost:8001",
        converter=without_slash,
        metadata=_about("address under which clients reach the service", Url()),
    )
    url_signing_key: str | None = field(
        default=None,
        repr=_masked,
        metadata=_about(
            "secret that signs access URLs; unset: a key file under local_base_path",
            Secret(MIN_KEY_BYTES),
            secret=True,
        ),
    )
    max_url_expiry_seconds: int = field(
        default=604_800, metadata=_about("longest life of an access URL", Whole(1, 31_536_000))
    )
    api_keys: tuple[str, ...] = field(
        default=(),
        converter=as_tuple,
        repr=_masked,
        metadata=_about("digests of the API keys that may come in, name:digest", ApiKeys()),
    )
    open_access: bool = field(
        default=False, metadata=_about("whether anybody may come in without a key", Switch())
    )
    max_concurrent_requests: int = field(
        default=64, metadata=_about("requests that are worked on at once", Whole(1, 65_536))
    )
    request_idle_timeout_seconds: float = field(
        default=30.0, metadata=_about("longest silence of a client while it sends", _SECONDS)
    )
    min_upload_bytes_per_second: int = field(
        default=1024,
        metadata=_about("slowest upload that is waited for; 0: any", Whole(0, 2**32)),
    )

    def __new__(cls, *_args: object, **given: object) -> Self:
        if unknown := [unknown_setting(name, NAMES) for name in given if name not in NAMES]:
            raise ConfigurationError([*unknown, *_wrong_alone(given)])
        return super().__new__(cls)

    def __attrs_post_init__(self) -> None:
        problems = [*self._wrong_values(), *self._contradictions()]
        if problems:
            raise ConfigurationError(problems)

    @classmethod
    def load(
        cls,
        path: str | PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        overrides: Mapping[str, object] | None = None,
    ) -> Self:
        """The settings of a TOML file and of `TRAFFIC_STORAGE_*` variables, which win.

        `overrides` win over both. A secret may lie in a file of its own: `db_password_file`,
        `TRAFFIC_STORAGE_DB_PASSWORD_FILE`. The file is `path`, else what TRAFFIC_STORAGE_CONFIG names, else `config.toml` in the
        user's configuration folder, which alone may be missing. `env` defaults to `os.environ`.

        Raises:
            ConfigurationError: the file can't be read, or a setting is wrong, unknown (the near
                one is suggested) or half given; all are named.
        """
        given, problems = collect(fields_dict(cls), path, env, overrides)
        values = {name: entry.value for name, entry in given.items()}
        if problems:
            raise ConfigurationError([*problems, *_wrong_alone(values)])
        return cls(**values)  # type: ignore[arg-type]

    @property
    def cloud_configured(self) -> bool:
        """Whether there is a cloud tier."""
        return bool(self.s3_access_key and self.s3_secret_key)

    @property
    def sqlite_file(self) -> Path:
        """The catalogue, where no `db_host` is given."""
        return self.local_base_path / "catalogue.sqlite3"

    def effective_strategy(self, argument: StorageStrategy | str | None = None) -> StorageStrategy:
        """The strategy that holds: the argument, else the setting, else what S3 allows.

        Raises:
            ConfigurationError: no such strategy, or it needs settings that are missing.
        """
        strategy = _as_strategy(argument) or self.strategy
        if strategy is None:
            return StorageStrategy.HYBRID if self.cloud_configured else StorageStrategy.LOCAL_ONLY
        if not isinstance(strategy, StorageStrategy):
            raise ConfigurationError(
                [unknown_word("strategy", strategy, [word.value for word in StorageStrategy])]
            )
        if missing := self.missing_for(strategy):
            raise missing
        return strategy

    def missing_for(self, strategy: StorageStrategy) -> ConfigurationError | None:
        """The error that names the settings which a strategy needs and does not have, or None."""
        if not strategy.needs_cloud or self.cloud_configured:
            return None
        return ConfigurationError(
            FieldProblem(name, f"is missing, and {strategy} needs a cloud tier", f"set {name}")
            for name in ("s3_access_key", "s3_secret_key")
        )

    @property
    def max_local_bytes(self) -> int:
        """The limit of the local store."""
        return int(self.max_local_size_gb * GB)

    @property
    def local_reserve_bytes(self) -> int:
        """What must stay free on the local disk."""
        return int(self.local_reserve_gb * GB)

    @property
    def max_cloud_bytes(self) -> int | None:
        """The limit of each bucket; None: none."""
        return None if self.max_cloud_size_gb is None else int(self.max_cloud_size_gb * GB)

    @property
    def local_cache_bytes(self) -> int:
        """The size of the local cache of CLOUD_WITH_CACHE."""
        return int(self.local_cache_gb * GB)

    @property
    def retention(self) -> RetentionPeriods:
        """How long each kind is kept."""
        return RetentionPeriods(
            image=timedelta(days=self.image_retention_days),
            video=timedelta(days=self.video_retention_days),
            metadata=timedelta(days=self.metadata_retention_days),
        )

    @property
    def thresholds(self) -> Thresholds:
        """The settings of placement."""
        return Thresholds(
            high_water=self.high_water,
            large_bytes=self.hybrid_large_bytes,
            hybrid_local_kinds=frozenset(self.hybrid_local_kinds),
            cache_item_bytes=self.local_cache_item_bytes,
        )

    @property
    def encoding(self) -> Encoding:
        """How arrays are encoded."""
        return Encoding(
            self.image_format, self.image_quality, self.image_effort, self.image_lossless
        )

    @property
    def zone(self) -> ZoneInfo:
        """The zone in which times without one are read."""
        return ZoneInfo(self.timezone)

    def _wrong_values(self) -> Iterable[FieldProblem]:
        for attribute in fields(type(self)):
            value = getattr(self, attribute.name)
            if value is not None or attribute.default is not None:
                yield from kind_of(attribute).problems(attribute.name, value)

    def _contradictions(self) -> Iterable[FieldProblem]:
        given = self._given()
        yield from _needs(given, "db_host", ("db_name", "db_user"))
        yield from _needs_one(given, ("db_name", "db_user", "db_password", "db_port"), "db_host")
        yield from _needs_one(given, _OF_REDIS, "redis_host")
        yield from _needs(given, "redis_username", ("redis_password",))
        yield from _needs(given, "s3_access_key", ("s3_secret_key",))
        yield from _needs(given, "s3_secret_key", ("s3_access_key",))
        yield from _needs_keys(given)
        if self.redis_cluster is True and "redis_db" in given:
            yield FieldProblem("redis_db", "a Redis cluster has only database 0", "leave it out")
        if self.image_lossless is True and self.image_format is ImageFormat.JPEG:
            yield FieldProblem("image_lossless", "JPEG can't be lossless", "use webp or png")
        if self.open_access is True and "api_keys" in given:
            yield FieldProblem(
                "open_access", "contradicts api_keys, which let in only who has a key", "choose one"
            )

    def _given(self) -> frozenset[str]:
        """The names of settings that differ from their default."""
        return frozenset(
            attribute.name
            for attribute in fields(type(self))
            if getattr(self, attribute.name) != attribute.default
        )


def _wrong_alone(given: Mapping[str, object]) -> Iterable[FieldProblem]:
    """What is wrong with single values, beside names that are no settings.

    Whether they fit together is not asked: what seems to be missing may be the misspelt one.
    """
    for name, value in given.items():
        attribute = fields_dict(StorageConfig).get(name)
        if attribute is not None and (value is not None or attribute.default is not None):
            # attrs' types know only its own class of converters here.
            convert: Callable[[object], object] | None = attribute.converter  # type: ignore[assignment]
            yield from kind_of(attribute).problems(name, convert(value) if convert else value)


_OF_REDIS = ("redis_port", "redis_db", "redis_cluster", "redis_username", "redis_password")
_OF_S3 = ("s3_endpoint", "s3_bucket", "s3_region", "s3_buckets")

NAMES: tuple[str, ...] = tuple(attribute.name for attribute in fields(StorageConfig))
"""The names of all settings, in the order of the class."""


def _needs(given: frozenset[str], cause: str, needed: tuple[str, ...]) -> Iterable[FieldProblem]:
    for name in needed:
        if cause in given and name not in given:
            yield FieldProblem(name, f"is missing, and {cause} needs it", f"set {name}")


def _needs_one(
    given: frozenset[str], causes: tuple[str, ...], needed: str
) -> Iterable[FieldProblem]:
    if needed in given:
        return
    for cause in causes:
        if cause in given:
            yield FieldProblem(
                cause, f"is set, but {needed} is not", f"set {needed}, or leave out {cause}"
            )


def _needs_keys(given: frozenset[str]) -> Iterable[FieldProblem]:
    if given & {"s3_access_key", "s3_secret_key"}:
        return
    for name in _OF_S3:
        if name in given:
            yield FieldProblem(
                name,
                "is set, but s3_access_key and s3_secret_key are not",
                f"set both, or leave out {name}",
            )
