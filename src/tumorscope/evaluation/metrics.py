"""The numbers of one model on one set of images: pure functions on predictions, computed by scikit-learn.

scikit-learn is imported inside the functions: it takes seconds, and `--help` must not wait for it.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from tumorscope.errors import EvaluationError
from tumorscope.labels import LABELS, NO_TUMOUR, label_index
from tumorscope.predictions import Predictions

AVERAGED = ("precision", "recall", "f1")
TUMOUR = "tumour"
"""Name of the question tumour against none beside the four labels."""

_ORDER = list(range(len(LABELS)))


def summarise(predictions: Predictions) -> dict[str, Any]:
    """Return the metrics of one model as plain JSON values.

    What the images cannot tell is None, never NaN: the scores of a label without images (also left out of the macro average)
    and areas without both kinds of images. The precision of a label that has images but is never predicted is 0.

    Args:
        predictions: At least one row; the order of the rows does not matter.

    Returns:
        `n` (images), `labels` (order of rows and columns), `accuracy`, `macro` and `weighted` {precision, recall, f1}, `per_class`
        {label: {precision, recall, f1, support}}, `confusion_matrix` (rows truth, columns predicted, images),
        `tumour_sensitivity` and `tumour_specificity` (any tumour label against none, by the most probable label),
        `missed_tumours` (tumour images called no tumour), `roc_auc` and `average_precision` {label: one versus rest, macro,
        tumour: 1 - p_notumor}, `log_loss` (nats per image) and `brier` (0 best to 2 worst). Shares are 0 to 1, unrounded.

    Raises:
        EvaluationError: There are no images.
    """
    from sklearn.metrics import accuracy_score, average_precision_score, confusion_matrix, roc_auc_score

    refuse_empty(predictions)
    truth, called = predictions.label_index, predictions.predicted_index
    return {
        "n": len(predictions),
        "labels": list(LABELS),
        "accuracy": float(accuracy_score(truth, called)),
        "macro": _average(truth, called, average="macro"),
        "weighted": _average(truth, called, average="weighted"),
        "per_class": _per_class(truth, called),
        "confusion_matrix": confusion_matrix(truth, called, labels=_ORDER).tolist(),
        **_tumour_against_none(truth, called),
        "roc_auc": _areas(predictions, roc_auc_score),
        "average_precision": _areas(predictions, average_precision_score),
        **_probability_errors(predictions),
    }


def curves(predictions: Predictions) -> dict[str, dict[str, dict[str, np.ndarray]]]:
    """Return the points of the ROC and precision-recall curves.

    A curve without both kinds of images does not exist and is left out, so the keys say what can be drawn.

    Args:
        predictions: At least one row.

    Returns:
        `roc` {name: {false_positive_rate, true_positive_rate}} and `precision_recall` {name: {recall, precision}}, where name is
        a label (one versus rest) or `tumour` (against none). Arrays are float64, 0 to 1, of equal length within a curve.

    Raises:
        EvaluationError: There are no images.
    """
    from sklearn.metrics import precision_recall_curve, roc_curve

    refuse_empty(predictions)
    roc, precision_recall = {}, {}
    for name, (truth, score) in binary_questions(predictions).items():
        if not _both_kinds(truth):
            continue
        false_positive_rate, true_positive_rate, _ = roc_curve(truth, score)
        roc[name] = {"false_positive_rate": false_positive_rate, "true_positive_rate": true_positive_rate}
        precision, recall, _ = precision_recall_curve(truth, score, drop_intermediate=True)
        precision_recall[name] = {"recall": recall, "precision": precision}
    return {"roc": roc, "precision_recall": precision_recall}


def binary_questions(predictions: Predictions) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return the yes-or-no questions behind the areas: each label against the rest, and tumour against none.

    Returns:
        Question to (truth, score): bool and float64, shape (n,); a higher score says yes. The labels come first, then `tumour`.
    """
    questions = {label: (predictions.label_index == i, predictions.probabilities[:, i]) for i, label in enumerate(LABELS)}
    none = label_index(NO_TUMOUR)
    questions[TUMOUR] = (predictions.label_index != none, 1 - predictions.probabilities[:, none])
    return questions


def refuse_empty(predictions: Predictions) -> None:
    """Raise EvaluationError when there is nothing to measure."""
    if not len(predictions):
        raise EvaluationError("no predictions, so there is nothing to measure. Evaluate on a split that has images.")


def _both_kinds(truth: np.ndarray) -> bool:
    return bool(truth.any() and not truth.all())


def _average(truth: np.ndarray, called: np.ndarray, *, average: str) -> dict[str, float]:
    from sklearn.metrics import precision_recall_fscore_support

    present = sorted(set(truth.tolist()))
    values = precision_recall_fscore_support(truth, called, labels=present, average=average, zero_division=0.0)
    return dict(zip(AVERAGED, map(float, values[:3]), strict=True))


def _per_class(truth: np.ndarray, called: np.ndarray) -> dict[str, dict[str, float | int | None]]:
    from sklearn.metrics import precision_recall_fscore_support

    *shares, supports = precision_recall_fscore_support(truth, called, labels=_ORDER, average=None, zero_division=0.0)
    result: dict[str, dict[str, float | int | None]] = {}
    for i, (label, support) in enumerate(zip(LABELS, supports.tolist(), strict=True)):
        values = [float(share[i]) if support else None for share in shares]
        result[label] = {**dict(zip(AVERAGED, values, strict=True)), "support": support}
    return result


def _tumour_against_none(truth: np.ndarray, called: np.ndarray) -> dict[str, float | int | None]:
    from sklearn.metrics import recall_score

    is_tumour, called_tumour = truth != label_index(NO_TUMOUR), called != label_index(NO_TUMOUR)

    def recall(positive: bool) -> float | None:
        defined = (is_tumour == positive).any()
        return float(recall_score(is_tumour == positive, called_tumour == positive, zero_division=0.0)) if defined else None

    return {
        "tumour_sensitivity": recall(True),
        "tumour_specificity": recall(False),
        "missed_tumours": int((is_tumour & ~called_tumour).sum()),
    }


def _areas(predictions: Predictions, area: Callable[[np.ndarray, np.ndarray], float]) -> dict[str, float | None]:
    areas = {
        name: float(area(truth, score)) if _both_kinds(truth) else None
        for name, (truth, score) in binary_questions(predictions).items()
    }
    defined = [value for name, value in areas.items() if name != TUMOUR and value is not None]
    return {**areas, "macro": float(np.mean(defined)) if defined else None}


def _probability_errors(predictions: Predictions) -> dict[str, float]:
    from sklearn.metrics import brier_score_loss, log_loss

    # Single-precision softmax misses a sum of 1 by 1e-7, which scikit-learn warns about.
    probabilities = predictions.probabilities / predictions.probabilities.sum(axis=1, keepdims=True)
    return {
        "log_loss": float(log_loss(predictions.label_index, probabilities, labels=_ORDER)),
        "brier": float(brier_score_loss(predictions.label_index, probabilities, labels=_ORDER)),
    }
