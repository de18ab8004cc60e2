"""Make the folder of the shipped model from a finished run with an external set: calibrated, with its card.

    python benchmarks/ship_model.py RUN --test NAME --sensitivity 0.95 --cost-missed-tumour 3 -o FOLDER

RUN is a run of the recipe `default` on all of its data, with an external set NAME (`run --data DATA --test NAME.csv`). The model is
calibrated on the run's own calibration images and on those of NAME's choosing half (`evaluation.halves`) whose label is stated,
since it is to answer for scans of other sources too; the final half is left for the card. FOLDER gets the model and its CARD.md. A
copy of RUN that holds the calibrated model is asked for the card's numbers and removed.
"""

import argparse
import csv
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from tumorscope.apps.external_sets import FOLDER
from tumorscope.apps.run_folder import RunFolder
from tumorscope.evaluation.halves import final_half
from tumorscope.manifest import CALIBRATION, Manifest, Record, read_manifest
from tumorscope.models.bundle_files import BUNDLE_FILE
from tumorscope.models.calibration_files import PATTERN

NETWORK = "mobilenet_v2"


def write_list(manifest: Manifest, records: Iterable[Record], path: Path) -> Path:
    """Write images as a CSV that names files wherever they lie."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "label", "group", "source"))
        writer.writerows(((manifest.root / one.path).absolute(), one.label, one.group, one.source) for one in records)
    return path


def tumorscope(*words: object) -> None:
    subprocess.run([sys.executable, "-m", "tumorscope", *map(str, words)], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--test", required=True)
    parser.add_argument("--sensitivity", required=True)
    parser.add_argument("--cost-missed-tumour", required=True)
    parser.add_argument("-o", "--out", type=Path, required=True)
    given = parser.parse_args()
    own, other = RunFolder.at(given.run).manifest(), read_manifest(given.run / FOLDER / given.test / "manifest.csv")
    final = final_half([record.group for record in other], [record.path for record in other])
    promises = ("--sensitivity", given.sensitivity, "--cost-missed-tumour", given.cost_missed_tumour)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        kept = write_list(own, (record for record in own if record.split == CALIBRATION), place / "own.csv")
        choosing = [record for record, is_final in zip(other, final, strict=True) if not is_final]
        given_for_it = write_list(other, choosing, place / "choosing.csv")
        tumorscope("calibrate", given.run / NETWORK, "--on", given_for_it, "--on", kept, "-o", given.out, *promises)
        copy = shutil.copytree(given.run, place / given.run.name)
        for old in (copy / NETWORK).glob(PATTERN):
            old.unlink()
        for new in (given.out / BUNDLE_FILE, *given.out.glob(PATTERN)):
            shutil.copy(new, copy / NETWORK)
        tumorscope("evaluate", copy)
        tumorscope("explain", copy)  # its answers are the calibrated ones now
        tumorscope("card", given.out, "--evidence", copy, "-o", given.out / "CARD.md")


if __name__ == "__main__":
    main()
