"""Do heatmaps of wrong answers look different, and can they tell that an answer is wrong? Pure functions of arrays."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tumorscope.explanation.attention import FEATURES
from tumorscope.resampling import (
    LEVEL,
    RESAMPLES,
    mean_interval,
    percentile_interval,
    resample_weights,
    resampled_means,
    weighted_area,
)

COMPARED = ("energy_inside", "pointing_game", *FEATURES)
FEWEST = 10
"""Wrong, or right, answers below which nothing is said about telling them apart."""

_FOLDS = 5


def compare_answers(
    measures: Sequence[Mapping[str, float | None]], confidence: np.ndarray, correct: np.ndarray, groups: np.ndarray, *, seed: int
) -> dict[str, Any]:
    """Return how the maps of right and wrong answers differ, and how well a map tells that its answer is wrong.

    Args:
        measures: One per image, with the keys of `COMPARED`, None where an image has no such measure.
        confidence: Probability of each answer, float64, shape (n,).
        correct: Whether it is right, bool, shape (n,).
        groups: Group of every image, int64, shape (n,), see `resampling.number_groups`.
        seed: Of the bootstrap and of the folds.

    Returns:
        `n_correct`, `n_incorrect`; `features` {name: {correct, incorrect, difference (incorrect minus correct), p_value}}, tested
        by a bootstrap over groups; `auroc`: area under the ROC curve of finding wrong answers by one minus the `confidence`, by
        each feature of the map alone (at least 0.5, in whichever direction it points), by all features that need no outline
        together (`attention`), and by these with the confidence (`together`), the last two from models that have not seen the
        image's group; each {value, interval, n}. `sentences` say it in words.
    """
    columns = {name: np.array([_nan(row.get(name)) for row in measures]) for name in COMPARED}
    features = {name: _difference(values, correct, groups, seed=seed) for name, values in columns.items()}
    areas: dict[str, Any] = {}
    enough = min(int(correct.sum()), int((~correct).sum())) >= FEWEST
    if enough:
        scores = {"confidence": 1 - confidence, **{name: _towards_wrong(values, correct) for name, values in columns.items()}}
        known = np.stack([columns[name] for name in FEATURES], axis=1)
        scores["attention"] = _out_of_fold(known, ~correct, groups, seed=seed)
        scores["together"] = _out_of_fold(np.column_stack([known, _log_odds(confidence)]), ~correct, groups, seed=seed)
        areas = {name: _area(score, ~correct, groups, seed=seed) for name, score in scores.items()}
    found = {
        "n_correct": int(correct.sum()),
        "n_incorrect": int((~correct).sum()),
        "features": features,
        "auroc": areas,
    }
    return {**found, "sentences": _sentences(found, enough=enough)}


def _nan(value: float | None) -> float:
    return np.nan if value is None else value


def _difference(values: np.ndarray, correct: np.ndarray, groups: np.ndarray, *, seed: int) -> dict[str, Any]:
    parts = {"correct": np.where(correct, values, np.nan), "incorrect": np.where(correct, np.nan, values)}
    cells = {name: _cell(part, groups, seed=seed) for name, part in parts.items()}
    means = [cells["incorrect"]["value"], cells["correct"]["value"]]
    if None in means:
        return {**cells, "difference": {"value": None, "interval": None, "n": 0}, "p_value": None}
    drawn = resampled_means(parts["incorrect"], groups, seed=seed) - resampled_means(parts["correct"], groups, seed=seed)
    defined = drawn[~np.isnan(drawn)]
    sides = (defined <= 0).sum(), (defined >= 0).sum()
    return {
        **cells,
        "difference": {
            "value": means[0] - means[1],
            "interval": percentile_interval(drawn, level=LEVEL),
            "n": int((~np.isnan(values)).sum()),
        },
        "p_value": min(1.0, 2 * (min(sides) + 1) / (len(defined) + 1)) if len(defined) else None,
    }


def _cell(values: np.ndarray, groups: np.ndarray, *, seed: int) -> dict[str, Any]:
    defined = ~np.isnan(values)
    value = float(values[defined].mean()) if defined.any() else None
    return {"value": value, "interval": mean_interval(values, groups, seed=seed), "n": int(defined.sum())}


def _towards_wrong(values: np.ndarray, correct: np.ndarray) -> np.ndarray:
    """A measure turned so that it is higher for wrong answers."""
    wrong, right = values[~correct], values[correct]
    if np.isnan(wrong).all() or np.isnan(right).all():
        return np.full(len(values), np.nan)
    area = weighted_area(*_defined(~correct, values), weights=np.ones((1, int((~np.isnan(values)).sum()))))[0]
    return values if area >= 0.5 else -values


def _defined(truth: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    keep = ~np.isnan(score)
    return truth[keep], score[keep]


def _area(score: np.ndarray, wrong: np.ndarray, groups: np.ndarray, *, seed: int) -> dict[str, Any]:
    truth, values = _defined(wrong, score)
    if not truth.any() or truth.all():
        return {"value": None, "interval": None, "n": len(truth)}
    numbers = np.unique(groups[~np.isnan(score)], return_inverse=True)[1]
    blocks = resample_weights(int(numbers.max()) + 1, resamples=RESAMPLES, seed=seed, width=len(numbers))
    drawn = np.concatenate([weighted_area(truth, values, weights=rows[:, numbers]) for rows in blocks])
    value = weighted_area(truth, values, weights=np.ones((1, len(truth))))[0]
    return {"value": float(value), "interval": percentile_interval(drawn, level=LEVEL), "n": len(truth)}


def _log_odds(confidence: np.ndarray) -> np.ndarray:
    clipped = confidence.clip(1e-6, 1 - 1e-6)
    odds: np.ndarray = np.log(clipped / (1 - clipped))
    return odds


def _out_of_fold(columns: np.ndarray, wrong: np.ndarray, groups: np.ndarray, *, seed: int) -> np.ndarray:
    """Probability of a wrong answer by logistic regression that has not seen the image's group; NaN where it cannot be had."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    filled = np.where(np.isnan(columns), np.nanmean(columns, axis=0), columns)
    scores = np.full(len(wrong), np.nan)
    for train, test in StratifiedGroupKFold(_FOLDS, shuffle=True, random_state=seed).split(filled, wrong, groups):
        if wrong[train].any() and not wrong[train].all():
            model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=1000))
            scores[test] = model.fit(filled[train], wrong[train]).predict_proba(filled[test])[:, 1]
    return scores


