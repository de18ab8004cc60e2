"""How far the numbers of one test set can be trusted: bootstrap intervals by group."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tumorscope.errors import EvaluationError
from tumorscope.evaluation.metrics import AVERAGED, TUMOUR, binary_questions, refuse_empty
from tumorscope.labels import LABELS, NO_TUMOUR, label_index
from tumorscope.predictions import Predictions
from tumorscope.resampling import (
    LEVEL,
    RESAMPLES,
    divide,
    edge_interval,
    percentile_interval,
    refuse_settings,
    resample_weights,
    weighted_area,
)

METHOD = (
    "Percentile bootstrap over groups of images that belong together (an image without a group is its own); shares of exactly 0 or "
    "1 take the Clopper-Pearson bounds with the number of groups as the number of trials, and F1 and averages of exactly 0 or 1 "
    "combine the bounds of their parts; none where the images give no interval."
)

Scores = dict[tuple[str, ...], np.ndarray]
"""Where a number stands in the result of `summarise`, to its values over confusion matrices, float64, shape (b,)."""


def bootstrap_intervals(
    predictions: Predictions,
    *,
    groups: Sequence[str] | None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
) -> dict[str, Any]:
    """Return an interval for every share that `summarise` reports, and for the areas under the ROC curves.

    Resamples in which a number is undefined, such as the recall of a label that was not drawn, are left out for that number;
    an average is undefined as soon as one of its labels is. A number that no resample changes gets None, unless it is a share of
    exactly 0 or 1, for which [1, 1] would promise too much: see `METHOD`. Precision counts there as a share of images called so.

    Args:
        predictions: At least one row; the order of the rows does not matter.
        groups: Group of every row, images of one patient or copies of one slice; an empty string, or None instead of the
            sequence, makes each image its own group.
        resamples: How often the groups are drawn with replacement, at least 100.
        seed: Of the draws.
        level: Share of intervals meant to hold the truth, between 0 and 1.

    Returns:
        [low, high] or None, nested as in `summarise`: `accuracy`, `macro`, `weighted`, `per_class`, `tumour_sensitivity`,
        `tumour_specificity`, `roc_auc`; with `method`, `level`, `resamples`, `groups` (how many) and `seed`.

    Raises:
        EvaluationError: No images, groups that do not fit the rows, or settings outside the above.

    Source:
        Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13; Clopper and Pearson 1934, Biometrika 26.
    """
    refuse_empty(predictions)
    refuse_settings(resamples=resamples, level=level)
    numbers = group_numbers(predictions, groups)
    tables = confusion_tables(predictions, numbers)
    flat = _share_intervals(tables, resamples=resamples, seed=seed, level=level)
    areas = _resampled_areas(predictions, numbers, resamples=resamples, seed=seed)
    flat.update({("roc_auc", name): percentile_interval(values, level=level) for name, values in areas.items()})
    return {
        "method": METHOD,
        "level": level,
        "resamples": resamples,
        "groups": len(tables),
        "seed": seed,
        **_nested(flat),
    }


def group_numbers(predictions: Predictions, groups: Sequence[str] | None) -> np.ndarray:
    """Return the group of every row as a number from 0, int64, shape (n,).

    Numbers follow the names and not the rows, so that a seed draws the same images in whatever order they stand.

    Raises:
        EvaluationError: There is not one group name per row.
    """
    names = [""] * len(predictions) if groups is None else list(groups)
    if len(names) != len(predictions):
        raise EvaluationError(f"{len(names)} groups for {len(predictions)} predictions. Give one per row, empty where unknown.")
    keys = [("group", name) if name else ("image", path) for name, path in zip(names, predictions.paths, strict=True)]
    number = {key: i for i, key in enumerate(sorted(set(keys)))}
    return np.array([number[key] for key in keys], dtype=np.int64)


def confusion_tables(predictions: Predictions, numbers: np.ndarray) -> np.ndarray:
    """Return one confusion matrix per group, rows truth and columns predicted, float64, shape (groups, 4, 4)."""
    tables = np.zeros((int(numbers.max()) + 1, len(LABELS), len(LABELS)))
    np.add.at(tables, (numbers, predictions.label_index, predictions.predicted_index), 1)
    return tables


def resample_tables(tables: np.ndarray, *, resamples: int, seed: int) -> np.ndarray:
    """Return the sum of the groups' tables in every resample.

    Args:
        tables: Anything that adds up over groups, float64, shape (groups, ...).
        resamples: Number of resamples.
        seed: Of the draws.

    Returns:
        float64, shape (resamples, ...).
    """
    flat = tables.reshape(len(tables), -1)
    blocks = [weights @ flat for weights in resample_weights(len(tables), resamples=resamples, seed=seed)]
    return np.concatenate(blocks).reshape(resamples, *tables.shape[1:])


def confusion_scores(counts: np.ndarray) -> Scores:
    """Return the shares of many confusion matrices at once, by the rules of `summarise`.

    An average runs over the labels that have images in any of the matrices, so that it means the same in all of them.

    Args:
        counts: Rows truth, columns predicted, float64, shape (b, 4, 4).

    Returns:
        Every share, NaN where it is undefined.
    """
    support, called = counts.sum(axis=2), counts.sum(axis=1)
    hits = np.diagonal(counts, axis1=1, axis2=2)
    present = support > 0
    per_class = {
        "precision": np.where(present, divide(hits, called, otherwise=0.0), np.nan),
        "recall": divide(hits, support, otherwise=np.nan),
        "f1": np.where(present, divide(2 * hits, support + called, otherwise=0.0), np.nan),
    }
    labels = present.any(axis=0)
    total = support.sum(axis=1)
    scores: Scores = {("accuracy",): hits.sum(axis=1) / total}
    for name, values in per_class.items():
        scores["macro", name] = values[:, labels].mean(axis=1)
        scores["weighted", name] = np.where(present, values * support, 0).sum(axis=1) / total
        scores.update({("per_class", label, name): values[:, i] for i, label in enumerate(LABELS)})
    return {**scores, **_tumour_scores(counts)}


def _share_intervals(tables: np.ndarray, *, resamples: int, seed: int, level: float) -> dict[tuple[str, ...], list[float] | None]:
    resampled = confusion_scores(resample_tables(tables, resamples=resamples, seed=seed))
    intervals = {path: percentile_interval(values, level=level) for path, values in resampled.items()}
    return {**intervals, **_edge_intervals(tables, level=level)}


def _tumour_scores(counts: np.ndarray) -> Scores:
    none = label_index(NO_TUMOUR)
    without = counts[:, none].sum(axis=1)
    with_tumour = counts.sum(axis=(1, 2)) - without
    missed = counts[:, :, none].sum(axis=1) - counts[:, none, none]
    return {
        ("tumour_sensitivity",): divide(with_tumour - missed, with_tumour, otherwise=np.nan),
        ("tumour_specificity",): divide(counts[:, none, none], without, otherwise=np.nan),
    }


def _edge_intervals(tables: np.ndarray, *, level: float) -> dict[tuple[str, ...], list[float]]:
    """Exact bounds of the shares of 0 or 1; bounds put together from these for F1 and the averages of 0 or 1."""
    points = {path: float(values[0]) for path, values in confusion_scores(tables.sum(axis=0)[None]).items()}
    at_edge = {path for path, point in points.items() if point in (0.0, 1.0)}
    edges = {path: edge_interval(points[path], trials, level=level) for path, trials in _trials(tables).items() if path in at_edge}
    for label in LABELS:
        if ("per_class", label, "f1") in at_edge:
            parts = edges["per_class", label, "precision"], edges["per_class", label, "recall"]
            edges["per_class", label, "f1"] = [_harmonic_mean(*bounds) for bounds in zip(*parts, strict=True)]
    support = tables.sum(axis=(0, 2))
    for average, weights in (("macro", (support > 0).astype(np.float64)), ("weighted", support)):
        for name in AVERAGED:
            if (average, name) in at_edge:
                bounds = [edges.get(("per_class", label, name), [0.0, 0.0]) for label in LABELS]
                edges[average, name] = np.average(bounds, axis=0, weights=weights).tolist()
    return {**edges, **({("weighted", "recall"): edges["accuracy",]} if ("accuracy",) in edges else {})}


def _trials(tables: np.ndarray) -> dict[tuple[str, ...], int]:
    """Groups that have a say in each plain share."""
    none = label_index(NO_TUMOUR)
    shown, called = tables.sum(axis=2) > 0, tables.sum(axis=1) > 0
    trials: dict[tuple[str, ...], int] = {
        ("accuracy",): len(tables),
        ("tumour_sensitivity",): int(np.delete(shown, none, axis=1).any(axis=1).sum()),
        ("tumour_specificity",): int(shown[:, none].sum()),
    }
    for i, label in enumerate(LABELS):
        trials["per_class", label, "recall"] = int(shown[:, i].sum())
        trials["per_class", label, "precision"] = int(called[:, i].sum())
    return trials


def _harmonic_mean(first: float, second: float) -> float:
    return 2 * first * second / (first + second) if first + second else 0.0


def _resampled_areas(predictions: Predictions, numbers: np.ndarray, *, resamples: int, seed: int) -> dict[str, np.ndarray]:
    questions = binary_questions(predictions)
    blocks: dict[str, list[np.ndarray]] = {name: [] for name in questions}
    for weights in resample_weights(int(numbers.max()) + 1, resamples=resamples, seed=seed, width=len(numbers)):
        rows = weights[:, numbers]
        for name, (truth, score) in questions.items():
            blocks[name].append(weighted_area(truth, score, weights=rows))
    areas = {name: np.concatenate(values) for name, values in blocks.items()}
    labels = [areas[name] for name, (truth, _) in questions.items() if name != TUMOUR and truth.any()]
    return {**areas, "macro": np.mean(labels, axis=0)}


def _nested(flat: Mapping[tuple[str, ...], list[float] | None]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for path, interval in flat.items():
        inner = nested
        for key in path[:-1]:
            inner = inner.setdefault(key, {})
        inner[path[-1]] = interval
    return nested
