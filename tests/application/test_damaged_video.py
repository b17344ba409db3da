"""Videos of killed recorders: refused with a remedy that fits, or stored with the damage on record."""

import json

import pytest

from tests.application.rig import Rig, violation_record
from tests.support import media
from traffic_storage.application.inputs import FileAttributes, Upload
from traffic_storage.domain.errors import InvalidInput, UndecodableMedia
from traffic_storage.domain.files import FileKind

MP4 = media.video("mp4")
FAST = media.video("mp4", faststart=True)
TS = media.video("ts")


def cut(container: media.Container, share: float) -> bytes:
    data = media.video(container)
    return data[: int(len(data) * share)]


DAMAGED = {
    "mp4 without its moov": MP4[: MP4.index(b"moov") - 4],
    "mp4 cut in its moov": MP4[:-100],
    "mp4 with its moov first, cut in the frames": FAST[: len(FAST) * 6 // 10],
    "mov cut in the frames": cut("mov", 0.5),
    "matroska cut": cut("mkv", 0.6),
    "webm cut": cut("webm", 0.6),
    "avi without its index": cut("avi", 0.7),
    "avi, the index cut": media.video("avi")[:-100],
    "ts with a lost byte": TS[: 30 * 188 + 77] + TS[30 * 188 + 78 :],
}
NO_FRAME = {
    "mp4": FAST[: FAST.index(b"mdat") - 4],
    "mov": media.video("mov")[:30],
    "matroska": media.video("mkv")[: media.video("mkv").index(b"\x1f\x43\xb6\x75")],
    "avi": media.video("avi")[: media.video("avi").index(b"movi")],
    "ts": TS[: 3 * 188] + b"no packet" * 99,
}


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED)
async def test_a_damaged_video_is_stored_as_it_is_if_that_is_accepted(data: bytes) -> None:
    rig = Rig(accept_unknown_video=False)
    async with rig.running() as service:
        store = service.container.store_files().video
        with pytest.raises(UndecodableMedia) as refused:
            await store(Upload(data), FileAttributes.of())
        assert "accept_damaged_video=true" in str(refused.value.problems[0].remedy)
        upload = Upload(data, accept_damaged_video=True)
        stored = await store(upload, FileAttributes.of(file_id="d"), duration_seconds=99)
        note = json.loads(stored.file.quality or "{}")
        assert note["integrity"] == "damaged"
        assert note["missing"].startswith("not a complete video/")
        assert (await service.container.read_files().whole("d"))[0] == data
        again = await store(upload, FileAttributes.of(file_id="d"), duration_seconds=99)
        assert not again.created


@pytest.mark.parametrize("data", NO_FRAME.values(), ids=NO_FRAME)
async def test_what_has_no_frame_is_no_damaged_video(data: bytes) -> None:
    rig = Rig(accept_unknown_video=False, accept_damaged_video=True)
    async with rig.running() as service:
        with pytest.raises(InvalidInput) as refused:
            await service.container.store_files().video(Upload(data), FileAttributes.of())
        assert "accept_damaged_video" not in str(refused.value.problems[0].remedy)


async def test_a_violation_keeps_its_damaged_video_beside_what_validating_found() -> None:
    rig = Rig(accept_unknown_video=False, accept_damaged_video=True, validate_on_store="warn")
    async with rig.running() as service:
        stored = await service.container.store_evidence()(
            violation_record(), None, Upload(DAMAGED["matroska cut"])
        )
    note = json.loads(stored.files[FileKind.VIDEO].quality or "{}")
    assert note["integrity"] == "damaged"
    assert "score" in note


@pytest.mark.parametrize("container", ["mp4", "mov", "mkv", "ts", "avi"])
async def test_a_declared_duration_that_the_video_contradicts_is_refused(
    container: media.Container,
) -> None:
    rig = Rig(accept_unknown_video=False)
    data = media.video(container)
    async with rig.running() as service:
        store = service.container.store_files().video
        for wrong in (0.5, 3.5, 60.0):
            with pytest.raises(InvalidInput, match="but the video itself lasts"):
                await store(Upload(data), FileAttributes.of(), duration_seconds=wrong)
        for close in (1.2, 2, 2.8):
            attributes = FileAttributes.of(file_id=f"lasts-{close}")
            said = await store(Upload(data), attributes, duration_seconds=close)
            assert said.file.media.duration_seconds == close
