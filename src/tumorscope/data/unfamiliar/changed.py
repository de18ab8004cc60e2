"""Scans changed until they are no longer what a scanner gives: inverted, coloured, turned, cut."""

import cv2
import numpy as np

from tumorscope.data.unfamiliar.drawn import stretched

_COLOUR_MAPS = (cv2.COLORMAP_JET, cv2.COLORMAP_HSV, cv2.COLORMAP_RAINBOW)
"""Maps whose luminance does not rise with the value, so that turning them to grey does not give the scan back."""

_CROPPED_SIDE = (0.3, 0.45)


def inverted(scan: np.ndarray, rng: np.random.Generator) -> np.ndarray:  # noqa: ARG001
    """Return black as white, as when a photometric interpretation is overlooked."""
    return 255 - scan


def coloured(scan: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a scan, its grey levels stretched over the whole of a map, in false colours turned to grey again by luminance."""
    colours = cv2.applyColorMap(stretched(scan), int(rng.choice(_COLOUR_MAPS)))
    return np.asarray(cv2.cvtColor(colours, cv2.COLOR_BGR2GRAY), dtype=np.uint8)


def upside_down(scan: np.ndarray, rng: np.random.Generator) -> np.ndarray:  # noqa: ARG001
    """Return a scan turned by half a circle."""
    return np.ascontiguousarray(scan[::-1, ::-1])


def turned(scan: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a scan turned by 45 degrees one way or the other, with room for its corners."""
    side = int(np.ceil(np.hypot(*scan.shape)))
    angle = 45.0 if rng.random() < 0.5 else -45.0
    centre = ((scan.shape[1] - 1) / 2, (scan.shape[0] - 1) / 2)
    matrix = np.asarray(cv2.getRotationMatrix2D(centre, angle, 1.0), dtype=np.float64)
    matrix[:, 2] += (side - np.array(scan.shape[::-1])) / 2
    return np.asarray(cv2.warpAffine(scan, matrix, (side, side), flags=cv2.INTER_LINEAR), dtype=np.uint8)


def cropped(scan: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a piece from the middle half of a scan, 30 to 45 % of its sides."""
    parts = [max(8, round(rng.uniform(*_CROPPED_SIDE) * length)) for length in scan.shape]
    middles = [rng.uniform(0.35, 0.65) * length for length in scan.shape]
    first = [int(np.clip(m - p / 2, 0, n - p)) for m, p, n in zip(middles, parts, scan.shape, strict=True)]
    return np.ascontiguousarray(scan[first[0] : first[0] + parts[0], first[1] : first[1] + parts[1]])
