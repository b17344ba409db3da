"""Kinds of settings: what a value of each may be, and how its text is read.

The value of a secret is never quoted: who mistyped a password must not find it in a log.
"""

import json
import re
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from difflib import get_close_matches
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeAlias, TypeVar
from urllib.parse import SplitResult, urlsplit
from zoneinfo import ZoneInfo

from attrs import Attribute, frozen

from traffic_storage.domain.canonical import is_unicode
from traffic_storage.domain.errors import FieldProblem

Parsed: TypeAlias = object
"""A value as Python or TOML gives it; checked before it is used."""

AnyText = TypeVar("AnyText", str, str | None)
Word = TypeVar("Word", bound=StrEnum)

_SECONDS_OF = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})


class Kind(Protocol):
    """What the values of a setting have in common."""

    @abstractmethod
    def problems(self, name: str, value: Parsed) -> Iterable[FieldProblem]:
        """What is wrong with a value of the setting `name`; none when it is right."""

    @abstractmethod
    def read(self, text: str) -> Parsed:
        """The value that a text means. What it can't mean is given as it is, to be refused."""


@frozen
class Text(Kind):
    """A text that a pattern describes; `wanted` says the same in words, `remedy` where it goes."""

    wanted: str = "a text that is not empty"
    pattern: str = r".+"
    longest: int = 1024
    remedy: str = ""

    def problems(self, name: str, value: Parsed) -> Iterable[FieldProblem]:
        if not isinstance(value, str):
            yield _wrong_type(name, value, self.wanted)
        elif len(value) > self.longest or not re.fullmatch(self.pattern, value, re.ASCII):
            yield FieldProblem(name, f"is not {self.wanted}", self.remedy or f"give {self.wanted}")

    def read(self, text: str) -> Parsed:
        return text


@frozen
class Secret(Kind):
    """A text that must not be shown, of at least so many characters."""

    shortest: int = 1

    def problems(self, name: str, value: Parsed) -> Iterable[FieldProblem]:
        if not isinstance(value, str):
            yield _wrong_type(name, value, "a text")
        elif len(value) < self.shortest:
            yield FieldProblem(
                name,
                "is empty" if not value else f"has only {len(value)} characters",
                f"give at least {self.shortest}, or leave it out",
            )

    def read(self, text: str) -> Parsed:
        return text


@frozen
class Number(Kind):
    """A number in `[low, high]`."""

    low: float
    high: float

    def problems(self, name: str, value: Parsed) -> Iterable[FieldProblem]:
        wanted = f"a number from {self.low:g} to {self.high:g}"
        if isinstance(value, bool) or not isinstance(value, int | float):
            yield _wrong_type(name, value, wanted)
        elif not self.low <= value <= self.high:
            yield FieldProblem(name, f"is {value}", f"give {wanted}")

    def read(self, text: str) -> Parsed:
        return _or_text(float, text)


@frozen
class Whole(Kind):
    """A whole number in `[low, high]`."""

    low: int
    high: int

    def problems(self, name: str, value: Parsed) -> Iterable[FieldProblem]:
        wanted = f"a whole number from {self.low} to {self.high}"
        if isinstance(value, bool) or not isinstance(value, int):
            yield _wrong_type(name, value, wanted)
        elif not self.low <= value <= self.high:
            yield FieldProblem(name, f"is {value}", f"give {wanted}")

    def read(self, text: str) -> Parsed:
        return _or_text(int, text)


@frozen
class Duration(Kind):
    """A length of time in `[low, high]`: a `timedelta`, or a text as `90s`, `30m`, `24h`, `2d`."""

    low: timedelta
    high: timedelta

    def problems(self, name: str, value: Parsed) -> Iterable[FieldProblem]:
        wanted = "a length of time as 90s, 30m, 24h or 2d"
        if not isinstance(value, timedelta):
            yield _wrong_type(name, value, wanted)
        elif not self.low <= value <= self.high:
            yield FieldProblem(name, f"is {value}", f"give from {self.low} to {self.high}")

    def read(self, text: str) -> Parsed:
        return _duration(text)


@frozen
class Switch(Kind):
    """True or false."""

    def problems(self, name: str, value: Parsed) -> Iterable[FieldProblem]:
        if not isinstance(value, bool):
            yield _wrong_type(name, value, "true or false")

    def read(self, text: str) -> Parsed:
        word = text.strip().lower()
        return word in _TRUE if word in _TRUE | _FALSE else text


@frozen
class Folder(Kind):
    """The path of a folder, which may be missing yet."""

    def problems(self, name: str, value: Parsed) -> Iterable[FieldProblem]:
        if value == "":
            yield FieldProblem(name, "is empty", "give the path of a folder")
        elif not isinstance(value, Path):
            yield _wrong_type(name, value, "the path of a folder")
        elif "\0" in str(value):
            yield FieldProblem(name, "contains a NUL", "give the path of a folder")
        elif not is_unicode(str(value)):
            yield FieldProblem(name, "is not UTF-8", "give the folder a name that is")

    def read(self, text: str) -> Parsed:
        return text


