"""Manifest and bytes give the catalogue row again, field by field, whatever is stored where."""

import io
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
from attrs import field, frozen
from dependency_injector.providers import Object
from PIL import Image

from tests.support.media import photograph, video, video_of
from tests.support.setups import config
from traffic_storage import Container, StorageStrategy, ViolationRecord
from traffic_storage.adapters.blob_store.memory import InMemoryBlobStore
from traffic_storage.application.inputs import ArrayImage, FileAttributes, Upload
from traffic_storage.domain.digests import Digests, digests_of
from traffic_storage.domain.encoding import Encoding, ImageFormat
from traffic_storage.domain.errors import DigestMismatch, InvalidInput
from traffic_storage.domain.files import Coding, FileKind, StoredFile
from traffic_storage.domain.image_layout import ChannelOrder
from traffic_storage.domain.manifest import BlobManifest, manifest_of
from traffic_storage.domain.rebuild import file_from_manifest, violation_from_document
from traffic_storage.domain.violation import StoredViolation

NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=2)
LONG_JSON = {"detections": [{"label": f"vehicle {n}", "at": n / 7} for n in range(300)]}
# More than 4 MiB: content and stored bytes have digests of their segments.
ENDLESS_JSON = {"track": np.random.default_rng(1).integers(0, 2**53, 640_000).tolist()}
FRAME = photograph()


@frozen
class Case:
    """A file of one kind: what is stored, and what is said about it."""

    kind: FileKind
    made: Callable[[], Any]
    said: Mapping[str, Any] = field(factory=dict)
    seconds: float | None = None

    async def store(self, container: Container) -> StoredFile:
        """Store it under the id F; its row in the catalogue."""
        given, files = self.made(), container.store_files()
        attributes = FileAttributes.of(file_id="F", **self.said)
        match self.kind:
            case FileKind.IMAGE:
                await files.image(given, attributes)
            case FileKind.VIDEO:
                await files.video(given, attributes, duration_seconds=self.seconds)
            case FileKind.METADATA:
                await files.metadata(given, attributes)
        return await row(container, "F")


def array(shape: str, order: ChannelOrder, image_format: ImageFormat) -> ArrayImage:
    """An array of this shape, to be encoded."""
    grey = FRAME[:, :, 0]
    pixels = {"colour": FRAME, "grey": grey, "alpha": np.dstack([FRAME, grey])}[shape]
    return ArrayImage(np.ascontiguousarray(pixels), order, Encoding(image_format))


def camera(image_format: str) -> Upload:
    """A photograph as a camera encodes it."""
    out = io.BytesIO()
    Image.fromarray(FRAME).save(out, image_format)
    return Upload(out.getvalue(), original_name=f"crucero 7 ñ.{image_format.lower()}")


def said(**attributes: Any) -> Mapping[str, Any]:
    """What is said about a file besides its id."""
    return attributes


IMAGE, VIDEO, METADATA = FileKind.IMAGE, FileKind.VIDEO, FileKind.METADATA
CASES: dict[str, Case] = {
    **{
        f"{shape} {order} {image_format}": Case(
            IMAGE,
            partial(array, shape, order, image_format),
            said(metadata={"timestamp": NOON, "device_id": "cámara-1"}),
        )
        for shape in ("colour", "grey", "alpha")
        for order in ChannelOrder
        for image_format in ImageFormat
        if (shape, image_format) != ("alpha", ImageFormat.JPEG)
    },
    **{
        f"camera {image_format}": Case(IMAGE, partial(camera, image_format), said(violation_id="V"))
        for image_format in ("JPEG", "PNG", "WEBP", "AVIF")
    },
    "MP4": Case(VIDEO, lambda: Upload(video("mp4"), original_name="a.mp4")),
    "Matroska": Case(VIDEO, lambda: Upload(video("mkv"))),
    "MPEG-TS": Case(VIDEO, lambda: Upload(video("ts")), seconds=2.5),
    "AVI": Case(VIDEO, lambda: Upload(video("avi"))),
    "MP4 with segments": Case(VIDEO, lambda: Upload(video_of(9 * 2**20 + 17))),
    "JSON plain": Case(METADATA, lambda: {"speed": 93}),
    "JSON zstd": Case(METADATA, lambda: LONG_JSON),
    "JSON zstd with segments": Case(METADATA, lambda: ENDLESS_JSON),
    "packed metadata": Case(METADATA, lambda: {"n": 1}, said(metadata=LONG_JSON)),
    "large metadata": Case(
        METADATA, lambda: {"n": 1}, said(metadata={"track": ENDLESS_JSON["track"][:20_000]})
    ),
    "historic": Case(
        METADATA,
        lambda: {"n": 1},
        said(metadata={"timestamp": "2003-04-05T06:07:08.9Z"}, historic=True),
    ),
    "dead clock": Case(
        METADATA, lambda: {"n": 1}, said(metadata={"timestamp": "1970-01-01T00:00:05Z"})
    ),
}
OTHERWISE = {
    "replicas": "found in the stores; copies that are due are decided anew",
}


@pytest.fixture(params=["local disk", "S3", "memory"])
def unopened(request: pytest.FixtureRequest, tmp_path: Path) -> Container:
    """A container whose files all go to one store of this kind."""
    if request.param == "S3":
        settings = config(tmp_path, bucket=request.getfixturevalue("s3_bucket"))
        return Container(settings=settings, strategy=StorageStrategy.CLOUD_ONLY)
    container = Container(settings=config(tmp_path), strategy=StorageStrategy.LOCAL_ONLY)
    if request.param == "memory":
        container.local_store.override(Object(InMemoryBlobStore(container.clock())))
    return container


