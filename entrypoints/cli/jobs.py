"""`traffic-storage jobs`: lists of jobs, and what an operator does with one of them."""

from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from traffic_storage.entrypoints.cli.exit_codes import ExitCode
from traffic_storage.entrypoints.cli.output import note, say, say_fields, say_json
from traffic_storage.entrypoints.cli.session import AsJson, Flag, Shared, opened_to_read

if TYPE_CHECKING:
    from traffic_storage.domain.jobs import Job

app = App(name="jobs")


@app.command(name="list")
async def list_jobs(
    *,
    state: Literal["ready", "running", "done", "dead", "cancelled"] | None = None,
    kind: str | None = None,
    limit: int = 100,
    every: Annotated[Flag, Parameter(name="--all")] = False,
    json: AsJson = False,
    session: Shared,
) -> None:
    """List jobs, newest first.

    A dead job has failed as often as it may be tried; `jobs show` tells why, `jobs retry` makes it
    ready again.

    Parameters
    ----------
    state:
        Only jobs in this state.
    kind:
        Only jobs of this kind, such as sweep.
    limit:
        How many jobs to list at most, from 1 to 1000.
    every:
        List all matching jobs; --limit is ignored.
    json:
        Print one JSON object per line.
    """
    from traffic_storage.domain.jobs import JobState
    from traffic_storage.domain.query import MAX_LIMIT, JobsQuery
    from traffic_storage.entrypoints.cli.listing import jobs, pages

    settings = session.settings()
    query = JobsQuery(
        None if state is None else JobState(state), kind, MAX_LIMIT if every else limit
    )
    async with opened_to_read(session.container(settings)) as container:
        await jobs(settings.zone).say(
            pages(container.jobs().jobs, query, every=every), as_json=json
        )


@app.command
async def show(job_id: str, /, *, json: AsJson = False, session: Shared) -> None:
    """Show one job: its state, its progress, and why its last run failed.

    Parameters
    ----------
    job_id:
        The id of the job, as `jobs list` shows it.
    json:
        Print one JSON object.
    """
    async with opened_to_read(session.container()) as container:
        _say(await container.jobs().job(job_id), json=json)


@app.command
async def retry(job_id: str, /, *, json: AsJson = False, session: Shared) -> None:
    """Make a dead or cancelled job ready again, with all its attempts.

    Parameters
    ----------
    job_id:
        The id of the job.
    json:
        Print the job as one JSON object.
    """
    async with opened_to_read(session.container()) as container:
        _say(await container.jobs().retry(job_id), json=json)


@app.command
async def cancel(job_id: str, /, *, json: AsJson = False, session: Shared) -> None:
    """Cancel a job. A running job ends within 10 seconds; what it has changed stays.

    Parameters
    ----------
    job_id:
        The id of the job.
    json:
        Print the job as one JSON object.
    """
    async with opened_to_read(session.container()) as container:
        _say(await container.jobs().cancel(job_id), json=json)


@app.command
async def watch(job_id: str, /, *, json: AsJson = False, session: Shared) -> ExitCode:
    """Show the progress of a job until it ends; Ctrl-C ends the watching, not the job.

    The exit code is 0 if the job is done, 1 if it is dead or cancelled.

    Parameters
    ----------
    job_id:
        The id of the job.
    json:
        Print the job as one JSON object whenever it has changed.
    """
    from traffic_storage.domain.jobs import JobState
    from traffic_storage.entrypoints.cli.progress import watching

    async with opened_to_read(session.container()) as container:
        async for job in watching(container.jobs(), job_id):
            if json:
                _say(job, json=True)
            elif job.ended_at is not None:
                say(_sentence(job))
    return ExitCode.OK if job.state is JobState.DONE else ExitCode.FAILURE


def _say(job: "Job", *, json: bool) -> None:
    from traffic_storage.domain.canonical import canonical_json
    from traffic_storage.entrypoints.views import job_view

    view = job_view(job)
    if json:
        say_json(view)
        return
    fields = {name: value for name, value in view.items() if value not in ({}, None, "", False)}
    shown = {name: "yes" if value is True else str(value) for name, value in fields.items()}
    if job.arguments:
        shown["arguments"] = canonical_json(job.arguments).decode()
    say_fields(shown | {"progress": _progress(job)})
    if job.error and job.ended_at is None:
        note(f"the job is tried again at {job.run_at.isoformat()}")


def _progress(job: "Job") -> str:
    progress = job.progress
    of = f" of {progress.total}" if progress.total is not None else ""
    return " ".join([f"{progress.done}{of}", progress.message]).strip()


def _sentence(job: "Job") -> str:
    why = f": {job.error}" if job.error else ""
    return f"the job {job.kind} {job.job_id} is {job.state}{why}"
