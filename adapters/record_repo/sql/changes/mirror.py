"""The state of a file in the row of its violation."""

from asyncio import gather
from collections.abc import Iterable, Mapping, Sequence

from traffic_storage.adapters.record_repo.sql import deletion_statements
from traffic_storage.adapters.record_repo.sql.driver import Step
from traffic_storage.adapters.record_repo.sql.reading import CatalogueReader
from traffic_storage.domain.deletion import leads
from traffic_storage.domain.files import FileKind, StoredFile
from traffic_storage.domain.identifiers import FileId
from traffic_storage.domain.violation import StoredViolation


async def led_violations(
    read: CatalogueReader, files: Iterable[StoredFile]
) -> Mapping[FileId, StoredViolation]:
    """Return the violations whose metadata files are among `files`, by the id of that file."""
    leading = [
        file for file in files if file.kind is FileKind.METADATA and file.violation_id is not None
    ]
    found = await gather(*(read.violation(file.violation_id) for file in leading))
    return {
        file.file_id: violation
        for file, violation in zip(leading, found, strict=True)
        if violation is not None and leads(file, violation)
    }


def mirroring(files: Iterable[StoredFile]) -> Sequence[Step]:
    """Return the step that copies the states of files, as they are then, to their violations."""
    ids = tuple((file.file_id,) for file in files if file.violation_id is not None)
    return [Step(deletion_statements.MIRROR_STATE, ids)] if ids else []
