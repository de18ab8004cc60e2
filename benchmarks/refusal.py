"""How well each way to score familiarity tells unfamiliar images from those a model was made for, and what refusing costs.

    python benchmarks/refusal.py MODEL_FOLDER --run RUN_FOLDER [--out refusal.json] [--count 100] [--choosing 60] [--seed 0]
                                 [--other MANIFEST ...] [--keep FOLDER]

Every method is fitted on the training images of the run, `looks` on numbers of the pictures themselves, `acceptance` on both, as
`evaluation.familiarity_fit.fit_acceptance` does; its threshold keeps 95 % of the calibration images, or of the validation
images where the run has no calibration split, which is said. The method to ship is chosen by rule on unfamiliar images made from
calibration images under another seed; the tables are of the test images and of sets made from them. `--other` adds real scans of
other sources, such as the `external/NAME/manifest.csv` of a run: they are neither familiar nor unfamiliar, so they choose nothing.
`--keep` stores what the network and the gate said of every set, so that a later call with the same arguments asks neither again.
"""

import argparse
import io
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tumorscope import DISCLAIMER
from tumorscope.apps.run_folder import RunFolder
from tumorscope.data.decode import decode_record
from tumorscope.data.pixel_cache import PixelCache, build_pixel_cache
from tumorscope.data.preprocess import Preprocessing
from tumorscope.data.unfamiliar import NEAR, SET_NAMES, SETS, unfamiliar_sets
from tumorscope.evaluation.answered import Answered
from tumorscope.evaluation.answering import answer_rows, answer_scans, first_looks, linear_head
from tumorscope.evaluation.evaluate import refuse_seen_images
from tumorscope.evaluation.familiarity_fit import fit_acceptance, fit_familiarity
from tumorscope.evaluation.refusal import MOST_BYTES, Scored, choose_method, kept_and_refused, mean_areas, separation
from tumorscope.labels import LABELS
from tumorscope.manifest import CALIBRATION, Manifest, read_manifest
from tumorscope.models.acceptance import Acceptance
from tumorscope.models.bundle import Bundle, load_bundle
from tumorscope.models.familiarity import MAHALANOBIS, METHODS, Familiarity
from tumorscope.storage import write_atomically


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """What the network and the gate said of one set of images."""

    answered: Answered
    looks: np.ndarray
    gated: np.ndarray

    def scored(self, criterion: "Criterion") -> Scored:
        return Scored(criterion.score(self), self.gated)


@dataclass(frozen=True, slots=True, eq=False)
class Criterion:
    """One way to score how familiar images are, with what it costs."""

    score: Callable[[Asked], np.ndarray]
    threshold: float
    stored_bytes: int
    about: Mapping[str, Any]

    @classmethod
    def of_features(cls, part: Familiarity) -> "Criterion":
        return cls(
            lambda asked: part.score(asked.answered.features, asked.answered.logits), part.threshold, part.stored_bytes, part.about
        )

    @classmethod
    def of_looks(cls, part: Familiarity) -> "Criterion":
        return cls(lambda asked: part.score(asked.looks, asked.answered.logits), part.threshold, part.stored_bytes, part.about)

    @classmethod
    def of_both(cls, whole: Acceptance) -> "Criterion":
        return cls(
            lambda asked: -whole.strangeness(asked.looks, asked.answered.features, asked.answered.logits),
            -1.0,
            whole.stored_bytes,
            {"looks": dict(whole.looks.about), "features": dict(whole.features.about)},
        )


Ask = Callable[[], Asked]


@dataclass(frozen=True, slots=True)
class Kept:
    """Answers by name in a folder, or nowhere."""

    folder: Path | None

    def get(self, name: str, asking: Ask) -> Asked:
        """Return the answers of that name, asked for now where they are not kept."""
        place = None if self.folder is None else self.folder / f"{name.replace(' ', '-')}.npz"
        if place is not None and place.is_file():
            with np.load(place) as kept:
                answered = Answered(kept["features"], kept["logits"], kept["label_index"], str(kept["split"]))
                return Asked(answered, kept["looks"], kept["gated"])
        asked = asking()
        if place is not None:
            found = asked.answered
            content = io.BytesIO()
            np.savez(
                content,
                features=found.features,
                logits=found.logits,
                label_index=found.label_index,
                split=np.array(found.split),
                looks=asked.looks,
                gated=asked.gated,
            )
            write_atomically(place, content.getvalue())
        return asked


def ask(bundle: Bundle, name: str, images: Sequence[np.ndarray], labels: np.ndarray | None = None) -> Asked:
    """Show scans to the gate and, on its grid, to the network."""
    return seen(answer_scans(bundle, images, split=name, label_index=labels))


