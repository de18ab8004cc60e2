"""Models beside each other: the table of all classes, and paired tests on the same images."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tumorscope.errors import EvaluationError
from tumorscope.evaluation.intervals import confusion_scores, confusion_tables, group_numbers, resample_tables
from tumorscope.evaluation.metrics import AVERAGED, refuse_empty
from tumorscope.predictions import Predictions
from tumorscope.resampling import LEVEL, RESAMPLES, percentile_interval, refuse_settings
from tumorscope.storage import write_atomically

LOOKUP = "lookup_baseline"
_SHARES = (*AVERAGED, "accuracy")
_MEASURED = (*_SHARES, "support", *(f"{share}_{end}" for share in _SHARES for end in ("low", "high")))
TWIN_FREE = "twin_free"
COLUMNS = ("model", "class", *_MEASURED, *(f"{TWIN_FREE}_{name}" for name in _MEASURED))
PAIRED_METHOD = (
    "Differences are a - b, with the percentile bootstrap over groups drawn for both models alike, none where no resample changes "
    "the difference; the p-value is of the exact two-sided McNemar test, which counts every image as independent."
)
_COMPARED = {"accuracy": ("accuracy",), "macro_recall": ("macro", "recall"), "tumour_sensitivity": ("tumour_sensitivity",)}


def comparison_rows(results: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of `comparison.csv`, one per model and class, then `macro`, `weighted` and `accuracy`.

    Columns that begin with `twin_free_` hold the same for the test images whose slices are not in training, where that is known.

    The look-up baseline inside the results (`lookup_baseline`, the same for all models) follows the models as one of them.

    Args:
        results: Model to what `summarise` returned, where known with `intervals` and `lookup_baseline`, on the same images.

    Returns:
        Rows with the keys `COLUMNS`; None where a column does not apply or a value is undefined.

    Raises:
        EvaluationError: The results are not of the same images, as far as their counts tell.
    """
    everything = dict(results)
    for name, result in results.items():
        if LOOKUP in result and everything.setdefault(LOOKUP, result[LOOKUP]) != result[LOOKUP]:
            raise EvaluationError(
                f"the look-up baseline of {name} is another than before it. Evaluate all models on the same split."
            )
    supports = {name: _supports(result) for name, result in everything.items()}
    for name, support in supports.items():
        first = next(iter(supports))
        if support != supports[first]:
            raise EvaluationError(
                f"{first} was tested on {supports[first]} images and {name} on {support}. Evaluate both on the same split."
            )
    return [row for name, result in everything.items() for row in _model_rows(name, result)]


def write_comparison(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the rows of `comparison_rows` as CSV with all digits; None becomes an empty cell.

    Raises:
        OutputError: The place cannot be written.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, text.getvalue())


def paired_comparison(
    a: Predictions, b: Predictions, *, groups: Sequence[str] | None, seed: int = 0, resamples: int = RESAMPLES
) -> dict[str, Any]:
    """Return whether one model is better than the other on the same images.

    Args:
        a: Answers of the first model.
        b: Answers of the second to the same images, in any order.
        groups: Group of every row of `a`, as for `bootstrap_intervals`.
        seed: Of the bootstrap.
        resamples: How often the groups are drawn with replacement, at least 100.

    Returns:
        `n`, `mcnemar` {only_a_correct, only_b_correct, p_value}, `differences` {accuracy, macro_recall, tumour_sensitivity:
        {a, b, difference, interval}} with [low, high] or None as interval, and `method`, `level`, `resamples`, `groups`, `seed`.

    Raises:
        EvaluationError: The images or their true labels differ, there are none, or too few resamples.
    """
    refuse_empty(a)
    refuse_settings(resamples=resamples, level=LEVEL)
    b = _in_order_of(a, b)
    numbers = group_numbers(a, groups)
    tables = np.stack([confusion_tables(a, numbers), confusion_tables(b, numbers)], axis=1)
    resampled = resample_tables(tables, resamples=resamples, seed=seed)
    return {
        "n": len(a),
        "mcnemar": _mcnemar(a.correct, b.correct),
        "differences": _differences(tables.sum(axis=0), resampled),
        "method": PAIRED_METHOD,
        "level": LEVEL,
        "resamples": resamples,
        "groups": len(tables),
        "seed": seed,
    }


