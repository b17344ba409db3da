"""Progress bars on stderr: of bytes and files, and of a job."""

import asyncio
import sys
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from rich.progress import Progress as Bar
    from rich.progress import TaskID

    from traffic_storage.application.jobs import Jobs
    from traffic_storage.domain.jobs import Job
    from traffic_storage.domain.jobs import Progress as JobProgress

_POLL_SECONDS = 0.5


class Progress:
    """A progress bar, shown only if stderr is a terminal. `with Progress() as progress: …`."""

    def __init__(self) -> None:
        self._bar: Bar | None = None
        self._task: TaskID | None = None
        self._files = 0
        self._files_expected = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def expect(self, what: int | Sequence[Path]) -> None:
        """Set the total (a number of bytes, or files whose sizes are added) and show the bar."""
        if not sys.stderr.isatty():
            return
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn
        from rich.progress import Progress as Bar

        self._files_expected = 1 if isinstance(what, int) else len(what)
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            console=Console(stderr=True),
            transient=True,
            # Redirection writes stdout to stderr above the bar, so a file at stdout would get no data.
            redirect_stdout=sys.stdout.isatty(),
        )
        total = what if isinstance(what, int) else sum(map(_size, what))
        self._task = self._bar.add_task(self._count(), total=total)
        self._bar.start()

    def advance(self, size_bytes: int) -> None:
        """Add bytes to the progress."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, advance=size_bytes)

    def file_done(self) -> None:
        """Count one file as done."""
        self._files += 1
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, description=self._count())

    def _count(self) -> str:
        return f"{self._files}/{self._files_expected}" if self._files_expected > 1 else ""


class FileBar:
    """A bar of files, shown only if stderr is a terminal. `with FileBar("copying") as bar: …`."""

    def __init__(self, text: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bar

        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
            disable=not sys.stderr.isatty(),
            redirect_stdout=sys.stdout.isatty(),
        )
        self._task = self._bar.add_task(text, total=None)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def show(self, progress: "JobProgress") -> None:
        """Show how many files of how many are done."""
        self._bar.update(self._task, completed=progress.done, total=progress.total)


class RowBar(FileBar):
    """A bar of rows whose total is unknown. `with RowBar("exporting") as bar: …`."""

    def count(self, rows: int) -> None:
        """Show how many rows were written."""
        self._bar.update(self._task, completed=rows)


async def watching(jobs: "Jobs", job_id: str) -> "AsyncIterator[Job]":
    """Yield a job whenever it has changed, until it has ended; show its progress on a terminal.

    Raises:
        InvalidInput: the id is not a UUID.
        NotFound: there is no such job.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    bar = Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
        redirect_stdout=sys.stdout.isatty(),
    )
    with bar:
        task = bar.add_task(job_id, total=None)
        last = None
        while last is None or last.ended_at is None:
            job = await jobs.job(job_id)
            if job != last:
                text = f"{job.kind} {job.state} {job.progress.message}".strip()
                bar.update(
                    task, description=text, completed=job.progress.done, total=job.progress.total
                )
                yield job
            last = job
            if job.ended_at is None:
                await asyncio.sleep(_POLL_SECONDS)


@contextmanager
def counting(what: str) -> "Iterator[Callable[[str, int], None]]":
    """Show how far work has come whose size is unknown; the yielded function takes text and count.

    Nothing is shown if stderr is no terminal.
    """
    from rich.console import Console
    from rich.progress import Progress as Bar
    from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

    bar = Bar(
        SpinnerColumn(),
        TextColumn("{task.description} {task.completed}"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
        redirect_stdout=sys.stdout.isatty(),
    )
    with bar:
        task = bar.add_task(what, total=None)
        yield lambda text, done: bar.update(task, description=text or what, completed=done)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
