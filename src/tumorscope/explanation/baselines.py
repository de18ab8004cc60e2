"""Maps that never asked a network: what a heatmap must beat before it says anything about one."""

import cv2
import numpy as np

BASELINES = ("centred_gaussian", "brightest_region", "edges")


def baseline_map(name: str, grid: np.ndarray) -> np.ndarray:
    """Return one of `BASELINES` for a scan on the network's grid.

    Args:
        name: `centred_gaussian` is a spot in the middle of every picture, `brightest_region` the scan itself, smoothed,
            `edges` how steep it is.
        grid: uint8, shape (size, size).

    Returns:
        float32, same shape, at least 0.
    """
    return {"centred_gaussian": _centred_gaussian, "brightest_region": _brightest_region, "edges": _edges}[name](grid)


def _centred_gaussian(grid: np.ndarray) -> np.ndarray:
    """A spot with a standard deviation of a sixth of the picture."""
    offsets = [(np.arange(size) - (size - 1) / 2) / (size / 6) for size in grid.shape]
    spot: np.ndarray = np.exp(-(offsets[0][:, None] ** 2 + offsets[1][None, :] ** 2) / 2).astype(np.float32)
    return spot


def _brightest_region(grid: np.ndarray) -> np.ndarray:
    return _smooth(grid.astype(np.float32), share=1 / 28)


def _edges(grid: np.ndarray) -> np.ndarray:
    picture = grid.astype(np.float32)
    steepness = np.hypot(cv2.Sobel(picture, cv2.CV_32F, 1, 0), cv2.Sobel(picture, cv2.CV_32F, 0, 1))
    return _smooth(steepness, share=1 / 56)


def _smooth(picture: np.ndarray, *, share: float) -> np.ndarray:
    smooth: np.ndarray = cv2.GaussianBlur(picture, (0, 0), share * picture.shape[0])
    return smooth
