"""Commands that store a folder of JPEGs; each item is a folder and a whole process."""

import asyncio
import resource
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.contenders import Contender, Place
from benchmarks.peers import forms

FILES = 1000


class Bulk(Contender[Path]):
    """Runs a command on folders of new files."""

    def __init__(self, place: Place, command: Callable[[Path, Path], Sequence[str]]) -> None:
        self._folder = place.folder
        self._command = command

    async def open(self) -> None:
        (self._folder / "given").mkdir()

    def items(self, numbers: range) -> Sequence[Path]:
        folders = [self._folder / "given" / str(number) for number in numbers]
        for number, folder in zip(numbers, folders, strict=True):
            folder.mkdir()
            for file in range(FILES):
                (folder / f"{file}.jpg").write_bytes(forms.jpeg(number * FILES + file))
        return folders

    async def do(self, item: Path) -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *self._command(item, self._folder / "target"),
            stdout=asyncio.subprocess.DEVNULL,
        )
        assert await process.wait() == 0

    async def aclose(self) -> None:
        """Nothing is open."""

    def cpu_seconds(self) -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime


def ours(place: Place) -> Bulk:
    """Return the command `traffic-storage store`."""
    return Bulk(
        place,
        lambda folder, target: (
            *("-m", "traffic_storage.entrypoints.cli", "store", str(folder)),
            *("--base-path", str(target)),
        ),
    )


def script(place: Place, *options: str) -> Bulk:
    """Return the script by hand, with its options."""
    return Bulk(
        place,
        lambda folder, target: (
            *("-m", "benchmarks.peers.script", str(folder), str(target)),
            *options,
        ),
    )


def checking_script(place: Place) -> Bulk:
    """Return the script by hand that decodes each JPEG."""
    return script(place, "--checks")
