"""Do heatmaps of wrong answers look different, and can they tell that an answer is wrong? Pure functions of arrays."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tumorscope.explanation.attention import FEATURES
from tumorscope.explanation.summary import mean_cell
from tumorscope.labels import LABELS
from tumorscope.resampling import (
    LEVEL,
    RESAMPLES,
    divide,
    percentile_interval,
    resample_weights,
    resampled_columns,
    weighted_area,
)

COMPARED = ("energy_inside", "pointing_game", *FEATURES)
FEWEST = 10
"""Wrong, or right, answers below which nothing is said about telling them apart."""

FEWEST_GROUPS = 5
"""The same in groups: a single patient who is wrong throughout says nothing of other patients."""

_FOLDS = 5


@dataclass(frozen=True, slots=True, eq=False)
class JudgedMaps:
    """Measured maps with the answers they belong to.

    Attributes:
        measures: One per image, with the keys of `COMPARED`, None where an image has no such measure.
        predicted_index: The answers as positions in `LABELS`, int64, shape (n,).
        confidence: Probability of each answer, float64, shape (n,).
        correct: Whether it is right, bool, shape (n,).
        groups: Group of every image, int64, shape (n,), see `resampling.number_groups`.
    """

    measures: Sequence[Mapping[str, float | None]]
    predicted_index: np.ndarray
    confidence: np.ndarray
    correct: np.ndarray
    groups: np.ndarray


def compare_answers(judged: JudgedMaps, *, seed: int) -> dict[str, Any]:
    """Return how the maps of right and wrong answers differ, and how well a map tells that its answer is wrong.

    Wrong answers are not spread evenly over the labels, and maps of different labels look different. So a difference that counts
    is one from right answers of the same label, and a map must add something to confidence and label together.

    Args:
        judged: Maps and answers.
        seed: Of the bootstrap and of the folds.

    Returns:
        `n_correct`, `n_incorrect`; `features` {name: {correct, incorrect (means), difference: of wrong answers from the mean of
        right ones with the same label, p_value: by bootstrap over groups, times the number of features still in question (Holm)}};
        `auroc`: area under the ROC curve of finding wrong answers by one minus the `confidence`; by each feature of the map alone
        (above 0.5 where it is higher in wrong answers); and, from logistic regressions that have not seen the image's group, by
        `confidence_and_label`, by the features that need no outline with the label (`attention`), and by all (`together`); each
        {value, interval, n}. `auroc_gained` is what the map adds to confidence and label. `sentences` say it in words. Nothing is
        tested with wrong, or right, answers of fewer than `FEWEST` images or `FEWEST_GROUPS` groups.
    """
    correct = judged.correct
    columns = {name: np.array([row.get(name) for row in judged.measures], dtype=np.float64) for name in COMPARED}
    enough = all(int(side.sum()) >= FEWEST and len(np.unique(judged.groups[side])) >= FEWEST_GROUPS for side in (correct, ~correct))
    features = {name: _difference(values, judged, tested=enough, seed=seed) for name, values in columns.items()}
    found = {
        "n_correct": int(correct.sum()),
        "n_incorrect": int((~correct).sum()),
        "features": _holm(features),
        **(_areas(columns, judged, seed=seed) if enough else {"auroc": {}, "auroc_gained": None}),
    }
    return {**found, "sentences": _sentences(found, enough=enough)}


def _areas(columns: Mapping[str, np.ndarray], judged: JudgedMaps, *, seed: int) -> dict[str, Any]:
    wrong, groups = ~judged.correct, judged.groups
    known = np.stack([columns[name] for name in FEATURES], axis=1)
    labels = np.eye(len(LABELS))[judged.predicted_index]
    sure = np.column_stack([labels, _log_odds(judged.confidence)])
    sets = {"confidence_and_label": sure, "attention": np.column_stack([labels, known]), "together": np.column_stack([sure, known])}
    scores = {"confidence": 1 - judged.confidence, **columns}
    scores |= {name: _out_of_fold(chosen, wrong, groups, seed=seed) for name, chosen in sets.items()}
    areas = {name: _area(score, wrong, groups, seed=seed) for name, score in scores.items()}
    gained = _gained(scores["together"], scores["confidence_and_label"], wrong, groups, seed=seed)
    return {"auroc": areas, "auroc_gained": gained}


def _holm(features: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Raise p-values for having asked of several features.

    Source:
        Holm 1979, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6.
    """
    tested = sorted((row["p_value"], name) for name, row in features.items() if row["p_value"] is not None)
    highest = 0.0
    for place, (p_value, name) in enumerate(tested):
        highest = max(highest, min(1.0, p_value * (len(tested) - place)))
        features[name]["p_value"] = highest
    return features


def _difference(values: np.ndarray, judged: JudgedMaps, *, tested: bool, seed: int) -> dict[str, Any]:
    parts = {"correct": np.where(judged.correct, values, np.nan), "incorrect": np.where(judged.correct, np.nan, values)}
    cells = {name: mean_cell(part, judged.groups, seed=seed) for name, part in parts.items()}
    apart = [_apart(values, judged, label) for label in np.unique(judged.predicted_index)]
    usable = [pair for pair in apart if not np.isnan(pair[0]).all() and not np.isnan(pair[1]).all()]
    if not usable or not tested:
        return {**cells, "difference": {"value": None, "interval": None, "n": 0}, "p_value": None}
    counts = np.array([(~np.isnan(wrong)).sum() for wrong, _ in usable])
    value = float(np.average([np.nanmean(wrong) - np.nanmean(right) for wrong, right in usable], weights=counts))
    drawn = resampled_columns(np.concatenate([np.stack(pair) for pair in usable]), judged.groups, seed=seed)
    differences = drawn[:, ::2] - drawn[:, 1::2]
    weights = counts * ~np.isnan(differences)
    means = divide((np.nan_to_num(differences) * weights).sum(axis=1), weights.sum(axis=1).astype(float), otherwise=np.nan)
    defined = means[~np.isnan(means)]
    sides = (defined <= 0).sum(), (defined >= 0).sum()
    return {
        **cells,
        "difference": {"value": value, "interval": percentile_interval(means, level=LEVEL), "n": int(counts.sum())},
        "p_value": min(1.0, 2 * (min(sides) + 1) / (len(defined) + 1)) if len(defined) else None,
    }


