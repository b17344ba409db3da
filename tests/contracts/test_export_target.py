"""Every place of exports keeps the contract: memory, files with and without O_TMPFILE, a bucket."""

import errno
import os
from pathlib import Path
from typing import Any

import obstore
import pytest
from attrs import evolve
from botocore.session import Session

from tests.support import s3_stub
from tests.support.adapter_settings import s3_settings
from tests.support.s3_stub import S3Stub
from tests.support.servers import Bucket
from traffic_storage.adapters.export_target.local_file import LocalFileTarget
from traffic_storage.adapters.export_target.memory import InMemoryTargets
from traffic_storage.adapters.export_target.object_store import PART_BYTES, ObjectTargets
from traffic_storage.adapters.s3.settings import S3Settings
from traffic_storage.domain.errors import InvalidInput
from traffic_storage.entrypoints.testing.contracts.export_target import ExportTargetContract
from traffic_storage.ports.errors import StorageUnavailable
from traffic_storage.ports.export_target import ExportTarget, ExportTargets


class Files(ExportTargets):
    """Files in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def open(self, place: str, *, overwrite: bool) -> ExportTarget:
        return LocalFileTarget(self.folder / "new" / place, overwrite=overwrite)


class TestMemory(ExportTargetContract):
    @pytest.fixture
    def targets(self, no_leaks: None) -> InMemoryTargets:
        return InMemoryTargets()

    def content(self, targets: ExportTargets, name: str) -> bytes | None:
        assert isinstance(targets, InMemoryTargets)
        return targets.files.get(name)


class TestLocalFile(ExportTargetContract):
    @pytest.fixture
    def targets(self, tmp_path: Path, no_leaks: None) -> Files:
        return Files(tmp_path)

    def content(self, targets: ExportTargets, name: str) -> bytes | None:
        assert isinstance(targets, Files)
        folder = targets.folder / "new"
        left = {path.name for path in folder.iterdir()} if folder.exists() else set()
        # Nothing else is beside the file, but for the draft of a file that is being written.
        assert {one for one in left if not one.endswith(".part")} <= {name}
        return (folder / name).read_bytes() if name in left else None


class TestLocalFileWithoutUnnamedFiles(TestLocalFile):
    @pytest.fixture(autouse=True)
    def named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        real = os.open

        def refuse(path: Any, flags: int, *args: Any, **named: Any) -> int:
            if flags & os.O_TMPFILE == os.O_TMPFILE:
                raise OSError(errno.EOPNOTSUPP, "no unnamed files here")
            return real(path, flags, *args, **named)

        monkeypatch.setattr(os, "open", refuse)


class Buckets(ObjectTargets):
    """Objects below one key of a bucket; the bucket has evidence too."""

    def __init__(self, bucket: Bucket) -> None:
        super().__init__(
            lambda name: evolve(s3_settings(bucket), bucket=name), shared=[bucket.name]
        )
        self.bucket = bucket

    def place(self, name: str) -> str:
        """The place of an export."""
        return f"s3://{self.bucket.name}/exports/a b/{name}"


class TestObject(ExportTargetContract):
    @pytest.fixture
    def targets(self, s3_bucket: Bucket, no_leaks: None) -> Buckets:
        return Buckets(s3_bucket)

    def place(self, targets: ExportTargets, name: str) -> str:
        assert isinstance(targets, Buckets)
        return targets.place(name)

    def content(self, targets: ExportTargets, name: str) -> bytes | None:
        assert isinstance(targets, Buckets)
        client = targets.bucket.client()
        found = [one["path"] for page in obstore.list(client) for one in page]
        assert set(found) <= {f"exports/a b/{name}"}
        return bytes(obstore.get(client, found[0]).bytes()) if found else None


class TestLargeObject(TestObject):
    filler = b"ab" * (PART_BYTES // 2 + 1)


async def test_an_upload_that_is_given_up_leaves_no_parts(
    s3_bucket: Bucket, no_leaks: None
) -> None:
    targets = Buckets(s3_bucket)
    target = targets.open(targets.place("one"), overwrite=False)
    await _parts_of(target, 3)
    await target.aclose()
    client = Session().create_client(
        "s3",
        region_name=s3_bucket.region,
        endpoint_url=s3_bucket.endpoint,
        aws_access_key_id=s3_bucket.access_key,
        aws_secret_access_key=s3_bucket.secret_key,
    )
    assert "Uploads" not in client.list_multipart_uploads(Bucket=s3_bucket.name)
    client.close()


async def _parts_of(target: ExportTarget, count: int) -> None:
    for _ in range(count):
        await target.write(bytes(PART_BYTES))


@pytest.mark.parametrize("size", [1000, PART_BYTES + 1], ids=["one request", "parts"])
@pytest.mark.parametrize("overwrite", [False, True])
async def test_an_object_that_was_written_although_the_answer_was_an_error_is_published(
    s3_bucket: Bucket, s3_faults: S3Stub, no_leaks: None, size: int, overwrite: bool
) -> None:
    targets = Buckets(s3_bucket.at(s3_faults.endpoint))
    large = size > PART_BYTES
    method, query = ("POST", "uploadId*") if large else ("PUT", "*")
    s3_faults.on(s3_stub.error_after_applying(), method=method, query=query)
    gone = s3_stub.error(404, "NoSuchUpload")
    s3_faults.on(gone, method=method, query=query, nth=2, times=None)
    target = targets.open(targets.place("one"), overwrite=overwrite)
    await target.write(os.urandom(size))
    await target.publish()
    await target.aclose()


async def test_a_bucket_that_can_not_be_written_is_named(s3_bucket: Bucket) -> None:
    stranger = evolve(s3_settings(s3_bucket), secret_key="wrong")
    target = ObjectTargets(lambda name: stranger).open("s3://reports/one", overwrite=True)
    await target.write(b"a")
    with pytest.raises(StorageUnavailable, match=f"{s3_bucket.name} refuses the credentials"):
        await target.publish()
    await target.aclose()
    large = ObjectTargets(lambda name: stranger).open("s3://reports/one", overwrite=True)
    with pytest.raises(StorageUnavailable, match="refuses the credentials"):
        await _parts_of(large, 8)
    await large.aclose()


@pytest.mark.parametrize(
    "place",
    [
        "s3://",
        "s3://b",
        "s3://bucket",
        "s3://bucket/",
        "s3://bucket/a/",
        "s3://bucket/a//b",
        "s3://bucket/../b",
        "s3://bucket/a#b",
        "s3://bucket/ä",
        f"s3://bucket/{'a' * 1025}",
    ],
)
def test_a_place_in_another_form_is_refused(place: str) -> None:
    targets = ObjectTargets(S3Settings)
    with pytest.raises(InvalidInput, match="is not the place of an object"):
        targets.open(place, overwrite=True)


def test_exports_lie_apart_from_evidence() -> None:
    targets = ObjectTargets(S3Settings, shared=["evidence"])
    with pytest.raises(InvalidInput, match="give s3://evidence/exports/"):
        targets.open("s3://evidence/image/2026/01/01/one", overwrite=True)
    targets.open("s3://evidence/exports/one", overwrite=True)
    targets.open("s3://reports/image/one", overwrite=True)


async def test_a_place_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    below = LocalFileTarget(tmp_path / "file" / "one", overwrite=False)
    with pytest.raises(StorageUnavailable, match="file/one"):
        await below.write(b"a")
    await below.aclose()
    folder = LocalFileTarget(tmp_path, overwrite=True)
    with pytest.raises(InvalidInput, match="is a folder"):
        await folder.write(b"a")
    await folder.aclose()


async def test_a_pipe_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for name in ("pipe", "link"):
        target = LocalFileTarget(tmp_path / name, overwrite=True)
        with pytest.raises(InvalidInput, match="is a device or a pipe"):
            await target.write(b"a")
        await target.aclose()
    assert (tmp_path / "pipe").is_fifo()
