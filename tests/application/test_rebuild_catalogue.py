"""Rebuild: an empty or old catalogue is filled from what the stores contain."""

from collections.abc import Mapping
from contextlib import suppress
from copy import deepcopy
from datetime import timedelta
from typing import Any

import pytest
from attrs import evolve

from tests.application.rig import Rig, Service, film, picture, violation_record
from tests.application.script import Died, Script, Step
from traffic_storage.adapters.record_repo.memory import InMemoryRecordRepo
from traffic_storage.application import rebuild_catalogue
from traffic_storage.application.rebuild_catalogue import Rebuilt
from traffic_storage.domain.errors import StorageUnavailable
from traffic_storage.domain.files import FileState, StoredFile, Tier
from traffic_storage.domain.identifiers import AttemptId, FileId, ViolationId
from traffic_storage.domain.ingest import Attempt, ClaimedIds
from traffic_storage.domain.jobs import Progress
from traffic_storage.domain.placement import StorageStrategy
from traffic_storage.domain.violation import StoredViolation
from traffic_storage.entrypoints.testing.blobs import NEVER
from traffic_storage.entrypoints.testing.faults.plans import Fault, When

LOCAL, CLOUD = Tier.LOCAL, Tier.CLOUD


def silent(_progress: Progress) -> None:
    """Report to nobody."""


async def rebuilt(service: Service, **options: Any) -> Rebuilt:
    """Rebuild the catalogue of a service."""
    return await service.container.rebuild_catalogue()(silent, **options)


async def filled(service: Service) -> None:
    """Store violations with and without files, and single files; one of them is long."""
    for number in range(4):
        record = violation_record(f"V{number}")
        await service.evidence(record, picture(number) if number % 2 else None)
    # The video comes later: the metadata file does not name it.
    await service.evidence(violation_record("V1"), None, film(1))
    await service.video(film(7, 9 * 2**20), "long")
    await service.json({"track": ["the same words"] * 2000}, "compressed")
    await service.image(picture(9), "labelled", metadata={"device_id": "cam-9", "text": "x" * 3000})


def rows(rig: Rig) -> Mapping[FileId, StoredFile]:
    """The files, without what only the catalogue knew: when a copy was verified."""
    return {
        name: evolve(file, replicas=tuple(evolve(copy, verified_at=None) for copy in file.replicas))
        for name, file in rig.files.items()
    }


def violations(rig: Rig) -> Mapping[ViolationId, StoredViolation]:
    """The violations."""
    return dict(rig.repo._violations)


@pytest.fixture(params=[StorageStrategy.LOCAL_ONLY, StorageStrategy.HYBRID])
def rig(request: pytest.FixtureRequest) -> Rig:
    return Rig(request.param)


@pytest.mark.parametrize("call", ["heads", "read"])
async def test_a_store_that_fails_ends_a_rebuild_with_its_own_error(rig: Rig, call: str) -> None:
    async with rig.running() as service:
        await filled(service)
    rig.repo = InMemoryRecordRepo()
    async with rig.running() as service:
        for store in (rig.local, rig.cloud):
            store.plan(Fault(call, lambda: StorageUnavailable("away"), times=None))
        with pytest.raises(StorageUnavailable, match="away"):
            await rebuilt(service)


@pytest.mark.parametrize("read", [False, True])
async def test_an_empty_catalogue_is_filled_from_its_stores(rig: Rig, read: bool) -> None:
    async with rig.running() as service:
        await filled(service)
    before, recorded = rows(rig), violations(rig)
    blobs = {tier: dict(rig.at_rest[tier].blobs) for tier in Tier}
    usage = await rig.repo.usage()
    rig.repo = InMemoryRecordRepo()

    async with rig.running() as service:
        found = await rebuilt(service, read=read)

        assert found.taken_over
        assert (found.files, found.violations, found.unplaced) == (len(before), 4, 0)
        assert (rows(rig), violations(rig)) == (before, recorded)
        assert {tier: dict(rig.at_rest[tier].blobs) for tier in Tier} == blobs
        assert await rig.repo.usage() == usage
        assert rig.findings() == []
        assert await service.miscounts() == []
        # The stores are changed again.
        assert (await service.video(film(8), "new")).created
        assert not (await service.evidence(violation_record("V1"), picture(1))).created

        again = await rebuilt(service)
        assert (again.files, again.copies, again.violations) == (0, 0, 0)
        assert again.known == len(before) + 1


