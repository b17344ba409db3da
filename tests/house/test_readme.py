"""What the README and the guides show in Python runs as it stands."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.tree import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCKS = [
    block
    for page in PAGES
    for block in re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
]
# One serves until it is interrupted, the other needs a store of the reader's own.
FOREVER, OF_THE_READER = "uvicorn.run", "MyStore("
WHOLE = [block for block in BLOCKS if FOREVER not in block and OF_THE_READER not in block]


@pytest.mark.parametrize("block", WHOLE)
def test_it_runs_in_an_empty_folder(block: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", block],
        cwd=tmp_path,
        env={**os.environ, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_what_needs_a_reader_still_imports_what_there_is(tmp_path: Path) -> None:
    others = [block for block in BLOCKS if block not in WHOLE]
    assert len(others) == 2
    imports = [
        line
        for block in others
        for line in block.splitlines()
        if line.startswith(("import", "from"))
    ]
    subprocess.run([sys.executable, "-c", "\n".join(imports)], cwd=tmp_path, check=True)
