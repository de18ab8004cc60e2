"""Whether probabilities are right as often as they say: calibration error, its curve, Brier score and log loss."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tumorscope.evaluation.bins import BINNINGS, BINS, EQUAL_MASS, Question, bin_numbers, binned_error, curve_points
from tumorscope.evaluation.inputs import checked_probabilities
from tumorscope.evaluation.intervals import group_numbers
from tumorscope.evaluation.metrics import refuse_empty
from tumorscope.labels import LABELS
from tumorscope.predictions import Predictions
from tumorscope.resampling import LEVEL, RESAMPLES, mean_intervals, percentile_interval, resample_weights

SIMULATIONS = 1000

CAVEAT = (
    "The calibration error of a perfectly calibrated model is not 0 on finitely many images: chance alone makes bins differ from "
    "what they should be. `expected_if_calibrated` is its mean when the truth of every image is drawn from the model's own "
    "probabilities, images independent; `as_large_if_calibrated` is how often chance alone gives at least the measured error. The "
    "interval is the percentile bootstrap over groups with the bins as they are, and chance lifts it likewise."
)

_LEAST = np.finfo(np.float64).eps
_TOP = "top_label"


def expected_calibration_error(
    probabilities: np.ndarray, label_index: np.ndarray, *, bins: int = BINS, binning: str = EQUAL_MASS
) -> float:
    """Return the calibration error of the most probable label: how far confidence and accuracy lie apart, averaged over bins.

    Args:
        probabilities: Shape (n, 4), each row sums to 1.
        label_index: True labels as positions in `LABELS`, int64, shape (n,).
        bins: How many, at least 1.
        binning: `equal_mass` (as many images in every bin, equal confidences together) or `equal_width` (of 0 to 1).

    Returns:
        0 best to 1; see `CAVEAT` for what it is when nothing is wrong.

    Raises:
        EvaluationError: No images, probabilities that are none, labels that do not fit, or unknown settings.

    Source:
        Guo et al. 2017, equation 3, https://arxiv.org/abs/1706.04599; equal mass: Nixon et al. 2019,
        https://arxiv.org/abs/1904.01685
    """
    confidence, right = _top_label(*checked_probabilities(probabilities, label_index))
    return binned_error(confidence, right, bin_numbers(confidence, bins=bins, binning=binning))


def calibration_summary(
    predictions: Predictions, *, groups: Sequence[str] | None, seed: int = 0, bins: int = BINS
) -> dict[str, Any]:
    """Return everything that says how well a model's probabilities are calibrated, as plain JSON values.

    Args:
        predictions: At least one row.
        groups: Group of every row, empty where unknown; None makes each image its own. The intervals resample groups.
        seed: Of the intervals and of the simulation.
        bins: As for `expected_calibration_error`.

    Returns:
        `n`, `groups`, `accuracy`, `confidence` (mean of the highest probability), `brier` and `log_loss`, each {value, interval};
        `top_label` {equal_mass, equal_width: {ece, interval, expected_if_calibrated, as_large_if_calibrated, curve}}; `per_label`
        {label: the same for its probability against the rest, with `n` (its images), `brier` (0 to 1) and `log_loss`; None for a
        label without images}; and `caveat`, `bins`, `level`, `resamples`, `simulations`, `seed`.

    Raises:
        EvaluationError: No images, groups that do not fit them, or fewer than one bin.

    Source:
        Simulation from the model's own probabilities: Bröcker and Smith 2007, https://doi.org/10.1175/WAF993.1
    """
    refuse_empty(predictions)
    probabilities = predictions.probabilities / predictions.probabilities.sum(axis=1, keepdims=True)
    probabilities, truth = checked_probabilities(probabilities, predictions.label_index)
    numbers = group_numbers(predictions, groups)
    questions = {label: question for label, question in _label_questions(probabilities, truth).items() if question[1].any()}
    means = _means_of_images(probabilities, truth, questions, numbers, seed=seed)
    binned = _binned({_TOP: _top_label(probabilities, truth), **questions}, numbers, bins=bins, seed=seed)
    per_label = {label: {"n": int(questions[label][1].sum()), **means[label], **binned[label]} for label in questions}
    return {
        "n": len(predictions),
        "groups": int(numbers.max()) + 1,
        **means[_TOP],
        "top_label": binned[_TOP],
        "per_label": {label: per_label.get(label) for label in LABELS},
        "caveat": CAVEAT,
        "bins": bins,
        "level": LEVEL,
        "resamples": RESAMPLES,
        "simulations": SIMULATIONS,
        "seed": seed,
    }


def _top_label(probabilities: np.ndarray, label_index: np.ndarray) -> Question:
    return probabilities.max(axis=1), probabilities.argmax(axis=1) == label_index


def _label_questions(probabilities: np.ndarray, label_index: np.ndarray) -> Mapping[str, Question]:
    return {label: (probabilities[:, i], label_index == i) for i, label in enumerate(LABELS)}


def _means_of_images(
    probabilities: np.ndarray, truth: np.ndarray, questions: Mapping[str, Question], numbers: np.ndarray, *, seed: int
) -> dict[str, dict[str, dict[str, Any]]]:
    """{`_TOP` or label: {name: {value, interval}}} of what is a mean over images."""
    confidence, right = _top_label(probabilities, truth)
    columns = {
        (_TOP, "accuracy"): right.astype(np.float64),
        (_TOP, "confidence"): confidence,
        (_TOP, "brier"): _brier_of_images(probabilities, truth),
        (_TOP, "log_loss"): _log_loss_of_images(probabilities, truth),
    }
    for label, (score, is_label) in questions.items():
        columns[label, "brier"] = (score - is_label) ** 2
        columns[label, "log_loss"] = -np.log(np.maximum(np.where(is_label, score, 1 - score), _LEAST))
    shares = [measure == "accuracy" for _, measure in columns]
    intervals = mean_intervals(np.stack(list(columns.values())), numbers, shares=shares, seed=seed)
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for ((name, measure), values), interval in zip(columns.items(), intervals, strict=True):
        found.setdefault(name, {})[measure] = {"value": float(values.mean()), "interval": interval}
    return found


def _binned(questions: Mapping[str, Question], numbers: np.ndarray, *, bins: int, seed: int) -> dict[str, dict[str, Any]]:
    """{question: {binning: what the summary says of its calibration error}}."""
    places = {
        (name, binning): bin_numbers(confidence, bins=bins, binning=binning)
        for name, (confidence, _) in questions.items()
        for binning in BINNINGS
    }
    intervals = _error_intervals(questions, places, numbers, bins=bins, seed=seed)
    found: dict[str, dict[str, Any]] = {name: {} for name in questions}
    for (name, binning), bin_of in places.items():
        confidence, truth = questions[name]
        error, simulated = binned_error(confidence, truth, bin_of), _simulated_errors(confidence, bin_of, seed=seed)
        found[name][binning] = {
            "ece": error,
            "interval": intervals[name, binning],
            "expected_if_calibrated": float(simulated.mean()),
            "as_large_if_calibrated": float((simulated >= error - 1e-12).mean()),
            "curve": curve_points(confidence, truth, bin_of),
        }
    return found


def _simulated_errors(confidence: np.ndarray, bin_of: np.ndarray, *, seed: int) -> np.ndarray:
    """Calibration errors when the confidence is the truth, float64, shape (SIMULATIONS,)."""
    rng, members = np.random.default_rng(seed), np.eye(int(bin_of.max()) + 1)[bin_of]
    errors = np.empty(SIMULATIONS)
    block = max(1, 1_000_000 // len(confidence))
    for start in range(0, SIMULATIONS, block):
        drawn = rng.random((min(block, SIMULATIONS - start), len(confidence))) < confidence
        errors[start : start + block] = np.abs((drawn - confidence) @ members).sum(axis=1) / len(confidence)
    return errors


def _error_intervals(
    questions: Mapping[str, Question], places: Mapping[tuple[str, str], np.ndarray], numbers: np.ndarray, *, bins: int, seed: int
) -> dict[tuple[str, str], list[float] | None]:
    groups = int(numbers.max()) + 1
    tables = np.empty((groups, len(places), bins))
    for place, ((name, _), bin_of) in enumerate(places.items()):
        confidence, truth = questions[name]
        cells = np.bincount(numbers * bins + bin_of, weights=truth - confidence, minlength=groups * bins)
        tables[:, place] = cells.reshape(groups, bins)
    sizes = np.bincount(numbers).astype(np.float64)
    drawn = [
        np.abs((weights @ tables.reshape(groups, -1)).reshape(len(weights), len(places), bins)).sum(axis=2)
        / (weights @ sizes)[:, None]
        for weights in resample_weights(groups, resamples=RESAMPLES, seed=seed)
    ]
    return {key: percentile_interval(values, level=LEVEL) for key, values in zip(places, np.concatenate(drawn).T, strict=True)}


def _brier_of_images(probabilities: np.ndarray, label_index: np.ndarray) -> np.ndarray:
    squares: np.ndarray = ((probabilities - np.eye(len(LABELS))[label_index]) ** 2).sum(axis=1)
    return squares


def _log_loss_of_images(probabilities: np.ndarray, label_index: np.ndarray) -> np.ndarray:
    losses: np.ndarray = -np.log(np.maximum(probabilities[np.arange(len(probabilities)), label_index], _LEAST))
    return losses
