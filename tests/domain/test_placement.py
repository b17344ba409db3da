"""Placement: one place before the answer, never a wrong one, and why in words."""

from collections.abc import Callable

import pytest
from attrs import evolve
from hypothesis import example, given, settings
from hypothesis import strategies as st

from traffic_storage.domain.errors import StorageFull, StorageUnavailable
from traffic_storage.domain.files import FileKind, Tier
from traffic_storage.domain.identifiers import StoreId
from traffic_storage.domain.placement import (
    RESERVE_INODES,
    CloudRoute,
    Placement,
    StorageStrategy,
    StoreStatus,
    Thresholds,
    place,
    route,
)

MB = 1_000_000
STRATEGIES = st.sampled_from(StorageStrategy)
KINDS = st.sampled_from(FileKind)
# Few values, close together, so that every edge is met often.
AMOUNTS = st.integers(0, 12)
SIZES = st.integers(0, 8)
REASONS = st.sampled_from(["", "", "", "it is away"])


def statuses(tier: Tier) -> st.SearchStrategy[StoreStatus]:
    """A store of this tier in any state."""
    return st.builds(
        StoreStatus,
        store_id=st.just(StoreId(f"{tier}-1")),
        tier=st.just(tier),
        unavailable_reason=REASONS,
        full=REASONS,
        used_bytes=AMOUNTS,
        limit_bytes=st.none() | AMOUNTS,
        free_bytes=st.none() | AMOUNTS,
        reserve_bytes=st.integers(0, 4),
        free_inodes=st.none() | st.sampled_from([0, RESERVE_INODES - 1, RESERVE_INODES, 10**6]),
    )


LOCALS = statuses(Tier.LOCAL)
CLOUDS = statuses(Tier.CLOUD)
THRESHOLDS = st.builds(
    Thresholds,
    high_water=st.floats(0, 1),
    large_bytes=SIZES,
    hybrid_local_kinds=st.frozensets(KINDS),
    cache_item_bytes=SIZES,
)
GOOD_LOCAL = StoreStatus(StoreId("local-1"), Tier.LOCAL, limit_bytes=100 * MB)
GOOD_CLOUD = StoreStatus(StoreId("cloud-1"), Tier.CLOUD)
USUAL = Thresholds()


def anything(test: Callable[..., None]) -> Callable[..., None]:
    """Run a test on every situation that can be thought of."""
    situations = given(
        strategy=STRATEGIES,
        kind=KINDS,
        size=SIZES,
        local=st.none() | LOCALS,
        cloud=st.none() | CLOUDS,
        thresholds=THRESHOLDS,
    )
    return settings(max_examples=150)(situations(test))


def may_be_written(store: StoreStatus, size: int) -> bool:
    """By the rules, spelt out once more: the oracle."""
    if store.unavailable_reason or store.full:
        return False
    if store.limit_bytes is not None and store.used_bytes + size > store.limit_bytes:
        return False
    if store.free_bytes is not None and store.free_bytes < store.reserve_bytes + size:
        return False
    return store.free_inodes is None or store.free_inodes >= RESERVE_INODES


def allowed(
    strategy: StorageStrategy, local: StoreStatus | None, cloud: StoreStatus | None
) -> list[StoreStatus]:
    """The places that evidence may lie in by the strategy's name."""
    stores = [
        local if strategy.needs_local else None,
        cloud if strategy.needs_cloud else None,
    ]
    return [store for store in stores if store is not None]


@anything
def test_some_place_exists_or_the_error_says_why(
    strategy: StorageStrategy,
    kind: FileKind,
    size: int,
    local: StoreStatus | None,
    cloud: StoreStatus | None,
    thresholds: Thresholds,
) -> None:
    stores = allowed(strategy, local, cloud)
    takers = [store for store in stores if may_be_written(store, size)]
    away = [store for store in stores if store.unavailable_reason]
    if takers:
        placement = place(strategy, kind, size, local=local, cloud=cloud, thresholds=thresholds)
        assert placement.first in takers
        return
    kind_of_error = StorageFull if stores and not away else StorageUnavailable
    with pytest.raises(kind_of_error) as caught:
        place(strategy, kind, size, local=local, cloud=cloud, thresholds=thresholds)
    assert all(store.tier in caught.value.message for store in stores)
    assert all(store.unavailable_reason in caught.value.message for store in away)
    assert caught.value.remedy


@anything
def test_the_decision_explains_itself_and_is_always_the_same(
    strategy: StorageStrategy,
    kind: FileKind,
    size: int,
    local: StoreStatus | None,
    cloud: StoreStatus | None,
    thresholds: Thresholds,
) -> None:
    def decide() -> Placement:
        return place(strategy, kind, size, local=local, cloud=cloud, thresholds=thresholds)

    try:
        placement = decide()
    except (StorageFull, StorageUnavailable):
        return
    assert decide() == placement
    assert placement.reason
    assert placement.decision.startswith(placement.first.tier)
    assert all(store.tier in placement.decision for store in placement.later)
    assert ("cached" in placement.decision) == placement.cached
    assert placement.cached <= (strategy is StorageStrategy.CLOUD_WITH_CACHE)
    # What is due later is a copy elsewhere: only HYBRID owes one, to the cloud.
    assert [store.tier for store in placement.later] in ([], [Tier.CLOUD])
    assert placement.first not in placement.later
    assert not placement.later or strategy is StorageStrategy.HYBRID


