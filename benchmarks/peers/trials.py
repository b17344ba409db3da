"""The rows of `python -m benchmarks peers`: Traffic Storage against what users would pick instead."""

import importlib.util
import json
import sqlite3
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

from attrs import evolve

from benchmarks import data
from benchmarks.contenders import Factory, Place
from benchmarks.filled import sqlite_filled
from benchmarks.peers import bulk, by_hand, forms
from benchmarks.peers.contenders import Download, Pages, Peer, Ranges, Routes, Upload, form_routes
from benchmarks.peers.servers import Django, Filer
from benchmarks.server import Serve, Server
from benchmarks.table import Target
from benchmarks.trials import OURS, Line, Options, PlaceOf, Trial, in_database, on_disk
from tests.support.setups import on_database
from traffic_storage.domain.digests import sha256_of
from traffic_storage.domain.files import FileKind
from traffic_storage.domain.identifiers import ViolationId, evidence_file_id

BY_HAND, DJANGO, FILER, SCRIPT = "FastAPI by hand", "Django", "SeaweedFS filer", "script"
DECODED = "ours, decoded"
_CHECKS = "only Traffic Storage verifies what it sends"
_SCRIPT = "a script by hand: 16 threads, durable files, rows in groups of 100"
_DJANGO_CATALOGUE = "django.sqlite3"


def _image_of(number: int) -> str:
    return evidence_file_id(ViolationId(data.violation_id(number)), FileKind.IMAGE)


_OURS = evolve(
    form_routes(
        "/violations",
        lambda number: f"/files/{_image_of(number)}",
        ("/files/upload/video", "/files/film"),
    ),
    rows=lambda body: len(json.loads(body)["violations"]),
)
_VOUCHED = evolve(
    _OURS,
    store=lambda number: forms.post(
        "/violations",
        {**forms.record(number), "image_sha256": sha256_of(forms.jpeg(number))},
        "image_file",
        "a.jpg",
        forms.jpeg(number),
    ),
)
_BY_HAND = form_routes(
    "/violations",
    lambda number: f"/violations/{data.violation_id(number)}/image",
    ("/videos", "/videos/film"),
)


def _filer_path(name: str) -> str:
    return f"/evidence/{name}?fsync=true"


def _filer_video(size: int) -> tuple[bytes, bytes, bytes]:
    # The filer stores the first part of a form.
    before, after = forms.around({}, "file", "film.mp4")
    return forms.head(_filer_path("film.mp4"), len(before) + size + len(after)), before, after


_FILER = Routes(
    store=lambda number: forms.post(
        _filer_path(f"{number}.jpg"), {}, "file", f"{number}.jpg", forms.jpeg(number)
    ),
    image=lambda number: f"/evidence/{number}.jpg",
    store_video=_filer_video,
    video="/evidence/film.mp4",
)


def _settings(place: Place) -> dict[str, object]:
    return {
        "local_base_path": str(place.folder),
        "local_reserve_gb": 0.0,
        "parallel_uploads": 16,
        "max_backdating": "36500d",
    }


def _ours(job: type[Peer], place: Place, *, is_vouched: bool = False) -> Peer:
    settings = _settings(place)
    if place.filled:  # Its files do not exist; no job is to look for them meanwhile.
        settings["workers"] = 0
    if is_vouched:
        settings["verify_images"] = "unless_vouched"
    return job(Server("ours", settings), _VOUCHED if is_vouched else _OURS)


def _two_processes(job: type[Peer], place: Place) -> Peer:
    assert place.database is not None
    return job(Serve(2, {**_settings(place), **on_database(place.database)}), _OURS)


def _by_hand(job: type[Peer], place: Place, **settings: bool) -> Peer:
    return job(Server("by hand", {"folder": str(place.folder), **settings}), _BY_HAND)


def _django(job: type[Peer], place: Place, *, is_filled: bool = False, **settings: bool) -> Peer:
    return job(Django({"folder": str(place.folder), **settings}, is_filled), _BY_HAND)


def _filer(job: type[Peer], _: Place) -> Peer:
    return job(Filer(), _FILER)


@contextmanager
def _in_full(options: Options) -> Iterator[PlaceOf]:
    """Provide full catalogues: of Traffic Storage, and of the peers, which share a table."""
    own = Place(sqlite_filled(options.cache, options.filled), filled=options.filled)
    peers = Place(_peers_filled(options), filled=options.filled)
    yield lambda who: own if who == OURS else peers


