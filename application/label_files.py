"""LabelFiles: adds the labels that a repeated call gives and its file lacks.

An entry of the ingest journal, as of a call that stores: it shows whether the addition still may
happen (a service may be sealed meanwhile), and a crash leaves nothing behind that recovery does not
remove. The labels, the end of retention, the counters and the event are one change. The journal
beside the blobs is written before the answer, as far as that succeeds in a few seconds.
"""

import asyncio
import logging
from datetime import timedelta

from attrs import frozen

from traffic_storage.application.drafts import Draft
from traffic_storage.application.export_journal import ExportJournal
from traffic_storage.application.recompute_retention import recomputation_of
from traffic_storage.application.rules_in_force import RulesInForce
from traffic_storage.application.sealing import Sealing
from traffic_storage.domain.errors import Conflict, StorageUnavailable, TrafficStorageError
from traffic_storage.domain.files import StoredFile
from traffic_storage.domain.holds import covers
from traffic_storage.domain.identifiers import AttemptId
from traffic_storage.domain.ingest import Attempt, ClaimedIds
from traffic_storage.domain.jobs import NewJob
from traffic_storage.domain.labels import AddLabels, Labels
from traffic_storage.domain.retention import (
    MIGRATED_RULE,
    Retention,
    retention_basis,
    retention_with_labels,
)
from traffic_storage.domain.retention_rules import RetentionFacts
from traffic_storage.ports.catalogue import Catalogue
from traffic_storage.ports.changes import Changes
from traffic_storage.ports.clock import Clock, Ids
from traffic_storage.ports.errors import AttemptCondemned
from traffic_storage.ports.holds import Holds
from traffic_storage.ports.ingest_journal import IngestJournal

logger = logging.getLogger("traffic_storage.store")

_MOST_TRIES = 20


@frozen
class Labelled:
    """The row of a file, and the names of the labels that were added to it; none if it had them."""

    file: StoredFile
    added: tuple[str, ...] = ()


class LabelFiles:
    """Adds labels to stored files. Safe to repeat; concurrent calls add each label once."""

    def __init__(
        self,
        *,
        journal: IngestJournal,
        changes: Changes,
        catalogue: Catalogue,
        holds: Holds,
        rules: RulesInForce,
        sealing: Sealing,
        export: ExportJournal,
        clock: Clock,
        ids: Ids,
        owner: str,
        attempt_timeout: timedelta,
    ) -> None:
        self._journal = journal
        self._changes = changes
        self._catalogue = catalogue
        self._holds = holds
        self._rules = rules
        self._sealing = sealing
        self._export = export
        self._clock = clock
        self._ids = ids
        self._owner = owner
        self._attempt_timeout = attempt_timeout
        self._exporting = asyncio.Lock()

    async def __call__(self, draft: Draft) -> Labelled:
        """Add the labels of a draft that its stored file lacks; return the file with them.

        Raises (nothing is added, except possibly with OutcomeUnknown):
            Conflict: the file has other labels or other content, is deleted, or would leave a legal
                hold.
            Sealed: this service is read only.
            StorageUnavailable: other changes of the file came first each time.
            CatalogueUnavailable: the database can't be reached.
        """
        for _ in range(_MOST_TRIES):
            labelled = await self._try(draft)
            if labelled is None:
                await self._sealing.check(anew=True)
                continue
            if labelled.added:
                # Whoever waits finds its event exported by another, most likely.
                async with self._exporting:
                    await self._export.everywhere()
            return labelled
        raise StorageUnavailable(
            f"labels were to be added to {draft.file_id} {_MOST_TRIES} times, and others changed it first",
            remedy="try again later",
        )

    async def check(self, draft: Draft, file: StoredFile) -> None:
        """Check that the labels which a stored file lacks would be added.

        Raises:
            Conflict: the file would leave a legal hold.
            CatalogueUnavailable: the database can't be reached.
        """
        labels = draft.labels.lacking_in(file)
        if labels.names:
            await self._check_holds(file, labels)

    async def _try(self, draft: Draft) -> Labelled | None:
        """Add labels; None if the file was changed, or the attempt condemned, in between."""
        attempt = Attempt(
            attempt_id=AttemptId(str(self._ids.uuid7())),
            owner=self._owner,
            deadline=self._clock.now() + self._attempt_timeout,
            keys=(),
        )
        existing = await self._journal.begin(attempt, ClaimedIds((draft.file_id,)))
        is_ended = False
        try:
            file = existing.files[draft.file_id]
            draft.check_same(file)
            labels = draft.labels.lacking_in(file)
            if not labels.names:
                return Labelled(file)
            await self._check_holds(file, labels)
            change = await self._change(draft, file, labels, attempt)
            is_ended = await self._changes.apply(change)
            return Labelled(change.applied(file), labels.names) if is_ended else None
        except AttemptCondemned:
            return None
        finally:
            if not is_ended:
                await self._forget(attempt)

    async def _change(
        self, draft: Draft, file: StoredFile, labels: Labels, attempt: Attempt
    ) -> AddLabels:
        labelled = labels.on(file)
        # Read anew: a walk over all files that follows newer rules may have passed this one.
        rules = (await self._rules.current()).rules
        bounds = (await self._rules.policy()).bounds
        known = await self._rules.type_of(labelled.violation_id, rules)
        basis = file.retention_basis
        if draft.origin is not None:
            basis = draft.origin.retention_basis
        elif labels.captured_at is not None:
            basis = retention_basis(
                labels.captured_at, file.created_at, bounds, historic=labelled.historic
            )
        facts = RetentionFacts(file.kind, labelled.device_id, known)
        retention = retention_with_labels(file, basis, facts, rules)
        if draft.origin is not None and draft.origin.keep_until > retention.keep_until:
            retention = Retention(draft.origin.keep_until, MIGRATED_RULE, retention.basis)
        jobs: tuple[NewJob, ...] = ()
        if labels.violation_id is not None and rules.needs_violation_type:
            # The violation may become known just now.
            jobs = (recomputation_of(self._ids.uuid7(), labels.violation_id),)
        return AddLabels(
            file.file_id,
            labels,
            self._clock.now(),
            draft.given_by or self._owner,
            file.keep_until,
            retention,
            attempt.attempt_id,
            jobs,
        )

    async def _check_holds(self, file: StoredFile, labels: Labels) -> None:
        """Check that all holds which cover the file, in doubt perhaps, cover it with the labels.

        Raises:
            Conflict: one would not.
        """
        holds = await self._holds.holds_on(file.file_id, self._clock.now())
        if not holds:
            return
        labelled = labels.on(file)
        violation = (
            await self._catalogue.violation(labelled.violation_id)
            if labelled.violation_id
            else None
        )
        if not all(covers(hold, labelled, violation) for hold in holds):
            named = ", ".join(labels.names)
            raise Conflict(
                "file",
                file.file_id,
                f"a legal hold covers it, and would not with {named}, so that is not added",
                cause="labels",
            )

    async def _forget(self, attempt: Attempt) -> None:
        """Remove the entry of an attempt; recovery does it otherwise."""
        try:
            await self._journal.forget(attempt.attempt_id)
        except TrafficStorageError as error:
            logger.warning(
                "the journal entry %s could not be removed now; this is done after its deadline: %s",
                attempt.attempt_id,
                str(error),
            )
