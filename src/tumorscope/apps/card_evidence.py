"""From model and run folders to a model card: what may stand as evidence, and what is refused."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tumorscope.apps.experiment import fold_folders
from tumorscope.apps.explaining import EXPLANATION_FILE, IMAGES_FILE
from tumorscope.apps.external_sets import FOLDER, external_sets
from tumorscope.apps.run_folder import METRICS_FILE, PREDICTIONS_FILE, RunFolder, read_content, read_json
from tumorscope.errors import EvaluationError
from tumorscope.evaluation.parts import right_by_part
from tumorscope.explanation.content import read_images
from tumorscope.manifest import Manifest, read_manifest
from tumorscope.models.bundle_files import read_bundle_json, short_digest
from tumorscope.models.calibration_files import answer_stamp, made_from
from tumorscope.models.network import NETWORKS
from tumorscope.models.shipped import model_folder
from tumorscope.predictions import read_predictions
from tumorscope.reporting.model_card import CardModel, Evidence
from tumorscope.reporting.model_card_results import model_card
from tumorscope.training.recipe import Recipe

Content = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Answering:
    """The models of a run that answer as one: one, or one for each fold.

    Attributes:
        run: The run.
        parts: Its fold folders, or itself.
        name: Of the network.
        contents: The `bundle.json` of each.
    """

    run: RunFolder
    parts: tuple[RunFolder, ...]
    name: str
    contents: tuple[Content, ...]

    @property
    def model(self) -> Path:
        """Where the run keeps what is known of all of them together."""
        return self.run.model(self.name)


def card_of(model: Path, evidence: Sequence[Path]) -> str:
    """Return the card of a model.

    Args:
        model: Its folder, or `bundled`.
        evidence: Runs, or models of runs, whose results it shows; without any, the model's own results where there are some.

    Raises:
        BundleError: There is no such model.
        EvaluationError: An evidence has no results, is of another recipe, network or start, or was tested on images that it, or
            another image of their group, was trained on.
    """
    folder = model_folder(model)
    content = read_bundle_json(folder)
    own_run = RunFolder.at(folder.resolve().parent)
    inside = own_run.is_prepared and own_run.manifest_path.is_file()
    chosen = tuple(evidence)
    if not chosen and inside and (folder / METRICS_FILE).is_file():
        chosen = (folder,)
    found = [one for path in chosen for one in _evidence(path, content)]
    return model_card(CardModel(content, _images(content, own_run if inside else None)), found)


def _images(content: Content, run: RunFolder | None) -> dict[str, dict[str, int]] | None:
    """Images of each source and label that trained a model; bundles of before did not record them, the run beside it may know."""
    recorded: dict[str, dict[str, int]] | None = content["training"].get("images")
    if recorded is not None or run is None:
        return recorded
    manifest = run.manifest()
    if manifest.split_fingerprint != content["split_fingerprint"]:
        return None
    return manifest.where(lambda record: record.split in ("train", "validation")).counts_by_source()


def _evidence(path: Path, content: Content) -> list[Evidence]:
    found = _answering(path, content["network"])
    for one in found.contents:
        _refuse_other_recipe(path, one, content)
    own = [one["weights_sha256"] for one in found.contents] == [content["weights_sha256"]]
    return [_own_test(found, content, own=own), *_external_tests(found, content, own=own)]


def _answering(path: Path, name: str) -> Answering:
    """The models that a path means: those of a run, of one fold, or a model's folder in either."""
    run = path.resolve()
    if run.name in NETWORKS and (run.parent / "run.json").is_file():
        if run.name != name:
            raise EvaluationError(
                f"{path}: the network is {run.name}, not {name} as the card's model. Give a {name} of the same recipe."
            )
        run = run.parent
    folder = RunFolder.at(run)
    if not folder.is_prepared:
        raise EvaluationError(
            f"{path}: neither a run nor a model of one, so it has no results. Give a run that `tumorscope run` made."
        )
    parts = fold_folders(folder)
    missing = next((part for part in parts if name not in part.evaluated_models() or name not in part.trained_models()), None)
    if missing is not None:
        raise EvaluationError(
            f"{missing.path}: no evaluated {name}. Finish it with the command that began it, or `tumorscope evaluate`."
        )
    return Answering(folder, parts, name, tuple(read_bundle_json(part.model(name)) for part in parts))


