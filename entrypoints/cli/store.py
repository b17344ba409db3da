"""`traffic-storage store`."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from traffic_storage.entrypoints.cli.exit_codes import ExitCode
from traffic_storage.entrypoints.cli.session import AsJson, Flag, Shared


async def store(
    *paths: Path,
    manifest: Path | None = None,
    from_line: Annotated[int, Parameter(validator=Number(gte=1), show_default=False)] = 1,
    time_from_name: str | None = None,
    device_id: str | None = None,
    violation_id: str | None = None,
    captured_at: str | None = None,
    metadata: str | None = None,
    file_id: str | None = None,
    kind: Literal["image", "video", "metadata"] | None = None,
    parallel: Annotated[int | None, Parameter(validator=Number(gte=1, lte=256))] = None,
    historic: Flag = False,
    accept_damaged_video: Flag = False,
    dry_run: Flag = False,
    json: AsJson = False,
    session: Shared,
) -> ExitCode:
    """Store files, and all files in folders. Images and videos are stored byte for byte.

    The kind of a file is detected from its bytes: JPEG, PNG, WebP, AVIF, BMP (others
    by the setting image_formats); MP4, MOV, Matroska, WebM, MPEG-TS, AVI; a JSON object is stored as
    metadata. A file that can't be stored does not stop the others; failures are listed at the end.
    Storing the same file again with the same labels (device, violation, capture time, metadata)
    changes nothing. With other labels it is another file, unless file_id names it; then a device, a
    violation or a capture time that the file lacks is added to it, and what differs is refused.

    A manifest names files and violations, a row each: CSV whose first line has the names of the
    columns, or JSON Lines. A file has path, and optionally kind, file_id, device_id, violation_id,
    captured_at, metadata, sha256, duration_seconds, historic; a violation has the fields of its
    record, and optionally image and video, which are paths. Paths are relative to the folder of the manifest. Each row is
    reported with its line: stored, known (stored before) or refused, and why. After Ctrl-C, a kill or
    an outage, the same command stores the rest.

    Parameters
    ----------
    paths:
        Files and folders. In folders, names that begin with a dot are skipped.
    manifest:
        Store what this file names, instead of paths; the other options hold for rows that do not say
        otherwise.
    from_line:
        Begin at this line of the manifest, as the report of an interrupted command says.
    time_from_name:
        Pattern of file names with the capture time, as 'cam*_%Y%m%d_%H%M%S.jpg'; %f is a fraction, %z
        an offset, %s seconds since 1970. A time that a row gives takes precedence.
    device_id:
        The id of the device that all files come from.
    violation_id:
        The id of the violation that all files belong to.
    captured_at:
        Capture time of all files (ISO 8601; without a zone: in the setting timezone).
    metadata:
        A JSON object to store with each file.
    file_id:
        The id of the file, for a single file; default: derived from its content and its labels.
    kind:
        The kind of all files, instead of the detected one.
    parallel:
        How many files to read and check at the same time; default: the setting parallel_uploads.
    historic:
        Confirm a capture time long before receipt, so that retention counts from it.
    accept_damaged_video:
        Store videos that are cut or damaged behind their first frame as they are; the damage is
        recorded with the file.
    dry_run:
        Only print what would be stored, and refuse what would be refused: contents, ids that have
        other content, too little space, a sealed or read-only service. Nothing is made or stored.
    json:
        Print one JSON object for each file; for a manifest, one for each row and the counts at the end.
    """
    from traffic_storage.domain.files import FileKind
    from traffic_storage.entrypoints.cli.bulk_store import (
        StoreRequest,
        attributes_of,
        pattern_of,
        preview,
        store_all,
    )

    attributes = attributes_of(
        file_id, device_id, violation_id, metadata, captured_at, historic=historic
    )
    request = StoreRequest(
        FileKind(kind) if kind else None,
        attributes,
        parallel,
        json,
        accept_damaged_video=accept_damaged_video,
        pattern=pattern_of(time_from_name, attributes),
    )
    if manifest is not None or from_line != 1:
        from traffic_storage.entrypoints.cli.bulk_store.load_manifest import (
            ManifestRequest,
            preview_manifest,
            store_manifest,
        )

        rows = ManifestRequest.of(manifest, paths, from_line, request)
        return await (preview_manifest if dry_run else store_manifest)(rows, session)
    if dry_run:
        return await preview(paths, request, session)
    return await store_all(paths, request, session)
