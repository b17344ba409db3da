"""Everything else that a service does to files, in rounds, on files of its own.

A round stores four files. One is held and must stay, one is deleted, one is deleted and brought
back, and one is due: retention is planned and applied. Every few rounds the stores are verified and
compared, copies synchronised, other rules entered, and the clean-up run, directly or by jobs. After
a round, hours have passed, so that graces end and copies become due for verification.

What is told, besides `ack`: `may`, files that may be deleted from now on; `kept`, those that may no
longer; `deleted`, those that must be; `wrong`, what should not have happened; `later`, the seconds
by which the clock is ahead.
"""

import asyncio
import hashlib
import itertools
import random
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from attrs import Factory, define

from tests.crash.later import LaterClock
from tests.crash.points.scenario import enqueue
from tests.support.media import shipped_jpeg
from traffic_storage import StorageService
from traffic_storage.application.reconcile import RECONCILE
from traffic_storage.application.retain import application
from traffic_storage.domain.canonical import Json
from traffic_storage.domain.deletion import Deleted
from traffic_storage.domain.errors import NotFound, StorageFull, Unavailable, WrongState
from traffic_storage.entrypoints.container import Container
from traffic_storage.ports.errors import DeadlinePassed

HOURS = timedelta(hours=6)
LONG_AGO = datetime(2001, 1, 1, tzinfo=UTC)
WHY = "a test"
REMEMBERED = 500

Tell = Callable[..., None]

PASSING = (Unavailable, DeadlinePassed, StorageFull, WrongState)
"""What a round or a request may end with while servers are away, or the clock jumps."""


def settings_of_jobs(*, copies: bool) -> dict[str, Any]:
    """The settings with which all jobs run often, and only what is due on purpose is deleted."""
    return {
        "workers": 1,
        "deletion_grace_days": 1,
        "purge_interval_seconds": 0.5,
        "reconcile_interval_hours": 0.01,
        **dict.fromkeys(
            ("image_retention_days", "video_retention_days", "metadata_retention_days"), 3650
        ),
        # Files leave the local disk.
        **({"max_local_size_gb": 0.02, "high_water": 0.5, "low_water": 0.3} if copies else {}),
    }


@define
class Lifecycle:
    """The rounds of one process, whose numbers no earlier process has used."""

    container: Container
    service: StorageService
    tell: Tell
    pause_seconds: float = 0.0
    known: dict[str, str] = Factory(dict)

    async def rounds(self, first: int) -> None:
        """Do rounds until the process ends."""
        for number in itertools.count(first):
            self.tell(round=number)
            try:
                await self._round(number)
            except PASSING as error:
                self.tell(failed=f"{type(error).__name__}: {error}")
            clock = self.container.clock()
            if isinstance(clock, LaterClock):
                clock.pass_time(HOURS)
                self.tell(later=clock.later.total_seconds())
            await asyncio.sleep(self.pause_seconds)

    async def reads(self) -> None:
        """Read files that must be there, and compare them, until the process ends."""
        chance = random.Random(1)
        while True:
            await asyncio.sleep(self.pause_seconds or 0.01)
            if not self.known:
                continue
            # While it is read it may be forgotten.
            name, sha256 = chance.choice([*self.known.items()])
            with suppress(*PASSING):
                data, _ = await self.service.retrieve_file(name)
                if hashlib.sha256(data).hexdigest() != sha256:
                    self.tell(wrong=f"{name} was read with other bytes")

    def remember(self, acknowledged: dict[str, str]) -> None:
        """Read these files now and then; the oldest are left out."""
        self.known |= acknowledged
        while len(self.known) > REMEMBERED:
            del self.known[next(iter(self.known))]

    async def _round(self, number: int) -> None:
        due, held, gone, back = (f"{part}-{number}" for part in ("due", "held", "gone", "back"))
        self.tell(may=[due, held, gone, back])
        for name in (due, held):
            await self._store_due(name)
        for name in (gone, back):
            data = shipped_jpeg() + name.encode()
            self._acknowledge(await self.service.store_image(data, name))
        placed = await self.service.place_hold(f"case {number}", WHY, file_id=held)
        if placed["tombstoned"]:
            # The job of an earlier round was faster; the hold keeps the file from the purge.
            await self.service.undelete_file(held, WHY)
        self.tell(kept=[held])
        await self.service.delete_file(gone, WHY, override=True)
        self.tell(deleted=[gone])
        await self.service.delete_file(back, WHY, override=True)
        await self.service.undelete_file(back, WHY)
        self.tell(kept=[back])
        await self._retain(number, due)
        data, view = await self.service.retrieve_file(held, evidence=True)
        if hashlib.sha256(data).hexdigest() != view["sha256"]:
            self.tell(wrong=f"{held} was handed out with other bytes")
        await self._maintain(number)

    async def _store_due(self, name: str) -> None:
        content: dict[str, Json] = {"name": name}
        given: dict[str, Json | datetime] = {"timestamp": LONG_AGO}
        self._acknowledge(await self.service.store_metadata(content, name, given, historic=True))

    def _acknowledge(self, view: Any) -> None:
        self.tell(ack={view["file_id"]: view["sha256"]}, seed=-1)

    async def _retain(self, number: int, due: str) -> None:
        """Plan and apply retention: every second time by a job."""
        plan = await self.service.plan_retention()
        if number % 2:
            kind, arguments = application(UUID(plan["plan_id"]), "rounds", override_limit=True)
            await enqueue(self.container, kind, **arguments)
            return
        await self.service.apply_retention(plan["plan_id"], override_limit=True)
        try:
            await self.service.get_file(due)
        except (Deleted, NotFound):
            self.tell(deleted=[due])

    async def _maintain(self, number: int) -> None:
        if number % 2 == 0:
            await self.service.sync_backends()
        if number % 3 == 0:
            await self.container.verify_replicas().start()
        if number % 4 == 0:
            for store_id in self.container.schedules().available():
                await enqueue(self.container, RECONCILE, store_id=store_id)
        if number % 5 == 0:
            rule: dict[str, Json] = {"rule_id": "longer", "days": 4000 + number}
            staged = await self.service.stage_retention_rules([rule], reason=WHY)
            await self.service.enter_retention_rules(staged["change_id"])
        if number % 6 == 0:
            await self.service.cleanup_expired_data(dry_run=False, override_limit=True)
