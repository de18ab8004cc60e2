"""Gathers the finished files of a run into the nouns of the report, and pools the folds of a cross-validation."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tumorscope.apps.audit_folder import AUDIT_FILE
from tumorscope.apps.console import Reporter
from tumorscope.apps.experiment import fold_folders
from tumorscope.apps.explaining import EXPLANATION_FILE
from tumorscope.apps.explanation_page import explanation_content
from tumorscope.apps.external_sets import external_results
from tumorscope.apps.label_page import write_label_issues
from tumorscope.apps.panels import Panels, absolute_path, explained_places
from tumorscope.apps.run_folder import LOOKUP, METRICS_FILE, PREDICTIONS_FILE, RunFolder, read_content, read_json, write_json
from tumorscope.apps.stages import measured
from tumorscope.apps.trust import TRUST_FILE
from tumorscope.data.audit.groups import count_leaks
from tumorscope.data.augmentation import Augmentation
from tumorscope.data.dataset import Augmenter, Batch
from tumorscope.data.decode import decode_record
from tumorscope.data.phantom import SYNTHETIC_NOTICE
from tumorscope.data.sources import recognise
from tumorscope.errors import EvaluationError
from tumorscope.evaluation.comparison import comparison_rows, paired_comparison, write_comparison
from tumorscope.evaluation.lookup import lookup_baseline
from tumorscope.evaluation.metrics import curves
from tumorscope.explanation.attention import compare_groups
from tumorscope.explanation.examples import pick_examples, pick_mistakes
from tumorscope.explanation.summary import OWN
from tumorscope.labels import LABELS
from tumorscope.manifest import SPLITS, TWIN_IN_TRAIN, Manifest
from tumorscope.models.bundle_files import BUNDLE_FILE, library_versions
from tumorscope.predictions import Predictions, joined_decisions, read_predictions, write_predictions
from tumorscope.reporting.study import AugmentationExamples, ExplainedScan, ModelResult, Study
from tumorscope.reporting.study_report import write_report
from tumorscope.training.progress import HISTORY_FILE, read_history
from tumorscope.training.recipe import Recipe

REPORT_FILE = "report.html"
COMPARISON_FILE = "comparison.csv"


def write_study_report(folder: RunFolder, reporter: Reporter) -> Path:
    """Write `comparison.csv`, all figures and `report.html` from what the stages left, and return the report's path.

    Raises:
        EvaluationError: No model has been evaluated yet.
        OutputError: The folder cannot be written.
    """
    if folder.state().folds is not None:
        pool_folds(folder)
    names = folder.evaluated_models()
    if not names:
        raise EvaluationError(f"{folder.path}: no model has been evaluated yet. Run `tumorscope evaluate {folder.path}` first.")
    study = collect_study(folder, names)
    write_comparison(folder.path / COMPARISON_FILE, comparison_rows({model.name: model.metrics for model in study.models}))
    if study.paired is not None:
        write_json(folder.path / "paired.json", study.paired)
    report = folder.path / REPORT_FILE
    figures = {model.name: folder.model(model.name) / "figures" for model in study.models}
    write_report(study, report, {"": folder.path / "figures", **figures})
    reporter.say(f"report: {report}")
    return report


def pool_folds(folder: RunFolder) -> None:
    """Store, for every model that all folds have, the predictions of every image by the model that has not seen it."""
    parts = fold_folders(folder)
    manifest = folder.manifest()
    names = set.intersection(*(set(part.evaluated_models()) for part in parts))
    lookup = lookup_baseline(
        _pooled(parts, f"{LOOKUP}/{PREDICTIONS_FILE}", folder),
        _pooled(parts, f"{LOOKUP}/mirrored_{PREDICTIONS_FILE}", folder),
        groups=[record.group for record in manifest],
        seed=folder.recipe().seed,
    )
    for name in names:
        pooled = _pooled(parts, f"{name}/{PREDICTIONS_FILE}", folder)
        metrics = measured(pooled, manifest, lookup=lookup, seed=folder.recipe().seed)
        metrics |= {"model": name, "folds": [_fold_summary(part, name) for part in parts]}
        metrics["labels_in_doubt"] = write_label_issues(pooled, manifest, folder.model(name), model=name)
        write_predictions(pooled, folder.model(name) / PREDICTIONS_FILE)
        write_json(folder.model(name) / METRICS_FILE, metrics)


def _pooled(parts: Sequence[RunFolder], file: str, folder: RunFolder) -> Predictions:
    """Join one file of predictions from every fold, in the order of the run's manifest and with its paths."""
    manifest = folder.manifest()
    row_of = {absolute_path(folder.path, record.path): row for row, record in enumerate(manifest)}
    found = [read_predictions(part.path / file) for part in parts]
    known = [decided for one in found if (decided := one.decisions) is not None]
    rows = np.array([row_of[absolute_path(part.path, path)] for part, one in zip(parts, found, strict=True) for path in one.paths])
    order = np.argsort(rows)
    return Predictions(
        paths=tuple(manifest.records[row].path for row in rows[order]),
        label_index=np.concatenate([one.label_index for one in found])[order],
        probabilities=np.concatenate([one.probabilities for one in found])[order],
        decisions=joined_decisions(known).where(order) if len(known) == len(found) else None,
    )


