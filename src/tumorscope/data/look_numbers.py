"""How a scan looks in twenty numbers that know nothing of anatomy: grey levels, surround, outline, roughness."""

import numpy as np

from tumorscope.data.audit.appearance import INSIDE, Appearance, appearance
from tumorscope.data.audit.frames import Framed, framed

_PERCENTS = (1, 5, 10, 25, 50, 75, 90, 95, 99)

LOOK_NAMES: tuple[str, ...] = (
    "levels",
    "top_level_share",
    "mean",
    "std",
    "dark_share",
    "white_share",
    "darkest_corner",
    "brightest_corner",
    "dark_surround",
    "outline_fit",
    "roughness",
    *(f"inside_{percent}" for percent in _PERCENTS),
)
"""What the numbers are: fields of `Appearance`, and percentiles of the grey levels inside the ellipse that a head would fill."""


def look_numbers(pixels: np.ndarray) -> np.ndarray:
    """Return how a scan looks, every number brought to a range of about 1: roots of shares, the logarithm of roughness.

    Args:
        pixels: The scan as shown, uint8, shape (rows, columns): `Preprocessing.eight_bit`.

    Returns:
        float32, shape (20,), in the order of `LOOK_NAMES`.
    """
    content = framed(pixels)
    return numbers_of(appearance(pixels, content), content)


def numbers_of(look: Appearance, content: Framed) -> np.ndarray:
    """Return the same for a scan whose content and appearance are known."""
    numbers = [
        look.levels / 256,
        np.sqrt(look.top_level_share),
        look.mean / 255,
        look.std / 128,
        np.sqrt(look.dark_share),
        np.sqrt(look.white_share),
        look.darkest_corner / 255,
        look.brightest_corner / 255,
        look.dark_surround,
        look.outline_fit,
        np.log(look.roughness + 0.01) / 2,
    ]
    return np.concatenate([numbers, np.percentile(content.frame[INSIDE], _PERCENTS) / 255]).astype(np.float32)