@frozen
class Choice(Kind):
    """One of a closed vocabulary, in either case."""

    vocabulary: type[StrEnum]

    def problems(self, name: str, value: Parsed) -> Iterable[FieldProblem]:
        if not isinstance(value, self.vocabulary):
            yield unknown_word(name, value, [word.value for word in self.vocabulary])

    def read(self, text: str) -> Parsed:
        return chosen(self.vocabulary, text)


@frozen
class Choices(Kind):
    """Several of a closed vocabulary."""

    vocabulary: type[StrEnum]

    def problems(self, name: str, value: Parsed) -> Iterable[FieldProblem]:
        if not isinstance(value, tuple):
            yield _wrong_type(name, value, "a list of words")
            return
        for word in value:
            yield from Choice(self.vocabulary).problems(name, word)

    def read(self, text: str) -> Parsed:
        return [chosen(self.vocabulary, word) for word in _listed(text)]


@frozen
class Zone(Kind):
    """The name of a time zone of the IANA database."""

    def problems(self, name: str, value: Parsed) -> Iterable[FieldProblem]:
        if not isinstance(value, str):
            yield _wrong_type(name, value, "the name of a time zone")
            return
        try:
            ZoneInfo(value)
        except (ValueError, OSError, LookupError):
            yield _unknown_zone(name, value)

    def read(self, text: str) -> Parsed:
        return text


@frozen
class Url(Kind):
    """An http or https address without user, query and fragment."""

    def problems(self, name: str, value: Parsed) -> Iterable[FieldProblem]:
        if not isinstance(value, str):
            yield _wrong_type(name, value, "an address")
            return
        try:
            parts = urlsplit(value)
            parts.port  # noqa: B018  # raises where the port is none
        except ValueError:
            yield FieldProblem(name, "is not an address", "give http://host:port")
            return
        if problem := _url_problem(name, value, parts):
            yield problem

    def read(self, text: str) -> Parsed:
        return text


@frozen
class ApiKeys(Kind):
    """Digests of API keys with a name: `camera-7:<64 hexadecimal digits>`."""

    def problems(self, name: str, value: Parsed) -> Iterable[FieldProblem]:
        if not isinstance(value, tuple):
            yield _wrong_type(name, value, "a list of texts")
            return
        remedy = "give name:digest, the line that `traffic-storage keys new` prints"
        for place, entry in enumerate(value, 1):
            if not isinstance(entry, str) or not re.fullmatch(
                r"[!-9;-~]{1,64}:[0-9a-f]{64}", entry
            ):
                yield FieldProblem(name, f"entry {place} is not a name and a digest", remedy)
        entries = [entry for entry in value if isinstance(entry, str)]
        for part, what in ((0, "name"), (2, "digest")):
            seen = [entry.partition(":")[part] for entry in entries]
            if len(set(seen)) < len(seen):
                yield FieldProblem(name, f"has the same {what} twice", f"give each {what} once")

    def read(self, text: str) -> Parsed:
        return _listed(text)


@frozen
class BucketRoute:
    """Files of devices whose id matches the shell pattern go to this bucket.

    Attributes:
        region, endpoint: where they are left out, `s3_region` and `s3_endpoint` hold.
    """

    device_pattern: str
    bucket: str
    region: str | None = None
    endpoint: str | None = None


BUCKET = Text(
    "the name of a bucket: 3 to 63 letters, digits and . _ -",
    r"[A-Za-z0-9][A-Za-z0-9._\-]{1,61}[A-Za-z0-9]",
)
REGION = Text("the name of a region", r"[A-Za-z0-9\-]+", 64)


@frozen
class Routes(Kind):
    """Buckets by device: a list of `BucketRoute`."""

    def problems(self, name: str, value: Parsed) -> Iterable[FieldProblem]:
        if not isinstance(value, tuple):
            yield _wrong_type(name, value, "a list")
            return
        for place, route in enumerate(value, 1):
            yield from _route_problems(f"{name}[{place}]", route)

    def read(self, text: str) -> Parsed:
        return _or_text(json.loads, text)


def as_folder(value: str | Path) -> Path:
    """A path with `~` expanded, absolute from here on; anything else as it is, to be refused."""
    return _folder(value)  # type: ignore[return-value]


def as_duration(value: timedelta | str) -> timedelta:
    """A length of time, from its text too; anything else as it is, to be refused."""
    return _duration(value)  # type: ignore[return-value]


def as_tuple(value: Sequence[str]) -> tuple[str, ...]:
    """A list as a tuple; anything else as it is, to be refused."""
    return _as_tuple(value)  # type: ignore[return-value]


def as_routes(
    value: Sequence[BucketRoute | Mapping[str, str | None] | Sequence[str | None]],
) -> tuple[BucketRoute, ...]:
    """Routes given as such, as mappings or as lists; anything else as it is, to be refused."""
    return _as_tuple(value, _as_route)  # type: ignore[return-value]