def _refuse_other_recipe(path: Path, one: Content, model: Content) -> None:
    """Raise when a model is no sister: another recipe, but for the seed and the other network's part of it, or another start."""
    theirs, ours = (_choices(content) for content in (one, model))
    differences = [
        f"{key} is {theirs.get(key, 'not set')}, not {ours.get(key, 'not set')}"
        for key in sorted({*theirs, *ours})
        if theirs.get(key) != ours.get(key)
    ]
    if differences:
        more = f" and {len(differences) - 2} more" if len(differences) > 2 else ""
        raise EvaluationError(
            f"{path}: not of the recipe of the card's model: {'; '.join(differences[:2])}{more}. Give results of the same recipe."
        )


def _choices(content: Content) -> dict[str, Any]:
    """Every choice that makes a model, by its place in the recipe; what an older bundle left out has its default."""
    values = Recipe.model_validate(content["recipe"]).model_dump(mode="json")
    others = {"seed", *(name for name in NETWORKS if name != content["network"])}
    flat = {"weights started from": content["training"].get("started_from")}
    _flatten({key: value for key, value in values.items() if key not in others}, "", flat)
    return flat


def _flatten(values: Content, place: str, into: dict[str, Any]) -> None:
    for key, value in values.items():
        if isinstance(value, dict):
            _flatten(value, f"{place}{key}.", into)
        else:
            into[f"{place}{key}"] = value


def _own_test(found: Answering, content: Content, *, own: bool) -> Evidence:
    for part, one in zip(found.parts, found.contents, strict=True):
        stored = read_json(part.model(found.name) / METRICS_FILE)
        if stored.get("weights_sha256") != one["weights_sha256"]:
            raise EvaluationError(
                f"{part.path}: the results of {found.name} are those of other weights. Run `tumorscope evaluate`."
            )
        _refuse_leaks(part, one)
    metrics, manifest = read_json(found.model / METRICS_FILE), found.run.manifest()
    if len(found.parts) > 1:
        _refuse_stale_pool(found, metrics)
    tested = manifest.in_split("test")
    predictions = read_predictions(found.model / PREDICTIONS_FILE)
    records = {record.path: record for record in tested}
    sources = [records[path].source for path in predictions.paths]
    right = (predictions.predicted_index == predictions.label_index).tolist()
    groups = [records[path].group for path in predictions.paths]
    seed = found.run.recipe().seed
    synthetic = ("Synthetic images that a program drew: nothing here is about patients.",) if found.run.state().synthetic else ()
    return Evidence(
        **_about(found, tested, content, own=own),
        test=f"its test images ({_protocol(found)})",
        metrics=metrics,
        by_source=right_by_part(sources, right, groups=groups, seed=seed) if len(set(sources)) > 1 else {},
        by_plane=_planes(found, seed=seed),
        explanation=_explanation(found),
        notes=(*synthetic, *_fitted_notes(tested, content)),
    )


def _protocol(found: Answering) -> str:
    """How the test images were chosen."""
    state = found.run.state()
    if len(found.parts) > 1:
        return f"cross-validation, {len(found.parts)} folds, each image answered by the model of the fold without it"
    return f"protocol {state.protocol}" if state.fold is None else f"fold {state.fold} of a cross-validation"


def _about(found: Answering, tested: Manifest, content: Content, *, own: bool) -> dict[str, Any]:
    """What is said of a test set whether it is external or not."""
    names = [record.group for record in tested]
    known = "patient" if tested.knows_patients else "slice" if any(names) else "image"
    return {
        "run": found.run.path.name,
        "images": len(tested),
        "groups": len({name for name in names if name}) + names.count(""),
        "grouped_by": known,
        "models": len(found.parts),
        "own": own,
        "seen": _count_seen(tested, content),
        "seed": found.run.recipe().seed,
    }


