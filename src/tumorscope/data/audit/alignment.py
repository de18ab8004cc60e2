"""How alike two frames are in fine detail, once small differences of place, size, brightness and contrast are taken away."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import cv2
import numpy as np

from tumorscope.data.audit.frames import FRAME_SIZE, transformed

_AT_ONCE = 256
_HALF = FRAME_SIZE // 2
_COARSE_STEPS = 3
_SMOOTH_PX = 1.0
_BROAD_PX = 3.0
_LOCAL_PX = 4.0
# Share of a frame's typical contrast below which a place counts as flat, so that noise there is not blown up.
_FLAT_SHARE = 0.3
_PARTS = 5
_RIDGE = 1e-6
# Largest change of place or size that is still the same framing, in half frames.
_LARGEST_MOVE = 0.3
# Coarse likeness before and after alignment below which nobody would take two frames for one slice.
_HOPELESS, _UNLIKE = 0.5, 0.9


def likeness(
    frames: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    transform: np.ndarray,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Return how well the fine detail of one frame explains that of another.

    Only what is finer than a tenth of the frame counts: neighbouring slices of one patient share outlines and large
    structures, but not each furrow. The first frame is shifted and stretched onto the second at half size; what remains of such
    differences is part of the last, linear step, so a frame that was cut some pixels differently loses next to nothing.

    Args:
        frames: uint8, shape (n, FRAME_SIZE, FRAME_SIZE).
        a: Rows of the first frames, int, shape (pairs,).
        b: Rows of the second frames, likewise.
        transform: What turns each first frame before it is compared, positions in `TRANSFORMS`.
        progress: Called with (done, all) now and then.

    Returns:
        Multiple correlation, float32, shape (pairs,), 0 to 1; 0 for pairs that are coarsely unlike and for frames without detail.

    Source:
        Lucas and Kanade 1981, sections 3 and 4.4 (place, contrast and brightness together), https://hal.science/hal-03697340
    """
    result = np.zeros(len(a), dtype=np.float32)
    starts = range(0, len(a), _AT_ONCE)
    by_second = np.argsort(b, kind="stable")

    def one_block(start: int) -> None:
        part = by_second[start : start + _AT_ONCE]
        seconds, which = np.unique(b[part], return_inverse=True)
        result[part] = _block(_turned(frames, a[part], transform[part]), frames[seconds].astype(np.float32), which)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done, _ in enumerate(pool.map(one_block, starts), start=1):
            if progress is not None:
                progress(min(done * _AT_ONCE, len(a)), len(a))
    return result


def _block(first: np.ndarray, seconds: np.ndarray, which: np.ndarray) -> np.ndarray:
    """Likeness of each first frame and the one of the seconds that `which` names; those are few, as a frame has several pairs."""
    result = np.zeros(len(first), dtype=np.float32)
    kept, moves = _coarse_moves(_halved(first), _halved(seconds)[which])
    if len(kept):
        needed, place = np.unique(which[kept], return_inverse=True)
        detail = _detail(seconds[needed])[place]
        result[kept] = _explained(_detail(_moved(first[kept], moves)), detail)[0]
    return result


def _turned(frames: np.ndarray, rows: np.ndarray, transform: np.ndarray) -> np.ndarray:
    turned = np.empty((len(rows), *frames.shape[1:]), dtype=np.float32)
    for kind in np.unique(transform):
        of_kind = transform == kind
        turned[of_kind] = transformed(frames[rows[of_kind]], int(kind))
    return turned


