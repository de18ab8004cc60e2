"""The explanations of a run's models as one page, and what the report of the run carries of them."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tumorscope.apps.console import Reporter
from tumorscope.apps.experiment import each_model, fold_folders
from tumorscope.apps.explaining import EXPLANATION_FILE
from tumorscope.apps.panels import Panels, explained_places
from tumorscope.apps.run_folder import RunFolder, read_json, write_json
from tumorscope.data.phantom import SYNTHETIC_NOTICE
from tumorscope.errors import EvaluationError
from tumorscope.explanation.content import tables_of
from tumorscope.explanation.examples import pick_by_map
from tumorscope.explanation.explain import ExplainChoices
from tumorscope.labels import NO_TUMOUR
from tumorscope.models.bundle_files import BUNDLE_FILE
from tumorscope.models.device import Device
from tumorscope.reporting.explanation_report import CaptionedScan, ExplainedModel, ExplanationPage, write_explanation_page
from tumorscope.reporting.study import FourMaps

PAGE_FILE = "explanation.html"
_OF_ONE_MODEL = (
    *("curves", "randomisation", "stability", "repeatability", "threshold"),
    *("weights_sha256", "data_fingerprint", "split_fingerprint", "made_from"),
)
"""What belongs to one trained network and is not put together over folds."""


def explain_run(
    run: Path,
    choices: ExplainChoices,
    reporter: Reporter,
    *,
    device: Device = "auto",
    out: Path | None = None,
    against: Path | None = None,
) -> Path:
    """Explain every trained model of a run, write the page, and return its path.

    Args:
        run: Folder of the run.
        choices: What is measured.
        reporter: Told of progress.
        device: `auto` takes a GPU when there is one.
        out: Folder for everything, instead of the run's own.
        against: Another run whose models of the same name are trained with another seed; its maps are compared.

    Raises:
        EvaluationError: The run has no trained model, or the other run lacks one.
        OutputError: The place cannot be written.
    """
    folder = RunFolder.at(run)
    names = _trained_everywhere(folder)
    if against is not None and not set(names) & set(_trained(RunFolder.at(against), folder)):
        raise EvaluationError(
            f"{against}: none of {', '.join(names)} is trained there. --against takes a run with the same models and folds."
        )
    for stages, name in each_model(run, reporter, device):
        if name in names:
            inside = stages.folder.path.relative_to(folder.path)
            other = None if against is None else against / inside / name
            if other is not None and not (other / BUNDLE_FILE).is_file():
                reporter.say(f"  {against} has no {name} to compare with")
                other = None
            stages.explain(name, choices, place=None if out is None else out / inside / name, against=other)
    return write_page(folder, names, out=out)


def _trained_everywhere(folder: RunFolder) -> tuple[str, ...]:
    names = _trained(folder, folder)
    if not names:
        raise EvaluationError(
            f"{folder.path}: no model is trained there, or not in every fold. Finish it with the command that began it."
        )
    return names


def _trained(where: RunFolder, like: RunFolder) -> tuple[str, ...]:
    """Models that a run, or each fold of it that another run has too, has finished."""
    found = [RunFolder.at(where.path / part.path.relative_to(like.path)).trained_models() for part in fold_folders(like)]
    return tuple(name for name in found[0] if all(name in names for names in found))


def explanation_content(panels: Panels, places: Sequence[Path], *, seed: int) -> dict[str, Any]:
    """Return the content of explanation.json of a model, of all folds together where there are several.

    Args:
        panels: What was measured of the images.
        places: Folders of the explanations, one for each fold.
        seed: Of the intervals.
    """
    parts = [read_json(place / EXPLANATION_FILE) for place in places]
    if len(parts) == 1:
        return parts[0]
    methods = parts[0]["made_from"]["methods"]
    shared = {name: value for name, value in parts[0].items() if name not in _OF_ONE_MODEL}
    together = {**shared, **tables_of(panels.images, methods=methods, seed=seed)}
    together["flat_maps"] = sum(part["flat_maps"] for part in parts)
    notes = [note for part in parts for note in part["notes"]]
    return {**together, "notes": [f"{len(parts)} folds, each explained by the model that had not seen it.", *notes]}


def write_page(folder: RunFolder, names: Sequence[str], *, out: Path | None = None) -> Path:
    """Write the page of a run's explanations and return its path.

    Args:
        folder: The run.
        names: Models that were explained.
        out: Where the explanations were written instead of the run.

    Raises:
        EvaluationError: An explanation is missing or not readable.
        OutputError: The place cannot be written.
    """
    manifest, recipe, state, parts = folder.manifest(), folder.recipe(), folder.state(), fold_folders(folder)
    models = []
    for name in names:
        places = explained_places(folder, parts, name, out=out)
        panels = Panels(manifest, recipe.preprocessing, places)
        content = explanation_content(panels, [place for place, _ in places], seed=recipe.seed)
        if len(parts) > 1:
            write_json((folder.path if out is None else out) / name / EXPLANATION_FILE, content)
        models.append(_explained_model(name, panels, content))
    root = folder.path if out is None else out
    page = ExplanationPage(
        title="Where the models looked, in numbers",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        split=models[0].content["split"],
        headline=(SYNTHETIC_NOTICE,) if state.synthetic else (),
        models=tuple(models),
        synthetic=state.synthetic,
    )
    write_explanation_page(page, root / PAGE_FILE, {name: root / name / "figures" for name in names})
    return root / PAGE_FILE


def _explained_model(name: str, panels: Panels, content: dict[str, Any]) -> ExplainedModel:
    shown = pick_by_map(panels.images)
    scans = tuple(CaptionedScan(panels.scan(panels.images[place].path, index=place), caption) for place, caption in shown)
    return ExplainedModel(name=name, content=content, panels=scans, all_labels=_all_labels(panels, shown))


def _all_labels(panels: Panels, shown: Sequence[tuple[int, str]]) -> FourMaps | None:
    """The maps of all labels for the first median scan of a tumour, or the first scan."""
    medians = [place for place, why in shown if why.startswith("median") and panels.images[place].label != NO_TUMOUR]
    chosen = [*medians, *(place for place, _ in shown)]
    return panels.four_maps(panels.images[chosen[0]].path) if chosen else None
