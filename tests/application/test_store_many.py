"""Many items at once: each stored as by its own call, whole or not at all, and once."""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from tests.application.rig import LONG_AGO, Rig, Service, film, picture, violation_record
from tests.application.script import Step
from traffic_storage.application import store_many as store_many_module
from traffic_storage.application.drafts import DraftUnit
from traffic_storage.application.inputs import ArrayImage, FileAttributes, Upload
from traffic_storage.application.store_many import (
    BATCH_WEIGHT,
    FileItem,
    Item,
    ItemOutcome,
    ViolationItem,
)
from traffic_storage.domain.errors import (
    Conflict,
    InvalidInput,
    StorageFull,
    StorageUnavailable,
    TrafficStorageError,
)
from traffic_storage.domain.events import EventKind
from traffic_storage.domain.files import FileKind, StoredFile, Tier
from traffic_storage.domain.identifiers import FileId, StoreId, ViolationId
from traffic_storage.domain.placement import StorageStrategy
from traffic_storage.domain.seal import Sealed
from traffic_storage.entrypoints.testing.containers import NOON
from traffic_storage.entrypoints.testing.faults.plans import When
from traffic_storage.ports.errors import CatalogueUnavailable, OutcomeUnknown
from traffic_storage.ports.spool import FileBody


def bare(name: str, **changes: Any) -> ViolationItem:
    """A violation without media."""
    return ViolationItem(violation_record(name, **changes))


def pictured(name: str) -> ViolationItem:
    """A violation with an image and a video."""
    return ViolationItem(violation_record(name), ArrayImage(picture(7)), Upload(film()))


def still(name: str | None, shade: int = 0, **attributes: Any) -> FileItem:
    """An image."""
    given = FileAttributes.of(file_id=name, **attributes)
    return FileItem(FileKind.IMAGE, ArrayImage(picture(shade)), given)


def note(name: str, text: str = "words") -> FileItem:
    """Metadata."""
    return FileItem(FileKind.METADATA, {"note": text}, FileAttributes.of(file_id=name))


def mixed() -> list[Item]:
    """Items of all kinds."""
    clip = FileItem(FileKind.VIDEO, Upload(film(3)), FileAttributes.of(file_id="clip"))
    return [bare("V1"), pictured("V2"), still("still"), bare("V3"), note("note"), clip]


NAMES = [
    ("V1~metadata",),
    ("V2~image", "V2~video", "V2~metadata"),
    ("still",),
    ("V3~metadata",),
    ("note",),
    ("clip",),
]


async def stored(service: Service, items: Iterable[Item]) -> list[ItemOutcome]:
    """Store items; return all outcomes."""
    load = service.container.store_many().begin()
    found: list[ItemOutcome] = []
    try:
        for item in items:
            found += await load.add(item)
        found += await load.finish()
    finally:
        await load.aclose()
    assert [one.index for one in found] == list(range(len(found)))
    return found


def created(outcomes: Sequence[ItemOutcome]) -> list[bool | type]:
    """What became of each item: the error's class, or whether something was stored."""
    return [
        type(one.error) if one.error is not None else one.stored is not None and one.stored.created
        for one in outcomes
    ]


def calls(rig: Rig, call: str) -> int:
    """How often a method was called."""
    return sum(step.call == call and step.when is When.BEFORE for step in rig.script.steps)


def without_place(file: StoredFile) -> StoredFile:
    """A file without the key of its copy, which is random."""
    return evolve(file, replicas=())


async def counted(rig: Rig) -> object:
    """The counters of the catalogue, without the random ids of stores."""
    usage = await rig.repo.usage()
    return (
        usage.violations,
        usage.files,
        [evolve(one, store_id=StoreId("-")) for one in usage.stores],
    )


async def check_settled(rig: Rig, service: Service) -> None:
    """After the deadline of any attempt: nothing is left over, and all is counted."""
    rig.clock.advance(LONG_AGO)
    await service.sweep()
    assert rig.attempts == []
    assert rig.findings() == []
    assert rig.spool.held == []
    assert not any(service.reserved().values())
    assert await service.miscounts() == []