async def test_a_dry_run_changes_nothing(rig: Rig) -> None:
    async with rig.running() as service:
        await filled(service)
    before = rows(rig)
    markers = {tier: rig.at_rest[tier]._marker for tier in Tier}
    rig.repo = InMemoryRecordRepo()
    async with rig.running() as service:
        found = await rebuilt(service, dry_run=True)
        assert found.files == len(before)
        assert (rig.files, await rig.repo.rebuild_cursors()) == ({}, {})
        assert {tier: rig.at_rest[tier]._marker for tier in Tier} == markers


async def test_a_catalogue_with_files_takes_over_no_store_unasked() -> None:
    rig = Rig()
    async with rig.running() as service:
        await filled(service)
    before, theirs = rows(rig), rig.repo
    rig.repo = InMemoryRecordRepo()
    local, rig.at_rest[LOCAL] = (
        rig.at_rest[LOCAL],
        type(rig.at_rest[LOCAL])(rig.clock, LOCAL, "host:/blobs"),
    )
    rig.local.inner = rig.at_rest[LOCAL]
    async with rig.running() as service:
        await service.video(film(3), "mine")
    rig.at_rest[LOCAL] = rig.local.inner = local
    async with rig.running() as service:
        found = await rebuilt(service)
        assert (found.files, found.taken_over) == (0, [])
        assert "another catalogue" in found.skipped["host:/blobs"]
        named = await rebuilt(service, take_over=["host:/blobs"])
        assert named.files == len(before)
        assert rows(rig).items() > before.items()
    # The other catalogue does not change the store any more.
    rig.repo = theirs
    async with rig.running() as service:
        with pytest.raises(StorageUnavailable, match="another catalogue"):
            await service.video(film(4), "theirs")


@pytest.mark.parametrize("nth", range(1, 9))
@pytest.mark.parametrize("when", When)
async def test_a_rebuild_that_was_killed_goes_on(
    monkeypatch: pytest.MonkeyPatch, nth: int, when: When
) -> None:
    monkeypatch.setattr(rebuild_catalogue, "BATCH", 3)
    rig = Rig(StorageStrategy.HYBRID)
    async with rig.running() as service:
        await filled(service)
    before, recorded = rows(rig), violations(rig)
    rig.repo = InMemoryRecordRepo()
    calls = ["repo.apply", "repo.exchange", "local.replace_marker"]
    for call in calls:
        dying = rig.boot()
        await dying.start()
        rig.script.begin((Step(call, nth, when), Died))
        # A group of tasks raises a group of errors; a step may not be reached.
        with suppress(Died, BaseExceptionGroup):
            await rebuilt(dying)
        rig.script = Script()
    async with rig.running() as service:
        await rebuilt(service)
        assert (rows(rig), violations(rig)) == (before, recorded)
        assert rig.findings() == []


async def test_it_goes_on_behind_the_last_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebuild_catalogue, "BATCH", 3)
    rig = Rig()
    async with rig.running() as service:
        await filled(service)
    total = len(rig.files)
    rig.repo = InMemoryRecordRepo()
    dying = rig.boot()
    await dying.start()
    rig.script.begin((Step("repo.apply", 3, When.BEFORE), Died))
    with pytest.raises(Died):
        await rebuilt(dying)
    rig.script = Script()
    assert len(rig.files) == 6
    async with rig.running() as service:
        rig.script.begin()
        found = await rebuilt(service)
        assert (found.files, found.known) == (total - 6, 0)


@pytest.mark.parametrize("days", [0, 3])
async def test_an_old_catalogue_gets_everything_back(rig: Rig, days: int) -> None:
    """A restored backup: nothing is deleted, and all is found again."""
    async with rig.running() as service:
        await service.video(film(0), "before")
        await service.evidence(violation_record("V0"), None)
    backup = deepcopy(rig.repo)
    rig.clock.advance(timedelta(hours=2))
    async with rig.running() as service:
        await filled(service)
        await service.evidence(violation_record("V0"), picture(0))
    before, recorded = rows(rig), violations(rig)
    blobs = {tier: dict(rig.at_rest[tier].blobs) for tier in Tier}
    rig.clock.advance(timedelta(days=days))

    rig.repo = backup
    async with rig.running() as service:
        assert "older backup" in (await rebuilt(service)).skipped["host:/blobs"]
        for bound in service.stores:
            if bound.untrusted_reason:
                await service.stores.adopt(bound)
        await service.stores.bind()
        await service.sweep()
        await rebuilt(service)
        assert (rows(rig), violations(rig)) == (before, recorded)
        assert {tier: dict(rig.at_rest[tier].blobs) for tier in Tier} == blobs
        assert rig.findings() == []