def as_words(vocabulary: type[Word], value: Iterable[Word | str]) -> tuple[Word, ...]:
    """Words of a vocabulary; anything else as it is, to be refused."""
    return _as_tuple(value, partial(chosen, vocabulary))  # type: ignore[return-value]


def without_slash(value: AnyText) -> AnyText:
    """An address without the slash at its end."""
    return _without_slash(value)  # type: ignore[return-value]


def kind_of(attribute: "Attribute[Any]") -> Kind:
    """What the values of a setting may be."""
    kind: Kind = attribute.metadata["kind"]
    return kind


def chosen(vocabulary: type[StrEnum], text: Parsed) -> Parsed:
    """The word of a vocabulary that a text means, whatever its case; else the text."""
    if isinstance(text, str):
        by_name = {word.value.lower(): word for word in vocabulary}
        return by_name.get(text.strip().lower(), text)
    return text


def unknown_word(name: str, value: Parsed, words: Sequence[str]) -> FieldProblem:
    """The problem with a word that is not one of a vocabulary, with the near one suggested."""
    wanted = "one of " + ", ".join(words)
    if not isinstance(value, str):
        return _wrong_type(name, value, wanted)
    return FieldProblem(name, f"is {value!a:.60}", f"give {near(value, words) or wanted}")


def near(word: str, words: Iterable[str]) -> str:
    """The word that was probably meant, or an empty text."""
    by_lower = {known.lower(): known for known in words}
    found = get_close_matches(word.lower(), by_lower, n=1, cutoff=0.7)
    return by_lower[found[0]] if found else ""


def _wrong_type(name: str, value: Parsed, wanted: str) -> FieldProblem:
    found = "a text" if isinstance(value, str) else f"of type {type(value).__name__}"
    return FieldProblem(name, f"is {found} that can't be read as this setting", f"give {wanted}")


def _or_text(convert: Callable[[str], Parsed], text: str) -> Parsed:
    try:
        return convert(text)
    except ValueError:
        return text


def _duration(value: Parsed) -> Parsed:
    found = isinstance(value, str) and re.fullmatch(
        r"(\d{1,6}(?:\.\d{1,6})?)([smhd])", value.strip()
    )
    return timedelta(seconds=float(found[1]) * _SECONDS_OF[found[2]]) if found else value


def _listed(text: str) -> list[str]:
    return [entry.strip() for entry in text.split(",") if entry.strip()]


def _unknown_zone(name: str, value: str) -> FieldProblem:
    from zoneinfo import available_timezones

    zones = available_timezones()
    if not zones:
        return FieldProblem(
            name, "can't be looked up: this machine has no time zones", "install tzdata"
        )
    meant = near(value, zones)
    return FieldProblem(
        name,
        f"is {value!a:.60}, which is no known time zone",
        f"give {meant or 'a name as Europe/Madrid'}",
    )


def _url_problem(name: str, value: str, parts: SplitResult) -> FieldProblem | None:
    if "@" in parts.netloc:
        return FieldProblem(
            name, "contains a user or password", "give http://host:port; secrets have settings"
        )
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        return FieldProblem(name, "is not an http or https address", "give http://host:port")
    if parts.query or parts.fragment or not value.isascii() or not value.isprintable():
        return FieldProblem(
            name, "contains more than a host, a port and a path", "give http://host:port"
        )
    return None


def _folder(value: Parsed) -> Parsed:
    if not isinstance(value, str | Path) or not str(value) or "\0" in str(value):
        return value
    try:
        return Path(value).expanduser().absolute()
    except RuntimeError:  # nobody has that home
        return str(value)


def _without_slash(value: Parsed) -> Parsed:
    return value.rstrip("/") if isinstance(value, str) else value


def _as_tuple(value: Parsed, convert: Callable[[Parsed], Parsed] = lambda entry: entry) -> Parsed:
    if not isinstance(value, list | tuple | set | frozenset):
        return value
    return tuple(convert(entry) for entry in value)


def _as_route(entry: Parsed) -> Parsed:
    fields = ("device_pattern", "bucket", "region", "endpoint")
    if isinstance(entry, Mapping) and set(entry) <= set(fields) and set(fields[:2]) <= set(entry):
        return BucketRoute(**entry)
    if isinstance(entry, list | tuple) and 2 <= len(entry) <= len(fields):
        return BucketRoute(*entry)
    return entry


def _route_problems(name: str, route: Parsed) -> Iterable[FieldProblem]:
    if not isinstance(route, BucketRoute):
        yield FieldProblem(
            name,
            "is no route to a bucket",
            "give device_pattern and bucket, and if need be region and endpoint",
        )
        return
    pattern = Text("a pattern of device ids, as cam_north_*")
    yield from pattern.problems(f"{name}.device_pattern", route.device_pattern)
    yield from BUCKET.problems(f"{name}.bucket", route.bucket)
    if route.region is not None:
        yield from REGION.problems(f"{name}.region", route.region)
    if route.endpoint is not None:
        yield from Url().problems(f"{name}.endpoint", route.endpoint)
