"""Predictions: what one model answered for a set of images, in memory and as CSV."""

import csv
import io
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tumorscope.errors import EvaluationError
from tumorscope.labels import LABELS, label_index
from tumorscope.storage import write_atomically

COLUMNS = ("path", "label", "predicted", *(f"p_{label}" for label in LABELS))


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """The answers of one model, one row per image.

    Attributes:
        paths: Image of each row, as its manifest spells it; no path twice.
        label_index: True labels as positions in `LABELS`, int64, shape (n,).
        probabilities: In the order of `LABELS`, float64, shape (n, 4), at least 0, each row sums to 1.
    """

    paths: tuple[str, ...]
    label_index: np.ndarray
    probabilities: np.ndarray

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

    def __len__(self) -> int:
        return len(self.paths)

    def where(self, keep: np.ndarray) -> "Predictions":
        """Return the rows for which `keep`, bool, shape (n,), is true."""
        paths = tuple(path for path, kept in zip(self.paths, keep.tolist(), strict=True) if kept)
        return Predictions(paths=paths, label_index=self.label_index[keep], probabilities=self.probabilities[keep])

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

    Probabilities keep all digits, so that numbers computed from the file equal those computed from the model.

    Raises:
        OutputError: The place cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    rows = zip(predictions.paths, predictions.label_index, predictions.predicted_index, predictions.probabilities, strict=True)
    for name, truth, predicted, probabilities in rows:
        writer.writerow([name, LABELS[truth], LABELS[predicted], *(repr(float(p)) for p in probabilities)])
    write_atomically(path, text.getvalue())


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
    return Predictions(
        paths=tuple(row["path"] for row, _, _ in rows),
        label_index=np.array([truth for _, truth, _ in rows], dtype=np.int64),
        probabilities=np.array([probabilities for _, _, probabilities in rows], dtype=np.float64).reshape(-1, len(LABELS)),
    )


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
