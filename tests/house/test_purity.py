"""The core reads no clock, draws no chance, opens no file and starts no thread by itself."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house.tree import ROOT

IMPURE_CALLS = {
    "asyncio.to_thread",
    "date.today",
    "datetime.now",
    "datetime.today",
    "datetime.utcnow",
    "input",
    "open",
    "print",
    "uuid.uuid1",
    "uuid.uuid4",
    "uuid1",
    "uuid4",
}
IMPURE_METHODS = (
    *(".run_in_executor", ".datetime.now", ".read_bytes", ".read_text"),
    *(".write_bytes", ".write_text", ".unlink", ".mkdir"),
)
# A port may have an `open` too: that of a file is known by what it is called on.
OPENS_A_FILE = re.compile(r"((^|\.)(io|os)|Path\(.*\)|path)\.open$")
CORE = sorted(
    path for name in ("domain", "ports", "application") for path in (ROOT / name).rglob("*.py")
)


def impure_calls(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if (
                called in IMPURE_CALLS
                or called.endswith(IMPURE_METHODS)
                or OPENS_A_FILE.search(called)
            ):
                yield f"line {node.lineno}: {called}"


@pytest.mark.parametrize("path", CORE, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_core_is_pure(path: Path) -> None:
    assert list(impure_calls(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "fault",
    [
        "datetime.now(UTC)",
        "datetime.datetime.now(UTC)",
        "uuid4()",
        "await asyncio.to_thread(work)",
        "loop.run_in_executor(None, work)",
        "open('a')",
        "io.open('a')",
        "os.open('a', 0)",
        "Path('a').open()",
        "image_path.open()",
        "Path('a').read_bytes()",
        "target.write_text('a')",
    ],
)
def test_a_planted_fault_is_found(fault: str) -> None:
    assert list(impure_calls(f"async def use_case():\n    {fault}\n"))
    assert not list(impure_calls("self.clock.now(); self.store.open(key, digests, span)"))
