"""The jobs of the table, their contenders and their targets."""

import importlib.util
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import TypeAlias

from attrs import evolve, frozen

from benchmarks import bulk, floor, hand_rolled, http, ours
from benchmarks.contenders import Factory, Place, in_turns, running
from benchmarks.filled import postgres_filled, sqlite_filled
from benchmarks.table import Rate, Report, Row, Target, ratios
from tests.support.servers import PostgresServer, S3Server

OURS, FLOOR, HAND_ROLLED, COPY = "ours", "floor", "hand-rolled", "copy"
OBJECTS = "objects"
ONE = "one process"
_READ_BYTES = 1024 * 1024


@frozen
class Options:
    """The options of a run: rounds, the share of a job's items per round, and folders.

    `folder` is removed only at the end of the run, because ext4 skips recently freed inodes one by
    one, which would slow down the next contender. `cache` keeps full catalogues of `filled`
    violations between runs.
    """

    rounds: int
    share: float
    folder: Path
    cache: Path
    filled: int
    stream_bytes: int


PlaceOf: TypeAlias = Callable[[str], Place]
"""Returns the place of a contender, given its name."""


@frozen
class Line:
    """The texts and the target of a row: Traffic Storage against another contender."""

    job: str
    contender: str
    against: str
    target: Target | None
    note: str = ""


@frozen
class Trial:
    """One job: its contenders (Traffic Storage first), items per round, and concurrency."""

    contenders: Mapping[str, Factory]
    lines: tuple[Line, ...]
    items: int
    site: Callable[[Options], AbstractContextManager[PlaceOf]]
    at_once: int = 16

    def run(self, name: str, options: Options) -> Report:
        """Measure the contenders in turns."""
        items = max(2 * self.at_once, round(self.items * options.share))
        with self.site(options) as place_of:
            entries = [(who, way, place_of(who)) for who, way in self.contenders.items()]
            with running(entries) as runners:
                laps = in_turns(runners, items=items, at_once=self.at_once, rounds=options.rounds)
        rows = (
            Row(
                job=line.job,
                against=line.against,
                target=line.target,
                values=ratios(laps[OURS], laps[line.contender]),
                note=line.note,
            )
            for line in self.lines
            if line.contender in laps
        )
        return Report(tuple(rows), tuple(Rate(name, who, tuple(own)) for who, own in laps.items()))


@contextmanager
def on_disk(options: Options) -> Iterator[PlaceOf]:
    """Provide a folder for each contender."""
    yield lambda who: Place(Path(tempfile.mkdtemp(prefix=f"{who}-", dir=options.folder)))


@contextmanager
def in_cloud(options: Options) -> Iterator[PlaceOf]:
    """Provide a folder, a database and a bucket each, on one durable PostgreSQL and one S3 server."""
    with on_disk(options) as disk, PostgresServer() as postgres, S3Server() as s3:
        yield lambda who: evolve(
            disk(who), database=postgres.create_database(), bucket=s3.create_bucket()
        )


@contextmanager
def in_database(options: Options) -> Iterator[PlaceOf]:
    """Provide a folder and a database each, on one durable PostgreSQL server."""
    with on_disk(options) as disk, PostgresServer() as postgres:
        yield lambda who: evolve(disk(who), database=postgres.create_database())


@contextmanager
def in_full_postgres(options: Options) -> Iterator[PlaceOf]:
    """Provide a folder each, and one full PostgreSQL database for all."""
    with on_disk(options) as disk, postgres_filled(options.cache, options.filled) as database:
        yield lambda who: evolve(disk(who), database=database, filled=options.filled)


@contextmanager
def in_full_sqlite(options: Options) -> Iterator[PlaceOf]:
    """Provide one folder with a full SQLite catalogue for all; they only read it."""
    place = Place(sqlite_filled(options.cache, options.filled), filled=options.filled)
    _read_through(place.folder)
    yield lambda _: place


def _read_through(folder: Path) -> None:
    """Load the files into the page cache, so that the first contender is not slower."""
    for path in filter(Path.is_file, folder.iterdir()):
        with path.open("rb") as file:
            while file.read(_READ_BYTES):
                pass


def _pages(where: str, raw: str) -> Line:
    return Line(
        f"page of 100 out of a full catalogue, as objects, {where}",
        FLOOR,
        f"raw {raw}",
        Target(0.60, 0.80),
        "times over the later half; a third each: no filter, by device, by type",
    )


def _views(where: str) -> Line:
    return Line(
        f"page of 100 out of a full catalogue, as dictionaries, {where}",
        OBJECTS,
        "the same page as objects",
        Target(0.75, 0.85),
    )


def _put(how_many: str) -> Line:
    return Line(
        f"durable put of 200 KB through the port, {how_many}",
        FLOOR,
        "floor: the writer alone",
        Target(0.90, 0.95),
        "Traffic Storage also has a manifest and a deadline",
    )


def _processes(job: type[http.Served], what: str, items: int) -> Trial:
    return Trial(
        {OURS: partial(http.served, job, 2), ONE: partial(http.served, job, 1)},
        (
            Line(
                f"serve with 2 processes: {what}",
                ONE,
                "serve with 1",
                None,
                "1.6 × on two processors that nothing else uses: here the client and PostgreSQL do",
            ),
        ),
        items=items,
        site=in_database,
    )


_NO_CACHE = "reads cycle over twice the capacity of the cache: 0 hits"
_THREE_FILES = "the floor also writes the record's file"

