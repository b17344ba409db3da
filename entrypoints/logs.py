"""Log records as text, JSON or logfmt, with the ids of the request or job that each belongs to.

The library logs by the standard `logging` under the name `traffic_storage` and configures nothing;
the command line calls `configure`. An embedder who wants the ids adds `OwnerFilter()` to a handler,
and one of the formatters or `%(request_id)s`, `%(job_id)s`, `%(job_kind)s` to its own.
"""

import json
import logging
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal, TextIO, TypeAlias

from traffic_storage.application.log_fields import log_owner

LogFormat: TypeAlias = Literal["text", "json", "logfmt"]
LogLevel: TypeAlias = Literal["debug", "info", "warning", "error"]

_IDS = ("request_id", "job_id", "job_kind")
_PACKAGE = "traffic_storage"
_BARE = re.compile(r"[^\s\"=\\\x00-\x1f\x7f]+")


class OwnerFilter(logging.Filter):
    """Gives each record the attributes `request_id`, `job_id` and `job_kind`; empty: it has none."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Set the attributes; every record passes."""
        owner = log_owner()
        for name in _IDS:
            setattr(record, name, owner.get(name, ""))
        return True


class TextFormatter(logging.Formatter):
    """The message for people; ids that it does not contain follow in brackets."""

    def __init__(self, *, detailed: bool) -> None:
        super().__init__(
            "%(asctime)s %(levelname)s %(name)s: %(message)s" if detailed else "%(message)s"
        )

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - as logging has it
        """Return the line, without a traceback."""
        ids = [f"{name}={value}" for name, value in _ids(record) if value not in record.message]
        return super().formatMessage(record) + (f" [{' '.join(ids)}]" if ids else "")


class JsonFormatter(logging.Formatter):
    """One JSON object a line: `time` (UTC), `level`, `logger`, `message`, ids, and the record's values."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        return json.dumps(_entries(self, record), ensure_ascii=False, default=str)


class LogfmtFormatter(logging.Formatter):
    """One line of `key=value` pairs, with the keys of the JSON; a value with spaces is quoted."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        entries = _entries(self, record).items()
        return " ".join(f"{name}={_logfmt(value)}" for name, value in entries)


def configure(stream: TextIO, log_format: LogFormat, level: LogLevel, *, detailed: bool) -> None:
    """Log to a stream, in place of what an earlier call did. For a process of our own only.

    As with `logging.basicConfig`, nothing is added where others have given the root logger handlers.
    Below INFO only the loggers of this package log: those of other libraries may log user data.
    `detailed`: text has time, level and name of the logger.
    """
    root, number = logging.getLogger(), logging.getLevelNamesMapping()[level.upper()]
    for handler in root.handlers:
        if handler.name == _PACKAGE:
            root.removeHandler(handler)
    handler = logging.StreamHandler(stream)
    handler.name = _PACKAGE
    handler.addFilter(OwnerFilter())
    handler.setFormatter(_formatter(log_format, detailed=detailed))
    logging.basicConfig(handlers=[handler], level=max(number, logging.INFO))
    logging.getLogger(_PACKAGE).setLevel(number)


def _formatter(log_format: LogFormat, *, detailed: bool) -> logging.Formatter:
    if log_format == "json":
        return JsonFormatter()
    return LogfmtFormatter() if log_format == "logfmt" else TextFormatter(detailed=detailed)


def _entries(formatter: logging.Formatter, record: logging.LogRecord) -> Mapping[str, object]:
    at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
    values = getattr(record, "fields", {})
    entries: dict[str, object] = {
        "time": at.replace("+00:00", "Z"),
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": record.getMessage(),
        **dict(_ids(record)),
        **{name: value for name, value in values.items() if value is not None},
    }
    if record.exc_info:
        entries["exception"] = formatter.formatException(record.exc_info)
    return entries


def _ids(record: logging.LogRecord) -> list[tuple[str, str]]:
    found = [(name, getattr(record, name, "")) for name in _IDS]
    return [(name, value) for name, value in found if value]


def _logfmt(value: object) -> str:
    text = str(value)
    return text if _BARE.fullmatch(text) else json.dumps(text, ensure_ascii=False)