def seen(answered: Answered) -> Asked:
    """Set apart what the pictures themselves tell."""
    return Asked(answered, answered.look_numbers, np.array([bool(look.reason) for look in answered.looks]))


def scans_of(manifest: Manifest, preprocessing: Preprocessing) -> list[np.ndarray]:
    """Return the scans of a manifest as shown, uint8."""
    return [preprocessing.eight_bit(decode_record(manifest, record).pixels) for record in manifest]


def spread(scans: Sequence[np.ndarray], count: int) -> list[np.ndarray]:
    """Return so many scans, evenly taken."""
    return [scans[row] for row in np.linspace(0, len(scans) - 1, min(count, len(scans))).round().astype(int)]


def of_split(bundle: Bundle, cache: PixelCache, split: str) -> Asked:
    """Show the images of a split to the network and to the gate."""
    rows = cache.rows(split)
    looks = first_looks(cache.manifest, rows.tolist(), bundle.preprocessing)
    return seen(answer_rows(bundle, cache, rows, split=split, looks=looks))


def ask_sets(bundle: Bundle, cache: PixelCache, split: str, *, seed: int, count: int, keep: Kept) -> dict[str, Asked]:
    """Make unfamiliar sets, some of them from scans of a split, and ask of each; set to answers."""
    records = spread(cache.manifest.in_split(split).records, count)
    scans = scans_of(cache.manifest.with_records(records), bundle.preprocessing)

    def asking(name: str) -> Asked:
        (made,) = unfamiliar_sets(scans, seed=seed, count=count, names=[name])
        return ask(bundle, name, made.images)

    return {name: keep.get(f"{split}-{name}", partial(asking, name)) for name in SET_NAMES}


def of_other(bundle: Bundle, path: Path) -> Asked:
    """Ask of the real scans of another manifest."""
    other = read_manifest(path)
    labels = np.array([LABELS.index(record.label) if record.label in LABELS else -1 for record in other])
    return ask(bundle, path.parent.name, scans_of(other, bundle.preprocessing), labels)


def fit_all(bundle: Bundle, training: Asked, calibration: Asked) -> dict[str, Criterion]:
    """Fit every method on its own, the looks alone, and both together."""
    head, parts = linear_head(bundle), (training.answered, calibration.answered)
    looks = [replace(part.answered, features=part.looks, label_index=np.zeros(len(part.gated))) for part in (training, calibration)]
    whole = fit_acceptance(*parts, looks=(training.looks, calibration.looks))
    return {
        **{method: Criterion.of_features(fit_familiarity(method, *parts, head=head)) for method in METHODS},
        "looks": Criterion.of_looks(fit_familiarity(MAHALANOBIS, *looks)),
        "acceptance": Criterion.of_both(whole),
    }


def measured(fitted: Mapping[str, Criterion], familiar: Asked, sets: Mapping[str, Asked], *, gate: bool) -> dict[str, Any]:
    """Return method to set to its numbers."""
    table: dict[str, Any] = {}
    for method, criterion in fitted.items():
        own = familiar.scored(criterion)
        others = {name: asked.scored(criterion) for name, asked in sets.items()}
        if not gate:
            own, others = own.without_gate(), {name: other.without_gate() for name, other in others.items()}
        table[method] = {name: separation(own, other, threshold=criterion.threshold) for name, other in others.items()}
    return table


def chosen_by_rule(
    fitted: Mapping[str, Criterion], familiar: Asked, sets: Mapping[str, Asked]
) -> tuple[str, dict[str, dict[str, float]]]:
    """Return the method to ship, and what each scored on the images made for choosing."""
    near = [name for name in sets if SETS[name][0] == NEAR]
    areas = {method: mean_areas(rows, near) for method, rows in measured(fitted, familiar, sets, gate=True).items()}
    sizes = {method: criterion.stored_bytes for method, criterion in fitted.items()}
    return choose_method({method: means["weighted"] for method, means in areas.items()}, sizes), areas


def correct(asked: Asked) -> np.ndarray:
    """Return which images are answered rightly; a tumour of unstated type by any tumour."""
    called, truth = asked.answered.logits.argmax(axis=1), asked.answered.label_index
    return np.where(truth < 0, called != LABELS.index("notumor"), called == truth)


def milliseconds_per_image(criterion: Criterion, asked: Asked) -> float:
    """Return the processor's time that scoring one image alone takes once its numbers are known, mean over at most 50."""
    answered, count = asked.answered, min(50, len(asked.gated))
    started = time.process_time()
    for row in range(count):
        part = slice(row, row + 1)
        one = Answered(answered.features[part], answered.logits[part], answered.label_index[part], answered.split)
        criterion.score(Asked(one, asked.looks[part], asked.gated[part]))
    return 1000 * (time.process_time() - started) / count


