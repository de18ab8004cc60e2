"""How a model's answers change when scans get worse. Pure: scans come in decoded, and the model is a function."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tumorscope.data.corruptions import CORRUPTIONS, STRENGTHS, corrupt
from tumorscope.data.preprocess import Preprocessing
from tumorscope.errors import EvaluationError
from tumorscope.evaluation.metrics import refuse_empty
from tumorscope.evaluation.reliability import expected_calibration_error
from tumorscope.evaluation.subgroups import measure_columns
from tumorscope.labels import LABELS
from tumorscope.manifest import Record
from tumorscope.predictions import Decisions, Predictions
from tumorscope.resampling import mean_intervals, number_groups
from tumorscope.scan import Scan

Condition = tuple[str, int]
"""Name and strength of a corruption."""

Answer = Callable[[Sequence[np.ndarray]], Decisions]
"""Scans as shown, uint8, each of shape (rows, columns), to what the model decides about them."""

CLEAN: Condition = ("clean", 0)
ALL = "all"
SHARES = ("accuracy", "tumour_sensitivity", "tumour_specificity")
MEASURES = (*SHARES, "ece", "refusal_rate", "accuracy_of_kept")


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What a model answered under one condition.

    Attributes:
        predictions: One row per image.
        refused: Which images it would rather not answer, bool, shape (n,), or None where it cannot refuse.
    """

    predictions: Predictions
    refused: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.refused is not None and (self.refused.shape != (len(self.predictions),) or self.refused.dtype != np.bool_):
            raise EvaluationError(
                f"{len(self.predictions)} predictions, but refusals of {self.refused.dtype} {self.refused.shape}. "
                f"Expected: bool ({len(self.predictions)},)."
            )


def corrupted_answers(
    scans: Iterable[Scan],
    records: Sequence[Record],
    answer: Answer,
    *,
    preprocessing: Preprocessing,
    corruptions: Sequence[str] = tuple(CORRUPTIONS),
    seed: int = 0,
) -> dict[Condition, Answers]:
    """Return what a model answers for scans as they are, and under every corruption at every strength.

    A scan is made worse on its own grid and only then preprocessed, as it would come. What is drawn for a scan hangs on its pixels
    and the seed, not on the other scans.

    Args:
        scans: Decoded, one by one; which images is the caller's choice.
        records: Theirs, in the same order, each with one of `LABELS`.
        answer: The model.
        preprocessing: The model's own.
        corruptions: Names out of `CORRUPTIONS`.
        seed: At least 0.

    Returns:
        `CLEAN` and (name, strength) to answers over the same images in the same order.

    Raises:
        EvaluationError: There is no image, or one with a tumour of unstated type.
        DataError: A corruption is unknown.
        UsageError: A corruption needs MONAI, which is not installed.
    """
    unstated = next((record.path for record in records if record.label not in LABELS), None)
    if unstated is not None or not records:
        raise EvaluationError(f"{unstated or 'no image'}: robustness is measured on images with one of {', '.join(LABELS)}.")
    conditions = [CLEAN, *((name, strength) for name in corruptions for strength in STRENGTHS)]
    answered = [answer(_versions(scan, conditions, preprocessing, seed=seed)) for scan, _ in zip(scans, records, strict=True)]
    paths = tuple(record.path for record in records)
    truth = np.array([LABELS.index(record.label) for record in records], dtype=np.int64)
    result = {}
    for place, condition in enumerate(conditions):
        probabilities = np.stack([found.probabilities[place] for found in answered]).astype(np.float64)
        refusals = [found.refused[place] for found in answered if found.familiarity is not None]
        result[condition] = Answers(Predictions(paths, truth, probabilities), np.array(refusals, dtype=bool) if refusals else None)
    return result


