"""What every BlobStore promises."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, date, datetime
from functools import partial
from typing import ClassVar

import attrs
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, rule

from traffic_storage.adapters.blob_store.memory import InMemoryBlobStore
from traffic_storage.adapters.clock.system import SystemClock
from traffic_storage.domain.digests import SEGMENT_BYTES, Digests, digests_of
from traffic_storage.domain.errors import InvalidInput, TrafficStorageError
from traffic_storage.domain.files import BlobKey, FileKind
from traffic_storage.domain.verification import Span
from traffic_storage.entrypoints.testing.blobs import (
    NEVER,
    Blob,
    blob_with_sidecar,
    new_blob,
    random_blob,
)
from traffic_storage.entrypoints.testing.faults.blob_store import Damage, damaged, tamper
from traffic_storage.ports.blob_store import BlobStore, closing, is_empty
from traffic_storage.ports.errors import (
    BlobConflict,
    BlobCorrupt,
    BlobMissing,
    DeadlinePassed,
)
from traffic_storage.ports.spool import MemoryBody

MIB = SEGMENT_BYTES
SIZES = [0, 1, 200_000, 4 * MIB, 4 * MIB + 1, 9 * MIB + 17]
PAST = datetime(2000, 1, 1, tzinfo=UTC)
MAX_CHUNK_BYTES = 4 * MIB
NO_KEYS = [
    "",
    "/",
    "../outside",
    "/etc/passwd",
    ".traffic-storage",
    "image/2025/11/01",
    "image/2025/11/01/../../../../outside",
    "image/2025/11/01/short-0f",
    "other/2025/11/01/01890a5d-ac96-774b-bcce-b302099a8057-" + "0" * 64,
    "image/2025/11/01/01890a5d-ac96-774b-bcce-b302099a8057-" + "0" * 64 + "\n",
    "image/2025/11/01/01890a5d-ac96-774b-bcce-b302099a8057-" + "Z" * 64,
]


async def stored(store: BlobStore, blob: Blob, deadline: datetime = NEVER) -> Blob:
    """Put a blob, and hand it back."""
    await store.put(blob.key, blob.body, blob.manifest, deadline=deadline)
    return blob


async def opened(
    store: BlobStore,
    key: BlobKey,
    digests: Digests,
    span: Span,
    given: list[bytes] | None = None,
) -> bytes:
    """All bytes that `open` gives, noted in `given` too; each chunk is as promised."""
    chunks = [] if given is None else given
    async with closing(store.open(key, digests, span)) as stream:
        async for chunk in stream:
            assert 0 < len(chunk) <= MAX_CHUNK_BYTES
            chunks.append(chunk)
    return b"".join(chunks)


async def keys_of(store: BlobStore, prefix: str = "", after: str = "") -> Sequence[str]:
    """The keys that `list` shows."""
    return [entry.key async for entry in store.list(prefix, after)]


async def is_there(store: BlobStore, blob: Blob) -> bool:
    """Whether a blob is there; one that is, is whole."""
    try:
        assert await store.read(blob.key, blob.digests) == blob.data
    except BlobMissing:
        return False
    return True


@pytest.mark.asyncio
class BlobStoreContract:
    """Inherit, and give an async fixture `store`: empty, without a marker, by the real time.

    It is closed by the fixture. If the adapter is not one of ours, override `tamper`. A whole
    example is `examples/sqlite_store`.
    """

    async def tamper(self, store: BlobStore, key: BlobKey, how: Damage, at: int = 0) -> None:
        """Do to a blob where it lies what `damaged` does to bytes, behind the adapter's back.

        Its manifest stay, unless it is removed.
        """
        await tamper(store, key, how, at=at)

    @pytest.mark.parametrize("size", SIZES)
    async def test_what_was_put_is_read(self, store: BlobStore, size: int) -> None:
        """read: "The whole blob"; put: "Returns when bytes and manifest are durable, whole"."""
        blob = await stored(store, random_blob(size))
        assert await store.read(blob.key, blob.digests) == blob.data

    @pytest.mark.parametrize("size", SIZES)
    async def test_what_was_spooled_is_read(self, store: BlobStore, size: int) -> None:
        """A body in a file is put as one in memory is."""
        blob = random_blob(size)
        with blob.spooled() as body:
            await store.put(blob.key, body, blob.manifest, deadline=NEVER)
        assert await store.read(blob.key, blob.digests) == blob.data
        assert (await store.head(blob.key)).manifest == blob.manifest

    async def test_one_body_under_two_keys_is_two_blobs(self, store: BlobStore) -> None:
        """Blobs share nothing: deleting or damaging one leaves the other."""
        one = random_blob(5 * MIB)
        other = new_blob(one.data)
        with one.spooled() as body:
            await store.put(one.key, body, one.manifest, deadline=NEVER)
            await store.put(other.key, body, other.manifest, deadline=NEVER)
        await self.tamper(store, one.key, Damage.FLIP)
        assert await store.read(other.key, other.digests) == other.data
        assert (await store.head(one.key)).manifest == one.manifest
        assert (await store.head(other.key)).manifest == other.manifest

    @pytest.mark.parametrize(
        "metadata",
        [
            None,
            '{"sitio":"Cruce Ñandú 速度 🚦"}',
            '{"note":"' + "long " * 250 + '"}',
            '{"note":"' + "long " * 1250 + '"}',
            '{"sitio":"' + os.urandom(3000).hex() + '速度 🚦"}',
            '{"note":"' + os.urandom(MIB // 2 - 6).hex() + '"}',
        ],
        ids=["none", "unicode", "long", "packed", "sidecar", "sidecar of 1 MiB"],
    )
    async def test_the_manifest_comes_back(self, store: BlobStore, metadata: str | None) -> None:
        """head: "Size and manifest of a blob"."""
        blob = await stored(store, new_blob(b"evidence", metadata=metadata))
        head = await store.head(blob.key)
        assert (head.size_bytes, head.manifest) == (len(blob.data), blob.manifest)
        with blob.spooled() as body:
            again = new_blob(b"evidence", metadata=metadata)
            await store.put(again.key, body, again.manifest, deadline=NEVER)
        assert (await store.head(again.key)).manifest == again.manifest
        assert await keys_of(store) == sorted([blob.key, again.key])

    @pytest.mark.parametrize("first", [blob_with_sidecar, partial(new_blob, b"1")])
    @pytest.mark.parametrize("second", [blob_with_sidecar, partial(new_blob, b"1")])
    async def test_a_blob_keeps_its_manifest(
        self, store: BlobStore, first: Callable[[], Blob], second: Callable[[], Blob]
    ) -> None:
        """put: "keeps its manifest"; delete: "Remove a blob and its sidecar"."""
        blob = await stored(store, first())
        other = attrs.evolve(blob, manifest=second().manifest)
        await stored(store, other)
        assert (await store.head(blob.key)).manifest == blob.manifest
        await store.delete(blob.key)
        await stored(store, other)
        assert (await store.head(blob.key)).manifest == other.manifest

    async def test_what_was_not_published_leaves_no_manifest(self, store: BlobStore) -> None:
        """put: "nothing was published"; its manifest neither."""
        blob, other = blob_with_sidecar(), blob_with_sidecar()
        cut = MemoryBody(blob.data[:-1], blob.digests)
        with pytest.raises(BlobCorrupt):
            await store.put(blob.key, cut, other.manifest, deadline=NEVER)
        with pytest.raises(DeadlinePassed):
            await store.put(blob.key, blob.body, other.manifest, deadline=PAST)
        assert await keys_of(store) == []
        await stored(store, blob)
        assert (await store.head(blob.key)).manifest == blob.manifest

    async def test_the_same_again_counts_as_written(self, store: BlobStore) -> None:
        """put: "A blob with the same bytes that is there already … counts as written"."""
        for size in (10, 9 * MIB):
            blob = await stored(store, random_blob(size))
            await stored(store, blob)
            assert await store.read(blob.key, blob.digests) == blob.data
            with blob.spooled() as body:
                await store.put(blob.key, body, blob.manifest, deadline=NEVER)
            assert await store.read(blob.key, blob.digests) == blob.data

    async def test_nothing_that_exists_is_changed(self, store: BlobStore) -> None:
        """put: "Create-only: nothing that exists is ever changed"; BlobConflict."""
        for size in (10, 9 * MIB):
            first = await stored(store, random_blob(size))
            for other in (random_blob(size), random_blob(size + 1)):
                with pytest.raises(BlobConflict):
                    await store.put(first.key, other.body, other.manifest, deadline=NEVER)
                with other.spooled() as body, pytest.raises(BlobConflict):
                    await store.put(first.key, body, other.manifest, deadline=NEVER)
            assert await store.read(first.key, first.digests) == first.data
            assert (await store.head(first.key)).manifest == first.manifest

    async def test_nothing_is_published_after_its_deadline(self, store: BlobStore) -> None:
        """put: "DeadlinePassed: not published before `deadline`"; "before all other answers"."""
        for size in (10, 9 * MIB):
            blob = random_blob(size)
            with pytest.raises(DeadlinePassed):
                await store.put(blob.key, blob.body, blob.manifest, deadline=PAST)
            assert not await is_there(store, blob)
        assert await is_empty(store)
        there = await stored(store, random_blob(10))
        with pytest.raises(DeadlinePassed):
            await store.put(there.key, there.body, there.manifest, deadline=PAST)
        assert await is_there(store, there)

    async def test_half_a_body_is_never_visible(self, store: BlobStore) -> None:
        """put: "BlobCorrupt: the body is shorter or longer than its digests say"."""
        for size in (1000, 9 * MIB):
            blob = random_blob(size)
            for wrong in (blob.data[: size // 2], blob.data + b"x"):
                with pytest.raises(BlobCorrupt):
                    await store.put(
                        blob.key, MemoryBody(wrong, blob.digests), blob.manifest, deadline=NEVER
                    )
            with blob.spooled() as body:
                os.ftruncate(body.fd, size // 2)
                with pytest.raises(BlobCorrupt):
                    await store.put(blob.key, body, blob.manifest, deadline=NEVER)
            assert not await is_there(store, blob)
        assert await is_empty(store)

    async def test_what_is_not_there_is_missing(self, store: BlobStore) -> None:
        """read, open, head: "BlobMissing: no such blob"."""
        for blob in (random_blob(10), random_blob(5 * MIB)):
            with pytest.raises(BlobMissing):
                await store.read(blob.key, blob.digests)
            with pytest.raises(BlobMissing):
                await store.head(blob.key)
            for stop in (0, 1):
                with pytest.raises(BlobMissing):
                    await opened(store, blob.key, blob.digests, Span(0, stop))

    @pytest.mark.parametrize("size", [10, 5 * MIB])
    async def test_other_digests_than_recorded_are_found(self, store: BlobStore, size: int) -> None:
        """read: "BlobCorrupt: other size or digest; no byte is given"."""
        blob = await stored(store, random_blob(size))
        for expected in (random_blob(size).digests, random_blob(size + 1).digests):
            with pytest.raises(BlobCorrupt):
                await store.read(blob.key, expected)
            with pytest.raises(BlobCorrupt):
                await opened(store, blob.key, expected, Span(0, size))
        assert await store.read(blob.key, blob.digests) == blob.data

    @pytest.mark.parametrize("size", [10, 200_000, 5 * MIB])
    async def test_damage_is_found(self, store: BlobStore, size: int) -> None:
        """read: "checked against `digests`"; "no byte is given"."""
        for how in (Damage.FLIP, Damage.TRUNCATE, Damage.EXTEND):
            blob = await stored(store, random_blob(size))
            await self.tamper(store, blob.key, how, size - 1)
            with pytest.raises(BlobCorrupt):
                await store.read(blob.key, blob.digests)
            with pytest.raises(BlobCorrupt):
                await opened(store, blob.key, blob.digests, Span(0, size))

    @pytest.mark.parametrize("left", [0, 1, 4 * MIB])
    async def test_bytes_behind_a_lost_end_are_damage(self, store: BlobStore, left: int) -> None:
        """open: "checked"; a store that answers so is not away, however often it does."""
        blob, other = await stored(store, random_blob(6 * MIB)), random_blob(10)
        await self.tamper(store, blob.key, Damage.TRUNCATE, left)
        for start in (0, 4 * MIB, 5 * MIB, 5 * MIB + 1, 6 * MIB - 1):
            with pytest.raises(BlobCorrupt):
                await opened(store, blob.key, blob.digests, Span(start, 6 * MIB))
        await stored(store, other)
        assert await store.read(other.key, other.digests) == other.data

    @pytest.mark.parametrize("size", SIZES)
    async def test_what_lies_there_is_measured(self, store: BlobStore, size: int) -> None:
        """measure: "The digests of the bytes that this store holds"; verify: "Check all bytes"."""
        blob = await stored(store, random_blob(size))
        assert await store.measure(blob.key) == blob.digests
        await store.verify(blob.key, blob.digests)
        other = digests_of(bytes(byte ^ 1 for byte in blob.data[:1]) + blob.data[1:] or b"more")
        for expected in (random_blob(size + 1).digests, other):
            with pytest.raises(BlobCorrupt):
                await store.verify(blob.key, expected)

    @pytest.mark.parametrize("size", [10, 5 * MIB])
    async def test_damage_is_measured(self, store: BlobStore, size: int) -> None:
        """measure: "whatever was recorded"; verify: "BlobCorrupt: other size or digest"."""
        for how in (Damage.FLIP, Damage.TRUNCATE, Damage.EXTEND):
            blob = await stored(store, random_blob(size))
            assert await store.read(blob.key, blob.digests) == blob.data
            await self.tamper(store, blob.key, how, size - 1)
            changed = damaged(blob.data, how, size - 1)
            assert changed is not None
            assert await store.measure(blob.key) == digests_of(changed)
            with pytest.raises(BlobCorrupt):
                await store.verify(blob.key, blob.digests)
        lost = await stored(store, random_blob(size))
        await self.tamper(store, lost.key, Damage.REMOVE)
        with pytest.raises(BlobMissing):
            await store.measure(lost.key)
        with pytest.raises(BlobMissing):
            await store.verify(lost.key, lost.digests)

    async def test_loss_is_found(self, store: BlobStore) -> None:
        """read: "BlobMissing: no such blob"."""
        for size in (10, 5 * MIB):
            blob = await stored(store, random_blob(size))
            await self.tamper(store, blob.key, Damage.REMOVE)
            with pytest.raises(BlobMissing):
                await store.read(blob.key, blob.digests)
            with pytest.raises(BlobMissing):
                await opened(store, blob.key, blob.digests, Span(0, size))

    async def test_spans_of_a_small_blob(self, store: BlobStore) -> None:
        """open: "The bytes of `span`, in order", of a blob "without segment digests"."""
        for size in (0, 1, 200_000, 4 * MIB):
            blob = await stored(store, random_blob(size))
            for start in {0, size // 3, size}:
                for stop in {start, min(start + 1, size), size}:
                    given = await opened(store, blob.key, blob.digests, Span(start, stop))
                    assert given == blob.data[start:stop]

    @pytest.mark.parametrize("size", [4 * MIB + 1, 9 * MIB + 17])
    async def test_spans_of_a_large_blob(self, store: BlobStore, size: int) -> None:
        """open: "one with them segment by segment", at and around every border."""
        blob = await stored(store, random_blob(size))
        spans = [
            *((0, 0), (0, 1), (0, MIB), (0, MIB + 1), (1, MIB), (MIB - 1, MIB + 1)),
            *((MIB, 2 * MIB), (MIB + 1, 3 * MIB - 1), (4 * MIB, size), (size - 1, size)),
            *((size, size), (0, size), (1, size - 1)),
        ]
        for start, stop in spans:
            span = Span(start, stop)
            assert await opened(store, blob.key, blob.digests, span) == blob.data[start:stop]

    async def test_a_span_beyond_the_end_is_refused(self, store: BlobStore) -> None:
        """open: "InvalidInput: `span.stop` exceeds `digests.size_bytes`"."""
        for size in (10, 5 * MIB):
            blob = await stored(store, random_blob(size))
            with pytest.raises(InvalidInput):
                await opened(store, blob.key, blob.digests, Span(0, size + 1))

    async def test_only_the_segments_of_a_span_are_checked(self, store: BlobStore) -> None:
        """open: "segment by segment (1 MiB), only those that `span` touches"."""
        blob = await stored(store, random_blob(6 * MIB))
        await self.tamper(store, blob.key, Damage.FLIP, 2 * MIB + 5)
        for start, stop in ((0, 2 * MIB), (3 * MIB, 6 * MIB)):
            span = Span(start, stop)
            assert await opened(store, blob.key, blob.digests, span) == blob.data[start:stop]
        with pytest.raises(BlobCorrupt):
            await opened(store, blob.key, blob.digests, Span(2 * MIB, 2 * MIB + 1))

    async def test_bytes_before_the_damage_are_given_and_right(self, store: BlobStore) -> None:
        """open: "bytes given before stay right"; not one of the damaged segment is given."""
        blob = await stored(store, random_blob(6 * MIB))
        await self.tamper(store, blob.key, Damage.FLIP, 4 * MIB + 5)
        given: list[bytes] = []
        with pytest.raises(BlobCorrupt):
            await opened(store, blob.key, blob.digests, Span(0, 6 * MIB), given)
        assert b"".join(given) == blob.data[: 4 * MIB]

    async def test_a_stream_may_be_left_early(self, store: BlobStore) -> None:
        """open: "Closing the iterator early frees everything at once"."""
        blob = await stored(store, random_blob(9 * MIB))
        for _ in range(10):
            async with closing(store.open(blob.key, blob.digests, Span(0, 9 * MIB))) as stream:
                async for chunk in stream:
                    assert blob.data.startswith(chunk)
                    break
        assert await store.read(blob.key, blob.digests) == blob.data

    async def test_streams_do_not_disturb_each_other(self, store: BlobStore) -> None:
        """Any number of readers of any blobs at once each get their own bytes."""
        blobs = [await stored(store, random_blob(5 * MIB + extra)) for extra in range(3)]
        found = await asyncio.gather(
            *(
                opened(store, blob.key, blob.digests, Span(0, blob.digests.size_bytes))
                for blob in blobs * 2
            )
        )
        assert found == [blob.data for blob in blobs * 2]

    async def test_what_was_deleted_is_missing(self, store: BlobStore) -> None:
        """delete: "Remove a blob, durably. One that is not there is a success"."""
        kept, deleted = await stored(store, random_blob(10)), await stored(store, random_blob(10))
        for _ in range(2):
            await store.delete(deleted.key)
            assert not await is_there(store, deleted)
            assert await keys_of(store) == [kept.key]
        await store.delete(random_blob(1).key)
        await store.delete(random_blob(1, kind=FileKind.VIDEO, day=date(1999, 1, 1)).key)
        assert await is_there(store, kept)

    async def test_the_listing_is_in_order(self, store: BlobStore) -> None:
        """list: "In ascending order of key (code points)"; each "exactly once"."""
        blobs = [
            await stored(store, random_blob(size, kind=kind, day=date(year, month, 9)))
            for kind in FileKind
            for year in (2024, 2025)
            for month in (2, 10)
            for size in (0, 3)
        ]
        entries = [entry async for entry in store.list()]
        expected = sorted(blobs, key=lambda blob: blob.key)
        assert [entry.key for entry in entries] == [blob.key for blob in expected]
        assert [entry.size_bytes for entry in entries] == [len(blob.data) for blob in expected]
        now = datetime.now(UTC)
        assert all(abs((entry.modified_at - now).total_seconds()) < 600 for entry in entries)

    async def test_the_listing_can_be_narrowed_and_taken_up_again(self, store: BlobStore) -> None:
        """list: "whose key begins with `prefix` and is greater than `after`"."""
        for kind in FileKind:
            for day in (1, 2, 12):
                await stored(store, random_blob(1, kind=kind, day=date(2025, 11, day)))
        every = await keys_of(store)
        prefixes = [
            *("", "i", "image", "image/", "image/2025/1", "video/2025/11/", "video/2025/11/1"),
            *(every[4], every[4][:-1], "image/2026", "x", "image/../image", "image//", "~"),
        ]
        places = ["", every[0], every[4], "image", "image/2025/11/02", "metadata/", "zz"]
        for prefix in prefixes:
            for after in places:
                expected = [key for key in every if key.startswith(prefix) and key > after]
                assert await keys_of(store, prefix, after) == expected

    async def test_the_listing_is_of_what_was_there(self, store: BlobStore) -> None:
        """list: "written or deleted meanwhile may be missed or shown; any other" once."""
        stay = {(await stored(store, random_blob(1))).key for _ in range(12)}
        go = [await stored(store, random_blob(1)) for _ in range(6)]
        shown = []
        async for entry in store.list():
            shown.append(entry.key)
            if go:
                await store.delete(go.pop().key)
                await stored(store, random_blob(1))
        assert len(shown) == len(set(shown))
        assert stay <= set(shown)

    async def test_an_empty_store_is_empty(self, store: BlobStore) -> None:
        """Nothing is listed where nothing is."""
        assert await keys_of(store) == []
        assert await is_empty(store)
        blob = await stored(store, random_blob(1))
        assert not await is_empty(store)
        await store.delete(blob.key)
        assert await is_empty(store)

    async def test_it_says_what_room_is_left(self, store: BlobStore) -> None:
        """room: "What the medium has left", as far as is known."""
        room = await store.room()
        assert room.free_bytes is None or room.free_bytes > 0
        assert room.total_bytes is None or room.total_bytes >= (room.free_bytes or 0)

    async def test_it_says_where_it_is(self, store: BlobStore) -> None:
        """location: "in words that stay the same"; unavailable_reason: "empty when it can" be used."""
        location, tier = store.location, store.tier
        await stored(store, random_blob(1))
        assert (store.location, store.tier) == (location, tier)
        assert location
        assert store.unavailable_reason() == ""

    async def test_what_is_no_key_is_refused(self, store: BlobStore) -> None:
        """Keys are made by `blob_key`; nothing else reaches a file system or a bucket."""
        blob = random_blob(1)
        calls: list[Callable[[BlobKey], Awaitable[object]]] = [
            lambda key: store.put(key, blob.body, blob.manifest, deadline=NEVER),
            lambda key: store.read(key, blob.digests),
            store.head,
            store.delete,
            lambda key: opened(store, key, blob.digests, Span(0, 1)),
        ]
        for text in NO_KEYS:
            for call in calls:
                with pytest.raises(InvalidInput):
                    await call(BlobKey(text))
        assert await is_empty(store)

    async def test_sixteen_at_once(self, store: BlobStore) -> None:
        """Concurrent calls do not mix."""
        blobs = [random_blob(1000 * number) for number in range(16)]
        await asyncio.gather(*(stored(store, blob) for blob in blobs))
        found = await asyncio.gather(*(store.read(blob.key, blob.digests) for blob in blobs))
        assert found == [blob.data for blob in blobs]
        assert await keys_of(store) == sorted(blob.key for blob in blobs)

    async def test_the_same_at_once_is_written_once(self, store: BlobStore) -> None:
        """put: the same bytes under one key by several is a success of all."""
        blob = random_blob(100_000)
        await asyncio.gather(*(stored(store, blob) for _ in range(4)))
        assert await store.read(blob.key, blob.digests) == blob.data
        assert await keys_of(store) == [blob.key]

    async def test_others_at_once_do_not_mix(self, store: BlobStore) -> None:
        """put: of several bytes under one key one is there, whole; the others are told."""
        blobs = [attrs.evolve(random_blob(100_000), key=random_blob(0).key) for _ in range(4)]
        blobs = [attrs.evolve(blob, key=blobs[0].key) for blob in blobs]
        outcomes = await asyncio.gather(
            *(stored(store, blob) for blob in blobs), return_exceptions=True
        )
        [won] = [outcome for outcome in outcomes if isinstance(outcome, Blob)]
        assert sum(isinstance(outcome, BlobConflict) for outcome in outcomes) == 3
        assert await store.read(won.key, won.digests) == won.data

    @pytest.mark.parametrize("size", [100_000, 9 * MIB])
    async def test_a_cancelled_put_has_ended(self, store: BlobStore, size: int) -> None:
        """put: "However a call ends … it has ended"; "may have published", never half."""
        for turns in (0, 1, 3, 9):
            blob = random_blob(size)
            with blob.spooled() as body:
                putting = asyncio.ensure_future(
                    store.put(blob.key, body, blob.manifest, deadline=NEVER)
                )
                for _ in range(turns):
                    await asyncio.sleep(0)
                putting.cancel()
                await asyncio.wait([putting])
            outcome = await is_there(store, blob)
            await stored(store, random_blob(10))
            assert await is_there(store, blob) is outcome
            await store.delete(blob.key)
            await stored(store, random_blob(10))
            assert not await is_there(store, blob)

    async def test_it_may_be_closed_twice(self, store: BlobStore) -> None:
        """aclose: "A second time does nothing"."""
        await stored(store, random_blob(10))
        await store.aclose()
        await store.aclose()


# By size, for a report of a failure prints what the rules were given.
_POOL = {size: random_blob(size) for size in (0, 1, 1000, MIB, 4 * MIB + 5)}
_PLACES = [(kind, date(2025, month, 9)) for kind in FileKind for month in (2, 10, 11)]


class BlobStoreMachine(RuleBasedStateMachine):
    """Any order of calls: an adapter and the in-memory one give the same answers and errors.

    Make a subclass whose `make`, a static or class method that is called on the machine's own
    event loop, gives an empty store by the real time. What it holds at the end is deleted, and it
    is closed. Run its `TestCase`, or, with fewer of the examples that cost time on a real medium,
    `hypothesis.stateful.run_state_machine_as_test(Machine, settings=…)`.
    """

    make: ClassVar[Callable[[], BlobStore]]

    blobs = Bundle("blobs")

    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self._store = self._runner.run(self._made())
        self._model = InMemoryBlobStore(SystemClock())

    @rule(
        target=blobs,
        size=st.sampled_from(list(_POOL)),
        place=st.sampled_from(_PLACES),
        spooled=st.booleans(),
    )
    def put(self, size: int, place: tuple[FileKind, date], spooled: bool) -> Blob:
        """Put a new blob."""
        kind, day = place
        blob = new_blob(_POOL[size].data, kind=kind, day=day)
        self._put(blob, spooled=spooled)
        return blob

    @rule(blob=blobs, spooled=st.booleans())
    def put_again(self, blob: Blob, spooled: bool) -> None:
        """Put the same, which may have been deleted meanwhile."""
        self._put(blob, spooled=spooled)

    @rule(blob=blobs, size=st.sampled_from(list(_POOL)))
    def put_other(self, blob: Blob, size: int) -> None:
        """Put what may be other bytes under a key that may be taken."""
        self._put(attrs.evolve(_POOL[size], key=blob.key, manifest=blob.manifest), spooled=False)

    @rule(blob=blobs)
    def put_late(self, blob: Blob) -> None:
        """Put after the deadline."""
        self._same(lambda store: store.put(blob.key, blob.body, blob.manifest, deadline=PAST))

    @rule(blob=blobs)
    def read(self, blob: Blob) -> None:
        """Read the whole; other bytes may be there."""
        self._same(lambda store: store.read(blob.key, blob.digests))

    @rule(blob=blobs, share=st.tuples(st.floats(0, 1), st.floats(0, 1)))
    def open(self, blob: Blob, share: tuple[float, float]) -> None:
        """Read a span."""
        start, stop = sorted(int(part * len(blob.data)) for part in share)
        self._same(lambda store: opened(store, blob.key, blob.digests, Span(start, stop)))

    @rule(blob=blobs)
    def head(self, blob: Blob) -> None:
        """Ask for size and manifest."""
        self._same(lambda store: store.head(blob.key))

    @rule(blob=blobs)
    def delete(self, blob: Blob) -> None:
        """Delete, perhaps again."""
        self._same(lambda store: store.delete(blob.key))

    @rule(blob=blobs, length=st.integers(0, 110), resumed=st.booleans())
    def list(self, blob: Blob, length: int, resumed: bool) -> None:
        """List by any beginning of a key, or after it."""
        text = blob.key[:length]
        prefix, after = ("", text) if resumed else (text, "")
        self._same(lambda store: keys_of(store, prefix, after))

    def teardown(self) -> None:
        """Empty and close the store, and its loop."""
        self._runner.run(self._ended())
        self._runner.close()

    def _put(self, blob: Blob, *, spooled: bool) -> None:
        with blob.spooled() as body:
            given = body if spooled else blob.body
            self._same(lambda store: store.put(blob.key, given, blob.manifest, deadline=NEVER))

    def _same(self, call: Callable[[BlobStore], Awaitable[object]]) -> None:
        expected, found = (
            self._runner.run(_outcome(call, store)) for store in (self._model, self._store)
        )
        assert found == expected, f"in memory: {expected!r:.200}; here: {found!r:.200}"

    async def _made(self) -> BlobStore:
        return type(self).make()

    async def _ended(self) -> None:
        for key in await keys_of(self._model):
            await self._store.delete(BlobKey(key))
        assert await is_empty(self._store)
        await self._store.aclose()


async def _outcome(call: Callable[[BlobStore], Awaitable[object]], store: BlobStore) -> object:
    """What a call gives, or the kind of its error."""
    try:
        return await call(store)
    except TrafficStorageError as error:
        return type(error)
