"""HealReplica: replaces a bad copy of a file by a new one, made from a copy that is verified now."""

import logging

from traffic_storage.application.copy_file import CopyFile
from traffic_storage.application.stores import Stores
from traffic_storage.domain.copies import AddReplica, ReleaseReplica, removal_job
from traffic_storage.domain.errors import NoGoodReplica, TrafficStorageError
from traffic_storage.domain.files import FileState, Replica, ReplicaState, StoredFile
from traffic_storage.domain.fixity import VERIFIED_STATES, Finding, Verdict
from traffic_storage.domain.jobs import NewJob
from traffic_storage.ports.catalogue import Catalogue
from traffic_storage.ports.changes import Changes
from traffic_storage.ports.clock import Clock, Ids
from traffic_storage.ports.errors import CatalogueUnavailable

logger = logging.getLogger("traffic_storage.fixity")


class HealReplica:
    """Heals single copies. Only the bad copy is replaced; the others are read and not changed.

    The new copy has a new key. The bytes of the bad one stay until the new one is in the catalogue;
    then a job removes them.
    """

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        changes: Changes,
        stores: Stores,
        copy_file: CopyFile,
        clock: Clock,
        ids: Ids,
    ) -> None:
        self._catalogue = catalogue
        self._changes = changes
        self._stores = stores
        self._copy_file = copy_file
        self._clock = clock
        self._ids = ids

    async def __call__(self, finding: Finding) -> bool:
        """Replace the copy that a verification found bad; return whether it was replaced.

        It stays if no other copy can be read and verified, if its store has no space, or if the
        file is no longer available. The next run of the verification tries again.

        Raises:
            CatalogueUnavailable: the database can't be reached.
        """
        file = await self._catalogue.file(finding.file.file_id)
        if file is None or file.state is not FileState.AVAILABLE:
            return False
        bad = _same(file, finding.replica)
        if bad is None:
            return False
        try:
            return await self._heal(
                file, bad, is_altered=finding.verdict is Verdict.ALTERED_MANIFEST
            )
        except CatalogueUnavailable:
            raise
        except TrafficStorageError as error:
            logger.warning(
                "the copy of %s in %s can't be healed now: %s",
                file.file_id,
                bad.store_id,
                str(error),
            )
            return False

    async def _heal(self, file: StoredFile, bad: Replica, *, is_altered: bool) -> bool:
        if is_altered is not (bad.state is ReplicaState.PRESENT):
            # The state has changed since the verification.
            return False
        await self._stores.confirm(bad.store_id)
        others = [one for one in file.replicas if one != bad and one.state in VERIFIED_STATES]
        removal = removal_job(self._ids.uuid7(), file.file_id, bad)
        good = next((one for one in others if _is_beside(one, bad)), None)
        if good is not None:
            await self._stores.blob_store(good.store_id).verify(good.key, file.stored)
            await self._stores.confirm(bad.store_id)
            at = self._clock.now()
            release = ReleaseReplica(file.file_id, bad.replica_id, good.replica_id, at, (removal,))
            return await self._changes.apply(release)
        added = await self._copied(file, bad, removal, is_altered=is_altered)
        if not await self._changes.apply(added):
            return False
        logger.warning("the copy of %s in %s was healed", file.file_id, bad.store_id)
        return True

    async def _copied(
        self, file: StoredFile, bad: Replica, removal: NewJob, *, is_altered: bool
    ) -> AddReplica:
        """Make a copy of a replica that is verified or, where none is, of verified cached bytes."""
        try:
            return await self._copy_file(
                file, bad.store_id, replaces=bad.replica_id, jobs=(removal,), remakes=is_altered
            )
        except NoGoodReplica:
            return await self._copy_file(
                file, bad.store_id, replaces=bad.replica_id, jobs=(removal,), from_caches=True
            )


def _same(file: StoredFile, replica: Replica) -> Replica | None:
    return next((one for one in file.replicas if one.replica_id == replica.replica_id), None)


def _is_beside(one: Replica, bad: Replica) -> bool:
    """Return whether a good copy is in the same store; then no new one is needed."""
    return one.store_id == bad.store_id and one.state is ReplicaState.PRESENT
