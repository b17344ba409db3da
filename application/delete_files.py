"""DeleteFiles: marks files and violations as deleted, brings them back, shows certificates."""

import logging
from collections.abc import Sequence
from datetime import timedelta

from attrs import frozen

from traffic_storage.application.export_journal import ExportJournal
from traffic_storage.application.purge import Purge
from traffic_storage.application.rules_in_force import RulesInForce, lengthened
from traffic_storage.domain.deletion import (
    MOST_FILES,
    REGRANTED,
    Certificate,
    Deleted,
    Deletion,
    InsideRetention,
    NotDeleted,
    Tombstone,
    Undelete,
)
from traffic_storage.domain.errors import InvalidInput, NotFound, WrongState
from traffic_storage.domain.files import FileState, StoredFile
from traffic_storage.domain.holds import Held, reason_problem
from traffic_storage.domain.identifiers import (
    FileId,
    ViolationId,
    known_file_id,
)
from traffic_storage.domain.identifiers import violation_id as checked_violation_id
from traffic_storage.domain.query import MAX_LIMIT, FilesQuery
from traffic_storage.domain.rules_in_force import Regrant, Regranted
from traffic_storage.domain.violation import StoredViolation
from traffic_storage.ports.catalogue import Catalogue
from traffic_storage.ports.changes import Changes
from traffic_storage.ports.clock import Clock, Ids
from traffic_storage.ports.deletions import Deletions
from traffic_storage.ports.holds import Holds

logger = logging.getLogger("traffic_storage.deletion")

_RACES = 5


@frozen
class DeletedThing:
    """A file or violation that was deleted: its state, why, and the ids of its files.

    Attributes:
        identifier: the id of the file or violation.
        file_ids: the files that this call deleted; none if they were deleted before.
    """

    identifier: str
    state: FileState
    deletion: Deletion
    file_ids: tuple[FileId, ...]


@frozen
class TombstonedBatch:
    """What became of a batch of files that were to be deleted.

    Attributes:
        deleted: the files that are deleted now.
        held: files that a legal hold covers.
        kept: files inside their retention, and files that are not available (any more).
    """

    deleted: tuple[StoredFile, ...]
    held: frozenset[FileId]
    kept: frozenset[FileId]


