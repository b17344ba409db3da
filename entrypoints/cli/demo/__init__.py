"""`traffic-storage demo`."""

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

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
    """Show the main job on made-up cameras, then serve what was stored.

    Draws pictures and films, stores them as evidence, finds and hands them out, and compares
    them byte for byte. It keeps to a folder of its own (or --base-path) with SQLite and local
    disk, whatever the settings say; only a settings file named with --config is followed.

    Parameters
    ----------
    once:
        Exit after the job; don't serve.
    port:
        Where to serve.
    temporary:
        Use a folder that is removed at the end.
    """
    with _folder(temporary=temporary) as folder:
        settings = _settings(session, folder, port)
        say(f"Traffic Storage, strategy {settings.effective_strategy()}")
        say(f"in {settings.local_base_path}\n")
        sample = asyncio.run(_job(session, settings))
        if once:
            return ExitCode.OK
        return _serve(settings, port, sample)


def _settings(session: Session, folder: Path, port: int) -> "StorageConfig":
    from traffic_storage.entrypoints.settings import StorageConfig

    if session.config is not None:
        return session.settings()
    given = {
        "local_base_path": folder,
        "public_url": f"http://localhost:{port}",
        **session.overrides(),
    }
    return StorageConfig(**given)  # type: ignore[arg-type]


@contextmanager
def _folder(*, temporary: bool) -> Iterator[Path]:
    if temporary:
        with tempfile.TemporaryDirectory(prefix="traffic-storage-demo-") as folder:
            yield Path(folder)
        return
    from platformdirs import user_data_path

    yield user_data_path("traffic-storage-demo", appauthor=False)


async def _job(session: Session, settings: "StorageConfig") -> "Sample":
    from traffic_storage.entrypoints.cli.demo.job import do_the_job

    async with opened(session.container(settings)) as container:
        return await do_the_job(container, datetime.now(UTC).date())


def _serve(settings: "StorageConfig", port: int, sample: "Sample") -> ExitCode:
    from traffic_storage.entrypoints.cli.serve import listen, run_server

    listener = listen(_HOST, port)
    address = f"http://localhost:{listener.getsockname()[1]}"

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
