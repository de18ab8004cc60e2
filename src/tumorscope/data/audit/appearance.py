"""What a picture looks like, in a few cheap numbers: grey levels, surround, likeness to a head, lettering, compression."""

from dataclasses import dataclass

import cv2
import numpy as np

from tumorscope.data.audit.frames import FRAME_SIZE, Framed

_NEAR_BLACK = 12
_NEAR_WHITE = 250

_PLACES = np.arange(FRAME_SIZE)
_ROWS, _COLUMNS = np.mgrid[-1 : 1 : FRAME_SIZE * 1j, -1 : 1 : FRAME_SIZE * 1j]
_RADIUS = _ROWS**2 + _COLUMNS**2
INSIDE, _ELLIPSE, _SURROUND = _RADIUS < 0.8, _RADIUS < 1, _RADIUS > 1.1
"""The ellipse that a head would fill, on a frame, bool; then its border, and what lies around it."""

# Of the mean brightness inside: background is darker, tissue that reaches into a corner is not.
_DARKER = 0.6
_CONTENT_LEVEL = 0.6

_LONGEST_SIDE = 320
_STROKE_CONTRAST = 45
_HEAD_LEVEL = 0.3
_FEWEST_STROKE_PIXELS = 20
_LINE_ROWS = (4, 14)
_LINE_COLUMNS = 12
_INK_SHARE = (0.2, 0.85)
_STROKE_KERNEL = np.ones((5, 5), dtype=np.uint8)
_LINE_KERNEL = np.ones((1, 7), dtype=np.uint8)


@dataclass(frozen=True, slots=True)
class Appearance:
    """What a picture looks like; grey levels are those of 8 bits, shares go from 0 to 1.

    Attributes:
        levels: Number of different grey levels.
        top_level_share: Share of the pixels that have the most frequent level.
        mean: Mean grey level.
        std: Standard deviation of the grey levels.
        dark_share: Share of near-black pixels.
        white_share: Share of near-white pixels.
        margins: Top, bottom, left and right of what is not background, as shares of rows and columns.
        darkest_corner: Mean grey level of the darkest of the four corners.
        brightest_corner: Likewise, of the brightest.
        background_noise: Standard deviation of the grey levels in the darkest corner.
        blockiness: Steps between columns at multiples of 8 pixels over steps elsewhere; above 1 where compression shows.
        sharpness: Mean absolute Laplacian over the standard deviation.
        dark_surround: Share of the corners around an ellipse in the content box that is much darker than the inside.
        outline_fit: Overlap (intersection over union) of the filled content with that ellipse.
        roughness: `sharpness` at the size of a frame, whatever the size of the picture.
        lettering: Strokes that a pixel row of the likeliest line of text crosses, 0 where there is none.
    """

    levels: int
    top_level_share: float
    mean: float
    std: float
    dark_share: float
    white_share: float
    margins: tuple[float, float, float, float]
    darkest_corner: float
    brightest_corner: float
    background_noise: float
    blockiness: float
    sharpness: float
    dark_surround: float
    outline_fit: float
    roughness: float
    lettering: float


def appearance(pixels: np.ndarray, content: Framed) -> Appearance:
    """Return what a picture looks like.

    Args:
        pixels: uint8, shape (rows, columns).
        content: `framed` of the same pixels.
    """
    shares = cv2.calcHist([pixels], [0], None, [256], [0, 256]).ravel() / pixels.size
    mean, std = _mean_and_std(pixels)
    top, bottom, left, right = content.box
    rows, columns = pixels.shape
    darkest, brightest, noise = _corners(pixels)
    dark_surround, outline_fit, roughness = _likeness(content.frame)
    return Appearance(
        levels=int(np.count_nonzero(shares)),
        top_level_share=float(shares.max()),
        mean=mean,
        std=std,
        dark_share=float(shares[: _NEAR_BLACK + 1].sum()),
        white_share=float(shares[_NEAR_WHITE:].sum()),
        margins=(top / rows, 1 - bottom / rows, left / columns, 1 - right / columns),
        darkest_corner=darkest,
        brightest_corner=brightest,
        background_noise=noise,
        blockiness=_blockiness(pixels),
        sharpness=_sharpness(pixels, std),
        dark_surround=dark_surround,
        outline_fit=outline_fit,
        roughness=roughness,
        lettering=lettering(pixels),
    )


