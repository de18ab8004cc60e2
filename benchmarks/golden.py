"""Make a golden bundle: a tiny trained model with what it must go on answering for a few scans.

    python benchmarks/golden.py tests/golden/cnn-0.1

A CNN, the smallest network there is, learns a small built-in set in a minute. Its weights are stored with 16 bits, which halves the
folder; `golden.json` holds their probabilities, and where the map of the answer is highest on the scan. The scans are drawn anew by
whoever asks: patients that the model has not seen, among them one that is not square and one of 16 bits, so that all of
preprocessing has a part in the answers. `tests/test_golden.py` compares.

Every release leaves one such folder, and none is ever made again: a bundle of before must load and answer as it did. Where answers
change on purpose (`PHANTOM_VERSION` goes up, a fault of preprocessing is mended), the changelog says so.
"""

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tumorscope.data.phantom import phantom_patient, write_phantom
from tumorscope.data.pixel_cache import build_pixel_cache
from tumorscope.data.split import split_manifest
from tumorscope.data.training_images import TrainingImages
from tumorscope.explanation.looking import Looker
from tumorscope.labels import LABELS
from tumorscope.models.bundle import Bundle, load_bundle, save_bundle
from tumorscope.scan import Scan
from tumorscope.storage import write_atomically
from tumorscope.training.recipe import load_recipe
from tumorscope.training.train import train

GOLDEN_FILE = "golden.json"
PATIENTS, SLICES, SCAN_SIZE, IMAGE_SIZE, EPOCHS = 20, 3, 96, 64, 16
FIRST_UNSEEN = 100


def scans() -> tuple[Scan, ...]:
    """Return one scan of every label and two that need more of preprocessing, always the same."""
    plain = [phantom_patient(label, seed=0, number=FIRST_UNSEEN, slices=1, image_size=SCAN_SIZE)[0].pixels for label in LABELS]
    wide = phantom_patient(LABELS[0], seed=0, number=FIRST_UNSEEN + 1, slices=1, image_size=SCAN_SIZE)[0].pixels[12:84]
    deep = phantom_patient(LABELS[1], seed=0, number=FIRST_UNSEEN + 1, slices=1, image_size=SCAN_SIZE)[0].pixels.astype(np.uint16)
    odd = (Scan(wide.copy(), origin=f"{LABELS[0]}, not square"), Scan(deep * 37 + 100, origin=f"{LABELS[1]}, 16 bits"))
    return (*(Scan(pixels, origin=label) for label, pixels in zip(LABELS, plain, strict=True)), *odd)


def answers(bundle: Bundle) -> list[dict[str, Any]]:
    """Return what a model says of the scans: probabilities, and place (row, column on the scan) and height of the answer's map."""
    shown = scans()
    looker = Looker(bundle.network.float(), bundle.preprocessing)
    looked = looker.look(np.stack([bundle.preprocessing.grid(scan) for scan in shown]))
    found = []
    for scan, heatmap, probabilities in zip(shown, looked.maps_of(looked.predicted_index), looked.probabilities, strict=True):
        peak = looker.peak(heatmap)
        assert peak is not None, f"{scan.origin}: the map is flat"
        row, column = bundle.preprocessing.to_scan(np.array(peak[0]), np.array(peak[1]), bundle.preprocessing.framing(scan))
        found.append(
            {
                "scan": scan.origin,
                "probabilities": probabilities.tolist(),
                "peak": [float(row), float(column)],
                "height": float(heatmap.max()),
            }
        )
    return found


def trained(folder: Path) -> Bundle:
    """Return the tiny model, its weights rounded to 16 bits, trained in a folder for what it needs on the way."""
    manifest = write_phantom(folder / "set", patients_per_label=PATIENTS, slices_per_patient=SLICES, image_size=SCAN_SIZE)
    recipe = load_recipe("phantom").changed(image_size=IMAGE_SIZE, epochs=EPOCHS)
    split = split_manifest(manifest, protocol="published", validation_share=recipe.validation_share, test_share=0.2, seed=0)
    cache = build_pixel_cache(split, recipe.preprocessing, folder)
    bundle = train(TrainingImages(cache), recipe, name="cnn", init="none", folder=folder / "model", device="cpu")
    return replace(bundle, network=bundle.network.half())


def main() -> None:
    """Write the bundle and what it answers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="new folder for it")
    out: Path = parser.parse_args().out
    if out.exists():
        parser.error(f"{out} exists, and a golden bundle is never made again. Choose a new folder.")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        save_bundle(trained(Path(folder)), out)
    found = answers(load_bundle(out))
    write_atomically(out / GOLDEN_FILE, json.dumps({"labels": LABELS, "answers": found}, indent=1) + "\n")
    for one in found:
        print(one["scan"], [round(value, 3) for value in one["probabilities"]], one["peak"])
    print(f"{out}: {sum(path.stat().st_size for path in out.iterdir()):,} bytes")


if __name__ == "__main__":
    main()
