"""Tests of any adapter of the ports `FixityRecords` and `Incidents`."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from attrs import evolve

from traffic_storage.domain.changes import ObserveReplica
from traffic_storage.domain.files import ReplicaState, StoredFile
from traffic_storage.domain.fixity import (
    DuePosition,
    Finding,
    FixityCounts,
    FixityDay,
    FoundReplica,
    RecordVerifications,
    StoreCoverage,
    Verdict,
)
from traffic_storage.domain.identifiers import FileId, StoreId
from traffic_storage.domain.identity import RegisteredStore
from traffic_storage.domain.incidents import (
    CloseIncident,
    Closing,
    Incident,
    IncidentKind,
    IncidentsQuery,
    OpenIncident,
)
from traffic_storage.domain.ingest import Unit
from traffic_storage.entrypoints.testing.contracts.deletions import all_events
from traffic_storage.entrypoints.testing.contracts.record_repo import cloud, local, recount
from traffic_storage.entrypoints.testing.units import NOON, new_file, store
from traffic_storage.ports.record_repo import RecordRepo

DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)


async def stored_at(
    repo: RecordRepo, place: RegisteredStore, verified_at: datetime | None
) -> StoredFile:
    """Store a file with one present copy that was verified at this time; return it."""
    file = new_file(place)
    copies = tuple(evolve(copy, verified_at=verified_at) for copy in file.replicas)
    await store(repo, Unit((evolve(file, replicas=copies),)))
    return evolve(file, replicas=copies)


async def due_in_pages(
    repo: RecordRepo, store_id: StoreId, before: datetime, limit: int
) -> list[FileId]:
    """Return the files of all pages of due copies, in order."""
    found: list[FileId] = []
    after: DuePosition | None = None
    while page := await repo.due_replicas(store_id, before, after, limit):
        assert len(page) <= limit
        assert all(len(copy.replicas) == 1 for copy in page)
        found += [copy.file_id for copy in page]
        after = DuePosition.behind(page[-1].replicas[0])
    return found


def results(
    *findings: Finding, at: datetime, place: RegisteredStore, incidents: bool = True
) -> RecordVerifications:
    """Return the change that records these results."""
    opened = [finding.incident(uuid4(), at) for finding in findings] if incidents else []
    changed = [one for one in findings if one.state not in (None, one.replica.state)]
    same = [one for one in findings if one.state is one.replica.state]
    return RecordVerifications(
        uuid4(),
        place.store_id,
        at,
        FixityCounts.of(findings),
        tuple(one.replica.replica_id for one in same if one.verdict is Verdict.GOOD),
        tuple(
            FoundReplica(one.file.file_id, one.replica.replica_id, one.state)
            for one in changed
            if one.state is not None
        ),
        tuple(one for one in opened if one is not None),
    )


def new_incident(at: datetime = NOON, file_id: str = "file", **more: object) -> Incident:
    """Return an incident about a file."""
    incident = Incident(
        uuid4(), IncidentKind.BLOCKED_EVIDENCE, at, FileId(file_id), "no copy could be verified"
    )
    return evolve(incident, **more)  # type: ignore[arg-type]


async def state_of(repo: RecordRepo, file: StoredFile) -> tuple[ReplicaState, datetime | None]:
    """Return the state and the time of verification of the only copy of a file."""
    row = await repo.file(file.file_id)
    assert row is not None
    (replica,) = row.replicas
    return replica.state, replica.verified_at


async def pages_of(repo: RecordRepo, query: IncidentsQuery) -> list[UUID]:
    """Return the ids of the incidents of all pages, in order."""
    found: list[UUID] = []
    while True:
        page = await repo.incidents(query)
        assert len(page.items) <= query.limit
        found += [incident.incident_id for incident in page.items]
        if page.next is None:
            return found
        query = evolve(query, after=page.next)


class FixityContract:
    """The tests; a subclass provides the fixture `repo`, an empty catalogue."""

    @pytest.mark.parametrize("limit", [1, 2, 3, 100])
    async def test_due_copies_come_in_the_order_of_their_verification(
        self, repo: RecordRepo, limit: int
    ) -> None:
        """due_replicas: never verified first, then the oldest; ties by replica id."""
        place, other = await local(repo), await cloud(repo)
        times = [NOON - DAY, None, NOON - 3 * DAY, NOON - 2 * DAY, None, NOON - 2 * DAY, NOON]
        files = [await stored_at(repo, place, at) for at in times]
        await stored_at(repo, other, None)

        def order(file: StoredFile) -> tuple[bool, datetime, bytes]:
            (copy,) = file.replicas
            return copy.verified_at is not None, copy.verified_at or NOON, copy.replica_id.bytes

        expected = [file.file_id for file in sorted(files[:-1], key=order)]
        assert await due_in_pages(repo, place.store_id, NOON, limit) == expected
        early = await due_in_pages(repo, place.store_id, NOON - 2 * DAY, limit)
        assert early == expected[:3]

    async def test_a_due_copy_is_a_file_with_this_one_replica(self, repo: RecordRepo) -> None:
        """due_replicas: each copy is the file of the row, with one replica."""
        place = await local(repo)
        file = await stored_at(repo, place, NOON)
        assert list(await repo.due_replicas(place.store_id, NOON + SECOND, None, 10)) == [file]
        assert await repo.due_replicas(StoreId("unknown"), NOON + SECOND, None, 10) in ([], ())

    async def test_verified_copies_get_the_time_and_history_the_counts(
        self, repo: RecordRepo
    ) -> None:
        """RecordVerifications: `verified` copies are verified at `at`; a day sums the counts."""
        place = await local(repo)
        files = [await stored_at(repo, place, NOON - DAY) for _ in range(3)]
        good = [Finding(file, Verdict.GOOD) for file in files]
        first = results(*good[:2], at=NOON, place=place)
        assert await repo.apply(first)
        assert await repo.apply(results(good[2], at=NOON + SECOND, place=place))
        assert [await state_of(repo, file) for file in files] == [
            (ReplicaState.PRESENT, NOON),
            (ReplicaState.PRESENT, NOON),
            (ReplicaState.PRESENT, NOON + SECOND),
        ]
        day = FixityDay(NOON.date(), place.store_id, FixityCounts(checked=3, bytes=3000))
        assert list(await repo.fixity_days(NOON.date(), NOON.date())) == [day]
        assert list(await repo.fixity_days(date(2020, 1, 1), date(2020, 1, 2))) == []

    async def test_results_are_recorded_once(self, repo: RecordRepo) -> None:
        """RecordVerifications: applying it again changes nothing, and returns False."""
        place = await local(repo)
        file = await stored_at(repo, place, NOON - DAY)
        change = results(Finding(file, Verdict.CORRUPT, "flipped"), at=NOON, place=place)
        assert await repo.apply(change)
        assert not await repo.apply(change)
        (day,) = await repo.fixity_days(NOON.date(), NOON.date())
        assert (day.counts.checked, day.counts.corrupted) == (1, 1)

    async def test_a_verification_never_goes_back_in_time(self, repo: RecordRepo) -> None:
        """RecordVerifications: an older result does not replace a newer time of verification."""
        place = await local(repo)
        file = await stored_at(repo, place, NOON)
        good = Finding(file, Verdict.GOOD)
        await repo.apply(results(good, at=NOON - SECOND, place=place))
        assert await state_of(repo, file) == (ReplicaState.PRESENT, NOON)

    @pytest.mark.parametrize(
        ("verdict", "state", "kind"),
        [
            (Verdict.CORRUPT, ReplicaState.CORRUPT, IncidentKind.CORRUPT_REPLICA),
            (Verdict.MISSING, ReplicaState.MISSING, IncidentKind.MISSING_REPLICA),
        ],
    )
    async def test_a_bad_copy_is_marked_counted_and_opens_an_incident(
        self, repo: RecordRepo, verdict: Verdict, state: ReplicaState, kind: IncidentKind
    ) -> None:
        """RecordVerifications: `found` replaces the state; counters follow; incidents are opened."""
        place = await local(repo)
        file = await stored_at(repo, place, NOON - DAY)
        await repo.apply(results(Finding(file, verdict, "why"), at=NOON, place=place))
        assert await state_of(repo, file) == (state, NOON)
        assert list((await repo.usage()).stores) == await recount(repo, [file.file_id])
        (incident,) = (await repo.incidents(IncidentsQuery())).items
        (copy,) = file.replicas
        assert (incident.kind, incident.opened_at, incident.details) == (kind, NOON, "why")
        assert (incident.file_id, incident.replica_id) == (file.file_id, copy.replica_id)
        assert incident.store_id == place.store_id
        assert await repo.incident(incident.incident_id) == incident
        assert [c.file_id for c in await repo.doubtful_replicas(place.store_id, None, 10)] == [
            file.file_id
        ]
        assert await due_in_pages(repo, place.store_id, NOON + DAY, 10) == []
        event = (await all_events(repo))[-1].event
        assert (event.kind, event.file_id, event.at) == (state.value, file.file_id, NOON)

    async def test_an_unknown_result_changes_no_copy(self, repo: RecordRepo) -> None:
        """RecordVerifications: a copy about which nothing is known stays as it is."""
        place = await local(repo)
        file = await stored_at(repo, place, NOON - DAY)
        await repo.apply(results(Finding(file, Verdict.UNKNOWN, "away"), at=NOON, place=place))
        assert await state_of(repo, file) == (ReplicaState.PRESENT, NOON - DAY)
        assert (await repo.incidents(IncidentsQuery())).items == ()
        (day,) = await repo.fixity_days(NOON.date(), NOON.date())
        assert day.counts == FixityCounts(unknown=1)

    async def test_a_copy_that_is_found_again_closes_its_incidents(self, repo: RecordRepo) -> None:
        """RecordVerifications: the open incidents of a copy found present, and of its file, are closed."""
        place = await local(repo)
        file = await stored_at(repo, place, NOON - DAY)
        await repo.apply(results(Finding(file, Verdict.MISSING, "why"), at=NOON, place=place))
        (lost,) = await repo.doubtful_replicas(place.store_id, None, 10)
        blocked = new_incident(NOON, file.file_id)
        assert await repo.apply(OpenIncident(blocked))
        others = new_incident(NOON, "another")
        assert await repo.apply(OpenIncident(others))
        # That what was received is no image does not end with a good copy of it.
        damaged = new_incident(NOON - SECOND, file.file_id, kind=IncidentKind.DAMAGED_IMAGE)
        assert await repo.apply(OpenIncident(damaged))
        later = NOON + SECOND
        assert await repo.apply(results(Finding(lost, Verdict.GOOD), at=later, place=place))
        assert await state_of(repo, file) == (ReplicaState.PRESENT, later)
        assert (await repo.incidents(IncidentsQuery())).items == (others, damaged)
        closed = (await repo.incidents(IncidentsQuery(is_open=False))).items
        assert len(closed) == 2
        assert {(one.closed_at, one.closed_by) for one in closed} == {(later, "fixity")}
        assert list((await repo.usage()).stores) == await recount(repo, [file.file_id])

    async def test_a_state_that_changed_meanwhile_stays(self, repo: RecordRepo) -> None:
        """RecordVerifications: a copy whose state has changed is left out; the rest is recorded."""
        place = await local(repo)
        marked, other = [await stored_at(repo, place, NOON - DAY) for _ in range(2)]
        (copy,) = marked.replicas
        await repo.apply(
            ObserveReplica(marked.file_id, copy.replica_id, ReplicaState.MISSING, NOON)
        )
        bad = [Finding(file, Verdict.CORRUPT, "why") for file in (marked, other)]
        assert await repo.apply(results(*bad, at=NOON + SECOND, place=place))
        assert await state_of(repo, marked) == (ReplicaState.MISSING, NOON)
        assert await state_of(repo, other) == (ReplicaState.CORRUPT, NOON + SECOND)
        names = [marked.file_id, other.file_id]
        assert list((await repo.usage()).stores) == await recount(repo, names)

    async def test_doubtful_copies_come_in_pages(self, repo: RecordRepo) -> None:
        """doubtful_replicas: ordered by file id; the next page begins behind the last copy."""
        place = await local(repo)
        files = [await stored_at(repo, place, NOON - DAY) for _ in range(5)]
        bad = [Finding(file, Verdict.CORRUPT, "why") for file in files]
        await repo.apply(results(*bad, at=NOON, place=place))
        found: list[FileId] = []
        after: StoredFile | None = None
        while page := await repo.doubtful_replicas(place.store_id, after, 2):
            found += [copy.file_id for copy in page]
            after = page[-1]
        assert found == sorted(file.file_id for file in files)

    async def test_coverage_counts_what_is_overdue_or_bad(self, repo: RecordRepo) -> None:
        """coverage: copies that should be intact, bad ones, overdue ones, and the oldest time."""
        place, other = await local(repo), await cloud(repo)
        assert list(await repo.coverage(NOON)) == []
        times = [NOON, NOON - DAY, NOON - 40 * DAY, NOON - 35 * DAY]
        files = [await stored_at(repo, place, at) for at in times]
        await stored_at(repo, other, None)
        bad = [
            Finding(files[0], Verdict.MISSING, "why"),
            Finding(files[1], Verdict.CORRUPT, "why"),
        ]
        await repo.apply(results(*bad, at=NOON, place=place))
        assert list(await repo.coverage(NOON - 30 * DAY)) == [
            StoreCoverage(other.store_id, 1, 0, 0, 1, None),
            StoreCoverage(place.store_id, 4, 1, 1, 2, NOON - 40 * DAY),
        ]

    async def test_a_store_whose_only_copy_is_missing_has_a_coverage(
        self, repo: RecordRepo
    ) -> None:
        """coverage: a store is listed also if all its copies are missing."""
        place = await local(repo)
        file = await stored_at(repo, place, NOON)
        await repo.apply(results(Finding(file, Verdict.MISSING, "why"), at=NOON, place=place))
        assert list(await repo.coverage(NOON - DAY)) == [
            StoreCoverage(place.store_id, 1, 0, 1, 0, None)
        ]

    async def test_one_open_incident_concerns_the_same(self, repo: RecordRepo) -> None:
        """OpenIncident: not opened again while one that concerns the same is open."""
        first, second = new_incident(), new_incident(NOON + SECOND)
        for incident in (first, first, second):
            await repo.apply(OpenIncident(incident))
        assert await pages_of(repo, IncidentsQuery()) == [first.incident_id]
        for other in (
            new_incident(kind=IncidentKind.CORRUPT_REPLICA),
            new_incident(replica_id=uuid4()),
            new_incident(file_id="other"),
        ):
            await repo.apply(OpenIncident(other))
        assert len(await pages_of(repo, IncidentsQuery())) == 4

    async def test_an_incident_is_closed_once(self, repo: RecordRepo) -> None:
        """CloseIncident: only an open incident; afterwards the same can be opened again."""
        incident = new_incident()
        closing = Closing(NOON + SECOND, "ana", "restored from the backup")
        assert not await repo.apply(CloseIncident(incident.incident_id, closing))
        await repo.apply(OpenIncident(incident))
        assert await repo.apply(CloseIncident(incident.incident_id, closing))
        later = Closing(NOON + DAY, "eva", "again")
        assert not await repo.apply(CloseIncident(incident.incident_id, later))
        assert await repo.incident(incident.incident_id) == incident.closed(closing)
        again = new_incident(NOON + DAY)
        await repo.apply(OpenIncident(again))
        assert await pages_of(repo, IncidentsQuery()) == [again.incident_id]
        assert await repo.incident(uuid4()) is None

    @pytest.mark.parametrize("limit", [1, 3, 100])
    async def test_incidents_come_in_pages_newest_first(self, repo: RecordRepo, limit: int) -> None:
        """incidents: the filters apply; each incident is on one page."""
        incidents = [
            new_incident(NOON + number // 2 * SECOND, f"file-{number % 3}", replica_id=uuid4())
            for number in range(9)
        ]
        for incident in incidents:
            await repo.apply(OpenIncident(incident))
        closed = incidents[::4]
        for incident in closed:
            closing = Closing(NOON + DAY, "ana", "done")
            await repo.apply(CloseIncident(incident.incident_id, closing))
        ordered = sorted(
            incidents, key=lambda one: (one.opened_at, one.incident_id.bytes), reverse=True
        )

        def expected(chosen: Sequence[Incident]) -> list[UUID]:
            return [one.incident_id for one in ordered if one in chosen]

        still = [one for one in incidents if one not in closed]
        mine = [one for one in incidents if one.file_id == "file-1"]
        queries = {
            IncidentsQuery(limit=limit): still,
            IncidentsQuery(is_open=False, limit=limit): closed,
            IncidentsQuery(is_open=None, limit=limit): incidents,
            IncidentsQuery(is_open=None, file_id=FileId("file-1"), limit=limit): mine,
            IncidentsQuery(file_id=FileId("file-1"), limit=limit): [
                one for one in mine if one in still
            ],
        }
        for query, chosen in queries.items():
            assert await pages_of(repo, query) == expected(chosen)
