"""Recovery: what is undone, what is left, and for whom."""

import asyncio
from copy import deepcopy
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.application.rig import (
    LONG_AGO,
    RememberingBlobStore,
    Rig,
    Service,
    film,
    outcome,
    picture,
    violation_record,
)
from tests.application.script import Died, Script, Step
from traffic_storage.adapters.record_repo.memory import InMemoryRecordRepo
from traffic_storage.application.recovery import BATCH
from traffic_storage.domain.errors import StorageFull, StorageUnavailable
from traffic_storage.domain.files import BlobKey, Tier
from traffic_storage.domain.manifest import BlobManifest
from traffic_storage.domain.placement import StorageStrategy
from traffic_storage.domain.quarantine import QuarantineReason
from traffic_storage.entrypoints.testing.blobs import NEVER
from traffic_storage.entrypoints.testing.faults.plans import Fault, When
from traffic_storage.ports.errors import CatalogueUnavailable
from traffic_storage.ports.spool import Body

V001 = violation_record()
TIMEOUT = timedelta(seconds=600)
MARGIN = TIMEOUT / 10


MONTH = timedelta(days=30)


def held(rig: Rig) -> set[BlobKey]:
    """The keys that recovery has entered into the quarantine."""
    entries = rig.repo._quarantine.values()
    assert all(one.reason is QuarantineReason.UNDONE for one in entries)
    return {one.key for one in entries}


async def gone_in_time(rig: Rig, service: Service) -> bool:
    """Whether what was undone is deleted when its days have passed, and nothing else."""
    undone = {*held(rig)}
    kept = {key: data for store in rig.at_rest.values() for key, data in store.blobs.items()}
    rig.clock.advance(MONTH)
    await service.container.reconcile()(lambda _store_id, _progress: None)
    left = {key: data for store in rig.at_rest.values() for key, data in store.blobs.items()}
    assert left == {key: data for key, data in kept.items() if key not in undone}
    return not held(rig)


async def interrupted(rig: Rig, service: Service, file_id: str = "X") -> None:
    """Leave an attempt whose blob was published and whose row was not."""
    rig.script.begin((Step("repo.apply", 1, When.BEFORE), lambda: CatalogueUnavailable("gone")))
    assert isinstance(await outcome(service.video(film(), file_id)), CatalogueUnavailable)
    rig.script.begin()


async def test_it_waits_for_the_deadline_and_a_margin() -> None:
    rig = Rig(attempt_timeout_seconds=TIMEOUT.total_seconds())
    async with rig.running() as service:
        await interrupted(rig, service)
        recover = service.container.recover()
        rig.clock.advance(TIMEOUT + MARGIN - timedelta(microseconds=1))
        assert await recover() == 0
        assert len(rig.at_rest[Tier.LOCAL].blobs) == 1
        rig.clock.advance(timedelta(microseconds=1))
        assert await recover() == 1
        assert (rig.attempts, held(rig)) == ([], {*rig.at_rest[Tier.LOCAL].blobs})
        assert await recover() == 0
        assert service.counters.attempts_undone == 1
        assert await gone_in_time(rig, service)
        assert not rig.at_rest[Tier.LOCAL].blobs


@pytest.mark.parametrize(("attempt", "request_lasts", "margin"), [(600, 30, 60), (10, 30, 30)])
async def test_the_margin_outlasts_a_request_that_is_on_its_way(
    attempt: float, request_lasts: float, margin: float
) -> None:
    rig = Rig(
        StorageStrategy.CLOUD_ONLY,
        s3_access_key="key",
        s3_secret_key="s" * 20,
        s3_timeout_seconds=request_lasts,
        attempt_timeout_seconds=attempt,
    )
    async with rig.running() as service:
        await interrupted(rig, service)
        rig.clock.advance(timedelta(seconds=attempt + margin) - timedelta.resolution)
        assert await service.container.recover()() == 0
        rig.clock.advance(timedelta.resolution)
        assert await service.container.recover()() == 1


async def test_it_undoes_at_the_start_what_a_dead_process_left() -> None:
    rig = Rig(StorageStrategy.HYBRID)
    dead = rig.boot()
    await dead.start()
    rig.script.begin((Step("repo.apply", 1, When.BEFORE), Died))
    with pytest.raises(Died):
        await dead.evidence(V001, picture(), film())
    rig.script = Script()
    assert sum(len(store.blobs) for store in rig.at_rest.values()) == 3
    rig.clock.advance(LONG_AGO)
    async with rig.running() as service:
        assert service.counters.attempts_undone == 1
        assert len(held(rig)) == 3
        assert (await service.evidence(V001, picture(), film())).created
        assert await gone_in_time(rig, service)
        assert rig.findings() == []


