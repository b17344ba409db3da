"""Verification of copies: what is found, recorded and healed, and what stays untouched."""

from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import uuid4

import pytest
from attrs import evolve

from tests.application.rig import LONG_AGO, Rig, Service, film, key_in, streamed, two_copies
from tests.support.waiting import until
from traffic_storage.application.verify_replicas import IntegrityReport, VerifyReplicas
from traffic_storage.domain.digests import WHOLE_READ_BYTES, digests_of
from traffic_storage.domain.errors import InvalidInput, StorageUnavailable
from traffic_storage.domain.files import Coding, FileState, ReplicaState, StoredFile, Tier
from traffic_storage.domain.fixity import FixityCounts
from traffic_storage.domain.identifiers import FileId, StoreId
from traffic_storage.domain.incidents import Incident, IncidentKind, IncidentsQuery
from traffic_storage.domain.jobs import Done, JobKind, JobState, Progress, Run
from traffic_storage.domain.placement import StorageStrategy
from traffic_storage.entrypoints.testing.containers import NOON
from traffic_storage.entrypoints.testing.faults.blob_store import Damage, tamper

SMALL, LARGE = film(1, 400), film(2, WHOLE_READ_BYTES + 700_000)
SIZES = pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "large"])
TIERS = pytest.mark.parametrize("tier", Tier)
DAY = timedelta(days=1)


@pytest.fixture
def rig() -> Rig:
    """HYBRID without a cache and without a worker, so that only the test verifies."""
    return Rig(StorageStrategy.HYBRID, cache_item_bytes=0, workers=0)


@pytest.fixture
async def service(rig: Rig) -> AsyncIterator[Service]:
    async with rig.running() as service:
        yield service


def verify_of(service: Service) -> VerifyReplicas:
    return service.container.verify_replicas()


async def verified(
    rig: Rig, service: Service, sample: int | None = None, *, heal: bool = True
) -> IntegrityReport:
    """Verify a second after all that has happened."""
    rig.clock.advance(timedelta(seconds=1))
    return await verify_of(service)(sample, heal=heal)


def id_of(service: Service, tier: Tier) -> StoreId:
    (found,) = [one.store_id for one in service.stores if one.store.tier is tier]
    assert found is not None
    return found


def states(rig: Rig, file: StoredFile) -> dict[Tier, list[ReplicaState]]:
    found: dict[Tier, list[ReplicaState]] = {}
    for copy in rig.files[file.file_id].replicas:
        found.setdefault(copy.tier, []).append(copy.state)
    return found


async def incidents(rig: Rig, *, is_open: bool = True) -> tuple[Incident, ...]:
    return (await rig.repo.incidents(IncidentsQuery(is_open=is_open))).items


async def job(
    service: Service, store_id: StoreId, *progress: Progress, **arguments: str
) -> list[Progress]:
    """Do one job of verification, as a worker does; return the progress that it reported."""
    run = Run(uuid4(), uuid4(), JobKind("verify_store"), {"store_id": store_id, **arguments}, 1, 8)
    seen = list(progress)
    outcome = await verify_of(service).run(run, seen.append)
    assert isinstance(outcome.end, Done)
    assert outcome.end.progress == (seen[-1] if len(seen) > len(progress) else outcome.end.progress)
    return seen


async def test_all_is_well(rig: Rig, service: Service) -> None:
    file = await two_copies(rig, service, SMALL)
    await service.json({"a": 1}, "other")
    rig.clock.advance(DAY)
    before = dict(rig.at_rest[Tier.LOCAL].blobs)
    report = await verified(rig, service)
    size = 2 * len(SMALL) + rig.files[FileId("other")].stored.size_bytes
    assert report == IntegrityReport(2, FixityCounts(checked=3, bytes=size))
    for copy in rig.files[file.file_id].replicas:
        assert (copy.state, copy.verified_at) == (ReplicaState.PRESENT, rig.clock.now())
    assert dict(rig.at_rest[Tier.LOCAL].blobs) == before
    assert await incidents(rig) == ()
    history = await verify_of(service).history()
    assert sum(day.counts.checked for day in history) == 3
    assert (
        str(await verify_of(service).coverage())
        == "100.0 % within 30 days, the oldest 0.0 days ago"
    )


