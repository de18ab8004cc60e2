"""Edited pixels stored as the rest of the scan was: JPEG leaves its blocks in every scan, and an edit without them shows."""

from itertools import pairwise

import cv2
import numpy as np

_QUALITIES = (98, 95, 92, 90, 85, 80, 75, 70, 60, 50)
_BLOCK = 8
_SAMPLE = 128
_CLEARLY = 0.3
_NOTHING = 0.01


def jpeg_quality(pixels: np.ndarray) -> int | None:
    """Return the quality with which a scan was last stored as JPEG on its own grid, or None when it shows no sign of that.

    Storing a picture again with its own quality hardly changes it, while the next higher quality does.

    Args:
        pixels: uint8, shape (rows, columns); judged by the middle.

    Source:
        Farid 2009, JPEG ghosts, https://doi.org/10.1109/TIFS.2008.2012215
    """
    first = [max(0, (size // 2 - _SAMPLE // 2) // _BLOCK * _BLOCK) for size in pixels.shape]
    sample = np.ascontiguousarray(pixels[first[0] : first[0] + _SAMPLE, first[1] : first[1] + _SAMPLE])
    if sample.min() == sample.max():
        return None
    changes = [_change(sample, quality) + _NOTHING for quality in _QUALITIES]
    shares = [lower / higher for higher, lower in pairwise(changes)]
    best = int(np.argmin(shares))
    return _QUALITIES[best + 1] if shares[best] < _CLEARLY else None


def _change(sample: np.ndarray, quality: int) -> float:
    return float(((_stored(sample, quality).astype(np.float32) - sample) ** 2).mean())


def _stored(pixels: np.ndarray, quality: int) -> np.ndarray:
    _, encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE))


def finished(before: np.ndarray, content: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Return a scan with new content in an area, rounded and stored as the scan itself was; every other pixel as before.

    Args:
        before: uint8, shape (rows, columns).
        content: float32, same shape.
        where: bool, same shape, true somewhere.
    """
    result = np.where(where, np.rint(content).clip(0, 255).astype(np.uint8), before)
    quality = jpeg_quality(before)
    if quality is None:
        return np.asarray(result)
    window = tuple(
        slice(int(found[0]) // _BLOCK * _BLOCK, -(-(int(found[-1]) + 1) // _BLOCK) * _BLOCK)
        for found in (np.flatnonzero(where.any(axis=1)), np.flatnonzero(where.any(axis=0)))
    )
    stored = _stored(np.ascontiguousarray(result[window]), quality)
    result[window] = np.where(where[window], stored, result[window])
    return np.asarray(result)
