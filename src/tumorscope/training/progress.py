"""What a training tells of itself while it runs, and the history it leaves."""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from tumorscope.storage import write_atomically

HISTORY_FILE = "history.csv"


@dataclass(frozen=True, slots=True)
class EpochRow:
    """One line of `history.csv`.

    Attributes:
        epoch: Counted from 1.
        train_loss: Mean over the epoch's training images, as augmented.
        train_accuracy: Share of those answered rightly, 0 to 1.
        validation_loss: Cross-entropy, without label smoothing.
        validation_accuracy: 0 to 1.
        validation_tumour_sensitivity: Share of tumour scans not called free of tumour, 0 to 1.
        learning_rate: At the end of the epoch.
        image_size: Training resolution in pixels.
        images_per_s: Training images per second, validation left out.
        duration_s: Wall time of the epoch with validation, in seconds.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    validation_loss: float
    validation_accuracy: float
    validation_tumour_sensitivity: float
    learning_rate: float
    image_size: int
    images_per_s: float
    duration_s: float


@dataclass(frozen=True, slots=True)
class StepProgress:
    """Where a training stands after a step.

    Attributes:
        epoch: Current epoch, counted from 1.
        epochs: Epochs in all.
        step: Finished steps of the current epoch.
        steps: Steps of an epoch.
        loss: Running mean of this epoch.
        accuracy: Running share of this epoch, 0 to 1.
        images_per_s: In this epoch.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    accuracy: float
    images_per_s: float


ProgressCallback = Callable[[StepProgress], None]


def write_history(rows: Sequence[EpochRow], path: Path) -> None:
    """Write the epochs as CSV, one line each."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(EpochRow)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    write_atomically(path, text.getvalue())


def read_history(path: Path) -> tuple[EpochRow, ...]:
    """Read what `write_history` wrote; empty when there is no such file."""
    if not path.is_file():
        return ()
    with path.open(newline="", encoding="utf-8") as file:
        return tuple(_from_row(row) for row in csv.DictReader(file))


def _from_row(row: dict[str, str]) -> EpochRow:
    values: dict[str, Any] = {name: int(text) if name in ("epoch", "image_size") else float(text) for name, text in row.items()}
    return EpochRow(**values)
