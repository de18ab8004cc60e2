"""How a model does on scans from other sources: tumour against none first, since their tumours may be of unstated type."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tumorscope.errors import EvaluationError
from tumorscope.evaluation.halves import CHOOSING, FINAL, final_half
from tumorscope.labels import LABELS, NO_TUMOUR, UNSTATED_TUMOUR
from tumorscope.predictions import COLUMNS, DECIDED, Decisions, decided_cells
from tumorscope.resampling import edge_interval
from tumorscope.storage import write_atomically

SPECIFICITY = 0.90
RESAMPLES = 1000
_BOUNDED = ("tumour_sensitivity", "tumour_specificity", "roc_auc", "sensitivity_at_specificity")
_NONE = LABELS.index(NO_TUMOUR)


@dataclass(frozen=True, slots=True, eq=False)
class ExternalAnswers:
    """What a model answered for the scans of an external set.

    Attributes:
        paths: Image of each row.
        labels: Truth of each row: one of `LABELS`, or `UNSTATED_TUMOUR`.
        sources: Collection that each comes from; empty where unknown.
        groups: Images that belong together, for the intervals.
        probabilities: In the order of `LABELS`, float64, shape (n, 4).
    """

    paths: tuple[str, ...]
    labels: tuple[str, ...]
    sources: tuple[str, ...]
    groups: tuple[str, ...]
    probabilities: np.ndarray

    def __post_init__(self) -> None:
        lengths = {len(self.paths), len(self.labels), len(self.sources), len(self.groups), len(self.probabilities)}
        if len(lengths) > 1 or not self.paths:
            raise EvaluationError(f"external answers need at least one row, and columns of one length; got {sorted(lengths)}.")
        unknown = set(self.labels) - {*LABELS, UNSTATED_TUMOUR}
        if unknown:
            raise EvaluationError(f"unknown label {min(unknown)!r}. Allowed: {', '.join(LABELS)}, {UNSTATED_TUMOUR}.")

    @property
    def is_tumour(self) -> np.ndarray:
        """Whether each scan shows a tumour, of whatever type, bool, shape (n,)."""
        return np.array([label != NO_TUMOUR for label in self.labels])

    @property
    def tumour_score(self) -> np.ndarray:
        """Probability of any tumour, float64, shape (n,)."""
        score: np.ndarray = 1 - self.probabilities[:, _NONE]
        return score

    @property
    def predicted(self) -> np.ndarray:
        """Most probable label of each row as a position in `LABELS`, int64, shape (n,)."""
        called: np.ndarray = self.probabilities.argmax(axis=1)
        return called

    def where(self, keep: np.ndarray) -> "ExternalAnswers":
        """Return the rows for which `keep`, bool, shape (n,), is true; at least one."""
        rows = np.flatnonzero(keep).tolist()
        return ExternalAnswers(
            paths=tuple(self.paths[row] for row in rows),
            labels=tuple(self.labels[row] for row in rows),
            sources=tuple(self.sources[row] for row in rows),
            groups=tuple(self.groups[row] for row in rows),
            probabilities=self.probabilities[keep],
        )


def summarise_external(answers: ExternalAnswers, *, seed: int = 0) -> dict[str, Any]:
    """Return the numbers of a model on an external set as plain JSON values, None where the scans cannot tell.

    Args:
        answers: All of them.
        seed: Of the intervals.

    Returns:
        `n`, `labels` (scans of each), `tumour_sensitivity` and `tumour_specificity` by the most probable label, `missed_tumours`,
        `false_alarms`, `roc_auc` of tumour against none, `sensitivity_at_specificity` {specificity, value}: the share of the
        tumours above the score that leaves that share of the scans without a tumour below it; `recall` of each of `LABELS`,
        `confusion` {true label: images called each of `LABELS`}, `sources` {source: the same numbers within it}, `between` {source
        of the tumours: {source of the others: roc_auc}}, `halves` {choosing, final: the same numbers of each half, see
        `final_half`; None for an empty one}, and `intervals`: [low, high] by bootstrap over groups.
    """
    final = final_half(answers.groups, answers.paths)
    names = sorted(set(answers.sources)) if len(set(answers.sources)) > 1 else []
    of_source = {name: np.array([source == name for source in answers.sources]) for name in names}
    tumours = [name for name in names if (of_source[name] & answers.is_tumour).any()]
    others = [name for name in names if (of_source[name] & ~answers.is_tumour).any()]
    return {
        **_numbers(answers),
        "sources": {name or "unknown": _numbers(answers.where(of_source[name])) for name in names},
        "between": {
            a or "unknown": {
                b or "unknown": _area(
                    answers.tumour_score[of_source[a] & answers.is_tumour], answers.tumour_score[of_source[b] & ~answers.is_tumour]
                )
                for b in others
            }
            for a in tumours
        },
        "halves": {
            name: _numbers(answers.where(rows)) if rows.any() else None for name, rows in ((CHOOSING, ~final), (FINAL, final))
        },
        "intervals": _intervals(answers, seed=seed),
    }


def write_external_predictions(answers: ExternalAnswers, path: Path, *, decisions: Decisions | None = None) -> None:
    """Write the columns of `predictions.csv`; the label of a tumour of unstated type is `tumour`.

    Args:
        answers: All of them.
        path: Of the CSV.
        decisions: Of the one calibrated model that gave the answers, or None.

    Raises:
        OutputError: The place cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS if decisions is None else (*COLUMNS, *DECIDED))
    rows = zip(answers.paths, answers.labels, answers.predicted.tolist(), answers.probabilities.tolist(), strict=True)
    for row, (image, label, called, probabilities) in enumerate(rows):
        decided = () if decisions is None else decided_cells(decisions, row)
        writer.writerow((image, label, LABELS[called], *probabilities, *decided))
    write_atomically(path, text.getvalue())