@anything
def test_a_fuller_local_disk_never_draws_an_item_back_from_the_cloud(
    strategy: StorageStrategy,
    kind: FileKind,
    size: int,
    local: StoreStatus | None,
    cloud: StoreStatus | None,
    thresholds: Thresholds,
) -> None:
    if local is None:
        return
    beyond_local = False
    for used in range(20):
        fuller = evolve(local, used_bytes=used)
        try:
            placement = place(
                strategy, kind, size, local=fuller, cloud=cloud, thresholds=thresholds
            )
        except (StorageFull, StorageUnavailable):
            beyond_local = True
            continue
        assert not (beyond_local and placement.first.tier is Tier.LOCAL)
        beyond_local = beyond_local or placement.first.tier is Tier.CLOUD


@given(STRATEGIES, KINDS, st.lists(st.integers(1, 5), max_size=30), st.integers(0, 40))
def test_item_after_item_no_limit_is_ever_exceeded(
    strategy: StorageStrategy, kind: FileKind, sizes: list[int], limit: int
) -> None:
    stores = {
        tier: StoreStatus(StoreId(tier), tier, limit_bytes=limit, free_bytes=50, reserve_bytes=20)
        for tier in Tier
    }
    for size in sizes:
        try:
            placement = place(
                strategy,
                kind,
                size,
                local=stores[Tier.LOCAL],
                cloud=stores[Tier.CLOUD],
                thresholds=Thresholds(large_bytes=3),
            )
        except StorageFull:
            continue
        tier = placement.first.tier
        taken = evolve(
            stores[tier],
            used_bytes=placement.first.used_bytes + size,
            free_bytes=(placement.first.free_bytes or 0) - size,
        )
        stores[tier] = taken
        assert taken.used_bytes <= limit
        assert taken.free_bytes is not None
        assert taken.free_bytes >= 20


def decided(
    strategy: StorageStrategy,
    kind: FileKind = FileKind.IMAGE,
    size: int = MB,
    *,
    local: StoreStatus | None = GOOD_LOCAL,
    cloud: StoreStatus | None = GOOD_CLOUD,
    thresholds: Thresholds = USUAL,
) -> Placement:
    return place(strategy, kind, size, local=local, cloud=cloud, thresholds=thresholds)


def test_local_only_and_cloud_only_do_what_they_say() -> None:
    assert decided(StorageStrategy.LOCAL_ONLY).decision == "local"
    assert decided(StorageStrategy.CLOUD_ONLY).decision == "cloud"
    away = evolve(GOOD_CLOUD, unavailable_reason="the bucket does not answer")
    with pytest.raises(StorageUnavailable, match="cloud: the bucket does not answer"):
        decided(StorageStrategy.CLOUD_ONLY, cloud=away)
    with pytest.raises(StorageUnavailable, match="none is configured"):
        decided(StorageStrategy.CLOUD_ONLY, cloud=None)
    full = evolve(GOOD_LOCAL, used_bytes=100 * MB)
    with pytest.raises(
        StorageFull, match="no store has space for 1000000 bytes: local: its limit of 1000000"
    ):
        decided(StorageStrategy.LOCAL_ONLY, local=full)


def test_local_then_cloud_goes_to_the_cloud_above_the_high_water_mark() -> None:
    def with_used(used: int, cloud: StoreStatus = GOOD_CLOUD) -> Placement:
        local = evolve(GOOD_LOCAL, used_bytes=used)
        return decided(StorageStrategy.LOCAL_THEN_CLOUD, local=local, cloud=cloud)

    assert with_used(84 * MB).decision == "local"
    assert with_used(84 * MB).reason == "local disk is below its high-water mark of 85%"
    above = with_used(84 * MB + 1)
    assert (above.decision, above.later) == ("cloud", ())
    assert above.reason == "local disk is above its high-water mark of 85%"
    away = evolve(GOOD_CLOUD, unavailable_reason="it is away")
    fallback = with_used(90 * MB, cloud=away)
    assert fallback.decision == "local"
    assert "cloud is unavailable or full" in fallback.reason
    with pytest.raises(StorageUnavailable, match=r"cloud: it is away; local: its limit"):
        with_used(100 * MB, cloud=away)


def test_local_then_cloud_takes_the_cloud_when_the_medium_is_full_below_the_mark() -> None:
    short = evolve(GOOD_LOCAL, free_bytes=MB, reserve_bytes=MB)
    placement = decided(StorageStrategy.LOCAL_THEN_CLOUD, local=short)
    assert (placement.decision, placement.reason) == ("cloud", "local disk is unavailable or full")


