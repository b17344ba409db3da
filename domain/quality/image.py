"""The quality of an image: its metrics, a score in [0, 1] from them, and what is wrong with it.

The thresholds describe what a person or a number-plate reader can still use. They were chosen on
photographs that were damaged by known amounts (`python -m benchmarks.quality`).
"""

from collections.abc import Mapping, Sequence

from attrs import frozen

from traffic_storage.domain.pixels import Pixels
from traffic_storage.domain.quality.assessment import (
    Assessment,
    Check,
    Finding,
    Part,
    assess,
    error,
    ramp,
    warning,
)
from traffic_storage.domain.quality.image_metrics import (
    SAMPLED_PIXELS,
    ImageMetrics,
    image_metrics,
)


@frozen
class ImageQuality:
    """The metrics of an image and what the checks of them found.

    Attributes:
        score: the product of the parts, in [0, 1].
        parts: name of a check → its factor, in [0, 1].
    """

    metrics: ImageMetrics
    assessment: Assessment

    @property
    def score(self) -> float:
        """The score, in [0, 1]."""
        return self.assessment.score

    @property
    def parts(self) -> Mapping[str, float]:
        """The factors of the score by the name of their check."""
        return self.assessment.parts

    @property
    def errors(self) -> tuple[Finding, ...]:
        """What makes the image unusable as evidence."""
        return self.assessment.errors

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What lowers the quality of the image."""
        return self.assessment.warnings

    @property
    def valid(self) -> bool:
        """Whether there is no error."""
        return self.assessment.valid


def image_quality(
    image: Pixels,
    checks: Sequence[Check[ImageMetrics]] | None = None,
    pixels: int = SAMPLED_PIXELS,
) -> ImageQuality:
    """Measure and judge an image: `uint8`, RGB, `(H, W)`, `(H, W, 3)` or `(H, W, 4)`.

    `checks` None means `IMAGE_CHECKS`. At most `pixels` of the image are measured.
    """
    metrics = image_metrics(image, pixels)
    return ImageQuality(metrics, assess(metrics, IMAGE_CHECKS if checks is None else checks))


def resolution(metrics: ImageMetrics) -> Part:
    """Judge the shorter side: 0 at 16 pixels, 1 from 240 pixels on; below 64 pixels an error."""
    side = min(metrics.width, metrics.height)
    score = ramp(side, 16, 240)
    message = f"has {metrics.width} × {metrics.height} pixels"
    remedy = "send the frame as the camera captured it"
    if side < 64:
        return Part("resolution", score, (error("too_small", "image", message, remedy),))
    if side < 240:
        return Part("resolution", score, (warning("small", "image", message, remedy),))
    return Part("resolution", score)


def sharpness(metrics: ImageMetrics) -> Part:
    """Judge the acuity: 0 at 0.03, 1 from 0.15 on; below 0.04 an error, below 0.1 a warning.

    A Gaussian blur with a standard deviation of 2 pixels gives about 0.05, one of 1 pixel 0.1.
    """
    found = _below(
        metrics.acuity,
        0.04,
        0.1,
        "blurred",
        "metrics.acuity",
        "check the focus and the exposure time",
    )
    return Part("sharpness", ramp(metrics.acuity, 0.03, 0.15), found)


def exposure(metrics: ImageMetrics) -> Part:
    """Judge the mean luminance: 1 from -2.5 to +1.2 stops of mid-grey, 0 at -6 and at +2.3.

    Outside -5.5 to +2.1 stops an error, outside -4 to +1.6 a warning. Dark is judged more mildly:
    at night the street is dark, and lamps and plates are not.
    """
    stops = metrics.exposure
    score = min(ramp(stops, -6, -2.5), ramp(stops, 2.3, 1.2))
    remedy = "check the exposure control, the lamp or flash, and the lens"
    dark = _below(stops, -5.5, -4, "dark", "metrics.exposure", remedy)
    bright = _above(stops, 2.1, 1.6, "bright", "metrics.exposure", remedy)
    return Part("exposure", score, dark + bright)


def clipping(metrics: ImageMetrics) -> Part:
    """Judge clipped shares: highlights 1 up to 0.08, 0 at 0.7; shadows 1 up to 0.4, 0 at 1.

    More than 0.6 (highlights) or 0.95 (shadows) is an error, more than 0.25 or 0.7 a warning.
    """
    white, black = metrics.clipped_highlights, metrics.clipped_shadows
    remedy = "details are lost there: check the exposure control"
    found = _above(white, 0.6, 0.25, "overexposed", "metrics.clipped_highlights", remedy)
    found += _above(black, 0.95, 0.7, "underexposed", "metrics.clipped_shadows", remedy)
    return Part("clipping", ramp(white, 0.7, 0.08) * ramp(black, 1.0, 0.4), found)


def contrast(metrics: ImageMetrics) -> Part:
    """Judge the contrast: 0 at 0.01, 1 from 0.1 on; below 0.02 an error, below 0.05 a warning."""
    found = _below(
        metrics.contrast,
        0.02,
        0.05,
        "low_contrast",
        "metrics.contrast",
        "check the lens for fog and dirt",
    )
    return Part("contrast", ramp(metrics.contrast, 0.01, 0.1), found)


def noise(metrics: ImageMetrics) -> Part:
    """Judge the noise: 1 up to 3 levels, 0 at 25; above 20 an error, above 8 a warning."""
    found = _above(metrics.noise, 20, 8, "noisy", "metrics.noise", "lower the gain, or add light")
    return Part("noise", ramp(metrics.noise, 25, 3), found)


def blockiness(metrics: ImageMetrics) -> Part:
    """Judge the grid of JPEG: 1 up to 0.12, 0 at 0.6; above 0.5 an error, above 0.25 a warning.

    Quality 50 gives about 0.15, quality 15 about 0.35.
    """
    found = _above(
        metrics.blockiness,
        0.5,
        0.25,
        "blocky",
        "metrics.blockiness",
        "raise the quality of the camera's JPEG",
    )
    return Part("blockiness", ramp(metrics.blockiness, 0.6, 0.12), found)


def colour(metrics: ImageMetrics) -> Part:
    """Judge the colour cast: 1 up to 0.08, 0 at 0.4; above 0.2 a warning, never an error.

    A scene can have a colour of its own, so a cast alone does not make evidence unusable.
    """
    remedy = "check the white balance and the infrared filter"
    found = _above(metrics.colour_cast, 2, 0.2, "colour_cast", "metrics.colour_cast", remedy)
    return Part("colour", ramp(metrics.colour_cast, 0.4, 0.08), found)


def content(metrics: ImageMetrics) -> Part:
    """Judge the blankness: 1 up to 0.85, 0 at 1; above 0.98 an error, above 0.9 a warning."""
    found = _above(
        metrics.blankness,
        0.98,
        0.9,
        "blank",
        "metrics.blankness",
        "check that nothing covers the lens",
    )
    return Part("content", ramp(metrics.blankness, 1.0, 0.85), found)


IMAGE_CHECKS: tuple[Check[ImageMetrics], ...] = (
    resolution,
    sharpness,
    exposure,
    clipping,
    contrast,
    noise,
    blockiness,
    colour,
    content,
)
"""The checks of an image that are applied if no others are given."""


def _below(
    value: float, wrong: float, poor: float, kind: str, field: str, remedy: str
) -> tuple[Finding, ...]:
    """Return an error below `wrong`, a warning below `poor`, else nothing."""
    if value < wrong:
        return (error(kind, field, f"is {value:.3g}, below {wrong:g}", remedy),)
    if value < poor:
        return (warning(kind, field, f"is {value:.3g}, below {poor:g}", remedy),)
    return ()


def _above(
    value: float, wrong: float, poor: float, kind: str, field: str, remedy: str
) -> tuple[Finding, ...]:
    """Return an error above `wrong`, a warning above `poor`, else nothing."""
    if value > wrong:
        return (error(kind, field, f"is {value:.3g}, above {wrong:g}", remedy),)
    if value > poor:
        return (warning(kind, field, f"is {value:.3g}, above {poor:g}", remedy),)
    return ()