def robustness_table(
    answers: Mapping[Condition, Answers],
    *,
    groups: Sequence[str] | None = None,
    ece: Callable[[np.ndarray, np.ndarray], float] | None = None,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Return the numbers of every condition as flat rows of plain JSON values.

    Args:
        answers: `CLEAN` and any (name, strength), over the same images in the same order.
        groups: Group of every image, for the intervals; without them every image is its own.
        ece: Probabilities, shape (n, 4), and label index, shape (n,), to a calibration error; without it
            `expected_calibration_error` as it is.
        seed: Of the intervals.

    Returns:
        The clean row first; then, for each corruption, a row per strength and their mean (`strength` None); last the mean over
        all corruptions (`corruption` all). A row has `corruption`, `strength`, `n` (images) and, for each of `MEASURES`, its value
        and `_change` from the clean row; for each of `SHARES` also `_low` and `_high`, the 95 % interval of a bootstrap over
        groups, and the same of the paired change. Shares are 0 to 1; `accuracy_of_kept` is that of the images that are not refused.
        None where the images or the model give no number.

    Raises:
        EvaluationError: The clean answers are missing, or conditions are over different images.
    """
    _refuse_unlike(answers)
    columns = {condition: _columns(answered) for condition, answered in answers.items()}
    values = {
        condition: _values(answers[condition], columns[condition], ece or expected_calibration_error) for condition in answers
    }
    means: dict[Condition, list[Condition]] = {}
    for name in dict.fromkeys(name for name, strength in answers if (name, strength) != CLEAN):
        means[name, -1] = sorted(condition for condition in answers if condition[0] == name)
    if means:
        means[ALL, -1] = list(means)
    for mean, parts in means.items():
        columns[mean] = {name: np.mean([columns[part][name] for part in parts], axis=0) for name in SHARES}
        values[mean] = {name: _mean([values[part][name] for part in parts]) for name in MEASURES}
    numbers = number_groups(groups if groups is not None else [""] * len(answers[CLEAN].predictions))
    order = [CLEAN, *(row for mean, parts in means.items() for row in (*(parts if mean[0] != ALL else ()), mean))]
    bounds = _bounds(columns, order, numbers, seed=seed)
    return [_row(condition, len(numbers), values, bounds[condition]) for condition in order]


def _versions(scan: Scan, conditions: Sequence[Condition], preprocessing: Preprocessing, *, seed: int) -> list[np.ndarray]:
    """Return a scan under every condition, uint8, each of shape (rows, columns)."""
    pixels, own = preprocessing.eight_bit(scan.pixels), int(scan.sha256[:12], 16) ^ seed
    return [pixels if condition == CLEAN else corrupt(pixels, *condition, own) for condition in conditions]


def _refuse_unlike(answers: Mapping[Condition, Answers]) -> None:
    if CLEAN not in answers:
        raise EvaluationError(f"no answers for the scans as they are. Give them under the key {CLEAN}.")
    clean = answers[CLEAN].predictions
    refuse_empty(clean)
    for condition, answered in answers.items():
        if answered.predictions.paths != clean.paths or (answered.predictions.label_index != clean.label_index).any():
            raise EvaluationError(f"{condition}: other images than the clean answers, or in another order. Answer the same ones.")


def _columns(answered: Answers) -> dict[str, np.ndarray]:
    """Return the measures that are means over images, NaN where an image does not count, float64, shape (n,)."""
    measured = measure_columns(answered.predictions)
    columns = {name: measured[name] for name in SHARES}
    if answered.refused is not None:
        kept = np.where(answered.refused, np.nan, columns["accuracy"])
        columns |= {"refusal_rate": answered.refused.astype(np.float64), "accuracy_of_kept": kept}
    return columns


def _values(
    answered: Answers, columns: Mapping[str, np.ndarray], ece: Callable[[np.ndarray, np.ndarray], float]
) -> dict[str, float | None]:
    found: dict[str, float | None] = dict.fromkeys(MEASURES)
    for name, column in columns.items():
        counted = column[~np.isnan(column)]
        found[name] = float(counted.mean()) if len(counted) else None
    found["ece"] = float(ece(answered.predictions.probabilities, answered.predictions.label_index))
    return found


def _bounds(
    columns: Mapping[Condition, Mapping[str, np.ndarray]], order: Sequence[Condition], groups: np.ndarray, *, seed: int
) -> dict[Condition, dict[str, list[float] | None]]:
    """Return the intervals of the shares and of their changes, all from the same draws of groups."""
    jobs = [(condition, name, suffix) for condition in order for name in SHARES for suffix in ("", "_change")]
    found: dict[Condition, dict[str, list[float] | None]] = {condition: {} for condition in order}
    values = [columns[condition][name] - (columns[CLEAN][name] if suffix else 0.0) for condition, name, suffix in jobs]
    # An image's mean over strengths, and its change, are neither yes nor no.
    shares = [strength >= 0 and not suffix for (_, strength), _, suffix in jobs]
    intervals = mean_intervals(np.stack(values), groups, shares=shares, seed=seed)
    for (condition, name, suffix), interval in zip(jobs, intervals, strict=True):
        found[condition][name + suffix] = interval
    return found


def _row(
    condition: Condition,
    count: int,
    values: Mapping[Condition, Mapping[str, float | None]],
    bounds: Mapping[str, list[float] | None],
) -> dict[str, Any]:
    name, strength = condition
    row: dict[str, Any] = {"corruption": name, "strength": None if strength < 0 else strength, "n": count}
    for measure in MEASURES:
        value, clean = values[condition][measure], values[CLEAN][measure]
        change = None if value is None or clean is None else value - clean
        for key, number in ((measure, value), (f"{measure}_change", change)):
            row[key] = number
            if measure in SHARES:
                row[f"{key}_low"], row[f"{key}_high"] = bounds[key] or (None, None)
    return row


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None
