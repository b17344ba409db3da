"""Stored files and replicas: exactly the transitions that are drawn, and keys that are ours."""

from datetime import UTC, datetime, timedelta
from itertools import product

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from traffic_storage.domain.digests import digests_of, sha256_of
from traffic_storage.domain.files import (
    BlobKey,
    Coding,
    FileKind,
    FileState,
    ForbiddenTransition,
    MediaInfo,
    PlacementNote,
    Replica,
    ReplicaState,
    RetentionBasis,
    RetentionClock,
    StoredFile,
    Tier,
    blob_key,
    is_blob_key,
)
from traffic_storage.domain.identifiers import FileId, StoreId
from traffic_storage.testing import uuid7_at

NOW = datetime(2026, 3, 14, 12, tzinfo=UTC)
KEY = blob_key(FileKind.IMAGE, uuid7_at(NOW), sha256_of(b"x"))
FILE = StoredFile(
    file_id=FileId("f"),
    kind=FileKind.IMAGE,
    content_type="image/webp",
    content=digests_of(b"x"),
    stored=digests_of(b"x"),
    coding=Coding.IDENTITY,
    created_at=NOW,
    captured_at=None,
    device_id=None,
    violation_id=None,
    media=MediaInfo(),
    placement=PlacementNote("local", "because"),
    metadata=None,
    replicas=(),
    keep_until=NOW + timedelta(days=90),
    retention_rule="default-image",
    retention_basis=RetentionBasis(RetentionClock.RECEIVED, NOW, "no capture time was given"),
)
FILE_ARROWS = {
    ("available", "tombstoned"),
    ("tombstoned", "available"),
    ("tombstoned", "purging"),
    ("purging", "purged"),
}
REPLICA_ARROWS = {
    ("present", "corrupt"),
    ("present", "missing"),
    ("present", "gone"),
    ("corrupt", "present"),
    ("corrupt", "gone"),
    ("missing", "present"),
    ("missing", "gone"),
}


def replica(state: ReplicaState, number: int = 1) -> Replica:
    return Replica(StoreId(f"local-{number}"), Tier.LOCAL, KEY, state, verified_at=NOW)


@pytest.mark.parametrize(("old", "new"), list(product(FileState, FileState)))
def test_a_file_takes_exactly_the_steps_of_its_life(old: FileState, new: FileState) -> None:
    file = evolve(FILE, state=old)
    later = NOW + timedelta(hours=1)
    if (old, new) in FILE_ARROWS:
        assert file.become(new, at=later) == evolve(file, state=new, state_at=later)
    else:
        with pytest.raises(ForbiddenTransition, match=f"a file that is {old} can't become {new}"):
            file.become(new, at=later)


@pytest.mark.parametrize(("old", "new"), list(product(ReplicaState, ReplicaState)))
def test_a_replica_takes_exactly_the_steps_of_its_life(
    old: ReplicaState, new: ReplicaState
) -> None:
    copy = replica(old)
    later = NOW + timedelta(hours=1)
    if (old, new) in REPLICA_ARROWS:
        assert copy.become(new) == evolve(copy, state=new)
        assert copy.become(new, verified_at=later).verified_at == later
    else:
        with pytest.raises(ForbiddenTransition, match=f"that is {old} can't become {new}"):
            copy.become(new, verified_at=later)


def test_only_present_replicas_are_read_in_the_order_in_which_they_are_kept() -> None:
    copies = [replica(state, n) for n, state in enumerate([*ReplicaState, ReplicaState.PRESENT])]
    file = evolve(FILE, replicas=tuple(copies))
    assert file.readable == (copies[0], copies[-1])
    assert FILE.readable == ()


@given(
    st.sampled_from(FileKind),
    st.datetimes(min_value=datetime(1970, 1, 1), timezones=st.just(UTC)),
    st.binary(max_size=4),
)
def test_a_key_tells_kind_day_replica_and_digest(kind: FileKind, at: datetime, data: bytes) -> None:
    digest, replica_id = sha256_of(data), uuid7_at(at)
    key = blob_key(kind, replica_id, digest)
    assert key == f"{kind}/{at.date().isoformat().replace('-', '/')}/{replica_id}-{digest}"
    assert is_blob_key(key)
    assert Replica(StoreId("s"), Tier.LOCAL, key, ReplicaState.PRESENT).replica_id == replica_id


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"/{KEY}",
        f"{KEY}/",
        f"{KEY}\n",
        f" {KEY}",
        KEY.upper(),
        KEY.replace("image", "sound"),
        KEY.replace("image/", "image/../image/"),
        KEY.replace("2026", "\uff12\uff10\uff12\uff16"),
        KEY.replace("2026/03", "2026-03"),
        KEY[:-1],
        f"{KEY}0",
        ".traffic-storage",
    ],
)
def test_nothing_else_is_a_key(text: str) -> None:
    assert not is_blob_key(BlobKey(text))
