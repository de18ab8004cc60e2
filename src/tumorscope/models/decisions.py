"""From logits to what is acted on: probabilities, prediction sets, recommended labels. numpy only, no fitting.

The numbers that these functions take are fitted in `tumorscope.evaluation` and travel with the weights.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tumorscope.errors import EvaluationError
from tumorscope.labels import LABELS, NO_TUMOUR, TUMOUR_LABELS

ROUNDING = 1e-8
"""By how much a score may pass a quantile and still count as equal to it, as in MAPIE."""

_SUM_TOLERANCE = 1e-5
_NONE = LABELS.index(NO_TUMOUR)
_TUMOURS = np.array([LABELS.index(label) for label in TUMOUR_LABELS])


def refuse_logits(logits: np.ndarray) -> None:
    """Raise EvaluationError unless `logits` are finite numbers of shape (n, 4)."""
    _refuse_shape(logits, "logits")
    bad = ~np.isfinite(logits).all(axis=1)
    if bad.any():
        raise EvaluationError(
            f"{int(bad.sum())} of {len(logits)} rows of logits hold NaN or infinity, first row {int(bad.argmax())}. "
            "The model's weights may have diverged, or the input is not a picture; train again or leave the image out."
        )


def refuse_probabilities(probabilities: np.ndarray) -> None:
    """Raise EvaluationError unless `probabilities` are of shape (n, 4), finite, not negative, and sum to 1 in every row."""
    _refuse_shape(probabilities, "probabilities")
    bad = ~np.isfinite(probabilities).all(axis=1)
    if bad.any():
        raise EvaluationError(
            f"{int(bad.sum())} of {len(probabilities)} rows of probabilities hold NaN or infinity, first row {int(bad.argmax())}. "
            "The model's weights may have diverged; train again or leave the image out."
        )
    wrong = (probabilities < 0).any(axis=1) | (np.abs(probabilities.sum(axis=1) - 1) > _SUM_TOLERANCE)
    if wrong.any():
        raise EvaluationError(
            f"row {int(wrong.argmax())} of the probabilities is negative or does not sum to 1. Pass probabilities, not logits."
        )


def scaled_probabilities(
    logits: np.ndarray, temperature: float, *, scales: Sequence[float] | None = None, offsets: Sequence[float] | None = None
) -> np.ndarray:
    """Return calibrated probabilities: softmax of `logits / temperature * scales + offsets`.

    Scales of 1 and offsets of 0, or None, leave temperature scaling alone. A temperature never changes the most probable label;
    scales and offsets may.

    Args:
        logits: Finite, shape (n, 4).
        temperature: Above 0; 1 changes nothing, more makes the model less sure.
        scales: One factor for every label, or None.
        offsets: One addend for every label, or None.

    Returns:
        float64, shape (n, 4), each row sums to 1.

    Raises:
        EvaluationError: Logits that are not finite or of another shape, or numbers that cannot scale them.

    Source:
        Guo et al. 2017, sections 4.2 and equation 9, https://arxiv.org/abs/1706.04599
    """
    refuse_logits(logits)
    if not (np.isfinite(temperature) and temperature > 0):
        raise EvaluationError(f"temperature {temperature}: allowed is a number above 0; calibrate the model again.")
    factors = np.ones(len(LABELS)) if scales is None else np.asarray(scales, dtype=np.float64)
    addends = np.zeros(len(LABELS)) if offsets is None else np.asarray(offsets, dtype=np.float64)
    for name, values in (("scales", factors), ("offsets", addends)):
        if values.shape != (len(LABELS),) or not np.isfinite(values).all():
            raise EvaluationError(f"{name} {values.tolist()}: expected {len(LABELS)} finite numbers; calibrate the model again.")
    return softmax(np.asarray(logits, dtype=np.float64) / temperature * factors + addends)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return probabilities of finite logits, float64, shape (n, k), without overflow."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
    return probabilities


def prediction_sets(
    probabilities: np.ndarray, quantiles_of_a_level: Mapping[str, Any], *, conditional: bool, keep_empty: bool = False
) -> np.ndarray:
    """Return which labels belong to the prediction set of every image: those whose score 1 - p is within the quantile.

    A set that would be empty becomes the most probable label. That can only raise coverage, and it does so visibly where a model
    is right more often than the level asks: compare coverage with theory on sets that keep their emptiness.

    Args:
        probabilities: Calibrated, shape (n, 4), each row sums to 1.
        quantiles_of_a_level: `marginal` and `per_label` of one level, from `fit_quantiles`.
        conditional: Take the quantile of each label instead of the marginal one. A label without one (None: no image of it was
            in the calibration split) cannot be ruled out and is in every set.
        keep_empty: Leave empty sets empty.

    Returns:
        bool, shape (n, 4), in the order of `LABELS`.

    Raises:
        EvaluationError: Probabilities that are none, or quantiles of another shape.

    Source:
        Sadinle, Lei and Wasserman 2019, https://doi.org/10.1080/01621459.2017.1395341
    """
    refuse_probabilities(probabilities)
    sets: np.ndarray = 1 - probabilities <= _limits(quantiles_of_a_level, conditional=conditional) + ROUNDING
    if not keep_empty:
        empty = np.flatnonzero(~sets.any(axis=1))
        sets[empty, probabilities[empty].argmax(axis=1)] = True
    return sets


def recommended_labels(
    probabilities: np.ndarray, threshold: float | None, *, cost_matrix: Sequence[Sequence[float]] | np.ndarray | None = None
) -> np.ndarray:
    """Return the answer to act on: the label of least expected cost, and a tumour from the operating point on in any case.

    Where the probability of any tumour reaches the threshold, the answer is the tumour label of least expected cost, even if no
    tumour would cost less. Below it a tumour is still the answer where it costs least: a model that tells its calibration images
    apart with ease has a threshold near 1, and whoever calls more tumours than that finds no fewer of them than was promised.

    Args:
        probabilities: Calibrated, shape (n, 4), each row sums to 1.
        threshold: On 1 - p of no tumour, 0 to 1; None leaves the whole decision to the costs.
        cost_matrix: Cost of every answer (column) for every truth (row), at least 0, shape (4, 4), in the order of `LABELS`; None
            counts every mistake as 1, so that the least cost is the highest probability.

    Returns:
        Positions in `LABELS`, int64, shape (n,); of equal costs the first label.

    Raises:
        EvaluationError: Probabilities that are none, a threshold outside of 0 to 1, or a cost matrix that is none.

    Source:
        Elkan 2001, The foundations of cost-sensitive learning, equation 1, https://cseweb.ucsd.edu/~elkan/rescale.pdf
    """
    refuse_probabilities(probabilities)
    costs = -probabilities if cost_matrix is None else probabilities @ _checked_costs(cost_matrix)
    cheapest: np.ndarray = costs.argmin(axis=1)
    if threshold is None:
        return cheapest
    if not 0 <= threshold <= 1:
        raise EvaluationError(f"threshold {threshold}: allowed is a probability from 0 to 1; fit the operating point again.")
    is_tumour = (1 - probabilities[:, _NONE] >= threshold) | (cheapest != _NONE)
    return np.where(is_tumour, _TUMOURS[costs[:, _TUMOURS].argmin(axis=1)], _NONE)


def _refuse_shape(values: np.ndarray, name: str) -> None:
    if values.ndim != 2 or values.shape[1] != len(LABELS):
        raise EvaluationError(f"{name} of shape {values.shape}: expected (n, {len(LABELS)}), one column for each of {LABELS}.")


def _limits(quantiles: Mapping[str, Any], *, conditional: bool) -> np.ndarray:
    """Quantile of every label, float64, shape (4,)."""
    try:
        found = [quantiles["per_label"][label] if conditional else quantiles["marginal"] for label in LABELS]
        limits = np.array([1.0 if quantile is None else float(quantile) for quantile in found])
    except (KeyError, TypeError, ValueError):
        raise EvaluationError(
            f"quantiles {dict(quantiles)}: expected `marginal`, a number, and `per_label` with one for each of {LABELS}; "
            "calibrate the model again."
        ) from None
    if not ((limits >= 0) & (limits <= 1)).all():
        raise EvaluationError(f"quantiles {limits.tolist()}: allowed are numbers from 0 to 1; calibrate the model again.")
    return limits


def _checked_costs(cost_matrix: Sequence[Sequence[float]] | np.ndarray) -> np.ndarray:
    costs = np.asarray(cost_matrix, dtype=np.float64)
    if costs.shape != (len(LABELS), len(LABELS)) or not np.isfinite(costs).all() or (costs < 0).any():
        raise EvaluationError(
            f"cost matrix {costs.tolist()}: expected {len(LABELS)} rows (truth) of {len(LABELS)} costs (answer), each at least 0."
        )
    return costs
