"""A violation with its files, as everybody who hands one out needs it."""

from collections.abc import Sequence

from traffic_storage.domain.errors import NotFound
from traffic_storage.domain.files import StoredFile
from traffic_storage.domain.identifiers import violation_id as checked
from traffic_storage.domain.violation import StoredViolation
from traffic_storage.ports.catalogue import Catalogue


async def violation_with_files(
    catalogue: Catalogue, violation_id: str
) -> tuple[StoredViolation, Sequence[StoredFile]]:
    """A violation, and every file that names it, its own among them.

    Raises:
        InvalidInput: no violation can have this id.
        NotFound: there is no such violation.
        CatalogueUnavailable: the database is away.
    """
    known = checked(violation_id)
    violation = await catalogue.violation(known)
    if violation is None:
        raise NotFound("violation", known)
    return violation, await catalogue.files_of(known)
