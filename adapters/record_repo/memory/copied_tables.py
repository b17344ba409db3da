"""Copies of the tables of a catalogue in memory, which this process keeps under a name."""

from collections.abc import Mapping
from copy import copy
from typing import Any
from uuid import uuid4

from traffic_storage.domain.database_backup import DatabaseForm, DatabaseKind

FORM = DatabaseForm(DatabaseKind.MEMORY, "1")
_FIRST = b"traffic-storage/memory/1 "
_NOT_ROWS = frozenset({"_now", "_written", "_appliers"})
_copies: dict[bytes, Mapping[str, Any]] = {}


def kept(tables: Mapping[str, Any]) -> bytes:
    """Keep a copy of the tables in this process; return the bytes that name it."""
    name = _FIRST + uuid4().hex.encode() + b"\n"
    _copies[name] = _copied(tables)
    return name


def _copied(tables: Mapping[str, Any]) -> Mapping[str, Any]:
    """Copy what changes: the rows are frozen, but for lists of them."""
    return {
        name: {key: copy(row) if isinstance(row, list) else row for key, row in table.items()}
        if isinstance(table, dict)
        else copy(table)
        for name, table in tables.items()
    }


def found(name: bytes) -> Mapping[str, Any] | None:
    """Return a copy of the tables that were kept under a name; None if none were."""
    tables = _copies.get(name)
    return None if tables is None else _copied(tables)


def all_tables(repo: object) -> Mapping[str, Any]:
    """Return the tables of a catalogue in memory."""
    return {name: table for name, table in vars(repo).items() if name not in _NOT_ROWS}
