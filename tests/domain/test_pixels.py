"""Image arrays: which are pictures, and the digest that knows the same pixels again."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from traffic_storage.domain.errors import InvalidInput, TooLarge
from traffic_storage.domain.image_layout import ChannelOrder, Dimensions
from traffic_storage.domain.pixels import Pixels, dimensions_of, pixel_sha256, unchanging

RGB, BGR = ChannelOrder.RGB, ChannelOrder.BGR
SIDES = st.integers(1, 6)
SHAPES = st.tuples(SIDES, SIDES) | st.tuples(SIDES, SIDES, st.sampled_from([3, 4]))
PICTURES: st.SearchStrategy[Pixels] = SHAPES.flatmap(lambda shape: arrays.arrays(np.uint8, shape))


@given(PICTURES)
def test_pictures_have_dimensions(image: Pixels) -> None:
    height, width = image.shape[:2]
    channels = image.shape[2] if image.ndim == 3 else 1
    expected = Dimensions(width, height, channels)
    assert dimensions_of(image, max_pixels=width * height) == expected
    with pytest.raises(TooLarge, match=f"image: has {width * height} pixels"):
        dimensions_of(image, max_pixels=width * height - 1)


@pytest.mark.parametrize(
    "image",
    [
        None,
        b"\xff\xd8",
        [[0, 1], [2, 3]],
        np.zeros((4, 4), np.float32),
        np.zeros((4, 4), np.int8),
        np.zeros((4, 4), bool),
        np.zeros(4, np.uint8),
        np.zeros((), np.uint8),
        np.zeros((4, 4, 1), np.uint8),
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((3, 4, 4), np.uint8).transpose(1, 2, 0)[..., :2],
        np.zeros((1, 4, 4, 3), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 0), np.uint8),
    ],
)
def test_what_is_no_picture_is_refused_with_the_remedy(image: object) -> None:
    with pytest.raises(InvalidInput) as caught:
        dimensions_of(image, max_pixels=1000)
    (problem,) = caught.value.problems
    assert problem.field == "image"
    assert "uint8 array of shape (H, W)" in problem.remedy


@given(PICTURES, st.sampled_from(ChannelOrder))
def test_the_same_pixels_have_the_same_digest_however_they_lie(
    image: Pixels, order: ChannelOrder
) -> None:
    digest = pixel_sha256(image, order)
    assert pixel_sha256(image.copy(order="F"), order) == digest
    strided = np.repeat(image, 2, axis=0)[::2]
    assert pixel_sha256(strided, order) == digest
    frozen = image.copy()
    frozen.setflags(write=False)
    assert pixel_sha256(frozen, order) == digest


@given(PICTURES, PICTURES)
def test_other_pixels_or_another_shape_have_another_digest(one: Pixels, other: Pixels) -> None:
    assume(one.shape != other.shape or not np.array_equal(one, other))
    assert pixel_sha256(one, RGB) != pixel_sha256(other, RGB)


def test_the_same_bytes_in_another_shape_are_other_pixels() -> None:
    wide = np.zeros((2, 6), np.uint8)
    assert pixel_sha256(wide, RGB) != pixel_sha256(wide.reshape(6, 2), RGB)
    assert pixel_sha256(wide, RGB) != pixel_sha256(wide.reshape(2, 2, 3), RGB)


@given(PICTURES)
def test_the_order_of_channels_counts_where_there_is_colour(image: Pixels) -> None:
    same = pixel_sha256(image, RGB) == pixel_sha256(image, BGR)
    assert same == (image.ndim == 2)


def test_a_masked_array_is_refused_for_its_mask_would_be_lost() -> None:
    masked = np.ma.masked_array(np.zeros((4, 4), np.uint8), mask=np.eye(4, dtype=bool))
    with pytest.raises(InvalidInput, match=r"image: is a masked array.*image\.filled\(0\)"):
        dimensions_of(masked, max_pixels=1000)


@given(PICTURES, st.booleans())
def test_an_unchanging_picture_is_a_copy_that_nobody_can_change(
    image: Pixels, turned: bool
) -> None:
    image = image[::-1, ::-1] if turned else image
    before = image.copy()
    kept = unchanging(image)
    image[:] = ~image
    assert np.array_equal(kept, before)
    assert kept.flags.c_contiguous
    with pytest.raises(ValueError, match="WRITEABLE"):
        kept.flags.writeable = True
    assert unchanging(kept) is kept


def test_a_read_only_view_of_what_can_be_written_is_copied() -> None:
    buffer = bytearray(12)
    for frame in (np.frombuffer(buffer, np.uint8), np.frombuffer(memoryview(buffer), np.uint8)):
        view = frame.reshape(2, 2, 3)
        view.flags.writeable = False
        kept = unchanging(view)
        buffer[0] ^= 255
        assert kept[0, 0, 0] != buffer[0]
