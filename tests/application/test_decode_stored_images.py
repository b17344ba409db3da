"""`verify_images = unless_vouched`: an image with its digest is decoded after it was stored."""

from typing import Any

import pytest

from tests.application.rig import Rig, Service, outcome, violation_record
from tests.support import media
from tests.support.jobs import do_jobs
from traffic_storage.adapters.images.pillow import PillowImages
from traffic_storage.application.inputs import FileAttributes, Upload
from traffic_storage.application.store_many import ViolationItem
from traffic_storage.domain.digests import sha256_of
from traffic_storage.domain.errors import DigestMismatch, UndecodableMedia
from traffic_storage.domain.identifiers import FileId
from traffic_storage.domain.image_checks import DECODE_IMAGE, PUT_OFF, VerifyImages
from traffic_storage.domain.incidents import Incident, IncidentKind, IncidentsQuery
from traffic_storage.domain.jobs import Job, JobState
from traffic_storage.domain.media import StillFormat

MAX_PIXELS = 2_500_000
JPEG = media.shipped_jpeg()
# The header and the end are there, and what is between is not.
HOLLOW = JPEG[:4000] + b"\xff\xd9"


def vouching(**settings: Any) -> Rig:
    images = PillowImages(MAX_PIXELS, threads=1)
    given = {"max_pixels": MAX_PIXELS, "verify_images": "unless_vouched", **settings}
    return Rig(images=images, **given)


def vouched(data: bytes) -> Upload:
    return Upload(data, sha256=sha256_of(data))


async def store(service: Service, data: bytes, name: str = "F", *, is_vouched: bool = True) -> Any:
    upload = vouched(data) if is_vouched else Upload(data)
    attributes = FileAttributes.of(file_id=name)
    return await service.container.store_files().image(upload, attributes)


def jobs_of(rig: Rig) -> list[Job]:
    return [one for one in rig.repo._jobs.values() if one.kind == DECODE_IMAGE]


async def a_minute_later(rig: Rig, service: Service) -> None:
    rig.clock.advance(PUT_OFF)
    await do_jobs(service.container)


async def incidents(service: Service) -> tuple[Incident, ...]:
    return (await service.container._record_repo().incidents(IncidentsQuery())).items


@pytest.mark.parametrize("data", [JPEG, JPEG + b"by a camera"], ids=["whole", "with a trailer"])
async def test_a_whole_image_is_decoded_afterwards(data: bytes) -> None:
    rig = vouching()
    async with rig.running() as service:
        stored = await store(service, data)
        assert (stored.file.content_type, stored.file.media.channels) == ("image/jpeg", 3)
        (job,) = jobs_of(rig)
        assert job.state is JobState.READY
        assert not (await store(service, data)).created
        await a_minute_later(rig, service)
        assert [one.state for one in jobs_of(rig)] == [JobState.DONE]
        assert await incidents(service) == ()


async def test_a_damaged_one_stays_and_an_incident_tells_of_it() -> None:
    rig = vouching()
    async with rig.running() as service:
        stored = (await store(service, HOLLOW)).file
        await a_minute_later(rig, service)
        (found,) = await incidents(service)
        assert (found.kind, found.file_id) == (IncidentKind.DAMAGED_IMAGE, "F")
        assert "ends before its last pixels" in found.details
        assert found.replica_id is None
        (job,) = jobs_of(rig)
        assert (job.state, job.progress.message) == (JobState.DONE, found.details)
        data, file = await service.read.whole("F")
        assert (data, file) == (HOLLOW, stored)
        # Its bytes are as received, so verifying them does not end this.
        await service.container.verify_replicas()()
        assert await incidents(service) == (found,)
        assert rig.findings() == []


@pytest.mark.parametrize(
    ("data", "is_vouched", "verify"),
    [
        (HOLLOW, False, VerifyImages.UNLESS_VOUCHED),
        (HOLLOW, True, VerifyImages.ALWAYS),
        (JPEG[:4000], True, VerifyImages.UNLESS_VOUCHED),
        (JPEG[:300], True, VerifyImages.UNLESS_VOUCHED),
        (media.truncated(media.encoded("coffee", "PNG")), True, VerifyImages.UNLESS_VOUCHED),
        (media.truncated(media.encoded("coffee", "WEBP")), True, VerifyImages.UNLESS_VOUCHED),
    ],
    ids=["without a digest", "always", "without an end", "a cut header", "PNG", "WebP"],
)
async def test_what_nothing_vouches_for_is_decoded_before(
    data: bytes, is_vouched: bool, verify: VerifyImages
) -> None:
    rig = vouching(verify_images=verify)
    async with rig.running() as service:
        refused = await outcome(store(service, data, is_vouched=is_vouched))
        assert isinstance(refused, UndecodableMedia)
        assert dict(rig.files) == {}
        assert jobs_of(rig) == []


@pytest.mark.parametrize("data", [JPEG[:-2], media.encoded("coffee", "PNG")], ids=["JPEG", "PNG"])
async def test_what_was_decoded_before_has_no_job(data: bytes) -> None:
    """A JPEG without its end marker may have all its pixels."""
    rig = vouching()
    async with rig.running() as service:
        assert (await store(service, data)).created
        assert jobs_of(rig) == []


async def test_bytes_of_another_digest_are_refused() -> None:
    rig = vouching()
    async with rig.running() as service:
        upload = Upload(JPEG, sha256=sha256_of(HOLLOW))
        refused = await outcome(
            service.container.store_files().image(upload, FileAttributes.of(file_id="F"))
        )
        assert isinstance(refused, DigestMismatch)
        assert dict(rig.files) == {}


async def test_the_image_of_a_violation_and_many_at_once_are_decoded_afterwards_too() -> None:
    rig = vouching()
    async with rig.running() as service:
        await service.container.store_evidence()(violation_record(), vouched(JPEG), None)
        load = service.container.store_many().begin()
        for number in range(3):
            data = HOLLOW if number else JPEG + b"camera"
            await load.add(ViolationItem(violation_record(f"W{number}"), vouched(data)))
        assert all(one.stored for one in await load.finish())
        assert len(jobs_of(rig)) == 4
        await a_minute_later(rig, service)
        assert {one.file_id for one in await incidents(service)} == {"W1~image", "W2~image"}
        assert {one.state for one in jobs_of(rig)} == {JobState.DONE}


async def test_a_deleted_image_is_not_decoded() -> None:
    rig = vouching(deletion_grace_days=0)
    async with rig.running() as service:
        await store(service, HOLLOW)
        await service.container.delete_files().file("F", "by mistake", "ana", override=True)
        await service.container.purge().due()
        await a_minute_later(rig, service)
        assert await incidents(service) == ()
        assert [one.state for one in jobs_of(rig)] == [JobState.DONE]


@pytest.mark.parametrize(
    ("images", "told"),
    [
        (PillowImages(MAX_PIXELS, threads=1, formats=(StillFormat.PNG,)), "image_formats"),
        (PillowImages(1000, threads=1), "max_pixels"),
    ],
    ids=["format", "pixels"],
)
async def test_what_the_settings_do_not_allow_any_more_is_no_damage(
    images: PillowImages, told: str
) -> None:
    rig = vouching()
    async with rig.running() as service:
        await store(service, HOLLOW)
    rig._images = images
    async with rig.running() as service:
        await a_minute_later(rig, service)
        (job,) = jobs_of(rig)
        assert job.state is JobState.DEAD
        assert told in job.error
        assert await incidents(service) == ()
        assert rig.files[FileId("F")].readable