def _apart(values: np.ndarray, judged: JudgedMaps, label: int) -> tuple[np.ndarray, np.ndarray]:
    """A measure of wrong and of right answers of one label, NaN elsewhere."""
    own = judged.predicted_index == label
    return np.where(own & ~judged.correct, values, np.nan), np.where(own & judged.correct, values, np.nan)


def _area(score: np.ndarray, wrong: np.ndarray, groups: np.ndarray, *, seed: int) -> dict[str, Any]:
    return _of_areas(score[None], wrong, groups, combine=lambda areas: areas[:, 0], seed=seed)


def _gained(together: np.ndarray, alone: np.ndarray, wrong: np.ndarray, groups: np.ndarray, *, seed: int) -> dict[str, Any]:
    """What the map adds to confidence and label: the difference of two areas on the same images and resamples.

    The models are not fitted again in each resample, so the interval is a little narrow.
    """
    both = np.stack([together, alone])
    return _of_areas(both, wrong, groups, combine=lambda areas: areas[:, 0] - areas[:, 1], seed=seed)


def _of_areas(
    scores: np.ndarray, wrong: np.ndarray, groups: np.ndarray, *, combine: Callable[[np.ndarray], np.ndarray], seed: int
) -> dict[str, Any]:
    """{value, interval, n} of what is combined from the areas, (resamples, scores), over the images that have every score."""
    keep = ~np.isnan(scores).any(axis=0)
    truth, known = wrong[keep], scores[:, keep]
    if not truth.any() or truth.all():
        return {"value": None, "interval": None, "n": len(truth)}

    def combined(weights: np.ndarray) -> np.ndarray:
        return combine(np.stack([weighted_area(truth, score, weights=weights) for score in known], axis=1))

    numbers = np.unique(groups[keep], return_inverse=True)[1]
    blocks = resample_weights(int(numbers.max()) + 1, resamples=RESAMPLES, seed=seed, width=len(numbers))
    drawn = np.concatenate([combined(rows[:, numbers]) for rows in blocks])
    value = float(combined(np.ones((1, len(truth))))[0])
    return {"value": value, "interval": percentile_interval(drawn, level=LEVEL), "n": len(truth)}


def _log_odds(confidence: np.ndarray) -> np.ndarray:
    clipped = confidence.clip(1e-6, 1 - 1e-6)
    odds: np.ndarray = np.log(clipped / (1 - clipped))
    return odds


def _out_of_fold(columns: np.ndarray, wrong: np.ndarray, groups: np.ndarray, *, seed: int) -> np.ndarray:
    """Probability of a wrong answer by logistic regression that has not seen the image's group; NaN where it cannot be had."""
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    scores = np.full(len(wrong), np.nan)
    for train, test in StratifiedGroupKFold(_FOLDS, shuffle=True, random_state=seed).split(columns, wrong, groups):
        if wrong[train].any() and not wrong[train].all():
            steps = (
                SimpleImputer(keep_empty_features=True),
                StandardScaler(),
                LogisticRegression(class_weight="balanced", max_iter=1000),
            )
            scores[test] = make_pipeline(*steps).fit(columns[train], wrong[train]).predict_proba(columns[test])[:, 1]
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
            f"{found['n_incorrect']} answers are wrong and {found['n_correct']} right: fewer than {FEWEST} of one kind, or of "
            f"fewer than {FEWEST_GROUPS} groups, so nothing is said about telling them apart by their maps."
        ]
    sentences = []
    differing = [name for name, row in found["features"].items() if row["p_value"] is not None and row["p_value"] < 1 - LEVEL]
    for name in differing:
        row = found["features"][name]
        higher = "higher" if row["difference"]["value"] > 0 else "lower"
        sentences.append(
            f"In wrong answers {_NAMES[name]} is {higher} than in right ones of the same label, by "
            f"{abs(row['difference']['value']):.3f} (means {row['incorrect']['value']:.3f} and {row['correct']['value']:.3f})."
        )
    if not differing:
        sentences.append("No measure of the maps differs between right and wrong answers by more than chance would explain.")
    return [*sentences, *_gain_sentence(found["auroc"], found["auroc_gained"])]


def _gain_sentence(areas: Mapping[str, Any], gained: Mapping[str, Any]) -> list[str]:
    values = [areas[name]["value"] for name in ("confidence", "confidence_and_label", "attention", "together")]
    if None in values or gained["value"] is None:
        return []
    interval = gained["interval"]
    if interval is None or interval[0] <= 0 <= interval[1]:
        verdict = "the map adds nothing that these images could show"
    else:
        verdict = "the map adds to it" if gained["value"] > 0 else "the map only adds noise"
    return [
        f"Low confidence finds wrong answers with an area under the ROC curve of {values[0]:.3f}, with the label {values[1]:.3f}, "
        f"the map and the label {values[2]:.3f}, all together {values[3]:.3f}: {verdict}."
    ]
