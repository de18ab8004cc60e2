"""Images whose label a model that has not seen them disagrees with confidently: to be looked at, never changed."""

import warnings

import numpy as np

from tumorscope.labels import LABELS
from tumorscope.predictions import Predictions


def label_issues(predictions: Predictions) -> np.ndarray:
    """Return the rows whose label is likely wrong, the most suspicious first.

    Args:
        predictions: Out-of-fold answers: every image by a model that was not trained on it.

    Returns:
        Rows, int64, shape (k,); empty when fewer than two labels occur.

    Source:
        Northcutt et al. 2021, Confident Learning, https://doi.org/10.1613/jair.1.12125, as cleanlab has it.
    """
    from cleanlab.filter import find_label_issues

    present = np.unique(predictions.label_index)
    if len(present) < 2:
        return np.zeros(0, dtype=np.int64)
    # cleanlab wants labels without gaps, and probabilities over these labels alone.
    labels = np.searchsorted(present, predictions.label_index)
    probabilities = predictions.probabilities[:, present]
    total = probabilities.sum(axis=1, keepdims=True)
    probabilities = np.divide(probabilities, total, out=np.full_like(probabilities, 1 / len(present)), where=total > 0)
    with warnings.catch_warnings():
        # A label of which few images are left unsuspected: the page says what was found, and promises no completeness.
        warnings.filterwarnings("ignore", message="May not flag all label issues", category=UserWarning)
        rows = find_label_issues(labels, probabilities, return_indices_ranked_by="self_confidence", n_jobs=1)
    return np.asarray(rows, dtype=np.int64)


def describe_issue(predictions: Predictions, row: int) -> str:
    """Return in words what the model thinks of one row's label."""
    label, predicted = int(predictions.label_index[row]), int(predictions.predicted_index[row])
    own, other = predictions.probabilities[row, label], predictions.probabilities[row, predicted]
    return f"label {LABELS[label]} ({own:.3f}), model {LABELS[predicted]} ({other:.3f})"