class DeleteFiles:
    """Deletes files in two steps: a tombstone now, a purge when the grace has ended.

    With a grace of 0 the purge follows in the same call.

    Errors of all methods:
        CatalogueUnavailable: the database can't be reached.
    """

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        deletions: Deletions,
        holds: Holds,
        changes: Changes,
        purge: Purge,
        in_force: RulesInForce,
        journal: ExportJournal,
        clock: Clock,
        ids: Ids,
        grace: timedelta,
    ) -> None:
        self._catalogue = catalogue
        self._deletions = deletions
        self._holds = holds
        self._changes = changes
        self._purge = purge
        self._in_force = in_force
        self._journal = journal
        self._clock = clock
        self._ids = ids
        self._grace = grace

    async def file(
        self, file_id: str, reason: str, actor: str, *, override: bool = False
    ) -> DeletedThing:
        """Delete a file in the name of `actor`. Repeating the call changes nothing.

        Raises:
            InvalidInput: the id or the reason is malformed.
            NotFound: there is no such file.
            Deleted: the file is purged.
            Held: a legal hold covers the file; `override` does not change this.
            InsideRetention: its retention has not ended, and `override` is False.
        """
        known = known_file_id(file_id)
        _check_reason(reason)
        for _ in range(_RACES):
            file = await self._existing(known)
            if file.state is not FileState.AVAILABLE:
                return await self._deleted_before("file", known, file)
            change = self._tombstone((known,), reason, actor, override=override)
            await self._follow_rules([file])
            if await self._changes.apply(change):
                await self._purge_at_once(change)
                await self._journal.everywhere()
                return await self._shown(known, known, change.file_ids)
            await self._raise_if_kept("file", known, [file], change)
        raise _changing("file", known)

    async def violation(
        self, violation_id: str, reason: str, actor: str, *, override: bool = False
    ) -> DeletedThing:
        """Delete a violation with all files that name it. Repeating the call changes nothing.

        If it has more than 500 files, the metadata file, and so the violation, is deleted in the
        last of several steps; otherwise all are deleted, or none.

        Raises:
            InvalidInput: the id or the reason is malformed.
            NotFound: there is no such violation.
            Deleted: the violation is purged.
            Held: a legal hold covers one of the files.
            InsideRetention: the retention of one has not ended, and `override` is False.
        """
        known = checked_violation_id(violation_id)
        _check_reason(reason)
        for _ in range(_RACES):
            violation = await self._existing_violation(known)
            files = await self._files_of(violation, FileState.AVAILABLE)
            if not files:
                metadata = await self._existing(violation.metadata_file_id)
                return await self._deleted_before("violation", known, metadata)
            deleted: list[FileId] = []
            await self._follow_rules(files)
            for begin in range(0, len(files), MOST_FILES):
                part = files[begin : begin + MOST_FILES]
                names = tuple(file.file_id for file in part)
                change = self._tombstone(names, reason, actor, override=override)
                if not await self._changes.apply(change):
                    await self._raise_if_kept("violation", known, part, change)
                    break
                deleted += names
                await self._purge_at_once(change)
            else:
                await self._journal.everywhere()
                return await self._shown(known, violation.metadata_file_id, tuple(deleted))
        raise _changing("violation", known)

    async def plan_file(self, file_id: str, *, override: bool = False) -> tuple[FileId, ...]:
        """Return the files that `file` would delete now, and change nothing; raises as `file`."""
        known = known_file_id(file_id)
        file = await self._existing(known)
        if file.state is not FileState.AVAILABLE:
            await self._deleted_before("file", known, file)
            return ()
        change = self._tombstone((known,), "a plan", "nobody", override=override)
        await self._raise_if_kept("file", known, [file], change)
        return (known,)

    async def plan_violation(
        self, violation_id: str, *, override: bool = False
    ) -> tuple[FileId, ...]:
        """Return the files that `violation` would delete now, and change nothing; raises as that."""
        known = checked_violation_id(violation_id)
        violation = await self._existing_violation(known)
        files = await self._files_of(violation, FileState.AVAILABLE)
        if not files:
            metadata = await self._existing(violation.metadata_file_id)
            await self._deleted_before("violation", known, metadata)
        names = tuple(file.file_id for file in files)
        change = self._tombstone(names, "a plan", "nobody", override=override)
        await self._raise_if_kept("violation", known, files, change)
        return names

    async def batch(
        self, file_ids: Sequence[FileId], reason: str, actor: str, rule: str
    ) -> TombstonedBatch:
        """Delete those of at most 500 files whose retention has ended and that are not held.

        The purge does not follow, even with a grace of 0: the caller runs `Purge.due` at the end.
        """
        for _ in range(_RACES):
            change = self._tombstone(tuple(file_ids), reason, actor, rule=rule, whole=False)
            applied = await self._changes.apply(change)
            files = await self._catalogue.files_by_id(file_ids)
            deletions = await self._deletions.deletions(file_ids)
            mine = {
                name
                for name, one in deletions.items()
                if applied and one.deletion_id == change.deletion_id
            }
            held = await self._holds.held(set(files) - set(deletions), change.at)
            missed = [
                file
                for name, file in files.items()
                if name not in mine and change.may_delete(file, is_held=name in held)
            ]
            if not missed or applied:
                return TombstonedBatch(
                    tuple(files[name] for name in file_ids if name in mine),
                    held,
                    frozenset(file_ids) - mine - held,
                )
        raise _changing("batch that begins with", file_ids[0])

    async def undelete_file(self, file_id: str, reason: str, actor: str) -> StoredFile:
        """Make a tombstoned file available again; it is kept for 30 days at least.

        Raises:
            InvalidInput: the id or the reason is malformed.
            NotFound: there is no such file.
            Deleted: the file is purged.
            NotDeleted: the file is available, or its purge has begun.
        """
        known = known_file_id(file_id)
        await self._existing(known)
        await self._undelete("file", known, (known,), reason, actor)
        return await self._existing(known)

    async def undelete_violation(
        self, violation_id: str, reason: str, actor: str
    ) -> StoredViolation:
        """Make a tombstoned violation available again, with all its files that are tombstoned.

        Raises:
            InvalidInput: the id or the reason is malformed.
            NotFound: there is no such violation.
            Deleted: the violation is purged.
            NotDeleted: nothing of it is tombstoned, or its purge has begun.
        """
        known = checked_violation_id(violation_id)
        violation = await self._existing_violation(known)
        metadata = await self._existing(violation.metadata_file_id)
        files = await self._files_of(violation, FileState.TOMBSTONED)
        if not files or metadata.state in (FileState.PURGING, FileState.PURGED):
            _refuse_undelete("violation", known, metadata, await self._deletion(metadata.file_id))
        # The metadata file first: a violation is visible before its last files are.
        names = tuple(file.file_id for file in reversed(files))
        for begin in range(0, len(names), MOST_FILES):
            part = names[begin : begin + MOST_FILES]
            await self._undelete("violation", known, part, reason, actor)
        return await self._existing_violation(known)

    async def certificate(self, file_id: str) -> Certificate:
        """Return the destruction certificate of a purged file; it is kept for ever.

        Raises:
            InvalidInput: the id is malformed.
            NotFound: there is no certificate: the file does not exist, or is not purged.
        """
        known = known_file_id(file_id)
        found = await self._deletions.certificate(known)
        if found is None:
            raise await self._uncertified("file", known, known)
        return found

    async def violation_certificate(self, violation_id: str) -> Certificate:
        """Return the certificate of a purged violation: that of its metadata file.

        Raises:
            InvalidInput: the id is malformed.
            NotFound: the violation does not exist, or is not purged.
        """
        violation = await self._existing_violation(checked_violation_id(violation_id))
        found = await self._deletions.certificate(violation.metadata_file_id)
        if found is None:
            raise await self._uncertified("violation", violation_id, violation.metadata_file_id)
        return found

    async def _uncertified(self, what: str, identifier: str, file_id: FileId) -> NotFound:
        error = NotFound(f"certificate of the {what}", identifier)
        if (file := await self._catalogue.file(file_id)) is not None:
            error.remedy = f"it is {file.state}; the certificate is made when its bytes are erased"
        return error

    def _tombstone(
        self,
        names: tuple[FileId, ...],
        reason: str,
        actor: str,
        *,
        rule: str | None = None,
        override: bool = False,
        whole: bool = True,
    ) -> Tombstone:
        now = self._clock.now()
        return Tombstone(
            names,
            self._ids.uuid7(),
            now,
            now + self._grace,
            reason,
            actor,
            rule,
            override,
            whole,
        )

    async def _purge_at_once(self, change: Tombstone) -> None:
        logger.info(
            "%s deleted %s: %s", change.actor, ", ".join(change.file_ids[:5]), change.reason
        )
        if change.purge_after <= change.at:
            await self._purge.files(change.file_ids)

    async def _undelete(
        self, what: str, identifier: str, names: tuple[FileId, ...], reason: str, actor: str
    ) -> None:
        _check_reason(reason)
        now = self._clock.now()
        change = Undelete(names, now, now + REGRANTED, reason, actor)
        if not await self._changes.apply(change):
            for name in names:
                file = await self._existing(name)
                if file.state is not FileState.TOMBSTONED:
                    _refuse_undelete(what, identifier, file, await self._deletion(name))
            raise _changing(what, identifier)
        logger.info("%s undeleted %s: %s", actor, ", ".join(names[:5]), reason)
        files = await self._catalogue.files_by_id(names)
        await self._follow_rules([*files.values()])
        await self._journal.everywhere()

    async def _follow_rules(self, files: Sequence[StoredFile]) -> None:
        """Record until when the rules in force keep these files, where that is later than recorded.

        The job that follows a change of the rules may not have come to them yet.
        """
        if longer := await self._longer(files):
            await self._changes.apply(Regrant(longer))

    async def _longer(self, files: Sequence[StoredFile]) -> tuple[Regranted, ...]:
        """Return what the rules in force grant these files, where that is later than recorded."""
        rules = (await self._in_force.current()).rules
        return await lengthened(files, rules, self._catalogue)

    async def _existing(self, file_id: FileId) -> StoredFile:
        file = await self._catalogue.file(file_id)
        if file is None:
            raise NotFound("file", file_id)
        return file

    async def _existing_violation(self, violation_id: ViolationId) -> StoredViolation:
        violation = await self._catalogue.violation(violation_id)
        if violation is None:
            raise NotFound("violation", violation_id)
        return violation

    async def _files_of(self, violation: StoredViolation, state: FileState) -> list[StoredFile]:
        """Return the files of a violation in this state; its metadata file is the last."""
        query: FilesQuery | None = FilesQuery(
            violation_id=violation.violation_id, state=state, limit=MAX_LIMIT
        )
        found: list[StoredFile] = []
        while query is not None:
            page = await self._catalogue.files(query)
            found += page.items
            query = (
                FilesQuery(
                    violation_id=violation.violation_id,
                    state=state,
                    limit=MAX_LIMIT,
                    after=page.next,
                )
                if page.next
                else None
            )
        return sorted(found, key=lambda file: file.file_id == violation.metadata_file_id)

    async def _deletion(self, file_id: FileId) -> Deletion | None:
        return (await self._deletions.deletions([file_id])).get(file_id)

    async def _deleted_before(self, what: str, identifier: str, file: StoredFile) -> DeletedThing:
        deletion = await self._deletion(file.file_id)
        if file.state is FileState.PURGED or deletion is None:
            raise Deleted(what, identifier, file.state, deletion)
        return DeletedThing(identifier, file.state, deletion, ())

    async def _shown(
        self, identifier: str, file_id: FileId, deleted: tuple[FileId, ...]
    ) -> DeletedThing:
        file = await self._existing(file_id)
        deletion = await self._deletion(file_id)
        if deletion is None:
            raise _changing("file", file_id)
        return DeletedThing(identifier, file.state, deletion, deleted)

    async def _raise_if_kept(
        self, what: str, identifier: str, files: Sequence[StoredFile], change: Tombstone
    ) -> None:
        """Raise why these files were not deleted; return if another call changed one meanwhile."""
        held = await self._holds.held([file.file_id for file in files], change.at)
        for name in sorted(held):
            if holds := await self._holds.holds_on(name, change.at):
                raise Held(what, identifier, tuple(holds))
        if change.override:
            return
        for file in files:
            if file.keep_until > change.at:
                raise InsideRetention(what, identifier, file.keep_until, file.retention_rule)
        for granted in await self._longer(files):
            if granted.keep_until > change.at:
                raise InsideRetention(what, identifier, granted.keep_until, granted.rule)


def _check_reason(reason: str) -> None:
    if problem := reason_problem(reason):
        raise InvalidInput([problem])


def _refuse_undelete(
    what: str, identifier: str, file: StoredFile, deletion: Deletion | None
) -> None:
    if file.state is FileState.PURGED:
        raise Deleted(what, identifier, file.state, deletion)
    raise NotDeleted(what, identifier, file.state)


def _changing(what: str, identifier: str) -> WrongState:
    return WrongState(f"the {what} {identifier!r} is being changed by others; try again")
