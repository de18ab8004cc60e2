"""How far logits must be scaled so that probabilities are right as often as they say."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tumorscope.evaluation.inputs import checked_groups, checked_logits
from tumorscope.labels import LABELS
from tumorscope.models.decisions import scaled_probabilities, softmax
from tumorscope.resampling import deal_folds, mean_intervals

BOUNDS = (0.05, 20.0)
"""The temperatures that are looked at."""

FOLDS = 5
LEAST_OF_LABEL = 10
NONE, TEMPERATURE, VECTOR = "none", "temperature", "vector"


def fit_temperature(logits: np.ndarray, label_index: np.ndarray) -> float:
    """Return the temperature of least log loss, found where the slope by 1 / temperature, in which log loss is convex, is 0.

    Where every answer is right, log loss falls without end as the model is made surer. The split then counts as n right answers
    out of n, with n + 1 out of n + 2 as the share to aim at (Platt's targets), which keeps the temperature from claiming
    certainty.

    Args:
        logits: Of images that no training has seen, finite, shape (n, 4).
        label_index: True labels as positions in `LABELS`, int64, shape (n,).

    Returns:
        Within `BOUNDS`; 1 where the logits of every image are all equal.

    Raises:
        EvaluationError: No images, logits that are not finite, or labels that do not fit them.

    Source:
        Guo et al. 2017, section 4.2, https://arxiv.org/abs/1706.04599; Platt 1999, Probabilistic outputs for support vector
        machines, section 2.2.
    """
    from scipy.optimize import brentq

    logits, label_index = checked_logits(logits, label_index)
    targets = _targets(logits, label_index)
    centred = logits - logits.max(axis=1, keepdims=True)
    if not centred.any():
        return 1.0

    def slope(inverse: float) -> float:
        return float(((softmax(centred * inverse) - targets) * centred).sum(axis=1).mean())

    lowest, highest = 1 / BOUNDS[1], 1 / BOUNDS[0]
    if slope(lowest) >= 0:
        return BOUNDS[1]
    if slope(highest) <= 0:
        return BOUNDS[0]
    return float(1 / brentq(slope, lowest, highest))


def fit_vector_scaling(logits: np.ndarray, label_index: np.ndarray) -> tuple[list[float], list[float]]:
    """Return a scale and an offset for every label, to follow the division by `fit_temperature` of the same images.

    Log loss is summed over images and joined by half the squares of (scale - 1) and offset, as if these were normal with a
    deviation of 1: with few images, or none of a label, what is left is temperature scaling.

    Args:
        logits: As for `fit_temperature`.
        label_index: Likewise.

    Returns:
        Scales within `BOUNDS`, and offsets, in the order of `LABELS`, for `scaled_probabilities`.

    Raises:
        EvaluationError: As `fit_temperature`.

    Source:
        Guo et al. 2017, section 4.2, https://arxiv.org/abs/1706.04599
    """
    from scipy.optimize import minimize

    logits, label_index = checked_logits(logits, label_index)
    targets, count, size = _targets(logits, label_index), len(logits), len(LABELS)
    scaled = logits / fit_temperature(logits, label_index)

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        scales, offsets = parameters[:size], parameters[size:]
        moved = scaled * scales + offsets
        moved = moved - moved.max(axis=1, keepdims=True)
        total = np.log(np.exp(moved).sum(axis=1)).sum() - (moved * targets).sum()
        total += (((scales - 1) ** 2).sum() + (offsets**2).sum()) / 2
        excess = softmax(moved) - targets
        slope = np.concatenate([(excess * scaled).sum(axis=0) + scales - 1, excess.sum(axis=0) + offsets])
        return float(total / count), slope / count

    start = np.concatenate([np.ones(size), np.zeros(size)])
    bounds = [BOUNDS] * size + [(None, None)] * size
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-12, "gtol": 1e-8})
    return found.x[:size].tolist(), found.x[size:].tolist()


def compare_scalings(logits: np.ndarray, label_index: np.ndarray, *, groups: Sequence[str] | None, seed: int = 0) -> dict[str, Any]:
    """Return the log loss of no, temperature and vector scaling on images that the scaling was not fitted on.

    Groups are dealt to `FOLDS` folds (fewer where there are fewer groups); each fold is answered by scalings fitted on the others.

    Args:
        logits: As for `fit_temperature`.
        label_index: Likewise.
        groups: Group of every image, empty where unknown; None makes each image its own.
        seed: Of the folds and the intervals.

    Returns:
        `n`, `groups`, `folds`, `seed`, `log_loss` {none, temperature, vector: {value, interval}} in nats per image, `differences`
        {temperature_minus_none, vector_minus_temperature: {value, interval}} with [low, high] by bootstrap over groups, and
        `chosen`: temperature, unless its loss is surely higher than with none; vector only if its loss is surely lower than
        with temperature, that is, by an interval without 0, and `LEAST_OF_LABEL` images of every label are there: it learns to
        withhold a label that it never sees, which would be a missed tumour elsewhere. With one group alone nothing can be
        compared: values are None, and `chosen` is temperature.

    Raises:
        EvaluationError: As `fit_temperature`, or groups that do not fit the images.
    """
    logits, label_index = checked_logits(logits, label_index)
    numbers = checked_groups(groups, len(logits))
    count = int(numbers.max()) + 1
    losses = (
        _held_out_losses(logits, label_index, deal_folds(numbers, folds=FOLDS, seed=seed))
        if count > 1
        else np.full((3, len(logits)), np.nan)
    )
    rarest = np.bincount(label_index, minlength=len(LABELS)).min()
    columns = np.vstack([losses, losses[1] - losses[0], losses[2] - losses[1]])
    intervals = mean_intervals(columns, numbers, shares=False, seed=seed)
    cells = [
        {"value": float(column.mean()) if count > 1 else None, "interval": interval}
        for column, interval in zip(columns, intervals, strict=True)
    ]
    return {
        "n": len(logits),
        "groups": count,
        "folds": min(FOLDS, count),
        "seed": seed,
        "log_loss": dict(zip((NONE, TEMPERATURE, VECTOR), cells[:3], strict=True)),
        "differences": dict(zip(("temperature_minus_none", "vector_minus_temperature"), cells[3:], strict=True)),
        "chosen": _chosen(*intervals[3:], every_label=rarest >= LEAST_OF_LABEL),
    }


def _targets(logits: np.ndarray, label_index: np.ndarray) -> np.ndarray:
    """What probabilities should be, float64, shape (n, 4): 1 for the true label, or nearly so where no answer is wrong."""
    truth = np.eye(len(LABELS))[label_index]
    all_right = (logits[np.arange(len(logits)), label_index] == logits.max(axis=1)).all()
    missing = 1 / (len(logits) + 2) if all_right else 0.0
    targets: np.ndarray = truth * (1 - missing) + (1 - truth) * missing / (len(LABELS) - 1)
    return targets


def _held_out_losses(logits: np.ndarray, label_index: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Log loss of every image under the three scalings, float64, shape (3, n)."""
    losses = np.empty((3, len(logits)))
    for fold in range(int(folds.max()) + 1):
        held, rest = np.flatnonzero(folds == fold), folds != fold
        temperature = fit_temperature(logits[rest], label_index[rest])
        scales, offsets = fit_vector_scaling(logits[rest], label_index[rest])
        answers = (
            scaled_probabilities(logits[held], 1.0),
            scaled_probabilities(logits[held], temperature),
            scaled_probabilities(logits[held], temperature, scales=scales, offsets=offsets),
        )
        for row, probabilities in zip(losses, answers, strict=True):
            row[held] = -np.log(np.maximum(probabilities[np.arange(len(held)), label_index[held]], np.finfo(np.float64).tiny))
    return losses


def _chosen(over_none: list[float] | None, over_temperature: list[float] | None, *, every_label: bool) -> str:
    if over_none and over_none[0] > 0:
        return NONE
    return VECTOR if every_label and over_temperature and over_temperature[1] < 0 else TEMPERATURE
