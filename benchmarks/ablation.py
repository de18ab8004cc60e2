"""What each part of the default recipe is worth: the recipe without it, trained short and small, on half of an external set.

    python benchmarks/ablation.py DATA --test OTHER --init WEIGHTS --out DIR [--epochs 4] [--image-size 160] [--only NAME ...]

All rows train on the same images, which are indexed, split and decoded once. Each is a run folder of its own below DIR, trained
and asked about OTHER and nothing else, and kept, so that the same command goes on where it was stopped. The table holds no number
of the final half of OTHER: the validation images of DATA and the choosing half are there to choose.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import tomli_w

from tumorscope.apps.console import Reporter
from tumorscope.apps.experiment import Choices, prepare
from tumorscope.apps.external import evaluate_external
from tumorscope.apps.external_sets import FOLDER, external_name
from tumorscope.apps.run_folder import RunFolder
from tumorscope.apps.stages import Stages
from tumorscope.errors import OutputError, TumorscopeError
from tumorscope.evaluation.halves import CHOOSING
from tumorscope.explanation.pointing import LIKELIEST_TUMOUR
from tumorscope.labels import LABELS
from tumorscope.models.starting import find_start
from tumorscope.training.recipe import Recipe, load_recipe, parse_recipe

NETWORK = "mobilenet_v2"

WITHOUT: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "default": {},
        "no counterfactual scans": {"counterfactual_share": 0.0},
        "no drawn lesions": {"augmentation": {"drawn": 0.0}},
        "no recoloured tumours": {"augmentation": {"recoloured": 0.0}},
        "no curves of contrast": {"augmentation": {"curve": 0.0}},
        "no guidance": {NETWORK: {"guidance": {"peak": 0.0, "cells": 0.0}}},
        "guidance by peaks alone": {NETWORK: {"guidance": {"peak": 0.5, "cells": 0.0}}},
        "guidance by cells alone": {NETWORK: {"guidance": {"peak": 0.0, "cells": 1.0}}},
        "whole frames": {"preprocessing": {"frame": "whole"}},
        "stride 16 by dilation": {NETWORK: {"joined": False}},
        "stride 32": {NETWORK: {"output_stride": 32, "joined": False}},
        "no block frozen": {NETWORK: {"frozen_blocks": 0}},
        "classes as they come": {NETWORK: {"balanced": False}},
    }
)
"""Row of the table to what it changes in the default recipe; `plain` is the recipe of that name."""


def recipe_of(name: str, *, epochs: int, image_size: int) -> Recipe:
    """Return the recipe of a row; all cut the same images off for validation and calibration."""
    default = load_recipe("default").changed(epochs=epochs, image_size=image_size)
    if name == "plain":
        shares = {key: getattr(default, key) for key in ("validation_share", "calibration_share")}
        return load_recipe("plain").changed(epochs=epochs, image_size=image_size).model_copy(update=shares)
    values = default.model_dump(mode="json", exclude_none=True)
    for key, change in WITHOUT[name].items():
        values[key] = {**values[key], **change} if isinstance(change, Mapping) else change
    return parse_recipe(tomli_w.dumps({**values, "name": name}), where=name)


def row_folder(split: RunFolder, name: str, recipe: Recipe) -> RunFolder:
    """Return the run folder of a row: the images and external set of `split`, whose decoded images it shares.

    Raises:
        OutputError: It is there already, with another recipe.
    """
    folder = RunFolder(split.path.with_name(name.replace(" ", "-")), split.cache_path)
    if not folder.is_prepared:
        shutil.copytree(split.path / FOLDER, folder.path / FOLDER, dirs_exist_ok=True)
        folder.prepare(split.manifest(), recipe, split.state())
    elif folder.recipe() != recipe:
        raise OutputError(f"{folder.path}: trained with another recipe. Choose another --out, or delete that folder.")
    return folder


def run_row(folder: RunFolder, init: str, reporter: Reporter) -> None:
    """Train the network of a row and let it answer the external set, as far as that is not done."""
    Stages(folder, reporter).train(NETWORK, init)
    evaluate_external(folder, (NETWORK,), reporter, "auto")


def row_of(folder: RunFolder, external: str) -> dict[str, float | None]:
    """Return the numbers of a finished row; None where the choosing half cannot tell."""
    place = folder.model(NETWORK)
    found = json.loads((place / f"external_{external}_metrics.json").read_text(encoding="utf-8"))
    half, pointing = found["halves"][CHOOSING], (found["heatmaps"] or {}).get("halves", {}).get(CHOOSING) or {}
    looks = pointing.get(LIKELIEST_TUMOUR, {})
    training = json.loads((place / "bundle.json").read_text(encoding="utf-8"))["training"]
    point = half["sensitivity_at_specificity"]
    return {
        "AUROC": half["roc_auc"],
        f"sensitivity at specificity {point['specificity']:.2f}": point["value"],
        **{f"recall {label}": half["recall"].get(label) for label in LABELS},
        "peak inside": looks.get("pointing_game"),
        "energy inside": looks.get("energy_inside"),
        "validation accuracy": training["validation_accuracy"],
        "minutes": training["duration_s"] / 60,
    }


def table(rows: Mapping[str, Mapping[str, float | None]]) -> str:
    """Return rows as a Markdown table."""
    heads = list(next(iter(rows.values())))
    lines = ["| | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for name, row in rows.items():
        lines.append(" | ".join([f"| {name}", *("-" if row[head] is None else f"{row[head]:.3f}" for head in heads)]) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--init", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--image-size", type=int, default=160)
    parser.add_argument("--only", nargs="*", choices=[*WITHOUT, "plain"])
    given = parser.parse_args()
    size = {"epochs": given.epochs, "image_size": given.image_size}
    reporter, rows = Reporter(), {}
    try:
        recipe = recipe_of("default", **size)
        choices = Choices(given.data, given.out / "split", (NETWORK,), recipe=recipe, init=given.init, tests=(given.test,))
        split = prepare(choices, reporter, seen=find_start(NETWORK, given.init).seen)
        for name in given.only or [*WITHOUT, "plain"]:
            folder = row_folder(split, name, recipe_of(name, **size))
            run_row(folder, given.init, reporter)
            rows[name] = row_of(folder, external_name(given.test))
            print(table(rows), flush=True)
    except TumorscopeError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
