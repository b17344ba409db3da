"""MultisetDigest: one digest of many items, which does not depend on their order.

It is LtHash with 1,024 lanes of 16 bits (Lewi, Kim, Maykov, Weis, *Securing Update Propagation with
Homomorphic Hashing*, 2019): each item is expanded by SHAKE128 (FIPS 202) to 1,024 numbers below
65,536, and the numbers of all items are added lane by lane, modulo 65,536. To find other items with
the same sums is as hard as a short-vector problem in a lattice, with over 200 bits of security. A
plain sum of SHA-256 values would not be: a birthday attack on many summands breaks it.
"""

import hashlib

from traffic_storage.domain.digests import Sha256, sha256_of

LANES = 1024
_LANE_BYTES = 2
_LANE = f"<u{_LANE_BYTES}"
EMPTY: Sha256 = sha256_of(bytes(LANES * _LANE_BYTES))
"""The digest of no items."""


class MultisetDigest:
    """The digest of all items that were added; an item that is added twice counts twice."""

    def __init__(self) -> None:
        import numpy as np

        self._sums = np.zeros(LANES, _LANE)

    def add(self, item: bytes) -> None:
        """Add an item."""
        import numpy as np

        expanded = hashlib.shake_128(item).digest(LANES * _LANE_BYTES)
        self._sums += np.frombuffer(expanded, _LANE)

    @property
    def sha256(self) -> Sha256:
        """The SHA-256 of the sums, each as two bytes, the lower one first."""
        return sha256_of(self._sums.tobytes())
