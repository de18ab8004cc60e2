"""Predictions: what one model answered for a set of images, in memory and as CSV."""

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tumorscope.errors import EvaluationError
from tumorscope.labels import LABELS, label_index
from tumorscope.storage import write_atomically

COLUMNS = ("path", "label", "predicted", *(f"p_{label}" for label in LABELS))
DECIDED = ("prediction_set", "recommended", "familiarity", "refused")
"""Columns that the answers of a calibrated model have besides."""


@dataclass(frozen=True, slots=True, eq=False)
class Decisions:
    """What a model says about every one of n images, whatever is true.

    Attributes:
        probabilities: Calibrated where the model is, in the order of `LABELS`, float64, shape (n, 4).
        prediction_sets: Labels in the prediction set, bool, shape (n, 4); None where the model is not calibrated.
        recommended: Position in `LABELS` of the recommended label at the operating point, int64, shape (n,); the most probable
            label where the model has none.
        familiarity: How much an image looks like what the model knows, at most 1; below 0 it is refused; float64, shape (n,);
            None where the model cannot tell.
        refused: Whether an image is unlike what the model knows, or no slice of a head, bool, shape (n,).
        reasons: Why, in words, empty where it is not refused; none at all where nobody asked.
    """

    probabilities: np.ndarray
    prediction_sets: np.ndarray | None
    recommended: np.ndarray
    familiarity: np.ndarray | None
    refused: np.ndarray
    reasons: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        shapes = {
            "probabilities": (self.probabilities, (len(LABELS),)),
            "prediction_sets": (self.prediction_sets, (len(LABELS),)),
            "recommended": (self.recommended, ()),
            "familiarity": (self.familiarity, ()),
            "refused": (self.refused, ()),
        }
        for name, (values, rest) in shapes.items():
            if values is not None and values.shape != (len(self.recommended), *rest):
                raise EvaluationError(f"{name} of shape {values.shape} for {len(self.recommended)} recommended labels.")

    def where(self, rows: np.ndarray) -> "Decisions":
        """Return some rows, given as positions or as bool, shape (n,)."""
        return Decisions(
            probabilities=self.probabilities[rows],
            prediction_sets=None if self.prediction_sets is None else self.prediction_sets[rows],
            recommended=self.recommended[rows],
            familiarity=None if self.familiarity is None else self.familiarity[rows],
            refused=self.refused[rows],
            reasons=tuple(np.array(self.reasons, dtype=object)[rows]) if self.reasons else (),
        )


