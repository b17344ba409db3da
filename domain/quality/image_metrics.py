"""Metrics of the quality of an image, computed from its pixels with numpy alone.

The input is a `uint8` array of shape `(H, W)`, `(H, W, 3)` or `(H, W, 4)`, range 0–255, channel
order RGB; alpha is ignored. All metrics but the colour cast are of the luma
`Y = (77 R + 150 G + 29 B) / 256` (ITU-R BT.601, as in JPEG).

An image of up to `SAMPLED_PIXELS` pixels is measured whole. Of a larger one, square tiles in full
resolution are measured, spread over the image as a regular grid, so that time and memory do not
depend on its size, and the result is always the same for the same pixels.
"""

from collections.abc import Sequence
from math import hypot, log2, pi, sqrt

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from traffic_storage.domain.pixels import Pixels

SAMPLED_PIXELS = 1 << 20
"""The most pixels of an image that are measured, unless another number is given."""
_TILE = 64
_GRID = 8
_BLOCK = 16
_FLAT_LEVELS = 3.0
_SHADOW_LEVEL, _HIGHLIGHT_LEVEL = 4, 251
_MID_GREY = 0.18
_DARKEST = 2.0**-12

_Plane = NDArray[np.int16]
_LEVELS = np.arange(256) / 255
_LINEAR = np.where(_LEVELS <= 0.04045, _LEVELS / 12.92, ((_LEVELS + 0.055) / 1.055) ** 2.4)


@frozen
class ImageMetrics:
    """The metrics of one image. Levels are those of 8-bit luma, 0 to 255.

    Attributes:
        width: in pixels, as is `height`.
        sharpness: variance of the Laplacian (4 neighbours) of the luma, in levels²; at least 0. It
            falls when an image is blurred, and rises with noise (Pech-Pacheco et al., 2000).
        tenengrad: mean of the squared Sobel gradient of the luma, in levels²; at least 0
            (Tenenbaum, 1970; Krotkov, 1988). It reacts to coarser structures than `sharpness`.
        acuity: the highest spatial frequency at which the image has detail, as the ratio of the
            standard deviation of the Laplacian to the mean gradient, both without the share of the
            noise; 0 to about 2.2. Unlike `sharpness`, it does not depend on the contrast. Both are
            taken where the masks lie inside the 8×8 blocks of JPEG, because the edges of the blocks,
            which JPEG adds, are no detail. In an image that was cropped or scaled after a strong
            compression the grid is elsewhere, and the edges count as detail.
        brightness: mean luma divided by 255, in [0, 1].
        contrast: root mean square contrast: the standard deviation of the luma divided by 255, in
            [0, 0.5] (Peli, 1990).
        exposure: by how many stops the mean luminance is above (positive) or below mid-grey:
            `log2(mean linear luminance / 0.18)`, with the transfer function of sRGB (IEC 61966-2-1);
            in [-12, 2.5].
        noise: standard deviation of the noise, in levels (Immerkær, 1996): `√(π/2) / 6` times the
            mean absolute response to the mask (1 -2 1; -2 4 -2; 1 -2 1). The lower quartile of the
            estimates of blocks of 16×16 pixels that are not clipped, because texture responds to
            the mask as well.
        blockiness: how much the 8×8 grid of JPEG shows, in [0, 1]: `(b - i) / (b + i)`, at least 0,
            of the mean absolute difference of neighbours across the lines of the grid (`b`) and
            elsewhere (`i`), after Wang, Sheikh and Bovik (2002). The grid begins at the corner: in
            an image that was cropped or scaled after its compression it is not found.
        colour_cast: how far the mean colour is from grey (the grey-world assumption, Buchsbaum,
            1980), in [0, 1]: `hypot(t, w / 2)` of the tint `t = g - (r + b) / 2` and the warmth
            `w = (r + g) / 2 - b` of the mean chromaticity `(r, g, b)`. Warmth, which daylight and
            lamps vary, counts half. A defective infrared filter shows as tint. A rotation of all
            hues shows only if the mean colour was not grey before.
        blankness: the share of blocks of 16×16 pixels without content, in [0, 1]: their standard
            deviation without the share of the noise is below 3 levels.
        clipped_shadows: the share of pixels of at most 4 levels, in [0, 1].
        clipped_highlights: the share of pixels of at least 251 levels, in [0, 1].
    """

    width: int
    height: int
    sharpness: float
    tenengrad: float
    acuity: float
    brightness: float
    contrast: float
    exposure: float
    noise: float
    blockiness: float
    colour_cast: float
    blankness: float
    clipped_shadows: float
    clipped_highlights: float


