"""What a heatmap attends to, in numbers, whether or not the tumour's outline is known. Pure functions of arrays."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def energy_inside(heatmap: np.ndarray, mask: np.ndarray) -> float | None:
    """Return the share of a map that lies inside a mask, 0 to 1; None for a map that is zero everywhere.

    Args:
        heatmap: At least 0, shape (rows, columns).
        mask: bool, same shape.

    Source:
        Wang et al. 2020, Score-CAM, section 4.3 (energy-based pointing game), https://arxiv.org/abs/1910.01279
    """
    total = float(heatmap.sum(dtype=np.float64))
    return float(heatmap[mask].sum(dtype=np.float64)) / total if total > 0 else None


def peak_of(heatmap: np.ndarray) -> tuple[int, int] | None:
    """Return row and column of the highest value, the first of equals, or None when the map is the same everywhere."""
    if heatmap.max() <= heatmap.min():
        return None
    row, column = np.unravel_index(int(heatmap.argmax()), heatmap.shape)
    return int(row), int(column)


def entropy(heatmap: np.ndarray) -> float | None:
    """Return the Shannon entropy of a map as a distribution over pixels, as a share of its largest possible value.

    1 when all pixels are equal, 0 when one holds everything; None for an empty map.
    """
    total = float(heatmap.sum(dtype=np.float64))
    if total <= 0 or heatmap.size < 2:
        return None
    share = heatmap[heatmap > 0].astype(np.float64) / total
    return max(0.0, float(-(share * np.log(share)).sum() / np.log(heatmap.size)))


def concentration(heatmap: np.ndarray) -> float | None:
    """Return how concentrated a map is: its Gini index, 0 when all pixels are equal, near 1 when one holds everything.

    None for an empty map.

    Source:
        Chalasani et al. 2020, Concise explanations of neural networks using adversarial training, section 4,
        https://arxiv.org/abs/1810.06583
    """
    total = float(heatmap.sum(dtype=np.float64))
    if total <= 0 or heatmap.size < 2:
        return None
    ordered = np.sort(heatmap, axis=None).astype(np.float64) / total
    ranks = np.arange(heatmap.size, 0, -1) - 0.5
    return float(1 - 2 * (ordered * ranks).sum() / heatmap.size)


def centre_distance(heatmap: np.ndarray) -> float | None:
    """Return how far the map's centre of mass lies from the image's centre, as a share of half the image's diagonal."""
    total = float(heatmap.sum(dtype=np.float64))
    if total <= 0:
        return None
    middle = (np.array(heatmap.shape) - 1) / 2
    rows, columns = (np.arange(n) for n in heatmap.shape)
    weights = heatmap.astype(np.float64) / total
    centre = np.array([(weights.sum(axis=1) * rows).sum(), (weights.sum(axis=0) * columns).sum()])
    return float(np.linalg.norm(centre - middle) / max(float(np.linalg.norm(middle)), 1e-9))


FEATURES = ("concentration", "entropy", "centre_distance", "strength")
"""What `attention_features` returns: what can be said of a map when nobody knows where the tumour is."""


def attention_features(heatmap: np.ndarray) -> dict[str, float | None]:
    """Return every measure of a map that needs no mask; `strength` is its highest raw value."""
    return {
        "concentration": concentration(heatmap),
        "entropy": entropy(heatmap),
        "centre_distance": centre_distance(heatmap),
        "strength": float(heatmap.max()),
    }


def compare_groups(measures: Sequence[Mapping[str, float | None]], correct: np.ndarray) -> dict[str, dict[str, Any]]:
    """Return the mean of every measure over correct and over incorrect predictions.

    Args:
        measures: One per image, all with the same keys; None where an image has no such measure.
        correct: bool, shape (n,).

    Returns:
        `correct` and `incorrect`, each with `n` images, `with_mask` images (those with an `energy_inside`) and the means, None
        where no image has the measure.
    """
    return {
        name: _means([row for row, right in zip(measures, correct, strict=True) if right == wanted])
        for name, wanted in (("correct", True), ("incorrect", False))
    }


def _means(rows: Sequence[Mapping[str, float | None]]) -> dict[str, Any]:
    result: dict[str, Any] = {"n": len(rows), "with_mask": sum(row.get("mask_share") is not None for row in rows)}
    for name in ("energy_inside", "mask_share", "pointing_game", *FEATURES):
        values = [value for row in rows if (value := row.get(name)) is not None]
        result[name] = float(np.mean(values)) if values else None
    return result
