"""`traffic-storage get`: writes the verified bytes of a stored file to a file or to stdout."""

import contextlib
import errno
import os
import secrets
import sys
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from traffic_storage.domain.amounts import in_bytes
from traffic_storage.domain.errors import InvalidInput, TrafficStorageError
from traffic_storage.entrypoints.cli.asking import user_name
from traffic_storage.entrypoints.cli.exit_codes import ExitCode, exit_code_of
from traffic_storage.entrypoints.cli.output import (
    ShownText,
    flush_out,
    note,
    note_error,
    printable,
    say_bytes,
    say_json,
)
from traffic_storage.entrypoints.cli.progress import Progress
from traffic_storage.entrypoints.cli.session import AsJson, Flag, Shared, opened_to_read

if TYPE_CHECKING:
    from traffic_storage.application.read_files import OpenFile
    from traffic_storage.entrypoints.container import Container

_PIPE = "-"
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
_READABLE = ("text/", "application/json")


class CannotWrite(TrafficStorageError):
    """The output file can't be written."""


async def get(
    file_id: str,
    /,
    *more: str,
    output: Annotated[
        str | None, Parameter(name=("--output", "-o"), allow_leading_hyphen=True)
    ] = None,
    evidence: Flag = False,
    force: Flag = False,
    json: AsJson = False,
    session: Shared,
) -> ExitCode:
    """Write stored files to disk, or one to stdout. Every byte is verified before it is written.

    An output file appears under its name only when it is complete. Of several files, one that
    can't be read does not stop the others.

    Parameters
    ----------
    file_id:
        The id of the file, such as V001~image.
    more:
        The ids of further files, all for one folder (needs --output FOLDER).
    output:
        A file, a folder, or - for stdout (the default, unless stdout is a terminal).
    evidence:
        Verify a copy in a durable store first, past every cache, and record who gets it.
    force:
        Overwrite an existing file; write bytes to a terminal, unchanged.
    json:
        Print the record of each file as one JSON object per line (needs --output).
    """
    settings = session.settings()
    to_pipe = output in (None, _PIPE)
    if output is not None and output.startswith("-") and not to_pipe:
        raise InvalidInput.of("--output", f"{output} looks like an option", "give -o FILE")
    if json and to_pipe:
        raise InvalidInput.of(
            "--json", "can't share stdout with the bytes of the file", "give --output FILE"
        )
    if more and not _is_folder(output):
        raise InvalidInput.of(
            "--output",
            f"is no folder, and {len(more) + 1} files are asked for",
            "give -o FOLDER, a folder that exists, or one id",
        )
    code = ExitCode.OK
    async with opened_to_read(session.container(settings)) as container:
        for each in (file_id, *more):
            try:
                opened_file = await _opened(container, each, evidence=evidence)
                if output is None or output == _PIPE:
                    _refuse_terminal(opened_file.file.content_type, force=force)
                    await _show(opened_file, force=force)
                    continue
                target = _target(output, opened_file)
                await _save(opened_file, target, force=force)
            except TrafficStorageError as error:
                if not more or isinstance(error, CannotWrite):
                    raise
                note_error(error)
                code = code or exit_code_of(error)
                continue
            _tell(opened_file, target, json=json)
    return code


def _is_folder(output: str | None) -> bool:
    return output is not None and output != _PIPE and Path(output).is_dir()


async def _opened(container: "Container", file_id: str, *, evidence: bool) -> "OpenFile":
    if evidence:
        return await container.produce_evidence().open(file_id, by=user_name())
    return await container.read_files().open(file_id)


def _tell(opened_file: "OpenFile", target: Path, *, json: bool) -> None:
    from traffic_storage.entrypoints.views import file_view

    if json:
        say_json({**file_view(opened_file.file), "output": str(target)})
    else:
        note(f"{printable(target)}: {in_bytes(opened_file.file.content.size_bytes)}, verified")


def _refuse_terminal(content_type: str, *, force: bool) -> None:
    if sys.stdout.isatty() and not force and not content_type.startswith(_READABLE):
        raise InvalidInput.of(
            "--output",
            f"is a terminal, which can't show a file of type {content_type}",
            "give -o FILE, or --force",
        )


def _target(output: str, opened_file: "OpenFile") -> Path:
    path = Path(output)
    if not path.is_dir():
        if output.endswith(os.sep):
            raise InvalidInput.of(
                "--output", f"{output} is not a folder", "create it, or give a file"
            )
        return path
    from mimetypes import guess_extension

    file = opened_file.file
    ending = guess_extension(file.content_type) or ""
    name = file.file_id if file.file_id.endswith(ending) else file.file_id + ending
    return path / name


async def _show(opened_file: "OpenFile", *, force: bool) -> None:
    """Write a file to stdout."""
    if force or not opened_file.file.content_type.startswith(_READABLE):
        await _copy(opened_file, say_bytes)
    else:
        shown = ShownText()
        await _copy(opened_file, shown.write)
        shown.write(b"", final=True)
    flush_out()


async def _copy(opened_file: "OpenFile", write: Callable[[bytes], object]) -> None:
    with Progress() as progress:
        progress.expect(opened_file.file.content.size_bytes)
        async with aclosing(opened_file.chunks()) as chunks:
            async for chunk in chunks:
                write(chunk)
                progress.advance(len(chunk))


async def _save(opened_file: "OpenFile", target: Path, *, force: bool) -> None:
    """Write the file to a temporary file (draft) beside the target; rename it when complete."""
    draft = _draft(target, force=force)
    try:
        with draft.open("xb") as out:
            await _copy(opened_file, out.write)
            out.flush()
            os.fsync(out.fileno())
        if force:
            draft.replace(target)
        else:
            _name(draft, target)
    except FileExistsError as error:
        raise _exists(target) from error
    except TrafficStorageError:
        raise  # Some are an OSError as well, but none concerns the output file.
    except OSError as error:
        raise CannotWrite(
            f"{target}: {error.strerror}", remedy="choose another --output"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink()


def _name(draft: Path, target: Path) -> None:
    """Rename the complete draft to the target.

    Raises:
        FileExistsError: the target exists.
    """
    try:
        os.link(draft, target)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # A file system without hard links, such as FAT: an empty file reserves the name first.
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        try:
            draft.replace(target)
        except OSError:
            target.unlink()
            raise


def _draft(target: Path, *, force: bool) -> Path:
    if not force and os.path.lexists(target):
        raise _exists(target)
    return target.with_name(f".{target.name[:200]}.{secrets.token_hex(4)}.part")


def _exists(target: Path) -> InvalidInput:
    return InvalidInput.of(
        "--output", f"{target} exists already", "choose another file, or give --force"
    )
