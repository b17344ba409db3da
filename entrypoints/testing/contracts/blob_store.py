"""Tests of any adapter of the port `BlobStore`, which keeps the bytes of files."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack, suppress
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
from traffic_storage.domain.manifest import segments_digest
from traffic_storage.domain.verification import Span
from traffic_storage.entrypoints.testing.blobs import (
    NEVER,
    Blob,
    blob_with_sidecar,
    new_blob,
    random_blob,
)
from traffic_storage.entrypoints.testing.faults.blob_store import Damage, damaged, tamper
from traffic_storage.ports.blob_store import BlobStore, NewBlob, closing, is_empty
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
    """Put a blob, and return it."""
    await store.put(blob.key, blob.body, blob.manifest, deadline=deadline)
    return blob


async def opened(
    store: BlobStore,
    key: BlobKey,
    digests: Digests,
    span: Span,
    given: list[bytes] | None = None,
) -> bytes:
    """Return all bytes that `open` yields, checking chunk sizes; append the chunks to `given`."""
    chunks = [] if given is None else given
    async with closing(store.open(key, digests, span)) as stream:
        async for chunk in stream:
            assert 0 < len(chunk) <= MAX_CHUNK_BYTES
            chunks.append(chunk)
    return b"".join(chunks)


async def keys_of(store: BlobStore, prefix: str = "", after: str = "") -> Sequence[str]:
    """Return the keys that `list` yields."""
    return [entry.key async for entry in store.list(prefix, after)]


async def is_there(store: BlobStore, blob: Blob) -> bool:
    """Return whether a blob is there, and assert that it is complete if so."""
    try:
        assert await store.read(blob.key, blob.digests) == blob.data
    except BlobMissing:
        return False
    return True


@pytest.mark.asyncio
class BlobStoreContract:
    """Inherit from this class, and define an async fixture `store`.

    The store is empty, without an identification file (marker), and uses the system clock; the
    fixture closes it. Override `tamper` for an adapter that is not of this package.
    `examples/sqlite_store` is a complete example.
    """

    async def tamper(self, store: BlobStore, key: BlobKey, how: Damage, at: int = 0) -> None:
        """Damage a stored blob on its medium, bypassing the adapter, as `damaged` does.

        Keep its manifest, except for `Damage.REMOVE`.
        """
        await tamper(store, key, how, at=at)

    @pytest.mark.parametrize("size", SIZES)
    async def test_read_returns_the_bytes_of_put(self, store: BlobStore, size: int) -> None:
        """put, read: the bytes come back."""
        blob = await stored(store, random_blob(size))
        assert await store.read(blob.key, blob.digests) == blob.data

    @pytest.mark.parametrize("size", SIZES)
    async def test_a_spooled_body_is_stored(self, store: BlobStore, size: int) -> None:
        """put: accepts a body in a file like one in memory."""
        blob = random_blob(size)
        with blob.spooled() as body:
            await store.put(blob.key, body, blob.manifest, deadline=NEVER)
        assert await store.read(blob.key, blob.digests) == blob.data
        assert (await store.head(blob.key)).manifest == blob.manifest

    async def test_equal_blobs_under_two_keys_are_independent(self, store: BlobStore) -> None:
        """put: two blobs with equal bytes share nothing; damage to one does not affect the other."""
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
    async def test_head_returns_size_and_manifest(
        self, store: BlobStore, metadata: str | None
    ) -> None:
        """head: returns the size and the manifest, of any length."""
        blob = await stored(store, new_blob(b"evidence", metadata=metadata))
        head = await store.head(blob.key)
        assert (head.size_bytes, head.manifest) == (len(blob.data), blob.manifest)
        with blob.spooled() as body:
            again = new_blob(b"evidence", metadata=metadata)
            await store.put(again.key, body, again.manifest, deadline=NEVER)
        assert (await store.head(again.key)).manifest == again.manifest
        assert await keys_of(store) == sorted([blob.key, again.key])

    @pytest.mark.parametrize("count", [0, 1, 150])
    async def test_many_blobs_are_put_as_each(self, store: BlobStore, count: int) -> None:
        """put_all: bytes and manifests come back, of blobs in memory and in files, and of two days."""
        blobs = [new_blob(b"%d" % number) for number in range(count)]
        blobs += [blob_with_sidecar() for _ in range(min(count, 3))]
        with ExitStack() as bodies:
            spooled = [random_blob(200_000, day=date(2024, 2, 29)) for _ in range(min(count, 2))]
            new = [NewBlob(blob.key, blob.body, blob.manifest) for blob in blobs]
            new += [
                NewBlob(blob.key, bodies.enter_context(blob.spooled()), blob.manifest)
                for blob in spooled
            ]
            await store.put_all(new, deadline=NEVER)
        blobs += spooled
        for blob in blobs:
            assert await store.read(blob.key, blob.digests) == blob.data
            assert (await store.head(blob.key)).manifest == blob.manifest
        assert await keys_of(store) == sorted(blob.key for blob in blobs)

    async def test_many_blobs_may_be_put_again(self, store: BlobStore) -> None:
        """put_all: a blob that exists with the same bytes is left as it is."""
        blobs = [new_blob(b"%d" % number) for number in range(5)]
        await stored(store, blobs[2])
        other = [attrs.evolve(blob, manifest=new_blob(b"other").manifest) for blob in blobs]
        new = [NewBlob(blob.key, blob.body, blob.manifest) for blob in other]
        for _ in range(2):
            await store.put_all(new, deadline=NEVER)
        heads = [(await store.head(blob.key)).manifest for blob in blobs]
        expected = [one.manifest for one in other]
        expected[2] = blobs[2].manifest
        assert heads == expected

    async def test_many_blobs_too_late_are_not_put(self, store: BlobStore) -> None:
        """put_all: DeadlinePassed if the deadline has passed; nothing is published."""
        blobs = [*(new_blob(b"%d" % number) for number in range(3)), blob_with_sidecar()]
        new = [NewBlob(blob.key, blob.body, blob.manifest) for blob in blobs]
        with pytest.raises(DeadlinePassed):
            await store.put_all(new, deadline=PAST)
        assert await is_empty(store)

    async def test_many_blobs_change_none_that_exists(self, store: BlobStore) -> None:
        """put_all: BlobConflict if a key holds other bytes, which stay."""
        there, blobs = new_blob(b"there"), [new_blob(b"%d" % number) for number in range(3)]
        await stored(store, there)
        wrong = new_blob(b"wrong")
        new = [NewBlob(blob.key, blob.body, blob.manifest) for blob in blobs]
        new.insert(1, NewBlob(there.key, wrong.body, wrong.manifest))
        with pytest.raises(BlobConflict):
            await store.put_all(new, deadline=NEVER)
        assert await store.read(there.key, there.digests) == there.data

    async def test_heads_of_many_blobs_are_those_of_each(self, store: BlobStore) -> None:
        """heads: in the order of the keys, also of those that do not exist."""
        blobs = [await stored(store, new_blob(b"%d" % number)) for number in range(150)]
        absent = new_blob(b"absent")
        keys = [*(blob.key for blob in blobs[:70]), absent.key, *(b.key for b in blobs[70:])]
        found = await store.heads(keys)
        assert len(found) == len(keys)
        assert isinstance(found[70], BlobMissing)
        for key, head in zip(keys, found, strict=True):
            if key != absent.key:
                assert head == await store.head(key)
        assert await store.heads([]) == []

    @pytest.mark.parametrize("first", [blob_with_sidecar, partial(new_blob, b"1")])
    @pytest.mark.parametrize("second", [blob_with_sidecar, partial(new_blob, b"1")])
    async def test_a_blob_keeps_its_manifest(
        self, store: BlobStore, first: Callable[[], Blob], second: Callable[[], Blob]
    ) -> None:
        """put: an existing blob keeps its manifest.

        delete: removes the blob and the file or object with its long manifest (sidecar).
        """
        blob = await stored(store, first())
        other = attrs.evolve(blob, manifest=second().manifest)
        await stored(store, other)
        assert (await store.head(blob.key)).manifest == blob.manifest
        await store.delete(blob.key)
        await stored(store, other)
        assert (await store.head(blob.key)).manifest == other.manifest

    async def test_a_failed_put_leaves_no_manifest(self, store: BlobStore) -> None:
        """put: a call that fails publishes neither bytes nor manifest."""
        blob, other = blob_with_sidecar(), blob_with_sidecar()
        cut = MemoryBody(blob.data[:-1], blob.digests)
        with pytest.raises(BlobCorrupt):
            await store.put(blob.key, cut, other.manifest, deadline=NEVER)
        with pytest.raises(DeadlinePassed):
            await store.put(blob.key, blob.body, other.manifest, deadline=PAST)
        assert await keys_of(store) == []
        await stored(store, blob)
        assert (await store.head(blob.key)).manifest == blob.manifest

    async def test_put_of_the_same_bytes_succeeds_again(self, store: BlobStore) -> None:
        """put: succeeds if the key already holds the same bytes."""
        for size in (10, 9 * MIB):
            blob = await stored(store, random_blob(size))
            await stored(store, blob)
            assert await store.read(blob.key, blob.digests) == blob.data
            with blob.spooled() as body:
                await store.put(blob.key, body, blob.manifest, deadline=NEVER)
            assert await store.read(blob.key, blob.digests) == blob.data

    async def test_put_of_other_bytes_under_a_used_key_is_refused(self, store: BlobStore) -> None:
        """put: BlobConflict if the key holds other bytes; these and the manifest stay."""
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
        """put: DeadlinePassed if the deadline has passed, even if the key holds the same bytes."""
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

    async def test_a_body_of_the_wrong_size_is_not_published(self, store: BlobStore) -> None:
        """put: BlobCorrupt if the size of the body differs from its digests; publishes nothing."""
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

    async def test_an_absent_blob_is_missing(self, store: BlobStore) -> None:
        """read, open, head: BlobMissing if there is no such blob."""
        for blob in (random_blob(10), random_blob(5 * MIB)):
            with pytest.raises(BlobMissing):
                await store.read(blob.key, blob.digests)
            with pytest.raises(BlobMissing):
                await store.head(blob.key)
            for stop in (0, 1):
                with pytest.raises(BlobMissing):
                    await opened(store, blob.key, blob.digests, Span(0, stop))

    @pytest.mark.parametrize("size", [10, 5 * MIB])
    async def test_other_digests_than_expected_are_corrupt(
        self, store: BlobStore, size: int
    ) -> None:
        """read, open: BlobCorrupt if size or digests differ from the expected ones."""
        blob = await stored(store, random_blob(size))
        for expected in (random_blob(size).digests, random_blob(size + 1).digests):
            with pytest.raises(BlobCorrupt):
                await store.read(blob.key, expected)
            with pytest.raises(BlobCorrupt):
                await opened(store, blob.key, expected, Span(0, size))
        assert await store.read(blob.key, blob.digests) == blob.data

    @pytest.mark.parametrize("size", [10, 5 * MIB])
    async def test_a_key_that_names_another_digest_is_corrupt(
        self, store: BlobStore, size: int
    ) -> None:
        """read, open, verify, examine, lend: BlobCorrupt if the key names another digest."""
        key, blob = random_blob(size).key, random_blob(size)
        await store.put(key, blob.body, blob.manifest, deadline=NEVER)
        with pytest.raises(BlobCorrupt):
            await store.read(key, blob.digests)
        with pytest.raises(BlobCorrupt):
            await opened(store, key, blob.digests, Span(0, 1))
        with pytest.raises(BlobCorrupt):
            await store.verify(key, blob.digests)
        lent = None
        with suppress(BlobCorrupt):
            async with store.lend(key, blob.digests) as body:
                lent = body
        assert lent is None
        (examined,) = await store.examine([(key, blob.digests)])
        assert isinstance(examined.error, BlobCorrupt)

    @pytest.mark.parametrize(
        "metadata", [None, f'{{"note":"{"ab" * 3000}{os.urandom(3000).hex()}"}}']
    )
    async def test_a_manifest_that_states_other_digests_is_corrupt(
        self, store: BlobStore, metadata: str | None
    ) -> None:
        """open: BlobCorrupt if the manifest states another digest; None states nothing."""
        data = os.urandom(5 * MIB)
        for other, is_good in (
            ({"stored_sha256": "0" * 64}, False),
            ({"stored_size_bytes": 6 * MIB}, False),
            ({"segments_sha256": "0" * 64}, False),
            ({"segments_sha256": segments_digest(digests_of(data))}, True),
            ({"segments_sha256": None}, True),
        ):
            blob = new_blob(data, metadata=metadata)
            changed = attrs.evolve(blob.manifest, **other)
            await store.put(blob.key, blob.body, changed, deadline=NEVER)
            await store.forget(blob.key)
            for span in (Span(0, 5 * MIB), Span(MIB, MIB + 1), Span(0, 0)):
                if is_good:
                    got = await opened(store, blob.key, blob.digests, span)
                    assert got == data[span.start : span.stop]
                else:
                    with pytest.raises(BlobCorrupt):
                        await opened(store, blob.key, blob.digests, span)

    @pytest.mark.parametrize("size", [10, 200_000, 5 * MIB])
    async def test_a_read_of_damaged_bytes_is_refused(self, store: BlobStore, size: int) -> None:
        """read, open: BlobCorrupt if the stored bytes are damaged."""
        for how in (Damage.FLIP, Damage.TRUNCATE, Damage.EXTEND):
            blob = await stored(store, random_blob(size))
            await self.tamper(store, blob.key, how, size - 1)
            with pytest.raises(BlobCorrupt):
                await store.read(blob.key, blob.digests)
            with pytest.raises(BlobCorrupt):
                await opened(store, blob.key, blob.digests, Span(0, size))

    @pytest.mark.parametrize("left", [0, 1, 4 * MIB])
    async def test_a_span_in_a_lost_end_is_corrupt(self, store: BlobStore, left: int) -> None:
        """open: BlobCorrupt if the end is lost; repetitions do not make the store unavailable."""
        blob, other = await stored(store, random_blob(6 * MIB)), random_blob(10)
        await self.tamper(store, blob.key, Damage.TRUNCATE, left)
        for start in (0, 4 * MIB, 5 * MIB, 5 * MIB + 1, 6 * MIB - 1):
            with pytest.raises(BlobCorrupt):
                await opened(store, blob.key, blob.digests, Span(start, 6 * MIB))
        await stored(store, other)
        assert await store.read(other.key, other.digests) == other.data

    @pytest.mark.parametrize("size", SIZES)
    async def test_measure_returns_and_verify_compares_digests(
        self, store: BlobStore, size: int
    ) -> None:
        """measure: returns the digests of the stored bytes. verify: compares all bytes with them."""
        blob = await stored(store, random_blob(size))
        assert await store.measure(blob.key) == blob.digests
        await store.verify(blob.key, blob.digests)
        other = digests_of(bytes(byte ^ 1 for byte in blob.data[:1]) + blob.data[1:] or b"more")
        for expected in (random_blob(size + 1).digests, other):
            with pytest.raises(BlobCorrupt):
                await store.verify(blob.key, expected)

    @pytest.mark.parametrize("size", [10, 5 * MIB])
    async def test_measure_and_verify_after_damage_or_loss(
        self, store: BlobStore, size: int
    ) -> None:
        """measure: returns the digests of damaged bytes. verify: BlobCorrupt, or BlobMissing."""
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

    @pytest.mark.parametrize("size", [10, 5 * MIB])
    async def test_a_lent_blob_is_whole_until_it_is_returned(
        self, store: BlobStore, size: int
    ) -> None:
        """lend: an open file with the bytes, also after a delete; None in a store without files."""
        blob = await stored(store, random_blob(size))
        async with store.lend(blob.key, blob.digests) as body:
            await store.delete(blob.key)
            if body is not None:
                assert body.digests == blob.digests
                assert os.pread(body.fd, size + 1, 0) == blob.data
        if body is None:
            return
        for how in Damage:
            bad = await stored(store, random_blob(size))
            await self.tamper(store, bad.key, how, size - 1)
            with pytest.raises(BlobMissing if how is Damage.REMOVE else BlobCorrupt):
                async with store.lend(bad.key, bad.digests):
                    pass

    async def test_examine_verifies_each_blob_and_reads_its_manifest(
        self, store: BlobStore
    ) -> None:
        """examine: one result for each blob, in order; a bad blob does not stop the others."""
        blobs = [random_blob(1 + 7 * number) for number in range(150)]
        blobs += [random_blob(0), random_blob(5 * MIB), blob_with_sidecar()]
        await asyncio.gather(*(stored(store, blob) for blob in blobs))
        harm = {3: Damage.FLIP, 70: Damage.TRUNCATE, 71: Damage.EXTEND, 149: Damage.REMOVE}
        harm[151] = Damage.FLIP
        for place, how in harm.items():
            await self.tamper(store, blobs[place].key, how)
        found = await store.examine([(blob.key, blob.digests) for blob in blobs])
        assert len(found) == len(blobs)
        for place, (blob, one) in enumerate(zip(blobs, found, strict=True)):
            if place not in harm:
                assert (one.error, one.manifest) == (None, blob.manifest)
            else:
                is_lost = harm[place] is Damage.REMOVE
                assert isinstance(one.error, BlobMissing if is_lost else BlobCorrupt)
                assert one.manifest is None
        assert await store.examine([]) == []

    async def test_the_uncached_store_has_the_blobs(self, store: BlobStore) -> None:
        """uncached: the store itself, or what lies beneath its cache."""
        blob = await stored(store, random_blob(10))
        assert await store.uncached.read(blob.key, blob.digests) == blob.data
        await self.tamper(store, blob.key, Damage.FLIP)
        with pytest.raises(BlobCorrupt):
            await store.uncached.read(blob.key, blob.digests)

    async def test_a_lost_blob_is_missing(self, store: BlobStore) -> None:
        """read, open: BlobMissing if the blob is lost."""
        for size in (10, 5 * MIB):
            blob = await stored(store, random_blob(size))
            await self.tamper(store, blob.key, Damage.REMOVE)
            with pytest.raises(BlobMissing):
                await store.read(blob.key, blob.digests)
            with pytest.raises(BlobMissing):
                await opened(store, blob.key, blob.digests, Span(0, size))

    async def test_spans_of_a_small_blob(self, store: BlobStore) -> None:
        """open: yields the bytes of the span of a blob without segment digests."""
        for size in (0, 1, 200_000, 4 * MIB):
            blob = await stored(store, random_blob(size))
            for start in {0, size // 3, size}:
                for stop in {start, min(start + 1, size), size}:
                    given = await opened(store, blob.key, blob.digests, Span(start, stop))
                    assert given == blob.data[start:stop]

    @pytest.mark.parametrize("size", [4 * MIB + 1, 9 * MIB + 17])
    async def test_spans_of_a_large_blob(self, store: BlobStore, size: int) -> None:
        """open: yields the bytes of a span that begins or ends at or near a segment border."""
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
        """open: InvalidInput if `span.stop` exceeds `digests.size_bytes`."""
        for size in (10, 5 * MIB):
            blob = await stored(store, random_blob(size))
            with pytest.raises(InvalidInput):
                await opened(store, blob.key, blob.digests, Span(0, size + 1))

    async def test_only_the_segments_of_a_span_are_checked(self, store: BlobStore) -> None:
        """open: checks only the segments (1 MiB) that the span overlaps."""
        blob = await stored(store, random_blob(6 * MIB))
        await self.tamper(store, blob.key, Damage.FLIP, 2 * MIB + 5)
        for start, stop in ((0, 2 * MIB), (3 * MIB, 6 * MIB)):
            span = Span(start, stop)
            assert await opened(store, blob.key, blob.digests, span) == blob.data[start:stop]
        with pytest.raises(BlobCorrupt):
            await opened(store, blob.key, blob.digests, Span(2 * MIB, 2 * MIB + 1))

    async def test_what_was_read_before_is_checked_again(self, store: BlobStore) -> None:
        """open: each byte is checked before it is yielded, also if it was read before."""
        span = Span(MIB + MIB // 2, 2 * MIB + MIB // 2)
        for place in (span.start, 2 * MIB - 1, span.stop - 1):
            blob = await stored(store, random_blob(4 * MIB + 1))
            given = await opened(store, blob.key, blob.digests, span)
            assert given == blob.data[span.start : span.stop]
            await self.tamper(store, blob.key, Damage.FLIP, place)
            with pytest.raises(BlobCorrupt):
                await opened(store, blob.key, blob.digests, span)

    async def test_the_bytes_before_a_damaged_segment_are_correct(self, store: BlobStore) -> None:
        """open: yields the correct bytes before a damaged segment, and none of that segment."""
        blob = await stored(store, random_blob(6 * MIB))
        await self.tamper(store, blob.key, Damage.FLIP, 4 * MIB + 5)
        given: list[bytes] = []
        with pytest.raises(BlobCorrupt):
            await opened(store, blob.key, blob.digests, Span(0, 6 * MIB), given)
        assert b"".join(given) == blob.data[: 4 * MIB]

    async def test_a_stream_may_be_closed_early(self, store: BlobStore) -> None:
        """open: the iterator may be closed early."""
        blob = await stored(store, random_blob(9 * MIB))
        for _ in range(10):
            async with closing(store.open(blob.key, blob.digests, Span(0, 9 * MIB))) as stream:
                async for chunk in stream:
                    assert blob.data.startswith(chunk)
                    break
        assert await store.read(blob.key, blob.digests) == blob.data

    async def test_concurrent_streams_do_not_mix(self, store: BlobStore) -> None:
        """open: concurrent streams do not mix their bytes."""
        blobs = [await stored(store, random_blob(5 * MIB + extra)) for extra in range(3)]
        found = await asyncio.gather(
            *(
                opened(store, blob.key, blob.digests, Span(0, blob.digests.size_bytes))
                for blob in blobs * 2
            )
        )
        assert found == [blob.data for blob in blobs * 2]

    async def test_a_deleted_blob_is_missing(self, store: BlobStore) -> None:
        """delete: removes the blob; succeeds if there is no such blob."""
        kept, deleted = await stored(store, random_blob(10)), await stored(store, random_blob(10))
        for _ in range(2):
            assert not await store.delete(deleted.key)
            assert not await is_there(store, deleted)
            assert await keys_of(store) == [kept.key]
        await store.delete(random_blob(1).key)
        await store.delete(random_blob(1, kind=FileKind.VIDEO, day=date(1999, 1, 1)).key)
        assert await is_there(store, kept)

    async def test_the_listing_is_in_order_of_keys(self, store: BlobStore) -> None:
        """list: yields each blob once, in ascending order of key (code points)."""
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

    async def test_the_listing_is_limited_by_prefix_and_after(self, store: BlobStore) -> None:
        """list: yields the blobs whose key begins with `prefix` and is greater than `after`."""
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

    async def test_the_listing_has_each_unchanged_blob_once(self, store: BlobStore) -> None:
        """list: yields a blob once if it is neither written nor deleted during the listing."""
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

    async def test_the_listing_of_an_empty_store_is_empty(self, store: BlobStore) -> None:
        """list: an empty store yields nothing."""
        assert await keys_of(store) == []
        assert await is_empty(store)
        blob = await stored(store, random_blob(1))
        assert not await is_empty(store)
        await store.delete(blob.key)
        assert await is_empty(store)

    async def test_room_is_plausible(self, store: BlobStore) -> None:
        """room: the free and total bytes and the free inodes are each None or plausible."""
        room = await store.room()
        assert room.free_bytes is None or room.free_bytes > 0
        assert room.total_bytes is None or room.total_bytes >= (room.free_bytes or 0)

    async def test_location_and_tier_are_constant(self, store: BlobStore) -> None:
        """location, tier: constant and not empty. unavailable_reason: empty for a usable store."""
        location, tier = store.location, store.tier
        await stored(store, random_blob(1))
        assert (store.location, store.tier) == (location, tier)
        assert location
        assert store.unavailable_reason() == ""

    async def test_an_invalid_key_is_refused(self, store: BlobStore) -> None:
        """All methods with a key: InvalidInput for text that `blob_key` can't return."""
        blob = random_blob(1)
        calls: list[Callable[[BlobKey], Awaitable[object]]] = [
            lambda key: store.put(key, blob.body, blob.manifest, deadline=NEVER),
            lambda key: store.read(key, blob.digests),
            store.head,
            store.delete,
            lambda key: store.examine([(key, blob.digests)]),
            lambda key: opened(store, key, blob.digests, Span(0, 1)),
        ]
        for text in NO_KEYS:
            for call in calls:
                with pytest.raises(InvalidInput):
                    await call(BlobKey(text))
        assert await is_empty(store)

    async def test_sixteen_concurrent_puts_and_reads_do_not_mix(self, store: BlobStore) -> None:
        """put, read: concurrent calls do not mix their bytes."""
        blobs = [random_blob(1000 * number) for number in range(16)]
        await asyncio.gather(*(stored(store, blob) for blob in blobs))
        found = await asyncio.gather(*(store.read(blob.key, blob.digests) for blob in blobs))
        assert found == [blob.data for blob in blobs]
        assert await keys_of(store) == sorted(blob.key for blob in blobs)

    async def test_concurrent_puts_of_one_blob_succeed(self, store: BlobStore) -> None:
        """put: concurrent calls with the same key and bytes all succeed."""
        blob = random_blob(100_000)
        await asyncio.gather(*(stored(store, blob) for _ in range(4)))
        assert await store.read(blob.key, blob.digests) == blob.data
        assert await keys_of(store) == [blob.key]

    async def test_of_concurrent_puts_of_other_bytes_one_succeeds(self, store: BlobStore) -> None:
        """put: of concurrent calls with one key and different bytes, one succeeds.

        The others raise BlobConflict.
        """
        blobs = [attrs.evolve(random_blob(100_000), key=random_blob(0).key) for _ in range(4)]
        blobs = [attrs.evolve(blob, key=blobs[0].key) for blob in blobs]
        outcomes = await asyncio.gather(
            *(stored(store, blob) for blob in blobs), return_exceptions=True
        )
        [won] = [outcome for outcome in outcomes if isinstance(outcome, Blob)]
        assert sum(isinstance(outcome, BlobConflict) for outcome in outcomes) == 3
        assert await store.measure(won.key) == won.digests

    @pytest.mark.parametrize("size", [100_000, 9 * MIB])
    async def test_a_cancelled_put_is_complete_or_absent(self, store: BlobStore, size: int) -> None:
        """put: a cancelled call has published the whole blob or nothing, and does no more work."""
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
        """aclose: may be called twice."""
        await stored(store, random_blob(10))
        await store.aclose()
        await store.aclose()


