"""The accidents of other systems, and the test of each: `test_aNN_…`."""

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

ACCIDENTS: Mapping[int, str] = {
    1: "a process is killed at any step",
    2: "the disk is full while something is stored",
    3: "a full disk has nothing but held or unexpired evidence",
    4: "an empty catalogue meets a full store, or a full one an empty mount",
    5: "a listing is 60 % short",
    6: "a blob is stored shortly before a comparison, its row is not committed yet",
    7: "several workers free space, and bytes go more slowly than rows",
    8: "an unrelated file fills the disk",
    9: "the destination of a move truncates or flips the bytes",
    10: "one of several copies is bad",
    11: "what is undeleted is past its retention",
    12: "the last copy is the source of a move that is stuck",
    13: "a time is unreadable",
    15: "the same content is stored while another file of it is deleted",
    18: "the cloud is away for 72 hours",
    19: "an edit shortens a retention rule",
    20: "a move is restarted half-way",
    21: "a link was issued before a move",
    22: "the tables are large",
}
_NAME = re.compile(r"test_a(\d\d)_")


def named_tests(root: Path) -> Iterator[tuple[int, Path, str]]:
    """Yield the number, the module and the name of each test of an accident in the checkout `root`."""
    for folder in (root / "tests", root / "entrypoints" / "testing"):
        for path in sorted(folder.rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (
                    found := _NAME.match(node.name)
                ):
                    yield int(found[1]), path.relative_to(root), node.name
