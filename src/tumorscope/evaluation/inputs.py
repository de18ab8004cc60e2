"""What arrays must be before anything is fitted or measured on them."""

from collections.abc import Sequence

import numpy as np

from tumorscope.errors import EvaluationError
from tumorscope.labels import LABELS
from tumorscope.models.decisions import refuse_logits, refuse_probabilities
from tumorscope.resampling import number_groups


def checked_labels(label_index: np.ndarray, *, count: int) -> np.ndarray:
    """Return positions in `LABELS` as int64, shape (count,).

    Raises:
        EvaluationError: No images, not one label per image, or numbers that are no positions.
    """
    if label_index.shape != (count,):
        raise EvaluationError(f"{label_index.shape} labels for {count} images. Give one per image.")
    refuse_nothing(count)
    if label_index.dtype.kind not in "iu" or not np.isin(label_index, range(len(LABELS))).all():
        raise EvaluationError(f"label_index must hold whole numbers from 0 to {len(LABELS) - 1}, the positions in LABELS.")
    return label_index.astype(np.int64)


def checked_logits(logits: np.ndarray, label_index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return both as float64, shape (n, 4), and int64, shape (n,).

    Raises:
        EvaluationError: No images, logits that are not finite, or labels that do not fit them.
    """
    logits, label_index = np.asarray(logits, dtype=np.float64), np.asarray(label_index)
    refuse_logits(logits)
    return logits, checked_labels(label_index, count=len(logits))


def checked_probabilities(probabilities: np.ndarray, label_index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return both as float64, shape (n, 4), and int64, shape (n,).

    Raises:
        EvaluationError: No images, probabilities that are none, or labels that do not fit them.
    """
    probabilities, label_index = np.asarray(probabilities, dtype=np.float64), np.asarray(label_index)
    refuse_probabilities(probabilities)
    return probabilities, checked_labels(label_index, count=len(probabilities))


def checked_scores(scores: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return scores from 0 to 1 as float64 and yes or no as bool, both of shape (n,).

    Raises:
        EvaluationError: No images, other shapes, scores that are not probabilities, or a truth that is not yes or no.
    """
    scores, truth = np.asarray(scores, dtype=np.float64), np.asarray(truth)
    if scores.ndim != 1 or scores.shape != truth.shape:
        raise EvaluationError(f"scores of shape {scores.shape} and truth of shape {truth.shape}: expected both as (n,).")
    refuse_nothing(len(scores))
    if not ((scores >= 0) & (scores <= 1)).all():
        raise EvaluationError("scores must be probabilities from 0 to 1, without NaN. The model's weights may have diverged.")
    if truth.dtype != np.bool_:
        raise EvaluationError(f"truth of type {truth.dtype}: expected bool, True where the answer should be yes.")
    return scores, truth


def checked_groups(groups: Sequence[str] | None, count: int) -> np.ndarray:
    """Return the group of every image as a number from 0, int64, shape (count,); None, or an empty name, is a group of its own.

    Raises:
        EvaluationError: There is not one name per image.
    """
    names = [""] * count if groups is None else list(groups)
    if len(names) != count:
        raise EvaluationError(f"{len(names)} groups for {count} images. Give one per image, empty where unknown.")
    return number_groups(names)


def refuse_nothing(count: int) -> None:
    """Raise EvaluationError when there are no images."""
    if not count:
        raise EvaluationError("no images, so there is nothing to fit or measure. Give a split that has images.")


def refuse_share(value: float, *, name: str) -> None:
    """Raise EvaluationError unless `value` lies between 0 and 1, ends excluded."""
    if not 0 < value < 1:
        raise EvaluationError(f"{name} {value}: allowed is a share between 0 and 1, ends excluded.")