# Rules draw the size instead of the blob, because Hypothesis prints the arguments of a failing run.
_POOL = {size: random_blob(size) for size in (0, 1, 1000, MIB, 4 * MIB + 5)}
_PLACES = [(kind, date(2025, month, 9)) for kind in FileKind for month in (2, 10, 11)]


class BlobStoreMachine(RuleBasedStateMachine):
    """Random sequences of calls: results and errors are those of the in-memory adapter.

    Define a subclass whose `make`, a static or class method, returns an empty store that uses the
    system clock. The machine calls `make` on its own event loop; at the end it deletes the blobs
    and closes the store. Run its `TestCase`, or
    `hypothesis.stateful.run_state_machine_as_test(Machine, settings=…)` for fewer examples on a slow
    medium.
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
        """Put the same blob again, perhaps after its deletion."""
        self._put(blob, spooled=spooled)

    @rule(blob=blobs, size=st.sampled_from(list(_POOL)))
    def put_other(self, blob: Blob, size: int) -> None:
        """Put the same or other bytes under a key that may be in use."""
        self._put(attrs.evolve(_POOL[size], key=blob.key, manifest=blob.manifest), spooled=False)

    @rule(blob=blobs)
    def put_late(self, blob: Blob) -> None:
        """Put a blob after the deadline of the call."""
        self._same(lambda store: store.put(blob.key, blob.body, blob.manifest, deadline=PAST))

    @rule(blob=blobs)
    def read(self, blob: Blob) -> None:
        """Read a blob; its key may hold other bytes."""
        self._same(lambda store: store.read(blob.key, blob.digests))

    @rule(blob=blobs, share=st.tuples(st.floats(0, 1), st.floats(0, 1)))
    def open(self, blob: Blob, share: tuple[float, float]) -> None:
        """Read a span."""
        start, stop = sorted(int(part * len(blob.data)) for part in share)
        self._same(lambda store: opened(store, blob.key, blob.digests, Span(start, stop)))

    @rule(blob=blobs)
    def head(self, blob: Blob) -> None:
        """Read size and manifest."""
        self._same(lambda store: store.head(blob.key))

    @rule(blob=blobs)
    def delete(self, blob: Blob) -> None:
        """Delete, perhaps again."""
        self._same(lambda store: store.delete(blob.key))

    @rule(blob=blobs, length=st.integers(0, 110), resumed=st.booleans())
    def list(self, blob: Blob, length: int, resumed: bool) -> None:
        """List with a part of a key as `prefix` or as `after`."""
        text = blob.key[:length]
        prefix, after = ("", text) if resumed else (text, "")
        self._same(lambda store: keys_of(store, prefix, after))

    def teardown(self) -> None:
        """Empty and close the store, and close the event loop."""
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
    """Return the result of a call, or the type of its error."""
    try:
        return await call(store)
    except TrafficStorageError as error:
        return type(error)
