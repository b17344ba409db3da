"""`python -m benchmarks.quality`: the time that judging an image takes, and what the score tells.

Prints the processor time of `image_quality` for images of several sizes, and the area under the ROC
curve of the score: the chance that an intact photograph has a higher score than a damaged one. The
thresholds were chosen on the first set of photographs; the scores of the second were seen
meanwhile, so its area may be flattering, too.
"""

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from tests.support.damage import blurred, compressed, exposed, noisy, turned
from tests.support.media import Frame, photograph
from traffic_storage.domain.quality.image import image_quality

_SIZES = {"2 MP": (1920, 1080), "12 MP": (4000, 3000), "50 MP": (8192, 6144)}
_MOST_MS = 60.0
_CHOSEN_ON = (
    *("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png"),
    *("rocket.jpg", "retina.jpg", "hubble_deep_field.jpg", "camera.png"),
)
_HELD_OUT = (
    *("coins.png", "brick.png", "grass.png", "gravel.png", "ihc.png", "motorcycle_right.png"),
    *("moon.png", "page.png"),
)
_DAMAGE: Mapping[str, Callable[[Frame], Frame]] = {
    "blur, 2 pixels": lambda image: blurred(image, 2),
    "blur, 4 pixels": lambda image: blurred(image, 4),
    "blur, 4 pixels; JPEG 50": lambda image: compressed(blurred(image, 4), 50),
    "noise, 20 levels": lambda image: noisy(image, 20),
    "noise, 40 levels": lambda image: noisy(image, 40),
    "exposure, -4 stops": lambda image: exposed(image, -4),
    "exposure, +2.5 stops": lambda image: exposed(image, 2.5),
    "JPEG quality 15": lambda image: compressed(image, 15),
    "JPEG quality 8": lambda image: compressed(image, 8),
    "hue, 60 degrees": lambda image: turned(image, 60),
}


def loaded(name: str) -> Frame:
    """Return a photograph that scikit-image ships; a grey one as `(H, W)`, else RGB."""
    package = find_spec("skimage")
    if package is None or package.submodule_search_locations is None:
        raise RuntimeError("scikit-image is missing: install the development requirements")
    with Image.open(Path(package.submodule_search_locations[0]) / "data" / name) as image:
        return np.asarray(image.convert("L" if image.mode in {"L", "I;16"} else "RGB"))


def area(good: Sequence[float], bad: Sequence[float]) -> float:
    """Return the area under the ROC curve: the share of pairs in the right order, ties half."""
    higher = np.subtract.outer(good, bad)
    return float((higher > 0).mean() + 0.5 * (higher == 0).mean())


def judged(names: Sequence[str]) -> None:
    """Print the ROC area for each damage to these photographs, and for all together."""
    images = [loaded(name) for name in names]
    good = [image_quality(image).score for image in images]
    everything: list[float] = []
    for title, damage in _DAMAGE.items():
        # A grey image has no hue.
        coloured = [one for one in images if one.ndim == 3 or "hue" not in title]
        bad = [image_quality(damage(image)).score for image in coloured]
        everything += bad
        print(f"  {title:23} {area(good, bad):.3f}  ({len(good)} intact, {len(bad)} damaged)")
    print(f"  {'all':23} {area(good, everything):.3f}")


def fastest(image: Frame, rounds: int) -> float:
    """Return the least processor time of judging an image, in milliseconds."""
    times = []
    for _ in range(rounds):
        begin = time.process_time()
        image_quality(image)
        times.append(time.process_time() - begin)
    return min(times) * 1000


def main() -> int:
    """Measure and print; return 1 if an image of 12 megapixels took too long."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    print("processor time of image_quality")
    slow = False
    for title, size in _SIZES.items():
        image = np.asarray(Image.fromarray(photograph("motorcycle")).resize(size))
        took = fastest(image, rounds)
        slow |= title == "12 MP" and took > _MOST_MS
        print(f"  {title:6} {took:5.1f} ms")
    for title, names in (("first set", _CHOSEN_ON), ("second set, held out", _HELD_OUT)):
        print(f"area under the ROC curve, {title}")
        judged(names)
    return int(slow)


if __name__ == "__main__":
    raise SystemExit(main())