def lettering(pixels: np.ndarray) -> float:
    """Return how much the likeliest line of text outside of the head looks like one; lettering on the head itself is not seen.

    Strokes are bright, thin and many in a row of pixels; the outline of a head, an ear or a fold of skin crosses it once or twice.

    Args:
        pixels: uint8, shape (rows, columns).

    Returns:
        Strokes that a pixel row of the line crosses on average; 0 where there is no line.
    """
    shrink = max(pixels.shape) / _LONGEST_SIDE
    if shrink > 1:
        size = (max(1, round(pixels.shape[1] / shrink)), max(1, round(pixels.shape[0] / shrink)))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    smooth = cv2.GaussianBlur(pixels, (3, 3), 0)
    threshold, _ = cv2.threshold(smooth, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    content = cv2.threshold(smooth, threshold * _HEAD_LEVEL, 1, cv2.THRESH_BINARY)[1]
    outlines, _ = cv2.findContours(content, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    if not outlines:
        return 0.0
    thin = cv2.morphologyEx(pixels, cv2.MORPH_TOPHAT, _STROKE_KERNEL)
    cv2.fillConvexPoly(thin, cv2.convexHull(max(outlines, key=len)), 0)
    strokes = cv2.threshold(thin, _STROKE_CONTRAST, 1, cv2.THRESH_BINARY)[1]
    if cv2.countNonZero(strokes) < _FEWEST_STROKE_PIXELS:
        return 0.0
    _, _, boxes, _ = cv2.connectedComponentsWithStats(cv2.morphologyEx(strokes, cv2.MORPH_CLOSE, _LINE_KERNEL))
    return max((_crossings(strokes[y : y + high, x : x + wide]) for x, y, wide, high, _ in boxes[1:].tolist()), default=0.0)


def _crossings(line: np.ndarray) -> float:
    rows, columns = line.shape
    is_line = _LINE_ROWS[0] <= rows <= _LINE_ROWS[1] and columns >= max(_LINE_COLUMNS, 1.6 * rows)
    if not is_line or not _INK_SHARE[0] < line.mean() < _INK_SHARE[1]:
        return 0.0
    return float((np.diff(line.astype(np.int8), axis=1) == 1).sum() / rows)


def _mean_and_std(pixels: np.ndarray) -> tuple[float, float]:
    mean, std = cv2.meanStdDev(pixels)
    return float(mean[0, 0]), float(std[0, 0])


def _corners(pixels: np.ndarray) -> tuple[float, float, float]:
    """Return the mean of the darkest and of the brightest corner, and the deviation inside the darkest."""
    side = max(1, min(pixels.shape) // 14)
    corners = [corner[:, part] for corner in (pixels[:side], pixels[-side:]) for part in (slice(side), slice(-side, None))]
    found = [_mean_and_std(corner) for corner in corners]
    darkest, noise = min(found, key=lambda mean_and_std: mean_and_std[0])
    return darkest, max(mean for mean, _ in found), noise


def _blockiness(pixels: np.ndarray) -> float:
    if pixels.shape[1] < 24:
        return 1.0
    steps = cv2.reduce(cv2.absdiff(pixels[:, 1:], pixels[:, :-1]), 0, cv2.REDUCE_AVG, dtype=cv2.CV_32F).ravel()
    everywhere = float(steps.mean())
    return float(steps[7::8].mean()) / everywhere if everywhere else 1.0


def _sharpness(pixels: np.ndarray, std: float) -> float:
    return float(cv2.norm(cv2.Laplacian(pixels, cv2.CV_16S), cv2.NORM_L1)) / pixels.size / std if std else 0.0


def _likeness(small: np.ndarray) -> tuple[float, float, float]:
    """Return dark surround, outline fit and roughness of a frame."""
    dark_surround = float(np.mean(small[_SURROUND] < _DARKER * small[INSIDE].mean()))
    smooth = cv2.GaussianBlur(small, (3, 3), 0)
    threshold, _ = cv2.threshold(smooth, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    filled = _filled(np.asarray(smooth > threshold * _CONTENT_LEVEL))
    fit = int(np.count_nonzero(filled & _ELLIPSE)) / int(np.count_nonzero(filled | _ELLIPSE))
    return dark_surround, fit, _sharpness(small, _mean_and_std(small)[1])


def _filled(content: np.ndarray) -> np.ndarray:
    """Fill whatever lies between content both along its row and along its column."""
    filled: np.ndarray = _filled_along_rows(content) & _filled_along_rows(content.T).T
    return filled


def _filled_along_rows(content: np.ndarray) -> np.ndarray:
    first = content.argmax(axis=1, keepdims=True)
    last = content.shape[1] - 1 - content[:, ::-1].argmax(axis=1, keepdims=True)
    filled: np.ndarray = (first <= _PLACES) & (last >= _PLACES) & content.any(axis=1, keepdims=True)
    return filled
