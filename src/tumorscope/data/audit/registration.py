"""Where the pixels of one picture of a slice lie in another picture of it."""

from dataclasses import dataclass

import cv2
import numpy as np

from tumorscope.data.audit.frames import content_box, transformed

_SIDE = 160
# Of the content's height and width: a content box is a guess, and what it cut off shall still count.
_MARGIN = 0.08
_COARSE = (4, 2)
_SMOOTH_TAPS = 5
_STEPS, _SMALLEST_GAIN = 60, 1e-5
_FINE_PX, _BROAD_PX, _LOCAL_PX = 1.5, 5.0, 8.0
# As in `alignment`: share of the typical contrast below which a place counts as flat.
_FLAT_SHARE = 0.3
# Of the frame, below which two pictures share too little for their correlation to mean anything.
_SHARED = 0.25


@dataclass(frozen=True, slots=True, eq=False)
class Registration:
    """The map from one picture of a slice to another.

    Attributes:
        matrix: Takes (x, y, 1) of the first picture to (x, y) of the second, in pixels, float64, shape (2, 3).
        correlation: Of the fine detail of both where they overlap, -1 to 1; 0 where there is nothing to compare.
    """

    matrix: np.ndarray
    correlation: float

    def moved(self, points: np.ndarray) -> np.ndarray:
        """Return points (x, y), shape (points, 2), of the first picture in pixels of the second."""
        placed: np.ndarray = points @ self.matrix[:, :2].T + self.matrix[:, 2]
        return placed


@dataclass(frozen=True, slots=True, eq=False)
class _Framed:
    """A picture cut to its content and some margin: float32, whether a place lies inside the picture, and the map onto it."""

    pixels: np.ndarray
    inside: np.ndarray
    matrix: np.ndarray


def register(first: np.ndarray, second: np.ndarray, transform: int) -> Registration:
    """Return the affine map from the first of two pictures of one slice to the second.

    Starts from the content of both, one stretched onto the other, and raises the correlation from coarse to fine, at last that of
    their fine detail with its contrast made even, which a change of gamma leaves as it is.

    Args:
        first: uint8, shape (rows, columns).
        second: Likewise, of any other size.
        transform: Flip or turn that leads from the first to the second, position in `TRANSFORMS`.

    Source:
        Evangelidis and Psarakis 2008, https://doi.org/10.1109/TPAMI.2008.113
    """
    turned = np.ascontiguousarray(transformed(first, transform))
    a, b = _framed(turned), _framed(second)
    warp = np.eye(3)
    for shrink in _COARSE:
        warp = _refined(a.pixels, b, warp, shrink=shrink, taps=_SMOOTH_TAPS)
    fine = _Framed(_detail(b.pixels), b.inside, b.matrix)
    warp = _refined(_detail(a.pixels), fine, warp, shrink=1, taps=1)
    matrix = np.linalg.inv(b.matrix) @ warp @ a.matrix @ _turn(first.shape, transform)
    return Registration(matrix[:2], _correlation(a, fine, warp))


def _framed(pixels: np.ndarray) -> _Framed:
    top, bottom, left, right = content_box(pixels)
    tall, wide = (1 + 2 * _MARGIN) * (bottom - top), (1 + 2 * _MARGIN) * (right - left)
    down, across = _SIDE / tall, _SIDE / wide
    first_x, first_y = left - _MARGIN * (right - left), top - _MARGIN * (bottom - top)
    matrix = np.array(
        [[across, 0, (0.5 - first_x) * across - 0.5], [0, down, (0.5 - first_y) * down - 0.5], [0, 0, 1]], dtype=np.float64
    )
    smooth = cv2.GaussianBlur(pixels.astype(np.float32), (0, 0), sigmaX=_blur_px(across), sigmaY=_blur_px(down))
    framed = cv2.warpAffine(smooth, matrix[:2], (_SIDE, _SIDE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    inside = cv2.warpAffine(np.ones_like(pixels), matrix[:2], (_SIDE, _SIDE), flags=cv2.INTER_NEAREST)
    return _Framed(framed, inside, matrix)


def _blur_px(scale: float) -> float:
    """Blur before a picture is scaled: about half a pixel of the result where that is the coarser one, else none to speak of."""
    return 0.5 * float(np.sqrt(max(1 / scale**2 - 1, 0))) + 1e-3


def _turn(shape: tuple[int, ...], transform: int) -> np.ndarray:
    """The map of (x, y, 1) under `transformed`, shape (3, 3)."""
    rows, columns = shape
    matrix = np.eye(3)
    for _ in range(transform % 4):
        matrix = np.array([[0, 1, 0], [-1, 0, columns - 1], [0, 0, 1.0]]) @ matrix
        rows, columns = columns, rows
    mirror = np.array([[-1, 0, columns - 1], [0, 1, 0], [0, 0, 1.0]])
    return mirror @ matrix if transform >= 4 else matrix


def _refined(a: np.ndarray, b: _Framed, warp: np.ndarray, *, shrink: int, taps: int) -> np.ndarray:
    """A better map from frame a to frame b, or the same where none is found: what it is worth, the correlation says."""
    side = _SIDE // shrink
    middle = (shrink - 1) / 2
    larger = np.array([[shrink, 0, middle], [0, shrink, middle], [0, 0, 1.0]])
    first, second = (cv2.resize(frame, (side, side), interpolation=cv2.INTER_AREA) for frame in (a, b.pixels))
    inside = cv2.resize(b.inside, (side, side), interpolation=cv2.INTER_NEAREST)
    start = (np.linalg.inv(larger) @ warp @ larger)[:2].astype(np.float32)
    until = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, _STEPS, _SMALLEST_GAIN)
    try:
        _, found = cv2.findTransformECC(first, second, start, cv2.MOTION_AFFINE, until, inside, taps)
    except cv2.error:  # flat, or without a common part
        return warp
    better = np.vstack([found, (0, 0, 1)]).astype(np.float64)
    return larger @ better @ np.linalg.inv(larger) if abs(np.linalg.det(better)) > 0.1 else warp


def _detail(frame: np.ndarray) -> np.ndarray:
    smooth = cv2.GaussianBlur(frame, (0, 0), _FINE_PX)
    detail = smooth - cv2.GaussianBlur(smooth, (0, 0), _BROAD_PX)
    squared = detail * detail
    local, typical = np.sqrt(cv2.GaussianBlur(squared, (0, 0), _LOCAL_PX)), np.sqrt(squared.mean())
    even: np.ndarray = detail / (local + _FLAT_SHARE * typical + 1e-6)
    return even


def _correlation(a: _Framed, fine: _Framed, warp: np.ndarray) -> float:
    """Of the detail of a frame, moved, and of another whose detail is given."""
    size, matrix = (_SIDE, _SIDE), warp[:2]
    moved = _detail(cv2.warpAffine(a.pixels, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))
    shared = (cv2.warpAffine(a.inside, matrix, size, flags=cv2.INTER_NEAREST) > 0) & (fine.inside > 0)
    if shared.mean() < _SHARED:
        return 0.0
    x, y = (values - values.mean() for values in (moved[shared], fine.pixels[shared]))
    spread = float(np.sqrt((x * x).sum() * (y * y).sum()))
    return float((x * y).sum()) / spread if spread > 1e-3 else 0.0
