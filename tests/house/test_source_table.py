"""docs/source.md is true: what it names exists, and so does each test that it refers to."""

import ast
import inspect
import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from attrs import fields_dict, frozen

import traffic_storage
from tests.house.tree import ROOT
from traffic_storage.application.operation_counters import OperationCounters
from traffic_storage.domain.files import FileKind
from traffic_storage.domain.placement import StorageStrategy
from traffic_storage.entrypoints.http import create_storage_app
from traffic_storage.entrypoints.testing.containers import in_memory_container

PAGE = ROOT / "docs" / "source.md"
MODULES = {"api_server"}
LATER = {"encryption", "roles", "audit log", "webhooks", "plug-ins", "sharding"}
CODE = re.compile(r"`([^`]+)`")
CALL = re.compile(r"([A-Za-z_]+)(?:\.(\w+))?(?:\(([\w, ]*)\))?")
ENDPOINT = re.compile(r"(GET|POST|PUT|DELETE) (/\S+)")


@frozen
class Row:
    """A row of a table: its section, its cells, and where it is."""

    section: str
    cells: tuple[str, ...]
    line: int

    def __str__(self) -> str:
        return f"docs/source.md:{self.line}: {self.cells[0]}"

    @property
    def name(self) -> str:
        """The code of the first cell."""
        found: str = CODE.findall(self.cells[0])[0]
        return found

    @property
    def parts(self) -> list[str]:
        """The codes of the second cell."""
        return CODE.findall(self.cells[1])


def rows() -> Iterator[Row]:
    """The rows of all tables but that of the differences."""
    section = ""
    for number, line in enumerate(PAGE.read_text("utf-8").splitlines(), 1):
        if line.startswith("## "):
            section = line[3:]
        is_row = line.startswith("| ") and not section.startswith("Differences")
        cells = tuple(cell.strip() for cell in line.strip("|").split(" | "))
        if is_row and cells[-1] != "shown by":
            yield Row(section, cells, number)


ROWS = list(rows())
CALLS = [
    row for row in ROWS if row.section.startswith(("Names", "Strat", "Set", "Fields", "Calls"))
]
ENDPOINTS = [row for row in ROWS if row.section.startswith("Endpoints")]


@cache
def names_in(path: str) -> frozenset[str]:
    """The tests of a file, as `test_a` or `TestB::test_c`."""
    body = ast.parse((ROOT / path).read_text("utf-8")).body
    found = _tests(body)
    for node in body:
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}::{name}" for name in _tests(node.body)}
    return frozenset(found)


def _tests(body: list[ast.stmt]) -> set[str]:
    functions = (one for one in body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef))
    return {one.name for one in functions if one.name.startswith("test_")}


def test_each_row_has_a_test_that_exists_or_a_later_version() -> None:
    assert len(ROWS) > 100
    for row in ROWS:
        shown = CODE.findall(row.cells[-1])
        later = re.findall(r"\*later: ([^*]+)\*", row.cells[-1])
        assert shown or later, row
        assert set(later) <= LATER, row
        for node in shown:
            path, _, name = node.partition("::")
            assert name in names_in(path), f"{row}: there is no test {node}"


@pytest.mark.parametrize("row", CALLS, ids=lambda row: row.name)
def test_each_name_argument_and_key_exists(row: Row) -> None:
    matched = CALL.fullmatch(row.name)
    assert matched, row
    name, member, arguments = matched.groups()
    if name in MODULES:
        assert hasattr(import_module(f"traffic_storage.{name}"), member), row
        return
    found = getattr(traffic_storage, name)
    if found is StorageStrategy and member:
        assert member in StorageStrategy.__members__, row
        return
    called = getattr(found, member) if member else found
    if arguments:
        made = called.__init__ if inspect.isclass(called) else called
        known = set(inspect.signature(made).parameters)
        assert set(arguments.split(", ")) <= known, row
    if row.section.startswith("Calls"):
        for key in row.parts:
            _check_key(_result(called), key, row)


def _result(called: Any) -> Any:
    return get_type_hints(called).get("return")


def _check_key(result: Any, key: str, row: Row) -> None:
    """Check that a result has a key; `a.b` is the key b of the value of a.

    The keys of mappings are not in their types: they are counters of operations or kinds of files.
    """
    first, _, rest = key.partition(".")
    if get_origin(result) is list:
        (result,) = get_args(result)
    if get_origin(result) is dict:
        is_counted = get_args(result)[1] is int
        known = set(fields_dict(OperationCounters)) if is_counted else set(FileKind)
        assert first in known, f"{row}: there is no key {key}"
        return
    hints = get_type_hints(result)
    assert first in hints, f"{row}: there is no key {key}"
    if rest:
        _check_key(hints[first], rest, row)


@pytest.fixture(scope="module")
def document() -> Mapping[str, Any]:
    """The OpenAPI document of the service."""
    whole: Mapping[str, Any] = create_storage_app(container=in_memory_container()).openapi()
    return whole


def test_each_endpoint_and_field_exists(document: Mapping[str, Any]) -> None:
    for row in ENDPOINTS:
        matched = ENDPOINT.fullmatch(row.name)
        assert matched, row
        method, path = matched.groups()
        operation = document["paths"][path][method.lower()]
        assert set(row.parts) <= _fields(operation, document), row


def _fields(operation: Mapping[str, Any], document: Mapping[str, Any]) -> set[str]:
    found = {one["name"] for one in operation.get("parameters", ())}
    for content in operation.get("requestBody", {}).get("content", {}).values():
        schema = content["schema"]
        if "$ref" in schema:
            schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        found |= set(schema.get("properties", ()))
    return found