@pytest.mark.parametrize("strategy", StorageStrategy)
async def test_many_are_stored_as_each_with_one_entry_and_one_commit(
    strategy: StorageStrategy,
) -> None:
    rig, single = Rig(strategy), Rig(strategy)
    async with rig.running() as service, single.running() as other:
        rig.script.begin()
        assert created(await stored(service, mixed())) == [True] * 6
        assert (calls(rig, "repo.begin"), calls(rig, "repo.apply")) == (1, 1)
        for record in ("V1", "V2", "V3"):
            media = (picture(7), film()) if record == "V2" else ()
            await other.evidence(violation_record(record), *media)
        await other.image(picture(), "still")
        await other.json({"note": "words"}, "note")
        await other.video(film(3), "clip")
        assert {name: without_place(file) for name, file in rig.files.items()} == {
            name: without_place(file) for name, file in single.files.items()
        }
        assert rig.repo._violations == single.repo._violations
        assert await counted(rig) == await counted(single)
        assert {*rig.copies_due} == {*single.copies_due}
        assert service.counters == other.counters
        told = [
            sorted(
                (one.event.violation_id or "", one.event.file_id or "", str(one.event.details))
                for one in await each.repo.events(limit=100)
                if one.event.kind is EventKind.STORED
            )
            for each in (rig, single)
        ]
        assert told[0] == told[1]
        await check_settled(rig, service)


async def test_a_repetition_stores_nothing() -> None:
    rig = Rig()
    async with rig.running() as service:
        await stored(service, mixed())
        rig.script.begin()
        again = await stored(service, mixed())
        assert created(again) == [False] * 6
        assert [calls(rig, call) for call in ("repo.begin", "repo.apply", "local.put_all")] == [
            0
        ] * 3
        assert all(one.stored and one.stored.files for one in again)
        assert service.counters.retries_recognised == 6


async def test_what_a_violation_lacks_is_added() -> None:
    rig = Rig()
    async with rig.running() as service:
        await service.evidence(violation_record("V2"))
        found = await stored(service, mixed())
        assert created(found) == [True] * 6
        violation = rig.repo._violations[ViolationId("V2")]
        assert (violation.image_file_id, violation.video_file_id) == ("V2~image", "V2~video")
        await check_settled(rig, service)


async def test_each_refusal_names_its_cause_and_stops_no_other() -> None:
    rig = Rig()
    async with rig.running() as service:
        await stored(service, [bare("V1"), still("taken", device_id="cam-1")])
        items: list[Item] = [
            bare("V1", confidence=0.5),
            bare("V2"),
            still("taken", 9),
            bare("V3", timestamp=NOON + timedelta(days=400)),
            still("taken", device_id="cam-2"),
            FileItem(FileKind.IMAGE, Upload(b"no image"), FileAttributes.of(file_id="broken")),
            note("note"),
        ]
        found = await stored(service, items)
        errors = [str(one.error) for one in found]
        assert created(found)[1::5] == [True, True]
        assert "its record differs in confidence" in errors[0]
        assert "its pixels differ" in errors[2]
        assert "timestamp" in errors[3]
        assert "device_id is 'cam-1', not 'cam-2'" in errors[4]
        assert isinstance(found[4].error, Conflict)
        assert found[4].error.cause == "labels"
        assert isinstance(found[5].error, InvalidInput)
        assert "broken" not in rig.files
        assert ViolationId("V3") not in rig.repo._violations
        await check_settled(rig, service)


async def test_an_id_that_comes_twice_is_judged_like_a_repetition() -> None:
    rig = Rig()
    async with rig.running() as service:
        items: list[Item] = [
            bare("V1"),
            still(None, 5),
            bare("V1"),
            bare("V1", confidence=0.1),
            still(None, 5),
            still("still", 1),
            still("still", 2),
        ]
        found = created(await stored(service, items))
        assert found == [True, True, False, Conflict, False, True, Conflict]
        await check_settled(rig, service)


