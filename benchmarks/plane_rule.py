"""Fit the rule that tells planes from labels given by eye, and print how often it errs where it was not fitted.

    python benchmarks/plane_rule.py FOLDER [--labels tests/real/planes.csv] [--write]

FOLDER holds `cheng`, `br35h-no`, `nickparvar` and `br35h-yes-probe`. The first two are fitted, and measured by cross-validation
over ten blocks of consecutive file numbers, since in Cheng's set patients follow each other. The two others are only
measured: they are the project's external test sets, and nothing is fitted on them. `--write` stores the rule in the package.
"""

import argparse
import csv
import json
import re
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

import tumorscope.data.plane
from tumorscope.data.audit.frames import content_box, frame
from tumorscope.data.decode import decode_file
from tumorscope.data.phantom import phantom_patient
from tumorscope.data.plane import FEATURES, PLANES, RULE_FILE, PlaneRule, decide, guess_planes, plane_features, shipped_rule
from tumorscope.data.preprocess import Preprocessing
from tumorscope.labels import LABELS
from tumorscope.storage import write_atomically

LABELS_FILE = Path(__file__).parents[1] / "tests" / "real" / "planes.csv"
FITTED = ("cheng", "br35h-no")
BLOCKS = 10
VARIANTS = 4
TURNED_VARIANTS = 2
TURNED_WEIGHT = 0.5
PENALTY = 5.0
UNIT = 1e-4
SEED = 0


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """Slices with the plane that somebody saw.

    Attributes:
        pictures: uint8, of different shapes.
        planes: Position in `PLANES`, shape (slices,).
        sources: Folder of each.
        blocks: Which tenth of its source's file numbers each belongs to, shape (slices,).
    """

    pictures: list[np.ndarray]
    planes: np.ndarray
    sources: np.ndarray
    blocks: np.ndarray

    def part(self, chosen: np.ndarray) -> "Labelled":
        """Return the chosen slices."""
        rows = np.flatnonzero(chosen)
        return Labelled([self.pictures[row] for row in rows], self.planes[rows], self.sources[rows], self.blocks[rows])


def read_labelled(folder: Path, labels: Path = LABELS_FILE) -> Labelled:
    """Return the labelled slices of a folder of sources."""
    with labels.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    pictures = [Preprocessing().eight_bit(decode_file(folder / row["path"]).pixels) for row in rows]
    sources = np.array([row["path"].split("/")[0] for row in rows])
    numbers = np.array([int(re.sub(r"\D", "", Path(row["path"]).stem)) for row in rows])
    blocks = np.zeros(len(rows), dtype=int)
    for source in np.unique(sources):
        own = sources == source
        blocks[own] = (numbers[own] - numbers[own].min()) * BLOCKS // (numbers[own].max() - numbers[own].min() + 1)
    return Labelled(pictures, np.array([PLANES.index(row["plane"]) for row in rows]), sources, blocks)


