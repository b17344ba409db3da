"""BlobManifest: what travels with the bytes, in as many characters as every store takes."""

import base64
import json
import zlib
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from traffic_storage.domain.canonical import canonical_json
from traffic_storage.domain.errors import InvalidInput
from traffic_storage.domain.files import StoredFile
from traffic_storage.domain.identifiers import (
    MAX_FILE_ID,
    MAX_TEXT,
    MAX_VIOLATION_ID,
    DeviceId,
    FileId,
    ViolationId,
)
from traffic_storage.domain.manifest import (
    MAX_MANIFEST_BYTES,
    MAX_WITH_METADATA,
    BlobManifest,
    manifest_of,
)
from traffic_storage.entrypoints.testing import strategies as kit

# The longest that the rules allow: each character of these takes twelve as ASCII.
ASTRAL = st.characters(min_codepoint=0x1F300, max_codepoint=0x1FAFF).filter(str.isprintable)
few = settings(max_examples=40)
LONG_IDS = st.text("ABCXYZabcxyz0123456789._-:@+=", min_size=150)


@few
@given(kit.stored_files())
def test_facts_are_short_ascii_that_is_read_again(file: StoredFile) -> None:
    manifest = manifest_of(file)
    text = manifest.to_text()
    assert text.isascii()
    assert text.isprintable()
    assert len(text) <= MAX_MANIFEST_BYTES
    assert BlobManifest.from_text(text) == manifest


@few
@given(
    kit.stored_files(),
    st.text(ASTRAL, min_size=MAX_TEXT, max_size=MAX_TEXT),
    LONG_IDS.map(lambda text: FileId(text[:MAX_FILE_ID])),
    LONG_IDS.map(lambda text: ViolationId(text[:MAX_VIOLATION_ID])),
    st.text(max_size=4000),
)
def test_the_longest_facts_fit_too(
    file: StoredFile, device: str, file_id: FileId, violation: ViolationId, note: str
) -> None:
    longest = evolve(
        file,
        file_id=file_id,
        violation_id=violation,
        device_id=DeviceId(device),
        metadata=canonical_json({"note": note.encode(errors="replace").decode()}).decode(),
    )
    manifest = manifest_of(longest)
    text = manifest.to_text()
    assert len(text) <= MAX_MANIFEST_BYTES
    assert BlobManifest.from_text(text) == manifest
    assert (manifest.device_id, manifest.file_id) == (device, longest.file_id)


@few
@given(kit.stored_files())
def test_they_tell_what_the_catalogue_needs_to_be_rebuilt(file: StoredFile) -> None:
    manifest = manifest_of(file)
    assert manifest.file_id == file.file_id
    assert (manifest.size_bytes, manifest.sha256) == (file.content.size_bytes, file.content.sha256)
    assert manifest.stored_size_bytes == file.stored.size_bytes
    assert manifest.stored_sha256 == file.stored.sha256
    for name in ("kind", "content_type", "coding", "created_at", "captured_at", "device_id"):
        assert getattr(manifest, name) == getattr(file, name)
    assert manifest.violation_id == file.violation_id


@few
@given(kit.stored_files(), st.integers(0, 2000))
def test_the_callers_metadata_is_there_where_it_fits(file: StoredFile, length: int) -> None:
    file = evolve(file, metadata=canonical_json({"note": "x" * length}).decode())
    manifest = manifest_of(file)
    fits = len(evolve(manifest, metadata=file.metadata).as_json()) <= MAX_WITH_METADATA
    assert manifest.metadata == (file.metadata if fits else None)


def packed(data: bytes) -> str:
    return "z:" + base64.b64encode(zlib.compress(data)).decode()


def changed(**changes: Any) -> str:
    """Good manifest as JSON, with changes; None takes a member away."""
    good = {
        "v": 1,
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


def test_good_facts_are_read() -> None:
    assert BlobManifest.from_text(changed()).file_id == "f"
    assert BlobManifest.from_text(packed(changed().encode())) == BlobManifest.from_text(changed())


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
        changed(v=2),
        changed(v="1"),
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
    ],
)
def test_what_are_no_facts_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="manifest: are unreadable") as caught:
        BlobManifest.from_text(text)
    assert len(str(caught.value)) < 200


@given(
    st.text()
    | st.binary().map(packed)
    | kit.json_values().map(json.dumps)
    | kit.json_objects().map(lambda members: changed(**members))
    | st.dictionaries(
        st.sampled_from(list(json.loads(changed()))), kit.json_values(), min_size=1
    ).map(lambda members: changed(**members))
)
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        manifest = BlobManifest.from_text(text)
    except InvalidInput:
        return
    assert BlobManifest.from_text(manifest.to_text()) == manifest
