"""How strong texture and noise are, by size of detail, and one scan's tissue brought to the strengths of another."""

import math
from itertools import pairwise

import cv2
import numpy as np

BANDS: tuple[float, ...] = (0.6, 1.2, 2.4, 4.8)
"""Upper ends of the bands of detail: standard deviations of Gaussian blurs in pixels."""

FINE = 2
"""Number of bands that hold a scanner's noise and sharpness, and little of what tells a tumour."""

_STRONGEST = 1.3
_OUTLIER = 5.0


def _bands(pixels: np.ndarray) -> list[np.ndarray]:
    """Return a picture as bands of detail, the finest first, and last what is coarser than all."""
    levels = [pixels, *(cv2.GaussianBlur(pixels, (0, 0), sigma) for sigma in BANDS)]
    return [fine - coarse for fine, coarse in pairwise(levels)] + levels[-1:]


def texture_of(pixels: np.ndarray, where: np.ndarray) -> list[float]:
    """Return the mean absolute detail of every band in an area.

    Args:
        pixels: float32, shape (rows, columns).
        where: bool, same shape, true somewhere.
    """
    return [float(np.abs(band[where]).mean()) for band in _bands(pixels)[:-1]]


def with_texture(pixels: np.ndarray, where: np.ndarray, *, wanted: list[float], sample: np.ndarray, bands: int) -> np.ndarray:
    """Return a picture whose finest bands are as strong in an area as wanted.

    What is too strong is weakened; what is too weak is strengthened somewhat, and detail of a sample makes up for the rest. White
    noise instead would have the strength, but not the heavy tails of tissue.

    Args:
        pixels: float32, shape (rows, columns).
        where: bool, same shape, true somewhere.
        wanted: Strengths as `texture_of` returns them.
        sample: float32, same shape: other tissue with the texture that is wanted.
        bands: How many bands are changed, the finest first.
    """
    parts = _bands(pixels)
    spare = _bands(sample)
    for number in range(bands):
        usual = float(np.abs(spare[number][where]).mean())
        spare[number] = spare[number].clip(-_OUTLIER * usual, _OUTLIER * usual)
        has = float(np.abs(parts[number][where]).mean())
        factor = min(wanted[number] / max(has, 1e-3), _STRONGEST)
        missing = math.sqrt(max(0.0, wanted[number] ** 2 - (factor * has) ** 2))
        parts[number] = np.float32(factor) * parts[number] + np.float32(min(missing / max(usual, 1e-3), 2)) * spare[number]
    return np.asarray(sum(parts), dtype=np.float32)
