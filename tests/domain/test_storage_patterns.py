"""Storage patterns: efficiency, expiry, days to full, costs, what-if, recommendations in words."""

from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from attrs import evolve

from traffic_storage.domain.duplicates import DuplicateGroup, DuplicateReport
from traffic_storage.domain.files import FileKind, StoredFile, Tier
from traffic_storage.domain.forecast import forecast
from traffic_storage.domain.identifiers import DeviceId, FileId, StoreId
from traffic_storage.domain.placement import StorageStrategy, Thresholds
from traffic_storage.domain.prices import Price, Prices
from traffic_storage.domain.storage_patterns import (
    DaysToFull,
    DevicePattern,
    Efficiency,
    FileSample,
    KindPattern,
    StorageOptions,
    StoragePatterns,
    StoreOutlook,
    Totals,
    age_patterns,
    efficiency_of,
    hot_share,
    retention_outlooks,
    strategy_outlooks,
    time_to_full,
    with_retention,
)
from traffic_storage.domain.usage import CatalogueUsage, DeviceUsage, FileUsage, StoreUsage
from traffic_storage.entrypoints.testing.contracts.record_repo import CLOUD, LOCAL
from traffic_storage.entrypoints.testing.units import NOON, new_file

DAY = timedelta(days=1)
GB = 10**9
NO_DUPLICATES = DuplicateReport(0, 0, ())
PRICES = Prices((Price(Tier.LOCAL, 0.5), Price(Tier.CLOUD, 0.1)), "EUR")
USAGE = CatalogueUsage(
    (
        StoreUsage(CLOUD.store_id, FileKind.VIDEO, 5, 60 * GB),
        StoreUsage(LOCAL.store_id, FileKind.IMAGE, 20, 40 * GB),
    ),
    (FileUsage(FileKind.IMAGE, 20, 40 * GB), FileUsage(FileKind.VIDEO, 5, 60 * GB)),
    7,
)
TOTALS = Totals(USAGE, {LOCAL.store_id: Tier.LOCAL, CLOUD.store_id: Tier.CLOUD}, PRICES)
THRESHOLDS = Thresholds(
    high_water=0.9,
    low_water=0.5,
    large_bytes=10**9,
    hybrid_local_kinds=frozenset({FileKind.IMAGE}),
    cache_item_bytes=10**6,
)
OPTIONS = StorageOptions(StorageStrategy.LOCAL_ONLY, THRESHOLDS, 60 * GB, PRICES)


def image(age_days: float, left_days: float, size: int = 1000) -> StoredFile:
    """An image in the local store of an age, whose retention ends in some days."""
    at = NOON - age_days * DAY
    return evolve(new_file(LOCAL, size_bytes=size, at=at), keep_until=NOON + left_days * DAY)


class TestEfficiency:
    def test_it_is_one_for_content_that_is_stored_once(self) -> None:
        kinds = (KindPattern(FileKind.IMAGE, 20, 40 * GB, 1.0), *KINDS[1:])
        assert efficiency_of(TOTALS, kinds, NO_DUPLICATES).value == 1.0

    def test_compression_raises_it_and_duplicates_and_copies_lower_it(self) -> None:
        kinds = (KindPattern(FileKind.IMAGE, 20, 40 * GB, 0.5), *KINDS[1:])
        found = efficiency_of(TOTALS, kinds, NO_DUPLICATES)
        assert (found.value, found.compression_ratio) == (1.4, 100 / 140)
        twice = DuplicateReport(2, 100, (DuplicateGroup((FileId("a"), FileId("b")), 25),))
        assert efficiency_of(TOTALS, KINDS, twice).value == 0.75
        two_copies = evolve(USAGE, stores=(*USAGE.stores, *USAGE.stores))
        assert efficiency_of(evolve(TOTALS, usage=two_copies), KINDS, NO_DUPLICATES) == Efficiency(
            0.5, 2.0, 1.0, 0.0
        )

    def test_an_empty_catalogue_wastes_nothing(self) -> None:
        empty = Totals(CatalogueUsage(), {}, PRICES)
        assert efficiency_of(empty, (), NO_DUPLICATES) == Efficiency(1.0, 1.0, 1.0, 0.0)


