"""The part of a test set whose slices are not in training, measured by itself."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tumorscope.evaluation.intervals import bootstrap_intervals
from tumorscope.evaluation.metrics import summarise
from tumorscope.manifest import TWIN_IN_TRAIN, Manifest
from tumorscope.predictions import Predictions


def twin_free_rows(predictions: Predictions, manifest: Manifest) -> np.ndarray | None:
    """Return which predictions are for images that no training image of the published split is a copy or twin of.

    The flags are the audit's, so under a leak-free protocol they still tell what the published split would have leaked.

    Returns:
        bool, shape (n,); None when the images have no such flag, so that there is nothing to tell apart.
    """
    flagged = {record.path for record in manifest if TWIN_IN_TRAIN in record.flags}
    rows = np.array([path not in flagged for path in predictions.paths])
    return None if rows.all() else rows


def summarise_part(predictions: Predictions, rows: np.ndarray, *, groups: Sequence[str], seed: int) -> dict[str, Any] | None:
    """Return `summarise` of some rows with their `intervals`, or None when there are none.

    Args:
        predictions: All answers.
        rows: Which of them count, bool, shape (n,).
        groups: Group of every row of `predictions`.
        seed: Of the intervals.
    """
    if not rows.any():
        return None
    part = predictions.where(rows)
    kept = [group for group, keep in zip(groups, rows.tolist(), strict=True) if keep]
    return {**summarise(part), "intervals": bootstrap_intervals(part, groups=kept, seed=seed)}
