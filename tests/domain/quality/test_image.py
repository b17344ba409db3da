"""The quality of images: metrics follow the damage, and good and bad images are told apart."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tests.support.damage import blurred, compressed, exposed, fogged, noisy, turned
from tests.support.media import Frame, Photograph, photograph
from traffic_storage.domain.pixels import Pixels
from traffic_storage.domain.quality.assessment import Part
from traffic_storage.domain.quality.image import IMAGE_CHECKS, image_quality
from traffic_storage.domain.quality.image_metrics import (
    SAMPLED_PIXELS,
    ImageMetrics,
    image_metrics,
    sampled,
)

PHOTOGRAPHS: tuple[Photograph, ...] = ("astronaut", "chelsea", "coffee", "motorcycle", "camera")
COLOURED: tuple[Photograph, ...] = ("astronaut", "chelsea", "coffee", "motorcycle")
SIDES = st.integers(1, 40)
SHAPES = st.tuples(SIDES, SIDES) | st.tuples(SIDES, SIDES, st.sampled_from([3, 4]))
PICTURES: st.SearchStrategy[Pixels] = SHAPES.flatmap(lambda shape: arrays.arrays(np.uint8, shape))

Damage = Callable[[Frame, float], Frame]


def part_of(name: Photograph) -> Frame:
    """A part of a photograph whose corner is on the grid of 8 pixels: small, so that tests are fast."""
    image = photograph(name)
    top, left = (side // 16 * 8 - 128 for side in image.shape[:2])
    return np.ascontiguousarray(image[top : top + 256, left : left + 256])


QUALITIES = (90, 75, 50, 30, 15, 8)

# Metric, damage, amounts in the order of growing damage, and whether the metric grows with it.
LADDERS: list[tuple[str, Damage, Sequence[float], bool]] = [
    ("sharpness", blurred, (0, 0.7, 1, 2, 4), False),
    ("tenengrad", blurred, (0, 0.7, 1, 2, 4), False),
    ("acuity", blurred, (0, 0.7, 1, 2), False),
    ("noise", noisy, (0, 3, 6, 12, 24), True),
    ("exposure", exposed, (-4, -2, -1, 0, 1, 2, 3), True),
    ("brightness", exposed, (-4, -2, -1, 0, 1, 2, 3), True),
    ("clipped_highlights", exposed, (0, 1, 2, 3), True),
    ("clipped_shadows", exposed, (0, -2, -3, -4, -6), True),
    ("blockiness", lambda image, quality: compressed(image, int(quality)), QUALITIES, True),
    ("contrast", fogged, (0, 0.3, 0.6, 0.9, 1), False),
    ("blankness", fogged, (0, 0.5, 0.8, 0.95, 1), True),
]


@pytest.mark.parametrize("name", PHOTOGRAPHS)
@pytest.mark.parametrize(
    ("metric", "damage", "amounts", "grows"), LADDERS, ids=[ladder[0] for ladder in LADDERS]
)
def test_metrics_are_monotone_in_the_damage(
    metric: str, damage: Damage, amounts: Sequence[float], grows: bool, name: Photograph
) -> None:
    image = part_of(name)
    values = [getattr(image_metrics(damage(image, amount)), metric) for amount in amounts]
    assert values == sorted(values, reverse=not grows)
    assert abs(values[-1] - values[0]) > 0


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_compression_adds_no_sharpness_to_a_blurred_image(name: Photograph) -> None:
    image = part_of(name)
    for radius in (3, 6):
        for quality in (80, 50, 20):
            judged = image_quality(compressed(blurred(image, radius), quality))
            assert judged.metrics.acuity < 0.07
            assert judged.score < 0.15, (radius, quality)
    sharp, softer = (image_metrics(compressed(image, q)).acuity for q in (95, 50))
    assert sharp > softer > 0.1


@pytest.mark.parametrize("name", COLOURED)
def test_the_colour_cast_grows_with_a_rotation_of_the_hue(name: Photograph) -> None:
    # The mean colour of these photographs as a whole is warm, as that of most scenes.
    image = photograph(name)
    casts = [image_metrics(turned(image, angle)).colour_cast for angle in (0, 15, 30, 45, 60)]
    assert all(before < after for before, after in pairwise(casts))


@pytest.mark.parametrize(
    ("damaged", "kind"),
    [
        (lambda image: blurred(image, 5), "blurred"),
        (lambda image: noisy(image, 60), "noisy"),
        (lambda image: exposed(image, 5), "overexposed"),
        (lambda image: exposed(image, -10), "dark"),
        (lambda image: compressed(image, 2), "blocky"),
        (lambda image: fogged(image, 0.97), "low_contrast"),
        (lambda image: np.full_like(image, 90), "blank"),
        (lambda image: image[:40, :40], "too_small"),
    ],
)
def test_damage_that_destroys_the_evidence_is_an_error(
    damaged: Callable[[Frame], Frame], kind: str
) -> None:
    image = photograph("chelsea")
    quality = image_quality(damaged(image))
    assert kind in {finding.kind for finding in quality.errors}
    assert not quality.valid
    assert quality.score < 0.1 < image_quality(image).score


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_photographs_are_good(name: Photograph) -> None:
    quality = image_quality(photograph(name))
    assert quality.valid
    assert not quality.warnings
    assert quality.score > 0.75
    assert quality.score == pytest.approx(np.prod(list(quality.parts.values())))


def test_slight_damage_is_a_warning() -> None:
    image = photograph("coffee")
    quality = image_quality(compressed(noisy(image, 16), 95))
    assert [finding.kind for finding in quality.warnings] == ["noisy"]
    assert quality.valid
    assert str(quality.warnings[0]).startswith("metrics.noise: is ")


@settings(max_examples=20)
@given(PICTURES)
def test_any_picture_has_metrics_in_their_ranges(image: Pixels) -> None:
    metrics = image_metrics(image)
    assert (metrics.height, metrics.width) == image.shape[:2]
    shares = ("brightness", "blockiness", "colour_cast", "blankness", "clipped_shadows")
    assert all(0 <= getattr(metrics, name) <= 1 for name in (*shares, "clipped_highlights"))
    assert 0 <= metrics.contrast <= 0.5 + 1e-9
    assert -12 <= metrics.exposure <= 2.5
    assert min(metrics.sharpness, metrics.tenengrad, metrics.noise, metrics.acuity) >= 0
    assert 0 <= image_quality(image).score <= 1


def test_alpha_and_grey_as_colour_change_nothing() -> None:
    grey = photograph("camera")
    colour = np.stack([grey] * 3, axis=2)
    translucent = np.dstack([colour, np.full_like(grey, 7)])
    assert image_metrics(colour) == image_metrics(grey) == image_metrics(translucent)


@settings(max_examples=20)
@given(st.integers(1, 9000), st.integers(1, 9000))
def test_a_large_image_is_sampled_all_over(height: int, width: int) -> None:
    image = np.broadcast_to(np.zeros((), np.uint8), (height, width))
    tiles = sampled(image)
    assert tiles.size <= SAMPLED_PIXELS
    # At least half of what may be measured is, wherever there is as much.
    assert tiles.size >= min(height * width, SAMPLED_PIXELS // 2)


def test_the_sample_of_a_large_image_represents_it() -> None:
    small = photograph("motorcycle")[:496, :736]
    large = np.tile(small, (6, 6, 1))
    whole, part = image_metrics(small), image_metrics(large)
    assert (part.height, part.width) == (6 * 496, 6 * 736)
    for name in ("sharpness", "brightness", "contrast", "noise", "blankness", "colour_cast"):
        assert getattr(part, name) == pytest.approx(getattr(whole, name), rel=0.15, abs=0.05)


def test_a_check_is_added_and_replaced_by_a_function() -> None:
    def wide(metrics: ImageMetrics) -> Part:
        return Part("wide", 1.0 if metrics.width > metrics.height else 0.5)

    upright = photograph("chelsea")[:, :200]
    quality = image_quality(upright, [*IMAGE_CHECKS[1:], wide])
    assert "resolution" not in quality.parts
    assert quality.parts["wide"] == 0.5
    assert quality.score <= 0.5


def test_parts_have_names_of_their_own_and_scores_in_range() -> None:
    with pytest.raises(ValueError, match="two checks are named 'noise'"):
        image_quality(photograph("camera"), [IMAGE_CHECKS[5], IMAGE_CHECKS[5]])
    with pytest.raises(ValueError, match="from 0 to 1"):
        Part("wrong", float("nan"))