KINDS = (
    KindPattern(FileKind.IMAGE, 20, 40 * GB, 1.0),
    KindPattern(FileKind.VIDEO, 5, 60 * GB, None),
)


class TestSample:
    def test_ages_are_scaled_to_all_files(self) -> None:
        sample = FileSample([image(1, 9), image(40, 9), image(400, 9)], NOON)
        by_age = sample.bytes_by_age({FileKind.IMAGE: 30_000, FileKind.VIDEO: 7})
        assert by_age == pytest.approx({1: 10_000, 40: 10_000, 400: 10_000})
        assert [round(one.bytes) for one in age_patterns(by_age)] == [10_000, 0, 10_000, 0, 10_000]
        assert hot_share(by_age) == pytest.approx(1 / 3)
        assert hot_share({}) == 0.0

    def test_what_expires_is_scaled_to_what_the_store_holds(self) -> None:
        sample = FileSample([image(1, -5), image(1, 2.5), image(1, 99)], NOON)
        held = {FileKind.IMAGE: 6000, FileKind.VIDEO: 5}
        assert sample.expiring(LOCAL.store_id, held, 4).tolist() == [2000, 0, 2000, 0]
        assert not sample.expiring(CLOUD.store_id, held, 4).any()

    def test_the_compression_of_a_kind(self) -> None:
        compressed = evolve(image(1, 1), stored=image(1, 1, 250).stored)
        assert FileSample([compressed], NOON).kind_patterns(USAGE) == (
            KindPattern(FileKind.IMAGE, 20, 40 * GB, 0.25),
            KindPattern(FileKind.VIDEO, 5, 60 * GB, None),
        )


class TestGrowth:
    def test_what_expires_is_subtracted_from_what_comes(self) -> None:
        changes = with_retention(
            np.full(6, 10.0),
            np.array([4.0, 0, 0, 0, 0, 0]),
            {FileKind.IMAGE: 0.5, FileKind.VIDEO: 0.5},
            {FileKind.IMAGE: 3, FileKind.VIDEO: 30},
        )
        assert changes.tolist() == [6, 10, 10, 5, 5, 5]

    def test_a_band_surrounds_the_days_to_full(self) -> None:
        changes, deviations = np.full(100, 10.0), np.linspace(2.0, 200.0, 100)
        found = time_to_full(500, changes, deviations)
        assert found.estimate == 50
        assert found.earliest == pytest.approx(500 / (10 + 2 * 1.6449))
        assert found.latest == pytest.approx(500 / (10 - 2 * 1.6449))
        assert time_to_full(None, changes, deviations) == DaysToFull(None, None, None)