def joined_decisions(parts: Sequence[Decisions]) -> Decisions:
    """Return what several models that share images out say of all of them, one after the other.

    Familiarity is left out, since the scores of different networks are of different scales.
    """
    sets = [part.prediction_sets for part in parts]
    there = [one for one in sets if one is not None]
    return Decisions(
        probabilities=np.concatenate([part.probabilities for part in parts]),
        prediction_sets=np.concatenate(there) if len(there) == len(sets) else None,
        recommended=np.concatenate([part.recommended for part in parts]),
        familiarity=None,
        refused=np.concatenate([part.refused for part in parts]),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """The answers of one model, one row per image.

    Attributes:
        paths: Image of each row, as its manifest spells it; no path twice.
        label_index: True labels as positions in `LABELS`, int64, shape (n,).
        probabilities: In the order of `LABELS`, float64, shape (n, 4), at least 0, each row sums to 1.
        decisions: What a calibrated model says besides, of the same probabilities; None for any other.
    """

    paths: tuple[str, ...]
    label_index: np.ndarray
    probabilities: np.ndarray
    decisions: Decisions | None = None

    def __post_init__(self) -> None:
        expected = (len(self.paths), len(LABELS))
        if self.probabilities.shape != expected or self.label_index.shape != expected[:1]:
            raise EvaluationError(
                f"{len(self.paths)} paths, {self.label_index.shape} labels and {self.probabilities.shape} probabilities "
                f"do not fit together. Expected: {expected[:1]} and {expected}."
            )
        twice = next((path for path, count in Counter(self.paths).items() if count > 1), None)
        if twice is not None:
            raise EvaluationError(
                f"{twice}: more than one row of predictions. Every image may be counted once; remove the repeats."
            )
        if self.label_index.dtype.kind != "i" or not np.isin(self.label_index, range(len(LABELS))).all():
            raise EvaluationError(f"label_index must hold whole numbers from 0 to {len(LABELS) - 1}, the positions in LABELS.")
        if not np.isfinite(self.probabilities).all() or not np.allclose(self.probabilities.sum(axis=1), 1, atol=1e-3):
            raise EvaluationError("probabilities must be finite and sum to 1 in every row. The model's weights may have diverged.")
        if (self.probabilities < 0).any():
            raise EvaluationError("probabilities must not be negative. Pass probabilities, not logits.")
        if self.decisions is not None and not np.array_equal(self.decisions.probabilities, self.probabilities):
            raise EvaluationError("the decisions are of other probabilities than these.")

    def __len__(self) -> int:
        return len(self.paths)

    def where(self, keep: np.ndarray) -> "Predictions":
        """Return the rows for which `keep`, bool, shape (n,), is true."""
        paths = tuple(path for path, kept in zip(self.paths, keep.tolist(), strict=True) if kept)
        return Predictions(
            paths=paths,
            label_index=self.label_index[keep],
            probabilities=self.probabilities[keep],
            decisions=None if self.decisions is None else self.decisions.where(keep),
        )

    @property
    def predicted_index(self) -> np.ndarray:
        """Most probable label of each row as a position in `LABELS`, int64, shape (n,)."""
        predicted: np.ndarray = self.probabilities.argmax(axis=1)
        return predicted

    @property
    def correct(self) -> np.ndarray:
        """Whether the most probable label is the true one, bool, shape (n,)."""
        correct: np.ndarray = self.predicted_index == self.label_index
        return correct


def write_predictions(predictions: Predictions, path: Path) -> None:
    """Write the columns `path, label, predicted, p_glioma, p_meningioma, p_notumor, p_pituitary` as CSV.

    Those of a calibrated model have `prediction_set` (labels with spaces between), `recommended`, `familiarity` and `refused`
    (`yes` or `no`) besides.

    Probabilities keep all digits, so that numbers computed from the file equal those computed from the model.

    Raises:
        OutputError: The place cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    decisions = predictions.decisions
    writer.writerow(COLUMNS if decisions is None else (*COLUMNS, *DECIDED))
    rows = zip(predictions.paths, predictions.label_index, predictions.predicted_index, predictions.probabilities, strict=True)
    for row, (name, truth, predicted, probabilities) in enumerate(rows):
        decided = () if decisions is None else decided_cells(decisions, row)
        writer.writerow([name, LABELS[truth], LABELS[predicted], *(repr(float(p)) for p in probabilities), *decided])
    write_atomically(path, text.getvalue())


def decided_cells(decisions: Decisions, row: int) -> tuple[str, ...]:
    """Return what one row of decisions says in the columns of `DECIDED`."""
    sets, familiarity = decisions.prediction_sets, decisions.familiarity
    return (
        "" if sets is None else set_cell(sets[row]),
        LABELS[decisions.recommended[row]],
        "" if familiarity is None else repr(float(familiarity[row])),
        "yes" if decisions.refused[row] else "no",
    )


def set_cell(members: np.ndarray) -> str:
    """Return a prediction set, bool, shape (4,), as labels with spaces between."""
    return " ".join(label for label, inside in zip(LABELS, members, strict=True) if inside)


def read_predictions(path: Path) -> Predictions:
    """Read what `write_predictions` wrote.

    Raises:
        EvaluationError: The file is missing, lacks a column or holds a row that contradicts itself.
    """
    if not path.is_file():
        raise EvaluationError(f"{path}: no predictions. Run `tumorscope evaluate` first.")
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise EvaluationError(f"{path}: no column {', '.join(missing)}. Run `tumorscope evaluate` again.")
        rows = [(row, *_from_row(row, where=f"{path}, line {reader.line_num}")) for row in reader]
        decided = set(DECIDED) <= set(reader.fieldnames or ())
    probabilities = np.array([probabilities for _, _, probabilities in rows], dtype=np.float64).reshape(-1, len(LABELS))
    return Predictions(
        paths=tuple(row["path"] for row, _, _ in rows),
        label_index=np.array([truth for _, truth, _ in rows], dtype=np.int64),
        probabilities=probabilities,
        decisions=_read_decisions([row for row, _, _ in rows], probabilities, where=str(path)) if decided else None,
    )


def _read_decisions(rows: list[dict[str, str]], probabilities: np.ndarray, *, where: str) -> Decisions:
    try:
        sets = [[label in row["prediction_set"].split() for label in LABELS] for row in rows]
        has_sets = any(row["prediction_set"] for row in rows)
        has_familiarity = any(row["familiarity"] for row in rows)
        return Decisions(
            probabilities=probabilities,
            prediction_sets=np.array(sets, dtype=bool) if has_sets else None,
            recommended=np.array([label_index(row["recommended"]) for row in rows], dtype=np.int64),
            familiarity=np.array([float(row["familiarity"]) for row in rows]) if has_familiarity else None,
            refused=np.array([row["refused"] == "yes" for row in rows], dtype=bool),
        )
    except (AttributeError, TypeError, ValueError):
        raise EvaluationError(f"{where}: a cell of {', '.join(DECIDED)} cannot be read. Run `tumorscope evaluate` again.") from None


def _from_row(row: dict[str, str], *, where: str) -> tuple[int, list[float]]:
    try:
        truth, predicted = label_index(row["label"]), label_index(row["predicted"])
        probabilities = [float(row[f"p_{label}"]) for label in LABELS]
    except (TypeError, ValueError):
        allowed = ", ".join(LABELS)
        raise EvaluationError(f"{where}: a label is not one of {allowed}, or a probability is not a number.") from None
    if probabilities[predicted] < max(probabilities):
        raise EvaluationError(
            f"{where}: predicted {row['predicted']} is not the most probable label. Run `tumorscope evaluate` again."
        )
    return truth, probabilities