def areas_table(plain: Mapping[str, Mapping[str, Any]]) -> str:
    """Return AUROC without the gate, sets by methods, as Markdown."""
    lines = ["| set | | " + " | ".join(plain) + " |", "|---" * (len(plain) + 2) + "|"]
    for name in next(iter(plain.values())):
        areas = " | ".join(f"{rows[name]['auroc']:.3f}" for rows in plain.values())
        lines.append(f"| {name} | {SETS[name][0]} | {areas} |")
    return "\n".join(lines)


def chosen_table(rows: Mapping[str, Mapping[str, float]]) -> str:
    """Return all numbers of one method with the gate as Markdown."""
    keys = ("auroc", "aupr", "fpr_at_95_tpr", "refused", "gated")
    lines = ["| set | | n | AUROC | AUPR | FPR at 95 % TPR | refused | by the gate alone |", "|---" * 8 + "|"]
    for name, row in rows.items():
        lines.append(f"| {name} | {SETS[name][0]} | {row['n']} | " + " | ".join(f"{row[key]:.3f}" for key in keys) + " |")
    return "\n".join(lines)


def parsed() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("refusal.json"))
    parser.add_argument("--count", type=int, default=100, help="images of every set that is measured")
    parser.add_argument("--choosing", type=int, default=60, help="images of every set that chooses the method")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--other", type=Path, nargs="*", default=[])
    parser.add_argument("--keep", type=Path)
    return parser.parse_args()


def calibration_split(bundle: Bundle, cache: PixelCache) -> str:
    """Return the split that thresholds come from, and say so where it is not what it should be."""
    if len(cache.rows(CALIBRATION)):
        refuse_seen_images(bundle, cache.manifest, CALIBRATION)
        return CALIBRATION
    print("No calibration split in this run: thresholds are from validation images, which chose the epoch.", flush=True)
    return "validation"


def main() -> None:
    given = parsed()
    bundle, run, keep = load_bundle(given.model), RunFolder.at(given.run), Kept(given.keep)
    cache = build_pixel_cache(run.manifest(), bundle.preprocessing, run.cache_path)
    split = calibration_split(bundle, cache)
    refuse_seen_images(bundle, cache.manifest, "test")
    training, calibration, familiar = (keep.get(name, partial(of_split, bundle, cache, name)) for name in ("train", split, "test"))
    fitted = fit_all(bundle, training, calibration)
    choosing = ask_sets(bundle, cache, split, seed=given.seed + 1, count=given.choosing, keep=keep)
    method, areas = chosen_by_rule(fitted, calibration, choosing)
    asked = ask_sets(bundle, cache, "test", seed=given.seed, count=given.count, keep=keep)
    real = {"test": familiar}
    for path in given.other:
        real[path.parent.name] = keep.get(f"other-{path.parent.name}", partial(of_other, bundle, path))
    content = {
        "disclaimer": DISCLAIMER,
        "chosen": method,
        "threshold_from": split,
        "most_bytes": MOST_BYTES,
        "methods": {
            name: {
                "mean_auroc_on_images_for_choosing": areas[name],
                "stored_bytes": criterion.stored_bytes,
                "ms_per_image": milliseconds_per_image(criterion, familiar),
                "threshold": criterion.threshold,
                "about": dict(criterion.about),
            }
            for name, criterion in fitted.items()
        },
        "sets": {name: {"distance": distance, "made": made} for name, (distance, made) in SETS.items()},
        "without_gate": measured(fitted, familiar, asked, gate=False),
        "with_gate": measured(fitted, familiar, asked, gate=True),
        "real_scans": {
            name: {how: kept_and_refused(scans.scored(one), correct(scans), threshold=one.threshold) for how, one in fitted.items()}
            for name, scans in real.items()
        },
    }
    write_atomically(given.out, json.dumps(content, indent=1, allow_nan=False) + "\n")
    print(report(content))


def report(content: Mapping[str, Any]) -> str:
    """Return what was found as text."""
    lines = [f"AUROC without the input gate:\n\n{areas_table(content['without_gate'])}\n"]
    for name, facts in content["methods"].items():
        means = ", ".join(f"{part} {value:.3f}" for part, value in facts["mean_auroc_on_images_for_choosing"].items())
        lines.append(f"{name}: for choosing {means}; {facts['stored_bytes']:,} bytes, {facts['ms_per_image']:.2f} ms per image")
    method = content["chosen"]
    lines.append(f"\nChosen: {method}. With the input gate:\n\n{chosen_table(content['with_gate'][method])}\n")
    lines += [f"{name}: {json.dumps(rows[method])}" for name, rows in content["real_scans"].items()]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
