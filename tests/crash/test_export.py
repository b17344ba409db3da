"""An export that is killed leaves no file under its name, and what was there as it was."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

PAGES = 9
PROGRAM = """
import asyncio, sys
from datetime import UTC, datetime
from traffic_storage.application.export import Export, TableRequest
from traffic_storage.domain.query import Cursor
from traffic_storage.domain.tabular import ExportFormat, RenderedBatch
from traffic_storage.entrypoints.container import export_targets, open_table
from traffic_storage.entrypoints.settings import StorageConfig

class Table:
    pages = 0

    def rendered_pages(self, form):
        return self

    async def end(self, query, rows):
        return Cursor(datetime.now(UTC), "V")

    async def page(self, query, columns, last):
        self.pages += 1
        print(self.pages, flush=True)
        if self.pages == int(sys.argv[2]):
            await asyncio.Event().wait()
        return RenderedBatch(b"V" * 500_000, 500)

export = Export(table=Table(), open_table=open_table, targets=export_targets(StorageConfig()))
asyncio.run(export.to_place(TableRequest(ExportFormat.CSV), sys.argv[1], overwrite=True))
"""


@pytest.mark.parametrize("before", [None, b"the export of yesterday"])
def test_a_killed_export_never_has_the_final_name(tmp_path: Path, before: bytes | None) -> None:
    target = tmp_path / "violations.csv"
    if before is not None:
        target.write_bytes(before)
    command = [sys.executable, "-c", PROGRAM, str(target), str(PAGES)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) == PAGES:
                break
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert (target.read_bytes() if target.exists() else None) == before
    assert {path.name for path in tmp_path.iterdir()} <= {"violations.csv"}
