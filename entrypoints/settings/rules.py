"""Rules of settings: what a value must be, how a text is parsed, and converters of spellings.

A converter returns a value that it can't convert unchanged. The rule then rejects that value, so
that one error names all wrong settings. A message quotes a text only if the rule expects one of a
list of words: any other text may be a secret that was given in the wrong place.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, available_timezones

from attrs import frozen

from traffic_storage.adapters.record_repo.sql.postgres_address import addresses
from traffic_storage.adapters.record_repo.sql.postgres_tls import SslMode
from traffic_storage.domain.canonical import is_unicode
from traffic_storage.domain.encoding import ImageFormat
from traffic_storage.domain.errors import FieldProblem, InvalidInput
from traffic_storage.domain.files import FileKind, Tier
from traffic_storage.domain.image_checks import VerifyImages
from traffic_storage.domain.media import StillFormat
from traffic_storage.domain.placement import StorageStrategy
from traffic_storage.domain.prices import Price
from traffic_storage.domain.principal import parse_api_key
from traffic_storage.domain.quality.assessment import ValidationMode
from traffic_storage.domain.snapshot import SnapshotSchedule
from traffic_storage.entrypoints.settings.secret import Secret

if TYPE_CHECKING:
    from traffic_storage.adapters.cache.redis.url import RedisAddress

Value = TypeVar("Value")
Text = TypeVar("Text", str, str | None)
Word = TypeVar("Word", bound=StrEnum)
Kind: TypeAlias = type | tuple[type, ...]

_UNITS = {"d": 86_400, "h": 3600, "m": 60, "s": 1}
_SWITCHES = {"true": True, "yes": True, "on": True, "1": True}
_SWITCHES |= {"false": False, "no": False, "off": False, "0": False}


@frozen
class Rule:
    """What the value of a setting must be: of type `kind`, in its limits, accepted by `accepts`.

    Attributes:
        wanted: the description of the rule, as in "must be a date such as 2000-01-02".
        accepts: returns whether a value of this type is valid.
        inner: returns the problems of the parts of a value, given the setting's name and the value.
        words: returns the valid words of a rule that expects one of a list.
        low, high: the least and the greatest valid value, or None for no limits.
    """

    wanted: str
    kind: Kind = str
    accepts: Callable[[Any], object] = lambda _: True
    inner: Callable[[str, Any], Iterable[FieldProblem]] = lambda _name, _value: ()
    words: Callable[[], Iterable[str]] = tuple
    low: Any = None
    high: Any = None

    def problems(self, name: str, value: object) -> Iterator[FieldProblem]:
        """Yield the problems of a value of the setting `name`."""
        if not self._is_of_kind(value) or not self._is_within(value) or not self.accepts(value):
            meant = near(value, self.words()) if isinstance(value, str) else ""
            remedy = f"did you mean {meant}?" if meant else ""
            yield FieldProblem(name, f"must be {self.wanted}{self._instead(value)}", remedy)
        else:
            yield from self.inner(name, value)

    def read(self, text: str) -> object:
        """Return the value that a text represents, or the text itself if it can't be parsed."""
        return _unless_wrong(_READERS.get(self.kind, str), text)

    def _is_of_kind(self, value: object) -> bool:
        # bool is a subclass of int, and datetime one of date.
        is_other = isinstance(value, bool | datetime) and type(value) is not self.kind
        return isinstance(value, self.kind) and not is_other

    def _is_within(self, value: object) -> bool:
        return self.low is None or bool(self.low <= value <= self.high)

    def _instead(self, value: object) -> str:
        if self.kind is Secret and value is not None:
            return f", not of type {type(value).__name__}" if not isinstance(value, Secret) else ""
        if isinstance(value, int | float | date | timedelta | None):
            return f", not {value}"
        if isinstance(value, str) and any(self.words()):
            return f", not {value!a:.60}"
        if isinstance(value, self.kind):
            return ""
        found = "a text" if value else "an empty text"
        return f", not {found if isinstance(value, str) else f'of type {type(value).__name__}'}"


class S3Credentials(StrEnum):
    """Where the credentials of S3 come from.

    Attributes:
        KEYS: the settings `s3_access_key` and `s3_secret_key`.
        AWS: what the tools of AWS use: variables, a profile, web identity, the role of the machine.
    """

    KEYS = "keys"
    AWS = "aws"


