"""How far calibrated models can be trusted: everything that a calibration promised, measured on images it has not seen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tumorscope.evaluation.answered import Answered
from tumorscope.evaluation.conformal import coverage_summary, quantile_rank
from tumorscope.evaluation.coverage_theory import coverage_band, repeated_coverage
from tumorscope.evaluation.operating_point import called_shares, decision_curve
from tumorscope.evaluation.reliability import calibration_summary
from tumorscope.evaluation.selective import selective_summary
from tumorscope.evaluation.subgroups import subgroup_rows
from tumorscope.labels import LABELS, NO_TUMOUR
from tumorscope.models.calibration import Calibration
from tumorscope.models.decisions import scaled_probabilities
from tumorscope.predictions import Predictions, joined_decisions
from tumorscope.resampling import number_groups
from tumorscope.training.recipe import PROMISED_LEVELS

DRAWS = 200
BAND_DRAWS = 20_000
CURVE = np.round(np.arange(0.01, 1.0, 0.01), 2)
_NONE = LABELS.index(NO_TUMOUR)


@dataclass(frozen=True, slots=True, eq=False)
class Tested:
    """Test images with what one calibrated model, or several that share the images out, said of them.

    Attributes:
        predictions: After calibration, with decisions.
        before: Probabilities before it, float64, shape (n, 4).
        sets: (level, whether by class) to prediction sets, bool, shape (n, 4), empty ones left empty.
        reached: Label to the images that reach its own threshold, bool, shape (n,); of a tumour label that every model has one for.
        groups: Patient or cluster of copies of every image, empty where unknown.
        parts: What the images are divided by (`class`, `plane`, `source`, `tumour size`) to the part of every image.
        answered_by: Number of the model that answered each image, int64, shape (n,).
        calibrated_on: Calibration images of every model.
    """

    predictions: Predictions
    before: np.ndarray
    sets: Mapping[tuple[float, bool], np.ndarray]
    reached: Mapping[str, np.ndarray]
    groups: tuple[str, ...]
    parts: Mapping[str, tuple[str, ...]]
    answered_by: np.ndarray
    calibrated_on: tuple[int, ...]

    def where(self, rows: np.ndarray) -> "Tested":
        """Return the images for which `rows`, bool, shape (n,), is true."""

        def kept(column: Sequence[str]) -> tuple[str, ...]:
            return tuple(value for value, keep in zip(column, rows.tolist(), strict=True) if keep)

        return Tested(
            predictions=self.predictions.where(rows),
            before=self.before[rows],
            sets={key: sets[rows] for key, sets in self.sets.items()},
            reached={label: over[rows] for label, over in self.reached.items()},
            groups=kept(self.groups),
            parts={by: kept(column) for by, column in self.parts.items()},
            answered_by=self.answered_by[rows],
            calibrated_on=self.calibrated_on,
        )


def as_tested(
    calibration: Calibration,
    predictions: Predictions,
    logits: np.ndarray,
    *,
    groups: Sequence[str],
    parts: Mapping[str, Sequence[str]],
) -> Tested:
    """Return what one model said of test images.

    Args:
        calibration: Fitted.
        predictions: What it made of the logits.
        logits: Of the network, float32, shape (n, 4).
        groups: See `Tested`.
        parts: See `Tested`.
    """
    keys = [(level, conditional) for level in PROMISED_LEVELS for conditional in (False, True)]
    made = {key: calibration.sets(predictions.probabilities, level=key[0], conditional=key[1], keep_empty=True) for key in keys}
    return Tested(
        predictions=predictions,
        before=scaled_probabilities(logits, 1.0),
        sets={key: sets for key, sets in made.items() if sets is not None},
        reached=calibration.reached(predictions.probabilities),
        groups=tuple(groups),
        parts={by: tuple(column) for by, column in parts.items()},
        answered_by=np.zeros(len(predictions), dtype=np.int64),
        calibrated_on=(int(calibration.fitted_on["n"]),),
    )


def pooled(parts: Sequence[Tested]) -> Tested:
    """Return the images of several models, one for each fold of a cross-validation, as one test set; no image twice."""
    known = [decided for part in parts if (decided := part.predictions.decisions) is not None]
    kinds = list(dict.fromkeys(by for part in parts for by in part.parts))
    joined = joined_decisions(known)
    return Tested(
        predictions=Predictions(
            paths=tuple(path for part in parts for path in part.predictions.paths),
            label_index=np.concatenate([part.predictions.label_index for part in parts]),
            probabilities=joined.probabilities,
            decisions=joined if len(known) == len(parts) else None,
        ),
        before=np.concatenate([part.before for part in parts]),
        sets={key: np.concatenate([part.sets[key] for part in parts]) for key in parts[0].sets},
        reached={
            label: np.concatenate([part.reached[label] for part in parts])
            for label in parts[0].reached
            if all(label in part.reached for part in parts)
        },
        groups=tuple(group for part in parts for group in part.groups),
        parts={by: tuple(name for part in parts for name in part.parts.get(by, ("",) * len(part.groups))) for by in kinds},
        answered_by=np.repeat(np.arange(len(parts)), [len(part.groups) for part in parts]),
        calibrated_on=tuple(part.calibrated_on[0] for part in parts),
    )


def measured_trust(tested: Tested, *, twin_free: np.ndarray | None = None, seed: int = 0) -> dict[str, Any]:
    """Return what calibrated models do on test images, beside what was promised, as plain values.

    Args:
        tested: Images that neither training nor calibration has seen.
        twin_free: Which of them have no twin in training, bool, shape (n,), or None where that tells nothing apart.
        seed: Of intervals and draws.

    Returns:
        `all` and `twin_free`, None where there are no such images, each {`n`; `groups`; `calibration` {before, after: what
        `calibration_summary` returns}; `sets`: a row for every level, marginal and by class, of `promised`, `conditional`, `band`,
        the [low, high] that theory gives for the coverage, and the numbers of `coverage_summary`; `operating_point` {sensitivity,
        specificity: {value, interval}} of the recommended labels; `label_points`, the same for every tumour label at a threshold of
        its own, against the rest; `decision_curve`; `selective`; `refused`: share of the images,
        None where nothing is refused; `subgroups`: the rows of `subgroup_rows`}.
    """
    some = None if twin_free is None or not twin_free.any() else tested.where(twin_free)
    return {"all": _measured(tested, seed=seed), "twin_free": None if some is None else _measured(some, seed=seed)}


def _measured(tested: Tested, *, seed: int) -> dict[str, Any]:
    predictions, groups = tested.predictions, tested.groups
    raw = Predictions(predictions.paths, predictions.label_index, tested.before)
    truth, numbers = predictions.label_index, number_groups(groups)
    score, tumour = 1 - predictions.probabilities[:, _NONE], truth != _NONE
    decisions = predictions.decisions
    return {
        "n": len(predictions),
        "groups": int(numbers.max()) + 1,
        "calibration": {
            "before": calibration_summary(raw, groups=groups, seed=seed),
            "after": calibration_summary(predictions, groups=groups, seed=seed),
        },
        "sets": [
            {
                "promised": level,
                "conditional": conditional,
                "band": None if conditional else theory_band(tested.answered_by, tested.calibrated_on, level, seed=seed),
                **coverage_summary(sets, truth, groups=groups, seed=seed),
            }
            for (level, conditional), sets in tested.sets.items()
        ],
        "operating_point": None if decisions is None else called_shares(decisions.recommended != _NONE, tumour, numbers, seed=seed),
        "label_points": {
            label: called_shares(over, truth == LABELS.index(label), numbers, seed=seed) for label, over in tested.reached.items()
        },
        "decision_curve": decision_curve(score, tumour, CURVE),
        "selective": selective_summary(predictions.probabilities.max(axis=1), predictions.correct, groups=groups, seed=seed),
        "refused": None if decisions is None else float(decisions.refused.mean()),
        "subgroups": subgroup_rows(predictions, tested.parts, groups=groups, seed=seed),
    }


def theory_band(answered_by: np.ndarray, calibrated_on: Sequence[int], level: float, *, seed: int = 0) -> list[float]:
    """Return where the coverage of prediction sets lies in 95 % of all cases, were all images exchangeable.

    Args:
        answered_by: Number of the model that answered each image, int64, shape (n,).
        calibrated_on: Calibration images of every model.
        level: Promised.
        seed: Of the draws, where several models share the images.

    Source:
        Angelopoulos and Bates 2021, section 3.2, https://arxiv.org/abs/2107.07511
    """
    models, counts = np.unique(answered_by, return_counts=True)
    sizes = [calibrated_on[model] for model in models]
    if len(sizes) == 1:
        return coverage_band(sizes[0], int(counts[0]), level)
    rng = np.random.default_rng(seed)
    covered = np.zeros(BAND_DRAWS)
    for size, count in zip(sizes, counts.tolist(), strict=True):
        rank = quantile_rank(size, level)
        share = np.ones(BAND_DRAWS) if rank is None else rng.beta(rank, size + 1 - rank, BAND_DRAWS)
        covered += rng.binomial(count, share)
    low, high = np.quantile(covered / len(answered_by), (0.025, 0.975))
    return [float(low), float(high)]


def other_draws(calibration: Calibration, held: Answered, tested: Tested, *, seed: int = 0) -> dict[str, Any]:
    """Return what other calibration images from the same pool would have given: level to what `repeated_coverage` returns.

    Args:
        calibration: Fitted.
        held: The images that it was fitted on.
        tested: Test images.
        seed: Of the draws.
    """
    truth = np.concatenate([held.label_index, tested.predictions.label_index])
    return {
        f"{level:.2f}": repeated_coverage(
            np.concatenate([calibration.probabilities(held.logits), tested.predictions.probabilities]),
            truth,
            groups=(*held.groups, *tested.groups),
            level=level,
            calibration_share=len(held.label_index) / len(truth),
            draws=DRAWS,
            seed=seed,
        )
        for level in PROMISED_LEVELS
    }
