"""Finding: what is available is found, by id, by query and with its violation; nothing else is."""

from typing import Any

import pytest
from attrs import evolve

from tests.application.rig import Rig, Service, film, picture, violation_record
from traffic_storage.domain.errors import InvalidInput, NotFound
from traffic_storage.domain.files import FileKind, FileState
from traffic_storage.domain.identifiers import FileId, ViolationId
from traffic_storage.domain.query import FilesQuery, ViolationQuery
from traffic_storage.domain.violation import ViolationState

V001 = ViolationId("V001")
REMOVED = pytest.mark.parametrize("state", [s for s in FileState if s is not FileState.AVAILABLE])


async def ids(service: Service, **filters: Any) -> list[str]:
    page = await service.find.files(FilesQuery(**filters))
    return [file.file_id for file in page.items]


async def test_files_are_found_by_query_and_by_pages() -> None:
    rig = Rig()
    async with rig.running() as service:
        await service.evidence(violation_record(), picture(), film())
        await service.json({"a": 1}, "note", metadata={"violation_id": "V001"})
        assert await ids(service, kind=FileKind.VIDEO) == ["V001~video"]
        assert len(await ids(service, violation_id="V001")) == 4
        first = await service.find.files(FilesQuery(limit=3))
        second = await service.find.files(FilesQuery(limit=3, after=first.next))
        assert len({file.file_id for file in (*first.items, *second.items)}) == 4
        assert second.next is None


@REMOVED
async def test_a_file_that_is_not_available_is_found_by_its_state_alone(state: FileState) -> None:
    rig = Rig()
    async with rig.running() as service:
        await service.evidence(violation_record(), picture(), film())
        await service.json({"a": 1}, "note", metadata={"violation_id": "V001"})
        for name in ("note", "V001~video"):
            rig.repo._files[FileId(name)] = evolve(rig.files[FileId(name)], state=state)
            with pytest.raises(NotFound):
                await service.find.file(name)
        assert set(await ids(service)) == {"V001~image", "V001~metadata"}
        assert set(await ids(service, state=state)) == {"V001~video", "note"}
        found = await service.find.violation_with_files("V001")
        assert [file.file_id for file in found.files] == ["V001~image", "V001~metadata"]


async def test_a_violation_that_is_not_available_is_not_found() -> None:
    rig = Rig()
    async with rig.running() as service:
        stored = (await service.evidence(violation_record())).violation
        rig.repo._violations[V001] = evolve(stored, state=ViolationState.TOMBSTONED)
        for work in (service.find.violation("V001"), service.find.violation_with_files("V001")):
            with pytest.raises(NotFound):
                await work


async def test_its_own_files_come_first_however_many_others_name_a_violation() -> None:
    rig = Rig()
    async with rig.running() as service:
        await service.evidence(violation_record(), picture(), film())
        for number in range(7):
            await service.json({"n": number}, f"n{number}", metadata={"violation_id": "V001"})
        first = await service.find.violation_with_files("V001", limit=3)
        own = ["V001~image", "V001~video", "V001~metadata"]
        others: list[str] = []
        found = first
        while True:
            assert [file.file_id for file in found.own] == own
            others += [file.file_id for file in found.others.items]
            before = own if found is first else []
            assert [file.file_id for file in found.files] == [
                *before,
                *(file.file_id for file in found.others.items),
            ]
            if found.others.next is None:
                break
            found = await service.find.violation_with_files(
                "V001", limit=3, after=found.others.next
            )
        assert sorted(others) == [f"n{number}" for number in range(7)]


async def test_what_can_not_be_is_bad_input_and_what_is_not_there_is_not_found() -> None:
    rig = Rig()
    async with rig.running() as service:
        for bad in (service.find.file("../x"), service.find.violation("V1~image")):
            with pytest.raises(InvalidInput):
                await bad
        for absent in (service.find.file("x"), service.find.violation("V404")):
            with pytest.raises(NotFound):
                await absent
        assert (await service.find.violations(ViolationQuery())).items == ()


async def test_a_page_ends_where_its_metadata_is_large() -> None:
    rig = Rig()
    megabyte = "x" * 1_000_000
    async with rig.running() as service:
        await service.evidence(violation_record())
        for number in range(12):
            labels = {"violation_id": "V001", "text": megabyte}
            await service.json({"n": number}, f"n{number}", metadata=labels)
        seen: list[str] = []
        after = None
        while True:
            found = await service.find.violation_with_files("V001", limit=100, after=after)
            assert sum(len(file.metadata or "") for file in found.files) < 6_000_000
            seen += [file.file_id for file in found.files]
            after = found.others.next
            if after is None:
                break
        assert sorted(seen) == sorted(["V001~metadata", *(f"n{n}" for n in range(12))])


@pytest.mark.parametrize("limit", [1, 15, 16, 17, 80, 81, 100, 1000])
async def test_a_page_has_as_many_files_as_are_asked_for(limit: int) -> None:
    rig = Rig()
    async with rig.running() as service:
        names = [f"n{number:03}" for number in range(90)]
        for name in names:
            await service.json({"n": name}, name)
        page = await service.find.files(FilesQuery(limit=limit))
        assert len(page.items) == min(limit, 90)
        assert (page.next is None) == (limit >= 90)
        query = FilesQuery(limit=1000, after=page.next)
        rest = (await service.find.files(query)).items if page.next else ()
        assert sorted(file.file_id for file in (*page.items, *rest)) == names
