"""Stored bytes are damaged at random on disk and in a bucket, and then verified.

    python -m tests.load.mutations [--count 2000] [--seed 1]

Every file has a copy on local disk and one in the bucket; half of them have a sidecar (a manifest
too long to lie beside the blob). A mutation flips, truncates, swaps, extends or deletes a blob or a
sidecar; of some files both blobs are damaged. All damage must be found. What has a good copy must be
healed, and what has none must not. Exit status 1 if one of this fails.
"""

import argparse
import asyncio
import json
import random
import sys
import tempfile
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

from attrs import define, field, frozen
from obstore.store import S3Store

from tests.support.servers import Bucket, S3Server
from tests.support.setups import config
from traffic_storage import StorageService, StorageStrategy
from traffic_storage.domain.canonical import Json
from traffic_storage.domain.files import Replica, StoredFile, Tier
from traffic_storage.domain.fixity import manifest_problem
from traffic_storage.domain.manifest import sidecar_key
from traffic_storage.entrypoints.container import Container, build, running

FILES_A_ROUND = 100
BOTH_COPIES, SPARED = 0.15, 0.1


class How(StrEnum):
    """A kind of damage; `SWAP` puts the bytes of another file in place."""

    FLIP = "flip"
    TRUNCATE = "truncate"
    SWAP = "swap"
    EXTEND = "extend"
    DELETE = "delete"


@frozen
class Medium:
    """The bytes of a store on its medium, past its adapter."""

    root: Path
    bucket: S3Store

    async def read(self, tier: Tier, name: str) -> bytes:
        """The bytes under a name."""
        if tier is Tier.LOCAL:
            return (self.root / name).read_bytes()
        return bytes(await (await self.bucket.get_async(name)).bytes_async())

    async def write(self, tier: Tier, name: str, data: bytes | None) -> None:
        """Replace the bytes under a name and keep what lies beside them; None: delete them."""
        if tier is Tier.CLOUD:
            if data is None:
                await self.bucket.delete_async(name)
                return
            held = await self.bucket.get_async(name)
            await self.bucket.put_async(name, data, attributes=held.attributes)
            return
        path = self.root / name
        if data is None:
            path.unlink()
            return
        path.chmod(0o600)
        # In place: the manifest is an extended attribute of this file.
        with path.open("r+b") as file:
            file.write(data)
            file.truncate(len(data))
        path.chmod(0o400)


@define
class Report:
    """What was damaged, found and healed."""

    mutations: int = 0
    damaged_copies: int = 0
    found: int = 0
    healable: int = 0
    healed: int = 0
    lost_files: int = 0
    wrong: list[str] = field(factory=list)

    @property
    def is_right(self) -> bool:
        """Whether all was found and healed, and nothing wrong was seen."""
        return self.found == self.damaged_copies and self.healed == self.healable and not self.wrong


def changed(data: bytes, how: How, other: bytes, chance: random.Random) -> bytes | None:
    """Return the bytes after a mutation; they always differ."""
    at = chance.randrange(len(data))
    match how:
        case How.FLIP:
            return data[:at] + bytes([data[at] ^ (1 << chance.randrange(8))]) + data[at + 1 :]
        case How.TRUNCATE:
            return data[:at]
        case How.SWAP:
            return other
        case How.EXTEND:
            return data + chance.randbytes(1 + chance.randrange(100))
        case How.DELETE:
            return None


