"""What a heatmap attends to, in numbers. Pure functions of arrays."""

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


def peak_inside(heatmap: np.ndarray, mask: np.ndarray) -> float | None:
    """Return 1.0 when the highest pixel lies inside the mask, else 0.0 (the pointing game); None for a flat map.

    Source:
        Zhang et al. 2016, Top-down neural attention by excitation backprop, section 4.1, https://arxiv.org/abs/1608.00507
    """
    if heatmap.max() <= heatmap.min():
        return None
    return float(mask[np.unravel_index(int(heatmap.argmax()), heatmap.shape)])


def concentration(heatmap: np.ndarray) -> float | None:
    """Return how concentrated a map is: 0 when all pixels are equal, 1 when one holds everything; None for an empty map.

    It is one minus the Shannon entropy of the map as a distribution over pixels, divided by its largest possible value.
    """
    total = float(heatmap.sum(dtype=np.float64))
    if total <= 0 or heatmap.size < 2:
        return None
    share = heatmap[heatmap > 0].astype(np.float64) / total
    return float(1 + (share * np.log(share)).sum() / np.log(heatmap.size))


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


MEASURES = ("energy_inside", "mask_share", "peak_inside", "concentration", "centre_distance")


def measure(heatmap: np.ndarray, mask: np.ndarray | None) -> dict[str, float | None]:
    """Return every measure of one map; those that need a mask are None without one.

    `mask_share` is the mask's share of the image: what `energy_inside` would be for a map that never saw the image.
    """
    has_mask = mask is not None and bool(mask.any())
    return {
        "energy_inside": energy_inside(heatmap, mask) if mask is not None and has_mask else None,
        "mask_share": float(mask.mean()) if mask is not None and has_mask else None,
        "peak_inside": peak_inside(heatmap, mask) if mask is not None and has_mask else None,
        "concentration": concentration(heatmap),
        "centre_distance": centre_distance(heatmap),
    }


def compare_groups(measures: Sequence[Mapping[str, float | None]], correct: np.ndarray) -> dict[str, dict[str, Any]]:
    """Return the mean of every measure over correct and over incorrect predictions.

    Args:
        measures: One per image, as `measure` returns them.
        correct: bool, shape (n,).

    Returns:
        `correct` and `incorrect`, each with `n` images, `with_mask` images and the means, None where no image has the measure.
    """
    return {
        name: _means([row for row, right in zip(measures, correct, strict=True) if right == wanted])
        for name, wanted in (("correct", True), ("incorrect", False))
    }


def _means(rows: Sequence[Mapping[str, float | None]]) -> dict[str, Any]:
    result: dict[str, Any] = {"n": len(rows), "with_mask": sum(row["mask_share"] is not None for row in rows)}
    for name in MEASURES:
        values = [value for row in rows if (value := row[name]) is not None]
        result[name] = float(np.mean(values)) if values else None
    return result
