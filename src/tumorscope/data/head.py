"""Where the head lies in a scan."""

import cv2
import numpy as np

# Of Otsu's threshold: dim tissue counts as head, noise in the background does not.
_HEAD_LEVEL = 0.5
_WORKING_SIZE = 256


def head_mask(pixels: np.ndarray) -> np.ndarray:
    """Return the area of the head: the largest bright area, its gaps closed and filled.

    Args:
        pixels: uint8, shape (rows, columns).

    Returns:
        bool, same shape; all false for a blank scan.

    Source:
        Otsu 1979, https://doi.org/10.1109/TSMC.1979.4310076
    """
    rows, columns = pixels.shape
    shrink = max(1.0, max(rows, columns) / _WORKING_SIZE)
    size = (max(1, round(columns / shrink)), max(1, round(rows / shrink)))
    small = cv2.GaussianBlur(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), (5, 5), 0)
    threshold, _ = cv2.threshold(small, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    bright = (small > threshold * _HEAD_LEVEL).astype(np.uint8)
    gap = 2 * round(max(2, max(size) / 50)) + 1
    framed = cv2.copyMakeBorder(bright, 8, 8, 8, 8, cv2.BORDER_CONSTANT, value=0)
    closed = cv2.morphologyEx(framed, cv2.MORPH_CLOSE, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (gap, gap)))
    contours, _ = cv2.findContours(closed, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not contours or threshold == 0:
        return np.zeros(pixels.shape, dtype=bool)
    filled = np.zeros_like(closed)
    cv2.drawContours(filled, [max(contours, key=cv2.contourArea)], -1, 1, cv2.FILLED)
    full = cv2.resize(filled[8:-8, 8:-8], (columns, rows), interpolation=cv2.INTER_LINEAR)
    return np.asarray(full > 0)