def variant(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the slice as another examination may show it: tilted, cut closer, stretched, with another gamma."""
    if rng.random() < 0.5:
        rows, columns = picture.shape
        turn = cv2.getRotationMatrix2D((columns / 2, rows / 2), rng.uniform(-20, 20), 1)
        picture = np.asarray(cv2.warpAffine(picture, turn, (columns, rows)), dtype=np.uint8)
    top, bottom, left, right = content_box(picture)
    cut = rng.uniform(0, 0.15, 4) * (rng.random(4) < 0.4)
    if rng.random() < 0.3:
        cut[1] = rng.uniform(0, 0.35)
    height, width = bottom - top, right - left
    shown = picture[
        top + int(cut[0] * height) : bottom - int(cut[1] * height), left + int(cut[2] * width) : right - int(cut[3] * width)
    ]
    shades = 255 * (np.arange(256) / 255) ** rng.uniform(0.5, 1.5)
    return np.asarray(shades.astype(np.uint8)[shown])


def samples(slices: Labelled, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return features, targets, weights, and the slice that each row comes from."""
    pictures = [slices.pictures, *([variant(picture, rng) for picture in slices.pictures] for _ in range(VARIANTS))]
    drawn = [np.stack([frame(picture) for picture in each]) for each in pictures]
    every = np.arange(len(slices.planes))
    parts = [(frames, slices.planes, 1 / len(drawn), every) for frames in drawn]
    not_axial = every[slices.planes != PLANES.index("axial")]
    for frames in drawn[:TURNED_VARIANTS]:
        for quarters, rows in ((1, every), (2, not_axial), (3, every)):
            turned = np.ascontiguousarray(np.rot90(frames[rows], quarters, axes=(1, 2)))
            parts.append((turned, np.full(len(rows), len(PLANES)), TURNED_WEIGHT / TURNED_VARIANTS, rows))
    return (
        np.concatenate([plane_features(frames) for frames, _, _, _ in parts]),
        np.eye(len(PLANES) + 1)[np.concatenate([targets for _, targets, _, _ in parts])],
        np.concatenate([np.full(len(rows), weight) for _, _, weight, rows in parts]),
        np.concatenate([rows for _, _, _, rows in parts]),
    )


def fit(features: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> PlaneRule:
    """Return the rule by weighted ridge regression onto 0 and 1, rounded as it is stored."""
    mean, target_mean = np.average(features, axis=0, weights=weights), np.average(targets, axis=0, weights=weights)
    root = np.sqrt(weights)[:, None]
    centred = (features - mean) * root
    solved = np.linalg.solve(centred.T @ centred + PENALTY * np.eye(FEATURES), centred.T @ ((targets - target_mean) * root))
    offset = target_mean - mean @ solved
    return PlaneRule((np.rint(solved / UNIT) * UNIT).astype(np.float32), (np.rint(offset / UNIT) * UNIT).astype(np.float32))


def held_out_scores(slices: Labelled, turned_by: Iterable[int] = (0, 1, 2, 3)) -> tuple[PlaneRule, dict[int, np.ndarray]]:
    """Return the rule fitted on all of `FITTED`, and every slice's scores by a rule that has not seen its block or source.

    Scores are given for the slice as it is and turned by so many quarters.
    """
    fitted = np.isin(slices.sources, FITTED)
    own = slices.part(fitted)
    features, targets, weights, rows = samples(own, np.random.default_rng(SEED))
    rule = fit(features, targets, weights)
    rules = {block: fit(features[kept], targets[kept], weights[kept]) for block, kept in _kept(own.blocks[rows])}
    frames = np.stack([frame(picture) for picture in slices.pictures])
    scores = {}
    for quarters in turned_by:
        looked_at = plane_features(np.ascontiguousarray(np.rot90(frames, quarters, axes=(1, 2))))
        scores[quarters] = rule.scores(looked_at)
        for block, held_out in rules.items():
            chosen = fitted & (slices.blocks == block)
            scores[quarters][chosen] = held_out.scores(looked_at[chosen])
    return rule, scores


def _kept(blocks: np.ndarray) -> list[tuple[int, np.ndarray]]:
    return [(block, blocks != block) for block in range(BLOCKS)]


def confusion(planes: np.ndarray, guesses: list[str | None]) -> np.ndarray:
    """Return how often each plane (row) was given each answer (column): three planes, then no answer."""
    counts = Counter(zip(planes.tolist(), guesses, strict=True))
    return np.array([[counts[row, answer] for answer in (*PLANES, None)] for row in range(len(PLANES))])


def in_words(table: np.ndarray) -> str:
    """Return shares in one line."""
    total, right = table.sum(), np.trace(table)
    answered = total - table[:, -1].sum()
    shares = f"{answered / total:.1%} answered, {right / max(1, answered):.2%} of the answers right"
    return f"{total} slices, {shares}, {answered - right} wrong"


def report(title: str, planes: np.ndarray, scores: np.ndarray) -> None:
    """Print one confusion table, and the share right when every slice must be answered."""
    table = confusion(planes, decide(scores))
    forced = (scores[:, : len(PLANES)].argmax(axis=1) == planes).mean()
    print(f"\n{title}: {in_words(table)}; {forced:.2%} right if every slice must be answered")
    print(f"  {'':10s}" + "".join(f"{name:>10s}" for name in (*PLANES, "none")))
    for name, row in zip(PLANES, table, strict=True):
        print(f"  {name:10s}" + "".join(f"{count:10d}" for count in row))


def phantoms(rule: PlaneRule) -> None:
    """Print what the rule says of the built-in set."""
    drawn = [one for label in LABELS for number in range(15) for one in phantom_patient(label, seed=1, number=number, slices=2)]
    features = plane_features(np.stack([frame(one.pixels) for one in drawn]))
    report("phantoms, not fitted", np.array([PLANES.index(one.plane) for one in drawn]), rule.scores(features))


def stored(rule: PlaneRule) -> str:
    """Return the rule as JSON, one line per output."""
    weights = np.rint(rule.weights.T / UNIT).astype(int).tolist()
    offset = np.rint(rule.offset / UNIT).astype(int).tolist()
    lines = ",\n".join("  " + json.dumps(row, separators=(",", ":")) for row in weights)
    outputs = json.dumps([*PLANES, "turned"])
    return f'{{\n "outputs": {outputs},\n "unit": {UNIT},\n "offset": {offset},\n "weights": [\n{lines}\n ]\n}}\n'


def main() -> None:
    """Fit, measure, and store where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--labels", type=Path, default=LABELS_FILE)
    parser.add_argument("--write", action="store_true")
    chosen = parser.parse_args()
    slices = read_labelled(chosen.folder, chosen.labels)
    rule, scores = held_out_scores(slices)
    for source in np.unique(slices.sources):
        own = slices.sources == source
        how = f"{BLOCKS} held-out blocks" if source in FITTED else "not fitted"
        report(f"{source}, {how}", slices.planes[own], scores[0][own])
    for quarters in (1, 2, 3):
        print(f"\nturned by {90 * quarters}: {in_words(confusion(slices.planes, decide(scores[quarters])))}")
    phantoms(rule)
    if chosen.write:
        path = Path(tumorscope.data.plane.__file__).with_name(RULE_FILE)
        write_atomically(path, stored(rule))
        shipped_rule.cache_clear()
        print(f"\nwrote {path.name}, {path.stat().st_size / 1000:.1f} kB")
    print("\nThe rule in the package is the one fitted here:", np.allclose(shipped_rule().weights, rule.weights, atol=UNIT / 2))
    started = time.process_time()
    guess_planes(slices.pictures)
    print(f"{(time.process_time() - started) / len(slices.pictures) * 5000:.1f} s of one core for 5,000 slices of these sizes")


if __name__ == "__main__":
    main()
