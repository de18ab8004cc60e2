"""Sets of labels that hold the truth with a promised rate: split conformal prediction.

The promise is about images that are exchangeable with those of the calibration split: drawn as they were, from the same sources.
It is made for the average over images, not for each patient or class, unless the quantiles are those of each label.
"""

import warnings
from collections.abc import Sequence
from decimal import Decimal
from math import ceil
from typing import Any

import numpy as np

from tumorscope.errors import EvaluationError
from tumorscope.evaluation.inputs import checked_groups, checked_labels, checked_probabilities, refuse_share
from tumorscope.labels import LABELS
from tumorscope.resampling import LEVEL, mean_intervals
from tumorscope.training.recipe import PROMISED_LEVELS


def fit_quantiles(
    probabilities: np.ndarray, label_index: np.ndarray, *, levels: Sequence[float] = PROMISED_LEVELS
) -> dict[str, dict[str, Any]]:
    """Return the quantiles of the score 1 - p of the true label that prediction sets of each level go up to.

    MAPIE computes all of them, the one of a label on the images of that label. A split of fewer than 1 / (1 - level) images (10,
    20, 100 for 90, 95, 99 %) cannot promise the level: its quantile is 1, so that every label is in every set.

    Args:
        probabilities: Of images that neither training nor the choice of the epoch has seen, shape (n, 4), calibrated.
        label_index: True labels as positions in `LABELS`, int64, shape (n,).
        levels: Promised rates, each between 0 and 1.

    Returns:
        {level as text, such as `0.9`: {`marginal`: quantile, `per_label`: {label: quantile, None without images}}}.

    Raises:
        EvaluationError: No images, probabilities that are none, labels that do not fit, or a level outside of 0 to 1.

    Source:
        Sadinle, Lei and Wasserman 2019, https://doi.org/10.1080/01621459.2017.1395341; by label: Vovk 2012, section 5,
        https://proceedings.mlr.press/v25/vovk12.html
    """
    probabilities, label_index = checked_probabilities(probabilities, label_index)
    for level in levels:
        refuse_share(level, name="level")
    of_label = {label: label_index == i for i, label in enumerate(LABELS)}
    per_label = {label: _quantiles(probabilities[rows], label_index[rows], levels) for label, rows in of_label.items()}
    marginal = _quantiles(probabilities, label_index, levels)
    return {
        str(float(level)): {"marginal": marginal[i], "per_label": {label: found[i] for label, found in per_label.items()}}
        for i, level in enumerate(levels)
    }


def quantile_rank(count: int, level: float) -> int | None:
    """Return which of `count` scores in rising order is the quantile, from 1: ceil((count + 1) level); None for too few images."""
    missed = float(1 - Decimal(str(float(level))))
    return None if count < max(1 / missed, 1 / (1 - missed)) else ceil((count + 1) * (1 - missed))


def coverage_summary(sets: np.ndarray, label_index: np.ndarray, *, groups: Sequence[str] | None, seed: int = 0) -> dict[str, Any]:
    """Return how often prediction sets hold the truth and how large they are.

    Args:
        sets: From `prediction_sets`, bool, shape (n, 4); with `keep_empty` where coverage is compared with theory.
        label_index: True labels as positions in `LABELS`, int64, shape (n,).
        groups: Group of every image, empty where unknown; None makes each image its own.
        seed: Of the intervals.

    Returns:
        `n`, `groups`, `coverage` and `size` {by_image, by_group: {value, interval}}: means over images, and over groups of the
        mean in each; `sizes` (images with 0, 1, ... labels), `singletons` and `empty` (shares), `singletons_right` (share of the
        singletons that are the truth, or None), `per_label` {label: `n`, `groups`, `coverage`, `size`; None without images},
        `level` of the intervals, by bootstrap over groups, and `seed`.

    Raises:
        EvaluationError: No images, or arrays that do not fit together.
    """
    sets, label_index = _checked_sets(sets, label_index)
    numbers = checked_groups(groups, len(sets))
    covered, sizes = sets[np.arange(len(sets)), label_index].astype(np.float64), sets.sum(axis=1)
    single = sizes == 1
    return {
        **_coverage_of(np.ones(len(sets), dtype=bool), covered, sizes, numbers, seed=seed),
        "sizes": np.bincount(sizes, minlength=len(LABELS) + 1).tolist(),
        "singletons": float(single.mean()),
        "singletons_right": float(covered[single].mean()) if single.any() else None,
        "empty": float((sizes == 0).mean()),
        "per_label": {
            label: _coverage_of(rows, covered, sizes, numbers, seed=seed) if rows.any() else None
            for label, rows in ((label, label_index == i) for i, label in enumerate(LABELS))
        },
        "level": LEVEL,
        "seed": seed,
    }