class S3Encryption(StrEnum):
    """The encryption that the S3 service is asked for with each object.

    Attributes:
        S3: with keys of the service (SSE-S3).
        KMS: with a key of the service's key management (SSE-KMS).
    """

    S3 = "s3"
    KMS = "kms"


@frozen
class BucketRoute:
    """The bucket for files of devices whose id matches a shell pattern.

    Attributes:
        region, endpoint: if None, the settings `s3_region` and `s3_endpoint` apply.
    """

    device_pattern: str
    bucket: str
    region: str | None = None
    endpoint: str | None = None


def number(low: float, high: float) -> Rule:
    wanted = f"a number from {_plain(low)} to {_plain(high)}"
    return Rule(wanted, (int, float), low=low, high=high)


def whole(low: int, high: int) -> Rule:
    return Rule(f"a whole number from {low} to {high}", int, low=low, high=high)


def duration(longest: timedelta) -> Rule:
    wanted = f"a length of time from 0s to {span(longest)}, such as 90s, 30m, 24h or 2d"
    return Rule(wanted, timedelta, low=timedelta(0), high=longest)


def text(wanted: str, pattern: str, longest: int = 255) -> Rule:
    """Return the rule of a text of up to `longest` characters that matches the whole `pattern`."""
    matches = re.compile(pattern, re.ASCII).fullmatch
    return Rule(wanted, str, lambda value: len(value) <= longest and matches(value))


def secret(shortest: int = 1) -> Rule:
    wanted = f"a text of {shortest} or more characters"
    return Rule(wanted, Secret, lambda value: len(value) >= shortest)


def word_of(vocabulary: type[StrEnum]) -> Rule:
    return Rule("one of " + ", ".join(vocabulary), vocabulary, words=lambda: vocabulary)


def list_of(entry: Rule, accepts: Callable[[Any], object] = lambda _: True, more: str = "") -> Rule:
    """Return the rule of a list: `entry` applies to each entry, `accepts` to the whole list."""

    def inner(name: str, entries: tuple[object, ...]) -> Iterator[FieldProblem]:
        for place, value in enumerate(entries, 1):
            yield from entry.problems(f"{name}[{place}]", value)

    return Rule(f"a list, each entry {entry.wanted}{more}", tuple, accepts, inner)


def _is_zone(name: str) -> bool:
    try:
        return bool(ZoneInfo(name))
    except (ValueError, OSError, LookupError):
        return False


def _is_url(address: str) -> bool:
    try:
        parts = urlsplit(address)
        parts.port  # noqa: B018  # raises ValueError if the port is not a number
    except ValueError:
        return False
    is_web = parts.scheme in {"http", "https"} and bool(parts.hostname)
    is_more = "@" in parts.netloc or parts.query or parts.fragment
    return is_web and not is_more and address.isascii() and address.isprintable()


def redis_url_of(url: str) -> "RedisAddress | None":
    """Return the parts of the URL of a Redis server; None if the text is not such a URL."""
    # redis-py takes 0.1 s to import.
    from traffic_storage.adapters.cache.redis.url import parse

    try:
        return parse(url)
    except ValueError:
        return None


def _are_hosts(hosts: str) -> bool:
    try:
        return bool(addresses(hosts, 1))
    except ValueError:
        return False


def _are_distinct(lines: Sequence[object]) -> bool:
    """Return whether all lines that register API keys differ in their names and their digests."""
    parts = [str(line).partition("?")[0].partition(":") for line in lines]
    return all(len({part[place] for part in parts}) == len(parts) for place in (0, 2))


def _key_problems(name: str, line: str) -> Iterator[FieldProblem]:
    try:
        parse_api_key(line, name)
    except InvalidInput as error:
        yield from error.problems


def _route_problems(name: str, route: BucketRoute) -> Iterator[FieldProblem]:
    yield from PATTERN.problems(f"{name}.device_pattern", route.device_pattern)
    yield from BUCKET.problems(f"{name}.bucket", route.bucket)
    if route.region is not None:
        yield from REGION.problems(f"{name}.region", route.region)
    if route.endpoint is not None:
        yield from URL.problems(f"{name}.endpoint", route.endpoint)


def _price_problems(name: str, price: Price) -> Iterator[FieldProblem]:
    yield from word_of(Tier).problems(f"{name}.tier", price.tier)
    yield from number(0, 1e9).problems(f"{name}.gb_month", price.gb_month)