TRIALS: Mapping[str, Trial] = {
    "evidence": Trial(
        {OURS: ours.evidence, FLOOR: floor.evidence, HAND_ROLLED: hand_rolled.evidence},
        (
            Line(
                "store evidence: 1080p array + 2 MB video + record, embedded",
                FLOOR,
                "floor",
                Target(0.80, 0.93),
                _THREE_FILES,
            ),
            Line(
                "the same",
                HAND_ROLLED,
                "hand-rolled: files, ORM, default WebP in a thread",
                Target(2.5, 3.0),
                "hand-rolled syncs no file",
            ),
        ),
        items=48,
        site=on_disk,
    ),
    "evidence-cloud": Trial(
        {
            OURS: ours.evidence_cloud,
            FLOOR: floor.evidence_cloud,
            HAND_ROLLED: hand_rolled.evidence_cloud,
        },
        (
            Line(
                "the same on PostgreSQL + S3",
                FLOOR,
                "floor",
                Target(0.75, 0.90),
                _THREE_FILES,
            ),
            Line(
                "the same on PostgreSQL + S3",
                HAND_ROLLED,
                "hand-rolled: boto3, ORM, default WebP in a thread",
                Target(2.5, 3.0),
            ),
        ),
        items=48,
        site=in_cloud,
    ),
    "evidence-jpeg": Trial(
        {OURS: ours.evidence_jpeg, FLOOR: floor.evidence_jpeg},
        (
            Line(
                "store evidence from camera JPEG bytes, embedded",
                FLOOR,
                "floor",
                Target(0.50, 0.80),
                "Traffic Storage decodes the JPEG and parses the film; the floor does neither",
            ),
        ),
        items=96,
        site=on_disk,
    ),
    "put-16": Trial(
        {OURS: ours.Put, FLOOR: floor.put}, (_put("16 at once"),), items=500, site=on_disk
    ),
    "put-1": Trial(
        {OURS: ours.Put, FLOOR: floor.put},
        (_put("1 at a time"),),
        items=200,
        site=on_disk,
        at_once=1,
    ),
    "retrieve": Trial(
        {OURS: ours.retrieve, FLOOR: floor.retrieve},
        (
            Line(
                "retrieve_file 200 KB local, verified",
                FLOOR,
                "floor",
                Target(0.70, 0.90),
                _NO_CACHE,
            ),
        ),
        items=4800,
        site=on_disk,
    ),
    "retrieve-cloud": Trial(
        {OURS: ours.retrieve_cloud, FLOOR: floor.retrieve_cloud},
        (
            Line(
                "retrieve_file 200 KB from S3, verified",
                FLOOR,
                "SELECT + obstore get + hash",
                Target(0.75, 0.90),
                _NO_CACHE,
            ),
        ),
        items=1200,
        site=in_cloud,
    ),
    "http-upload": Trial(
        {OURS: http.upload_ours, FLOOR: http.upload_floor},
        (
            Line(
                "HTTP upload 200 KB, multipart",
                FLOOR,
                "bare ASGI, same work",
                Target(0.60, 0.90),
                "a film; Traffic Storage parses it to its end",
            ),
        ),
        items=500,
        site=on_disk,
    ),
    "http-download": Trial(
        {OURS: http.download_ours, FLOOR: http.download_floor},
        (
            Line(
                "HTTP download 200 KB, verified",
                FLOOR,
                "bare ASGI, same work",
                Target(0.60, 0.80),
                _NO_CACHE,
            ),
        ),
        items=3600,
        site=on_disk,
    ),
    "processes-upload": _processes(http.Upload, "HTTP upload 200 KB, multipart", 500),
    "processes-download": _processes(http.Download, "HTTP download 200 KB, verified", 3600),
    "page-postgres": Trial(
        {OURS: ours.page, FLOOR: floor.page_postgres},
        (_pages("PostgreSQL", "asyncpg"),),
        items=2400,
        site=in_full_postgres,
    ),
    "page-sqlite": Trial(
        {OURS: ours.page, FLOOR: floor.page_sqlite},
        (_pages("SQLite", "aiosqlite"),),
        items=2400,
        site=in_full_sqlite,
    ),
    "views-postgres": Trial(
        {OURS: ours.views, OBJECTS: ours.page},
        (_views("PostgreSQL"),),
        items=2400,
        site=in_full_postgres,
    ),
    "views-sqlite": Trial(
        {OURS: ours.views, OBJECTS: ours.page},
        (_views("SQLite"),),
        items=2400,
        site=in_full_sqlite,
    ),
    "violation": Trial(
        {OURS: ours.violation, FLOOR: floor.violation},
        (
            Line(
                "violation without media (record + its metadata file)",
                FLOOR,
                "floor",
                Target(0.50, 1.0),
                "the floor commits each row by itself",
            ),
        ),
        items=600,
        site=on_disk,
    ),
    "bulk": Trial(
        {OURS: bulk.store_many, FLOOR: bulk.copy_and_files, COPY: bulk.copy},
        (
            Line(
                "store_many: violations without media, PostgreSQL",
                FLOOR,
                "raw COPY of the rows + durable files by hand",
                Target(0.50, 0.80),
                "Traffic Storage checks, hashes and describes each record; items of 500 records",
            ),
            Line(
                "the same",
                COPY,
                "raw COPY of the rows alone, made before",
                None,
                "without the files",
            ),
        ),
        items=8,
        site=in_database,
        at_once=1,
    ),
}


def available(trial: Trial) -> Trial:
    """Return the trial without contenders whose packages are missing, and report these."""
    if trial.contenders.get(HAND_ROLLED) is not hand_rolled.evidence_cloud:
        return trial
    if importlib.util.find_spec("boto3"):
        return trial
    print(
        "boto3 is not installed (see benchmarks/requirements.txt): its row is omitted",
        file=sys.stderr,
    )
    return evolve(
        trial, contenders={who: way for who, way in trial.contenders.items() if who != HAND_ROLLED}
    )