async def test_a_file_that_no_store_takes_stops_no_other() -> None:
    rig = Rig(max_local_size_gb=0.000_001)
    async with rig.running() as service:
        large = FileItem(FileKind.VIDEO, Upload(film(1, 5000)), FileAttributes.of(file_id="large"))
        found = created(await stored(service, [still("one"), large, still("two")]))
        assert found == [True, StorageFull, True]
        await check_settled(rig, service)


async def test_a_store_that_fails_is_replaced_by_another() -> None:
    rig = Rig(StorageStrategy.HYBRID)
    async with rig.running() as service:
        rig.local.go_down("the disk went away")
        assert created(await stored(service, mixed())) == [True] * 6
        assert {rig.tier(name) for names in NAMES for name in names} == {Tier.CLOUD}
        rig.local.come_back()
        await check_settled(rig, service)


async def test_one_that_another_process_stores_meanwhile_is_found() -> None:
    rig = Rig()
    async with rig.running() as service, rig.running() as other:
        rig.script.begin()
        held = rig.script.hold("repo.apply")
        running = asyncio.ensure_future(stored(service, mixed()))
        await held.reached.wait()
        await other.evidence(violation_record("V1"))
        await other.image(picture(200), "still")
        held.let_go.set()
        assert created(await running) == [False, True, Conflict, True, True, True]
        await check_settled(rig, service)


async def test_units_that_recovery_has_condemned_are_stored_anew() -> None:
    rig = Rig()
    async with rig.running() as service:
        rig.script.begin()
        held = rig.script.hold("repo.apply")
        running = asyncio.ensure_future(stored(service, mixed()))
        await held.reached.wait()
        await rig.repo.condemn(rig.clock.now() + LONG_AGO)
        held.let_go.set()
        assert created(await running) == [True] * 6
        await check_settled(rig, service)


async def test_a_sealed_service_knows_what_it_has_and_takes_nothing_new() -> None:
    rig = Rig()
    async with rig.running() as service:
        await stored(service, mixed())
        await service.container.sealing().seal("moved", "somebody")
        *known, refused = await stored(service, [*mixed(), bare("V9")])
        assert created(known) == [False] * 6
        assert isinstance(refused.error, Sealed)


def _given(error: TrafficStorageError) -> TrafficStorageError:
    return error


def errors_at(step: Step) -> list[TrafficStorageError]:
    """How the call of a step can end there."""
    port, _, method = step.call.partition(".")
    if port == "repo":
        unknown = OutcomeUnknown("the database went away in mid-commit")
        known = CatalogueUnavailable("the database went away")
        return [unknown if step.when is When.AFTER and method == "apply" else known]
    if port in {"local", "cloud"}:
        away = StorageUnavailable("the store went away")
        full = StorageFull("the store is full")
        return [away, full] if method == "put_all" and step.when is When.BEFORE else [away]
    return []


@pytest.mark.parametrize(
    "strategy",
    [StorageStrategy.LOCAL_ONLY, StorageStrategy.HYBRID, StorageStrategy.CLOUD_WITH_CACHE],
)
async def test_whatever_call_fails_each_item_is_whole_or_absent_and_a_retry_completes_all(
    strategy: StorageStrategy,
) -> None:
    rig = Rig(strategy)
    async with rig.running() as service:
        rig.script.begin()
        await stored(service, mixed())
        steps = list(rig.script.steps)
    tried = 0
    for step in steps:
        for error in errors_at(step):
            rig = Rig(strategy)
            async with rig.running() as service:
                rig.script.begin((step, partial(_given, error)))
                try:
                    outcomes = await stored(service, mixed())
                except (CatalogueUnavailable, StorageFull):
                    outcomes = []
                rig.script.begin()
                for names in NAMES:
                    visible = [name for name in names if FileId(name) in rig.files]
                    assert visible in ([], list(names)), step
                for one in outcomes:
                    if one.stored is not None:
                        assert set(NAMES[one.index]) <= set(rig.files), step
                again = await stored(service, mixed())
                assert {*created(again)} <= {True, False}, step
                await check_settled(rig, service)
            tried += 1
    assert tried >= 8


