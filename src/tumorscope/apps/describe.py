"""What `info` prints, and the table at the end of a run."""

import io
import json
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tumorscope import DISCLAIMER, __version__
from tumorscope.apps.external_sets import external_results
from tumorscope.apps.run_folder import RunFolder, read_content
from tumorscope.errors import BundleError, ManifestError
from tumorscope.labels import LABELS, label_info
from tumorscope.manifest import SPLITS, read_manifest
from tumorscope.models.bundle_files import read_bundle_json
from tumorscope.models.shipped import model_folder, shipped_folder
from tumorscope.training.recipe import load_recipe, shipped_recipes

_LIBRARIES = ("torch", "torchvision", "lightning", "kornia", "numpy", "scikit-learn", "pillow", "nilearn")


def describe_installation() -> str:
    """Return versions, labels and recipes of this installation."""
    versions = "\n".join(f"  {name} {metadata.version(name)}" for name in _LIBRARIES)
    try:
        bundled = _model_line(shipped_folder())
    except BundleError:
        bundled = "none in this installation"
    return (
        f"Tumorscope {__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}\n{versions}\n"
        f"Labels: {', '.join(LABELS)}\nRecipes: {', '.join(shipped_recipes())}\n"
        f"Bundled model: {bundled}\n{DISCLAIMER}"
    )


def describe_recipes() -> str:
    """Return the shipped recipes, all choices spelled out, as TOML."""
    return "\n".join(f"# ---- {name} ----\n{load_recipe(name).to_toml()}" for name in shipped_recipes())


def describe(path: Path) -> str:
    """Return what a run folder, a model folder or a manifest holds.

    Raises:
        ManifestError: It is none of these, or not there.
        BundleError: It is `bundled`, and this installation holds no such model.
    """
    path = model_folder(path)
    if not path.exists():
        raise ManifestError(f"{path}: no such file or folder. Give a run folder, a model folder, a manifest, or nothing.")
    if (path / "run.json").is_file():
        return _describe_run(RunFolder.at(path))
    if (path / "bundle.json").is_file():
        return _describe_model(path)
    if path.is_file() and path.suffix == ".csv":
        manifest = read_manifest(path)
        lines = [f"{path}: {len(manifest)} images, data fingerprint {manifest.data_fingerprint}"]
        for part in (None, *SPLITS):
            counts = manifest.counts(part)
            lines += [f"  {part or 'all'}: {counts}"] if sum(counts.values()) else []
        return "\n".join(lines)
    raise ManifestError(f"{path}: neither a run folder, nor a model folder, nor a manifest. Give one of these, or nothing.")


def _describe_model(path: Path) -> str:
    content = read_bundle_json(path)
    content["trained_on"] = f"{len(content['trained_on'])} images"
    return json.dumps(content, indent=1)


def _describe_run(folder: RunFolder) -> str:
    from tumorscope.apps.experiment import fold_folders

    state = folder.state()
    lines = [f"{folder.path}: {state.data or 'built-in set'}, protocol {state.protocol}, recipe {folder.recipe().name}"]
    lines += [f"  {note}" for note in state.notes]
    for part in fold_folders(folder):
        lines += [f"  {_inside(part, folder)}{name}: {_model_line(part.model(name))}" for name in part.trained_models()]
    lines += [f"  {stage}: {seconds:.1f} s" for stage, seconds in state.durations_s.items()]
    return "\n".join([*lines, results_table(folder)])


def _inside(part: RunFolder, folder: RunFolder) -> str:
    return "" if part.path == folder.path else f"{part.path.name}/"


def _model_line(folder: Path) -> str:
    content = read_content(folder / "bundle.json")
    training, images = content.get("training", {}), len(content.get("trained_on", ()))
    return f"{content.get('network')} from {training.get('started_from', 'unknown weights')}; has seen {images:,} images"


def results_table(folder: RunFolder) -> str:
    """Return the recall of every class, accuracy and tumour sensitivity of every evaluated model as a text table."""
    names = folder.evaluated_models()
    if not names:
        return "no model has been evaluated yet"
    results = {name: json.loads((folder.model(name) / "metrics.json").read_text(encoding="utf-8")) for name in names}
    results["lookup_baseline"] = next(iter(results.values()))["lookup_baseline"]
    table = Table("on the test images", *results)
    for label in LABELS:
        table.add_row(
            f"recall {label_info(label).display_name}", *(_number(r["per_class"][label]["recall"]) for r in results.values())
        )
    table.add_row("macro recall", *(_number(r["macro"]["recall"]) for r in results.values()))
    table.add_row("accuracy", *(_number(r["accuracy"]) for r in results.values()))
    table.add_row("tumours found", *(_number(r["tumour_sensitivity"]) for r in results.values()))
    table.add_row("tumours missed", *(str(r["missed_tumours"]) for r in results.values()))
    console = Console(file=io.StringIO(), width=100)
    console.print(table)
    for external, found in external_results(folder, names).items():
        console.print(_external_table(external, found))
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text.rstrip()


def _external_table(name: str, found: Mapping[str, Mapping[str, Any]]) -> Table:
    table = Table(f"on the external set {name}", *found)
    for key in ("tumour_sensitivity", "tumour_specificity", "roc_auc"):
        table.add_row(key.replace("_", " "), *(_number(metrics[key]) for metrics in found.values()))
    at = "sensitivity_at_specificity"
    table.add_row("sensitivity at specificity 0.90", *(_number(metrics[at]["value"]) for metrics in found.values()))
    return table


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
