"""The command `python -m benchmarks`, to be run from the root of the checkout."""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

from benchmarks import memory, startup
from benchmarks.peers import trials as peers
from benchmarks.table import Report, machine_class
from benchmarks.trials import TRIALS, Options, available

_JOBS = (*TRIALS, "memory", "startup")


def main() -> None:
    """Measure the jobs and print the table."""
    arguments = _arguments()
    report = Report()
    jobs = tuple(peers.PEERS) if arguments.peers else _JOBS
    if unknown := {*arguments.only} - {*jobs}:
        raise SystemExit(f"no such row: {', '.join(sorted(unknown))}; there are {', '.join(jobs)}")
    with tempfile.TemporaryDirectory(prefix="benchmark-", dir=arguments.folder) as own:
        options = _options(arguments, Path(own))
        for name in arguments.only or jobs:
            print(f"… {name}", file=sys.stderr, flush=True)
            report += (_against_peers if arguments.peers else _measured)(name, options)
        machine = machine_class(options.folder)
    print(report.text(machine))
    if arguments.json:
        arguments.json.write_text(json.dumps(report.as_json(machine), indent=1))


def _measured(name: str, options: Options) -> Report:
    if name == "memory":
        return memory.run(options.stream_bytes, options.folder)
    if name == "startup":
        return startup.run(options.rounds)
    return available(TRIALS[name]).run(name, options)


def _against_peers(name: str, options: Options) -> Report:
    return peers.available(peers.PEERS[name]).run(name, options)


def _options(arguments: argparse.Namespace, folder: Path) -> Options:
    cache = Path(arguments.cache or folder.parent / f"traffic-storage-benchmarks-{os.getuid()}")
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Options(
        rounds=arguments.rounds or (3 if arguments.quick else 9),
        share=0.25 if arguments.quick else 1.0,
        folder=folder,
        cache=cache,
        filled=arguments.records,
        stream_bytes=250_000_000 if arguments.quick else 2_000_000_000,
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Compare Traffic Storage with the same work written by hand.",
    )
    parser.add_argument(
        "peers", nargs="?", choices=["peers"], help="compare with what users would pick instead"
    )
    parser.add_argument(
        "--only",
        nargs="+",
        default=[],
        metavar="ROW",
        help=f"{', '.join(_JOBS)}; with peers: {', '.join(peers.PEERS)}",
    )
    parser.add_argument("--rounds", type=int, help="rounds of each row (9; 3 with --quick)")
    parser.add_argument(
        "--quick", action="store_true", help="few and small rounds, for a first impression"
    )
    parser.add_argument(
        "--records", type=int, default=1_000_000, help="violations in a full catalogue (1,000,000)"
    )
    parser.add_argument(
        "--folder", help="where to write about 15 GB (default: the temporary folder)"
    )
    parser.add_argument(
        "--cache", help="where full catalogues are kept (default: a folder in --folder)"
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="also write all figures to this file"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
