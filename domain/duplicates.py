"""Duplicates: files with the same content by their digests, images that look alike by their pixels."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from attrs import frozen

from traffic_storage.domain.digests import Sha256
from traffic_storage.domain.identifiers import DeviceId, FileId

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from traffic_storage.domain.pixels import Pixels

HASH_SIDE = 16
"""The hash of an image has `HASH_SIDE` x `HASH_SIDE` bits."""
NEAR_BITS = 10
"""Images look alike if at most this many of the 256 bits of their hashes differ."""
_GREY = (0.299, 0.587, 0.114)
_LEAST_DIFFERENCE = 1.0
_LOOKED_AT = 256


@frozen
class Content:
    """The digest of the content of a file, and its stored size."""

    file_id: FileId
    device_id: DeviceId | None
    sha256: Sha256
    size_bytes: int


@frozen
class DuplicateGroup:
    """Files that have the same content, or images that look alike.

    Attributes:
        surplus_bytes: the stored bytes of all but one of them.
    """

    file_ids: tuple[FileId, ...]
    surplus_bytes: int


@frozen
class DuplicateReport:
    """The duplicates among some files, the groups with the most surplus bytes first."""

    examined: int
    bytes: int
    groups: tuple[DuplicateGroup, ...]

    @property
    def surplus_bytes(self) -> int:
        """The bytes that files take whose content another one of the examined files has."""
        return sum(group.surplus_bytes for group in self.groups)

    @property
    def share(self) -> float:
        """The surplus bytes as a share of all bytes examined, 0 to 1."""
        return self.surplus_bytes / self.bytes if self.bytes else 0.0


def exact_duplicates(contents: Iterable[Content]) -> DuplicateReport:
    """Return the groups of files with equal SHA-256."""
    by_digest: defaultdict[Sha256, list[Content]] = defaultdict(list)
    examined = size = 0
    for content in contents:
        by_digest[content.sha256].append(content)
        examined += 1
        size += content.size_bytes
    return DuplicateReport(
        examined, size, _ordered(_group(same) for same in by_digest.values() if len(same) > 1)
    )


def perceptual_hash(image: "Pixels") -> "NDArray[np.uint8]":
    """Return the difference hash (dHash) of an image in RGB order or grey, 32 bytes.

    The image is reduced to 17 x 16 grey means of equal areas (of every n-th row and column, about
    256 of each); a bit is set where a mean is brighter than its left neighbour (N. Krawetz, "Kind of Like That", 2013, with 16 instead of 8 columns). A
    difference of less than one grey level counts as none, so that flat areas hash alike. Resizing,
    recompression and a change of brightness change few bits; another scene changes about half.
    """
    import numpy as np

    step = max(1, min(image.shape[:2]) // _LOOKED_AT)
    few = image[::step, ::step]
    grey = few.astype(np.float64) if few.ndim == 2 else few[..., :3] @ np.array(_GREY)
    small = _means(_means(grey, HASH_SIDE).T, HASH_SIDE + 1).T
    return np.packbits(np.diff(small, axis=1) > _LEAST_DIFFERENCE)


def near_duplicates(
    hashes: "Mapping[FileId, NDArray[np.uint8]]", contents: Mapping[FileId, Content]
) -> DuplicateReport:
    """Return the groups of images whose hashes differ in at most `NEAR_BITS` bits.

    Pairs are joined to groups. Files with equal digests count as one, so that exact duplicates
    alone are no group. The cost grows with the square of the number of images.
    """
    import numpy as np

    ids = list({contents[one].sha256: one for one in hashes}.values())
    group = {one: one for one in ids}

    def root(one: FileId) -> FileId:
        while group[one] != one:
            one = group[one]
        return one

    bits = np.array([hashes[one] for one in ids], np.uint8).reshape(
        len(ids), HASH_SIDE * HASH_SIDE // 8
    )
    for place, one in enumerate(ids):
        apart = np.bitwise_count(bits[place + 1 :] ^ bits[place]).sum(axis=1)
        for other in np.flatnonzero(apart <= NEAR_BITS):
            group[root(ids[place + 1 + other])] = root(one)
    alike: defaultdict[FileId, list[Content]] = defaultdict(list)
    for one in ids:
        alike[root(one)].append(contents[one])
    size = sum(contents[one].size_bytes for one in hashes)
    groups = _ordered(_group(found) for found in alike.values() if len(found) > 1)
    return DuplicateReport(len(hashes), size, groups)


def _means(grey: "NDArray[np.floating]", rows: int) -> "NDArray[np.floating]":
    """Return the means of `rows` bands of about equal height, shape `(rows, W)`."""
    import numpy as np

    edges = np.linspace(0, len(grey), rows + 1).astype(int)
    starts = np.minimum(edges[:-1], len(grey) - 1)
    heights = np.maximum(1, np.diff(edges))[:, None]
    found: NDArray[np.floating] = np.add.reduceat(grey, starts, axis=0) / heights
    return found


def _group(same: Sequence[Content]) -> DuplicateGroup:
    sizes = [content.size_bytes for content in same]
    return DuplicateGroup(
        tuple(sorted(content.file_id for content in same)), sum(sizes) - min(sizes)
    )


def _ordered(groups: Iterable[DuplicateGroup]) -> tuple[DuplicateGroup, ...]:
    return tuple(sorted(groups, key=lambda one: (-one.surplus_bytes, one.file_ids)))
