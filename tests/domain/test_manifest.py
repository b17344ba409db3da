"""BlobManifest: what is kept beside the bytes, in as many characters as every store takes."""

import base64
import json
import zlib
from typing import Any

import pytest
from attrs import evolve, fields
from hypothesis import given, settings
from hypothesis import strategies as st

from traffic_storage.domain.canonical import Json, canonical_json
from traffic_storage.domain.digests import sha256_of
from traffic_storage.domain.errors import InvalidInput
from traffic_storage.domain.files import (
    BlobKey,
    PlacementNote,
    StoredFile,
    Tier,
    is_blob_key,
)
from traffic_storage.domain.identifiers import (
    MAX_FILE_ID,
    MAX_TEXT,
    MAX_VIOLATION_ID,
    DeviceId,
    FileId,
    StoreId,
    ViolationId,
)
from traffic_storage.domain.identity import RegisteredStore
from traffic_storage.domain.manifest import (
    MAX_SUMMARY_BYTES,
    BlobManifest,
    manifest_in,
    manifest_of,
    sidecar_key,
)
from traffic_storage.entrypoints.testing import strategies as kit
from traffic_storage.entrypoints.testing.units import NOON, new_file

# The longest that the rules allow: each character of these takes twelve as ASCII.
ASTRAL = st.characters(min_codepoint=0x1F300, max_codepoint=0x1FAFF).filter(str.isprintable)
few = settings(max_examples=20)
LONG_IDS = st.text("ABCXYZabcxyz0123456789._-:@+=", min_size=150)


@few
@given(kit.stored_files())
def test_a_manifest_is_a_line_of_ascii_that_is_read_again(file: StoredFile) -> None:
    manifest = manifest_of(file)
    text = manifest.to_text()
    assert text.isascii()
    assert text.isprintable()
    assert BlobManifest.from_text(text) == manifest


@few
@given(
    kit.stored_files(),
    st.text(ASTRAL, min_size=MAX_TEXT, max_size=MAX_TEXT),
    LONG_IDS.map(lambda text: FileId(text[:MAX_FILE_ID])),
    LONG_IDS.map(lambda text: ViolationId(text[:MAX_VIOLATION_ID])),
    st.text(max_size=4000),
    st.text(ASTRAL, max_size=300),
)
def test_the_longest_manifest_is_kept_and_completed(
    file: StoredFile, device: str, file_id: FileId, violation: ViolationId, note: str, reason: str
) -> None:
    longest = evolve(
        file,
        file_id=file_id,
        violation_id=violation,
        device_id=DeviceId(device),
        placement=PlacementNote(reason, reason),
        retention_rule=device,
        original_name=device + device,
        metadata=canonical_json({"note": note.encode(errors="replace").decode()}).decode(),
    )
    manifest = manifest_of(longest)
    kept = manifest.kept()
    assert kept.summary.isascii()
    assert kept.summary.isprintable()
    assert len(kept.summary) <= MAX_SUMMARY_BYTES
    summary = BlobManifest.from_text(kept.summary)
    assert summary.completed(kept.sidecar) == manifest
    assert (summary.file_id, summary.violation_id) == (longest.file_id, longest.violation_id)
    assert (summary.sha256, summary.stored_sha256) == (manifest.sha256, manifest.stored_sha256)
    assert (summary.sidecar_sha256 is None) == (kept.sidecar is None)


@few
@given(kit.stored_files())
def test_a_summary_keeps_what_no_text_of_a_caller_can_lengthen(file: StoredFile) -> None:
    manifest = manifest_of(evolve(file, metadata=random_metadata(4000)))
    kept = manifest.kept()
    assert kept.sidecar is not None
    summary = BlobManifest.from_text(kept.summary)
    left_out = {
        *("device_id", "placement", "retention_rule", "retention_basis"),
        *("original_name", "metadata", "quality", "sidecar_sha256"),
    }
    for field in fields(BlobManifest):
        if field.name not in left_out:
            assert getattr(summary, field.name) == getattr(manifest, field.name)


@few
@given(kit.stored_files(), st.binary() | st.none())
def test_a_summary_takes_no_other_sidecar_than_its_own(file: StoredFile, other: bytes) -> None:
    manifest = manifest_of(evolve(file, metadata=random_metadata(4000)))
    summary = BlobManifest.from_text(manifest.kept().summary)
    assert summary.completed(other) == summary
    assert summary != manifest


def test_metadata_that_repeats_itself_needs_no_sidecar() -> None:
    boxes: list[Json] = [{"label": "vehicle", "box": [n, n, n + 9, n + 9]} for n in range(80)]
    file = evolve(new_file(), metadata=canonical_json({"detections": boxes}).decode())
    manifest = manifest_of(file)
    assert len(manifest.to_text()) > 2 * MAX_SUMMARY_BYTES
    kept = manifest.kept()
    assert kept.sidecar is None
    assert BlobManifest.from_text(kept.summary) == manifest