def test_cloud_with_cache_caches_what_is_small_enough() -> None:
    small = decided(StorageStrategy.CLOUD_WITH_CACHE, size=USUAL.cache_item_bytes)
    large = decided(StorageStrategy.CLOUD_WITH_CACHE, size=USUAL.cache_item_bytes + 1)
    assert (small.decision, large.decision) == ("cloud, cached", "cloud")
    assert "too large" in large.reason


@pytest.mark.parametrize(
    ("kind", "size", "decision", "why"),
    [
        (FileKind.IMAGE, MB, "local, then cloud", "image files are stored on local disk first"),
        (
            FileKind.METADATA,
            1,
            "local, then cloud",
            "metadata files are stored on local disk first",
        ),
        (FileKind.IMAGE, USUAL.large_bytes, "local, then cloud", "image files are stored on local"),
        (FileKind.IMAGE, USUAL.large_bytes + 1, "cloud", "files above 16777216 bytes are"),
        (FileKind.VIDEO, 1, "cloud", "video files are stored in the cloud"),
    ],
)
def test_hybrid_decides_by_kind_and_size(
    kind: FileKind, size: int, decision: str, why: str
) -> None:
    placement = decided(StorageStrategy.HYBRID, kind, size)
    assert placement.decision == decision
    assert placement.reason.startswith(why)


@pytest.mark.parametrize("kind", FileKind)
def test_hybrid_keeps_all_local_while_the_cloud_is_down_and_says_so(kind: FileKind) -> None:
    away = evolve(GOOD_CLOUD, unavailable_reason="the bucket does not answer")
    placement = decided(StorageStrategy.HYBRID, kind, cloud=away)
    assert placement.first == GOOD_LOCAL
    assert placement.later == (away,)
    if kind is FileKind.VIDEO:
        assert placement.reason.endswith("cloud can't store this one: the bucket does not answer")


def test_hybrid_takes_the_cloud_when_local_disk_does_not_take_it() -> None:
    full = evolve(GOOD_LOCAL, full="the disk is full")
    placement = decided(StorageStrategy.HYBRID, local=full)
    assert (placement.first, placement.later) == (GOOD_CLOUD, ())
    assert placement.reason == "local disk is unavailable or full"
    with pytest.raises(StorageFull, match="local: the disk is full"):
        decided(StorageStrategy.HYBRID, local=full, cloud=None)
    with pytest.raises(StorageUnavailable, match=r"cloud: away; local: the disk is full"):
        decided(
            StorageStrategy.HYBRID, local=full, cloud=evolve(GOOD_CLOUD, unavailable_reason="away")
        )


def test_hybrid_without_a_cloud_says_that_there_is_none() -> None:
    placement = decided(StorageStrategy.HYBRID, FileKind.VIDEO, cloud=None)
    assert placement.first == GOOD_LOCAL
    assert placement.reason.endswith("not configured")


@given(LOCALS | CLOUDS, SIZES)
@example(GOOD_LOCAL, 0)
def test_a_store_takes_what_the_rules_allow(store: StoreStatus, size: int) -> None:
    assert store.takes(size) == may_be_written(store, size)
    assert bool(store.shortage(size)) == (
        not may_be_written(evolve(store, unavailable_reason=""), size)
    )


def test_a_store_without_a_limit_is_below_any_mark() -> None:
    assert evolve(GOOD_LOCAL, limit_bytes=None, used_bytes=10**15).below(0.0, 10**15)


ROUTES = [
    CloudRoute("madrid-*", StoreId("madrid")),
    CloudRoute("*-highway-[0-9]", StoreId("highways")),
    CloudRoute("madrid-highway-?", StoreId("never reached")),
]


@pytest.mark.parametrize(
    ("device", "store"),
    [
        ("madrid-1", "madrid"),
        ("madrid-highway-1", "madrid"),
        ("seville-highway-1", "highways"),
        ("seville-highway-10", "rest"),
        ("Madrid-1", "rest"),
        ("madrid", "rest"),
        ("", "rest"),
        (None, "rest"),
    ],
)
def test_the_first_route_that_matches_wins_and_the_rest_goes_to_the_rest(
    device: str | None, store: str
) -> None:
    assert route(device, ROUTES, StoreId("rest")) == store


@given(st.none() | st.text())
def test_a_route_for_all_devices_takes_every_device_that_is_named(device: str | None) -> None:
    every = [CloudRoute("*", StoreId("every"))]
    assert route(device, every, StoreId("rest")) == ("rest" if device is None else "every")
    assert route(device, [], StoreId("rest")) == "rest"


def test_strategies_know_what_they_need() -> None:
    assert [s for s in StorageStrategy if not s.needs_cloud] == [StorageStrategy.LOCAL_ONLY]
    assert {s for s in StorageStrategy if not s.needs_local} == {
        StorageStrategy.CLOUD_ONLY,
        StorageStrategy.CLOUD_WITH_CACHE,
    }
