"""Tests of any adapter of the port `StoreIdentity`: a store's identification file (marker)."""

import asyncio
from collections.abc import Awaitable

import pytest
from attrs import evolve

from traffic_storage.domain.identifiers import CatalogueId, Incarnation, StoreId
from traffic_storage.domain.identity import Marker
from traffic_storage.entrypoints.testing.blobs import random_blob
from traffic_storage.entrypoints.testing.contracts.blob_store import keys_of, stored
from traffic_storage.ports.blob_store import is_empty
from traffic_storage.ports.errors import BlobConflict
from traffic_storage.ports.store_identity import MarkedBlobStore

MARKER = Marker(CatalogueId("catalogue-1"), StoreId("store-1"), Incarnation("incarnation-0"))


def incarnation(number: int) -> Marker:
    """Return `MARKER` with another incarnation, a random id that a store renews regularly."""
    return evolve(MARKER, incarnation=Incarnation(f"incarnation-{number}"))


async def went(call: Awaitable[None]) -> bool:
    """Return True if a change of a store's marker succeeds, False if it raises `BlobConflict`."""
    try:
        await call
    except BlobConflict:
        return False
    return True


@pytest.mark.asyncio
class StoreIdentityContract:
    """Inherit together with `BlobStoreContract`; both use the fixture `store`.

    The tests check the marker, the small identification file at the root of a store. Set
    `compares_and_sets` to False if two concurrent replacements of the marker may both succeed.
    """

    compares_and_sets = True

    async def test_the_first_marker_is_created_once(self, store: MarkedBlobStore) -> None:
        """marker: returns None before the first `create_marker`, which may be repeated.

        A marker is the identification file of a store.
        """
        assert await store.marker() is None
        for _ in range(2):
            await store.create_marker(MARKER)
            assert await store.marker() == MARKER
        for other in (evolve(MARKER, store_id=StoreId("store-2")), incarnation(1)):
            with pytest.raises(BlobConflict):
                await store.create_marker(other)
        assert await store.marker() == MARKER

    async def test_of_concurrent_first_markers_one_is_created(self, store: MarkedBlobStore) -> None:
        """create_marker: of concurrent calls with different markers, one succeeds.

        A marker is the identification file of a store. The other calls raise BlobConflict.
        """
        markers = [incarnation(number) for number in range(8)]
        outcomes = await asyncio.gather(*(went(store.create_marker(one)) for one in markers))
        assert sum(outcomes) == 1
        assert await store.marker() == markers[outcomes.index(True)]

    async def test_a_marker_is_replaced(self, store: MarkedBlobStore) -> None:
        """replace_marker: replaces the store's identification file (marker).

        Succeeds too if the marker is `becomes` already.
        """
        await store.create_marker(MARKER)
        for number in range(1, 4):
            for _ in range(2):
                await store.replace_marker(incarnation(number - 1), incarnation(number))
                assert await store.marker() == incarnation(number)

    async def test_another_marker_is_not_replaced(self, store: MarkedBlobStore) -> None:
        """replace_marker: BlobConflict if the store's marker is neither `was` nor `becomes`.

        Also if the store has no marker (identification file).
        """
        with pytest.raises(BlobConflict):
            await store.replace_marker(MARKER, incarnation(1))
        assert await store.marker() is None
        await store.create_marker(incarnation(2))
        with pytest.raises(BlobConflict):
            await store.replace_marker(MARKER, incarnation(1))
        assert await store.marker() == incarnation(2)

    async def test_of_concurrent_replacements_one_succeeds(self, store: MarkedBlobStore) -> None:
        """replace_marker: of concurrent calls that expect the same marker, one succeeds.

        A marker is the identification file of a store.
        """
        if not self.compares_and_sets:
            return
        await store.create_marker(MARKER)
        markers = [incarnation(number) for number in range(1, 9)]
        outcomes = await asyncio.gather(
            *(went(store.replace_marker(MARKER, one)) for one in markers)
        )
        assert sum(outcomes) == 1
        assert await store.marker() == markers[outcomes.index(True)]

    async def test_the_marker_is_not_listed(self, store: MarkedBlobStore) -> None:
        """list: never yields the store's marker (identification file), which is not a blob."""
        await store.create_marker(MARKER)
        await store.replace_marker(MARKER, incarnation(1))
        assert await is_empty(store)
        blob = await stored(store, random_blob(10))
        assert await keys_of(store) == [blob.key]

    async def test_a_note_is_returned_as_it_was_written(self, store: MarkedBlobStore) -> None:
        """put_note, note: any text up to 4 MiB; None if there is none."""
        assert await store.note("000000000001") is None
        texts = {"000000000001": b"{}", "000000000002": bytes(range(256)) * 4096}
        for name, text in texts.items():
            await store.put_note(name, text)
        for name, text in texts.items():
            assert await store.note(name) == text
        assert await store.note("000000000003") is None

    async def test_a_note_is_written_once(self, store: MarkedBlobStore) -> None:
        """put_note: create-only; the same text succeeds, another one is a conflict."""
        for _ in range(2):
            await store.put_note("000000000001", b"first")
        with pytest.raises(BlobConflict):
            await store.put_note("000000000001", b"second")
        assert await store.note("000000000001") == b"first"

    async def test_of_concurrent_notes_one_is_written(self, store: MarkedBlobStore) -> None:
        """put_note: of concurrent calls with different texts, one succeeds."""
        texts = [b"%d" % number for number in range(8)]
        results = await asyncio.gather(*(went(store.put_note("000000000001", t)) for t in texts))
        assert results.count(True) == 1
        assert await store.note("000000000001") == texts[results.index(True)]

    async def test_notes_are_no_blobs(self, store: MarkedBlobStore) -> None:
        """put_note: a store with notes only has no blobs."""
        await store.put_note("000000000001", b"{}")
        assert await is_empty(store)
