"""An explanation as plain values: what explanation.json says, and a table with one line for each image."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tumorscope.errors import EvaluationError
from tumorscope.explanation.attention import FEATURES
from tumorscope.explanation.explain import DRAWN_AS_USUAL, RANDOM_NETWORK, ExplainChoices, Explanation
from tumorscope.explanation.faithfulness import SHARES
from tumorscope.explanation.localisation import LOCALISATION
from tumorscope.explanation.mistakes import JudgedMaps, compare_answers
from tumorscope.explanation.summary import OWN, MeasuredImage, metric_table
from tumorscope.labels import LABELS
from tumorscope.resampling import number_groups
from tumorscope.storage import write_atomically

METHOD = "Grad-CAM of the predicted label at the last feature map, raw, placed where the cells of the map are centred"
FAITHFULNESS = (
    "deletion_auc",
    "insertion_auc",
    "deletion_auc_mean_fill",
    "insertion_auc_mean_fill",
    "tumour_inpainted_drop",
    "tumour_blurred_drop",
)
METRICS = (*LOCALISATION, *FAITHFULNESS, *FEATURES)
"""Every key of explanation.json that is a table of `summary.metric_table`."""

BESIDE = (DRAWN_AS_USUAL, "centred_gaussian", "brightest_region", "edges", RANDOM_NETWORK, "random_order", "centre", "elsewhere")
"""Kinds of maps and places that a heatmap is compared with, in the order of tables."""

_FACTS = ("path", "label", "predicted", "confidence", "group", "plane", "size", "mask_share")


def content_of(explanation: Explanation, choices: ExplainChoices) -> dict[str, Any]:
    """Return everything that explanation.json says of one model, as plain JSON values; what cannot be told is None."""
    return {
        "method": METHOD,
        "split": choices.split,
        "cells": {"stride": explanation.cells.stride, "start": explanation.cells.start},
        "threshold": explanation.threshold,
        "notes": list(explanation.notes),
        "flat_maps": int(np.isnan(explanation.peaks[:, 0]).sum()),
        **tables_of(explanation.images, methods=choices.methods, seed=choices.seed),
        "curves": _curves(explanation.curves),
        "randomisation": explanation.randomisation or None,
        "stability": explanation.stability or None,
        "repeatability": explanation.repeatability,
    }


def tables_of(images: Sequence[MeasuredImage], *, methods: Sequence[str] = (), seed: int = 0) -> dict[str, Any]:
    """Return the part of `content_of` that is made of single images alone, so that folds can be put together.

    Returns:
        `images_count`, `with_mask`, `groups`, every key of `METRICS` (None where no image has it), `mask_share` {value, n}, and
        `correct_and_incorrect`.
    """
    numbers = number_groups([image.group for image in images])
    shares = [image.mask_share for image in images if image.mask_share is not None]
    judged = JudgedMaps(
        measures=[image.measures.get(OWN, {}) for image in images],
        predicted_index=np.array([LABELS.index(image.predicted) for image in images]),
        confidence=np.array([image.confidence for image in images]),
        correct=np.array([image.correct for image in images]),
        groups=numbers,
    )
    return {
        "images_count": len(images),
        "with_mask": len(shares),
        "groups": int(numbers.max()) + 1,
        "mask_share": {"value": float(np.mean(shares)), "interval": None, "n": len(shares)} if shares else None,
        **{metric: metric_table(images, metric, methods=methods, seed=seed) for metric in METRICS},
        "correct_and_incorrect": compare_answers(judged, seed=seed),
    }


def _curves(curves: Mapping[tuple[str, str, str], list[float]]) -> dict[str, Any] | None:
    if not curves:
        return None
    nested: dict[str, Any] = {"shares": list(SHARES)}
    for (kind, fill, order), values in curves.items():
        nested.setdefault(kind, {}).setdefault(fill, {})[order] = values
    return nested


def write_images(images: Sequence[MeasuredImage], path: Path) -> None:
    """Write one line for each image: what it is, the measures of its heatmap, and `KIND:MEASURE` of all it is compared with.

    Raises:
        OutputError: The place cannot be written.
    """
    found = dict.fromkeys((kind, name) for image in images for kind, row in image.measures.items() for name in row)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_FACTS, *(_column(kind, name) for kind, name in found)])
    for image in images:
        values = (image.measures.get(kind, {}).get(name) for kind, name in found)
        writer.writerow([*(_cell(getattr(image, name)) for name in _FACTS), *map(_cell, values)])
    write_atomically(path, text.getvalue())


def read_images(path: Path) -> tuple[MeasuredImage, ...]:
    """Read what `write_images` wrote.

    Raises:
        EvaluationError: It is missing, or a column or a number in it is.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return tuple(_from_row(row) for row in csv.DictReader(file))
    except (OSError, KeyError, ValueError) as error:
        raise EvaluationError(f"{path}: missing or not readable ({error}). Run `tumorscope explain` again.") from error


def write_peaks(explanation: Explanation, placed: Sequence[tuple[float, float] | None], path: Path) -> None:
    """Write the columns `path, label, predicted, row, column, value, inside, distance_px` of every map's highest value.

    Args:
        explanation: The maps.
        placed: Row and column of each peak on the scan's own grid; None for a flat map.
        path: Where.

    Raises:
        OutputError: The place cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("path", "label", "predicted", "row", "column", "value", "inside", "distance_px"))
    for image, peak, heatmap in zip(explanation.images, placed, explanation.maps, strict=True):
        own = image.measures.get(OWN, {})
        where = ("", "") if peak is None else (f"{peak[0]:.1f}", f"{peak[1]:.1f}")
        inside, distance = own.get("pointing_game"), own.get("peak_distance_px")
        facts = (image.path, image.label, image.predicted, *where, repr(float(heatmap.max())))
        writer.writerow((*facts, "" if inside is None else int(inside), _cell(distance)))
    write_atomically(path, text.getvalue())


def _column(kind: str, name: str) -> str:
    return name if kind == OWN else f"{kind}:{name}"


def _cell(value: object) -> str:
    return "" if value is None else repr(value) if isinstance(value, float) else str(value)


def _from_row(row: Mapping[str, str]) -> MeasuredImage:
    if row["label"] not in LABELS or row["predicted"] not in LABELS:
        raise ValueError(f"unknown label {row['label']!r} or {row['predicted']!r}")
    measures: dict[str, dict[str, float | None]] = {}
    for column, text in row.items():
        if column not in _FACTS:
            kind, _, name = column.rpartition(":")
            if text:
                measures.setdefault(kind, {})[name] = float(text)
    return MeasuredImage(
        path=row["path"],
        label=row["label"],
        predicted=row["predicted"],
        confidence=float(row["confidence"]),
        group=row["group"],
        plane=row["plane"],
        mask_share=float(row["mask_share"]) if row["mask_share"] else None,
        measures=measures,
    )