def test_no_blob_has_the_key_of_a_sidecar() -> None:
    key = new_file(RegisteredStore(StoreId("local"), Tier.LOCAL, "/blobs", NOON)).replicas[0].key
    assert is_blob_key(key)
    assert not is_blob_key(BlobKey(sidecar_key(key)))


def test_every_attribute_of_a_file_is_in_its_manifest_or_measured() -> None:
    """A new attribute of StoredFile fails here, until a rebuild has it from somewhere."""
    elsewhere = {
        "content": "size and digest as size_bytes and sha256; segments are measured",
        "stored": "size and digest as stored_size_bytes and stored_sha256; segments are measured",
        "replicas": "found by listing the stores",
        "state": "a file whose bytes are found is available; other states are journaled",
        "state_at": "None: at created_at",
        "added_labels": "none when a blob is written, which has all labels; later ones are journaled",
    }
    own = {field.name for field in fields(BlobManifest)}
    for field in fields(StoredFile):
        assert (field.name in own) != (field.name in elsewhere), field.name


def random_metadata(length: int) -> str:
    """Canonical JSON that no compression makes short enough."""
    digests = "".join(sha256_of(bytes([n])) for n in range(length // 64 + 1))
    return canonical_json({"note": digests[:length]}).decode()


def packed(data: bytes) -> str:
    return "z:" + base64.b64encode(zlib.compress(data)).decode()


def changed(**changes: Any) -> str:
    """A good manifest as JSON, with changes; None takes a member away."""
    good = {
        "v": 2,
        "file_id": "f",
        "kind": "image",
        "content_type": "image/webp",
        "size_bytes": 1,
        "sha256": "0" * 64,
        "stored_size_bytes": 1,
        "stored_sha256": "0" * 64,
        "coding": "identity",
        "created_at": "2026-03-14T12:00:00+00:00",
    }
    members = (good | changes).items()
    return json.dumps({name: value for name, value in members if value is not None})


def test_a_good_manifest_is_read() -> None:
    assert BlobManifest.from_text(changed()).file_id == "f"
    assert BlobManifest.from_text(packed(changed().encode())) == BlobManifest.from_text(changed())
    assert manifest_in(changed()) == BlobManifest.from_text(changed())


@pytest.mark.parametrize("version", [1, 3, "2", 2.0, True, [2]])
def test_another_version_is_told(version: object) -> None:
    with pytest.raises(
        InvalidInput, match=r"manifest: has version .*this release reads only version 2"
    ):
        BlobManifest.from_text(changed(v=version))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        "null",
        "1",
        '"text"',
        "z:",
        "z:!!!",
        "z:ä",
        "z:AAAA",
        "\ud800",
        packed(b""),
        packed(b"\xff"),
        packed(b"[]"),
        packed(b"0" * 100_000_000),
        packed(changed().encode())[:-8],
        "[" * 100_000,
        '{"v":' * 100_000,
        "9" * 5000,
        *(
            changed(**{name: None})
            for name in ("v", "file_id", "kind", "size_bytes", "sha256", "created_at", "coding")
        ),
        changed(file_id=1),
        changed(file_id=["f"]),
        changed(kind="sound"),
        changed(kind=["image"]),
        changed(kind={}),
        changed(content_type=5),
        changed(size_bytes="1"),
        changed(size_bytes=1.5),
        changed(size_bytes=True),
        changed(sha256="0" * 63),
        changed(stored_sha256=7),
        changed(coding="gzip"),
        changed(created_at="yesterday"),
        changed(created_at="2026-03-14T12:00:00"),
        changed(created_at=1_773_000_000),
        changed(captured_at=0),
        changed(captured_at=""),
        changed(device_id=5),
        changed(violation_id=[]),
        changed(metadata={"a": 1}),
        changed(media=""),
        changed(media=[]),
        changed(media={"width": "1"}),
        changed(media={"width": True}),
        changed(media={"duration_seconds": "1"}),
        changed(media={"depth": 8}),
        changed(media={"channel_order": "GBR"}),
        changed(placement={"decision": "local"}),
        changed(retention_basis={"clock": "captured", "reason": ""}),
        changed(historic=1),
        changed(owner="nobody"),
    ],
)
def test_what_is_no_manifest_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="manifest: is unreadable") as caught:
        BlobManifest.from_text(text)
    assert len(str(caught.value)) < 250
    assert manifest_in(text) is None


def test_the_wrong_member_is_named() -> None:
    with pytest.raises(InvalidInput, match=r"must be of type int, not str @ \$\.media\.width"):
        BlobManifest.from_text(changed(media={"width": "1"}))


@given(
    st.text()
    | st.binary().map(packed)
    | st.binary().map(lambda data: data.decode(errors="surrogateescape"))
    | kit.json_values().map(json.dumps)
    | kit.json_objects().map(lambda members: changed(**members))
    | st.dictionaries(
        st.sampled_from([field.name for field in fields(BlobManifest)]),
        kit.json_values(),
        min_size=1,
    ).map(lambda members: changed(**members))
)
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        manifest = BlobManifest.from_text(text)
    except InvalidInput:
        return
    assert BlobManifest.from_text(manifest.to_text()) == manifest
