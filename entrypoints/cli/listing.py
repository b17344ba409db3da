"""Finding violations page by page, and telling of them."""

import json
from collections.abc import AsyncIterator

from attrs import evolve

from traffic_storage.domain.query import ViolationQuery
from traffic_storage.domain.violation import StoredViolation
from traffic_storage.entrypoints.cli.output import (
    in_bytes,
    note,
    say,
    say_fields,
    say_json,
    say_table,
)
from traffic_storage.entrypoints.views import StoredFileView, ViolationView, violation_view
from traffic_storage.ports.catalogue import Catalogue

_HEADER = ("time", "violation", "device", "type", "class", "confidence", "files")


async def found(
    catalogue: Catalogue, query: ViolationQuery, *, every: bool
) -> AsyncIterator[tuple[StoredViolation, ...]]:
    """The pages that a question asks for: the first, or `every` one."""
    while True:
        page = await catalogue.violations(query)
        yield page.items
        if not every or page.next is None:
            return
        query = evolve(query, after=page.next)


async def say_all(pages: AsyncIterator[tuple[StoredViolation, ...]], *, as_json: bool) -> None:
    """A line a violation, as the pages come."""
    header: tuple[str, ...] = _HEADER
    async for page in pages:
        views = [violation_view(violation) for violation in page]
        if as_json:
            for view in views:
                say_json(view)
        elif views:
            say_table(header, [_row(view) for view in views])
            header = ()
    if header and not as_json:
        note("no violations")


def _row(view: ViolationView) -> tuple[str, ...]:
    files = [name for name in ("image", "video") if view[f"{name}_path"]]  # type: ignore[literal-required]
    return (
        view["timestamp"],
        view["violation_id"],
        view["device_id"],
        view["violation_type"],
        view["vehicle_class"],
        f"{view['confidence']:.2f}",
        " ".join(files) or "incomplete",
    )


def say_one(violation: ViolationView, files: list[StoredFileView]) -> None:
    """A violation and its files."""
    say_fields({name: _text(value) for name, value in violation.items() if value not in ({}, None)})
    say("")
    say_table(
        ("file", "type", "size", "where", "kept until"),
        [
            (
                file["file_id"],
                file["content_type"],
                in_bytes(file["size_bytes"]),
                ", ".join(f"{copy['tier']} ({copy['state']})" for copy in file["replicas"]),
                file["expires_at"],
            )
            for file in files
        ],
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