def _coarse_moves(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the pairs that are coarsely alike, and what moves each first frame of them onto the second (kept, 4)."""
    kept = np.arange(len(first))
    moves = np.zeros((len(first), 4))
    for step in range(_COARSE_STEPS):
        if not len(kept):
            break
        alike, weights = _explained(_moved(first[kept], moves) if step else first, second[kept])
        gain = np.where(weights[:, :1] > 0.05, weights[:, :1], np.inf)
        moves = (moves + weights[:, 1:] / gain * (2 / (_HALF - 1))).clip(-_LARGEST_MOVE, _LARGEST_MOVE)
        keep = alike > (_UNLIKE if step == _COARSE_STEPS - 1 else _HOPELESS)
        kept, moves = kept[keep], moves[keep]
    return kept, moves


def _explained(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Multiple correlation of second with first and its small moves (pairs,), and the weights of these (pairs, 5)."""
    count, side, _ = first.shape
    place = np.linspace(-1, 1, side, dtype=np.float32)
    parts = np.empty((count, _PARTS, side, side), dtype=np.float32)
    parts[:, 0] = first
    _write_slope(first, parts[:, 1])
    _write_slope(first.transpose(0, 2, 1), parts[:, 2].transpose(0, 2, 1))
    np.multiply(parts[:, 1], place[:, None], out=parts[:, 3])
    np.multiply(parts[:, 2], place, out=parts[:, 4])
    flat = parts.reshape(count, _PARTS, -1)
    means = flat.mean(axis=2, keepdims=True)
    target = second.reshape(count, -1, 1)
    target = target - target.mean(axis=1, keepdims=True)
    size = side * side
    gram = (flat @ flat.transpose(0, 2, 1)).astype(np.float64) - size * (means @ means.transpose(0, 2, 1)).astype(np.float64)
    gram += (_RIDGE * np.trace(gram, axis1=1, axis2=2) + 1e-6)[:, None, None] * np.eye(_PARTS)
    shared = (flat @ target).astype(np.float64)
    weights = np.linalg.solve(gram, shared)[..., 0]
    total = np.square(target).sum(axis=(1, 2), dtype=np.float64)
    explained = np.divide((weights * shared[..., 0]).sum(axis=1), total, out=np.zeros(count), where=total > 1e-3 * size)
    return np.sqrt(explained.clip(0, 1)).astype(np.float32), weights


def _write_slope(frames: np.ndarray, slope: np.ndarray) -> None:
    """Write the change from row to row, by central differences, 0 at the first and last row."""
    inner = slope[:, 1:-1]
    np.subtract(frames[:, 2:], frames[:, :-2], out=inner)
    inner *= 0.5
    slope[:, [0, -1]] = 0


def _moved(frames: np.ndarray, moves: np.ndarray) -> np.ndarray:
    """Frames shifted down and right and stretched about their middle, by `moves` (pairs, 4) in half frames."""
    side = frames.shape[1]
    middle = (side - 1) / 2
    down, right, tall, wide = moves.T
    matrices = np.zeros((len(frames), 2, 3))
    matrices[:, 0, 0], matrices[:, 0, 2] = 1 + wide, middle * (right - wide)
    matrices[:, 1, 1], matrices[:, 1, 2] = 1 + tall, middle * (down - tall)
    result = np.empty_like(frames)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    for row, matrix in enumerate(matrices):
        cv2.warpAffine(frames[row], matrix, (side, side), dst=result[row], flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return result


def _halved(frames: np.ndarray) -> np.ndarray:
    rows = frames[:, ::2] + frames[:, 1::2]
    half: np.ndarray = (rows[:, :, ::2] + rows[:, :, 1::2]) * np.float32(0.25)
    return half


def _detail(frames: np.ndarray) -> np.ndarray:
    """Frames a little smoothed, with everything broad taken away and contrast made even, so that editing it changes little."""
    smooth = _blur(_SMOOTH_PX)
    detail = _both_axes(frames, smooth) - _both_axes(frames, smooth @ _blur(_BROAD_PX))
    squared = detail * detail
    local = np.sqrt(_both_axes(squared, _blur(_LOCAL_PX)).clip(0))
    typical = np.sqrt(squared.mean(axis=(1, 2), keepdims=True))
    even: np.ndarray = detail / (local + _FLAT_SHARE * typical + 1e-6)
    return even


def _both_axes(frames: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    result: np.ndarray = matrix @ (frames @ matrix.T)
    return result


@cache
def _blur(sigma_px: float) -> np.ndarray:
    """Gaussian blur along one axis as a matrix, its rows summing to 1 at the edges too."""
    place = np.arange(FRAME_SIZE)
    weights = np.exp(-0.5 * ((place[:, None] - place) / sigma_px) ** 2)
    result: np.ndarray = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return result
