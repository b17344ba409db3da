"""Retention rules in force: staged before they are entered, and every file follows them."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from attrs import evolve

from tests.application.rig import Rig, Service, picture, violation_record
from traffic_storage.application.recompute_retention import RECOMPUTE_VIOLATION
from traffic_storage.application.rules_in_force import RECOMPUTE, staging
from traffic_storage.application.worker import Outcome
from traffic_storage.domain.errors import NotFound
from traffic_storage.domain.holds import HeldFile, Hold, PlaceHold
from traffic_storage.domain.identifiers import FileId
from traffic_storage.domain.jobs import Claim, Done, Progress, Run
from traffic_storage.domain.query import JobsQuery
from traffic_storage.domain.retention_rules import GivenRules, RetentionRule, Site
from traffic_storage.domain.rules_in_force import StaleRules
from traffic_storage.entrypoints.testing.containers import NOON

DAY = timedelta(days=1)
LONG = RetentionRule("long", 1000)
SPEED = RetentionRule("speed", 2000, violation_type="speed")


async def entered(service: Service, *rules: RetentionRule, sites: Sequence[Site] = ()) -> None:
    """Put rules in force."""
    change = service.container.change_rules()
    staged, _ = await change.stage(GivenRules(rules, tuple(sites)), by="me", reason="a test")
    await change.enter(staged.change_id, by="me")


async def work(rig: Rig, service: Service) -> int:
    """Do all jobs that are due, as a worker would; return their number."""
    done = 0
    handlers = service.container.handlers()
    while True:
        claim = Claim(uuid4(), "me", tuple(handlers), 1, timedelta(seconds=30))
        runs = await rig.repo.claim(claim)
        for run in runs:
            outcome: Outcome = await handlers[run.kind](run, lambda _: None)
            await rig.repo.finish(run, outcome.end, outcome.effect)
            done += 1
        if not runs:
            return done


def ends(rig: Rig) -> dict[str, tuple[datetime, str]]:
    """The end of retention of each file, and its rule."""
    return {
        name: (file.keep_until, file.retention_rule) for name, file in sorted(rig.files.items())
    }


@pytest.fixture
def rig() -> Rig:
    rig = Rig()
    rig.repo._now = rig.clock.now
    return rig


async def test_the_first_rules_are_those_of_the_settings(tmp_path: Path) -> None:
    file = tmp_path / "rules.toml"
    file.write_text('[[rules]]\nrule_id = "long"\ndays = 1000\n')
    rig = Rig(image_retention_days=5, retention_rules_file=file)
    async with rig.running() as service:
        current = await service.container.rules_in_force().current()
        assert (current.revision, current.entered_by) == (1, "settings")
        assert {rule.rule_id: rule.days for rule in current.rules.rules} == {
            "default-image": 5,
            "default-video": 30,
            "default-metadata": 365,
            "long": 1000,
        }


async def test_an_edit_of_the_settings_makes_nothing_due(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    async with rig.running() as service:
        await service.image(picture(), "before")
    before = ends(rig)
    rig.settings = evolve(rig.settings, image_retention_days=1)
    async with rig.running() as service:
        await service.image(picture(), "after")
        assert "differ from the settings" in caplog.text
        assert await work(rig, service) == 0
    assert ends(rig) == before | {"after": (NOON + 90 * DAY, "default-image")}


async def test_rules_that_somebody_entered_are_not_compared_with_the_settings(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    async with rig.running() as service:
        await entered(service, LONG)
    async with rig.running() as service:
        await service.image(picture(), "after")
    assert "differ from the settings" not in caplog.text


async def test_a19_a_change_that_shortens_is_shown_before_it_is_entered(rig: Rig) -> None:
    """A19: an edit that shortens."""
    async with rig.running() as service:
        await service.image(picture(1), "old")
        await service.json({"a": 1}, "kept")
        rig.clock.advance(10 * DAY)
        await service.image(picture(2), "new")
        before = ends(rig)
        rig.settings = evolve(rig.settings, image_retention_days=5)
        hold = Hold(uuid4(), HeldFile(FileId("old")), "case 1", "a trial", "court", NOON)
        await rig.repo.apply(PlaceHold(hold))
    async with rig.running() as service:
        change = service.container.change_rules()
        seen: list[Progress] = []
        staged, base = await change.stage(GivenRules(), by="me", reason="", report=seen.append)
        assert base.revision == 1
        effect = staged.effect
        assert (effect.files, effect.shortened, effect.lengthened, effect.due) == (3, 2, 0, 1)
        assert effect.due_bytes == rig.files[FileId("old")].stored.size_bytes
        assert effect.in_words().startswith("makes 1 file due, 1 of them held; of 3 files")
        assert seen[-1].done == 3
        assert await work(rig, service) == 0
        assert ends(rig) == before
        current = await change.enter(staged.change_id, by="chief")
        assert (current.revision, current.entered_by) == (2, "chief")
        assert await change.enter(staged.change_id, by="chief") == current
        await work(rig, service)
        assert ends(rig) == before | {
            "old": (NOON + 5 * DAY, "default-image"),
            "new": (NOON + 15 * DAY, "default-image"),
        }


async def test_a_change_is_staged_by_a_job_with_progress(rig: Rig) -> None:
    """The staged change has the id of the job, and repeating the job changes nothing."""
    async with rig.running() as service:
        await service.image(picture(), "image")
        rig.clock.advance(10 * DAY)
        kind, arguments = staging(GivenRules((RetentionRule("long", 1000),)), "me", "a law")
        job = await service.container.jobs().start(kind, arguments)
        run = Run(job.job_id, uuid4(), kind, job.arguments, 1, 8)
        seen: list[Progress] = []
        for _ in range(2):
            outcome = await service.container.handlers()[kind](run, seen.append)
            assert outcome.effect is not None
            await rig.repo.apply(outcome.effect)
        assert seen[0].done == 1
        staged, in_force = await service.container.change_rules().staged(job.job_id)
        assert (staged.effect.lengthened, staged.staged_by, in_force.revision) == (1, "me", 1)
        current = await service.container.change_rules().enter(job.job_id, by="chief")
        assert current.reason == "a law"


async def test_a_staged_change_is_stale_after_other_rules_or_a_day(rig: Rig) -> None:
    async with rig.running() as service:
        change = service.container.change_rules()
        first, _ = await change.stage(GivenRules((LONG,)), by="me", reason="")
        second, _ = await change.stage(GivenRules((SPEED,)), by="me", reason="")
        await change.enter(first.change_id, by="me")
        with pytest.raises(StaleRules, match="revision 2 is in force"):
            await change.enter(second.change_id, by="me")
        third, _ = await change.stage(GivenRules(), by="me", reason="")
        rig.clock.advance(DAY)
        with pytest.raises(StaleRules, match="its counts no longer hold"):
            await change.enter(third.change_id, by="me")
        with pytest.raises(NotFound, match="staged change"):
            await change.enter(uuid4(), by="me")


async def test_of_two_changes_that_are_entered_at_once_one_is_refused(rig: Rig) -> None:
    """Both found the same rules in force; the one that comes second is told, and not in force."""
    async with rig.running() as service, rig.running() as other:
        first, _ = await service.container.change_rules().stage(
            GivenRules((LONG,)), by="me", reason=""
        )
        second, _ = await other.container.change_rules().stage(
            GivenRules((SPEED,)), by="you", reason=""
        )
        rig.script.begin()
        held = rig.script.hold("repo.apply")
        entering = asyncio.create_task(
            service.container.change_rules().enter(first.change_id, by="me")
        )
        await held.reached.wait()
        won = await other.container.change_rules().enter(second.change_id, by="you")
        held.let_go.set()
        with pytest.raises(StaleRules, match="other rules were entered while"):
            await entering
        assert await service.container.rules_in_force().current() == won
        assert won.change_id == second.change_id
        assert len((await rig.repo.jobs(JobsQuery(kind=RECOMPUTE))).items) == 1


async def test_a_file_is_stored_by_the_rules_in_force(rig: Rig) -> None:
    async with rig.running() as service, rig.running() as other:
        radar = RetentionRule("radar", 700, site="m30")
        await entered(service, radar, SPEED, sites=[Site("m30", ("radar-*",))])
        rig.clock.advance(timedelta(seconds=10))
        # The other process has read the rules at its start; after 10 s it reads them again.
        await other.image(picture(1), "at-site", device_id="radar-1")
        await other.evidence(violation_record("V1"), picture(2))
        await other.image(picture(3), "second-frame", violation_id="V1")
        now = rig.clock.now()
    assert {name: rule for name, (_, rule) in ends(rig).items()} == {
        "at-site": "radar",
        "V1~image": "speed",
        "V1~metadata": "speed",
        "second-frame": "speed",
    }
    assert rig.files[FileId("at-site")].keep_until == now + 700 * DAY


async def test_a_file_that_came_before_its_violation_follows_its_type(rig: Rig) -> None:
    async with rig.running() as service:
        await entered(service, SPEED)
        await work(rig, service)
        await service.image(picture(3), "first", violation_id="V1")
        await service.image(picture(4), "other", violation_id="V2")
        await service.evidence(violation_record("V1"))
        assert await work(rig, service) == 1
    assert ends(rig)["first"] == (NOON + 2000 * DAY, "speed")
    assert ends(rig)["other"] == (NOON + 90 * DAY, "default-image")


async def test_without_rules_on_types_a_violation_causes_no_job(rig: Rig) -> None:
    async with rig.running() as service:
        await service.evidence(violation_record("V1"))
        assert not (await rig.repo.jobs(JobsQuery(kind=RECOMPUTE_VIOLATION))).items


async def test_a_file_stored_by_old_rules_during_the_walk_is_met_by_the_second_one(
    rig: Rig,
) -> None:
    async with rig.running() as stale, rig.running() as service:
        await entered(service, LONG)
        await work(rig, service)
        await stale.image(picture(), "late")
        assert ends(rig)["late"][1] == "default-image"
        rig.clock.advance(timedelta(seconds=rig.settings.attempt_timeout_seconds + 10))
        assert await work(rig, service) == 1
        assert ends(rig)["late"] == (NOON + 1000 * DAY, "long")
        rig.clock.advance(DAY)
        assert await work(rig, service) == 0


async def test_a_walk_goes_on_where_its_last_job_has_ended(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In batches of one file and jobs of two batches; a job that is repeated changes nothing."""
    monkeypatch.setattr("traffic_storage.adapters.record_repo.memory.retention.BATCH", 1)
    monkeypatch.setattr("traffic_storage.application.recompute_retention._BATCHES_A_JOB", 2)
    async with rig.running() as service:
        for number in range(5):
            await service.image(picture(number), f"image-{number}")
            await service.json({"n": number}, f"metadata-{number}")
        await entered(service, LONG)
        walked: list[object] = []
        handler = service.container.handlers()[RECOMPUTE]
        while runs := await rig.repo.claim(
            Claim(uuid4(), "me", (RECOMPUTE,), 1, timedelta(seconds=30))
        ):
            (run,) = runs
            await handler(run, lambda _: None)  # killed before its end was recorded
            outcome = await handler(run, lambda _: None)
            assert isinstance(outcome.end, Done)
            walked.append(run.arguments.get("file_id"))
            await rig.repo.finish(run, outcome.end, outcome.effect)
    assert len(walked) > 5
    assert len(set(walked)) == len(walked)
    assert set(ends(rig).values()) == {(NOON + 1000 * DAY, "long")}