def _supports(result: Mapping[str, Any]) -> dict[str, int]:
    return {label: values["support"] for label, values in result["per_class"].items()}


def _model_rows(model: str, result: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = _measured_rows(model, result)
    if result.get(TWIN_FREE):
        for row, part in zip(rows, _measured_rows(model, result[TWIN_FREE]), strict=True):
            row |= {f"{TWIN_FREE}_{name}": part[name] for name in _MEASURED}
    return rows


def _measured_rows(model: str, result: Mapping[str, Any]) -> list[dict[str, Any]]:
    intervals = result.get("intervals") or {}
    inside = intervals.get("per_class", {})
    rows = [_row(model, label, values, inside.get(label, {})) for label, values in result["per_class"].items()]
    rows += [_row(model, average, result[average], intervals.get(average, {})) for average in ("macro", "weighted")]
    rows.append(_row(model, "accuracy", {"accuracy": result["accuracy"]}, {"accuracy": intervals.get("accuracy")}))
    for row in rows[len(result["per_class"]) :]:
        row["support"] = result["n"]
    return rows


def _row(model: str, name: str, values: Mapping[str, Any], intervals: Mapping[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {**dict.fromkeys(COLUMNS), "model": model, "class": name, **values}
    for share in _SHARES:
        row[f"{share}_low"], row[f"{share}_high"] = intervals.get(share) or (None, None)
    return row


def _in_order_of(a: Predictions, b: Predictions) -> Predictions:
    """The second model's rows in the order of the first's."""
    alone = sorted(set(a.paths) ^ set(b.paths))
    if alone:
        raise EvaluationError(
            f"{alone[0]}: only one of the two models saw it ({len(alone)} such images). Evaluate both on the same split."
        )
    position = {path: i for i, path in enumerate(b.paths)}
    order = [position[path] for path in a.paths]
    truth = b.label_index[order]
    if (truth != a.label_index).any():
        path = a.paths[int((truth != a.label_index).argmax())]
        raise EvaluationError(f"{path}: its true label differs between the two models. Evaluate both on the same manifest.")
    decisions = None if b.decisions is None else b.decisions.where(np.array(order))
    return Predictions(paths=a.paths, label_index=truth, probabilities=b.probabilities[order], decisions=decisions)


def _mcnemar(a_correct: np.ndarray, b_correct: np.ndarray) -> dict[str, int | float]:
    from scipy.stats import binomtest

    only_a, only_b = int((a_correct & ~b_correct).sum()), int((b_correct & ~a_correct).sum())
    p_value = float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0
    return {"only_a_correct": only_a, "only_b_correct": only_b, "p_value": p_value}


def _differences(counts: np.ndarray, resampled: np.ndarray) -> dict[str, dict[str, Any]]:
    """From the counts of both models, shape (2, 4, 4), and their resamples, shape (resamples, 2, 4, 4)."""
    points = [confusion_scores(counts[model : model + 1]) for model in (0, 1)]
    scores = [confusion_scores(resampled[:, model]) for model in (0, 1)]
    result: dict[str, dict[str, Any]] = {}
    for name, path in _COMPARED.items():
        a, b = (float(point[path][0]) for point in points)
        interval = percentile_interval(scores[0][path] - scores[1][path], level=LEVEL)
        defined = not np.isnan(a)
        result[name] = {
            "a": a if defined else None,
            "b": b if defined else None,
            "difference": a - b if defined else None,
            "interval": interval,
        }
    return result
