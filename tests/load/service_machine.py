"""Random histories of the whole service are compared with a model: see `tests/machine`.

    python -m tests.load.service_machine [--examples 5000] [--setup memory|disk|both] [--seed 1]

A history that diverges is made shorter and printed. Exit status 1 if one diverges.
"""

import argparse
import logging
import multiprocessing
import sys
import time
import traceback
from collections.abc import Sequence

import hypothesis.core
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.machine.machine import STEPS, ServiceMachine
from tests.machine.test_machine import InMemory, OnDisk

SETUPS: dict[str, type[ServiceMachine]] = {"memory": InMemory, "disk": OnDisk}
EXAMPLES_A_BATCH = 100
PHASES = (Phase.generate, Phase.shrink)
_SHOWN = 3


def batch(setup: str, examples: int, steps: int, seed: int) -> str:
    """Run some histories; return how one diverged, in words, or an empty text."""
    # Each batch begins anew: what Hypothesis remembers of a run grows with its examples.
    names = vars(hypothesis.core)
    before, names["global_force_seed"] = names["global_force_seed"], seed
    wanted = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        phases=PHASES,
        report_multiple_bugs=False,
        print_blob=False,
        suppress_health_check=list(HealthCheck),
    )
    try:
        run_state_machine_as_test(SETUPS[setup], settings=wanted)
    except Exception as error:  # noqa: BLE001 - whatever it is, the history diverged
        lines = traceback.format_exception(error)
        return f"{setup}, seed {seed}:\n{''.join(lines)}"
    finally:
        names["global_force_seed"] = before
    return ""


def _sized_batch(order: tuple[str, int, int, int]) -> tuple[int, str]:
    """Do `batch`; return its size too."""
    return order[1], batch(*order)


def run(setup: str, examples: int, steps: int, seed: int, processes: int) -> Sequence[str]:
    """Run histories in several processes, and show how far this has come; return what diverged."""
    begin, done, wrong = time.monotonic(), 0, list[str]()
    sizes = [
        min(EXAMPLES_A_BATCH, examples - start) for start in range(0, examples, EXAMPLES_A_BATCH)
    ]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([ServiceMachine.__module__, InMemory.__module__])
    orders = [(setup, size, steps, seed + place) for place, size in enumerate(sizes)]
    with context.Pool(processes, initializer=logging.disable, maxtasksperchild=20) as pool:
        for size, found in pool.imap_unordered(_sized_batch, orders):
            done += size
            if found:
                wrong.append(found)
            seconds = time.monotonic() - begin
            sys.stdout.write(
                f"{setup}: {done} of {examples} examples of {steps} steps in {seconds:.0f} s, "
                f"{len(wrong)} divergences\n"
            )
            sys.stdout.flush()
    return wrong


def main() -> int:
    """Run the histories that the command line asks for; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--examples", type=int, default=5000)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--setup", choices=(*SETUPS, "both"), default="both")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()
    wrong = [
        found
        for setup in (SETUPS if asked.setup == "both" else (asked.setup,))
        for found in run(setup, asked.examples, asked.steps, asked.seed, asked.processes)
    ]
    for found in wrong[:_SHOWN]:
        sys.stdout.write(f"\n{found}\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
