"""How well unfamiliar images are told from familiar ones, and what refusing costs: pure functions on scores.

Scores are those of `models.familiarity`, higher for what is more familiar. The unfamiliar images are the positives throughout.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tumorscope.errors import EvaluationError

NEAR_WEIGHT = 2 / 3
MOST_BYTES = 700_000
"""What familiarity may add to a bundle: one of MobileNetV2 has 9 MB, and the shipped one may have 10."""


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """Images of one set by one method.

    Attributes:
        scores: float64, shape (n,), finite, n at least 1.
        gated: Images that the input gate refuses before any network, bool, shape (n,).
    """

    scores: np.ndarray
    gated: np.ndarray

    def __post_init__(self) -> None:
        if self.scores.ndim != 1 or not len(self.scores) or self.scores.shape != self.gated.shape:
            raise EvaluationError(
                f"scores {self.scores.shape} and gate {self.gated.shape}: every image needs one of each, every set an image."
            )
        if not np.isfinite(self.scores).all():
            raise EvaluationError("a familiarity score is NaN or infinite. Check the features it came from.")

    def refused(self, threshold: float) -> np.ndarray:
        """Which images are refused, by the gate or by a score below the threshold, bool, shape (n,)."""
        below: np.ndarray = self.gated | (self.scores < threshold)
        return below

    def without_gate(self) -> "Scored":
        """Return the same scores as if there were no gate."""
        return Scored(self.scores, np.zeros_like(self.gated))


def separation(familiar: Scored, unfamiliar: Scored, *, threshold: float) -> dict[str, Any]:
    """Return how well one set of unfamiliar images is told from familiar ones.

    What the gate refuses counts as less familiar than anything that it lets through.

    Args:
        familiar: Test images of the kind the model was made for.
        unfamiliar: One set.
        threshold: Lowest score that is kept.

    Returns:
        `n` (unfamiliar images), `auroc`, `aupr` (average precision), `fpr_at_95_tpr` (share of familiar images refused where at
        least 95 % of the unfamiliar ones are), `refused` and `gated` (shares of the unfamiliar images). All but `n` 0 to 1.
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    strangeness = -_with_gate_lowest(familiar, unfamiliar)
    positive = np.repeat([0, 1], [len(familiar.scores), len(unfamiliar.scores)])
    return {
        "n": len(unfamiliar.scores),
        "auroc": float(roc_auc_score(positive, strangeness)),
        "aupr": float(average_precision_score(positive, strangeness)),
        "fpr_at_95_tpr": _false_positive_rate(strangeness[positive == 0], strangeness[positive == 1], 0.95),
        "refused": float(unfamiliar.refused(threshold).mean()),
        "gated": float(unfamiliar.gated.mean()),
    }


def _with_gate_lowest(familiar: Scored, unfamiliar: Scored) -> np.ndarray:
    scores = np.concatenate([familiar.scores, unfamiliar.scores])
    gated = np.concatenate([familiar.gated, unfamiliar.gated])
    ranks = np.unique(scores, return_inverse=True)[1] + 1.0
    lowest: np.ndarray = np.where(gated, 0.0, ranks)
    return lowest


def _false_positive_rate(negative: np.ndarray, positive: np.ndarray, true_positive_rate: float) -> float:
    """Return the share of negatives at or above the value that a share of the positives reaches."""
    needed = int(np.ceil(true_positive_rate * len(positive) - 1e-9))
    cut = np.sort(positive)[::-1][needed - 1]
    return float((negative >= cut).mean())


def kept_and_refused(familiar: Scored, correct: np.ndarray, *, threshold: float) -> dict[str, Any]:
    """Return how right a model is on the familiar images that are kept, and would have been on those refused.

    Args:
        familiar: Test images.
        correct: Whether the model's most probable label is the true one, bool, shape (n,).
        threshold: Lowest score that is kept.

    Returns:
        `n`, `refused` (share), `gated` (share), `accuracy`, `accuracy_kept`, `accuracy_refused` (None where none is) and
        `wrong_refused` (share of the wrong answers that is refused, None where none is wrong).
    """
    refused = familiar.refused(threshold)
    return {
        "n": len(refused),
        "refused": float(refused.mean()),
        "gated": float(familiar.gated.mean()),
        "accuracy": _mean(correct),
        "accuracy_kept": _mean(correct[~refused]),
        "accuracy_refused": _mean(correct[refused]),
        "wrong_refused": _mean(refused[~correct]),
    }


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None


def mean_areas(rows: Mapping[str, Mapping[str, Any]], near: Sequence[str]) -> dict[str, float]:
    """Return the mean AUROC over far sets and over near sets, and both together, near ones counting twice.

    Args:
        rows: Set to what `separation` returned; far and near ones, at least one of each.
        near: Names of the near sets.
    """
    areas = {name: float(row["auroc"]) for name, row in rows.items()}
    close = [area for name, area in areas.items() if name in near]
    far = [area for name, area in areas.items() if name not in near]
    if not close or not far:
        raise EvaluationError(f"{len(far)} far and {len(close)} near sets: at least one of each is needed to compare methods.")
    means = float(np.mean(far)), float(np.mean(close))
    return {"far": means[0], "near": means[1], "weighted": (1 - NEAR_WEIGHT) * means[0] + NEAR_WEIGHT * means[1]}


def choose_method(weighted: Mapping[str, float], stored_bytes: Mapping[str, int], *, most_bytes: int = MOST_BYTES) -> str:
    """Return the method to ship: the highest weighted AUROC among those that are small enough; of equals the smallest.

    To be given what was measured on images made for choosing and never what a test set gave.

    Args:
        weighted: Method to `mean_areas(...)["weighted"]`; areas that agree to three digits count as equal.
        stored_bytes: Method to what it adds to a bundle.
        most_bytes: What may be added.

    Raises:
        EvaluationError: No method is small enough.
    """
    small = [method for method in weighted if stored_bytes[method] <= most_bytes]
    if not small:
        raise EvaluationError(f"no method of familiarity fits into {most_bytes:,} bytes. Store fewer directions, or allow more.")
    return min(small, key=lambda method: (-round(weighted[method], 3), stored_bytes[method]))
