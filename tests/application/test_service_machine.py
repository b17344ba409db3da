"""The whole service against a dictionary: any order of stores, faults, deaths, outages and reads.

After every step the invariants hold: I1 and I2 (what is visible is there, whole),
I3 (what is there is known), I5 (what was acknowledged stays), I7 (no key has two contents) and I8
(it lies in a store, not in a cache).
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, TypeAlias

from attrs import evolve, field, frozen
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.application.rig import LONG_AGO, Rig, film, picture, violation_record
from tests.application.script import Died, Script, Step
from traffic_storage.domain.canonical import canonical_json
from traffic_storage.domain.digests import sha256_of
from traffic_storage.domain.errors import (
    Conflict,
    NotFound,
    StorageFull,
    StorageUnavailable,
    TrafficStorageError,
)
from traffic_storage.domain.files import FileKind, StoredFile, Tier
from traffic_storage.domain.identifiers import FileId, ViolationId
from traffic_storage.domain.placement import StorageStrategy
from traffic_storage.domain.query import ViolationQuery
from traffic_storage.domain.usage import CatalogueUsage
from traffic_storage.entrypoints.testing.faults.blob_store import FailingBlobStore
from traffic_storage.entrypoints.testing.faults.plans import When
from traffic_storage.ports.errors import CatalogueUnavailable, OutcomeUnknown

Content: TypeAlias = tuple[str, int]
"""A kind and a number: of what shade a picture is, which film, which document."""

FILE_IDS = st.sampled_from(["a", "b", "c"])
NUMBERS = st.integers(0, 2)
MAYBE = st.none() | NUMBERS
CALLS = [
    "repo.begin",
    "repo.apply",
    "repo.forget",
    "local.put",
    "local.delete",
    "cloud.put",
    "cloud.delete",
    "spool.wrap",
    "images.encode",
]


def error_at(step: Step, full: bool) -> Callable[[], BaseException]:
    """How a call may end there by its port."""
    if step.call.startswith("repo."):
        unknown = step.call == "repo.apply" and step.when is When.AFTER
        return lambda: OutcomeUnknown("unknown") if unknown else CatalogueUnavailable("away")
    if full and step.call.endswith(".put") and step.when is When.BEFORE:
        return lambda: StorageFull("full")
    return lambda: StorageUnavailable("away")


STEPS = st.builds(
    Step, st.sampled_from(CALLS), st.sampled_from([1, 1, 1, 2, 3]), st.sampled_from(When)
)
TROUBLES = (
    st.none()
    | st.none()
    | STEPS.flatmap(
        lambda step: st.sampled_from(
            [(step, error_at(step, False)), (step, error_at(step, True)), (step, Died)]
        )
    )
)
Trouble: TypeAlias = tuple[Step, Callable[[], BaseException]] | None


@frozen
class Case:
    """A violation of the model: how sure its record is, and the numbers of its files."""

    confidence: float
    image: int | None
    video: int | None
    document: bytes = field(default=b"", eq=False)

    def followed_by(self, later: "Case") -> "Case | None":
        """What storing `later` makes of it; None: a conflict."""
        if self.confidence != later.confidence:
            return None
        for mine, theirs in ((self.image, later.image), (self.video, later.video)):
            if mine is not None and theirs is not None and mine != theirs:
                return None
        return evolve(
            self,
            image=later.image if self.image is None else self.image,
            video=later.video if self.video is None else self.video,
        )


class ServiceMachine(RuleBasedStateMachine):
    """One history of a service."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.files: dict[str, Content] = {}
        self.cases: dict[str, Case] = {}
        self.rig = Rig()
        self.service = self.rig.boot()

    @initialize(strategy=st.sampled_from(StorageStrategy))
    def begin(self, strategy: StorageStrategy) -> None:
        self.rig = Rig(strategy, sweep_interval_seconds=80_000)
        self._boot()

    @rule(file_id=FILE_IDS, number=NUMBERS, trouble=TROUBLES)
    def store_image(self, file_id: str, number: int, trouble: Trouble) -> None:
        self._store(file_id, ("image", number), trouble)

    @rule(file_id=FILE_IDS, number=NUMBERS, trouble=TROUBLES)
    def store_video(self, file_id: str, number: int, trouble: Trouble) -> None:
        self._store(file_id, ("video", number), trouble)

    @rule(file_id=FILE_IDS, number=NUMBERS, trouble=TROUBLES)
    def store_metadata(self, file_id: str, number: int, trouble: Trouble) -> None:
        self._store(file_id, ("metadata", number), trouble)

    @rule(
        name=st.sampled_from(["V1", "V2"]),
        confidence=st.sampled_from([0.5, 0.5, 0.5, 0.9]),
        image=MAYBE,
        video=MAYBE,
        trouble=TROUBLES,
    )
    def store_evidence(
        self, name: str, confidence: float, image: int | None, video: int | None, trouble: Trouble
    ) -> None:
        given = Case(confidence, image, video)
        before = self.cases.get(name)
        after = before.followed_by(given) if before else given
        result = self._try(
            lambda: self.service.evidence(
                violation_record(name, confidence=confidence),
                None if image is None else picture(image),
                None if video is None else film(video),
            ),
            trouble,
        )
        seen = self._seen_case(name)
        if isinstance(result, BaseException) and not isinstance(result, Conflict):
            assert self._in_trouble(trouble), result
            assert seen in (before, before if after is None else after)
        elif isinstance(result, Conflict):
            assert after is None
            assert seen == before
        else:
            assert after is not None
            assert seen == after
            assert result.created == (before != after)
        if seen is not None:
            self.cases[name] = evolve(seen, document=before.document if before else seen.document)

    @rule()
    def die_and_come_back(self) -> None:
        self._die()
        self._boot()

    @rule()
    def die_and_come_back_late(self) -> None:
        self._die()
        self.rig.clock.advance(LONG_AGO)
        self._boot()
        assert self._all_reachable() <= (self.rig.attempts == [])

    @rule()
    def close_and_start(self) -> None:
        self._run(self.service.aclose())
        self._boot()

    @rule(long=st.booleans())
    def sweep(self, long: bool) -> None:
        self.rig.clock.advance(LONG_AGO if long else timedelta(minutes=1))
        self._run(self.service.sweep())
        assert self._run(self.service.miscounts()) == []
        if long and self._all_reachable():
            assert self.rig.attempts == []
            self._check_no_more_than_is_known()

    @rule(tier=st.sampled_from(Tier))
    def go_down(self, tier: Tier) -> None:
        self._port(tier).go_down("taken down on purpose")

    @rule(tier=st.sampled_from(Tier))
    def come_back(self, tier: Tier) -> None:
        self._port(tier).come_back()
        self._run(self.service.sweep())

    @rule(poisoned=st.booleans())
    def read_all(self, poisoned: bool) -> None:
        if poisoned:
            self.rig.cache.lie(lambda data: data[:-1] + b"!")
        for name, file in self.rig.files.items():
            (replica,) = file.readable
            try:
                data, _ = self._run(self.service.read.whole(name))
            except StorageUnavailable:
                assert self._port(replica.tier).unavailable_reason() or not self._trusts(
                    replica.tier
                )
                continue
            assert sha256_of(data) == file.content.sha256
        self.rig.cache.come_back()

    @rule(name=st.sampled_from(["nothing", "V9~image", "d"]))
    def read_nothing(self, name: str) -> None:
        async def read() -> bool:
            try:
                await self.service.read.whole(name)
            except NotFound:
                return True
            return False

        assert self._run(read())

    @rule(limit=st.integers(1, 3))
    def query(self, limit: int) -> None:
        found: list[str] = []
        asked = ViolationQuery(limit=limit)
        while True:
            page = self._run(self.service.container._record_repo().violations(asked))
            found += [violation.violation_id for violation in page.items]
            if page.next is None:
                break
            asked = evolve(asked, after=page.next)
        assert found == sorted(self.cases)

    @rule()
    def count(self) -> None:
        statistics = self._run(self.service.container.statistics()())
        kept = Counter(
            replica.tier for file in self.rig.files.values() for replica in file.readable
        )
        known = {b.store.tier for b in self.service.stores if b.store_id is not None}
        for tier, told in ((Tier.LOCAL, statistics.local), (Tier.CLOUD, statistics.cloud)):
            assert told.files == (kept[tier] if tier in known else 0)
        assert statistics.violations == len(self.cases)

    @invariant()
    def nothing_is_broken(self) -> None:
        assert self.rig.findings() == []
        assert self.rig.spool.held == []
        assert not any(self.service.reserved().values())

    @invariant()
    def what_was_acknowledged_is_there(self) -> None:
        for name, content in self.files.items():
            assert self._content(self.rig.files[FileId(name)]) == content
        for name, case in self.cases.items():
            assert self._seen_case(name) == case
            document = self._stored_bytes(self.rig.files[FileId(f"{name}~metadata")])
            assert document == case.document

    def teardown(self) -> None:
        self._run(self.service.aclose())
        self.runner.close()

    def _store(self, file_id: str, content: Content, trouble: Trouble) -> None:
        kind, number = content
        jobs: dict[str, Callable[[], Awaitable[Any]]] = {
            "image": lambda: self.service.image(picture(number), file_id),
            "video": lambda: self.service.video(film(number), file_id),
            "metadata": lambda: self.service.json(_document(number), file_id),
        }
        before = self.files.get(file_id)
        result = self._try(jobs[kind], trouble)
        row = self.rig.files.get(FileId(file_id))
        seen = None if row is None else self._content(row)
        if isinstance(result, Conflict):
            assert before not in (None, content)
            assert seen == before
        elif isinstance(result, BaseException):
            assert self._in_trouble(trouble), result
            assert seen in (before, content if before is None else before)
        else:
            assert seen == content
            assert result.created == (before is None)
        if seen is not None:
            self.files[file_id] = seen

    def _try(self, job: Callable[[], Awaitable[Any]], trouble: Trouble) -> Any:
        """What a store gives, or the error that it ends with; a process that dies is replaced."""
        self.rig.script.begin(*([trouble] if trouble else []))

        async def tried() -> Any:
            try:
                return await job()
            except (TrafficStorageError, Died) as error:
                return error

        result = self._run(tried())
        self.rig.script.begin()
        if isinstance(result, Died):
            self._die()
            self._boot()
        return result

    def _in_trouble(self, trouble: Trouble) -> bool:
        trusting = all(b.trusted for b in self.service.stores if b.configured.written)
        return trouble is not None or not self._all_reachable() or not trusting

    def _all_reachable(self) -> bool:
        return not (self.rig.local.unavailable_reason() or self.rig.cloud.unavailable_reason())

    def _trusts(self, tier: Tier) -> bool:
        return all(b.trusted for b in self.service.stores if b.store.tier is tier)

    def _port(self, tier: Tier) -> FailingBlobStore:
        return self.rig.local if tier is Tier.LOCAL else self.rig.cloud

    def _die(self) -> None:
        """The process is gone; what it had begun goes nowhere any more."""
        self.rig.script.kill()
        self.rig.script = Script()

        async def reap() -> None:
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        self._run(reap())

    def _boot(self) -> None:
        self.service = self.rig.boot()
        self._run(self.service.start())

    def _run(self, work: Awaitable[Any]) -> Any:
        async def awaited() -> Any:
            return await work

        return self.runner.run(awaited())

    def _content(self, file: StoredFile) -> Content:
        for number in range(3):
            if file.kind is FileKind.VIDEO and file.content.sha256 == sha256_of(film(number)):
                return "video", number
            plain = canonical_json(_document(number))
            if file.kind is FileKind.METADATA and file.content.sha256 == sha256_of(plain):
                return "metadata", number
            shade = picture(number).tobytes()
            if file.kind is FileKind.IMAGE and self._stored_bytes(file).endswith(shade):
                return "image", number
        raise AssertionError(f"{file.file_id} has content that was never stored")

    def _stored_bytes(self, file: StoredFile) -> bytes:
        (replica,) = file.readable
        return self.rig.at_rest[replica.tier].blobs[replica.key]

    def _seen_case(self, name: str) -> Case | None:
        violation = self.rig.repo._violations.get(ViolationId(name))
        if violation is None:
            return None

        def number(file_id: FileId | None) -> int | None:
            return None if file_id is None else self._content(self.rig.files[file_id])[1]

        document = self._stored_bytes(self.rig.files[violation.metadata_file_id])
        return Case(
            violation.record.confidence,
            number(violation.image_file_id),
            number(violation.video_file_id),
            document,
        )

    def _check_no_more_than_is_known(self) -> None:
        usage: CatalogueUsage = self._run(self.service.container._record_repo().usage())
        assert sum(row.replicas for row in usage.stores) == sum(
            len(store.blobs) for store in self.rig.at_rest.values()
        )


def _document(number: int) -> dict[str, Any]:
    return {"number": number, "words": ["again"] * 60}


ServiceMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestServiceMachine = ServiceMachine.TestCase
