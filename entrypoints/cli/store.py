"""`traffic-storage store`."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from traffic_storage.entrypoints.cli.exit_codes import ExitCode
from traffic_storage.entrypoints.cli.session import AsJson, Flag, Shared


async def store(
    *paths: Path,
    device_id: str | None = None,
    violation_id: str | None = None,
    captured_at: str | None = None,
    metadata: str | None = None,
    file_id: str | None = None,
    kind: Literal["image", "video", "metadata"] | None = None,
    parallel: Annotated[int | None, Parameter(validator=Number(gte=1, lte=256))] = None,
    historic: Flag = False,
    dry_run: Flag = False,
    json: AsJson = False,
    session: Shared,
) -> ExitCode:
    """Store files, and all files in folders. Images and videos are kept byte for byte.

    What a file is, is told by its bytes: JPEG, PNG, WebP, AVIF; MP4, MOV, Matroska, WebM,
    MPEG-TS, AVI; a JSON object is stored as metadata. A file that can't be stored doesn't stop
    the others: it is named at the end. The same again is recognised and changes nothing.

    Parameters
    ----------
    paths:
        Files and folders. ClaimedIds that begin with a dot are left out in folders.
    device_id:
        The device that all of them come from.
    violation_id:
        The violation that all of them belong to.
    captured_at:
        When they were captured (ISO 8601; without a zone: in the setting timezone).
    metadata:
        A JSON object to keep with each of them.
    file_id:
        The id to store it under; for a single file. Else one is derived.
    kind:
        What all of them are, whatever their bytes look like.
    parallel:
        How many at the same time; else the setting parallel_uploads.
    historic:
        State that a capture time long before receipt is right: retention counts from it.
    dry_run:
        Only say what would be stored.
    json:
        Print a JSON object a file.
    """
    from traffic_storage.domain.files import FileKind
    from traffic_storage.entrypoints.cli.bulk_store import Wish, attributes_of, rehearse, store_all

    attributes = attributes_of(
        file_id, device_id, violation_id, metadata, captured_at, historic=historic
    )
    wish = Wish(FileKind(kind) if kind else None, attributes, parallel, json)
    return rehearse(paths, wish) if dry_run else await store_all(paths, wish, session)
