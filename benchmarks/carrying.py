"""How well outlines are carried over to twins, and what correlation tells a right map from a wrong one.

    python benchmarks/carrying.py planted SOURCE [--images N] [--cut C]    planted twins of SOURCE, with known masks: IoU
    python benchmarks/carrying.py wrong SOURCE [--images N]                pictures that are no twins: what they correlate

SOURCE is anything that `tumorscope index` reads, its images in the order of their slices and with masks. Twins are turned,
mirrored, cut at the margins, rescaled by 0.4 to 1, a little out of proportion, given a gamma of 0.7 to 1.4 and stored as JPEG of
quality 50 to 95. With C above 0 each side is cut at up to 1 + C times the margin, so into the head.
"""

import argparse
import tempfile
from collections import Counter
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from tumorscope.data.audit.audit import outside_of
from tumorscope.data.audit.carrying import Carried, carry_outlines
from tumorscope.data.audit.frames import TRANSFORMS, content_box, transformed
from tumorscope.data.audit.registration import register
from tumorscope.data.audit.twins import Pairs
from tumorscope.data.decode import decode_file, decode_record, draw_outlines, read_mask
from tumorscope.data.preprocess import Preprocessing
from tumorscope.data.sources import index_source
from tumorscope.manifest import Manifest, Record


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """One planted twin: what became of its outline and, where it got one, its intersection with the true mask over their union."""

    carried: Carried | None
    iou: float | None
    tumour_px: int


def plant(pixels: np.ndarray, mask: np.ndarray, path: Path, *, seed: int, cut: float) -> np.ndarray:
    """Store a slice as somebody else would, and return its mask treated alike."""
    rng = np.random.default_rng(seed)
    rows, columns = pixels.shape
    top, bottom, left, right = content_box(pixels)
    share = rng.uniform(0, 1 + cut, 4) * (rng.random(4) < 0.6)
    part = np.s_[
        int(top * share[0]) : int(rows - (rows - bottom) * share[1]),
        int(left * share[2]) : int(columns - (columns - right) * share[3]),
    ]
    transform = int(rng.integers(len(TRANSFORMS)))
    picture, inside = (np.ascontiguousarray(transformed(array[part], transform)) for array in (pixels, mask))
    scale = rng.uniform(0.4, 1) * rng.uniform(0.92, 1, 2)
    size = (max(16, round(picture.shape[1] * scale[1])), max(16, round(picture.shape[0] * scale[0])))
    small = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))
    grey = 255 * (small / 255) ** rng.uniform(0.7, 1.4)
    Image.fromarray(grey.astype(np.uint8)).save(path, "JPEG", quality=int(rng.integers(50, 96)))
    return np.asarray(cv2.resize(inside.astype(np.float32), size, interpolation=cv2.INTER_AREA) >= 0.5)


def measure(other: Manifest, *, cut: float = 0.0) -> list[Measured]:
    """Plant a twin of every image, let the audit find the pairs, carry the outlines over and compare them with the truth."""
    with tempfile.TemporaryDirectory() as name:
        folder, records, truth = Path(name), [], []
        for seed, record in enumerate(other):
            pixels = _eight_bit(other, record)
            mask = read_mask(other, record, pixels.shape)
            assert mask is not None
            path = folder / f"{seed}.jpg"
            truth.append(plant(pixels, mask, path, seed=seed, cut=cut))
            records.append(Record(path=path.name, label=record.label, sha256=decode_file(path).sha256))
        twins = Manifest(folder, tuple(records))
        found = carry_outlines(twins, other, between=outside_of(twins, other)[2], within=_none())
    by_row = {one.row: one for one in found}
    return [_measured(by_row.get(row), mask) for row, mask in enumerate(truth)]


def correlations_of_wrong_pairs(manifest: Manifest) -> tuple[list[float], list[float]]:
    """Return the correlations of every image with the one that follows it, and of every image with its own mirror image."""
    pictures = [_eight_bit(manifest, record) for record in manifest]
    following = [register(one, two, 0).correlation for one, two in pairwise(pictures)]
    mirror = TRANSFORMS.index("mirror")
    return following, [register(picture, picture, mirror).correlation for picture in pictures]


def sampled(source: Path, images: int | None) -> Manifest:
    """Return the images with a mask of a set, or so many of them, evenly spread."""
    manifest = index_source(source).where(lambda record: bool(record.mask))
    step = 1 if images is None else max(1, len(manifest) // images)
    return replace(manifest, records=manifest.records[::step][:images])


def _eight_bit(manifest: Manifest, record: Record) -> np.ndarray:
    return Preprocessing().eight_bit(decode_record(manifest, record).pixels)


def _none() -> Pairs:
    rows, kinds = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int8)
    return Pairs(rows, rows, kinds, kinds, np.zeros(0, dtype=np.float32))


def _measured(carried: Carried | None, truth: np.ndarray) -> Measured:
    if carried is None or not carried.mask:
        return Measured(carried, None, int(truth.sum()))
    drawn = draw_outlines(carried.mask, truth.shape, where="carried")
    return Measured(carried, float((drawn & truth).sum() / (drawn | truth).sum()), int(truth.sum()))


def _quantiles(values: list[float]) -> str:
    median, low, least = np.median(values), np.quantile(values, 0.05), np.min(values)
    return f"median {median:.3f}, 5th percentile {low:.3f}, least {least:.3f}"


def main() -> None:
    """Run one of the measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("planted", "wrong"))
    parser.add_argument("source", type=Path)
    parser.add_argument("--images", type=int)
    parser.add_argument("--cut", type=float, default=0.0)
    chosen = parser.parse_args()
    manifest = sampled(chosen.source, chosen.images)
    if chosen.what == "wrong":
        for what, values in zip(("next slice", "own mirror image"), correlations_of_wrong_pairs(manifest), strict=True):
            print(
                f"{what}: {len(values)} pairs, correlation at most {np.max(values):.4f}, 99 % below {np.quantile(values, 0.99):.4f}"
            )
        return
    measured = measure(manifest, cut=chosen.cut)
    outcomes = Counter("no twin found" if one.carried is None else one.carried.outcome for one in measured)
    print(f"{len(measured)} planted twins: {', '.join(f'{count} {what}' for what, count in outcomes.most_common())}")
    print(f"IoU: {_quantiles([one.iou for one in measured if one.iou is not None])}")
    tried = [one.carried.correlation for one in measured if one.carried is not None and one.carried.correlation is not None]
    print(f"correlation: {_quantiles(tried)}")


if __name__ == "__main__":
    main()
