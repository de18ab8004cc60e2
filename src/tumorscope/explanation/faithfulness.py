"""Does a heatmap matter? What becomes of the answer when the pixels it names, or the tumour itself, are taken away."""

from collections.abc import Mapping

import cv2
import numpy as np

from tumorscope.data.counterfactual import erase, place_elsewhere
from tumorscope.explanation.looking import Ask

STEPS = 10
SHARES = tuple(step / STEPS for step in range(STEPS + 1))
FILLS = ("blurred", "mean")
_BLUR_SHARE = 1 / 22

Curves = dict[tuple[str, str, str], np.ndarray]
"""(deletion or insertion, fill, order) to the probability of the answer over `SHARES`, float64, shape (STEPS + 1,)."""


def curves_of(grid: np.ndarray, orders: Mapping[str, np.ndarray], *, ask: Ask, label_index: int) -> Curves:
    """Return how the probability of a label changes while pixels are deleted from a scan, or inserted into an empty one.

    Pixels go in the order of a map, highest first. A map that names what the network uses falls early and rises early.

    Args:
        grid: uint8, shape (size, size).
        orders: Name to map, float, shape (size, size): the heatmap itself and what it is compared with.
        ask: The network.
        label_index: The label whose probability is followed.

    Source:
        Petsiuk et al. 2018, RISE, section 4.2, https://arxiv.org/abs/1806.07421
    """
    fills = {fill: fill_of(grid, fill) for fill in FILLS}
    whole, *empty = ask(np.stack([grid, *fills.values()]))[:, label_index]
    ends = dict(zip(FILLS, empty, strict=True))
    curves: Curves = {}
    for order, heatmap in orders.items():
        rank = _rank(heatmap)
        for fill, filled in fills.items():
            for kind, before, after in (("deletion", grid, filled), ("insertion", filled, grid)):
                frames = np.stack([np.where(rank < share * grid.size, after, before) for share in SHARES[1:-1]])
                first, last = (whole, ends[fill]) if kind == "deletion" else (ends[fill], whole)
                curves[kind, fill, order] = np.array([first, *ask(frames)[:, label_index], last])
    return curves


def area_under(curve: np.ndarray) -> float:
    """Return the area under a curve over `SHARES`, 0 to 1: low is good for deletion, high for insertion."""
    return float(np.trapezoid(curve, dx=1 / STEPS))


def fill_of(grid: np.ndarray, fill: str) -> np.ndarray:
    """Return what deleted pixels become: the scan itself `blurred` until nothing fine is left, or its `mean` grey."""
    if fill == "mean":
        return np.full_like(grid, round(float(grid.mean())))
    blurred: np.ndarray = cv2.GaussianBlur(grid, (0, 0), _BLUR_SHARE * grid.shape[0])
    return blurred


def drops(grid: np.ndarray, mask: np.ndarray, *, ask: Ask, label_index: int, seed: int) -> dict[str, dict[str, float | None]]:
    """Return how much probability of a label is lost when the tumour is taken out of a scan, and when as much elsewhere is.

    The direct test of what a network uses: one that answers by the tumour loses its answer with it, one that answers by anything
    else does not.

    Args:
        grid: uint8, shape (size, size).
        mask: The tumour on the grid, bool, same shape, not empty.
        ask: The network.
        label_index: The label whose probability is followed.
        seed: Of the texture painted in, and of the other place.

    Returns:
        `tumour_inpainted_drop` and `tumour_blurred_drop`, each with `tumour` and `elsewhere`: probability before minus after,
        -1 to 1; `elsewhere` is None where the head has no room for as large a piece of healthy tissue.
    """
    other = place_elsewhere(mask, grid, seed=seed)
    edits = {
        ("tumour_inpainted_drop", "tumour"): erase(grid, mask, seed=seed),
        ("tumour_blurred_drop", "tumour"): blur_away(grid, mask),
    }
    if other is not None:
        edits["tumour_inpainted_drop", "elsewhere"] = erase(grid, other, seed=seed, avoid=mask)
        edits["tumour_blurred_drop", "elsewhere"] = blur_away(grid, other)
    probabilities = ask(np.stack([grid, *edits.values()]))[:, label_index]
    found: dict[str, dict[str, float | None]] = {
        "tumour_inpainted_drop": {"tumour": None, "elsewhere": None},
        "tumour_blurred_drop": {"tumour": None, "elsewhere": None},
    }
    for (name, where), after in zip(edits, probabilities[1:], strict=True):
        found[name][where] = float(probabilities[0] - after)
    return found


def blur_away(grid: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return a scan in which what a mask covers is a blur of what is around it; the rest is unchanged.

    What the mask covers has no part in the blur, so that nothing of it is left.

    Args:
        grid: uint8, shape (rows, columns).
        mask: bool, same shape.

    Source:
        Knutsson and Westin 1993, Normalized and differential convolution, https://doi.org/10.1109/CVPR.1993.341081
    """
    known = (~mask).astype(np.float32)
    if not known.any():
        return np.full_like(grid, round(float(grid.mean())))
    radius = max(2.0, float(np.sqrt(mask.sum() / np.pi)))
    weights = cv2.GaussianBlur(known, (0, 0), radius, borderType=cv2.BORDER_REFLECT)
    sums = cv2.GaussianBlur(grid * known, (0, 0), radius, borderType=cv2.BORDER_REFLECT)
    around = np.where(weights > 1e-6, sums / np.maximum(weights, 1e-6), float(grid[~mask].mean()))
    return np.where(mask, np.rint(around).clip(0, 255).astype(np.uint8), grid)


def _rank(heatmap: np.ndarray) -> np.ndarray:
    """Place of every pixel when the highest come first; equals in an order drawn once, since reading order is a place too."""
    drawn = np.random.default_rng(0).permutation(heatmap.size)
    order = np.lexsort((drawn, -heatmap.ravel()))
    rank = np.empty(heatmap.size, dtype=np.int64)
    rank[order] = np.arange(heatmap.size)
    return rank.reshape(heatmap.shape)