def _fold_summary(part: RunFolder, name: str) -> dict[str, Any]:
    metrics = read_json(part.model(name) / METRICS_FILE)
    return {"fold": part.state().fold, "n": metrics["n"], "accuracy": metrics["accuracy"], "macro": metrics["macro"]}


def collect_study(folder: RunFolder, names: Sequence[str]) -> Study:
    """Return everything a report says about a run."""
    manifest, recipe, state = folder.manifest(), folder.recipe(), folder.state()
    models = tuple(_model_result(folder, name, manifest, recipe) for name in names)
    splits = [split for split in SPLITS if any(record.split == split for record in manifest)]
    groups = {record.path: record.group for record in manifest}
    durations = {**state.durations_s}
    for part in fold_folders(folder) if state.folds else ():
        for stage, seconds in part.state().durations_s.items():
            durations[stage] = durations.get(stage, 0.0) + seconds
    return Study(
        title="Brain MRI classification: two models, one comparison" if len(models) > 1 else "Brain MRI classification",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        protocol=state.protocol,
        headline=_headline(folder, models),
        counts={split: manifest.counts(split) for split in splits},
        notes=manifest.notes,
        models=models,
        lookup=models[0].metrics.get("lookup_baseline"),
        augmentation=augmentation_examples(manifest, recipe),
        recipe_text=recipe.to_toml(),
        data_fingerprint=manifest.data_fingerprint,
        split_fingerprint=manifest.split_fingerprint,
        versions=library_versions(),
        durations_s=durations,
        published_key=recognise(manifest) if state.folds is None and state.protocol == "published" else None,
        paired=_paired(models, groups, seed=recipe.seed),
        synthetic=state.synthetic,
        folds=state.folds,
        audit=_audit_content(folder),
        external=external_results(folder, names),
    )


def _headline(folder: RunFolder, models: Sequence[ModelResult]) -> tuple[str, ...]:
    """What a reader must know before any number."""
    sentences = []
    state = folder.state()
    if state.synthetic:
        sentences.append(SYNTHETIC_NOTICE)
    manifest = folder.manifest()
    sentences += _leak_sentences(folder, manifest, models[0])
    sentences += _shortcut_sentences(folder)
    sentences += _external_sentences(folder, models)
    sentences += _ancestor_sentences(folder, models)
    if not state.synthetic and not manifest.knows_patients:
        searched = any(record.group for record in manifest)
        sentences.append(
            "No patient is known for these images, so neighbouring slices of one patient may stand on both sides of the split."
            if searched
            else "No patient or copy groups are known for these images: copies that are mirrored, turned or re-encoded, and "
            "neighbouring slices of one patient, may stand on both sides of the split and were not searched for."
        )
    return tuple(sentences)