async def test_what_is_stored_is_never_touched() -> None:
    rig = Rig()
    async with rig.running() as service:
        await service.evidence(V001, picture(), film())
        await interrupted(rig, service)
        kept = dict(rig.files)
        rig.clock.advance(LONG_AGO)
        await service.sweep()
        assert rig.files == kept
        assert rig.findings() == []
        assert await gone_in_time(rig, service)
        assert len(rig.at_rest[Tier.LOCAL].blobs) == 3


async def test_a_commit_whose_outcome_was_unknown_but_happened_is_kept() -> None:
    rig = Rig()
    async with rig.running() as service:
        gone = lambda: CatalogueUnavailable("gone")  # noqa: E731
        rig.script.begin((Step("repo.apply", 1, When.AFTER), gone))
        assert isinstance(await outcome(service.video(film(), "X")), CatalogueUnavailable)
        rig.clock.advance(LONG_AGO)
        await service.sweep()
        assert (await service.read.whole("X"))[0] == film()
        assert not (await service.video(film(), "X")).created
        assert (rig.attempts, rig.findings()) == ([], [])
        assert await service.miscounts() == []


@pytest.mark.parametrize("when", When)
async def test_an_undo_whose_outcome_is_unknown_is_repeated(when: When) -> None:
    rig = Rig(StorageStrategy.HYBRID)
    async with rig.running() as service:
        rig.script.begin((Step("repo.apply", 1, When.BEFORE), lambda: CatalogueUnavailable("gone")))
        await outcome(service.evidence(V001, picture(), film()))
        rig.clock.advance(LONG_AGO)
        rig.script.begin((Step("repo.apply", 1, when), lambda: CatalogueUnavailable("gone")))
        with pytest.raises(CatalogueUnavailable):
            await service.sweep()
        rig.script.begin()
        # Condemned ones are taken up by whoever comes, too.
        async with rig.running():
            assert (rig.attempts, len(held(rig))) == ([], 3)


async def test_no_store_is_needed_to_undo_and_the_blob_waits_for_its_process() -> None:
    rig = Rig(StorageStrategy.HYBRID)
    async with rig.running() as service:
        await interrupted(rig, service)
        rig.cloud.go_down("no answer")
        rig.clock.advance(LONG_AGO)
        await service.sweep()
        assert (rig.attempts, len(held(rig))) == ([], 1)
        rig.cloud.come_back()
        assert await gone_in_time(rig, service)


async def test_many_are_undone_in_one_call() -> None:
    rig = Rig()
    async with rig.running() as service:
        for number in range(2 * BATCH + 1):
            await interrupted(rig, service, f"f{number}")
        rig.clock.advance(LONG_AGO)
        assert await service.container.recover()() == 2 * BATCH + 1
        assert rig.attempts == []
        assert held(rig) == {*rig.at_rest[Tier.LOCAL].blobs}


async def test_the_database_may_go_away_in_the_middle() -> None:
    rig = Rig()
    async with rig.running() as service:
        for name in ("a", "b", "c"):
            await interrupted(rig, service, name)
        rig.clock.advance(LONG_AGO)
        gone: Any = lambda: CatalogueUnavailable("gone")  # noqa: E731
        rig.script.begin((Step("repo.apply", 2, When.BEFORE), gone))
        with pytest.raises(CatalogueUnavailable):
            await service.container.recover()()
        rig.script.begin()
        assert len(rig.attempts) == 2
        assert await service.container.recover()() == 2
        assert held(rig) == {*rig.at_rest[Tier.LOCAL].blobs}


async def test_an_attempt_that_a_restored_catalogue_holds_is_undone_and_its_file_is_kept() -> None:
    """The file was acknowledged after the backup was made; a rebuild finds it again."""
    rig = Rig()
    rig.repo = await backed_up_in_flight(rig)
    rig.clock.advance(LONG_AGO)
    async with rig.running() as service:
        await service.sweep()
        assert (rig.attempts, [*rig.files]) == ([], [])
        assert len(rig.at_rest[Tier.LOCAL].blobs) == 1
        found = await service.container.rebuild_catalogue()(lambda _progress: None)
        assert found.files == 1
        assert (await service.read.whole("X"))[0] == film()
        assert held(rig) == set()


async def backed_up_in_flight(rig: Rig) -> InMemoryRecordRepo:
    """Acknowledge the file X, and return a copy of the catalogue in which it is an attempt."""
    async with rig.running() as service:
        rig.script.begin()
        committing = rig.script.hold("repo.apply")
        storing = asyncio.create_task(service.video(film(), "X"))
        await committing.reached.wait()
        backup = deepcopy(rig.repo)
        committing.let_go.set()
        assert (await storing).created
        return backup


