"""A script by hand that stores the JPEGs of a folder: durable files, and rows in groups.

    python -m benchmarks.peers.script FOLDER TARGET [--checks]

Threads read, hash and write the files; each group of rows is one commit. With `--checks` each JPEG is
decoded, as Traffic Storage does it.
"""

import argparse
import asyncio
import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from sqlalchemy import insert
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from benchmarks.peers.by_hand import engine_of
from benchmarks.peers.files import checked, save

_THREADS, _GROUP = 16, 100


class Base(DeclarativeBase):
    """The base class of the tables."""


class Image(Base):
    """The table of images."""

    __tablename__ = "image"

    sha256: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    size_bytes: Mapped[int]
    path: Mapped[str]


def _stored(target: Path, checks: bool, path: Path) -> dict[str, object]:
    content = path.read_bytes()
    sha256 = checked(content) if checks else hashlib.sha256(content).hexdigest()
    kept = save(target, f"{sha256}.jpg", content, durable=True)
    return {"sha256": sha256, "name": path.name, "size_bytes": len(content), "path": str(kept)}


async def store(folder: Path, target: Path, *, checks: bool) -> None:
    """Store the JPEGs of a folder."""
    engine = engine_of(target)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    loop, store_one = asyncio.get_running_loop(), partial(_stored, target, checks)
    with ThreadPoolExecutor(_THREADS) as threads:
        paths = await loop.run_in_executor(threads, lambda: sorted(folder.glob("*.jpg")))
        for first in range(0, len(paths), _GROUP):
            group = paths[first : first + _GROUP]
            stored = (loop.run_in_executor(threads, store_one, path) for path in group)
            rows = await asyncio.gather(*stored)
            async with engine.begin() as connection:
                await connection.execute(insert(Image), rows)
    await engine.dispose()


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers.script")
    parser.add_argument("folder", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--checks", action="store_true")
    given = parser.parse_args()
    given.target.mkdir(exist_ok=True)
    asyncio.run(store(given.folder, given.target, checks=given.checks))
    # Nothing is left to do; the interpreter's exit takes time.
    os._exit(0)


if __name__ == "__main__":
    main()
