"""Outlines of tumours as points: traced around masks, clipped to an image, written as a manifest has them."""

from collections.abc import Iterable

import cv2
import numpy as np

# A contour runs through the centres of the outermost pixels of a picture; enlarged so often, it runs close to their edges.
_ENLARGED = 4
# Pixels that a traced outline may lie beside the edge of its mask, to spare it a point for every step.
_TOLERANCE = 0.3


def trace_outlines(mask: np.ndarray) -> list[np.ndarray]:
    """Return the outlines of a mask, one around each part; holes are filled.

    Args:
        mask: bool, shape (rows, columns).

    Returns:
        Points (x, y) in pixels, pixel centres at whole numbers, float64, shape (points, 2) each; none for an empty mask.
    """
    if not mask.any():
        return []
    top, left = (int(np.flatnonzero(mask.any(axis=axis))[0]) for axis in (1, 0))
    enlarged = mask[top:, left:].astype(np.uint8).repeat(_ENLARGED, axis=0).repeat(_ENLARGED, axis=1)
    contours, _ = cv2.findContours(enlarged, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    simpler = (cv2.approxPolyDP(contour, _TOLERANCE * _ENLARGED, closed=True) for contour in contours)
    return [(points[:, 0] + 0.5) / _ENLARGED - 0.5 + (left, top) for points in simpler if len(points) >= 3]


def clip_outline(points: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return the part of an outline that lies inside an image, its pixels to their outer edges.

    Parts that an outline leaves and enters again stay joined along the edge of the image, which adds no area.

    Args:
        points: (x, y) in pixels, float, shape (points, 2).
        shape: Rows and columns of the image.

    Returns:
        Likewise; no points where all lies outside.

    Source:
        Sutherland and Hodgman 1974, https://doi.org/10.1145/360767.360802
    """
    clipped = np.asarray(points, dtype=np.float64)
    for axis, size in ((0, shape[1]), (1, shape[0])):
        for sign, edge in ((1.0, -0.5), (-1.0, size - 0.5)):
            clipped = _one_side(clipped, sign * (clipped[:, axis] - edge))
    return clipped


def _one_side(points: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """The polygon where `inside`, a distance for every point, is at least 0, with new points where an edge crosses 0."""
    kept: list[np.ndarray] = []
    for row in range(len(points)):
        before, here = inside[row - 1], inside[row]
        if (before >= 0) != (here >= 0):
            kept.append(points[row - 1] + (points[row] - points[row - 1]) * (before / (before - here)))
        if here >= 0:
            kept.append(points[row])
    return np.array(kept).reshape(-1, 2)


def write_outlines(outlines: Iterable[np.ndarray]) -> str:
    """Return outlines as a manifest's `mask` has them, `x,y x,y ... | x,y ...`, to a tenth of a pixel."""
    return " | ".join(" ".join(f"{x:.1f},{y:.1f}" for x, y in np.round(points, 1) + 0.0) for points in outlines)
