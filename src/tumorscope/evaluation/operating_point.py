"""The threshold on the probability of a tumour that misses few enough of them, and what it costs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tumorscope.errors import EvaluationError
from tumorscope.evaluation.inputs import checked_probabilities, checked_scores, refuse_share
from tumorscope.labels import LABELS, TUMOUR_LABELS
from tumorscope.resampling import mean_intervals

TARGET = 0.99
CONFIDENCE = 0.95

_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """A threshold at and above which a score means yes, and what it promises.

    Attributes:
        threshold: On the score, 0 to 1.
        target: Share of the tumours to be found.
        confidence: Share of calibration splits for which the promise is kept.
        guaranteed: Whether the split was large enough to promise the target.
        n_tumours: Tumours of the split.
        missed: Those of them below the threshold.
        reachable_target: The highest target that so many tumours can promise, when none of them is missed.
    """

    threshold: float
    target: float
    confidence: float
    guaranteed: bool
    n_tumours: int
    missed: int
    reachable_target: float


def fit_operating_point(
    tumour_probability: np.ndarray, is_tumour: np.ndarray, *, target: float = TARGET, confidence: float = CONFIDENCE
) -> OperatingPoint:
    """Return the highest threshold that is sure to find at least the target share of the tumours.

    Learn-then-test by fixed sequence: thresholds are tested from 0 upwards, each by the exact binomial test of the hypothesis that
    it misses more than 1 - target, until one is not rejected. Only the tumours' own scores need a test, since between two of them
    nothing changes. (MAPIE's controller tests likewise, but may count one miss too many by rounding.)

    The promise: of all calibration splits, at least the share `confidence` gives a threshold with a sensitivity of at least the
    target on images like these. It takes the tumours as independent; slices of the same patient are not.

    A split with too few tumours, such as fewer than 299 for 0.99 at 0.95, promises less: the threshold is then the highest that
    misses none of them, `guaranteed` is false, and `reachable_target` says what is promised instead.

    Args:
        tumour_probability: Of images that neither training nor the choice of the epoch has seen, 0 to 1, shape (n,).
        is_tumour: Whether each shows a tumour, bool, shape (n,).
        target: Sensitivity to promise, between 0 and 1.
        confidence: Between 0 and 1.

    Raises:
        EvaluationError: No images, no tumour among them, scores that are no probabilities, or settings outside of the above.

    Source:
        Angelopoulos et al. 2021, Learn then test, section 3, https://arxiv.org/abs/2110.01052; the same bound without the tests:
        Wilks 1941, https://doi.org/10.1214/aoms/1177731788
    """
    scores, truth = checked_scores(tumour_probability, is_tumour)
    refuse_share(target, name="target")
    refuse_share(confidence, name="confidence")
    if not truth.any():
        raise EvaluationError(
            f"none of the {len(truth)} images shows a tumour, so no threshold can be fitted. Give a split that holds tumours."
        )
    found = np.sort(scores[truth])
    allowed = most_misses(len(found), target=target, confidence=confidence)
    threshold = float(found[allowed or 0])
    return OperatingPoint(
        threshold=threshold,
        target=target,
        confidence=confidence,
        guaranteed=allowed is not None,
        n_tumours=len(found),
        missed=int((found < threshold).sum()),
        reachable_target=(1 - confidence) ** (1 / len(found)),
    )


def most_misses(n_tumours: int, *, target: float, confidence: float) -> int | None:
    """Return how many of so many tumours a threshold may miss and still promise the target; None where not even none is enough."""
    from scipy.stats import binom

    p_values = binom.cdf(np.arange(n_tumours), n_tumours, 1 - target)
    rejected = int(np.searchsorted(p_values, 1 - confidence + _ROUNDING, side="right"))
    return rejected - 1 if rejected else None


def called_shares(called: np.ndarray, is_tumour: np.ndarray, numbers: np.ndarray, *, seed: int = 0) -> dict[str, dict[str, Any]]:
    """Return `sensitivity` and `specificity` {value, interval} of what was called a tumour; None where there are no such images.

    Args:
        called: bool, shape (n,).
        is_tumour: bool, shape (n,).
        numbers: Group of every image, int64, shape (n,), from `number_groups`; the intervals resample them.
        seed: Of the intervals.
    """
    columns = np.stack([np.where(is_tumour, called, np.nan), np.where(is_tumour, np.nan, ~called)])
    intervals = mean_intervals(columns, numbers, shares=True, seed=seed)
    hits = (called[is_tumour], ~called[~is_tumour])
    return {
        name: {"value": float(found.mean()) if len(found) else None, "interval": interval}
        for name, found, interval in zip(("sensitivity", "specificity"), hits, intervals, strict=True)
    }


def per_label_thresholds(
    probabilities: np.ndarray, label_index: np.ndarray, *, target: float = TARGET, confidence: float = CONFIDENCE
) -> dict[str, OperatingPoint | None]:
    """Return the operating point of every tumour label against the rest, with its own probability as score.

    Each promise stands alone: the chance that all of them are kept is lower than `confidence`.

    Args:
        probabilities: Shape (n, 4), each row sums to 1.
        label_index: True labels as positions in `LABELS`, int64, shape (n,).
        target: As for `fit_operating_point`, of the recall of the label.
        confidence: Likewise.

    Returns:
        Tumour label to its point, None for a label without images.

    Raises:
        EvaluationError: As `fit_operating_point`.
    """
    probabilities, label_index = checked_probabilities(probabilities, label_index)
    scores, points = probabilities.clip(0, 1), {}
    for label in TUMOUR_LABELS:
        number = LABELS.index(label)
        truth = label_index == number
        points[label] = fit_operating_point(scores[:, number], truth, target=target, confidence=confidence) if truth.any() else None
    return points


def decision_curve(
    tumour_probability: np.ndarray, is_tumour: np.ndarray, thresholds: Sequence[float] | np.ndarray
) -> dict[str, Any]:
    """Return the net benefit of acting on the model, of acting on everyone and of acting on nobody.

    At threshold t a false alarm weighs t / (1 - t) of a tumour found: who acts at 5 % takes 19 false alarms for one tumour.

    Args:
        tumour_probability: Calibrated, 0 to 1, shape (n,).
        is_tumour: bool, shape (n,).
        thresholds: Probabilities at and above which one acts, each between 0 and 1.

    Returns:
        `n`, `prevalence`, and one list each, in the order of the `thresholds`: `model`, `treat_all`, `treat_none`: tumours found
        per image less weighted false alarms.

    Raises:
        EvaluationError: No images, scores that are no probabilities, or a threshold outside of 0 to 1.

    Source:
        Vickers and Elkin 2006, https://doi.org/10.1177/0272989X06295361
    """
    scores, truth = checked_scores(tumour_probability, is_tumour)
    places = np.asarray(thresholds, dtype=np.float64)
    for threshold in places.tolist():
        refuse_share(threshold, name="threshold")
    called, odds = scores >= places[:, None], places / (1 - places)
    prevalence = float(truth.mean())
    model = (called & truth).mean(axis=1) - (called & ~truth).mean(axis=1) * odds
    return {
        "n": len(scores),
        "prevalence": prevalence,
        "thresholds": places.tolist(),
        "model": model.tolist(),
        "treat_all": (prevalence - (1 - prevalence) * odds).tolist(),
        "treat_none": [0.0] * len(places),
    }
