"""Likely wrong labels of a cross-validated model: a table, and a page of pictures to look at."""

import csv
import io
from pathlib import Path

import numpy as np

from tumorscope.data.decode import decode_record
from tumorscope.data.preprocess import Preprocessing
from tumorscope.evaluation.label_issues import describe_issue, label_issues
from tumorscope.labels import LABELS
from tumorscope.manifest import Manifest, Record
from tumorscope.predictions import Predictions
from tumorscope.reporting.audit_report import PictureRow, Section, write_picture_page
from tumorscope.storage import write_atomically

TABLE_FILE = "label_issues.csv"
PAGE_FILE = "label_issues.html"
_SHOWN = 60


def write_label_issues(predictions: Predictions, manifest: Manifest, folder: Path, *, model: str) -> int:
    """Write `label_issues.csv` and `label_issues.html`, and return how many labels are in doubt. No label is changed.

    Args:
        predictions: Out-of-fold answers.
        manifest: Tells where the images lie.
        folder: Of the model.
        model: What to call it on the page.

    Raises:
        DecodeError: An image has vanished.
        OutputError: The folder cannot be written.
    """
    rows = label_issues(predictions)
    records = {record.path: record for record in manifest}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("path", "label", "predicted", "p_label", "p_predicted"))
    for row in rows.tolist():
        label, predicted = int(predictions.label_index[row]), int(predictions.predicted_index[row])
        own, other = predictions.probabilities[row, [label, predicted]].tolist()
        writer.writerow((predictions.paths[row], LABELS[label], LABELS[predicted], own, other))
    write_atomically(folder / TABLE_FILE, text.getvalue())
    shown = tuple(_picture(predictions, row, manifest, records[predictions.paths[row]]) for row in rows[:_SHOWN].tolist())
    section = Section(
        "labels",
        "Labels in doubt",
        f"The {len(shown)} most doubtful of {len(rows)}, by confident learning on answers of models that had not seen the image. "
        "Many of these will be mistakes of the model: somebody has to look.",
        shown,
    )
    sentence = f"{len(rows):,} of {len(predictions):,} labels are in doubt. Nothing was changed."
    write_picture_page(f"Labels that {model} doubts", [sentence], [section], folder / PAGE_FILE)
    return len(rows)


def _picture(predictions: Predictions, row: int, manifest: Manifest, record: Record) -> PictureRow:
    pixels: np.ndarray = Preprocessing().eight_bit(decode_record(manifest, record).pixels)
    return PictureRow(pictures=(pixels,), paths=(predictions.paths[row],), caption=describe_issue(predictions, row))
