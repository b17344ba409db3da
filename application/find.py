"""Lookups and queries of files and violations: entry points read the catalogue through them only.

Files that are not available are found only by a query that names their state; violations that are
not available are not found. A look-up of either by its id tells when and why it was deleted.
"""

from collections.abc import Mapping, Sequence

from attrs import evolve, frozen

from traffic_storage.domain.deletion import Deleted, Deletion
from traffic_storage.domain.errors import NotFound
from traffic_storage.domain.files import FileState, StoredFile
from traffic_storage.domain.identifiers import FileId, ViolationId, known_file_id
from traffic_storage.domain.identifiers import violation_id as checked_violation_id
from traffic_storage.domain.query import MAX_LIMIT, Cursor, FilesQuery, Page, ViolationQuery
from traffic_storage.domain.violation import StoredViolation, ViolationState
from traffic_storage.ports.catalogue import Catalogue
from traffic_storage.ports.deletions import Deletions

_PAGE_METADATA = 4 * 1024 * 1024
# The metadata of as many files is in memory at once, before that of the page is known.
_FIRST_STEP = 16
_GROWTH = 4


@frozen
class ViolationFiles:
    """A violation and the available files that have its violation id.

    Attributes:
        own: its image, video and metadata file, in this order, as far as they exist.
        others: a page of the other files with its id, newest receipt first.
        is_first: whether this page is the first one.
    """

    violation: StoredViolation
    own: tuple[StoredFile, ...]
    others: Page[StoredFile]
    is_first: bool = True

    @property
    def files(self) -> tuple[StoredFile, ...]:
        """The other files of the page; before those of the first page, the violation's own files."""
        return (*self.own, *self.others.items) if self.is_first else self.others.items


class Find:
    """Finds files and violations by id or by query. Does not read their bytes.

    Errors of all methods:
        CatalogueUnavailable: the database can't be reached.
    """

    def __init__(self, *, catalogue: Catalogue, deletions: Deletions) -> None:
        self._catalogue = catalogue
        self._deletions = deletions

    async def file(self, file_id: str) -> StoredFile:
        """Return the catalogue row of a file, with its replicas (copies in stores).

        Raises:
            InvalidInput: the id is malformed.
            NotFound: no file has this id.
            Deleted: the file is tombstoned or purged.
        """
        file = await self._catalogue.file(known_file_id(file_id))
        if file is None:
            raise NotFound("file", file_id)
        if file.state is not FileState.AVAILABLE:
            deletion = await self._deletion(file.file_id)
            raise Deleted("file", file_id, file.state, deletion, file.device_id)
        return file

    async def files(self, query: FilesQuery) -> Page[StoredFile]:
        """Return the page of files that `query` selects, newest receipt first.

        A page ends earlier than at `query.limit` where the metadata of its files has 4 MiB: each may
        have 1 MiB. The following page goes on behind it.
        """
        found: list[StoredFile] = []
        after, step, size = query.after, _FIRST_STEP, 0
        while True:
            limit = min(step, query.limit - len(found))
            page = await self._catalogue.files(evolve(query, limit=limit, after=after))
            for place, file in enumerate(page.items, 1):
                found.append(file)
                size += len(file.metadata or "")
                if size >= _PAGE_METADATA and place < len(page.items):
                    return Page(tuple(found), Cursor(file.created_at, file.file_id))
            after = page.next
            if after is None or len(found) >= query.limit or size >= _PAGE_METADATA:
                return Page(tuple(found), after)
            step *= _GROWTH

    async def violation(self, violation_id: str) -> StoredViolation:
        """Return the catalogue row of a violation.

        Raises:
            InvalidInput: the id is malformed.
            NotFound: no violation has this id.
            Deleted: the violation is tombstoned or purged.
        """
        known = checked_violation_id(violation_id)
        violation = await self._catalogue.violation(known)
        if violation is None:
            raise NotFound("violation", known)
        if violation.state is not ViolationState.AVAILABLE:
            deletion = await self._deletion(violation.metadata_file_id)
            state = FileState(violation.state)
            raise Deleted("violation", known, state, deletion, violation.record.device_id)
        return violation

    async def violations(self, query: ViolationQuery) -> Page[StoredViolation]:
        """Return the page of violations that `query` selects, newest first."""
        return await self._catalogue.violations(query)

    async def violation_with_files(
        self, violation_id: str, *, limit: int = MAX_LIMIT, after: Cursor | None = None
    ) -> ViolationFiles:
        """Return the violation, its own files, and a page of the other files with its id.

        `after` is the `others.next` of an earlier result and continues the other files.

        Raises:
            InvalidInput: the id is malformed, or `limit` is out of range.
            NotFound: no violation has this id.
            Deleted: the violation is tombstoned or purged.
        """
        violation = await self.violation(violation_id)
        query = FilesQuery(violation_id=violation.violation_id, limit=limit, after=after)
        page = await self.files(query)
        found = {file.file_id: file for file in page.items}
        own = [await self._own_file(file_id, found) for file_id in _own_ids(violation)]
        others = tuple(file for file in page.items if file.file_id not in _own_ids(violation))
        return ViolationFiles(
            violation,
            tuple(file for file in own if file is not None),
            Page(others, page.next),
            is_first=after is None,
        )

    async def deleted_files(self, violation_id: ViolationId) -> Sequence[Deleted]:
        """Return for each deleted file with this violation id when and why it was deleted.

        The first received comes first.
        """
        gone: list[StoredFile] = []
        for state in FileState:
            if state is FileState.AVAILABLE:
                continue
            after: Cursor | None = None
            while True:
                query = FilesQuery(
                    violation_id=violation_id, state=state, limit=MAX_LIMIT, after=after
                )
                page = await self._catalogue.files(query)
                gone += page.items
                after = page.next
                if after is None:
                    break
        gone.sort(key=lambda file: (file.created_at, file.file_id))
        why = await self._deletions.deletions([file.file_id for file in gone]) if gone else {}
        return [
            Deleted("file", file.file_id, file.state, why.get(file.file_id), file.device_id)
            for file in gone
        ]

    async def _deletion(self, file_id: FileId) -> Deletion | None:
        return (await self._deletions.deletions([file_id])).get(file_id)

    async def _own_file(
        self, file_id: FileId, found: Mapping[FileId, StoredFile]
    ) -> StoredFile | None:
        file = found.get(file_id) or await self._catalogue.file(file_id)
        return file if file is not None and file.state is FileState.AVAILABLE else None


def _own_ids(violation: StoredViolation) -> list[FileId]:
    ids = (violation.image_file_id, violation.video_file_id, violation.metadata_file_id)
    return [file_id for file_id in ids if file_id is not None]
