"""`traffic-storage demo`."""

import asyncio
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from traffic_storage.domain.errors import Conflict, InvalidInput
from traffic_storage.entrypoints.cli.exit_codes import ExitCode
from traffic_storage.entrypoints.cli.output import say
from traffic_storage.entrypoints.cli.session import Flag, Session, Shared, opened

if TYPE_CHECKING:
    from traffic_storage.entrypoints.cli.demo.job import Sample
    from traffic_storage.entrypoints.settings import StorageConfig

_HOST = "127.0.0.1"


def demo(
    *, once: Flag = False, port: int = 8001, temporary: Flag = False, session: Shared
) -> ExitCode:
    """Store and read sample evidence of three cameras, then serve it.

    Stores pictures, a video and records, searches for them, reads them back and compares them
    byte for byte. Uses a folder of its own (or --base-path) with SQLite and the local disk, and ignores
    all settings except a file given with --config.

    Parameters
    ----------
    once:
        Exit after the demo instead of serving its evidence.
    port:
        The port to serve on; 0 means any free port.
    temporary:
        Use a temporary folder, which is removed at the end.
    """
    if temporary and session.config is not None:
        raise InvalidInput.of(
            "--temporary",
            "can't be combined with --config: the demo's files would remain in the stores that the settings file names",
            "leave out one of them",
        )
    with _folder(temporary=temporary) as folder, _listening(None if once else port) as listener:
        settings = _settings(session, folder, listener)
        say(f"Traffic Storage, strategy {settings.effective_strategy()}")
        say(f"in {settings.local_base_path}\n")
        sample = asyncio.run(_job(session, settings))
        return ExitCode.OK if listener is None else _serve(settings, listener, sample)


def _settings(session: Session, folder: Path, listener: socket.socket | None) -> "StorageConfig":
    from traffic_storage.entrypoints.settings import StorageConfig

    if session.config is not None:
        return session.settings()
    given = {"local_base_path": folder, **session.overrides()}
    if listener is not None:
        given["public_url"] = _address(listener)
    return StorageConfig(**given)  # type: ignore[arg-type]


@contextmanager
def _listening(port: int | None) -> Iterator[socket.socket | None]:
    """Bind the socket to serve on before the demo runs, so that a port in use is reported at once."""
    if port is None:
        yield None
        return
    from traffic_storage.entrypoints.cli.listening import bound

    with bound(_HOST, port) as listener:
        yield listener


def _address(listener: socket.socket) -> str:
    return f"http://localhost:{listener.getsockname()[1]}"


def _kept_folder() -> Path:
    from platformdirs import user_data_path

    try:
        return user_data_path("traffic-storage-demo", appauthor=False)
    except RuntimeError as error:
        raise InvalidInput.of(
            "--temporary", "is needed, because this user has no home folder", "give --temporary"
        ) from error


@contextmanager
def _folder(*, temporary: bool) -> Iterator[Path]:
    if temporary:
        with tempfile.TemporaryDirectory(prefix="traffic-storage-demo-") as folder:
            yield Path(folder)
        return
    yield _kept_folder()


async def _job(session: Session, settings: "StorageConfig") -> "Sample":
    from traffic_storage.entrypoints.cli.demo.job import do_the_job

    async with opened(session.container(settings)) as container:
        try:
            return await do_the_job(container, datetime.now(UTC).date())
        except Conflict as error:
            raise InvalidInput.of(
                "--base-path",
                f"{settings.local_base_path} contains today's demo evidence of another version",
                "remove that folder, or add --temporary",
            ) from error


def _serve(settings: "StorageConfig", listener: socket.socket, sample: "Sample") -> ExitCode:
    from traffic_storage.entrypoints.cli.serving import run_server

    address = _address(listener)

    def announce() -> None:
        say(f"\nServing it at {address} (Ctrl-C stops it). Try, from another terminal:")
        for line in (
            f"curl '{address}/violations?device_id=harbour&limit=2'",
            f"curl -o evidence.webp '{address}/files/{sample.image_file_id}'",
            f"curl -r 0-99 -o /dev/null -D - '{address}/files/{sample.video_file_id}'",
            f"curl '{address}/files/{sample.image_file_id}/url?expires_in=60'",
            f"curl '{address}/storage/stats'",
        ):
            say(f"  {line}")
        say(f"or open {address}/docs in a browser.")

    return run_server(settings, listener, announce)