async def test_what_cannot_be_placed_is_reported_and_kept() -> None:
    rig = Rig()
    async with rig.running() as service:
        await service.video(film(0), "fine")
        for name in ("lost manifest", "other bytes", "shorter", "clash"):
            await service.video(film(len(name)), name.replace(" ", "-"))
    store = rig.at_rest[LOCAL]
    keys = {name: file.replicas[0].key for name, file in rig.files.items()}
    blob = store._blobs[keys[FileId("lost-manifest")]]
    without: Any = evolve(blob, manifest=None)  # type: ignore[arg-type]
    store._blobs[keys[FileId("lost-manifest")]] = without
    blob = store._blobs[keys[FileId("other-bytes")]]
    store._blobs[keys[FileId("other-bytes")]] = evolve(blob, data=blob.data[::-1])
    blob = store._blobs[keys[FileId("shorter")]]
    store._blobs[keys[FileId("shorter")]] = evolve(blob, data=blob.data[1:])
    blob = store._blobs[keys[FileId("clash")]]
    store._blobs[keys[FileId("clash")]] = evolve(
        blob, manifest=evolve(blob.manifest, file_id="fine")
    )
    rig.repo = InMemoryRecordRepo()
    async with rig.running() as service:
        found = await rebuilt(service, read=True)

        assert list(rig.files) == ["fine"]
        assert dict(found.reasons) == {
            "the manifest is missing or unreadable": 1,
            "the bytes are not those that the manifest describes": 1,
            "the blob has another size than its manifest says": 1,
            "another file has the same id": 1,
        }
        assert {one.name for one in found.examples} == {
            keys[FileId(name)] for name in ("lost-manifest", "other-bytes", "shorter", "clash")
        }
        assert {one.key for one in rig.repo._quarantine.values()} == {
            one.name for one in found.examples
        }
        assert len(store.blobs) == 5


async def test_a_violation_without_its_metadata_file_is_not_made_up() -> None:
    rig = Rig()
    async with rig.running() as service:
        await service.evidence(violation_record("V0"), picture(0))
        await service.evidence(violation_record("V1"), picture(1))
    (key,) = (file.replicas[0].key for name, file in rig.files.items() if name == "V0~metadata")
    await rig.at_rest[LOCAL].delete(key)
    rig.repo = InMemoryRecordRepo()
    async with rig.running() as service:
        found = await rebuilt(service)
        assert (found.files, found.violations) == (3, 1)
        assert [*violations(rig)] == ["V1"]


async def test_a_violation_whose_image_is_lost_is_incomplete_and_completed_later() -> None:
    rig = Rig()
    async with rig.running() as service:
        await service.evidence(violation_record("V0"), picture(0))
    recorded = violations(rig)
    (key,) = (file.replicas[0].key for name, file in rig.files.items() if name == "V0~image")
    image = rig.at_rest[LOCAL]._blobs.pop(key)
    rig.repo = InMemoryRecordRepo()
    async with rig.running() as service:
        await rebuilt(service)
        (violation,) = violations(rig).values()
        assert violation.incomplete
        rig.at_rest[LOCAL]._blobs[key] = image
        await rebuilt(service)
        assert violations(rig) == recorded


async def test_a_blob_of_a_live_attempt_is_left_to_it() -> None:
    rig = Rig()
    async with rig.running() as service:
        file = (await service.video(film(0), "X")).file
        del rig.repo._files[file.file_id]
        (copy,) = file.replicas
        attempt = Attempt(AttemptId("live"), "test", NEVER, ((copy.store_id, copy.key),))
        await rig.repo.begin(attempt, ClaimedIds(()))
        found = await rebuilt(service)
        assert (found.files, found.unfinished, rig.files) == (0, 1, {})


@pytest.mark.parametrize("state", [FileState.PURGING, FileState.PURGED])
async def test_a_destroyed_file_is_not_recorded_again(state: FileState) -> None:
    rig = Rig()
    async with rig.running() as service:
        file = (await service.video(film(0), "X")).file
        rig.repo._files[file.file_id] = evolve(file, replicas=(), state=state)
        found = await rebuilt(service)
        assert found.reasons == {"the file was destroyed": 1}
        assert rig.files[file.file_id].replicas == ()