def image_metrics(image: Pixels, pixels: int = SAMPLED_PIXELS) -> ImageMetrics:
    """Return the metrics of an image: `uint8`, RGB, `(H, W)`, `(H, W, 3)` or `(H, W, 4)`.

    At most `pixels` of it are measured, at least one tile of 64 x 64.
    The array is not changed. An image of 12 megapixels takes about 20 ms on one core. In an image
    with a side of less than 3 pixels, sharpness, tenengrad, acuity, noise and blockiness are 0.
    """
    height, width = image.shape[:2]
    tiles = sampled(image, pixels)
    luma = _luma(tiles)
    counts = np.bincount(luma.reshape(-1), minlength=256)
    shares = counts / counts.sum()
    brightness = float(shares @ _LEVELS)
    noise = _noise(luma)
    sharpness, detail = _laplacian_variance(luma)
    tenengrad, gradient = _tenengrad(luma)
    return ImageMetrics(
        width=width,
        height=height,
        sharpness=sharpness,
        tenengrad=tenengrad,
        acuity=_acuity(detail, gradient, noise),
        brightness=brightness,
        contrast=sqrt(float(shares @ (_LEVELS - brightness) ** 2)),
        exposure=log2(max(float(shares @ _LINEAR), _DARKEST * _MID_GREY) / _MID_GREY),
        noise=noise,
        blockiness=_blockiness(luma),
        colour_cast=_colour_cast(tiles),
        blankness=_blankness(luma, noise),
        clipped_shadows=float(shares[: _SHADOW_LEVEL + 1].sum()),
        clipped_highlights=float(shares[_HIGHLIGHT_LEVEL:].sum()),
    )