SWITCH = Rule("true or false", bool)
FOLDER = Rule(
    "the path of a folder, in UTF-8",
    Path,
    # A `~` that is left stands for the home folder of a user who has none.
    lambda path: "\0" not in str(path) and is_unicode(str(path)) and path.parts[:1] != ("~",),
)
FILE = Rule("the path of a file, in UTF-8", FOLDER.kind, FOLDER.accepts)
DATE = Rule("a date such as 2000-01-02", date)
ZONE = Rule("a time zone such as Europe/Madrid", str, _is_zone, words=available_timezones)
URL = Rule("an address such as http://host:8001, without user, password and query", str, _is_url)
DB_HOSTS = Rule(
    "a host name, an address or the folder of a socket, or several with commas, such as db1,db2:5433",
    str,
    _are_hosts,
)
SCHEMA = text(
    "the name of a schema: small letters, digits and _, not pg_ at the start",
    r"(?!pg_)[a-z_][a-z0-9_]*",
    63,
)
REDIS_URL = Rule(
    "a URL such as rediss://user:password@host:6379/0 or unix:///path?db=0",
    Secret,
    lambda url: redis_url_of(url.reveal()) is not None,
)
BUCKET = text(
    "the name of a bucket: 3 to 63 letters, digits and . _ -",
    r"[A-Za-z0-9][A-Za-z0-9._\-]{1,61}[A-Za-z0-9]",
)
LOCATION = text(
    "the absolute path of a folder, or s3://BUCKET/FOLDER",
    r"/[^\0]*|s3://[A-Za-z0-9][A-Za-z0-9._\-]{1,61}[A-Za-z0-9](/[A-Za-z0-9._\-]+)*",
    1024,
)
REGION = text("the name of a region", r"[A-Za-z0-9\-]+", 64)
KMS_KEY = text("the id or the ARN of a key", r"[A-Za-z0-9:/_\-]+", 2048)
PREFIX = text(
    "the part of a bucket, such as evidence/north", r"[A-Za-z0-9._\-]+(/[A-Za-z0-9._\-]+)*"
)
PATTERN = text("a pattern of device ids such as cam_north_*", ".+", 1024)
API_KEY = Rule("a line that `traffic-storage keys new` prints", inner=_key_problems)
API_KEYS = list_of(API_KEY, _are_distinct, ", no name and no digest twice")
PROFILE = text("the id of a profile", r"[A-Za-z0-9._\-]+", 64)
HOSTS = list_of(text("a host name, without a port", r"[A-Za-z0-9._\-]+"))
ORIGINS = list_of(
    text(
        "an origin such as https://viewer.example:8443, without a path",
        r"https?://([A-Za-z0-9._\-]+|\[[A-Fa-f0-9:.]+\])(:[0-9]{1,5})?",
    )
)
CURRENCY = text("a currency, such as EUR", r"[A-Z]{3}", 3)
PRICES = list_of(
    Rule("tier (local or cloud) and gb_month", Price, inner=_price_problems),
    lambda entries: (
        len({getattr(one, "tier", place) for place, one in enumerate(entries)}) == len(entries)
    ),
    ", no tier twice",
)
ROUTES = list_of(
    Rule(
        "device_pattern, bucket and optionally region, endpoint", BucketRoute, inner=_route_problems
    )
)


def as_folder(value: str | Path) -> Path:
    return _unless_wrong(lambda path: path and Path(path).expanduser().absolute(), value)


def as_file(value: str | Path | None) -> Path | None:
    return as_folder(value) if value else None


def as_date(value: str | date) -> date:
    return _unless_wrong(date.fromisoformat, value)


def as_duration(value: str | timedelta) -> timedelta:
    return _unless_wrong(_duration, value)


def as_secret(value: str | Secret | None) -> Secret | None:
    return Secret(value) if isinstance(value, str) else value


def without_slash(value: Text) -> Text:
    return _unless_wrong(lambda url: str.rstrip(url, "/"), value)


def as_hosts(value: Text) -> Text:
    """Return a list of hosts without spaces, and without the brackets around an address alone."""

    def plain(entry: str) -> str:
        return entry[1:-1] if re.fullmatch(r"\[[^\]]*\]", entry) else entry

    return _unless_wrong(lambda hosts: ",".join(plain(e.strip()) for e in hosts.split(",")), value)


def without_brackets(value: Text) -> Text:
    """Return an IPv6 address without the brackets that it has in a URL."""
    return _unless_wrong(lambda host: str.removeprefix(host, "[").removesuffix("]"), value)


def as_strategy(value: StorageStrategy | str | None) -> StorageStrategy | None:
    return _word(StorageStrategy, value)


