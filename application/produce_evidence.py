"""ProduceEvidence: hands out a file as evidence, after one of its copies was verified for it.

The bytes come from a durable store, past every cache. A copy is verified whole before the first
byte is handed out, also where only a range is asked for. Then it is read a second time, and each
part is verified again before it leaves: two passes need neither memory nor disk space for a large
file, which a spool would.
"""

import logging
from uuid import UUID

from traffic_storage.application.find import Find
from traffic_storage.application.read_files import OpenFile, ReadFiles
from traffic_storage.application.verify_replicas import VerifyReplicas
from traffic_storage.domain.errors import NoGoodReplica, NotFound, StorageUnavailable
from traffic_storage.domain.files import Replica, StoredFile
from traffic_storage.domain.fixity import Verdict
from traffic_storage.domain.incidents import (
    Incident,
    IncidentKind,
    IncidentsQuery,
    OpenIncident,
)
from traffic_storage.domain.production import RecordProduction
from traffic_storage.ports.changes import Changes
from traffic_storage.ports.clock import Clock, Ids
from traffic_storage.ports.incidents import Incidents

logger = logging.getLogger("traffic_storage.evidence")

_RIGHT_BYTES = (Verdict.GOOD, Verdict.ALTERED_MANIFEST)


class ProduceEvidence:
    """Verifies a copy of a file, records who gets it, and opens it.

    A copy that is bad is recorded, opens an incident, and is not handed out; another copy is
    verified in its place.
    """

    def __init__(
        self,
        *,
        find: Find,
        verify: VerifyReplicas,
        read_files: ReadFiles,
        changes: Changes,
        incidents: Incidents,
        clock: Clock,
        ids: Ids,
    ) -> None:
        self._find = find
        self._verify = verify
        self._read_files = read_files
        self._changes = changes
        self._incidents = incidents
        self._clock = clock
        self._ids = ids

    async def open(self, file_id: str, *, by: str) -> OpenFile:
        """Return an object that reads the bytes of the verified copy; `by` is who asks for them.

        The event with the digest, `by` and the copy is in the catalogue before this returns.

        Raises:
            InvalidInput: the id is malformed.
            NotFound: no available file has this id.
            NoGoodReplica: every copy is corrupt or missing; `incident_id` names the open incident.
            StorageUnavailable: a copy that may be good can't be read or its store not be trusted.
            CatalogueUnavailable: the database can't be reached.
        """
        file = await self._find.file(file_id)
        reasons: list[str] = []
        for replica in (*file.readable, *file.doubtful):
            try:
                finding = await self._verify.one(file, replica)
            except StorageUnavailable as error:
                reasons.append(str(error))
                continue
            if finding.verdict in _RIGHT_BYTES:
                await self._record(file, replica, by)
                return self._read_files.opened(file, replica)
            if finding.verdict is Verdict.UNKNOWN:
                reasons.append(finding.details)
        if reasons:
            raise StorageUnavailable(f"{file_id} can't be verified now: {'; '.join(reasons)}")
        raise await self._blocked(file, by)

    async def whole(self, file_id: str, *, by: str) -> tuple[bytes, StoredFile]:
        """Return all bytes of the verified copy, and the row of the file; otherwise as `open`."""
        opened = await self.open(file_id, by=by)
        return b"".join([chunk async for chunk in opened.chunks()]), opened.file

    async def _record(self, file: StoredFile, replica: Replica, by: str) -> None:
        change = RecordProduction(
            self._ids.uuid7(), file.file_id, replica.replica_id, self._clock.now(), by
        )
        if not await self._changes.apply(change):
            raise NotFound("file", file.file_id)
        logger.info(
            "%s was verified in %s and handed out as evidence to %s",
            *(file.file_id, replica.store_id, by),
        )

    async def _blocked(self, file: StoredFile, by: str) -> NoGoodReplica:
        incident_id = await self._open_incident(file) or self._ids.uuid7()
        incident = Incident(
            incident_id,
            IncidentKind.BLOCKED_EVIDENCE,
            self._clock.now(),
            file.file_id,
            f"no copy could be verified when {by} asked for the file as evidence",
        )
        await self._changes.apply(OpenIncident(incident))
        # Another request may have opened one meanwhile.
        incident_id = await self._open_incident(file) or incident_id
        logger.error("%s was not handed out as evidence to %s: no copy is good", file.file_id, by)
        return NoGoodReplica(
            f"{file.file_id} is not handed out as evidence: no copy could be verified; see the "
            f"incident {incident_id}",
            remedy="restore it from a backup; the recorded SHA-256 shows whether a copy is intact",
            incident_id=str(incident_id),
        )

    async def _open_incident(self, file: StoredFile) -> UUID | None:
        page = await self._incidents.incidents(IncidentsQuery(file_id=file.file_id, limit=1000))
        blocked = (one for one in page.items if one.kind is IncidentKind.BLOCKED_EVIDENCE)
        return next((one.incident_id for one in blocked), None)
