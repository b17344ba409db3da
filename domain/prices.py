"""Prices of storage: what a tier costs a month."""

from collections.abc import Mapping

from attrs import frozen

from traffic_storage.domain.files import Tier

GB = 10**9


@frozen
class Price:
    """What 10⁹ bytes in a tier cost a month."""

    tier: Tier
    gb_month: float


@frozen
class Prices:
    """A price table."""

    table: tuple[Price, ...] = ()
    currency: str = "EUR"

    def month(self, held: Mapping[Tier, float]) -> float | None:
        """Return what these bytes cost a month; None if a tier that holds some has no price."""
        by_tier = {price.tier: price.gb_month for price in self.table}
        if not by_tier or any(size and tier not in by_tier for tier, size in held.items()):
            return None
        return sum(by_tier.get(tier, 0.0) * size / GB for tier, size in held.items())
