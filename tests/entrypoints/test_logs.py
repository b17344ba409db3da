"""Log lines: as text, JSON and logfmt, each with the ids of the request or job that it belongs to."""

import io
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import httpx
from hypothesis import given
from hypothesis import strategies as st

from tests.entrypoints.http.evidence import IMAGE
from tests.support.setups import config
from tests.support.waiting import until
from traffic_storage.application.log_fields import fields, log_owner, logged_as
from traffic_storage.domain.jobs import JobKind, NewJob
from traffic_storage.entrypoints.container import build
from traffic_storage.entrypoints.http import create_storage_app
from traffic_storage.entrypoints.logs import (
    JsonFormatter,
    LogfmtFormatter,
    OwnerFilter,
    TextFormatter,
    configure,
)

NAME = "traffic_storage.test"


def record(
    message: str = "it is %s", *args: object, **values: str | float | None
) -> logging.LogRecord:
    """A record as a logger makes it, after the filter."""
    made = logging.getLogger(NAME).makeRecord(
        NAME, logging.WARNING, __file__, 1, message, args or ("full",), None, extra=fields(**values)
    )
    assert OwnerFilter().filter(made)
    return made


@contextmanager
def collected(logger: str = "traffic_storage") -> Iterator[Callable[[], list[dict[str, object]]]]:
    """What is logged in the block, at DEBUG, as JSON."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(OwnerFilter())
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger(logger)
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


def test_json_has_the_message_the_ids_and_the_values() -> None:
    with logged_as(request_id="r1"):
        line = json.loads(JsonFormatter().format(record(store_id="s", ms=1.5, absent=None)))
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "warning",
        "logger": NAME,
        "message": "it is full",
        "request_id": "r1",
        "store_id": "s",
        "ms": 1.5,
    }


def test_a_traceback_is_one_value_of_one_line() -> None:
    error = ValueError("two\nlines")
    failed = record()
    failed.exc_info = (ValueError, error, None)
    text = JsonFormatter().format(failed)
    assert "\n" not in text
    assert "two\nlines" in json.loads(text)["exception"]
    assert "\n" not in LogfmtFormatter().format(failed)


@given(st.text())
def test_a_line_of_logfmt_is_one_line_whose_values_can_be_read(value: str) -> None:
    line = LogfmtFormatter().format(record(value=value))
    assert "\n" not in line
    _, _, written = line.partition(" value=")
    assert written == value or json.loads(written) == value
    assert 'message="it is full" ' in line


def test_text_names_the_ids_that_the_message_lacks() -> None:
    text = TextFormatter(detailed=False)
    assert text.format(record()) == "it is full"
    with logged_as(job_id="j1", job_kind="copy"):
        assert text.format(record()) == "it is full [job_id=j1 job_kind=copy]"
        assert text.format(record("%s is over", "j1")) == "j1 is over [job_kind=copy]"
        with logged_as(request_id="r1"):
            assert log_owner() == {"request_id": "r1"}
        assert " WARNING traffic_storage.test: " in TextFormatter(detailed=True).format(record())
    assert log_owner() == {}


def test_a_second_configuration_replaces_the_first_and_leaves_the_handlers_of_others() -> None:
    root = logging.getLogger()
    others, level = list(root.handlers), root.level
    package = logging.getLogger("traffic_storage")
    try:
        configure(io.StringIO(), "text", "warning", detailed=False)
        assert root.handlers == others
        root.handlers.clear()
        first, second = io.StringIO(), io.StringIO()
        configure(first, "text", "warning", detailed=False)
        configure(second, "logfmt", "debug", detailed=False)
        logging.getLogger(NAME).debug("a detail")
        logging.getLogger("another.library").debug("user data")
        logging.getLogger("another.library").info("hello")
        assert first.getvalue() == ""
        (detail, hello) = second.getvalue().splitlines()
        assert 'message="a detail"' in detail
        assert "message=hello" in hello
    finally:
        root.handlers[:] = others
        root.setLevel(level)
        package.setLevel(logging.NOTSET)


async def test_each_record_of_a_request_or_job_has_its_ids(tmp_path: Path) -> None:
    """The service is started by the first request: what it starts does not belong to it."""
    container = build(config(tmp_path, workers=1))
    app = create_storage_app(container=container)
    transport = httpx.ASGITransport(app)
    with collected() as lines:
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            sent = {"headers": {"x-request-id": "mine-1"}, "files": {"file": IMAGE}}
            stored = await client.post("/files/upload/image", **sent)  # type: ignore[arg-type]
            assert stored.headers["x-request-id"] == "mine-1"
            missing = await client.get("/files/unknown")
            job = NewJob(uuid4(), JobKind("copy"), {"file_id": "unknown", "store_id": "none"})
            await container._record_repo().enqueue([job])
            job_id = str(job.job_id)
            await until(lambda: any(line.get("job_id") == job_id for line in lines()))
            by_store = [line for line in lines() if line["logger"] == "traffic_storage.http"]
            assert {line["request_id"] for line in by_store} == {
                "mine-1",
                missing.headers["x-request-id"],
            }
            (upload,) = [line for line in by_store if line.get("method") == "POST"]
            assert (upload["status"], upload["path"]) == (201, "/files/upload/image")
            jobs = [line for line in lines() if "job_id" in line]
            assert {line["job_kind"] for line in jobs} >= {"copy"}
            assert not [line for line in jobs if "request_id" in line]
        await container.runtime().aclose()
    workers = [line for line in lines() if line["logger"] == "traffic_storage.worker"]
    assert workers
    assert not [line for line in workers if "request_id" in line]