@SIZES
@TIERS
@pytest.mark.parametrize("how", Damage)
async def test_a10_only_the_bad_copy_is_rewritten_from_one_that_was_verified(
    rig: Rig, service: Service, content: bytes, tier: Tier, how: Damage
) -> None:
    """A10: only the bad one is rewritten, under a new key; the good one is not touched."""
    file = await two_copies(rig, service, content)
    bad = key_in(file, tier)
    (good,) = [copy for copy in file.replicas if copy.tier is not tier]
    await tamper(rig.at_rest[tier], bad, how, at=7)

    report = await verified(rig, service)

    counts = report.counts
    is_lost = how is Damage.REMOVE
    assert (report.files_checked, counts.checked, counts.healed) == (1, 2, 1)
    assert (counts.corrupted, counts.missing) == ((0, 1) if is_lost else (1, 0))
    now = rig.files[file.file_id]
    (new,) = [copy for copy in now.readable if copy.tier is tier]
    assert new.key != bad
    assert rig.at_rest[tier].blobs[new.key] == content
    assert evolve(good, verified_at=rig.clock.now()) in now.replicas
    assert rig.at_rest[good.tier].history[good.key] == {file.stored.sha256}
    (closed,) = await incidents(rig, is_open=False)
    assert await incidents(rig) == ()
    assert closed.resolution.startswith("healed")
    assert closed.kind is (
        IncidentKind.MISSING_REPLICA if is_lost else IncidentKind.CORRUPT_REPLICA
    )
    (day,) = [one for one in await verify_of(service).history() if one.counts.healed]
    assert day.store_id == new.store_id
    # The bytes of the bad copy stay until a job removes them.
    assert (bad in rig.at_rest[tier].blobs) is not is_lost
    again = await verified(rig, service)
    assert (again.counts.corrupted, again.counts.missing, again.counts.healed) == (0, 0, 0)
    await service.stores.recount()
    assert await service.miscounts() == []


@pytest.mark.parametrize("how", Damage)
async def test_without_a_good_copy_nothing_is_healed(
    rig: Rig, service: Service, how: Damage
) -> None:
    file = await two_copies(rig, service, SMALL)
    for tier in Tier:
        await tamper(rig.at_rest[tier], key_in(file, tier), how, at=7)
    puts = {tier: dict(rig.at_rest[tier].history) for tier in Tier}
    for _ in range(2):
        report = await verified(rig, service)
        assert report.counts.corrupted + report.counts.missing == 2
        assert report.counts.healed == 0
    assert {tier: dict(rig.at_rest[tier].history) for tier in Tier} == puts
    assert len(await incidents(rig)) == 2
    assert len(await service.container.verify_replicas().history()) <= 2


async def test_what_was_found_is_counted_once_in_the_history(rig: Rig, service: Service) -> None:
    file = await service.video(SMALL, "X")
    tier = rig.tier("X")
    await tamper(rig.at_rest[tier], key_in(file.file, tier), Damage.FLIP)
    for _ in range(3):
        await verified(rig, service)
    (day,) = await verify_of(service).history()
    assert (day.counts.checked, day.counts.corrupted) == (1, 1)
    assert len(await incidents(rig)) == 1


async def test_healing_can_be_left_out(rig: Rig, service: Service) -> None:
    file = await two_copies(rig, service, SMALL)
    await tamper(rig.at_rest[Tier.LOCAL], key_in(file, Tier.LOCAL), Damage.FLIP)
    report = await verified(rig, service, heal=False)
    assert (report.counts.corrupted, report.counts.healed) == (1, 0)
    assert states(rig, file) == {
        Tier.LOCAL: [ReplicaState.CORRUPT],
        Tier.CLOUD: [ReplicaState.PRESENT],
    }


@pytest.mark.parametrize("copies", [1, 2])
async def test_a_copy_with_a_wrong_manifest_is_made_anew(
    rig: Rig, service: Service, copies: int
) -> None:
    """Its bytes are right: it can be read, and may be its own source."""
    if copies == 2:
        file = await two_copies(rig, service, SMALL)
    else:
        file = (await service.video(SMALL, "X")).file
    tier = file.replicas[0].tier
    key = key_in(file, tier)
    store = rig.at_rest[tier]
    store._blobs[key] = evolve(
        store._blobs[key], manifest=evolve(store._blobs[key].manifest, device_id="another")
    )
    first = await verified(rig, service, heal=False)
    assert (first.counts.altered, first.counts.corrupted) == (1, 0)
    (incident,) = await incidents(rig)
    assert incident.kind is IncidentKind.ALTERED_MANIFEST
    assert "device_id" in incident.details
    report = await verified(rig, service)
    assert report.counts.healed == 1
    (new,) = [copy for copy in rig.files[file.file_id].readable if copy.tier is tier]
    assert new.key != key
    assert rig.findings() == [f"I3: nobody knows {key} ({tier})"]
    assert await incidents(rig) == ()
    assert (await verified(rig, service)).counts.altered == 0
    await service.stores.recount()
    assert await service.miscounts() == []


