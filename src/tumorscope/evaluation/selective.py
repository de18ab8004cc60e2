"""How right a model is on the images that it is surest of: risk against coverage."""

from collections.abc import Sequence
from math import ceil
from typing import Any

import numpy as np

from tumorscope.errors import EvaluationError
from tumorscope.evaluation.inputs import checked_groups, refuse_nothing, refuse_share
from tumorscope.resampling import LEVEL, RESAMPLES, edge_interval, percentile_interval, resample_weights

COVERAGES = (0.95, 0.90, 0.80)
_POINTS = 100


def selective_summary(
    confidence: np.ndarray,
    correct: np.ndarray,
    *,
    groups: Sequence[str] | None,
    coverages: Sequence[float] = COVERAGES,
    seed: int = 0,
) -> dict[str, Any]:
    """Return the risk-coverage curve of a confidence score, the area under it, and the accuracy where the least sure are left out.

    Images of equal confidence count with the mean of their errors, as if they were left out in random order.

    Args:
        confidence: Any score that is higher where the model is surer, finite, shape (n,).
        correct: Whether each answer is right, bool, shape (n,).
        groups: Group of every image, empty where unknown; None makes each image its own.
        coverages: Shares of the images to keep, each above 0 and below 1.
        seed: Of the intervals.

    Returns:
        `n`, `groups`, `risk` (share of wrong answers on all images), `aurc` (mean risk over all coverages, 0 best), `excess_aurc`
        (above that of a score that ranks every wrong answer last), each {value, interval}; `accuracy_at` {coverage as text, such
        as `0.95`: {value, interval, n: images kept, threshold: the confidence of the least sure of them}}; `curve` {coverage,
        risk: 100 points}; `level` and `resamples` of the bootstrap over groups, and `seed`.

    Raises:
        EvaluationError: No images, a confidence that is not finite, arrays that do not fit, or a coverage outside of 0 to 1.

    Source:
        Geifman and El-Yaniv 2017, https://arxiv.org/abs/1705.08500; excess: Geifman, Uziel and El-Yaniv 2019,
        https://arxiv.org/abs/1805.08206
    """
    confidence, correct = _checked(confidence, correct)
    for coverage in coverages:
        refuse_share(coverage, name="coverage")
    numbers = checked_groups(groups, len(confidence))
    order = np.argsort(-confidence, kind="stable")
    wrong, ranked = 1.0 - correct[order], confidence[order]
    tie = np.cumsum(np.diff(ranked, prepend=ranked[0]) != 0)
    risks = _risks(wrong, tie)
    values = _measures(wrong, tie, coverages)
    intervals = _intervals(wrong, tie, numbers[order], coverages, seed=seed)
    measures = [{"value": float(value), "interval": bounds} for value, bounds in zip(values, intervals, strict=True)]
    kept = [_kept(len(wrong), coverage) for coverage in coverages]
    places = [_kept(len(wrong), (i + 1) / _POINTS) for i in range(_POINTS)]
    return {
        "n": len(wrong),
        "groups": int(numbers.max()) + 1,
        "risk": {"value": float(wrong.mean()), "interval": measures[0]["interval"]},
        "aurc": measures[1],
        "excess_aurc": measures[2],
        "accuracy_at": {
            str(float(coverage)): {**measure, "n": count, "threshold": float(ranked[count - 1])}
            for coverage, measure, count in zip(coverages, measures[3:], kept, strict=True)
        },
        "curve": {"coverage": [place / len(wrong) for place in places], "risk": risks[np.array(places) - 1].tolist()},
        "level": LEVEL,
        "resamples": RESAMPLES,
        "seed": seed,
    }


def _checked(confidence: np.ndarray, correct: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    confidence, correct = np.asarray(confidence, dtype=np.float64), np.asarray(correct)
    if confidence.ndim != 1 or confidence.shape != correct.shape or correct.dtype != np.bool_:
        raise EvaluationError(
            f"confidence of shape {confidence.shape}, correct of shape {correct.shape} and type {correct.dtype}: expected numbers "
            "and bool, both as (n,)."
        )
    refuse_nothing(len(confidence))
    if not np.isfinite(confidence).all():
        raise EvaluationError(
            f"the confidence of {int((~np.isfinite(confidence)).sum())} of {len(confidence)} images is NaN or infinite. "
            "The model's weights may have diverged; train again or leave the images out."
        )
    return confidence, correct


def _kept(count: int, coverage: float) -> int:
    return max(1, ceil(round(coverage * count, 9)))


def _risks(wrong: np.ndarray, tie: np.ndarray) -> np.ndarray:
    """Mean error of the k surest images for k from 1, the surest first, float64, shape (n,); images of one `tie` share theirs."""
    shared = (np.bincount(tie, weights=wrong) / np.maximum(np.bincount(tie), 1))[tie]
    risks: np.ndarray = np.cumsum(shared) / np.arange(1, len(wrong) + 1)
    return risks


def _measures(wrong: np.ndarray, tie: np.ndarray, coverages: Sequence[float]) -> list[float]:
    """Risk, area, excess area, and the accuracy at each coverage."""
    risks, count = _risks(wrong, tie), len(wrong)
    places = np.arange(1, count + 1)
    best = np.maximum(places - (count - wrong.sum()), 0) / places
    area = float(risks.mean())
    accuracies = [1 - float(risks[_kept(count, coverage) - 1]) for coverage in coverages]
    return [float(wrong.mean()), area, area - float(best.mean()), *accuracies]


def _intervals(
    wrong: np.ndarray, tie: np.ndarray, numbers: np.ndarray, coverages: Sequence[float], *, seed: int
) -> list[list[float] | None]:
    """Bootstrap intervals of `_measures`; exact ones for a risk or an accuracy of 0 or 1."""
    count = int(numbers.max()) + 1
    drawn = []
    for weights in resample_weights(count, resamples=RESAMPLES, seed=seed, width=len(wrong)):
        for row in weights.astype(np.int64):
            images = np.repeat(np.arange(len(wrong)), row[numbers])
            drawn.append(_measures(wrong[images], tie[images], coverages))
    intervals = [percentile_interval(values, level=LEVEL) for values in np.array(drawn).T]
    if wrong.min() == wrong.max():
        intervals[0] = edge_interval(float(wrong[0]), count, level=LEVEL)
    for place, coverage in enumerate(coverages, start=3):
        kept = slice(_kept(len(wrong), coverage))
        share = 1 - float(_risks(wrong, tie)[kept][-1])
        if share in (0.0, 1.0):
            intervals[place] = edge_interval(share, len(np.unique(numbers[kept])), level=LEVEL)
    return intervals