class Mutations:
    """Rounds of storing, damaging and verifying, in one service."""

    def __init__(self, container: Container, medium: Medium, seed: int) -> None:
        self._container = container
        self._storage = StorageService(container=container)
        self._medium = medium
        self._chance = random.Random(seed)
        self._stored = 0
        self.report = Report()

    async def round(self, most: int) -> None:
        """Store files, damage at most `most` times, verify, and check each file."""
        files = await self._store()
        await self._storage.verify_data_integrity()
        damaged: dict[str, set[Tier]] = {}
        lost: set[str] = set()
        for place, file in enumerate(files):
            chance = self._chance.random()
            left = most - sum(map(len, damaged.values()))
            if chance < SPARED or not left:
                continue
            other = files[place - 1]
            if chance < SPARED + BOTH_COPIES and left > 1:
                lost.add(file.file_id)
                for replica in file.readable:
                    await self._mutate(replica.tier, replica.key, _at(other, replica.tier))
                damaged[file.file_id] = set(Tier)
            else:
                damaged[file.file_id] = {await self._mutate_one(file, other)}
        await self._verify(damaged, lost)
        await self._check(files, lost)

    async def _store(self) -> Sequence[StoredFile]:
        names = []
        for _ in range(FILES_A_ROUND):
            self._stored += 1
            name = f"file-{self._stored}"
            note = self._chance.randbytes(1500).hex() if self._stored % 2 else "short"
            size = self._chance.randrange(20, 3000)
            data: dict[str, Json] = {"n": self._stored, "text": self._chance.randbytes(size).hex()}
            await self._storage.store_metadata(data, name, {"note": note})
            names.append(name)
        await self._storage.sync_backends()
        files = [await self._container.find().file(name) for name in names]
        assert all(len(file.readable) == 2 for file in files)
        return files

    async def _mutate_one(self, file: StoredFile, other: StoredFile) -> Tier:
        replica = self._chance.choice(file.readable)
        has_sidecar = len(json.loads(file.metadata or "{}").get("note", "")) > 1000
        if has_sidecar and self._chance.random() < 0.5:
            # The neighbour has no sidecar: another blob's bytes are swapped in.
            await self._mutate(replica.tier, sidecar_key(replica.key), _at(other, replica.tier))
        else:
            await self._mutate(replica.tier, replica.key, _at(other, replica.tier))
        return replica.tier

    async def _mutate(self, tier: Tier, name: str, other: str) -> None:
        how = self._chance.choice(list(How))
        data = await self._medium.read(tier, name)
        swapped = await self._other(tier, other, data) if how is How.SWAP else b""
        await self._medium.write(tier, name, changed(data, how, swapped, self._chance))
        self.report.mutations += 1

    async def _other(self, tier: Tier, name: str, data: bytes) -> bytes:
        try:
            other = await self._medium.read(tier, name)
        except FileNotFoundError:
            other = b"the blob of another file, which was deleted"
        return other if other != data else b"other"

    async def _verify(self, damaged: dict[str, set[Tier]], lost: set[str]) -> None:
        report = self.report
        copies = sum(map(len, damaged.values()))
        result = await self._storage.verify_data_integrity()
        known = 2 * report.lost_files
        report.damaged_copies += copies
        report.found += result["corrupted"] + result["missing"] - known
        report.healable += copies - 2 * len(lost)
        report.healed += result["healed"]
        report.lost_files += len(lost)
        if result["unknown"]:
            report.wrong.append(f"{result['unknown']} copies are unknown")

    async def _check(self, files: Sequence[StoredFile], lost: set[str]) -> None:
        """Every present copy is right, and a file without a good copy has none."""
        for was in files:
            file = await self._container.find().file(was.file_id)
            if was.file_id in lost:
                if file.readable:
                    self.report.wrong.append(f"{file.file_id} was healed from a bad copy")
                continue
            if {one.tier for one in file.readable} != set(Tier):
                self.report.wrong.append(f"{file.file_id} has not got its two copies")
            for replica in file.readable:
                await self._check_copy(file, replica)

    async def _check_copy(self, file: StoredFile, replica: Replica) -> None:
        store = self._container.stores().blob_store(replica.store_id)
        (one,) = await store.examine([(replica.key, file.stored)])
        problem = str(one.error or "") or manifest_problem(file, one.manifest)
        if problem:
            self.report.wrong.append(f"{file.file_id} in {replica.store_id}: {problem}")


def _at(file: StoredFile, tier: Tier) -> str:
    return next(str(one.key) for one in file.readable if one.tier is tier)


async def measure(count: int, seed: int, folder: Path, bucket: Bucket, **more: Any) -> Report:
    """Damage `count` times, in rounds; return what was found and healed."""
    settings = config(folder, bucket=bucket, workers=0, **more)
    async with running(build(settings, StorageStrategy.HYBRID)) as container:
        medium = Medium(folder / "blobs", bucket.client())
        mutations = Mutations(container, medium, seed)
        while mutations.report.mutations < count:
            await mutations.round(count - mutations.report.mutations)
        return mutations.report


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000, help="mutations")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, S3Server() as s3:
        report = asyncio.run(measure(given.count, given.seed, Path(folder), s3.create_bucket()))
    print(f"{report.mutations} mutations of {report.damaged_copies} copies")
    print(f"  found:  {report.found} of {report.damaged_copies}")
    print(f"  healed: {report.healed} of {report.healable} that had a good copy")
    print(f"  files without a good copy, none of them healed: {report.lost_files}")
    for wrong in report.wrong:
        print(f"  WRONG: {wrong}")
    return int(not report.is_right)


if __name__ == "__main__":
    sys.exit(main())
