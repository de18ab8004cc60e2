"""What becomes of a calibration's promises on scans from other sources, where nothing makes them hold."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tumorscope.evaluation.external import ExternalAnswers
from tumorscope.evaluation.halves import CHOOSING, FINAL, final_half
from tumorscope.evaluation.reliability import expected_calibration_error
from tumorscope.labels import LABELS, NO_TUMOUR
from tumorscope.predictions import Decisions

_NONE = LABELS.index(NO_TUMOUR)


def external_trust(answers: ExternalAnswers, decided: Sequence[Decisions]) -> dict[str, Any]:
    """Return what calibrated models decided on an external set, as plain values; several models' numbers are averaged.

    Args:
        answers: Of all scans; their probabilities are not used.
        decided: Of every model that answered, at least one, rows as in the answers.

    Returns:
        What `trust_numbers` returns for all scans, and the same in `sources` by source and in `halves`, see `final_half`.
    """
    final = final_half(answers.groups, answers.paths)
    sources = {name or "unknown": np.array([source == name for source in answers.sources]) for name in sorted(set(answers.sources))}
    everything = np.ones(len(answers.paths), dtype=bool)
    return {
        **_mean(answers, decided, everything),
        "models": len(decided),
        "sources": {name: _mean(answers, decided, rows) for name, rows in sources.items()},
        "halves": {
            name: _mean(answers, decided, rows) if rows.any() else None for name, rows in ((CHOOSING, ~final), (FINAL, final))
        },
    }


def trust_numbers(answers: ExternalAnswers, decisions: Decisions) -> dict[str, float | None]:
    """Return what one calibrated model decided on some scans; None where they cannot tell.

    Returns:
        `n`; `sensitivity` and `specificity` of the recommended labels, tumour against none; `coverage`: share of the prediction
        sets that hold the truth, any tumour label where its type is unstated; `set_size`; `ece` of the scans of stated label, equal
        mass; `accuracy` of the most probable label there; `refused`: share of the scans; `accuracy_kept` and `sensitivity_kept` of
        those that are not; `wrong_refused`: share of the tumours missed and false alarms raised that are refused.
    """
    tumour = answers.is_tumour
    stated = np.array([label in LABELS for label in answers.labels])
    truth = np.array([LABELS.index(label) if label in LABELS else -1 for label in answers.labels])
    called = decisions.probabilities.argmax(axis=1)
    found = decisions.recommended != _NONE
    kept = ~decisions.refused
    wrong = found != tumour
    sets = decisions.prediction_sets
    return {
        "n": len(truth),
        "sensitivity": _share(found, tumour),
        "specificity": _share(~found, ~tumour),
        "coverage": None if sets is None else _share(_holds(sets, truth), np.ones(len(truth), dtype=bool)),
        "set_size": None if sets is None else float(sets.sum(axis=1).mean()),
        "ece": expected_calibration_error(decisions.probabilities[stated], truth[stated]) if stated.any() else None,
        "accuracy": _share(called == truth, stated),
        "refused": float(decisions.refused.mean()),
        "accuracy_kept": _share(called == truth, stated & kept),
        "sensitivity_kept": _share(found, tumour & kept),
        "wrong_refused": _share(decisions.refused, wrong),
    }


def _holds(sets: np.ndarray, truth: np.ndarray) -> np.ndarray:
    tumours = np.delete(sets, _NONE, axis=1).any(axis=1)
    holds: np.ndarray = np.where(truth < 0, tumours, sets[np.arange(len(truth)), truth.clip(0)])
    return holds


def _share(yes: np.ndarray, among: np.ndarray) -> float | None:
    return float(yes[among].mean()) if among.any() else None


def _mean(answers: ExternalAnswers, decided: Sequence[Decisions], rows: np.ndarray) -> dict[str, float | None]:
    part = answers.where(rows)
    found = [trust_numbers(part, decisions.where(rows)) for decisions in decided]
    known = {key: [value for one in found if (value := one[key]) is not None] for key in found[0]}
    return {key: float(np.mean(values)) if values else None for key, values in known.items()}
