"""A scan as the audit compares it: cut to its content, small, and under every flip and quarter turn."""

from dataclasses import dataclass

import cv2
import numpy as np

FRAME_SIZE = 64
"""Rows and columns of a frame in pixels."""

TRANSFORMS: tuple[str, ...] = (
    "identity",
    "turn_90",
    "turn_180",
    "turn_270",
    "mirror",
    "turn_90_mirror",
    "turn_180_mirror",
    "turn_270_mirror",
)
"""The eight symmetries of a square: turned counter-clockwise by so many degrees, then mirrored left-right."""

# A mirror undoes itself, with any turn before it; a plain turn is undone by the rest of the full circle.
INVERSE: tuple[int, ...] = (0, 3, 2, 1, 4, 5, 6, 7)

# Of Otsu's threshold. Lower, and noise in the background counts as content after a brightening; higher, and dim tissue does not.
_CONTENT_LEVEL = 0.6
_CONTENT_SHARE = 0.02
_SMALLEST_CONTENT = 8


@dataclass(frozen=True, slots=True, eq=False)
class Framed:
    """A scan's content: where it lies, and what it looks like.

    Attributes:
        box: First row, row after the last, first column, column after the last, as from `content_box`.
        frame: uint8, shape (FRAME_SIZE, FRAME_SIZE), as from `frame`.
    """

    box: tuple[int, int, int, int]
    frame: np.ndarray


def content_box(pixels: np.ndarray) -> tuple[int, int, int, int]:
    """Return the box that holds what is not background.

    Judged by Otsu's threshold, so a change of brightness, contrast or gamma moves the box little.

    Args:
        pixels: uint8, shape (rows, columns).

    Returns:
        First row, row after the last, first column, column after the last; the whole picture when it shows next to nothing.

    Source:
        Otsu 1979, https://doi.org/10.1109/TSMC.1979.4310076
    """
    smooth = cv2.GaussianBlur(pixels, (5, 5) if min(pixels.shape) >= 160 else (3, 3), 0)
    threshold, _ = cv2.threshold(smooth, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    bright = cv2.threshold(smooth, threshold * _CONTENT_LEVEL, 1, cv2.THRESH_BINARY)[1]
    in_row, in_column = (cv2.reduce(bright, axis, cv2.REDUCE_SUM, dtype=cv2.CV_32S).ravel() for axis in (1, 0))
    rows = np.flatnonzero(in_row / pixels.shape[1] > _CONTENT_SHARE)
    columns = np.flatnonzero(in_column / pixels.shape[0] > _CONTENT_SHARE)
    if len(rows) < _SMALLEST_CONTENT or len(columns) < _SMALLEST_CONTENT:
        return 0, pixels.shape[0], 0, pixels.shape[1]
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def frame(pixels: np.ndarray) -> np.ndarray:
    """Return a scan's content stretched to a small square, whatever its margins, size and proportions.

    Args:
        pixels: uint8, shape (rows, columns).

    Returns:
        uint8, shape (FRAME_SIZE, FRAME_SIZE).
    """
    return framed(pixels).frame


def framed(pixels: np.ndarray) -> Framed:
    """Return a scan's content with the place it was cut from; argument as for `frame`."""
    box = top, bottom, left, right = content_box(pixels)
    shrinks = min(bottom - top, right - left) >= FRAME_SIZE
    small = cv2.resize(
        pixels[top:bottom, left:right],
        (FRAME_SIZE, FRAME_SIZE),
        interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR,
    )
    return Framed(box, np.asarray(small, dtype=np.uint8))


def transformed(frames: np.ndarray, transform: int) -> np.ndarray:
    """Return square pictures turned and mirrored.

    Args:
        frames: Shape (..., side, side).
        transform: Position in `TRANSFORMS`.

    Returns:
        A view of the same shape.
    """
    turned = np.rot90(frames, transform % 4, axes=(-2, -1))
    return turned[..., ::-1] if transform >= 4 else turned


def followed_by(first: int, second: int) -> int:
    """Return the one transform that does what two do, one after the other; all are positions in `TRANSFORMS`."""
    turns = first + second if first < 4 else first - second  # a mirror makes of a turn one the other way round
    return turns % 4 + 4 * ((first >= 4) != (second >= 4))