def _leak_sentences(folder: RunFolder, manifest: Manifest, model: ModelResult) -> list[str]:
    """How much of the test set is in training, and what was done about it."""
    leaks = count_leaks(manifest)
    twins = 0 if leaks is None else sum(leaks.flagged[TWIN_IN_TRAIN].values())
    copies, n = model.metrics.get("exact_copies_in_training"), model.metrics["n"]
    if twins and folder.state().protocol == "leak-free":
        return [
            f"{twins:,} of the {n:,} test images ({twins / n:.0%}) show the same slice as a training image of the published split. "
            "All of these and their kin were taken out of training and validation here, so no number below is a test of memory for "
            "a slice."
        ]
    if twins:
        return [
            f"{twins:,} of the {n:,} test images ({twins / n:.0%}) show the same slice as a training image, {copies or 0:,} of "
            "them pixel for pixel, so the numbers of all test images are mostly a test of memory. Those of the other "
            f"{n - twins:,} stand beside them as “new slices”."
        ]
    if copies:
        return [
            f"{copies:,} of the {n:,} test images ({copies / n:.0%}) have exactly the pixels of a training or validation image, so "
            "every number below is partly a test of memory."
        ]
    return []


def _shortcut_sentences(folder: RunFolder) -> list[str]:
    """What the audit says a model can score by without seeing a tumour."""
    content = _audit_content(folder) or {}
    sources, shortcut = content.get("sources"), content.get("shortcut")
    return [*(sources["sentences"] if sources else ()), *([shortcut["sentence"]] if shortcut else ())]


def _external_sentences(folder: RunFolder, models: Sequence[ModelResult]) -> list[str]:
    """How many tumours of other sources every model finds, beside its own test set."""
    sentences = []
    for name, found in external_results(folder, [model.name for model in models]).items():
        for model in models:
            metrics = found.get(model.name)
            sensitivity = None if metrics is None else metrics["tumour_sensitivity"]
            if metrics is None or sensitivity is None:
                continue
            area = metrics["roc_auc"]
            told = "" if area is None else f"; it tells tumour from none there with an area under the ROC curve of {area:.3f}"
            sentences.append(
                f"On the external set {name}, {model.title} finds {sensitivity:.1%} of the tumours, against "
                f"{model.metrics['tumour_sensitivity'] or 0:.1%} in its own test set{told}."
            )
    return sentences


def _audit_content(folder: RunFolder) -> dict[str, Any] | None:
    path = folder.audit_path / AUDIT_FILE
    return read_json(path) if path.is_file() else None


def _paired(models: Sequence[ModelResult], groups: dict[str, str], *, seed: int) -> dict[str, Any] | None:
    if len(models) != 2:
        return None
    a, b = models
    found = paired_comparison(a.predictions, b.predictions, groups=[groups[path] for path in a.predictions.paths], seed=seed)
    mcnemar = found["mcnemar"]
    return {
        "a": a.name,
        "b": b.name,
        "a_only": mcnemar["only_a_correct"],
        "b_only": mcnemar["only_b_correct"],
        "p_value": mcnemar["p_value"],
        "differences": {k: {"value": v["difference"], "interval": v["interval"]} for k, v in found["differences"].items()},
        "method": found["method"],
    }


