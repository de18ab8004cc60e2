"""What edits of a scan share: masks checked, grown and moved, and sizes by the scan's own."""

import math

import cv2
import numpy as np

from tumorscope.errors import DataError

_SEAM = 8


def check_scan(pixels: np.ndarray, mask: np.ndarray | None = None) -> None:
    """Refuse a scan or mask that the editing of scans cannot take.

    Raises:
        DataError: The scan is not uint8 with two axes, or the mask is not bool, or their shapes differ.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 2 or min(pixels.shape) < 16:
        raise DataError(
            f"a scan of {pixels.dtype} and shape {pixels.shape} cannot be edited. Needed: uint8, (rows, columns), at least 16 each."
        )
    if mask is None:
        return
    if mask.dtype != np.bool_:
        raise DataError(f"a mask of {mask.dtype}: bool is needed, true where the tumour is. Compare it with 0 first.")
    if mask.shape != pixels.shape:
        raise DataError(f"the mask has shape {mask.shape}, its scan {pixels.shape}. Draw the mask on the scan's own grid.")


def grown(mask: np.ndarray, radius: float) -> np.ndarray:
    """Return a mask with everything within `radius` pixels of it; shrunk where negative, the scan's edge being no edge of it."""
    result = mask.copy()
    if not mask.any() or mask.all() or radius == 0:
        return result
    window = box(mask, around=math.ceil(abs(radius)) + 1)
    part = mask[window]
    if radius < 0:
        result[window] = part if part.all() else cv2.distanceTransform(part.astype(np.uint8), cv2.DIST_L2, 5) > -radius
    else:
        result[window] = cv2.distanceTransform((~part).astype(np.uint8), cv2.DIST_L2, 5) <= radius
    return result


def pixel_unit(pixels: np.ndarray) -> float:
    """Return the size of what spans one pixel where the scan has 512 rows or columns, in pixels."""
    return float(max(pixels.shape)) / 512


def margin(mask: np.ndarray, unit: float) -> float:
    """Return how far beyond its outline a tumour may shine, in pixels: outlines are drawn by hand and edges are soft."""
    return max(1.0, 3 * unit, 0.1 * math.sqrt(int(mask.sum()) / math.pi))


def seam_width(unit: float) -> float:
    """Return over how many pixels an edit is blended into its scan."""
    return max(1.5, _SEAM * unit)


def box(mask: np.ndarray, around: int = 0) -> tuple[slice, slice]:
    """Return the rows and columns that hold a mask that is not empty, and `around` pixels more on every side inside the array."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return (
        slice(max(0, int(rows[0]) - around), min(mask.shape[0], int(rows[-1]) + 1 + around)),
        slice(max(0, int(columns[0]) - around), min(mask.shape[1], int(columns[-1]) + 1 + around)),
    )


def moved(mask: np.ndarray, down: int, right: int) -> np.ndarray | None:
    """Return a mask moved by whole pixels, or None when a part of it would leave the scan."""
    result = np.zeros_like(mask)
    if not mask.any():
        return result
    rows, columns = box(mask)
    top, left = rows.start + down, columns.start + right
    bottom, end = rows.stop + down, columns.stop + right
    if min(top, left) < 0 or bottom > mask.shape[0] or end > mask.shape[1]:
        return None
    result[top:bottom, left:end] = mask[rows, columns]
    return result
