"""The same numbers for every part of a test set: by class, plane, source and size of the tumour. Where does a model fail?"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tumorscope.errors import EvaluationError
from tumorscope.labels import LABELS, NO_TUMOUR
from tumorscope.predictions import Predictions
from tumorscope.resampling import mean_intervals, number_groups

FEW_GROUPS = 30
"""Below so many groups, a bootstrap over them is too short to be believed."""

MEASURES = ("accuracy", "tumour_sensitivity", "tumour_specificity", "found_at_operating_point", "coverage", "set_size", "refused")
_NONE = LABELS.index(NO_TUMOUR)


def measure_columns(predictions: Predictions) -> dict[str, np.ndarray]:
    """Return, for every image, what each of `MEASURES` is the mean of, float64, shape (n,); NaN where an image does not count.

    The last four need a calibrated model and are NaN throughout without one.
    """
    truth, called = predictions.label_index, predictions.predicted_index
    tumour = truth != _NONE
    decisions, n = predictions.decisions, len(predictions)
    unknown = np.full(n, np.nan)
    sets = None if decisions is None else decisions.prediction_sets
    return {
        "accuracy": predictions.correct.astype(np.float64),
        "tumour_sensitivity": np.where(tumour, (called != _NONE).astype(np.float64), np.nan),
        "tumour_specificity": np.where(~tumour, (called == _NONE).astype(np.float64), np.nan),
        "found_at_operating_point": unknown
        if decisions is None
        else np.where(tumour, (decisions.recommended != _NONE).astype(np.float64), np.nan),
        "coverage": unknown if sets is None else sets[np.arange(n), truth].astype(np.float64),
        "set_size": unknown if sets is None else sets.sum(axis=1).astype(np.float64),
        "refused": unknown if decisions is None else decisions.refused.astype(np.float64),
    }


def subgroup_rows(
    predictions: Predictions, parts: Mapping[str, Sequence[str]], *, groups: Sequence[str], seed: int = 0
) -> list[dict[str, Any]]:
    """Return the measures of every part of a test set, those of all images first.

    Args:
        predictions: Answers, at least one.
        parts: What the images are divided by (`class`, `plane`, ...) to the part of every image, empty where it has none.
        groups: Patient or cluster of copies of every image, empty where unknown; intervals resample them.
        seed: Of the intervals.

    Returns:
        Rows with `by`, `part`, `n`, `groups`, each of `MEASURES` with `value` and `interval`, [low, high] or None, and `remark`:
        a sentence where the groups are too few to support a claim, else an empty text.

    Raises:
        EvaluationError: A column is not as long as the predictions.
    """
    for name, column in (*parts.items(), ("groups", groups)):
        if len(column) != len(predictions):
            raise EvaluationError(f"{name}: {len(column)} entries for {len(predictions)} predictions.")
    columns, numbers = measure_columns(predictions), number_groups(groups)
    everything = np.ones(len(predictions), dtype=bool)
    rows = [_row("all", "all images", columns, numbers, everything, seed=seed)]
    for by, column in parts.items():
        of, names = np.array(column, dtype=object), sorted({name for name in column if name})
        rows += [_row(by, part, columns, numbers, of == part, seed=seed) for part in names]
    return rows


def few_groups_remark(groups: int) -> str:
    """Return a sentence where so many groups are too few to support a claim, else an empty text."""
    if groups >= FEW_GROUPS:
        return ""
    return f"{groups} group{'s' if groups != 1 else ''}: too few to support a claim, whatever the interval says."


def _row(
    by: str, part: str, columns: Mapping[str, np.ndarray], numbers: np.ndarray, rows: np.ndarray, *, seed: int
) -> dict[str, Any]:
    chosen = np.stack([columns[name][rows] for name in MEASURES])
    known = np.array([not np.isnan(column).all() for column in chosen])
    own = np.unique(numbers[rows], return_inverse=True)[1]
    intervals = mean_intervals(chosen, own, shares=[name != "set_size" for name in MEASURES], seed=seed)
    count = int(own.max()) + 1
    return {
        "by": by,
        "part": part,
        "n": int(rows.sum()),
        "groups": count,
        **{
            name: {"value": float(np.nanmean(column)) if there else None, "interval": interval}
            for name, column, there, interval in zip(MEASURES, chosen, known.tolist(), intervals, strict=True)
        },
        "remark": few_groups_remark(count),
    }