def _peers_filled(options: Options) -> Path:
    """Return the folder of the peers' catalogue, which is kept for the next run."""
    folder = options.cache / f"peers-{options.filled}"
    if not folder.exists():
        draft = Path(tempfile.mkdtemp(dir=options.cache))
        with closing(sqlite3.connect(draft / by_hand.CATALOGUE)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            for statement in by_hand.ddl():
                connection.execute(statement)
            rows = (_row(number) for number in range(options.filled))
            marks = ", ".join("?" * len(by_hand.Violation.__table__.columns))
            connection.executemany(f"INSERT INTO violation VALUES ({marks})", rows)
            connection.commit()
        (draft / _DJANGO_CATALOGUE).symlink_to(by_hand.CATALOGUE)
        draft.rename(folder)
    return folder


def _row(number: int) -> tuple[object, ...]:
    fields = data.fields(number)
    values = [
        json.dumps(value) if isinstance(value, dict | list) else value for value in fields.values()
    ]
    values[3] = data.moment(number).isoformat()
    return (*values, "a.jpg", "")


def _upload(at_once: int) -> Trial:
    def line(contender: str, against: str, target: Target | None, note: str = "") -> Line:
        job = f"HTTP upload, record + 200 KB JPEG, {at_once} at once"
        return Line(job, contender, against, target, note)

    return Trial(
        {
            OURS: partial(_ours, Upload),
            "Django, equal": partial(_django, Upload, durable=True, checks=True),
            DJANGO: partial(_django, Upload, durable=True),
            "by hand, equal": partial(_by_hand, Upload, durable=True, checks=True),
            BY_HAND: partial(_by_hand, Upload, durable=True),
            FILER: partial(_filer, Upload),
        },
        (
            line("Django, equal", "Django, durable, same hash and decoding", Target(1.0, 1.2)),
            line(DJANGO, "Django, durable, checks nothing", None),
            line("by hand, equal", "FastAPI by hand, durable, same hash and decoding", None),
            line(BY_HAND, "FastAPI by hand, durable, checks nothing", None),
            line(FILER, "SeaweedFS' filer with fsync", None, "stores no record, checks nothing"),
        ),
        items=400 if at_once > 1 else 150,
        site=on_disk,
        at_once=at_once,
    )


def _by_two_processes(job: type[Peer], trial: Trial) -> Trial:
    """Return the trial with `serve --processes 2` on PostgreSQL as Traffic Storage.

    The peers keep what they have: Django has two processes and SQLite, the filer one with its threads.
    """
    lines = (
        evolve(line, job=f"serve with 2 processes, PostgreSQL: {line.job}") for line in trial.lines
    )
    own: Mapping[str, Factory] = {OURS: partial(_two_processes, job)}
    return evolve(
        trial, contenders={**trial.contenders, **own}, lines=tuple(lines), site=in_database
    )


def _upload_vouched(at_once: int) -> Trial:
    job = f"HTTP upload, unless_vouched, record + 200 KB JPEG with its SHA-256, {at_once} at once"
    note = "decoded by jobs, a minute later"
    return Trial(
        {
            OURS: partial(_ours, Upload, is_vouched=True),
            DJANGO: partial(_django, Upload, durable=True),
            DECODED: partial(_ours, Upload),
        },
        (
            Line(job, DJANGO, "Django, durable, checks nothing", Target(0.8, 1.0), note),
            Line(job, DECODED, "Traffic Storage that decodes before the answer", None, note),
        ),
        items=400 if at_once > 1 else 150,
        site=on_disk,
        at_once=at_once,
    )


_DOWNLOAD = Trial(
    {
        OURS: partial(_ours, Download),
        DJANGO: partial(_django, Download, durable=True),
        BY_HAND: partial(_by_hand, Download, durable=True),
        FILER: partial(_filer, Download),
    },
    (
        Line("HTTP download, 200 KB", FILER, "SeaweedFS' filer", Target(0.8, 1.0), _CHECKS),
        Line("the same", DJANGO, "Django", None, _CHECKS),
        Line("the same", BY_HAND, "FastAPI by hand", None, _CHECKS),
    ),
    items=3000,
    site=on_disk,
)
_RANGE = Trial(
    {
        OURS: partial(_ours, Ranges),
        BY_HAND: partial(_by_hand, Ranges),
        FILER: partial(_filer, Ranges),
    },
    (
        Line("1 MB of a video of 200 MB", FILER, "SeaweedFS' filer", Target(0.6, 0.8), _CHECKS),
        Line("the same", BY_HAND, "FastAPI by hand", None, _CHECKS),
    ),
    items=800,
    site=on_disk,
)

PEERS: Mapping[str, Trial] = {
    "upload-16": _upload(16),
    "upload-1": _upload(1),
    "processes-upload-16": _by_two_processes(Upload, _upload(16)),
    "upload-vouched-16": _upload_vouched(16),
    "upload-vouched-1": _upload_vouched(1),
    "download": _DOWNLOAD,
    "processes-download": _by_two_processes(Download, _DOWNLOAD),
    "range": _RANGE,
    "processes-range": _by_two_processes(Ranges, _RANGE),
    "page": Trial(
        {
            OURS: partial(_ours, Pages),
            DJANGO: partial(_django, Pages, is_filled=True),
            BY_HAND: partial(_by_hand, Pages),
        },
        (
            Line("HTTP page of the 100 newest of a device", DJANGO, "Django", Target(1.0, 3.0)),
            Line("the same", BY_HAND, "FastAPI by hand", Target(1.0, 3.0)),
        ),
        items=1000,
        site=_in_full,
    ),
    "bulk": Trial(
        {OURS: bulk.ours, SCRIPT: bulk.script, "checking script": bulk.checking_script},
        (
            Line(f"{bulk.FILES} JPEGs of 200 KB from a folder", SCRIPT, _SCRIPT, Target(1.0, 1.2)),
            Line("the same", "checking script", f"{_SCRIPT} and decodings", None),
        ),
        items=1,
        site=on_disk,
        at_once=1,
    ),
}


def available(trial: Trial) -> Trial:
    """Return the trial without peers whose packages are missing, and report these."""
    missing = [name for name in ("django", "gunicorn") if not importlib.util.find_spec(name)]
    if not missing or not any(DJANGO in who for who in trial.contenders):
        return trial
    print(
        f"{' and '.join(missing)} can't be imported (see benchmarks/requirements.txt): the rows of "
        "Django are omitted",
        file=sys.stderr,
    )
    left = {who: way for who, way in trial.contenders.items() if DJANGO not in who}
    return evolve(trial, contenders=left)