def _numbers(answers: ExternalAnswers) -> dict[str, Any]:
    labels = np.array(answers.labels)
    tumour, found = answers.is_tumour, answers.predicted != _NONE
    present = [label for label in (*LABELS, UNSTATED_TUMOUR) if (labels == label).any()]
    scores = answers.tumour_score
    return {
        "n": len(labels),
        "labels": {label: int((labels == label).sum()) for label in present},
        "tumour_sensitivity": _share(found[tumour]),
        "tumour_specificity": _share(~found[~tumour]),
        "missed_tumours": int((~found & tumour).sum()),
        "false_alarms": int((found & ~tumour).sum()),
        "roc_auc": _area(scores[tumour], scores[~tumour]),
        "sensitivity_at_specificity": {"specificity": SPECIFICITY, "value": _sensitivity_at(scores[tumour], scores[~tumour])},
        "recall": {
            label: _share(answers.predicted[labels == label] == number) for number, label in enumerate(LABELS) if label in present
        },
        "confusion": {label: np.bincount(answers.predicted[labels == label], minlength=len(LABELS)).tolist() for label in present},
    }


def _share(true: np.ndarray) -> float | None:
    return float(true.mean()) if len(true) else None


def _area(positive: np.ndarray, negative: np.ndarray) -> float | None:
    """Probability that a tumour scores above a scan without one, ties counting half."""
    if not len(positive) or not len(negative):
        return None
    ordered = np.sort(negative)
    below, upto = np.searchsorted(ordered, positive, side="left"), np.searchsorted(ordered, positive, side="right")
    return float((below + upto).mean() / (2 * len(negative)))


def _sensitivity_at(positive: np.ndarray, negative: np.ndarray) -> float | None:
    """Share of the tumours that score above what at least `SPECIFICITY` of the scans without one stay at or below."""
    if not len(positive) or not len(negative):
        return None
    place = int(np.ceil(SPECIFICITY * len(negative))) - 1
    return float((positive > np.sort(negative)[place]).mean())


def _intervals(answers: ExternalAnswers, *, seed: int, level: float = 0.95) -> dict[str, list[float] | None]:
    names = [group or f"\0{row}" for row, group in enumerate(answers.groups)]
    number = np.unique(names, return_inverse=True)[1]
    members = np.split(np.argsort(number, kind="stable"), np.cumsum(np.bincount(number))[:-1])
    rng = np.random.default_rng(seed)
    tumour, found, scores = answers.is_tumour, answers.predicted != _NONE, answers.tumour_score
    drawn: dict[str, list[float]] = {name: [] for name in _BOUNDED}
    for _ in range(RESAMPLES):
        rows = np.concatenate([members[k] for k in rng.integers(0, len(members), len(members))])
        ill, well = rows[tumour[rows]], rows[~tumour[rows]]
        values = (
            _share(found[ill]),
            _share(~found[well]),
            _area(scores[ill], scores[well]),
            _sensitivity_at(scores[ill], scores[well]),
        )
        for name, value in zip(drawn, values, strict=True):
            if value is not None:
                drawn[name].append(value)
    ends = [(1 - level) / 2, (1 + level) / 2]
    bounds: dict[str, list[float] | None] = {
        name: np.quantile(values, ends).tolist() if values else None for name, values in drawn.items()
    }
    for name, hits, rows in (("tumour_sensitivity", found, tumour), ("tumour_specificity", ~found, ~tumour)):
        share = _share(hits[rows])
        if share is not None and share in (0.0, 1.0):
            # No resample changes it, which does not make it certain.
            bounds[name] = edge_interval(share, len(np.unique(number[rows])), level=level)
    return bounds
