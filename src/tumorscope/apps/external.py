"""External test sets of a run: indexed, freed of what is in training, answered by every model, measured by source."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tumorscope import DISCLAIMER
from tumorscope.apps.console import Reporter
from tumorscope.apps.experiment import fold_folders
from tumorscope.apps.external_sets import FOLDER, ExternalSet, external_name, external_sets, read_external
from tumorscope.apps.run_folder import LOOKUP, RunFolder, read_content
from tumorscope.data.audit.audit import audit_groups, outside_of
from tumorscope.data.audit.provenance import with_folder_sources
from tumorscope.data.first_look import FirstLook
from tumorscope.data.pixel_cache import PixelCache, build_pixel_cache
from tumorscope.data.sources import index_source
from tumorscope.errors import EvaluationError
from tumorscope.evaluation.answering import first_looks
from tumorscope.evaluation.evaluate import count_copies
from tumorscope.evaluation.external import ExternalAnswers, summarise_external, write_external_predictions
from tumorscope.evaluation.external_trust import external_trust
from tumorscope.evaluation.halves import CHOOSING, FINAL, final_half
from tumorscope.evaluation.lookup import nearest
from tumorscope.explanation.looking import Looker
from tumorscope.explanation.outlines import read_outlines
from tumorscope.explanation.pointing import points_of, summarise_points
from tumorscope.labels import LABELS
from tumorscope.manifest import Manifest, read_manifest, write_manifest
from tumorscope.models.bundle import Bundle, load_bundle
from tumorscope.models.bundle_files import read_bundle_json, short_digest
from tumorscope.models.calibration_files import answer_stamp
from tumorscope.models.device import Device, torch_device
from tumorscope.predictions import Decisions
from tumorscope.storage import write_atomically


def prepare_external(folder: RunFolder, path: Path, reporter: Reporter, *, seen: frozenset[str] = frozenset()) -> ExternalSet:
    """Index an external set, leave out what is in the run's training or validation, and store the rest; once done, read it back.

    What the models of the run, or those that they started from, have seen is left out too, as far as pixels are equal.

    Args:
        folder: The run.
        path: Source of the set.
        reporter: Told of progress.
        seen: Digests of what models that are not trained yet will start from have seen.

    Raises:
        SourceError: It is not a data set.
        EvaluationError: All of it is in training, or another set of that name was prepared before.
    """
    place = folder.path / FOLDER / external_name(path)
    if (place / "external.json").is_file():
        known = read_external(place)
        if Path(known.data).resolve() != path.resolve():
            raise EvaluationError(f"{path}: the run has an external set of that name already, {known.data}. Rename one of them.")
        return known
    with reporter.counting(f"index {external_name(path)}") as progress:
        other = index_source(path, progress=progress)
    own = folder.manifest()
    if folder.state().folds is None:
        own = own.where(lambda record: record.split != "test")
    with reporter.counting(f"compare {external_name(path)} with the training images") as progress:
        _, rest, _ = outside_of(own, other, progress=progress)
    before = seen | _seen_by_models(folder)
    left = [] if rest is None else [record for record in rest if short_digest(record.sha256) not in before]
    if rest is None or not left:
        raise EvaluationError(
            f"{path}: all {len(other)} images are in the training images of {folder.path}, or in those of the model that its "
            "training starts from. Nothing is external."
        )
    rest, inside = rest.with_records(left), len(other) - len(left)
    with reporter.counting(f"group {external_name(path)}") as progress:
        rest = with_folder_sources(audit_groups(rest, progress=progress))
    tested = rest.with_records(replace(record, split="test", fold=None) for record in rest)
    write_manifest(tested, place / "manifest.csv")
    near = sum("neighbour_inside" in record.flags for record in tested)
    found = ExternalSet(external_name(path), str(path), len(other), inside, near, tested.notes)
    write_atomically(place / "external.json", json.dumps({"disclaimer": DISCLAIMER, **asdict(found)}, indent=1) + "\n")
    reporter.say(f"  {found.in_training:,} of {found.images:,} images of {found.name} are in training and were left out.")
    return found


def evaluate_external(folder: RunFolder, names: Sequence[str], reporter: Reporter, device: Device) -> None:
    """Let every model, and the look-up, answer every external set of a run; what is answered already is kept.

    In a cross-validation the answer is the mean of the probabilities of all folds' models.

    Raises:
        EvaluationError: A model is not trained.
    """
    for external in external_sets(folder):
        manifest = read_manifest(folder.path / FOLDER / external.name / "manifest.csv")
        cache = build_pixel_cache(manifest, folder.recipe().preprocessing, folder.cache_path)
        looks: tuple[FirstLook, ...] = ()
        for name in (*names, LOOKUP):
            place = folder.model(name) / f"external_{external.name}_metrics.json"
            stamp = _stamp(folder, name)
            stored = read_content(place)
            if stored.get("answered_by") == stamp and "trust" in stored:
                continue
            with reporter.counting(f"{name} on {external.name}"):
                if name == LOOKUP:
                    probabilities, points, decided = _looked_up(folder, cache), list[dict[str, np.ndarray]](), list[Decisions]()
                else:
                    if _calibrated(folder, name) and not looks:
                        looks = first_looks(manifest, range(len(manifest)), cache.preprocessing)
                    points, decided = _answered(folder, name, cache, looks, torch_device(device))
                    probabilities = np.mean([one.probabilities for one in decided], axis=0)
            answers = _answers(manifest, probabilities)
            write_external_predictions(
                answers,
                folder.model(name) / f"external_{external.name}_predictions.csv",
                decisions=decided[0] if len(decided) == 1 and _calibrated(folder, name) else None,
            )
            content = {
                "disclaimer": DISCLAIMER,
                "model": name,
                **asdict(external),
                **summarise_external(answers, seed=folder.recipe().seed),
                "heatmaps": _pointing(answers, points) if points else None,
                "trust": external_trust(answers, decided) if _calibrated(folder, name) else None,
                "answered_by": stamp,
            }
            write_atomically(place, json.dumps(content, indent=1, allow_nan=False) + "\n")


def _answered(
    folder: RunFolder, name: str, cache: PixelCache, looks: Sequence[FirstLook], device: torch.device
) -> tuple[list[dict[str, np.ndarray]], list[Decisions]]:
    """Return where the maps of every fold's model point, and what it decides."""
    outlines = read_outlines(cache.manifest, range(len(cache.manifest)), cache.preprocessing)
    points, decided = [], []
    for part in fold_folders(folder):
        bundle = load_bundle(part.model(name))
        _refuse_seen(bundle, cache.manifest)
        looker = Looker(bundle.network, bundle.preprocessing, device, bundle.calibration)
        looked = looker.look(cache.grids)
        decided.append(bundle.calibration.decide(looked.logits, looked.features, looks))
        points.append(points_of(looker, looked, outlines))
    return points, decided


