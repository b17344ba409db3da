"""Duplicates: equal digests, and images that look alike."""

import numpy as np

from tests.support.media import photograph
from traffic_storage.domain.digests import Sha256
from traffic_storage.domain.duplicates import (
    NEAR_BITS,
    Content,
    exact_duplicates,
    near_duplicates,
    perceptual_hash,
)
from traffic_storage.domain.identifiers import FileId


def content(name: str, digest: str, size: int = 10) -> Content:
    """A file with a digest that begins so."""
    return Content(FileId(name), None, Sha256(digest * 64), size)


def test_files_with_the_same_digest_are_one_group() -> None:
    found = exact_duplicates([content("b", "1"), content("c", "2"), content("a", "1", 30)])
    assert [group.file_ids for group in found.groups] == [("a", "b")]
    assert (found.examined, found.bytes, found.surplus_bytes, found.share) == (3, 50, 30, 0.6)
    assert exact_duplicates([]).share == 0.0


def test_images_that_look_alike_are_one_group() -> None:
    whole = photograph()
    noise = np.random.default_rng(1).integers(-9, 9, whole.shape)
    images = {
        "whole": whole,
        "smaller": whole[::2, ::2],
        "darker": (whole * 0.8).astype(np.uint8),
        "noisy": np.clip(whole.astype(int) + noise, 0, 255).astype(np.uint8),
        "mirrored": whole[:, ::-1],
        "upside down": whole[::-1],
        "grey": np.full((9, 9), 90, np.uint8),
    }
    hashes = {FileId(name): perceptual_hash(image) for name, image in images.items()}
    contents = {FileId(name): content(name, str(n)) for n, name in enumerate(images)}
    found = near_duplicates(hashes, contents)
    assert [set(group.file_ids) for group in found.groups] == [
        {"whole", "smaller", "darker", "noisy"}
    ]
    apart = np.bitwise_count(hashes[FileId("whole")] ^ hashes[FileId("mirrored")]).sum()
    assert apart > 4 * NEAR_BITS


def test_exact_duplicates_alone_do_not_look_alike() -> None:
    same = perceptual_hash(photograph())
    contents = {FileId(name): content(name, "1") for name in "ab"}
    assert near_duplicates(dict.fromkeys(contents, same), contents).groups == ()
    assert near_duplicates({}, {}).groups == ()
