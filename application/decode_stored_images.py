"""DecodeStoredImages: decodes images that were stored undecoded, because their digest was declared."""

import logging

from traffic_storage.application.replica_reader import ReplicaReader
from traffic_storage.application.worker import GivenUp, Outcome, Report
from traffic_storage.domain.errors import TooLarge, UndecodableMedia, UnsupportedMedia
from traffic_storage.domain.files import FileState, StoredFile
from traffic_storage.domain.identifiers import FileId
from traffic_storage.domain.incidents import Incident, IncidentKind, OpenIncident
from traffic_storage.domain.jobs import Done, Progress, Run
from traffic_storage.ports.catalogue import Catalogue
from traffic_storage.ports.changes import Changes
from traffic_storage.ports.clock import Clock, Ids
from traffic_storage.ports.images import Images
from traffic_storage.ports.spool import Spool

logger = logging.getLogger("traffic_storage.images")

_KEPT = frozenset({FileState.AVAILABLE, FileState.TOMBSTONED})


class DecodeStoredImages:
    """Decodes stored images. One that is damaged stays as it is: an incident tells of it."""

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        changes: Changes,
        reader: ReplicaReader,
        spool: Spool,
        images: Images,
        clock: Clock,
        ids: Ids,
    ) -> None:
        self._catalogue = catalogue
        self._changes = changes
        self._reader = reader
        self._spool = spool
        self._images = images
        self._clock = clock
        self._ids = ids

    async def run(self, run: Run, _report: Report) -> Outcome:
        """Do a job of the kind `DECODE_IMAGE`."""
        file_id = FileId(str(run.arguments["file_id"]))
        file = await self._catalogue.file(file_id)
        if file is None:
            raise GivenUp(f"there is no file {file_id}")
        if file.state not in _KEPT:
            return Outcome(Done(Progress(1, 1, 0, "the file is deleted")))
        found = Progress(1, 1, file.stored.size_bytes, await self._damage(file))
        if not found.message:
            return Outcome(Done(found))
        logger.error("%s is damaged, as it was stored: %s", file_id, found.message)
        incident = Incident(
            self._ids.uuid7(),
            IncidentKind.DAMAGED_IMAGE,
            self._clock.now(),
            file_id,
            found.message,
        )
        return Outcome(Done(found), OpenIncident(incident))

    async def _damage(self, file: StoredFile) -> str:
        """Return in words why an image is not whole; empty if it is.

        Raises:
            GivenUp: the settings do not allow to decode it, which they did when it was stored, or it
                takes more than any image of its size.
        """
        body = await self._spool.wrap(await self._reader.read(file, cached=False))
        try:
            await self._images.inspect(body)
        except UndecodableMedia as error:
            return str(error)
        except (UnsupportedMedia, TooLarge) as error:
            raise GivenUp(str(error)) from error
        return ""