@pytest.fixture
async def container(unopened: Container, no_leaks: None) -> AsyncIterator[Container]:
    """The same, opened."""
    await unopened.runtime().start()
    yield unopened
    await unopened.runtime().aclose()


async def row(container: Container, file_id: str) -> StoredFile:
    """The catalogue's row of a file."""
    return await container.find().file(file_id)


async def rebuilt(container: Container, file: StoredFile) -> StoredFile:
    """The row that manifest and bytes give; of the row only the replica's place is used."""
    (replica,) = file.replicas
    store = container.stores().blob_store(replica.store_id)
    manifest = (await store.head(replica.key)).manifest
    assert manifest is not None
    stored = content = await store.measure(replica.key)
    if manifest.coding is not Coding.IDENTITY:
        data = await store.read(replica.key, stored)
        declared = Digests(manifest.size_bytes, manifest.sha256)
        content = digests_of(await container.compressor().expand(data, declared))
    return file_from_manifest(manifest, stored=stored, content=content, replica=replica)


@pytest.mark.parametrize("case", CASES)
async def test_a_file_is_rebuilt_field_by_field(container: Container, case: str) -> None:
    file = await CASES[case].store(container)

    again = await rebuilt(container, file)

    for each in attrs.fields(StoredFile):
        if each.name not in OTHERWISE:
            assert getattr(again, each.name) == getattr(file, each.name), each.name


@pytest.mark.parametrize("unopened", ["memory"], indirect=True)
async def test_the_cases_are_what_their_names_say(container: Container) -> None:
    file = await CASES["JSON zstd with segments"].store(container)
    assert file.coding is Coding.ZSTD
    assert file.content.segmented
    assert file.stored.segmented
    assert file.stored.segments != file.content.segments


@pytest.mark.parametrize("unopened", ["memory"], indirect=True)
async def test_large_metadata_needs_a_sidecar(container: Container) -> None:
    kept = manifest_of(await CASES["large metadata"].store(container)).kept()
    assert kept.sidecar is not None


@pytest.mark.parametrize("naive", [False, True])
async def test_a_violation_is_rebuilt_field_by_field(container: Container, naive: bool) -> None:
    timestamp = NOON.replace(tzinfo=None) if naive else NOON
    record = ViolationRecord(
        violation_id="V001",
        device_id="cámara-1",
        violation_type="speed",
        timestamp=timestamp,
        vehicle_bbox=[1, 2.5, 300, 400],
        vehicle_class="car",
        confidence=1,
        camera_info={"site": "Cruce Ñandú", "tilt": 0.25, "lanes": [1, 2]},
        processing_time_ms=12.5,
        model_versions={"detector": "yolov8"},
    )
    store = container.store_evidence()
    await store(record, ArrayImage(FRAME, ChannelOrder.BGR))
    # The video comes later: the metadata file does not name it.
    stored = await store(record, None, Upload(video("mp4")))
    files = {kind: await row(container, f"V001~{kind}") for kind in FileKind}
    again = {kind: await rebuilt(container, file) for kind, file in files.items()}
    document, _ = await container.read_files().whole("V001~metadata")

    violation = violation_from_document(
        document, again[FileKind.METADATA], {file.file_id for file in again.values()}
    )

    kept = await container.find().violation("V001")
    assert kept == stored.violation
    for each in attrs.fields(StoredViolation):
        assert getattr(violation, each.name) == getattr(kept, each.name), each.name
    for kind, file in files.items():
        for each in attrs.fields(StoredFile):
            if each.name not in OTHERWISE:
                assert getattr(again[kind], each.name) == getattr(file, each.name), each.name
    without_media = violation_from_document(document, again[FileKind.METADATA], ())
    assert without_media.image_file_id == "V001~image"
    assert without_media.video_file_id is None


async def test_what_can_not_be_rebuilt_is_told(container: Container) -> None:
    file = await CASES["large metadata"].store(container)
    (replica,) = file.replicas
    store = container.stores().blob_store(replica.store_id)
    manifest = (await store.head(replica.key)).manifest
    assert manifest is not None
    other = digests_of(b"altered")

    with pytest.raises(DigestMismatch, match="the stored bytes: 7 bytes"):
        file_from_manifest(manifest, stored=other, content=file.content, replica=replica)
    with pytest.raises(DigestMismatch, match="the content: 7 bytes"):
        file_from_manifest(manifest, stored=file.stored, content=other, replica=replica)
    summary = BlobManifest.from_text(manifest.kept().summary)
    with pytest.raises(InvalidInput, match=r"the sidecar of metadata/.* is missing or altered"):
        file_from_manifest(summary, stored=file.stored, content=file.content, replica=replica)


async def test_what_is_no_document_of_a_violation_is_told(container: Container) -> None:
    file = await CASES["JSON plain"].store(container)
    for document in (b"", b"[]", b"{}", b'{"schema":"x"}', b'{"speed":93}'):
        with pytest.raises(InvalidInput, match="document"):
            violation_from_document(document, file, ())
    record = ViolationRecord("V2", "c", "speed", NOON, [1, 2, 3, 4], "car", 0.5)
    await container.store_evidence()(record)
    good, _ = await container.read_files().whole("V2~metadata")
    with pytest.raises(InvalidInput, match="F is not the metadata file of V2"):
        violation_from_document(good, file, ())
