"""Tests that need root: file systems of their own. Without it they are left out, and counted.

Mark them `privileged`, and mount in them what the functions here mount.
"""

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Protocol, TypeVar

import pytest

T = TypeVar("T")

_LEFT_OUT = pytest.StashKey[int]()
_OUTPUT = "privileged_left_out"


class _WorkerNode(Protocol):
    """What pytest-xdist gives the controller for each worker that ends."""

    config: pytest.Config
    workeroutput: dict[str, object]


@contextmanager
def mounted(folder: Path, kind: str, options: str, source: str = "none") -> Iterator[Path]:
    """A file system mounted on `folder`, which is made, for the time of a block."""
    folder.mkdir(parents=True, exist_ok=True)
    _run("mount", "-t", kind, "-o", options, source, str(folder))
    try:
        yield folder
    finally:
        # Lazily: what a failing test left open must not keep the mount for the rest of the run.
        _run("umount", "--lazy", str(folder))


@contextmanager
def small_memory_disk(folder: Path, options: str) -> Iterator[Path]:
    """A tmpfs with limits, as `size=1m,nr_inodes=20`."""
    with mounted(folder, "tmpfs", options) as disk:
        yield disk


def fill_up(disk: Path) -> Path:
    """Take all space of a small disk, by a file that is returned."""
    filler = disk / "filler"
    with filler.open("ab", buffering=0) as file:
        for size_bytes in (1 << 20, 1 << 14, 512):
            with suppress(OSError):
                while True:
                    file.write(bytes(size_bytes))
    return filler


def remount(folder: Path, options: str) -> None:
    """Change a mount, as `ro` or `rw`."""
    _run("mount", "-o", f"remount,{options}", str(folder))


@contextmanager
def disk_image(image: Path, folder: Path) -> Iterator[Path]:
    """The ext4 in the file `image`, mounted on `folder` through a loop device.

    With direct I/O: what the file system sends to its device is in the file, and nothing else is.
    """
    device = _run("losetup", "--find", "--show", "--direct-io=on", str(image)).strip()
    try:
        with mounted(folder, "ext4", "defaults", device) as disk:
            yield disk
    finally:
        _run("losetup", "--detach", device)


def new_image(image: Path, size_bytes: int) -> Path:
    """A new file with an empty ext4."""
    with image.open("wb") as file:
        file.truncate(size_bytes)
    _run("mkfs.ext4", "-q", "-F", str(image))
    return image


@contextmanager
def frozen_while(folder: Path, look: Callable[[], T]) -> Iterator[T]:
    """What `look` saw before the file system on `folder` stood still, for the time of a block."""
    seen = look()
    _run("fsfreeze", "--freeze", str(folder))
    try:
        yield seen
    finally:
        _run("fsfreeze", "--unfreeze", str(folder))


@cache
def can_mount() -> bool:
    """Whether this process may mount file systems and set up loop devices."""
    if os.geteuid() != 0 or not Path("/dev/loop-control").exists():
        return False
    with tempfile.TemporaryDirectory() as folder:
        try:
            with small_memory_disk(Path(folder), "size=64k"):
                return True
        except subprocess.CalledProcessError:
            return False


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the privileged tests out where they can't run."""
    privileged = [item for item in items if item.get_closest_marker("privileged")]
    if not privileged or can_mount():
        return
    items[:] = [item for item in items if item not in privileged]
    config.hook.pytest_deselected(items=privileged)
    config.stash[_LEFT_OUT] = len(privileged)
    if (output := getattr(config, "workeroutput", None)) is not None:
        output[_OUTPUT] = len(privileged)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: _WorkerNode) -> None:
    """Hear from a worker how many it left out; each sees all tests."""
    left_out = getattr(node, "workeroutput", {}).get(_OUTPUT)
    if isinstance(left_out, int):
        node.config.stash[_LEFT_OUT] = left_out


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say it in one line."""
    if left_out := config.stash.get(_LEFT_OUT, 0):
        terminalreporter.write_line(
            f"{left_out} privileged tests were left out: they need root, mount and a loop device",
            yellow=True,
        )


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