@SIZES
@pytest.mark.parametrize("what", ["both", "content", "segments"])
async def test_digests_that_were_exchanged_in_the_row_are_found(
    rig: Rig, service: Service, content: bytes, what: str
) -> None:
    """Keys and manifests still state the first digests. Nothing is healed by the new ones."""
    file = await two_copies(rig, service, content)
    other = content[:-1] + b"x"
    new = digests_of(other)
    if what != "content":
        for copy in file.replicas:
            rig.at_rest[copy.tier].alter(copy.key, lambda _data: other)
    row = {
        "both": evolve(file, stored=new, content=new),
        "content": evolve(file, content=new),
        "segments": evolve(file, stored=evolve(file.stored, segments=new.segments)),
    }[what]
    rig.repo._files[file.file_id] = row
    report = await verified(rig, service)
    assert (report.counts.corrupted, report.counts.healed) == (2, 0)
    assert {one.kind for one in await incidents(rig)} == {IncidentKind.CORRUPT_REPLICA}


async def test_a_manifest_is_not_made_anew_from_a_row_that_may_be_false(
    rig: Rig, service: Service
) -> None:
    """The digest of a compressed file's content: the stored bytes do not tell which is right."""
    await service.json({"a": "b" * 5_000}, "X")
    file = rig.files[FileId("X")]
    assert file.coding is Coding.ZSTD
    rig.repo._files[file.file_id] = evolve(file, content=digests_of(b"another"))
    before = {tier: dict(rig.at_rest[tier].blobs) for tier in Tier}
    report = await verified(rig, service)
    assert (report.counts.altered, report.counts.healed) == (1, 0)
    assert {tier: dict(rig.at_rest[tier].blobs) for tier in Tier} == before
    (incident,) = await incidents(rig)
    assert "sha256" in incident.details


@TIERS
async def test_a_store_that_is_away_is_unknown_and_not_bad(
    rig: Rig, service: Service, tier: Tier
) -> None:
    file = await two_copies(rig, service, SMALL)
    (rig.local if tier is Tier.LOCAL else rig.cloud).go_down("the cable is cut")
    rig.clock.advance(DAY)
    report = await verified(rig, service)
    assert report.counts == FixityCounts(checked=1, unknown=1, bytes=len(SMALL))
    assert report.files_checked == 1
    assert states(rig, file) == {one: [ReplicaState.PRESENT] for one in Tier}
    assert await incidents(rig) == ()
    (kept,) = [one for one in rig.files[file.file_id].replicas if one.tier is tier]
    assert kept.verified_at is not None
    assert kept.verified_at <= NOON


async def test_a_job_for_a_store_that_is_away_is_tried_again(rig: Rig, service: Service) -> None:
    await service.video(SMALL, "X")
    rig.clock.advance(40 * DAY)
    rig.local.go_down("the cable is cut")
    rig.cloud.go_down("the cable is cut")
    store_id = rig.files[FileId("X")].replicas[0].store_id
    with pytest.raises(StorageUnavailable):
        await job(service, store_id)
    assert await verify_of(service).history() == []


@pytest.mark.parametrize("how", [Damage.FLIP, Damage.REMOVE])
async def test_a_store_that_is_not_the_registered_one_proves_nothing(
    rig: Rig, service: Service, how: Damage
) -> None:
    """A4: another folder at the path: no copy is recorded as bad, and none as good."""
    file = await two_copies(rig, service, SMALL)
    rig.clock.advance(DAY)
    await tamper(rig.at_rest[Tier.LOCAL], key_in(file, Tier.LOCAL), how)
    rig.at_rest[Tier.LOCAL]._marker = None
    report = await verified(rig, service)
    assert (report.counts.corrupted, report.counts.missing, report.counts.unknown) == (0, 0, 1)
    assert states(rig, file)[Tier.LOCAL] == [ReplicaState.PRESENT]
    assert await incidents(rig) == ()


async def test_a_copy_that_was_restored_is_present_again(rig: Rig, service: Service) -> None:
    file = (await service.video(SMALL, "X")).file
    tier = rig.tier("X")
    kept = rig.at_rest[tier]._blobs.pop(key_in(file, tier))
    assert (await verified(rig, service)).counts.missing == 1
    rig.at_rest[tier]._blobs[key_in(file, tier)] = kept
    report = await verified(rig, service)
    assert (report.counts.missing, report.counts.checked) == (0, 1)
    assert states(rig, file) == {tier: [ReplicaState.PRESENT]}
    assert await incidents(rig) == ()
    await service.stores.recount()
    assert await service.miscounts() == []


@pytest.mark.parametrize("state", [FileState.PURGING, FileState.PURGED])
async def test_copies_that_are_being_removed_are_not_missed(
    rig: Rig, service: Service, state: FileState
) -> None:
    file = (await service.video(SMALL, "X")).file
    rig.repo._files[file.file_id] = evolve(file, state=state)
    rig.at_rest[rig.tier("X")]._blobs.clear()
    assert (await verified(rig, service)).counts == FixityCounts()
    assert await incidents(rig) == ()