class TestCosts:
    def test_tiers_and_devices_have_their_cost(self) -> None:
        assert [(one.tier, one.copies, one.cost_month) for one in TOTALS.tier_patterns()] == [
            (Tier.LOCAL, 20, 20.0),
            (Tier.CLOUD, 5, 6.0),
        ]
        one = DeviceUsage(DeviceId("a"), CatalogueUsage(USAGE.stores[1:], USAGE.files[:1], 2))
        other = DeviceUsage(None, CatalogueUsage(USAGE.stores[:1], USAGE.files[1:]))
        assert TOTALS.device_patterns([one, other]) == (
            DevicePattern(None, 5, 60 * GB, 0, 0.6, 6.0),
            DevicePattern(DeviceId("a"), 20, 40 * GB, 2, 0.4, 20.0),
        )
        assert Totals(CatalogueUsage(), {}, Prices()).device_patterns([one])[0].share == 0.0

    def test_a_tier_without_a_price_makes_the_cost_unknown(self) -> None:
        prices = Prices((Price(Tier.LOCAL, 0.5),))
        assert prices.month({Tier.LOCAL: GB, Tier.CLOUD: 0}) == 0.5
        assert prices.month({Tier.LOCAL: GB, Tier.CLOUD: GB}) is None
        assert Prices().month({}) is None

    def test_each_strategy_has_its_bytes_and_cost(self) -> None:
        found = {one.strategy: one for one in strategy_outlooks(TOTALS, OPTIONS)}
        assert {
            strategy.value: (one.local_bytes // GB, one.cloud_bytes // GB, one.cost_month)
            for strategy, one in found.items()
        } == {
            "LOCAL_ONLY": (100, 0, 50.0),
            "CLOUD_ONLY": (0, 100, 10.0),
            "LOCAL_THEN_CLOUD": (30, 70, 22.0),
            "CLOUD_WITH_CACHE": (0, 100, 10.0),
            "HYBRID": (30, 100, 25.0),
        }
        assert [one.is_current for one in found.values()] == [True, False, False, False, False]

    def test_retention_decides_what_is_held_in_the_long_run(self) -> None:
        rates, days = {FileKind.IMAGE: 1.0 * GB}, dict.fromkeys(FileKind, 100)
        found = retention_outlooks(TOTALS, rates, days)
        assert [(one.factor, one.bytes / GB) for one in found] == [(0.5, 50), (1, 100), (2, 200)]
        assert found[1].cost_month == pytest.approx(40 * 0.5 + 60 * 0.1)
        assert retention_outlooks(Totals(CatalogueUsage(), {}, PRICES), {}, days)[0].bytes == 0


def patterns(**changes: Any) -> StoragePatterns:
    """Findings about the usage above that give no reason to recommend anything."""
    given: dict[str, Any] = {
        "measured_at": NOON,
        "efficiency": Efficiency(0.5, 2.0, 1.0, 0.0),
        "files": 25,
        "bytes": 100 * GB,
        "held_bytes": 200 * GB,
        "violations": 7,
        "kinds": KINDS,
        "tiers": TOTALS.tier_patterns(),
        "devices": (),
        "ages": (),
        "hot_share": 0.5,
        "duplicates": NO_DUPLICATES,
        "stores": (),
        "cost_month": 26.0,
        "currency": "EUR",
        "strategies": (),
        "retention": (),
        "sampled": 25,
    }
    return StoragePatterns(**given | changes)


def outlook(without: DaysToFull, with_: DaysToFull) -> StoreOutlook:
    """The outlook of a local store that receives 2 GB a day."""
    received = np.full(7, 2.0 * GB)
    return StoreOutlook(
        StoreId("s"), Tier.LOCAL, "/disk", 9, received, forecast(received, 90), without, with_
    )


class TestRecommendations:
    def test_there_is_none_without_a_reason(self) -> None:
        assert patterns().recommendations == ()
        never = DaysToFull(None, None, None)
        far = DaysToFull(400, 300, None)
        assert patterns(stores=(outlook(never, never), outlook(far, far))).recommendations == ()

    def test_a_store_that_fills_up(self) -> None:
        soon = outlook(DaysToFull(12.2, 10, None), DaysToFull(None, None, None))
        (words,) = patterns(stores=(soon,)).recommendations
        assert words.startswith("/disk is full in 12 days (10 to never) at 2.0 GB a day; with ret")
        assert "does not become full" in words
        young = evolve(soon, forecast=forecast([2.0 * GB], 90))
        assert "in 12 days (too little history)" in patterns(stores=(young,)).recommendations[0]
        later = evolve(soon, with_retention=DaysToFull(60, 50, 70))
        assert "applied in 60 days" in patterns(stores=(later,)).recommendations[0]

    def test_one_copy_duplicates_and_a_large_device(self) -> None:
        group = DuplicateGroup((FileId("a"), FileId("b")), 20)
        devices = [DevicePattern(DeviceId(f"c{n}"), 1, GB, 0, 0.1, None) for n in range(6)]
        found = patterns(
            efficiency=Efficiency(1.0, 1.0, 1.0, 0.0),
            duplicates=DuplicateReport(9, 100, (group,)),
            devices=(evolve(devices[0], share=0.4), *devices),
        ).recommendations
        starts = [words.split(":")[0] for words in found]
        assert [starts[0], starts[2]] == ["100.0 GB in 25 files exist in one copy", "c0"]
        assert starts[1].startswith("20.0% of the bytes of the 9 newest files repeat the content")

    def test_a_cheaper_strategy(self) -> None:
        (words,) = patterns(strategies=strategy_outlooks(TOTALS, OPTIONS)).recommendations
        assert words.startswith("CLOUD_ONLY would cost 10.00 EUR a month instead of 50.00 of LOCAL")
        cheapest = evolve(OPTIONS, strategy=StorageStrategy.CLOUD_ONLY)
        assert patterns(strategies=strategy_outlooks(TOTALS, cheapest)).recommendations == ()