def as_ssl_mode(value: SslMode | str | None) -> SslMode | None:
    return None if value is None else _word(SslMode, value)


def as_credentials(value: S3Credentials | str) -> S3Credentials:
    return _word(S3Credentials, value)


def as_encryption(value: S3Encryption | str | None) -> S3Encryption | None:
    return None if value is None else _word(S3Encryption, value)


def as_format(value: ImageFormat | str) -> ImageFormat:
    return _word(ImageFormat, value)


def as_still_formats(value: Iterable[StillFormat | str]) -> tuple[StillFormat, ...]:
    return _listed(lambda entry: _word(StillFormat, entry), value)


def as_validation_mode(value: ValidationMode | str) -> ValidationMode:
    return _word(ValidationMode, value)


def as_verify_images(value: VerifyImages | str) -> VerifyImages:
    return _word(VerifyImages, value)


def as_snapshot_schedule(value: SnapshotSchedule | str) -> SnapshotSchedule:
    return _word(SnapshotSchedule, value)


def as_kinds(value: Iterable[FileKind | str]) -> tuple[FileKind, ...]:
    return _listed(lambda entry: _word(FileKind, entry), value)


def as_list(value: Sequence[str]) -> tuple[str, ...]:
    return _listed(lambda entry: entry, value)


def as_words(value: str | Sequence[str]) -> tuple[str, ...]:
    """Return a list; a text has its entries separated by commas."""
    return as_list([one.strip() for one in value.split(",")] if isinstance(value, str) else value)


def as_routes(
    value: Sequence[BucketRoute | Mapping[str, str | None] | Sequence[str | None]],
) -> tuple[BucketRoute, ...]:
    return _listed(_route, value)


def as_prices(value: Sequence[Price | Mapping[str, Any] | Sequence[Any]]) -> tuple[Price, ...]:
    return _listed(_price, value)


def near(name: str, names: Iterable[str], cutoff: float = 0.7) -> str:
    """Return the known name closest to `name`, or an empty text if none is close."""
    by_lower = {known.lower(): known for known in names}
    found = get_close_matches(name.lower(), by_lower, n=1, cutoff=cutoff)
    return by_lower[found[0]] if found else ""


def span(length: timedelta) -> str:
    """Return a length of time as settings spell it: 90s, 30m, 24h, 2d."""
    seconds = length.total_seconds()
    unit = next((unit for unit, size in _UNITS.items() if seconds % size == 0), "s")
    return f"{_plain(seconds / _UNITS[unit])}{unit}"


def _plain(value: float) -> str:
    return f"{value:f}".rstrip("0").rstrip(".")


def _unless_wrong(convert: Callable[[Any], Value], value: object) -> Value:
    """Return the converted value, or the value unchanged if it can't be converted."""
    try:
        return convert(value)
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError):
        return value  # type: ignore[return-value]


def _listed(convert: Callable[[Any], Value], value: object) -> tuple[Value, ...]:
    if not isinstance(value, list | tuple | set | frozenset):
        return value  # type: ignore[return-value]
    return tuple(_unless_wrong(convert, entry) for entry in value)


def _list(text: str) -> object:
    if text.lstrip().startswith("["):
        return json.loads(text)
    return [entry.strip() for entry in text.split(",") if entry.strip()]


def _word(vocabulary: type[Word], value: object) -> Word:
    by_name = {word.lower(): word for word in vocabulary}
    return _unless_wrong(lambda text: by_name[text.strip().lower()], value)


def _duration(text: str) -> timedelta:
    found = re.fullmatch(r"(\d{1,6}(?:\.\d{1,6})?)([smhd])", text.strip())
    if found is None:
        raise ValueError("the text is not a length of time")
    return timedelta(seconds=float(found[1]) * _UNITS[found[2]])


def _route(entry: Mapping[str, Any] | list[Any] | tuple[Any, ...]) -> BucketRoute:
    return BucketRoute(*entry) if isinstance(entry, list | tuple) else BucketRoute(**entry)


def _price(entry: Mapping[str, Any] | Sequence[Any] | Price) -> Price:
    if isinstance(entry, Price):
        return entry
    tier, gb_month = (entry["tier"], entry["gb_month"]) if isinstance(entry, Mapping) else entry
    return Price(_word(Tier, tier), gb_month)


_READERS: dict[Kind, Callable[[str], object]] = {
    bool: lambda text: _SWITCHES[text.strip().lower()],
    int: int,
    (int, float): float,
    tuple: _list,
}
