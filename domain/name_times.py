"""Times in file names: cameras and recorders name files by the time of their capture."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone

from traffic_storage.domain.errors import InvalidInput, shown

_CODES: Mapping[str, str] = {
    "Y": "[12][0-9]{3}",
    "m": "0[1-9]|1[0-2]",
    "d": "0[1-9]|[12][0-9]|3[01]",
    "H": "[01][0-9]|2[0-3]",
    "M": "[0-5][0-9]",
    "S": "[0-5][0-9]",
    "f": "[0-9]{1,6}",
    "z": "[Zz]|[+-](?:[01][0-9]|2[0-3]):?[0-5][0-9]",
    "s": "[0-9]{1,11}",
}
_MOST_CHARACTERS = 255
_REMEDY = (
    "give a pattern of the whole name, as 'cam*_%Y%m%d_%H%M%S.jpg': * is any text, %Y %m %d %H %M %S "
    "%f (fraction) %z (offset) are parts of the time, %s is seconds since 1970"
)


class NamePattern:
    """A pattern of file names that contain a time.

    `*` stands for any text, `?` for one character, `%Y %m %d %H %M %S %f %z` for parts of the time,
    `%s` for seconds since 1970, `%%` for a percent sign; all else stands for itself. There are at most
    three stars.

    Raises:
        InvalidInput: the pattern has no date, or an unknown code, or one twice.
    """

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._shortest = re.compile(_expression(pattern, ".*?"), re.DOTALL)
        self._longest = re.compile(_expression(pattern, ".*"), re.DOTALL)

    def time_in(self, name: str) -> datetime:
        """Return the time in the name of a file; without an offset in the name, it is naive.

        Raises:
            InvalidInput: the name does not match the pattern, or in several ways with different
                times, or the time does not exist.
        """
        one = self._shortest.fullmatch(name[:_MOST_CHARACTERS])
        other = self._longest.fullmatch(name[:_MOST_CHARACTERS])
        if one is None or other is None:
            raise self._refusal(name, "does not match", "rename the file, or give its time")
        if one.groupdict() != other.groupdict():
            raise self._refusal(
                name, "matches in several ways", "use more of the name's own text in the pattern"
            )
        try:
            return _time_of(one.groupdict())
        except (ValueError, OverflowError) as error:
            raise self._refusal(
                name, "gives a time that does not exist for", "give the file's time"
            ) from error

    def _refusal(self, name: str, verb: str, remedy: str) -> InvalidInput:
        return InvalidInput.of(
            "captured_at",
            f"the pattern {shown(self._pattern)} {verb} the name {shown(name)}"
            if verb.endswith("for")
            else f"the name {shown(name)} {verb} the pattern {shown(self._pattern)}",
            remedy,
        )


def _expression(pattern: str, anything: str) -> str:
    if len(pattern) > _MOST_CHARACTERS:
        raise _wrong(f"has {len(pattern)} characters, more than {_MOST_CHARACTERS}")
    found: list[str] = []
    # Several stars in a row mean the same as one, and would take much longer.
    for part in re.findall(r"%.?|\*+|.", pattern, re.DOTALL):
        if part == "%%":
            found.append("%")
        elif part[0] == "%":
            if part[1:] not in _CODES:
                raise _wrong(f"has the unknown code {shown(part)}")
            group = f"(?P<{part[1:]}>"
            if any(one.startswith(group) for one in found):
                raise _wrong(f"has the code {part} twice")
            found.append(f"{group}{_CODES[part[1:]]})")
        elif part[0] == "*":
            found.append(anything)
        else:
            found.append("." if part == "?" else re.escape(part))
    text = "".join(found)
    if "(?P<s>" not in text and not all(f"(?P<{code}>" in text for code in "Ymd"):
        raise _wrong("has neither %Y, %m and %d nor %s")
    if found.count(anything) > _MOST_STARS:
        raise _wrong(f"has more than {_MOST_STARS} stars")
    return text


_MOST_STARS = 3
"""With each star, the time for a name that does not match grows by a factor of its length."""


def _wrong(message: str) -> InvalidInput:
    return InvalidInput.of("time_from_name", message, _REMEDY)


def _time_of(parts: Mapping[str, str | None]) -> datetime:
    seconds = parts.get("s")
    fraction = (parts.get("f") or "").ljust(6, "0")
    if seconds is not None:
        return datetime.fromtimestamp(int(seconds), UTC) + timedelta(microseconds=int(fraction))
    numbers = [int(parts.get(code) or 0) for code in "YmdHMS"]
    year, month, day, hour, minute, second = numbers
    return datetime(
        year, month, day, hour, minute, second, int(fraction), tzinfo=_offset(parts.get("z"))
    )


def _offset(text: str | None) -> timezone | None:
    if text is None:
        return None
    if text in "Zz":
        return UTC
    digits = text[1:].replace(":", "")
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return timezone(-offset if text[0] == "-" else offset)
