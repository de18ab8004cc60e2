"""What each part of the default recipe is worth: the recipe without it, trained short and small, on half of an external set.

    python benchmarks/ablation.py DATA --test OTHER --init WEIGHTS --out DIR [--epochs 4] [--image-size 160] [--only NAME ...]

Each row is a run of its own below DIR, kept, so that the same command goes on where it was stopped. The table holds no number of
the final half of OTHER: the validation images of DATA and the choosing half are there to choose.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import tomli_w

from tumorscope.apps.run_folder import RunFolder
from tumorscope.evaluation.halves import CHOOSING
from tumorscope.explanation.pointing import LIKELIEST_TUMOUR
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
    """Return the recipe of a row."""
    if name == "plain":
        return load_recipe("plain").changed(epochs=epochs, image_size=image_size)
    values = load_recipe("default").changed(epochs=epochs, image_size=image_size).model_dump(mode="json", exclude_none=True)
    for key, change in WITHOUT[name].items():
        values[key] = {**values[key], **change} if isinstance(change, Mapping) else change
    return parse_recipe(tomli_w.dumps({**values, "name": name}), where=name)


def row_of(folder: RunFolder, external: str) -> dict[str, float]:
    """Return the numbers of a finished run."""
    place = folder.model(NETWORK)
    found = json.loads((place / f"external_{external}_metrics.json").read_text(encoding="utf-8"))
    half, pointing = found["halves"][CHOOSING], (found["heatmaps"] or {}).get("halves", {}).get(CHOOSING) or {}
    looks = pointing.get(LIKELIEST_TUMOUR, {})
    training = json.loads((place / "bundle.json").read_text(encoding="utf-8"))["training"]
    return {
        "AUROC": half["roc_auc"],
        f"sensitivity at specificity {half['sensitivity_at_specificity']['specificity']:.2f}": half["sensitivity_at_specificity"][
            "value"
        ],
        "peak inside": looks.get("pointing_game", float("nan")),
        "energy inside": looks.get("energy_inside", float("nan")),
        "validation accuracy": training["validation_accuracy"],
        "minutes": training["duration_s"] / 60,
    }


def table(rows: Mapping[str, Mapping[str, float]]) -> str:
    """Return rows as a Markdown table."""
    heads = list(next(iter(rows.values())))
    lines = ["| | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    return "\n".join(
        [*lines, *(f"| {name} | " + " | ".join(f"{row[head]:.3f}" for head in heads) + " |" for name, row in rows.items())]
    )


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
    rows: dict[str, dict[str, float]] = {}
    for name in given.only or [*WITHOUT, "plain"]:
        place = given.out / name.replace(" ", "-")
        place.mkdir(parents=True, exist_ok=True)
        recipe = given.out / f"{place.name}.toml"
        recipe.write_text(recipe_of(name, epochs=given.epochs, image_size=given.image_size).to_toml(), encoding="utf-8")
        command = ["run", "--data", given.data, "--test", given.test, "--models", NETWORK, "--init", given.init]
        subprocess.run([sys.executable, "-m", "tumorscope", *command, "--recipe", recipe, "--out", place], check=True)
        rows[name] = row_of(RunFolder(place), given.test.stem)
        print(table(rows), flush=True)


if __name__ == "__main__":
    main()
