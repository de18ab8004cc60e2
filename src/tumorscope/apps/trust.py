"""What came of a model's promises, as files of a run, for one split and for folds together."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tumorscope import DISCLAIMER
from tumorscope.apps.experiment import fold_folders
from tumorscope.apps.run_folder import PREDICTIONS_FILE, RunFolder, read_json, write_json
from tumorscope.data.pixel_cache import PixelCache, build_pixel_cache
from tumorscope.data.plane import guess_planes
from tumorscope.errors import EvaluationError
from tumorscope.evaluation.answered import Answered
from tumorscope.evaluation.trust import Tested, as_tested, measured_trust, other_draws, pooled
from tumorscope.evaluation.twin_free import twin_free_rows
from tumorscope.explanation.outlines import read_outlines
from tumorscope.explanation.summary import size_of
from tumorscope.labels import LABELS, display_name
from tumorscope.models.bundle_files import read_bundle_json
from tumorscope.models.calibration import Calibration
from tumorscope.models.calibration_files import read_calibration
from tumorscope.predictions import Predictions, read_predictions
from tumorscope.storage import write_atomically

TRUST_FILE = "trust.json"
HELD_FILE = "calibration_answers.npz"
LOGITS_FILE = "test_logits.npy"
MOST_OF_A_LABEL = 500


def some_of_every_label(label_index: np.ndarray, rows: np.ndarray, *, most: int = MOST_OF_A_LABEL) -> np.ndarray:
    """Return at most so many rows of every label, spread evenly over those given, in their order.

    Args:
        label_index: Of every image, int64, shape (all,).
        rows: Of the images to choose from, int64, shape (n,).
        most: Of every label.
    """
    kept = []
    for label in range(len(LABELS)):
        own = rows[label_index[rows] == label]
        kept.append(own if len(own) <= most else own[np.linspace(0, len(own) - 1, most).round().astype(np.int64)])
    chosen: np.ndarray = np.sort(np.concatenate(kept))
    return chosen


def write_held(path: Path, held: Answered) -> None:
    """Store what a network said of its calibration images, without their features."""
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer, logits=held.logits, label_index=held.label_index, groups=np.array(held.groups), split=np.array(held.split)
    )
    write_atomically(path, buffer.getvalue())


def read_held(path: Path) -> Answered:
    """Return what `write_held` wrote.

    Raises:
        EvaluationError: The file is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            logits = stored["logits"]
            none = np.zeros((len(logits), 0), dtype=np.float32)
            return Answered(none, logits, stored["label_index"], str(stored["split"]), tuple(stored["groups"].tolist()))
    except (OSError, KeyError, ValueError) as error:
        raise EvaluationError(f"{path}: cannot be read ({error}). Run `tumorscope calibrate` again.") from error


def parts_of(cache: PixelCache, rows: np.ndarray) -> dict[str, tuple[str, ...]]:
    """Return what some images of a cache are divided by, as `Tested.parts` has it; the plane is guessed."""
    records = [cache.manifest.records[row] for row in rows]
    masks = read_outlines(cache.manifest, rows, cache.preprocessing).masks
    parts = {
        "class": tuple(display_name(record.label) for record in records),
        "plane": tuple(plane or "" for plane in guess_planes(cache.grids[rows])),
        "source": tuple(record.source for record in records),
        "tumour size": tuple("" if mask is None else size_of(float(mask.mean())) for mask in masks),
    }
    return {by: column for by, column in parts.items() if by == "class" or len(set(column) - {""}) > 1}


def array_bytes(array: np.ndarray) -> bytes:
    """Return an array as an NPY file."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def trust_of(folder: RunFolder, name: str, cache: PixelCache) -> dict[str, Any]:
    """Return the content of `trust.json`: what came of the promises of a model that is calibrated and evaluated."""
    model, seed = folder.model(name), folder.recipe().seed
    calibration = read_calibration(model, read_bundle_json(model))
    predictions = read_predictions(model / PREDICTIONS_FILE)
    tested = _tested(model, calibration, predictions, cache)
    return {
        "disclaimer": DISCLAIMER,
        "model": name,
        **{key: value for key, value in (calibration.to_json() or {}).items() if key != "quantiles"},
        **measured_trust(tested, twin_free=twin_free_rows(predictions, cache.manifest), seed=seed),
        "other_draws": other_draws(calibration, read_held(model / HELD_FILE), tested, seed=seed),
    }


def pool_trust(folder: RunFolder) -> None:
    """Store the same for every model that is calibrated in all folds of a cross-validation; nothing for any other run."""
    if folder.state().folds is None:
        return
    for name in trusted_models(folder):
        write_json(folder.model(name) / TRUST_FILE, _pooled_content(folder, fold_folders(folder), name))


def trusted_models(folder: RunFolder) -> tuple[str, ...]:
    """Return the models whose promises were tested, in every fold where there are several, in the order of reports."""
    parts = fold_folders(folder)
    return tuple(name for name in parts[0].trained_models() if all((part.model(name) / TRUST_FILE).is_file() for part in parts))


def _pooled_content(folder: RunFolder, parts: Sequence[RunFolder], name: str) -> dict[str, Any]:
    found, free = [], []
    for part in parts:
        model, manifest = part.model(name), part.manifest()
        cache = build_pixel_cache(manifest, part.recipe().preprocessing, part.cache_path)
        predictions = read_predictions(model / PREDICTIONS_FILE)
        found.append(_tested(model, read_calibration(model, read_bundle_json(model)), predictions, cache))
        free.append(twin_free_rows(predictions, manifest))
    twin_free = None if all(rows is None for rows in free) else _rows_of(found, free)
    return {
        "disclaimer": DISCLAIMER,
        "model": name,
        "folds": [read_json(part.model(name) / TRUST_FILE) for part in parts],
        **measured_trust(pooled(found), twin_free=twin_free, seed=folder.recipe().seed),
    }


def _rows_of(found: Sequence[Tested], free: Sequence[np.ndarray | None]) -> np.ndarray:
    return np.concatenate(
        [np.ones(len(one.groups), dtype=bool) if rows is None else rows for one, rows in zip(found, free, strict=True)]
    )


def _tested(model: Path, calibration: Calibration, predictions: Predictions, cache: PixelCache) -> Tested:
    rows = cache.rows("test")
    groups = [cache.manifest.records[row].group for row in rows]
    logits = np.load(model / LOGITS_FILE, allow_pickle=False)
    return as_tested(calibration, predictions, logits, groups=groups, parts=parts_of(cache, rows))
