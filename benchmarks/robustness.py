"""What corruptions of MRI do to a model: accuracy, tumour sensitivity, calibration and refusals at five strengths.

    python benchmarks/robustness.py MODEL_FOLDER --run RUN_FOLDER|--data MANIFEST [--sample 200] [--only NAME ...] [--seed 0]
                                    [--seen] [-o DIR]

Needs `pip install -e '.[robustness]'` unless --only leaves out noise, ringing and spikes. The images are those of the test split of
a run, of a manifest, or all of a CSV with `path` and `label`; of more than --sample, every class gives its share, spread evenly.
Each is decoded, made worse as it was decoded, and then preprocessed and answered. Tumours of unstated type are left out. Images
that the model has seen are refused unless --seen is given: the numbers are then those of memory, and only the changes mean
something.

DIR (by default MODEL_FOLDER/robustness) gets `robustness.csv`, `robustness.png` and, last, `robustness.json`.
"""

import argparse
import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tumorscope import DISCLAIMER
from tumorscope.apps.run_folder import RunFolder
from tumorscope.data.corruptions import CORRUPTIONS
from tumorscope.data.decode import decode_record
from tumorscope.data.sources import index_source
from tumorscope.errors import EvaluationError, TumorscopeError
from tumorscope.evaluation.evaluate import deciding, refuse_seen_images
from tumorscope.evaluation.robustness import corrupted_answers, robustness_table
from tumorscope.explanation.sampling import sample_of
from tumorscope.labels import LABELS
from tumorscope.manifest import Manifest, read_manifest
from tumorscope.models.bundle import Bundle, load_bundle
from tumorscope.reporting.figures import save_png
from tumorscope.reporting.robustness_figures import robustness_curves
from tumorscope.scan import Scan
from tumorscope.storage import write_atomically

TEST = "test"
SHOWN = {
    "accuracy": "accuracy",
    "tumour_sensitivity": "sensitivity",
    "tumour_specificity": "specificity",
    "ece": "ECE",
    "refusal_rate": "refused",
}


def images_of(run: Path | None, data: Path | None) -> Manifest:
    """Return the images of a run or manifest; a CSV without digests is indexed, and one without splits tests as a whole."""
    if run is not None:
        return RunFolder.at(run).manifest()
    assert data is not None
    with data.open(encoding="utf-8-sig", newline="") as file:
        known = set(next(csv.reader(file), ()))
    manifest = read_manifest(data) if "sha256" in known else index_source(data)
    if any(record.split for record in manifest):
        return manifest
    return manifest.with_records(replace(record, split=TEST) for record in manifest)


def sampled(manifest: Manifest, count: int) -> Manifest:
    """Return at most `count` test images of a stated type, every class by its share, spread evenly.

    Raises:
        ManifestError: No image is in the test split.
        EvaluationError: None of them has a stated type.
    """
    stated = [record for record in manifest.in_split(TEST) if record.label in LABELS]
    if not stated:
        raise EvaluationError(f"{manifest.root}: no test image with one of {', '.join(LABELS)}. Give another run or manifest.")
    return manifest.with_records(stated[row] for row in sample_of([record.label for record in stated], count))


def decoded(manifest: Manifest) -> Iterator[Scan]:
    """Yield the scans of a manifest, and say how far it is."""
    for place, record in enumerate(manifest, start=1):
        print(f"\r{place} of {len(manifest)} scans", end="" if place < len(manifest) else "\n", flush=True)
        yield decode_record(manifest, record)


def measure(bundle: Bundle, manifest: Manifest, corruptions: Sequence[str], seed: int) -> list[dict[str, Any]]:
    """Return the rows of the table."""
    answers = corrupted_answers(
        decoded(manifest),
        manifest.records,
        deciding(bundle),
        preprocessing=bundle.preprocessing,
        corruptions=corruptions,
        seed=seed,
    )
    return robustness_table(answers, groups=[record.group for record in manifest], seed=seed)


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the clean row, strengths 1, 3 and 5 and the means as text; a mean beside its change from the clean row."""
    lines = [f"{'corruption':18s}{'strength':>9s}" + "".join(f"{title:>17s}" for title in SHOWN.values())]
    for row in rows:
        if row["strength"] in (2, 4):
            continue
        strength = "mean" if row["strength"] is None else row["strength"] or "-"
        cells = [cell(row, name, changed=row["strength"] is None) for name in SHOWN]
        lines.append(f"{row['corruption']:18s}{strength!s:>9s}" + "".join(f"{text:>17s}" for text in cells))
    return "\n".join(lines)


def cell(row: Mapping[str, Any], name: str, *, changed: bool) -> str:
    """Return a number of the table as text, a dash where there is none."""
    if row[name] is None:
        return "-"
    return f"{row[name]:.3f}" + (f" ({row[f'{name}_change']:+.3f})" if changed else "")


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows as CSV, empty where there is no number."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def write(folder: Path, rows: list[dict[str, Any]], about: Mapping[str, Any], title: str) -> None:
    """Write table, figure and, last, what both are about."""
    write_atomically(folder / "robustness.csv", as_csv(rows))
    save_png(robustness_curves(rows, title=title), folder / "robustness.png")
    levels = {name: {"levels": CORRUPTIONS[name].levels, "meaning": CORRUPTIONS[name].meaning} for name in about["corruptions"]}
    content = {"disclaimer": DISCLAIMER, **about, "levels": levels, "rows": rows}
    write_atomically(folder / "robustness.json", json.dumps(content, indent=1, allow_nan=False) + "\n")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure one model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("--run", type=Path)
    given.add_argument("--data", type=Path)
    parser.add_argument("--sample", type=int, default=200)
    parser.add_argument("--only", nargs="+", choices=tuple(CORRUPTIONS), default=list(CORRUPTIONS), metavar="NAME")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seen", action="store_true")
    parser.add_argument("-o", "--out", type=Path)
    chosen = parser.parse_args(arguments)
    try:
        bundle, given_images = load_bundle(chosen.model), images_of(chosen.run, chosen.data)
        manifest, tests = sampled(given_images, chosen.sample), given_images.in_split(TEST)
        if not chosen.seen:
            refuse_seen_images(bundle, given_images, TEST)
        rows = measure(bundle, manifest, chosen.only, chosen.seed)
        about = {
            "model": bundle.name,
            "data": str(chosen.run or chosen.data),
            "images": len(manifest),
            "of": len(tests),
            "unstated": tests.unstated,
            "seen": sum(bundle.has_seen(record.sha256) for record in manifest),
            "labels": manifest.counts(),
            "data_fingerprint": manifest.data_fingerprint,
            "corruptions": chosen.only,
            "seed": chosen.seed,
        }
        write(chosen.out or chosen.model / "robustness", rows, about, f"{bundle.name}, {len(manifest)} scans")
    except TumorscopeError as error:
        parser.exit(error.exit_code, f"{error}\n")
    print(table(rows))


if __name__ == "__main__":
    main()