async def reconciled_for_a_month(rig: Rig, service: Service) -> None:
    for _ in range(15):
        rig.clock.advance(timedelta(days=2))
        await service.sweep()
        await service.container.reconcile()(lambda _store_id, _progress: None)


@pytest.mark.parametrize("sweeps", [False, True])
async def test_a_store_adopted_by_an_older_catalogue_keeps_what_was_acknowledged(
    sweeps: bool,
) -> None:
    """Whether the attempt was undone before the adoption, or only later."""
    rig = Rig()
    backup = await backed_up_in_flight(rig)
    async with rig.running():
        pass
    rig.repo = backup
    rig.clock.advance(LONG_AGO if sweeps else timedelta(seconds=1))
    async with rig.running() as service:
        (bound,) = [one for one in service.stores if one.configured.written]
        assert "restored from an older backup" in bound.untrusted_reason
        assert "traffic-storage rebuild" in await service.stores.adopt(bound)
        await service.stores.bind()
        await reconciled_for_a_month(rig, service)
        assert (await service.read.whole("X"))[0] == film()


async def test_a_catalogue_that_lacks_a_file_deletes_no_attempt_of_its_store() -> None:
    """A backup is restored within the hour, so that only what the store has tells its age."""
    rig = Rig()
    backup = await backed_up_in_flight(rig)
    async with rig.running() as service:
        await service.video(film(2), "later")
    backup._stores = deepcopy(rig.repo._stores)
    rig.repo = backup
    async with rig.running() as service:
        await reconciled_for_a_month(rig, service)
        assert (await service.read.whole("later"))[0] == film(2)
        assert (await service.read.whole("X"))[0] == film()


class LateBlobStore(RememberingBlobStore):
    """Requests are cut off before the answer, and arrive later all the same."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._under_way: list[tuple[BlobKey, Body, BlobManifest]] = []

    async def put(
        self, key: BlobKey, body: Body, manifest: BlobManifest, *, deadline: datetime
    ) -> None:
        self._under_way.append((key, body, manifest))
        raise StorageUnavailable("no answer in time")

    async def arrive(self) -> None:
        """What is under way arrives."""
        for key, body, manifest in self._under_way:
            await super().put(key, body, manifest, deadline=NEVER)


@pytest.mark.parametrize("local_is_full", [True, False])
async def test_what_may_still_arrive_stays_in_the_journal_until_it_cannot(
    local_is_full: bool,
) -> None:
    rig = Rig(StorageStrategy.HYBRID)
    late = LateBlobStore(rig.clock, Tier.CLOUD, "s3.example/bucket")
    rig.cloud.inner = rig.at_rest[Tier.CLOUD] = late
    async with rig.running() as service:
        if local_is_full:
            rig.local.plan(Fault("put", lambda: StorageFull("full"), times=None))
        result = await outcome(service.evidence(V001, picture(), film()))
        assert isinstance(result, StorageUnavailable) == local_is_full
        assert rig.attempts
        await late.arrive()
        assert late.blobs
        assert rig.findings() == []
        rig.clock.advance(LONG_AGO)
        await service.sweep()
        assert (rig.attempts, rig.findings()) == ([], [])
        assert held(rig) >= {*late.blobs}
        if local_is_full:
            assert await gone_in_time(rig, service)
            assert not late.blobs
        else:
            # The file was stored elsewhere: it gets the copy that it was to have here.
            rig.clock.advance(MONTH)
            await service.container.reconcile()(lambda _store_id, _progress: None)
            assert (rig.findings(), held(rig)) == ([], set())
            late_keys = {*late.blobs}
            files = rig.files.values()
            assert late_keys == {
                copy.key for file in files for copy in file.readable if copy.tier is Tier.CLOUD
            }


async def test_what_cannot_be_undone_at_once_is_left_to_recovery() -> None:
    rig = Rig()
    async with rig.running() as service:
        await service.video(film(1), "X")
        for call in ("repo.forget", "local.delete"):
            away = lambda: StorageUnavailable("no answer")  # noqa: E731
            rig.script.begin((Step(call, 1, When.BEFORE), away))
            held = rig.script.hold("local.put")
            race = asyncio.create_task(outcome(service.video(film(2), f"race-{call}")))
            await held.reached.wait()
            await service.video(film(3), f"race-{call}")
            held.let_go.set()
            assert "exists already" in str(await race)
            assert len(rig.attempts) == 1
            rig.script.begin()
            rig.clock.advance(LONG_AGO)
            await service.sweep()
            assert (rig.attempts, rig.findings()) == ([], [])
