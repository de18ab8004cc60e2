"""How well edited scans can be told from unedited ones: AUROC of a classifier, for naive edits and for ours.

    python benchmarks/edited_or_not.py SOURCE [--scans N] [--seed K] [--only NAMES] [--time]

SOURCE is what `tumorscope index` reads, with tumour masks and with scans without a tumour. Every scan enters twice,
edited and as it is, with the same region, so neither place nor anatomy tells them apart. Erasing is judged at a healthy region of
a tumour scan (`place_elsewhere`), and at the tumour itself against that healthy region; transplanting at healthy tissue
set into a scan without a tumour. Both copies of a scan, and all scans of a patient (or fold, where only folds are known), are on
one side of every fold. 0.5 is an edit that cannot be seen, 1 one that always can.

The classifier: gradient-boosted trees on texture inside of the region, at its seam and around it, on the scan's own grid, and on
the 224-pixel grid that networks are trained on.
"""

import argparse
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold

from tumorscope.data.counterfactual import erase, place_elsewhere, transplant
from tumorscope.data.counterfactual.shapes import box, grown, margin, pixel_unit, seam_width
from tumorscope.data.decode import decode_record, read_mask
from tumorscope.data.preprocess import Framing, Preprocessing
from tumorscope.data.sources import index_source
from tumorscope.manifest import Record
from tumorscope.scan import Scan

FOLDS = 5


@dataclass(frozen=True)
class Case:
    """A tumour scan with its mask, a healthy region of it, and a scan without a tumour."""

    pixels: np.ndarray
    mask: np.ndarray
    place: np.ndarray
    label: str
    host: np.ndarray
    group: str
    host_group: str


@dataclass(frozen=True)
class Example:
    """A region of a scan, and whether it was edited."""

    pixels: np.ndarray
    region: np.ndarray
    edited: bool
    group: str


def read_cases(source: Path, count: int, seed: int) -> list[Case]:
    """Return cases drawn from a source."""
    manifest = index_source(source)
    rng = np.random.default_rng(seed)
    tumours = [record for record in manifest if record.mask and record.label in ("glioma", "meningioma", "pituitary")]
    hosts = [record for record in manifest if record.label == "notumor"]
    cases = []
    for number in rng.permutation(len(tumours)):
        record, host = tumours[number], hosts[int(rng.integers(len(hosts)))]
        pixels = Preprocessing().eight_bit(decode_record(manifest, record).pixels)
        mask = read_mask(manifest, record, pixels.shape)
        place = None if mask is None else place_elsewhere(mask, pixels, seed=int(number))
        if place is not None:
            host_pixels = Preprocessing().eight_bit(decode_record(manifest, host).pixels)
            cases.append(Case(pixels, mask, place, record.label, host_pixels, group_of(record), group_of(host)))
        if len(cases) == count:
            break
    return cases


def group_of(record: Record) -> str:
    """Return what keeps a patient together: the group, else the fold, else the image alone."""
    if record.group:
        return record.group
    return f"fold-{record.fold}" if record.fold is not None else record.path