def _calibrated(folder: RunFolder, name: str) -> bool:
    return name != LOOKUP and all(content.get("calibration") for content in _contents(folder, name))


def _refuse_seen(bundle: Bundle, manifest: Manifest) -> None:
    count = count_copies(bundle, manifest)
    if count:
        raise EvaluationError(
            f"{manifest.root}: {count} images were in the training of {bundle.name}, or of the model that it started from. Delete "
            "that folder and give the set with --test again: they are then left out."
        )


def _pointing(answers: ExternalAnswers, points: list[dict[str, np.ndarray]]) -> dict[str, Any] | None:
    """Where maps point, in all, by source, and in each half."""
    everything = np.ones(len(answers.paths), dtype=bool)
    final = final_half(answers.groups, answers.paths)
    sources = {name or "unknown": np.array([source == name for source in answers.sources]) for name in sorted(set(answers.sources))}
    found = summarise_points(points, everything)
    return found and {
        **found,
        "sources": {name: summarise_points(points, rows) for name, rows in sources.items()},
        "halves": {CHOOSING: summarise_points(points, ~final), FINAL: summarise_points(points, final)},
    }


def _seen_by_models(folder: RunFolder) -> frozenset[str]:
    """Digests of all that the run's finished models, and those that they started from, were trained on."""
    parts = fold_folders(folder)
    contents = [read_bundle_json(part.model(name)) for part in parts for name in part.trained_models()]
    return frozenset(digest for content in contents for digest in content["trained_on"])


def _looked_up(folder: RunFolder, cache: PixelCache) -> np.ndarray:
    """The label of the most similar image that a model could have learnt from, as if it were sure of it."""
    known = build_pixel_cache(folder.manifest(), folder.recipe().preprocessing, folder.cache_path)
    folds = folder.state().folds
    learnt = ("train", "validation", "test") if folds is not None else ("train", "validation")  # every image trains some fold
    rows = np.array([row for row, record in enumerate(known.manifest) if record.split in learnt])
    index, _ = nearest(known.grids[rows], cache.grids)
    answers: np.ndarray = np.eye(len(LABELS))[known.label_index[rows][index]]
    return answers


def _answers(manifest: Manifest, probabilities: np.ndarray) -> ExternalAnswers:
    columns = ("path", "label", "source", "group")
    paths, labels, sources, groups = (tuple(getattr(record, name) for record in manifest) for name in columns)
    return ExternalAnswers(paths, labels, sources, groups, probabilities)


def _stamp(folder: RunFolder, name: str) -> list[Any]:
    """What an answer depends on."""
    if name == LOOKUP:
        return [folder.manifest().split_fingerprint]
    return [answer_stamp(content) if content else "" for content in _contents(folder, name)]


def _contents(folder: RunFolder, name: str) -> list[dict[str, Any]]:
    return [read_content(part.model(name) / "bundle.json") for part in fold_folders(folder)]
