"""A second scanner for the built-in set, so that a class can be made to give away its source."""

from dataclasses import replace

import cv2
import numpy as np

from tumorscope.data.phantom.patient import PhantomSlice

_ZOOM = 1.2
_RESOLUTION = 0.5
_GAMMA = 0.75


def by_other_scanner(drawn: PhantomSlice) -> PhantomSlice:
    """Return a slice as another scanner would show it: framed more closely, coarser, brighter; the tumour's mask moves along."""
    pixels, mask = _closer(drawn.pixels, cv2.INTER_LINEAR), _closer(drawn.mask.astype(np.uint8), cv2.INTER_NEAREST)
    coarse = max(1, round(_RESOLUTION * len(pixels)))
    small = cv2.resize(pixels, (coarse, coarse), interpolation=cv2.INTER_AREA)
    wide = cv2.resize(small, pixels.shape[::-1], interpolation=cv2.INTER_LINEAR)
    bright = np.rint(255 * (wide / 255) ** _GAMMA).astype(np.uint8)
    return replace(drawn, pixels=bright, mask=mask.astype(bool))


def _closer(picture: np.ndarray, interpolation: int) -> np.ndarray:
    """Enlarge a square picture about its middle, the size kept."""
    side = len(picture)
    matrix = cv2.getRotationMatrix2D(((side - 1) / 2, (side - 1) / 2), 0.0, _ZOOM)
    return np.asarray(cv2.warpAffine(picture, matrix, (side, side), flags=interpolation))