async def test_a_file_counts_once(rig: Rig, service: Service) -> None:
    await two_copies(rig, service, SMALL)
    for number in range(3):
        await service.json({"number": number}, f"file-{number}")
    report = await verified(rig, service)
    assert (report.files_checked, report.counts.checked) == (4, 5)


async def test_a_sample_is_what_was_verified_longest_ago(rig: Rig, service: Service) -> None:
    for number in range(5):
        await service.json({"number": number}, f"file-{number}")
        rig.clock.advance(DAY)
    report = await verified(rig, service, 2)
    assert (report.files_checked, report.counts.checked) == (2, 2)
    checked = {
        name for name, file in rig.files.items() if file.replicas[0].verified_at == rig.clock.now()
    }
    assert checked == {"file-0", "file-1"}
    assert (await verified(rig, service, 100)).counts.checked == 5
    for wrong in (0, -1, 10**9, True, 1.5):
        with pytest.raises(InvalidInput, match="sample"):
            await verified(rig, service, wrong)  # type: ignore[arg-type]


async def test_a_periodic_run_takes_what_is_due(rig: Rig, service: Service) -> None:
    """What was never verified, or nearly the whole interval ago, is verified in the next run."""
    for number in range(3):
        await service.json({"number": number}, f"file-{number}")
    rig.clock.advance(28 * DAY)
    await service.json({"new": 1}, "new")
    rig.repo._files[FileId("file-0")] = _never_verified(rig.files[FileId("file-0")])
    store_id = id_of(service, Tier.LOCAL)
    (progress,) = await job(service, store_id)
    assert progress.done == 3
    assert rig.files[FileId("new")].replicas[0].verified_at == rig.clock.now()
    assert await job(service, store_id) == []


def _never_verified(file: StoredFile) -> StoredFile:
    return evolve(file, replicas=tuple(evolve(copy, verified_at=None) for copy in file.replicas))


async def test_periodic_runs_verify_all_within_the_interval(rig: Rig, service: Service) -> None:
    """Of 24 copies of one age, a run takes few; after the interval all have been verified."""
    for number in range(24):
        await service.json({"number": number, "text": "x" * 1000}, f"file-{number}")
    store_id = id_of(service, Tier.LOCAL)
    taken = []
    for _ in range(30 * 24):
        rig.clock.advance(timedelta(hours=1))
        seen = await job(service, store_id)
        taken.append(seen[-1].done if seen else 0)
    assert max(taken) <= 2
    assert sum(taken) >= 24
    assert (
        min(file.replicas[0].verified_at or NOON for file in rig.files.values())
        > rig.clock.now() - 30 * DAY
    )


async def test_a_run_on_demand_continues_where_an_interrupted_one_ended(
    rig: Rig, service: Service
) -> None:
    for number in range(4):
        await service.json({"number": number}, f"file-{number}")
    rig.clock.advance(DAY)
    (new,) = await verify_of(service).start()
    assert await verify_of(service).start() == []
    assert len([one for one in rig.repo._jobs.values() if one.kind == "verify_store"]) == 1
    before = str(new.arguments["before"])
    done = rig.files[FileId("file-1")]
    rig.repo._files[done.file_id] = evolve(
        done, replicas=tuple(evolve(one, verified_at=rig.clock.now()) for one in done.replicas)
    )
    (progress,) = await job(service, id_of(service, Tier.LOCAL), before=before)
    assert (progress.done, progress.total) == (3, 4)


async def test_a_worker_does_the_job(rig: Rig) -> None:
    rig = Rig(StorageStrategy.LOCAL_ONLY, cache_item_bytes=0, workers=1)
    async with rig.running() as service:
        file = (await service.video(streamed(SMALL), "X")).file
        await tamper(rig.at_rest[Tier.LOCAL], key_in(file, Tier.LOCAL), Damage.FLIP)
        rig.clock.advance(DAY)
        (new,) = await verify_of(service).start()
        await until(lambda: rig.repo._jobs[new.job_id].state is JobState.DONE)
    assert states(rig, file) == {Tier.LOCAL: [ReplicaState.CORRUPT]}
    assert len(await incidents(rig)) == 1


async def test_an_interrupted_heal_leaves_nothing_behind(rig: Rig, service: Service) -> None:
    """The target is full: the copy stays bad, and a later run heals it."""
    file = await two_copies(rig, service, SMALL)
    await tamper(rig.at_rest[Tier.LOCAL], key_in(file, Tier.LOCAL), Damage.FLIP)
    rig.at_rest[Tier.LOCAL]._limit_bytes = 0
    assert (await verified(rig, service)).counts.healed == 0
    rig.clock.advance(LONG_AGO)
    await service.sweep()
    assert rig.attempts == []
    rig.at_rest[Tier.LOCAL]._limit_bytes = None
    assert (await verified(rig, service)).counts.healed == 1