async def test_a_walk_ends_when_other_rules_are_entered(rig: Rig) -> None:
    async with rig.running() as service:
        await service.image(picture(), "image")
        await entered(service, LONG)
        old = Run(uuid4(), uuid4(), RECOMPUTE, {"revision": 1}, 1, 8)
        outcome = await service.container.handlers()[RECOMPUTE](old, lambda _: None)
        assert outcome.effect is None
        assert isinstance(outcome.end, Done)
        assert outcome.end.progress is not None
        assert "other rules" in outcome.end.progress.message
    assert ends(rig)["image"][1] == "default-image"


async def test_time_that_was_granted_is_never_taken_away(rig: Rig) -> None:
    """An undelete grants time; rules lengthen it and never shorten it."""
    async with rig.running() as service:
        for name in ("granted", "lengthened"):
            await service.image(picture(), name)
        granted = NOON + 400 * DAY
        for name, until in (("granted", granted), ("lengthened", NOON + 10 * DAY)):
            file = rig.files[FileId(name)]
            rig.repo._files[file.file_id] = evolve(
                file, keep_until=until, retention_rule="undelete"
            )
        await entered(service, RetentionRule("short", 100))
        await work(rig, service)
    assert ends(rig) == {
        "granted": (granted, "undelete"),
        "lengthened": (NOON + 100 * DAY, "short"),
    }