_NAMES = {
    "energy_inside": "the share of the map inside the tumour",
    "pointing_game": "the share of peaks inside the tumour",
    "concentration": "the concentration of the map",
    "entropy": "the entropy of the map",
    "centre_distance": "the distance of the map from the middle",
    "strength": "the highest value of the map",
}


def _sentences(found: Mapping[str, Any], *, enough: bool) -> list[str]:
    if not enough:
        return [
            f"{found['n_incorrect']} answers are wrong and {found['n_correct']} right: fewer than {FEWEST} of one kind, so nothing "
            "is said about telling them apart by their maps."
        ]
    sentences = []
    differing = [
        name
        for name, row in found["features"].items()
        if row["difference"]["interval"] is not None
        and not row["difference"]["interval"][0] <= 0 <= row["difference"]["interval"][1]
    ]
    for name in differing:
        row = found["features"][name]
        higher = "higher" if row["difference"]["value"] > 0 else "lower"
        sentences.append(
            f"In wrong answers {_NAMES[name]} is {higher}: {row['incorrect']['value']:.3f} against {row['correct']['value']:.3f}."
        )
    if not differing:
        sentences.append("No measure of the maps differs between right and wrong answers by more than chance would explain.")
    confidence, together = found["auroc"]["confidence"], found["auroc"]["together"]
    alone = found["auroc"]["attention"]
    if None not in (confidence["value"], together["value"], alone["value"]):
        inside = confidence["interval"] is not None and confidence["interval"][0] <= together["value"] <= confidence["interval"][1]
        verdict = "adds nothing that these images could show" if inside else "changes that"
        sentences.append(
            f"Low confidence finds wrong answers with an area under the ROC curve of {confidence['value']:.3f}, the map alone with "
            f"{alone['value']:.3f}, both together with {together['value']:.3f}: looking at the map {verdict}."
        )
    return sentences