def _quantiles(probabilities: np.ndarray, label_index: np.ndarray, levels: Sequence[float]) -> list[float | None]:
    """Quantile of every level on some images: 1 where they are too few for it, None where there are none."""
    enough = [level for level in levels if quantile_rank(len(probabilities), level) is not None]
    found = dict(zip(enough, _mapie_quantiles(probabilities, label_index, enough) if enough else [], strict=True))
    return [found.get(level, 1.0) if len(probabilities) else None for level in levels]


def _mapie_quantiles(probabilities: np.ndarray, label_index: np.ndarray, levels: list[float]) -> list[float]:
    from mapie.classification import SplitConformalClassifier
    from mapie.conformity_scores import LACConformityScore

    score = LACConformityScore()
    classifier = SplitConformalClassifier(_Answered(), confidence_level=levels, conformity_score=score, prefit=True)
    with warnings.catch_warnings():
        # Quantiles by label are taken on images of one label, which is no mistake here.
        warnings.filterwarnings("ignore", message="WARNING: your conformalization dataset has less labels")
        classifier.conformalize(probabilities, label_index)
    classifier.predict_set(probabilities[:1])
    return [min(1.0, max(0.0, float(quantile))) for quantile in score.quantiles_]


class _Answered:
    """A fitted classifier in the manner of scikit-learn whose input is its answer: the probabilities of a network."""

    def __init__(self) -> None:
        self.classes_ = np.arange(len(LABELS))

    def fit(self, probabilities: np.ndarray, label_index: np.ndarray) -> "_Answered":  # noqa: ARG002
        return self

    def predict_proba(self, probabilities: np.ndarray) -> np.ndarray:
        return probabilities

    def predict(self, probabilities: np.ndarray) -> np.ndarray:
        called: np.ndarray = probabilities.argmax(axis=1)
        return called


def _coverage_of(rows: np.ndarray, covered: np.ndarray, sizes: np.ndarray, numbers: np.ndarray, *, seed: int) -> dict[str, Any]:
    group_of = np.unique(numbers[rows], return_inverse=True)[1]
    images = np.bincount(group_of)
    found: dict[str, Any] = {"n": int(rows.sum()), "groups": len(images)}
    for name, values in (("coverage", covered[rows]), ("size", sizes[rows].astype(np.float64))):
        by_group = np.bincount(group_of, weights=values) / images
        found[name] = {
            "by_image": _mean(values, group_of, share=name == "coverage", seed=seed),
            "by_group": _mean(by_group, np.arange(len(images)), share=name == "coverage", seed=seed),
        }
    return found


def _mean(values: np.ndarray, numbers: np.ndarray, *, share: bool, seed: int) -> dict[str, Any]:
    [interval] = mean_intervals(values[None], numbers, shares=share, seed=seed)
    return {"value": float(values.mean()), "interval": interval}


def _checked_sets(sets: np.ndarray, label_index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    sets = np.asarray(sets)
    if sets.dtype != np.bool_ or sets.ndim != 2 or sets.shape[1] != len(LABELS):
        raise EvaluationError(f"sets of type {sets.dtype} and shape {sets.shape}: expected bool, (n, {len(LABELS)}).")
    return sets, checked_labels(np.asarray(label_index), count=len(sets))