def hole_of(mask: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Return what our erasing replaces."""
    unit = pixel_unit(pixels)
    return grown(mask, margin(mask, unit) + seam_width(unit))


def telea(pixels: np.ndarray, mask: np.ndarray, _seed: int) -> np.ndarray:
    """Return the naive edit: Telea's inpainting and nothing else."""
    return cv2.inpaint(pixels, hole_of(mask, pixels).astype(np.uint8), 3, cv2.INPAINT_TELEA)


def telea_with_noise(pixels: np.ndarray, mask: np.ndarray, seed: int) -> np.ndarray:
    """Return Telea's inpainting with white noise as strong as that around."""
    hole = hole_of(mask, pixels)
    filled = telea(pixels, mask, seed).astype(np.float32)
    ring = grown(hole, 10) & ~hole
    fine = pixels.astype(np.float32) - cv2.GaussianBlur(pixels.astype(np.float32), (0, 0), 1)
    noise = np.random.default_rng(seed).normal(0, max(0.5, float(np.median(np.abs(fine[ring]))) * 1.48), pixels.shape)
    return np.where(hole, (filled + noise).round().clip(0, 255), pixels).astype(np.uint8)


def navier_stokes(pixels: np.ndarray, mask: np.ndarray, _seed: int) -> np.ndarray:
    """Return OpenCV's other inpainting and nothing else."""
    return cv2.inpaint(pixels, hole_of(mask, pixels).astype(np.uint8), 3, cv2.INPAINT_NS)


def erased_elsewhere(inpaint: Callable[[np.ndarray, np.ndarray, int], np.ndarray]) -> Callable[[Case, int], Iterator[Example]]:
    """Return examples of a healthy region, edited and not."""

    def examples(case: Case, seed: int) -> Iterator[Example]:
        yield Example(inpaint(case.pixels, case.place, seed), case.place, True, case.group)
        yield Example(case.pixels, case.place, False, case.group)

    return examples


def erased_tumour(inpaint: Callable[[np.ndarray, np.ndarray, int], np.ndarray]) -> Callable[[Case, int], Iterator[Example]]:
    """Return examples of an erased tumour and of a healthy region that nobody touched; place and oedema differ, too."""

    def examples(case: Case, seed: int) -> Iterator[Example]:
        yield Example(inpaint(case.pixels, case.mask, seed), case.mask, True, case.group)
        yield Example(case.pixels, case.place, False, case.group)

    return examples


def pasted(hard: bool) -> Callable[[Case, int], Iterator[Example]]:
    """Return examples of a scan with a piece of another one's healthy tissue, by our transplant or by a hard paste."""

    def examples(case: Case, seed: int) -> Iterator[Example]:
        made = transplant(case.pixels, case.place, case.host, label=case.label, seed=seed, healthy=True)
        if made is None:
            return
        pixels, region = made
        yield Example(hard_paste(case, region) if hard else pixels, region, True, case.host_group)
        yield Example(case.host, region, False, case.host_group)

    return examples


def hard_paste(case: Case, region: np.ndarray) -> np.ndarray:
    """Return the host with the donor's region stretched onto the place that ours chose, brightness scaled, and nothing else."""
    here = box(region)
    size = (here[1].stop - here[1].start, here[0].stop - here[0].start)
    piece = cv2.resize(case.pixels[box(case.place)], size, interpolation=cv2.INTER_AREA).astype(np.float32)
    ring = grown(region, 8) & ~region
    piece *= float(np.median(case.host[ring])) / max(1.0, float(np.median(piece)))
    result = case.host.copy()
    result[here] = np.where(region[here], piece.round().clip(0, 255).astype(np.uint8), result[here])
    return result


def texture(example: Example) -> np.ndarray:
    """Return numbers on the texture inside of the region, at its seam and around it, and how they differ."""
    unit = pixel_unit(example.pixels)
    reach = margin(example.region, unit) + seam_width(unit)
    window = box(example.region, around=round(reach + 40 * unit))
    pixels, region = example.pixels[window].astype(np.float32), example.region[window]
    outer = grown(region, reach + 2)
    inside = grown(region, reach - seam_width(unit))
    areas = [inside, outer & ~inside, grown(outer, 24 * unit) & ~outer]
    bands = [pixels, *(cv2.GaussianBlur(pixels, (0, 0), sigma) for sigma in (0.6, 1.2, 2.4, 4.8))]
    numbers = []
    for fine, coarse in pairwise(bands):
        detail = fine - coarse
        spread = [math.log(float(detail[area].std()) + 0.05) if area.any() else 0.0 for area in areas]
        peaks = [float(np.mean(np.abs(detail[area]))) / (float(detail[area].std()) + 0.05) if area.any() else 0.0 for area in areas]
        numbers += [*spread, spread[0] - spread[2], spread[1] - spread[2], spread[0] - spread[1], *peaks]
    level = [float(pixels[area].mean()) if area.any() else 0.0 for area in areas]
    numbers += [level[0] / (level[2] + 1), level[1] / (level[2] + 1), math.log(region.sum())]
    return np.array(numbers + blockiness(pixels, areas, window))


def blockiness(pixels: np.ndarray, areas: list[np.ndarray], window: tuple[slice, slice]) -> list[float]:
    """Return how much steeper steps are at the borders of JPEG's blocks than elsewhere, by area, and the share of flat steps."""
    step = np.abs(np.diff(pixels, axis=1))
    at_border = (np.arange(window[1].start, window[1].stop - 1) % 8 == 7)[None, :]
    result = []
    for area in areas:
        here = area[:, :-1]
        border, other = step[here & at_border], step[here & ~at_border]
        result += [float(border.mean() / (other.mean() + 0.05)) if border.size and other.size else 1.0]
        result += [float((step[here] == 0).mean()) if here.any() else 0.0]
    return result


def on_grid(example: Example) -> Example:
    """Return the example as networks see it."""
    grid = Preprocessing()
    whole = Framing.whole(example.region.shape)
    pixels, region = grid.grid(Scan(example.pixels, origin="")), grid.grid_mask(example.region, whole)
    return Example(
        pixels, region if region.any() else grid.grid_mask(grown(example.region, 4), whole), example.edited, example.group
    )


def trees_auroc(examples: list[Example], seed: int) -> float:
    """Return the AUROC of boosted trees on texture, every example judged by trees that saw none of its group."""
    x = np.stack([texture(example) for example in examples])
    y, groups = np.array([example.edited for example in examples]), np.array([example.group for example in examples])
    score = np.zeros(len(y))
    for train, test in GroupKFold(FOLDS).split(x, y, groups):
        model = HistGradientBoostingClassifier(max_iter=150, learning_rate=0.06, max_leaf_nodes=12, random_state=seed)
        score[test] = model.fit(x[train], y[train]).predict_proba(x[test])[:, 1]
    return float(roc_auc_score(y, score))


EXPERIMENTS = {
    "healthy region erased: Telea alone": erased_elsewhere(telea),
    "healthy region erased: Navier-Stokes alone": erased_elsewhere(navier_stokes),
    "healthy region erased: Telea with noise": erased_elsewhere(telea_with_noise),
    "healthy region erased: ours": erased_elsewhere(lambda pixels, mask, seed: erase(pixels, mask, seed=seed)),
    "tumour erased: Telea alone": erased_tumour(telea),
    "tumour erased: ours": erased_tumour(lambda pixels, mask, seed: erase(pixels, mask, seed=seed)),
    "healthy tissue transplanted: hard paste": pasted(hard=True),
    "healthy tissue transplanted: ours": pasted(hard=False),
}


def milliseconds(cases: list[Case]) -> None:
    """Print what one edit takes of the processor, so that other work on the machine counts little."""
    edits: dict[str, Callable[[Case], object]] = {
        "erase": lambda case: erase(case.pixels, case.mask, seed=0),
        "place_elsewhere": lambda case: place_elsewhere(case.mask, case.pixels, seed=0),
        "transplant": lambda case: transplant(case.pixels, case.mask, case.host, label=case.label, seed=0),
        "transplant, donor's size": lambda case: transplant(case.pixels, case.mask, case.pixels, label=case.label, seed=0),
    }
    for name, edit in edits.items():
        spent = []
        for case in cases[:60]:
            start = time.process_time()
            edit(case)
            spent.append((time.process_time() - start) * 1000)
        mean, median, most = np.mean(spent), np.median(spent), np.max(spent)
        print(f"{name:26} {mean:6.1f} ms of processor time, median {median:.1f}, at most {most:.1f}")


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--scans", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="part of the name of an experiment, or several, separated by commas")
    parser.add_argument("--time", action="store_true", help="time the edits and stop")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    cases = read_cases(arguments.source, arguments.scans, arguments.seed)
    if len({case.group for case in cases}) < FOLDS:
        parser.error(f"{arguments.source}: scans of {FOLDS} groups with tumour masks are needed; give the CSV that names the masks")
    if arguments.time:
        milliseconds(cases)
        return
    print(f"{len(cases)} tumour scans of {arguments.source.name}, {FOLDS} folds\n{'AUROC':44} own grid  224 pixels")
    for name, make in EXPERIMENTS.items():
        if any(part in name for part in arguments.only.split(",")):
            examples = [example for number, case in enumerate(cases) for example in make(case, arguments.seed + number)]
            own, small = (trees_auroc(found, arguments.seed) for found in (examples, [on_grid(one) for one in examples]))
            print(f"{name:44} {own:.3f} {small:12.3f}", flush=True)


if __name__ == "__main__":
    main()
