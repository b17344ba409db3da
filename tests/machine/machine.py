"""A history of a service: any order of operations, faults, deaths, outages, damage and jumps of time.

Each rule says what its operation does to the model. Afterwards the catalogue must show exactly that;
only an operation that a fault interrupted may have happened, or not, or in part where it may be in
parts. After each step all that is kept is examined past the adapters (`everything_holds`).
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from datetime import timedelta
from functools import partial
from typing import Any, TypeAlias
from uuid import UUID

from attrs import evolve
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.application.rig import film, picture, violation_record
from tests.application.script import Died, Script, Step
from tests.machine.model import (
    DAY,
    ORDER,
    REGRANT_RULE,
    Content,
    File,
    Hold,
    Model,
    Plan,
    Rules,
    retention_basis,
)
from tests.machine.world import Choices, Copy, MemoryWorld, Row, World
from traffic_storage.application.check_invariants import CheckBudget
from traffic_storage.application.export_journal import JOURNAL
from traffic_storage.application.reconcile import RECONCILE
from traffic_storage.application.sweep import SWEEP
from traffic_storage.application.verify_replicas import VERIFY
from traffic_storage.application.watch_pressure import WATCH_PRESSURE
from traffic_storage.application.worker import Worker
from traffic_storage.domain.canonical import canonical_json
from traffic_storage.domain.copies import (
    FIND_DUE_COPIES,
    SPILL,
    copy_job,
    release_job,
)
from traffic_storage.domain.deletion import Deleted, InsideRetention
from traffic_storage.domain.digests import sha256_of
from traffic_storage.domain.errors import (
    Conflict,
    NotFound,
    StorageFull,
    StorageUnavailable,
    TrafficStorageError,
    WrongState,
)
from traffic_storage.domain.files import (
    OCCUPYING,
    FileKind,
    FileState,
    ReplicaState,
    StoredFile,
    Tier,
)
from traffic_storage.domain.holds import Held, HoldRequest
from traffic_storage.domain.identifiers import FileId, StoreId, ViolationId
from traffic_storage.domain.jobs import JobKind, NewJob
from traffic_storage.domain.placement import StorageStrategy
from traffic_storage.domain.query import ViolationQuery
from traffic_storage.domain.retention_plans import KEPT_LONGER, StalePlan
from traffic_storage.domain.retention_rules import GivenRules, RetentionRule
from traffic_storage.entrypoints.testing.containers import NOON
from traffic_storage.entrypoints.testing.faults.blob_store import Damage
from traffic_storage.entrypoints.testing.faults.plans import When
from traffic_storage.ports.errors import CatalogueUnavailable, OutcomeUnknown

Trouble: TypeAlias = tuple[Step, Callable[[], BaseException]] | None

EXAMPLES, STEPS = 200, 40
DEVICES = {"V1": "cam-1", "V2": "cam-2"}
CAPTURED = violation_record().timestamp
SECONDS = timedelta(seconds=1)

FILE_IDS = st.sampled_from(["a", "b", "c"])
CASES = st.sampled_from([*DEVICES])
KINDS = st.sampled_from(FileKind)
NUMBERS = st.integers(0, 1)
MAYBE = st.none() | NUMBERS
PLACES = st.integers(0, 11)
STRATEGIES = [
    *[StorageStrategy.HYBRID] * 4,
    *[StorageStrategy.LOCAL_THEN_CLOUD] * 3,
    *(StorageStrategy.LOCAL_ONLY, StorageStrategy.CLOUD_ONLY, StorageStrategy.CLOUD_WITH_CACHE),
]
TIERS = st.sampled_from(Tier)
SPANS = st.sampled_from([SECONDS, 61 * SECONDS, 2 * DAY, 8 * DAY, 31 * DAY, 100 * DAY, 400 * DAY])
LATER = st.sampled_from([0 * DAY, SECONDS, 8 * DAY, 31 * DAY])
PERIODIC = st.sampled_from(
    [None, SWEEP, VERIFY, RECONCILE, SPILL, FIND_DUE_COPIES, JOURNAL, WATCH_PRESSURE]
)
_OF_STORING = (
    *("repo.begin", "repo.apply", "repo.apply", "repo.forget", "spool.wrap", "images.encode"),
    *(f"{tier}.{call}" for tier in Tier for call in ("put", "put", "delete")),
)
_OF_CHANGES = ("repo.apply",)
_OF_PURGES = ("repo.apply", "repo.apply", "local.delete", "cloud.delete", "repo.files_by_id")
_OF_JOBS = (
    *("repo.claim", "repo.finish", "repo.finish", "repo.begin", "repo.apply", "repo.file"),
    *(f"{tier}.{call}" for tier in Tier for call in ("put", "delete", "read", "verify", "examine")),
)


def error_at(step: Step, full: bool) -> Callable[[], BaseException]:
    """How a call may end there by its port."""
    if step.call == "repo.finish":
        # A worker repeats it until it succeeds; what remains is the death of the process.
        return Died
    if step.call.startswith("repo."):
        unknown = step.call == "repo.apply" and step.when is When.AFTER
        return lambda: OutcomeUnknown("unknown") if unknown else CatalogueUnavailable("away")
    if full and step.call.endswith(".put") and step.when is When.BEFORE:
        return lambda: StorageFull("full")
    return lambda: StorageUnavailable("away")


def troubles(calls: Iterable[str]) -> st.SearchStrategy[Trouble]:
    """None, or a fault at one of the first calls of one of these methods, or the death there."""
    found: list[Trouble] = []
    for call in calls:
        for nth in (1, 1, 2, 3):
            for when in When:
                step = Step(call, nth, when)
                found += [(step, Died), (step, error_at(step, False)), (step, error_at(step, True))]
    nothing: list[Trouble] = [None]
    return st.sampled_from(nothing) | st.sampled_from(found)


STORING, CHANGING = troubles(_OF_STORING), troubles(_OF_CHANGES)
PURGING, WORKING = troubles(_OF_PURGES), troubles(_OF_JOBS)


class ServiceMachine(RuleBasedStateMachine):
    """One history of a service on a `World`."""

    world_type: type[World] = MemoryWorld

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.model = Model(devices=DEVICES)
        self.confidences: dict[str, float] = {}
        self.in_force = Rules()
        self.plans: list[Plan] = []
        self.ruined: set[str] = set()
        self.damaged: set[str] = set()
        self.fired = False
        self.down: set[Tier] = set()
        self.unsettled = 0
        self.is_seen = False

    @initialize(
        strategy=st.sampled_from(STRATEGIES),
        grace_days=st.sampled_from([7, 7, 0]),
        is_small=st.booleans(),
        is_filled=st.sampled_from([True, True, True, False]),
    )
    def begin(
        self, strategy: StorageStrategy, grace_days: int, is_small: bool, is_filled: bool
    ) -> None:
        small = is_small and strategy in {StorageStrategy.HYBRID, StorageStrategy.LOCAL_THEN_CLOUD}
        self.world = self.world_type(Choices(strategy, grace_days, small))
        self.grace = grace_days * DAY
        self._boot()
        self._look()
        if is_filled:
            self._fill()

    # Storing

    @rule(file_id=FILE_IDS, kind=KINDS, number=NUMBERS, trouble=STORING)
    def store_file(self, file_id: str, kind: FileKind, number: int, trouble: Trouble) -> None:
        service, content = self.service, (kind, number)
        work: dict[FileKind, Callable[[], Awaitable[Any]]] = {
            FileKind.IMAGE: lambda: service.image(picture(number), file_id),
            FileKind.VIDEO: lambda: service.video(film(number), file_id),
            FileKind.METADATA: lambda: service.json(_document(number), file_id),
        }
        before = self.model.files.get(file_id)
        after = dict(self.model.files)
        if before is None:
            after[file_id] = self._new_file(content)
        fits = before is None or (before.state, before.content) == (FileState.AVAILABLE, content)
        can_fail = not self._is_calm() or file_id in self.ruined
        result = self._try(work[kind], trouble)
        if self._failed(result, Conflict if not fits else None, can_fail):
            self._agree(after if self.fired or can_fail else self.model.files, maybe=True)
        else:
            self._agree(after)
            assert self.fired or result.created == (before is None) or file_id in self.ruined

    @rule(
        name=CASES,
        confidence=st.sampled_from([0.5, 0.5, 0.5, 0.9]),
        image=MAYBE,
        video=MAYBE,
        trouble=STORING,
    )
    def store_evidence(
        self, name: str, confidence: float, image: int | None, video: int | None, trouble: Trouble
    ) -> None:
        given = {FileKind.METADATA: 0, FileKind.IMAGE: image, FileKind.VIDEO: video}
        names = {kind: f"{name}~{kind}" for kind, number in given.items() if number is not None}
        known = {kind: self.model.files.get(one) for kind, one in names.items()}
        fits = self.confidences.get(name, confidence) == confidence and all(
            one is None or (one.state, one.content) == (FileState.AVAILABLE, (kind, given[kind]))
            for kind, one in known.items()
        )
        after = dict(self.model.files)
        for kind, one in known.items():
            if one is None and fits:
                after[names[kind]] = self._new_file((kind, given[kind] or 0), name)
        record = violation_record(name, confidence=confidence, device_id=DEVICES[name])
        can_fail = not self._is_calm() or bool(self.ruined & set(names.values()))
        result = self._try(
            lambda: self.service.evidence(
                record,
                None if image is None else picture(image),
                None if video is None else film(video),
            ),
            trouble,
        )
        if self._failed(result, None if fits else Conflict, can_fail):
            self._agree(after, maybe=True, whole=True)
        else:
            self._agree(after)
            assert can_fail or self.fired or result.created == (None in known.values())
        if name in self.kept.violations:
            self.confidences.setdefault(name, confidence)

    # Reading

    @rule(poisoned=st.booleans())
    def read_all(self, poisoned: bool) -> None:
        if poisoned:
            self.world.cache.lie(lambda data: data[:-1] + b"!")
        for name, file in self.model.files.items():
            good = [one for one in self._good(name) if one.tier not in self.down]
            result = self._try(partial(self.service.read.whole, name))
            if file.state is not FileState.AVAILABLE:
                assert isinstance(result, NotFound), (name, result)
            elif isinstance(result, TrafficStorageError):
                assert not good, (name, result)
            else:
                assert sha256_of(result[0]) == file.sha256
        self.world.cache.come_back()
        assert isinstance(self._try(lambda: self.service.read.whole("V9~image")), NotFound)
        self._agree(self.model.files)

    @rule(limit=st.integers(1, 3))
    def query_and_count(self, limit: int) -> None:
        found: list[str] = []
        asked = ViolationQuery(limit=limit)
        while True:
            page = self._run(self.service.find.violations(asked))
            found += [violation.violation_id for violation in page.items]
            if page.next is None:
                break
            asked = evolve(asked, after=page.next)
        visible = {name: file for name, file in self.model.files.items() if _is_visible(file)}
        assert found == sorted(n.removesuffix("~metadata") for n in visible if "~metadata" in n)
        usage = self._run(self.service.container._record_repo().usage())
        assert sum(row.files for row in usage.files) == len(visible)
        occupying = Counter(
            one.tier
            for row in self.kept.files.values()
            for one in row.copies
            if one.state in OCCUPYING
        )
        assert sum(row.replicas for row in usage.stores) == occupying.total()
        statistics = self._run(self.service.container.statistics()())
        assert statistics.violations == len(found)

    # Holds

    @rule(
        what=st.sampled_from(["file", "violation", "device"]),
        place=PLACES,
        later=st.booleans(),
        until=st.none() | SPANS,
        trouble=CHANGING,
    )
    def hold(
        self, what: str, place: int, later: bool, until: timedelta | None, trouble: Trouble
    ) -> None:
        """Place a hold; `later` is whether that on a device covers files that come later."""
        states: set[FileState]
        if what == "file":
            likely = self._deleted() if place % 2 else self.model.files
            name = self._named(place, likely or self.model.files) or "unknown"
            known = self.model.files.get(name)
            states = {known.state} if known else set()
            hold = self._new_hold(until, file_id=name)
            self._hold(hold, {"file_id": FileId(name)}, states, trouble)
        elif what == "violation":
            name = [*DEVICES][place % len(DEVICES)]
            states = {file.state for file in self.model.files.values() if file.violation == name}
            hold = self._new_hold(until, violation=name)
            self._hold(hold, {"violation_id": ViolationId(name)}, states, trouble)
        else:
            start = NOON - DAY + (place % 3) * 10 * DAY
            fields = {
                "start_time": start,
                "end_time": start + 10 * DAY,
                "include_future": later,
                "device_id": [*DEVICES.values()][place % len(DEVICES)],
            }
            hold = self._new_hold(
                until,
                device=fields["device_id"],
                start=start,
                end=fields["end_time"],
                include_future=later,
            )
            self._hold(hold, fields, {FileState.AVAILABLE}, trouble)

    @precondition(lambda self: self.model.holds)
    @rule(place=PLACES, trouble=CHANGING)
    def release_hold(self, place: int, trouble: Trouble) -> None:
        hold_id = [*self.model.holds][place % len(self.model.holds)]
        was = self.model.holds[hold_id].released
        use_case = self.service.container.legal_holds()
        result = self._try(lambda: use_case.release(str(hold_id), "over", "clerk"), trouble)
        self._failed(result, WrongState if was else None, False)
        self._agree(self.model.files)
        released = self.kept.holds[hold_id]
        assert released or (self.fired and not was)
        self.model.holds[hold_id] = evolve(self.model.holds[hold_id], released=released)

    # Deletion

    @precondition(lambda self: self.model.files)
    @rule(place=PLACES, override=st.sampled_from([True, True, False]), trouble=PURGING)
    def delete(self, place: int, override: bool, trouble: Trouble) -> None:
        """Delete a file or a violation."""
        use_case = self.service.container.delete_files()
        name = self._named(place, {**self.model.files, **self.confidences}) or ""
        if name in self.confidences:
            names = self.model.of_violation(name, FileState.AVAILABLE)
            is_purged = self.model.files[f"{name}~metadata"].state is FileState.PURGED
            self._delete(
                names,
                override,
                lambda: use_case.violation(name, "a test", "clerk", override=override),
                is_purged=is_purged,
                trouble=trouble,
            )
            return
        state = self.model.files[name].state
        self._delete(
            [name] if state is FileState.AVAILABLE else [],
            override,
            lambda: use_case.file(name, "a test", "clerk", override=override),
            is_purged=state is FileState.PURGED,
            trouble=trouble,
        )

    @precondition(lambda self: self._deleted())
    @rule(place=PLACES, trouble=CHANGING)
    def undelete(self, place: int, trouble: Trouble) -> None:
        """Undelete a file or a violation."""
        use_case = self.service.container.delete_files()
        name = self._named(place, {**self._deleted(), **self.confidences}) or ""
        if name in self.confidences:
            names = self.model.of_violation(name, FileState.TOMBSTONED)
            metadata = self.model.files[f"{name}~metadata"].state
            self._undelete(
                [] if metadata in {FileState.PURGING, FileState.PURGED} else names,
                lambda: use_case.undelete_violation(name, "a mistake", "clerk"),
                trouble,
            )
            return
        is_tombstoned = self.model.files[name].state is FileState.TOMBSTONED
        self._undelete(
            [name] if is_tombstoned else [],
            lambda: use_case.undelete_file(name, "a mistake", "clerk"),
            trouble,
        )

    @precondition(lambda self: self._deleted())
    @rule(later=LATER, trouble=PURGING)
    def purge(self, later: timedelta, trouble: Trouble) -> None:
        self.world.advance(later)
        after, unsure = self._purged(self.model.files)
        result = self._try(self.service.container.purge().due, trouble)
        self._failed(result, None, False)
        self._agree(after, unsure=unsure)

    # Retention

    @rule(later=SPANS)
    def plan_retention(self, later: timedelta) -> None:
        self.world.advance(later)
        now = self.world.clock.now()
        plan = self._run(self.service.container.retain().plan(by="clerk"))
        mine = Plan(plan.plan_id, now, self.in_force.revision)
        due = self.model.due(mine, self.in_force, now, self.grace)
        longer = plan.excluded.get(KEPT_LONGER)
        assert (plan.as_of, plan.revision) == (now, self.in_force.revision)
        assert plan.files == len(due.deleted)
        assert plan.violations == sum("~metadata" in name for name in due.deleted)
        assert plan.held.files == len(due.held)
        assert (longer.files if longer else 0) == len(due.longer)
        assert plan.available == sum(map(_is_visible, self.model.files.values()))
        self.plans.append(mine)
        self._agree(self.model.files)

    @precondition(lambda self: self.plans)
    @rule(place=PLACES, trouble=PURGING)
    def apply_plan(self, place: int, trouble: Trouble) -> None:
        # The newest first.
        plan = self.plans[-1 - place % len(self.plans)]
        stale = plan.revision != self.in_force.revision
        due = self.model.due(plan, self.in_force, self.world.clock.now(), self.grace)
        after, unsure = self._purged(self.model.files if stale else due.files)
        use_case = self.service.container.retain()
        result = self._try(lambda: use_case.apply(plan.plan_id, by="clerk"), trouble)
        if isinstance(result, NotFound):
            # A sweep has forgotten it.
            assert self.world.clock.now() - plan.as_of > DAY
            self.plans.remove(plan)
            self._agree(self.model.files)
            return
        if self._failed(result, StalePlan if stale else None, False):
            self._agree(self.model.files if stale else after, unsure=unsure)
            return
        self._agree(after, unsure=unsure)
        if not self.fired:
            assert result.files_deleted == len(due.deleted)
            assert result.violations_deleted == sum("~metadata" in n for n in due.deleted)
            assert result.held == len(due.held)
            assert result.skipped.get(KEPT_LONGER, 0) == len(due.longer)

    @rule(days=st.sampled_from([None, 10, 200, 300]), trouble=WORKING)
    def change_rules(self, days: int | None, trouble: Trouble) -> None:
        given = () if days is None else (RetentionRule("extra", days, FileKind.IMAGE),)
        use_case = self.service.container.change_rules()

        async def change() -> None:
            staged, _ = await use_case.stage(GivenRules(given), by="clerk", reason="a test")
            await use_case.enter(staged.change_id, by="clerk")
            await self._drained()

        result = self._try(change, trouble)
        self._failed(result, None, False)
        revision = self.world.kept().revision
        assert revision == self.in_force.revision + 1 or (
            self.fired and revision == self.in_force.revision
        )
        if revision != self.in_force.revision:
            self.in_force = Rules(revision, days)
        self._agree(self.model.files)
        if not self.fired:
            for name, file in self.model.files.items():
                assert not _is_visible(file) or file == self.in_force.recomputed(file), name

    # Copies and their upkeep

    @rule(kind=PERIODIC, trouble=WORKING)
    def work(self, kind: JobKind | None, trouble: Trouble) -> None:
        """Do what is due, and the jobs of one schedule."""
        self._work(self._periodic(kind) if kind else [], trouble)

    @precondition(lambda self: self._visible())
    @rule(
        place=PLACES,
        what=st.sampled_from(["to local", "to cloud", "release first", "release last"]),
        trouble=WORKING,
    )
    def copy_or_release(self, place: int, what: str, trouble: Trouble) -> None:
        """Copy a file to a store, or let one of its copies go."""
        file, job_id = self._row(place), self._new_id()
        if not file.readable:
            return
        if what.startswith("release"):
            goes = file.readable[0 if what == "release first" else -1]
            self._work([release_job(job_id, file, goes)], trouble)
            return
        tier = Tier.LOCAL if what == "to local" else Tier.CLOUD
        target = self._store_id(tier)
        if target is not None:
            source = file.readable[0].store_id
            self._work([copy_job(job_id, file, source, target, tier)], trouble)

    @rule(trouble=WORKING)
    def verify_and_heal(self, trouble: Trouble) -> None:
        # What was verified at this instant is not verified again.
        self.world.advance(SECONDS)
        healable = {name for name in self._visible() if self._good(name)}
        result = self._try(self.service.container.verify_replicas(), trouble)
        self._failed(result, None, False)
        self._agree(self.model.files)
        if self.fired or not self._is_calm():
            return
        for name, row in self.kept.files.items():
            good = self._good(name)
            if row.state not in {FileState.AVAILABLE, FileState.TOMBSTONED}:
                continue
            states = {one.state for one in row.copies if one not in good}
            assert ReplicaState.PRESENT not in states, f"{name}: bad bytes were not found"
            if name in healable and not self.world.choices.is_small:
                assert states <= {ReplicaState.GONE}, f"{name} was not healed"

    # Faults

    @precondition(lambda self: self.kept.files)
    @rule(
        place=PLACES,
        which=st.booleans(),
        how=st.sampled_from(Damage),
        last=st.sampled_from([False, False, False, True]),
    )
    def damage(self, place: int, which: bool, how: Damage, last: bool) -> None:
        """Damage a good copy; the last good one of a file seldom."""
        names = [name for name in self.kept.files if self._good(name)]
        if not names:
            return
        name = names[place % len(names)]
        good = self._good(name)
        if len(good) == 1 and not last:
            return
        copy = good[-1 if which else 0]
        self._run(self.world.damage(copy.tier, copy.key, how))
        self.damaged.add(copy.key)
        if len(good) == 1:
            self.ruined.add(name)
        self._agree(self.model.files)

    @rule(tier=TIERS, what=st.sampled_from(["down", "full", "restored"]))
    def trouble_store(self, tier: Tier, what: str) -> None:
        """A store can't be reached, or is full; or all stores work again."""
        if what == "down":
            self.down.add(tier)
            self.world.stores[tier].go_down("taken down on purpose")
        elif what == "full":
            self.world.stores[tier].is_full = True
        else:
            self._restore()

    @rule(by=SPANS)
    def time_passes(self, by: timedelta) -> None:
        self.world.advance(by)

    @rule(how=st.sampled_from(["die", "die", "die late", "close"]))
    def restart(self, how: str) -> None:
        """A new process follows one that died, long ago perhaps, or that was closed."""
        if how == "close":
            self._run(self.service.aclose())
            self.world.closed()
        else:
            self._die()
        if how == "die late":
            self.world.advance(DAY)
        self._boot()
        self._agree(self.model.files)
        assert how != "die late" or not self.kept.attempts

    # What must hold

    def _ask_doctor(self) -> None:
        """`doctor --deep` finds no more than the known damage."""
        budget = CheckBudget()
        for check in self._run(self.service.container.check_invariants()(budget)):
            known = self.ruined if check.number == "I1" else self._with_damage()
            for broken in check.broken:
                assert check.number in {"I1", "I2"}, broken
                assert broken.split()[0] in known, broken

    @precondition(lambda self: self.unsettled >= 15)
    @rule()
    def settle(self) -> None:
        """All faults end and all work is done; then nothing is left over."""
        self.unsettled = 0
        self._restore()
        self.world.advance(2 * DAY)
        self.verify_and_heal(None)
        self._work([], None)
        self.world.advance(2 * DAY)
        # The sweep brings jobs of killed workers back; one may release a copy that is then due again.
        self._work(self._periodic(SWEEP), None)
        self._work(self._periodic(FIND_DUE_COPIES), None)
        self.purge(0 * DAY, None)
        self._restore()
        self._ask_doctor()
        assert not self.kept.attempts
        now = self.world.clock.now()
        for name, file in self.model.files.items():
            assert file.state is not FileState.PURGING
            due = file.purge_after is not None and file.purge_after <= now
            assert file.state is not FileState.TOMBSTONED or not due or self.model.held(name, now)
            if _is_visible(file) and self.world.choices.strategy is StorageStrategy.HYBRID:
                tiers = {one.tier for one in self._good(name)}
                assert name in self.ruined or Tier.CLOUD in tiers, name

    @invariant()
    def everything_holds(self) -> None:
        self.unsettled += 1
        if not self.is_seen:
            self._look()
        assert [*self._findings()] == []
        assert self.world.spool.held == []
        assert not any(self.service.reserved().values())

    def _fill(self) -> None:
        """Begin with a few files and their copies, so that the other rules have something to do."""
        self.store_evidence("V1", 0.5, 0, 0, None)
        self.store_file("a", FileKind.IMAGE, 0, None)
        self.work(None, None)

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self._run(self.service.aclose())
            self.world.close()
        self.loop.close()

    def _look(self) -> None:
        """See what is kept now."""
        self.kept, self.blobs = self.world.kept(), self.world.blobs()
        self.is_seen = True

    def _findings(self) -> Iterable[str]:
        """Every break of an invariant among what is kept, in words."""
        explained = self.kept.attempts | self.kept.quarantine
        for name, row in self.kept.files.items():
            yield from self._copy_findings(name, row)
            explained |= {one.key for one in row.copies}
            if (row.state is FileState.PURGED) != (name in self.kept.certificates):
                yield f"I5: {name} is {row.state}, and its certificate says otherwise"
        for tier, blobs in self.blobs.items():
            for key in blobs.keys() - explained:
                yield f"I3: nothing explains {key} ({tier})"
        for tier, store in self.world.stores.items():
            for key, contents in store.history.items():
                if len(contents) > 1:
                    yield f"I7: {key} held {len(contents)} contents ({tier})"
        yield from self._torn_units()

    def _copy_findings(self, name: str, row: Row) -> Iterable[str]:
        good = self._good(name)
        if good:
            self.ruined.discard(name)
        if row.state is FileState.PURGED:
            left = [one for one in row.copies if one.key in self.blobs[one.tier]]
            yield from (f"{name} is purged, and {one.key} exists ({one.tier})" for one in left)
        if row.state in {FileState.PURGING, FileState.PURGED}:
            return
        if name not in self.ruined:
            if not good:
                yield f"I5: {name} has no good copy left"
            elif good[0].state is not ReplicaState.PRESENT:
                yield f"I1: {name} has no present copy that is good"
        present = [one for one in row.copies if one.state is ReplicaState.PRESENT]
        for one in present:
            if one not in good and one.key not in self.damaged:
                yield f"I2: {name} has other bytes, or none, at {one.key} ({one.tier})"

    def _torn_units(self) -> Iterable[str]:
        parts = set()
        for name, case in self.kept.violations.items():
            named = {one for one in (case.metadata, case.image, case.video) if one is not None}
            parts |= named
            if missing := named - self.kept.files.keys():
                yield f"{name} names {missing}, which do not exist"
        for name, row in self.kept.files.items():
            if row.violation_id is not None and name not in parts:
                yield f"{name} exists, but {row.violation_id} does not name it"

    # Steps

    def _try(self, work: Callable[[], Awaitable[Any]], trouble: Trouble = None) -> Any:
        """What an operation returns, or the error that it ends with; a dead process is replaced."""
        script = self.world.script
        script.begin(*([trouble] if trouble else []))

        async def tried() -> Any:
            try:
                return await work()
            except (TrafficStorageError, Died) as error:
                return error
            except BaseExceptionGroup:
                if script.is_dead:
                    return Died()
                raise

        result = self._run(tried())
        self.fired = trouble is not None and script.has_fired
        script.begin()
        if script.is_dead:
            self._die()
            self._boot()
            return Died()
        return result

    def _failed(
        self, result: Any, expected: type[TrafficStorageError] | None, can_fail: bool
    ) -> bool:
        """Whether an operation failed; it may only if it must, or if a fault fired."""
        if isinstance(result, BaseException):
            assert self.fired or can_fail or (expected and isinstance(result, expected)), result
            return True
        assert self.fired or expected is None, f"{expected} was expected"
        return False

    def _agree(
        self,
        after: Mapping[str, File],
        *,
        unsure: Collection[str] = (),
        maybe: bool = False,
        whole: bool = False,
    ) -> None:
        """The catalogue shows the files as in `after`, and the model becomes that.

        After a fault, or with `maybe`, each file may be as before, or between; with `whole` either
        all have changed or none. The files in `unsure` may be either.
        """
        before = self.model.files
        self._look()
        loose = self.fired or maybe
        assert self.kept.files.keys() <= {*before, *after}
        seen = {}
        for name in {**before, **after}:
            row, new = self.kept.files.get(name), after[name]
            old = before.get(name, None)
            options = [new] if not (loose or name in unsure) else [*_between(old, new)]
            if row is None:
                assert old is None and loose, f"{name} is not in the catalogue"  # noqa: PT018
                continue
            seen[name] = self._matched(name, row, options)
        if whole and loose:
            changed = {name for name in after if after[name] != before.get(name)}
            made = {name for name in changed if name in seen and seen[name] != before.get(name)}
            assert made in (set(), changed), f"of {changed}, {made} happened"
        self.model.files.clear()
        self.model.files.update(seen)

    def _matched(self, name: str, row: Row, options: Collection[File]) -> File:
        """The option that a row of the catalogue shows."""
        for option in options:
            if option.state is not row.state:
                continue
            if option.sha256 and option.sha256 != row.content_sha256:
                continue
            for file in (option, self.in_force.recomputed(option)):
                if (file.keep_until, file.regranted) == (row.keep_until, row.rule == REGRANT_RULE):
                    return file if file.sha256 else self._known(name, row, file)
        raise AssertionError(f"{name} is {row}, not one of {options}")

    def _known(self, name: str, row: Row, file: File) -> File:
        """A new file with the digest of its content, which must be what was sent."""
        kind, number = file.content
        good = self._good(name)
        assert good, f"{name} was stored without a copy"
        stored = self.blobs[good[0].tier][good[0].key]
        if kind is FileKind.IMAGE:
            assert stored.endswith(picture(number).tobytes())
        elif kind is FileKind.VIDEO:
            assert row.content_sha256 == sha256_of(film(number))
        elif file.violation is None:
            assert row.content_sha256 == sha256_of(canonical_json(_document(number), "document"))
        return evolve(file, sha256=row.content_sha256)

    def _good(self, name: str) -> list[Copy]:
        """The copies of a file whose bytes are right, the present ones first."""
        row = self.kept.files[name]
        good = [
            one
            for one in row.copies
            if one.state is not ReplicaState.GONE
            and (data := self.blobs[one.tier].get(one.key)) is not None
            and sha256_of(data) == row.stored_sha256
        ]
        return sorted(good, key=lambda one: one.state is not ReplicaState.PRESENT)

    def _new_file(self, content: Content, violation: str | None = None) -> File:
        now = self.world.clock.now()
        captured = None if violation is None else CAPTURED
        basis = retention_basis(captured, now)
        keep_until = basis + self.in_force.days(content[0]) * DAY
        return File(content, "", now, basis, keep_until, violation, captured)

    def _new_hold(self, until: timedelta | None, **scope: Any) -> Hold:
        now = self.world.clock.now()
        return Hold(now, until=None if until is None else now + until, **scope)

    def _hold(
        self, hold: Hold, scope: Mapping[str, Any], states: set[FileState], trouble: Trouble
    ) -> None:
        """Place a hold on what has these states; none: it does not exist."""
        refused = states <= {FileState.PURGED}
        request = HoldRequest("case 7", "a court asks", until=hold.until, **scope)
        use_case = self.service.container.legal_holds()
        result = self._try(lambda: use_case.place(request, "clerk"), trouble)
        self._failed(result, NotFound if refused else None, False)
        self._agree(self.model.files)
        new = self.kept.holds.keys() - self.model.holds.keys()
        assert len(new) == 1 - refused or (self.fired and not new)
        self.model.holds.update((name, hold) for name in new)

    def _delete(
        self,
        names: list[str],
        override: bool,
        work: Callable[[], Awaitable[Any]],
        *,
        is_purged: bool,
        trouble: Trouble,
    ) -> None:
        now = self.world.clock.now()
        refusal: type[TrafficStorageError] | None = None
        if not names and is_purged:
            refusal = Deleted
        elif any(self.model.held(name, now) for name in names):
            refusal = Held
        elif not override and any(self.model.files[name].keep_until > now for name in names):
            refusal = InsideRetention
        marked = self.model.files if refusal else self.model.tombstoned(names, now, self.grace)
        after = dict(marked)
        unsure: set[str] = set()
        if not self.grace:
            # What was deleted before and waits for its store stays as it is.
            purged, unsure = self._purged(marked)
            after.update((name, purged[name]) for name in names)
        self._failed(self._try(work, trouble), refusal, False)
        self._agree(after, unsure=unsure, whole=bool(self.grace))

    def _undelete(
        self, names: list[str], work: Callable[[], Awaitable[Any]], trouble: Trouble
    ) -> None:
        after = self.model.undeleted(names, self.world.clock.now())
        refusal = None if names else TrafficStorageError
        self._failed(self._try(work, trouble), refusal, False)
        self._agree(after, whole=True)

    def _purged(self, files: Mapping[str, File]) -> tuple[dict[str, File], set[str]]:
        """These files after a purge; and those of which it is not known whether it ends."""
        trusted = {
            bound.store.tier
            for bound in self.service.stores
            if bound.trusted and bound.store.tier not in self.down
        }
        reachable = {
            name: {one.tier for one in row.copies} <= trusted
            for name, row in self.kept.files.items()
        }
        after = self.model.purged(files, self.world.clock.now(), reachable)
        unsure = {
            name
            for name, file in self.model.files.items()
            if file.state is FileState.PURGING and not reachable[name]
        }
        for name in unsure:
            after[name] = evolve(after[name], state=FileState.PURGED)
        return after, unsure

    def _work(self, jobs: Collection[NewJob], trouble: Trouble) -> None:
        """Write jobs and do all that can be done; no file is deleted or changed by it."""
        if jobs:
            self._run(self.service.container._record_repo().enqueue([*jobs]))
        self._failed(self._try(self._drained, trouble), None, False)
        self._agree(self.model.files)

    async def _drained(self) -> None:
        container = self.service.container
        worker = Worker(
            source=container._record_repo(),
            ids=container.ids(),
            handlers=container.handlers(),
            schedules=list,
            stores=container.schedules().needs_met,
            slots=8,
            owner="machine",
        )
        try:
            await worker.drain()
        finally:
            await worker.aclose()

    def _periodic(self, kind: JobKind) -> list[NewJob]:
        """The jobs of a schedule, one for each store where it has several."""
        stores = self.service.container.schedules().reachable()
        each = kind in {VERIFY, RECONCILE, JOURNAL}
        return [
            NewJob(self._new_id(), kind, {"store_id": store_id}, store_id=store_id)
            for store_id in (stores if each else stores[:1])
        ]

    def _restore(self) -> None:
        """All stores can be reached again and have space."""
        for store in self.world.stores.values():
            store.come_back()
            store.is_full = False
        self.down.clear()
        self._run(self.service.sweep())
        assert self._run(self.service.miscounts()) == []

    def _is_calm(self) -> bool:
        """Whether all stores work and are trusted."""
        return not self.down and all(
            bound.trusted and not self.world.stores[bound.store.tier].is_full
            for bound in self.service.stores
            if bound.configured.written
        )

    def _new_id(self) -> UUID:
        return self.service.container.ids().uuid7()

    def _store_id(self, tier: Tier) -> StoreId | None:
        found = [b.store_id for b in self.service.stores if b.trusted and b.store.tier is tier]
        return found[0] if found else None

    def _named(self, place: int, among: Mapping[str, Any]) -> str | None:
        return sorted(among)[place % len(among)] if among else None

    def _visible(self) -> dict[str, File]:
        return {name: file for name, file in self.model.files.items() if _is_visible(file)}

    def _deleted(self) -> dict[str, File]:
        return {name: file for name, file in self.model.files.items() if not _is_visible(file)}

    def _with_damage(self) -> set[str]:
        return {
            name
            for name, row in self.kept.files.items()
            if any(one.key in self.damaged for one in row.copies)
        }

    def _row(self, place: int) -> StoredFile:
        name = self._named(place, self._visible())
        assert name is not None
        found = self._run(self.service.container._record_repo().file(FileId(name)))
        assert isinstance(found, StoredFile)
        return found

    def _die(self) -> None:
        """The process is gone; what it had begun goes nowhere any more."""
        self.world.script.kill()
        self.world.script = Script(yields=False)

        async def reap() -> None:
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        self.loop.run_until_complete(reap())

    def _boot(self) -> None:
        self.service = self.world.boot()
        self._run(self.service.start())

    def _run(self, work: Awaitable[Any]) -> Any:
        """The result of work, once what it left to the service's own tasks has ended too."""

        async def awaited() -> Any:
            result = await work
            await self.service.container.tasks().settled()
            return result

        self.is_seen = False
        return self.loop.run_until_complete(awaited())


def _between(old: File | None, new: File) -> Iterable[File]:
    """The states that a file may have when what changes it was interrupted."""
    yield new
    if old is None:
        return
    yield old
    first, last = ORDER.index(old.state), ORDER.index(new.state)
    for state in ORDER[first + 1 : last]:
        yield evolve(new, state=state)


def _is_visible(file: File) -> bool:
    return file.state is FileState.AVAILABLE


def _document(number: int) -> dict[str, Any]:
    return {"number": number, "words": ["again"] * 60}
