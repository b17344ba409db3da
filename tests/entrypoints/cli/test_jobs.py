"""`jobs` and `worker`: jobs are listed, watched, cancelled, retried and done."""

import signal

from tests.entrypoints.cli.command import Program, Shell, interrupt, read_until
from traffic_storage.entrypoints.cli.exit_codes import ExitCode


def swept(program: Program, shell: Shell) -> None:
    """Let a worker do a sweep, and stop it."""
    with program.started("worker") as running:
        read_until(running, "stderr", "doing jobs")
        done = ("jobs", "list", "--kind", "sweep", "--state", "done", "--json")
        while not shell(*done, code=None).out:
            pass
        interrupt(running, signal.SIGTERM)
        assert running.returncode == 0


def test_nothing_is_listed_before_anything_is_stored(shell: Shell) -> None:
    assert shell("jobs", "list", code=ExitCode.NOT_FOUND).out == ""


def test_a_worker_does_jobs_until_it_is_stopped(program: Program, shell: Shell) -> None:
    swept(program, shell)
    (job, *_) = shell("jobs", "list", "--kind", "sweep", "--state", "done", "--json").lines
    assert (job["attempts"], job["error"]) == (1, "")
    shown = shell("jobs", "show", job["job_id"]).out
    assert "done" in shown
    watched = shell("jobs", "watch", job["job_id"])
    assert watched.out == f"the job sweep {job['job_id']} is done\n"
    shell("jobs", "cancel", job["job_id"], code=ExitCode.REFUSED)
    refused = shell("jobs", "retry", job["job_id"], code=ExitCode.REFUSED)
    assert "only a dead or cancelled job" in refused.err
