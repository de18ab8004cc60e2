"""Where the inner border of the skull runs, and what lies inside of it."""

from dataclasses import dataclass

import cv2
import numpy as np

from tumorscope.data.head import head_mask

_SECTORS = 72
_WORKING_SIZE = 192
_SHALLOWEST, _DEEPEST = 0.03, 0.26
_DIP = 0.65
_WITHOUT_SKULL = 0.04


@dataclass(frozen=True, slots=True, eq=False)
class Anatomy:
    """What a transplant needs to know of a head.

    Attributes:
        head: bool, shape (rows, columns).
        inside: bool, same shape: what the skull encloses, as far as a dark skull shows; elsewhere the head but for a thin rim.
        level: Usual intensity of the tissue inside.
        width: Columns that the head spans, in pixels.
        centre: Row and column of the middle of the head.
        radius: Half the head's smaller extent, in pixels.
    """

    head: np.ndarray
    inside: np.ndarray
    level: float
    width: int
    centre: tuple[float, float]
    radius: float


def study_anatomy(pixels: np.ndarray) -> Anatomy | None:
    """Return the anatomy of a scan, or None when it shows no head.

    Args:
        pixels: uint8, shape (rows, columns).
    """
    head = head_mask(pixels)
    if head.sum() < 0.05 * head.size:
        return None
    rows, columns = np.flatnonzero(head.any(axis=1)), np.flatnonzero(head.any(axis=0))
    shrink = max(1.0, max(pixels.shape) / _WORKING_SIZE)
    size = (round(pixels.shape[1] / shrink), round(pixels.shape[0] / shrink))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    small_head = cv2.resize(head.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    inside_small, level = _inside(cv2.GaussianBlur(small, (3, 3), 0), small_head)
    inside = cv2.resize(inside_small.astype(np.float32), pixels.shape[::-1], interpolation=cv2.INTER_LINEAR) > 0.5
    width, height = int(columns[-1] - columns[0]) + 1, int(rows[-1] - rows[0]) + 1
    centre = (float(rows[0] + rows[-1]) / 2, float(columns[0] + columns[-1]) / 2)
    return Anatomy(head, inside & head, level, width, centre, min(width, height) / 2)


def _inside(pixels: np.ndarray, head: np.ndarray) -> tuple[np.ndarray, float]:
    """Return what the skull encloses and the usual intensity of deep tissue."""
    framed = cv2.copyMakeBorder(head, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    depth = cv2.distanceTransform(framed, cv2.DIST_L2, 5)[1:-1, 1:-1]
    radius = float(depth.max())
    level = float(np.median(pixels[depth > 0.4 * radius]))
    middle = np.argwhere(depth > 0.8 * radius).mean(axis=0)
    rows, columns = np.arange(pixels.shape[0])[:, None], np.arange(pixels.shape[1])[None, :]
    angle = np.arctan2(rows - middle[0], columns - middle[1])
    sector = ((angle + np.pi) / (2 * np.pi) * _SECTORS).astype(np.int64) % _SECTORS
    border = _inner_border(_profiles(pixels, sector, depth, radius), level, radius)
    return depth >= border[sector], level


def _profiles(pixels: np.ndarray, sector: np.ndarray, depth: np.ndarray, radius: float) -> np.ndarray:
    """Return the mean intensity by sector and by depth in pixels, smoothed over neighbouring sectors."""
    bins = int(np.ceil(_DEEPEST * radius)) + 3
    near = (depth > 0) & (depth < bins)
    cell = sector[near] * bins + depth[near].astype(np.int64)
    total = np.bincount(cell, weights=pixels[near], minlength=_SECTORS * bins).reshape(_SECTORS, bins)
    count = np.bincount(cell, minlength=_SECTORS * bins).reshape(_SECTORS, bins)
    total, count = (np.roll(array, -1, 0) + array + np.roll(array, 1, 0) for array in (total, count))
    return np.asarray(total / np.maximum(count, 1))


def _inner_border(profiles: np.ndarray, level: float, radius: float) -> np.ndarray:
    """Return for every sector the depth at which tissue begins below the dark skull, in pixels."""
    first, last = max(1, round(_SHALLOWEST * radius)), profiles.shape[1] - 2
    depths = np.full(len(profiles), np.nan)
    for number, profile in enumerate(profiles):
        dip = first + int(profile[first:last].argmin())
        rise = np.flatnonzero(profile[dip:] > (profile[dip] + level) / 2)
        if profile[dip] < _DIP * level and len(rise):
            depths[number] = dip + rise[0]
    found = np.isfinite(depths)
    if found.sum() < _SECTORS / 3:
        return np.full(len(profiles), _WITHOUT_SKULL * radius)
    depths[~found] = np.median(depths[found])
    return np.median([np.roll(depths, step) for step in range(-4, 5)], axis=0)