async def test_it_takes_few_items_more_than_it_has_stored() -> None:
    rig = Rig()
    taken = done = most = 0
    async with rig.running() as service:
        rig.script.begin()
        load = service.container.store_many().begin()
        for taken in range(1, 41):
            done += len(await load.add(still(f"still-{taken}", taken)))
            most = max(most, taken - done)
        done += len(await load.finish())
        await load.aclose()
        assert done == 40
        # Media are heavy, so that the bytes of few are in memory at once.
        assert most <= 2 * BATCH_WEIGHT // 32
        assert calls(rig, "repo.apply") == 3
        await check_settled(rig, service)


async def test_files_that_are_ready_are_taken_with_their_bytes() -> None:
    rig = Rig()
    async with rig.running() as service:
        rig.script.begin()
        store_many = service.container.store_many()
        load, closed = store_many.begin(), list[str]()
        outcomes: list[ItemOutcome] = []
        for number in range(3):
            bodies = AsyncExitStack()
            bodies.callback(closed.append, f"still-{number}")
            prepared = await store_many.prepared(still(f"still-{number}", number), bodies)
            outcomes += await load.take(prepared, bodies)
            assert not closed
        outcomes += await load.take(InvalidInput.of("file", "is empty"), AsyncExitStack())
        outcomes += await load.finish()
        assert [one.index for one in outcomes] == [0, 1, 2, 3]
        assert [one.error is None for one in outcomes] == [True, True, True, False]
        assert sorted(closed) == ["still-0", "still-1", "still-2"]
        assert calls(rig, "repo.apply") == 1
        await check_settled(rig, service)


async def test_large_files_do_not_wait_for_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They take space where they were received until they are stored."""
    monkeypatch.setattr(store_many_module, "_RECEIVED_BYTES_A_WEIGHT", 1000)
    rig = Rig()
    async with rig.running() as service:
        rig.script.begin()
        store_many = service.container.store_many()
        load, outcomes = store_many.begin(), list[ItemOutcome]()
        for number in range(3):
            content = film(number, 1000 * BATCH_WEIGHT)
            (tmp_path / f"{number}").write_bytes(content)
            bodies = AsyncExitStack()
            item = FileItem(FileKind.VIDEO, Upload(content), FileAttributes.of())
            prepared = await store_many.prepared(item, bodies)
            assert isinstance(prepared, DraftUnit)
            (draft,) = prepared.drafts
            file = bodies.enter_context((tmp_path / f"{number}").open("rb"))
            received = evolve(draft, body=FileBody(file.fileno(), draft.body.digests))
            outcomes += await load.take(DraftUnit((received,)), bodies)
            assert len(outcomes) == number
        outcomes += await load.finish()
        assert created(outcomes) == [True] * 3
        assert calls(rig, "repo.apply") == 3
        await check_settled(rig, service)


async def test_what_is_being_written_ends_when_the_caller_leaves() -> None:
    rig = Rig()
    async with rig.running() as service:
        rig.script.begin()
        held = rig.script.hold("repo.apply")
        running = asyncio.ensure_future(stored(service, mixed()))
        await held.reached.wait()
        running.cancel()
        await asyncio.sleep(0)
        held.let_go.set()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert {name for names in NAMES for name in names} == set(rig.files)
        await check_settled(rig, service)


async def test_items_that_were_not_stored_leave_nothing_behind() -> None:
    rig = Rig()
    async with rig.running() as service:
        load = service.container.store_many().begin()
        for item in mixed():
            assert not await load.add(item)
        await load.aclose()
        assert rig.files == {}
        await check_settled(rig, service)