def _model_result(folder: RunFolder, name: str, manifest: Manifest, recipe: Recipe) -> ModelResult:
    parts = fold_folders(folder)
    predictions = read_predictions(folder.model(name) / PREDICTIONS_FILE)
    metrics = read_json(folder.model(name) / METRICS_FILE)
    places = explained_places(folder, parts, name)
    explained = all((place / EXPLANATION_FILE).is_file() for place, _ in places)
    panels = Panels(manifest, recipe.preprocessing, places) if explained else None
    points = curves(predictions)
    return ModelResult(
        name=name,
        metrics=metrics,
        history=tuple(asdict(row) for row in read_history(parts[0].model(name) / HISTORY_FILE)),
        predictions=predictions,
        examples=_scans(panels, predictions, pick_examples(predictions)),
        mistakes=_scans(panels, predictions, pick_mistakes(predictions)),
        attention=None if panels is None else _attention(panels, predictions),
        explanation=None if panels is None else explanation_content(panels, [place for place, _ in places], seed=recipe.seed),
        curves={
            "roc": {key: (p["false_positive_rate"], p["true_positive_rate"]) for key, p in points["roc"].items()},
            "pr": {key: (p["recall"], p["precision"]) for key, p in points["precision_recall"].items()},
        },
        trust=read_content(folder.model(name) / TRUST_FILE) or None,
        best_epoch=metrics.get("training", {}).get("best_epoch"),
        started_from=_training_of(parts[0], name).get("started_from", ""),
    )


def _training_of(part: RunFolder, name: str) -> dict[str, Any]:
    """What the bundle of a model says of its training, of the first fold where there are several."""
    training: dict[str, Any] = read_content(part.model(name) / BUNDLE_FILE).get("training", {})
    return training


def _ancestor_sentences(folder: RunFolder, models: Sequence[ModelResult]) -> list[str]:
    """What a trained model as the start means for the numbers below."""
    sentences = []
    for model in models:
        training = _training_of(fold_folders(folder)[0], model.name)
        if training.get("ancestor"):
            sentences.append(
                f"{model.title} started from {training['started_from']}, which had seen {training['ancestor']['seen']:,} images. "
                "Test images with their very pixels were refused; other copies of them, and other slices of their patients, cannot "
                "be recognised, so its numbers count only for data that are new to it."
            )
    return sentences


def _scans(panels: Panels | None, predictions: Predictions, rows: Sequence[int]) -> tuple[ExplainedScan, ...]:
    if panels is None:
        return ()
    shown = [row for row in rows if panels.has(predictions.paths[row])]
    return tuple(panels.scan(predictions.paths[row], index=row, probabilities=predictions.probabilities[row]) for row in shown)


def _attention(panels: Panels, predictions: Predictions) -> dict[str, dict[str, Any]]:
    images = panels.measured(predictions.paths)
    rows = [{**image.measures.get(OWN, {}), "mask_share": image.mask_share} for image in images]
    return compare_groups(rows, np.array([image.correct for image in images], dtype=bool))


def augmentation_examples(manifest: Manifest, recipe: Recipe, *, count: int = 4) -> AugmentationExamples | None:
    """Return what training does to the first training scan that shows a tumour, or to the first one; None without any."""
    candidates = [record for record in manifest if record.split == "train"]
    if not candidates:
        return None
    record = next((r for r in candidates if r.label == LABELS[0]), candidates[0])
    original = recipe.preprocessing.grid(decode_record(manifest, record))
    chosen = recipe.augmentation
    return AugmentationExamples(
        original=original,
        flips=_augmented(original, Augmentation(flip=1.0 if chosen.flip else 0.0), 1, seed=recipe.seed),
        rotations=_augmented(original, Augmentation(rotation_deg=chosen.rotation_deg), count, seed=recipe.seed),
        combined=_augmented(original, chosen, count, seed=recipe.seed),
    )


def _augmented(original: np.ndarray, augmentation: Augmentation, count: int, *, seed: int) -> np.ndarray:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        images = torch.from_numpy(original)[None, None].float().expand(count, 1, -1, -1) / 255
        changed = Augmenter(augmentation)(Batch(images.clone(), torch.zeros(count, dtype=torch.int64))).images
        result: np.ndarray = (changed[:, 0] * 255).round().byte().numpy()
    return result