def sampled(image: Pixels, pixels: int = SAMPLED_PIXELS) -> Pixels:
    """Return the part of an image that is measured: an array of tiles, `(N, h, w)` or `(N, h, w, C)`.

    The corner of each tile is on the grid of 8 pixels. Adjacent tiles may overlap by less than a
    tile.
    """
    height, width = image.shape[:2]
    if height * width <= pixels:
        return image[np.newaxis]
    rows, columns = min(_TILE, height), min(_TILE, width)
    across, down = _tile_counts(width / columns, height / rows, max(1, pixels // (rows * columns)))
    tops, lefts = _corners(height - rows, down), _corners(width - columns, across)
    return np.stack([image[y : y + rows, x : x + columns] for y in tops for x in lefts])


def _tile_counts(across: float, down: float, most: int) -> tuple[int, int]:
    """Return how many tiles to take in each direction, at most `most` in all.

    `across` and `down` are the sides of the image in tiles.
    """
    columns = int(max(1, min(across, sqrt(most * across / down))))
    rows = int(max(1, min(down, most // columns)))
    return int(min(across, most // rows)), rows


def _corners(last: int, count: int) -> Sequence[int]:
    return [int(corner) // _GRID * _GRID for corner in np.linspace(0, last, count)]


def _luma(tiles: Pixels) -> _Plane:
    if tiles.ndim == 3:
        return tiles.astype(np.int16)
    red, green, blue = (tiles[..., channel] for channel in range(3))
    luma = red * np.uint16(77)
    luma += green * np.uint16(150)
    luma += blue * np.uint16(29)
    luma >>= 8
    return luma.view(np.int16)


def _has_inside(luma: _Plane) -> bool:
    _, height, width = luma.shape
    return bool(min(height, width) >= 3)


def _laplacian_variance(luma: _Plane) -> tuple[float, float]:
    """Return the variance of the Laplacian everywhere, and inside the blocks of JPEG."""
    if not _has_inside(luma):
        return 0.0, 0.0
    inside = luma[:, 1:-1, 1:-1]
    response = luma[:, :-2, 1:-1] + luma[:, 2:, 1:-1]
    response += luma[:, 1:-1, :-2]
    response += luma[:, 1:-1, 2:]
    response -= 4 * inside
    values = response.astype(np.float32)
    squares = np.square(values)
    mean, inside_mean = float(values.mean(dtype=np.float64)), _mean_inside_blocks(values)
    return (
        max(0.0, float(squares.mean(dtype=np.float64)) - mean * mean),
        max(0.0, _mean_inside_blocks(squares) - inside_mean * inside_mean),
    )


def _tenengrad(luma: _Plane) -> tuple[float, float]:
    """Return the mean squared gradient everywhere, and inside the blocks of JPEG."""
    if not _has_inside(luma):
        return 0.0, 0.0
    columns = luma[:, 2:] - luma[:, :-2]
    rows = luma[:, :, 2:] - luma[:, :, :-2]
    down = columns[:, :, :-2] + 2 * columns[:, :, 1:-1] + columns[:, :, 2:]
    across = rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:]
    squares = np.square(down, dtype=np.float32)
    squares += np.square(across, dtype=np.float32)
    return float(squares.mean(dtype=np.float64)), _mean_inside_blocks(squares)


def _mean_inside_blocks(values: NDArray[np.float32]) -> float:
    """Return the mean of the responses to a 3×3 mask that lies inside one of the 8×8 blocks of JPEG.

    The first response of each line is that of the second pixel.
    """
    _, height, width = values.shape
    rows, columns = _inside_blocks(height), _inside_blocks(width)
    sums = values @ columns @ rows
    return float(sums.mean(dtype=np.float64)) / float(rows.sum() * columns.sum())


def _inside_blocks(length: int) -> NDArray[np.float32]:
    places = np.arange(1, length + 1) % _GRID
    return ((places > 0) & (places < _GRID - 1)).astype(np.float32)


def _acuity(detail: float, gradient: float, noise: float) -> float:
    """Return the ratio of detail (the variance of the Laplacian) to gradient without the noise.

    White noise of variance σ² adds 20 σ² to the variance of the Laplacian and 24 σ² to the
    tenengrad: the sums of the squares of the masks. Rounding to whole levels adds a variance of
    1/12, which counts where nothing else is left.
    """
    variance = noise * noise + 1 / 12
    left = gradient - 24 * variance
    if left <= 0:
        return 0.0
    return sqrt(max(0.0, detail - 20 * variance) / left)


def _noise(luma: _Plane) -> float:
    if not _has_inside(luma):
        return 0.0
    rows = luma[:, :, :-2] - 2 * luma[:, :, 1:-1] + luma[:, :, 2:]
    response = rows[:, :-2] - 2 * rows[:, 1:-1] + rows[:, 2:]
    estimates = _block_means(np.abs(response))
    levels = _block_means(luma[:, 1:-1, 1:-1])
    unclipped = estimates[(levels > _SHADOW_LEVEL) & (levels < _HIGHLIGHT_LEVEL)]
    if unclipped.size == 0:
        return 0.0
    return float(np.percentile(unclipped, 25)) * sqrt(pi / 2) / 6


def _blocks(plane: NDArray[np.integer]) -> NDArray[np.integer]:
    """Return the whole blocks of tiles as `(N, rows, h, columns, w)`; rests at the edges are cut."""
    count, height, width = plane.shape
    high, wide = min(_BLOCK, height), min(_BLOCK, width)
    rows, columns = height // high, width // wide
    whole = plane[:, : rows * high, : columns * wide]
    return whole.reshape(count, rows, high, columns, wide)


def _block_means(plane: NDArray[np.integer]) -> NDArray[np.float32]:
    blocks = _blocks(plane)
    # Along whole rows of memory first: a sum of 16 values at a time takes several times as long.
    sums = blocks.sum(axis=2, dtype=np.uint32).sum(axis=-1, dtype=np.uint32)
    means: NDArray[np.float32] = sums.astype(np.float32) / np.float32(
        blocks.shape[2] * blocks.shape[4]
    )
    return means


def _blankness(luma: _Plane, noise: float) -> float:
    # The square of a level fits into 16 bits without a sign.
    squares = _block_means(np.square(luma.view(np.uint16)))
    variances = squares - np.square(_block_means(luma)) - noise * noise
    return float((variances < _FLAT_LEVELS * _FLAT_LEVELS).mean())


def _blockiness(luma: _Plane) -> float:
    across = np.abs(luma[:, :, 1:] - luma[:, :, :-1])
    down = np.abs(luma[:, 1:] - luma[:, :-1])
    lines = [across[:, :, _GRID - 1 :: _GRID], down[:, _GRID - 1 :: _GRID]]
    on_lines, count = sum(int(part.sum()) for part in lines), sum(part.size for part in lines)
    elsewhere = int(across.sum()) + int(down.sum()) - on_lines
    if count == 0 or on_lines == 0:
        return 0.0
    border = on_lines / count
    inner = elsewhere / (across.size + down.size - count)
    excess: float = (border - inner) / (border + inner)
    return max(0.0, excess)


def _colour_cast(tiles: Pixels) -> float:
    if tiles.ndim == 3:
        return 0.0
    _, _, width, channels = tiles.shape
    # Sums of whole rows of memory take a tenth of the time of sums over each channel.
    rows = tiles.reshape(-1, width * channels).sum(axis=0, dtype=np.uint64)
    sums = rows.reshape(width, channels).sum(axis=0)[:3]
    if not sums.any():
        return 0.0
    red, green, blue = (float(part) for part in sums / sums.sum())
    return min(1.0, hypot(green - (red + blue) / 2, ((red + green) / 2 - blue) / 2))
