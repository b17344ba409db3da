"""What guards against an accident is taken out, and the test of that accident must fail.

    python -m tests.load.guards            of all accidents, some two minutes
    python -m tests.load.guards 3 12       of A3 and A12

The edits are made in a copy of this checkout, those of one guard at a time. Before, the test must pass
there. Exit status 1 if one does not, or passes without its guard.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from attrs import frozen

from tests.support.accidents import ACCIDENTS, named_tests

_ROOT: Final = Path(__file__).resolve().parents[2]
_NOT_COPIED = shutil.ignore_patterns(".git", ".venv", "__pycache__", ".*_cache", ".hypothesis")
_PASSED, _FAILED = 0, 1


@frozen
class Edit:
    """A text that occurs once in a module, and what it becomes without the guard."""

    path: str
    old: str
    new: str


@frozen
class Guard:
    """What prevents an accident, in words, and the edits that take it out.

    An accident may have several. `cases`: an expression of pytest for those cases of the test that
    show it; empty for all.
    """

    accident: int
    what: str
    edits: tuple[Edit, ...]
    cases: str = ""


def _guard(accident: int, what: str, *edits: tuple[str, str, str], cases: str = "") -> Guard:
    return Guard(accident, what, tuple(Edit(*edit) for edit in edits), cases)


GUARDS: Final = (
    _guard(
        1,
        "what an interrupted store operation has written goes into the quarantine",
        (
            "application/recovery.py",
            "UndoAttempt(attempt.attempt_id, entries)",
            "UndoAttempt(attempt.attempt_id, ())",
        ),
        cases="store",
    ),
    _guard(
        2,
        "a store operation that failed is undone",
        (
            "application/store_unit.py",
            "            await self.undo(attempt, files)\n        raise min(",
            "            pass\n        raise min(",
        ),
    ),
    _guard(
        3,
        "neither a plan nor a deletion takes what is held or not expired",
        (
            "domain/deletion.py",
            "and not is_held\n            and (self.override or file.keep_until <= self.at)",
            "and is_held in {True, False}",
        ),
        (
            "domain/retention_plans.py",
            "if change is not None and change.keep_until > as_of:",
            "if False:",
        ),
        ("domain/retention_plans.py", "elif file.is_held:", "elif False:"),
        ("adapters/record_repo/memory/retention.py", "and file.keep_until <= as_of\n", "\n"),
    ),
    _guard(
        4,
        "a store that is not the registered one is not changed, and what is read there is not believed",
        ("application/stores/directory.py", "return self.identity.untrusted_reason", 'return ""'),
        (
            "application/stores/__init__.py",
            "await self._identities.confirm(self._directory.known(store_id), store_id)",
            "self._directory.known(store_id)",
        ),
    ),
    _guard(
        5,
        "the breaker of a comparison",
        (
            "domain/reconcile.py",
            "return found > self.max_count and found > self.max_share * compared",
            "return False",
        ),
    ),
    _guard(
        6,
        "what is young is no finding",
        (
            "domain/reconcile.py",
            "if max(created_at(listed.replica_id), listed.modified_at) >= before:",
            "if False:",
        ),
    ),
    _guard(
        7,
        "what is on its way counts as gone",
        ("application/spill.py", "leaves = sum(going.values())", "leaves = 0"),
    ),
    _guard(
        8,
        "the bytes of our own files alone count, not the space of the disk",
        (
            "application/spill.py",
            "return sum(row.bytes for row in usage.stores if row.store_id == store_id)",
            (
                "rooms = [one.room for one in self._stores if one.store_id == store_id]\n"
                "        taken = sum((r.total_bytes or 0) - (r.free_bytes or 0) for r in rooms)\n"
                "        return taken or len(usage.stores)"
            ),
        ),
    ),
    _guard(
        9,
        "a copy is read back and verified before it is recorded",
        (
            "application/read_back.py",
            "await self._stores.trusted(copy.store_id).verify(copy.key, file.stored)",
            "self._stores.trusted(copy.store_id)",
        ),
    ),
    _guard(
        10,
        "a new copy replaces the bad one, no other",
        (
            "application/heal_replica.py",
            "replaces=bad.replica_id, jobs=(removal,), remakes=is_altered",
            "replaces=next(one for one in file.replicas if one != bad).replica_id",
        ),
    ),
    _guard(
        11,
        "what is undeleted is kept anew",
        (
            "domain/deletion.py",
            "return evolve(available, keep_until=self.keep_until, retention_rule=REGRANTED_RULE)",
            "return available",
        ),
    ),
    _guard(
        12,
        "a copy goes only while another one is good",
        (
            "application/release_copy.py",
            "kept = await self._good_one(file, goes)",
            "kept = goes",
        ),
    ),
    _guard(
        13,
        "a hold whose time can't be read covers",
        (
            "adapters/record_repo/sql/hold_statements.py",
            "or_(Unreadable(hold.c.until), hold.c.until > at)",
            "hold.c.until > at",
        ),
    ),
    _guard(
        15,
        "each copy has a key of its own, whatever its bytes",
        (
            "domain/files.py",
            'BlobKey(f"{kind}/{day}/{replica_id}-{stored_sha256}")',
            'BlobKey(f"{kind}/{day}/{UUID(int=replica_id.int >> 96 << 96)}-{stored_sha256}")',
        ),
    ),
    _guard(
        18,
        "evidence of violations is copied first",
        (
            "domain/copies.py",
            "return Priority.BACKGROUND if file.violation_id is None else Priority.NORMAL",
            "return Priority.NORMAL",
        ),
    ),
    _guard(
        18,
        "only what is verified elsewhere leaves",
        (
            "domain/copies.py",
            "if other.replica_id != replica.replica_id and other.verified_at is not None",
            "if other is not None",
        ),
    ),
    _guard(
        19,
        "a change of rules is staged, and entered by a second call",
        (
            "application/rules_in_force.py",
            "await self._changes.apply(StageRules(staged))\n        return staged, current",
            (
                "await self._changes.apply(StageRules(staged))\n"
                "        await self.enter(staged.change_id, by=by)\n"
                "        return staged, current"
            ),
        ),
    ),
    _guard(
        20,
        "a copy has the manifest of the file as it was received",
        (
            "application/copy_file.py",
            "copy.key, body, manifest_of(file), deadline",
            "copy.key, body, evolve(manifest_of(file), created_at=self._clock.now()), deadline",
        ),
        (
            "application/copy_file.py",
            "from uuid import UUID\n",
            "from uuid import UUID\n\nfrom attrs import evolve\n",
        ),
    ),
    _guard(
        21,
        "a link leads to the file, wherever its copies are",
        (
            "application/replica_reader.py",
            "store = self._stores.blob_store(replica.store_id)\n        return store if",
            (
                "if replica.tier is not Tier.LOCAL:\n"
                '            raise StorageUnavailable("the link names the local store")\n'
                "        store = self._stores.blob_store(replica.store_id)\n        return store if"
            ),
        ),
    ),
    _guard(
        22,
        "a page begins at its cursor in an index",
        (
            "adapters/record_repo/sql/file_pages.py",
            "yield file.c.created_at <= latest",
            "yield file.c.created_at + 0 <= latest",
        ),
    ),
)


class Checkout:
    """A copy of this checkout, in which tests are run."""

    def __init__(self, folder: Path) -> None:
        self._root = folder / "checkout"
        shutil.copytree(_ROOT, self._root, symlinks=True, ignore=_NOT_COPIED)
        self._tests = {number: (path, name) for number, path, name in named_tests(_ROOT)}

    @contextmanager
    def without(self, guard: Guard) -> Iterator[None]:
        """Take a guard out for the duration of the block."""
        texts: dict[Path, str] = {}
        try:
            for edit in guard.edits:
                path = self._root / edit.path
                text = path.read_text(encoding="utf-8")
                texts.setdefault(path, text)
                path.write_text(text.replace(edit.old, edit.new), encoding="utf-8")
            yield
        finally:
            for path, text in texts.items():
                path.write_text(text, encoding="utf-8")

    def result(self, guard: Guard) -> tuple[int, str]:
        """Run the test of an accident; return pytest's exit status and the first error."""
        path, name = self._tests[guard.accident]
        # Those of a contract are in the suite of each adapter, which has the name of its module.
        module = Path("tests/contracts") / f"test_{path.stem}.py"
        chosen = f"{name} and ({guard.cases})" if guard.cases else name
        ran = subprocess.run(
            [
                sys.executable,
                "-m",
                "pytest",
                "-q",
                "-x",
                "-p",
                "no:cacheprovider",
                str(path if path.name.startswith("test_") else module),
                "-k",
                chosen,
            ],
            cwd=self._root,
            env={**os.environ, "PYTHONPATH": str(self._root / "src")},
            capture_output=True,
            text=True,
            check=False,
        )
        errors = [line[1:].strip() for line in ran.stdout.splitlines() if line.startswith("E ")]
        return ran.returncode, (errors or ran.stdout.splitlines() or [ran.stderr])[0][:100]


def check(guards: Sequence[Guard], checkout: Checkout) -> int:
    """Print what the tests say with and without each guard; return how many are not as they must be."""
    wrong = 0
    for guard in guards:
        print(f"A{guard.accident} {ACCIDENTS[guard.accident]}\n   guard: {guard.what}", flush=True)
        before, told = checkout.result(guard)
        if before != _PASSED:
            print(f"   WRONG: with the guard the test does not pass: {told}")
            wrong += 1
            continue
        with checkout.without(guard):
            after, told = checkout.result(guard)
        if after == _FAILED:
            print(f"   without it the test fails: {told}", flush=True)
        else:
            print("   WRONG: without it the test passes, or does not run")
            wrong += 1
    return wrong


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "accidents", nargs="*", type=int, help="the numbers of accidents; none: all"
    )
    given = parser.parse_args()
    guards = [one for one in GUARDS if not given.accidents or one.accident in given.accidents]
    if not guards:
        parser.error("there is no such accident")
    with tempfile.TemporaryDirectory() as folder:
        wrong = check(guards, Checkout(Path(folder)))
    print(f"{len(guards) - wrong} of {len(guards)} guards: the test fails without them")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