def _fitted_notes(manifest: Manifest, content: Content) -> tuple[str, ...]:
    """Say how many images the calibration of the card's model was fitted on, where it names them."""
    fitted = set((content.get("calibration") or {}).get("fitted_on", {}).get("images", ()))
    count = sum(short_digest(record.sha256) in fitted for record in manifest)
    return (f"The calibration of the card's model was fitted on {count:,} of them.",) if count else ()


def _count_seen(manifest: Manifest, content: Content) -> int:
    seen = set(content["trained_on"])
    return sum(short_digest(record.sha256) in seen for record in manifest)


def _refuse_leaks(part: RunFolder, one: Content) -> None:
    manifest = part.manifest()
    tested = manifest.in_split("test")
    known = {record.group for record in manifest if record.split in ("train", "validation")} - {""}
    leaks = {
        "pixels that were in training": _count_seen(tested, one),
        "a patient or slice in training": sum(r.group in known for r in tested),
    }
    for what, count in leaks.items():
        if count:
            raise EvaluationError(
                f"{part.path}: {count} of {len(tested)} test images have {what}, so these results are no evidence. Give a run with "
                "--protocol leak-free or regroup, or with --folds."
            )


def _refuse_stale_pool(found: Answering, metrics: Content) -> None:
    """Raise when the numbers of all folds together are older than those of a fold."""
    stored = [(fold["n"], fold["accuracy"]) for fold in metrics.get("folds", ())]
    now = [(one["n"], one["accuracy"]) for one in (read_json(part.model(found.name) / METRICS_FILE) for part in found.parts)]
    if stored != now:
        raise EvaluationError(
            f"{found.model}: its numbers are not those of its folds any more. Run `tumorscope evaluate {found.run.path}`."
        )


def _explanation(found: Answering) -> Content | None:
    """What was measured of the heatmaps, by these very weights and on all test images; else None."""
    return read_content(found.model / EXPLANATION_FILE) or None if _explained(found) else None


def _explained(found: Answering) -> bool:
    stamps = [read_content(part.model(found.name) / EXPLANATION_FILE).get("made_from", {}) for part in found.parts]
    return all(
        all(stamp.get(key) == value for key, value in ({"split": "test", "limit": None} | made_from(one)).items())
        for stamp, one in zip(stamps, found.contents, strict=True)
    )


def _planes(found: Answering, *, seed: int) -> dict[str, Any]:
    if not _explained(found):
        return {}
    images = [image for part in found.parts for image in read_images(part.model(found.name) / IMAGES_FILE)]
    planes, right, groups = [i.plane for i in images], [i.correct for i in images], [i.group for i in images]
    return dict(right_by_part(planes, right, groups=groups, seed=seed))


def _external_tests(found: Answering, content: Content, *, own: bool) -> list[Evidence]:
    results = []
    for external in external_sets(found.run):
        metrics = read_content(found.model / f"external_{external.name}_metrics.json")
        if not metrics:
            continue
        if metrics.get("answered_by") != [answer_stamp(one) for one in found.contents]:
            raise EvaluationError(
                f"{found.model}: its results on {external.name} are those of other weights or of another calibration. Run "
                "`tumorscope evaluate` on that run."
            )
        tested = read_manifest(found.run.path / FOLDER / external.name / "manifest.csv")
        for one in found.contents:
            if _count_seen(tested, one):
                raise EvaluationError(
                    f"{found.model}: {_count_seen(tested, one)} images of {external.name} were in its training. Delete {FOLDER}/"
                    f"{external.name} of that run and give the set with --test again."
                )
        notes = (
            [f"{external.in_training:,} more images of the set were left out: they, or copies of them, are in training."]
            if external.in_training
            else []
        )
        if external.near_training:
            notes.append(f"{external.near_training:,} of the images are likely neighbours of a slice in training.")
        if len(found.parts) > 1:
            notes.append("Each answer is the mean of the folds' models.")
        notes += _fitted_notes(tested, content)
        about = _about(found, tested, content, own=own)
        results.append(
            Evidence(**about, test=f"the external set {external.name}", metrics=metrics, external=True, notes=tuple(notes))
        )
    return results
