"""Tests of any adapter of the port `Migrations`, and of the changes that it reads."""

from datetime import timedelta
from uuid import uuid4

import pytest
from attrs import evolve

from traffic_storage.domain.changes import CommitUnit
from traffic_storage.domain.events import EventKind
from traffic_storage.domain.identifiers import CatalogueId
from traffic_storage.domain.ingest import Unit
from traffic_storage.domain.migration import MigrationCursor, MigrationId, SetMigrationCursor
from traffic_storage.domain.query import Cursor
from traffic_storage.domain.seal import Seal, SealCatalogue, UnsealCatalogue
from traffic_storage.entrypoints.testing.contracts.deletions import all_events
from traffic_storage.entrypoints.testing.contracts.record_repo import cloud, local
from traffic_storage.entrypoints.testing.units import (
    NOON,
    new_attempt,
    new_file,
    new_restoration,
    store,
)
from traffic_storage.ports.errors import AttemptCondemned
from traffic_storage.ports.record_repo import RecordRepo

HOUR = timedelta(hours=1)


def migration() -> MigrationId:
    """Return a migration from a catalogue of its own."""
    return MigrationId(CatalogueId(str(uuid4())), NOON, NOON + HOUR)


async def events(repo: RecordRepo) -> list[tuple[EventKind, object]]:
    """Return the kinds of all events of seals, with their reasons."""
    kinds = {EventKind.SEALED, EventKind.UNSEALED}
    found = [one.event for one in await all_events(repo)]
    return [(one.kind, one.details["reason"]) for one in found if one.kind in kinds]


class MigrationsContract:
    """Inherit from this and provide the fixture `repo`: an empty catalogue."""

    async def test_a_cursor_is_set_replaced_and_forgotten(self, repo: RecordRepo) -> None:
        """`migration_cursor`: None if the migration was not begun, or is complete."""
        one, other = migration(), migration()
        cursor = MigrationCursor(one, Cursor(NOON, "V1"), 1, 2, 3)
        assert await repo.migration_cursor(one) is None
        assert await repo.apply(SetMigrationCursor(one, cursor))
        assert await repo.migration_cursor(one) == cursor
        further = evolve(cursor, after=Cursor(NOON - HOUR, "V2"), records=2**40, bytes=2**50)
        await repo.apply(SetMigrationCursor(one, further))
        assert await repo.migration_cursor(one) == further
        assert await repo.migration_cursor(other) is None
        longer = evolve(one, end=NOON + 2 * HOUR)
        assert await repo.migration_cursor(longer) is None
        assert await repo.apply(SetMigrationCursor(one, None))
        assert await repo.migration_cursor(one) is None
        assert not await repo.apply(SetMigrationCursor(one, None))

    async def test_while_there_is_a_seal_nothing_new_is_committed(self, repo: RecordRepo) -> None:
        """`SealCatalogue`: from then on no `CommitUnit` is applied."""
        stores = await local(repo), await cloud(repo)
        before = await store(repo, Unit((new_file(stores[0]),)))
        waiting = Unit((new_file(stores[0]),))
        attempt = new_attempt(waiting)
        await repo.begin(attempt, waiting.names)
        seal = Seal(NOON, "clerk", "it moved")
        assert await repo.seal() is None
        assert await repo.apply(SealCatalogue(seal))
        assert await repo.seal() == seal
        with pytest.raises(AttemptCondemned):
            await repo.apply(CommitUnit(attempt.attempt_id, waiting))
        with pytest.raises(AttemptCondemned):
            await store(repo, new_restoration(before.files[0], stores[1]))
        assert await repo.file(waiting.files[0].file_id) is None
        assert await repo.file(before.files[0].file_id) == before.files[0]
        assert await repo.apply(UnsealCatalogue(NOON + HOUR, "clerk", "it moved back"))
        assert await repo.seal() is None
        await repo.apply(CommitUnit(attempt.attempt_id, waiting))
        assert await repo.file(waiting.files[0].file_id) == waiting.files[0]
        assert await events(repo) == [
            (EventKind.SEALED, "it moved"),
            (EventKind.UNSEALED, "it moved back"),
        ]

    async def test_a_second_seal_changes_nothing(self, repo: RecordRepo) -> None:
        """`SealCatalogue`: unless it is sealed. `UnsealCatalogue`: if it is."""
        seal = Seal(NOON, "clerk", "it moved")
        assert not await repo.apply(UnsealCatalogue(NOON, "clerk", "why not"))
        assert await repo.apply(SealCatalogue(seal))
        assert not await repo.apply(SealCatalogue(evolve(seal, reason="again")))
        assert await repo.seal() == seal
        assert len(await events(repo)) == 1
