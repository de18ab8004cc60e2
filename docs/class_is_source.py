"""Draw docs/class_is_source.png: what a network learns where the class gives away the scanner, and one that is shown the tumour.

    python docs/class_is_source.py [--init imagenet] [--out class-is-source]

Two runs on the built-in set, drawn so that scans without a tumour come from another scanner than all others: ordinary fine-tuning
(`plain`) and the guided recipe (`default`). Both are then asked about other patients under exchanged scanners. Above stands what
their most probable labels come to, over each scan the label that is recommended, which counts a missed tumour as ten false alarms.
Runs that are there already are used, so the same command goes on where it was stopped.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from matplotlib.figure import Figure

from tumorscope.data.decode import decode_record, read_mask
from tumorscope.labels import LABELS, label_info
from tumorscope.manifest import Manifest, Record, read_manifest
from tumorscope.predict import Predictor
from tumorscope.reporting.figures import INK, save_png, stamp
from tumorscope.reporting.heatmap_figures import draw_overlay, draw_scan
from tumorscope.reporting.report_tables import percent

RECIPES = {"plain": "ordinary fine-tuning", "default": "shown the tumour"}
EXTERNAL = "phantom-swapped"
MODEL = "mobilenet_v2"


def run(recipe: str, init: str, out: Path) -> Path:
    """Train and test with one recipe, unless that is done, and return the folder of the run."""
    place = out / recipe
    options = ("--confounded", "--recipe", recipe, "--models", MODEL, "--init", init, "--out", place)
    subprocess.run([sys.executable, "-m", "tumorscope", "run", *map(str, options)], check=True)
    return place


def chosen(manifest: Manifest) -> tuple[Record, ...]:
    """Return one scan of each class, the one in the middle of their list, so that nobody picks."""
    alike = [[record for record in manifest if record.label == label] for label in LABELS]
    return tuple(group[len(group) // 2] for group in alike)


def head_line(place: Path, words: str) -> str:
    """Return how a model fares under exchanged scanners, for the top of its column."""
    found = json.loads((place / MODEL / f"external_{EXTERNAL}_metrics.json").read_text(encoding="utf-8"))
    inside = found["heatmaps"]["answer"]["pointing_game"]
    return (
        f"{words}\ntumours found {percent(found['tumour_sensitivity'])}\nnone recognised {percent(found['tumour_specificity'])}\n"
        f"peak inside the tumour {percent(inside)}"
    )


def draw(places: dict[str, Path]) -> Figure:
    """Return the figure: a scan of each class, and what the models say of it and where they look."""
    swapped = read_manifest(next(iter(places.values())) / EXTERNAL / "manifest.csv")
    records = chosen(swapped)
    predictors = {recipe: Predictor.load(place / MODEL) for recipe, place in places.items()}
    figure = Figure(figsize=(8.2, 2.3 * len(records) + 0.9), layout="constrained")
    grid = figure.subplots(len(records), 1 + len(places), squeeze=False)
    for row, record in zip(grid, records, strict=True):
        scan = decode_record(swapped, record)
        mask = read_mask(swapped, record, scan.pixels.shape)
        draw_scan(row[0], scan.pixels)
        row[0].set_title(f"truth: {label_info(record.label).display_name}", loc="left", fontsize=9, color=INK)
        for axes, (recipe, place) in zip(row[1:], places.items(), strict=True):
            finding = predictors[recipe](scan)
            draw_overlay(axes, scan.pixels, finding.heatmap.values, mask)
            called, chance = label_info(finding.recommended).display_name, finding.probabilities[finding.recommended]
            answer = f"{called}, {percent(chance)}"
            above = f"{head_line(place, RECIPES[recipe])}\n\n" if record is records[0] else ""
            axes.set_title(f"{above}{answer}", loc="left", fontsize=9, color=INK)
    stamp(figure, "Tumorscope · research software, not a medical device · synthetic data, scanners exchanged")
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--init", default="imagenet")
    parser.add_argument("--out", type=Path, default=Path("class-is-source"))
    given = parser.parse_args()
    places = {recipe: run(recipe, given.init, given.out) for recipe in RECIPES}
    save_png(draw(places), Path(__file__).with_suffix(".png"))


if __name__ == "__main__":
    main()
