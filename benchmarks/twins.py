"""Finding twins: time, recall and precision beside imagehash and imagededup, on planted and on real pairs, and at scale.

    python benchmarks/twins.py planted SOURCE [--images N]     twins planted in a set whose images are all different slices
    python benchmarks/twins.py real SOURCE                     what each tool finds in a set as it is
    python benchmarks/twins.py scale [--images N] [--seeds K]  N frames from the built-in set at K seeds and warps of it, with twins

SOURCE is anything that `tumorscope index` reads. Needs `pip install -e '.[benchmarks]'` for the two other tools.
"""

import argparse
import io
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from tumorscope.data.audit.frames import content_box, frame, transformed
from tumorscope.data.audit.twins import COPY, TWIN, find_pairs
from tumorscope.data.decode import decode_record
from tumorscope.data.phantom import write_phantom
from tumorscope.data.preprocess import Preprocessing
from tumorscope.data.sources import index_source

Found = set[tuple[int, int]]
HASH_BITS = (0, 2, 4, 6, 8, 10, 12)


def plant(pixels: np.ndarray, seed: int) -> np.ndarray:
    """Return the slice as somebody else would store it: turned, mirrored, rescaled, cropped, with another gamma, recompressed."""
    rng = np.random.default_rng(seed)
    top, bottom, left, right = content_box(pixels)
    keep = rng.uniform(0, 1) if rng.random() < 0.5 else 0.0
    rows = slice(int(top * keep), int(len(pixels) - (len(pixels) - bottom) * keep))
    columns = slice(int(left * keep), int(pixels.shape[1] - (pixels.shape[1] - right) * keep))
    picture = transformed(pixels[rows, columns], int(rng.integers(8)))
    side = 256 * rng.uniform(0.5, 2) / max(picture.shape)
    size = (max(8, round(picture.shape[1] * side)), max(8, round(picture.shape[0] * side)))
    image = Image.fromarray(np.ascontiguousarray(picture)).resize(size, Image.Resampling.BICUBIC)
    grey = (np.asarray(image) / 255) ** rng.uniform(0.7, 1.4) * rng.uniform(0.85, 1.15)
    stream = io.BytesIO()
    Image.fromarray((grey.clip(0, 1) * 255).astype(np.uint8)).save(stream, "JPEG", quality=int(rng.integers(30, 96)))
    return np.asarray(Image.open(stream))


def pictures_of(source: Path, limit: int | None) -> list[np.ndarray]:
    """Return the images of a set, 8 bits."""
    manifest = index_source(source)
    records = manifest.records if limit is None else manifest.records[:: max(1, len(manifest) // limit)][:limit]
    return [Preprocessing().eight_bit(decode_record(manifest, record).pixels) for record in records]


def tumorscope_pairs(pictures: list[np.ndarray]) -> Found:
    """Return the twins that the audit finds."""
    pairs = find_pairs(np.stack([frame(picture) for picture in pictures]), [str(row) for row in range(len(pictures))])
    same = pairs.of_kind(COPY, TWIN)
    return {(int(a), int(b)) for a, b in zip(same.a, same.b, strict=True)}


def imagehash_codes(pictures: list[np.ndarray], *, turned: bool) -> list[np.ndarray]:
    """Return the perceptual hash of every picture as 64 bits, under one or all eight transforms."""
    import imagehash

    def code(picture: np.ndarray) -> np.ndarray:
        return np.packbits(imagehash.phash(Image.fromarray(np.ascontiguousarray(picture))).hash)

    return [
        np.stack([code(transformed(picture, transform)) for picture in pictures]).view(np.uint64).ravel()
        for transform in range(8 if turned else 1)
    ]


def imagehash_pairs(codes: list[np.ndarray], bits: int) -> Found:
    """Return the pairs whose hashes differ in at most so many bits."""
    found: Found = set()
    for other in codes:
        for row, value in enumerate(other):
            near = np.flatnonzero(np.bitwise_count(codes[0] ^ value) <= bits)
            found |= {(min(row, int(k)), max(row, int(k))) for k in near if k != row}
    return found


def imagededup_pairs(pictures: list[np.ndarray]) -> Found:
    """Return what imagededup's perceptual hash finds as its documentation uses it."""
    from imagededup.methods import PHash

    with tempfile.TemporaryDirectory() as name:
        for row, picture in enumerate(pictures):
            Image.fromarray(picture).save(Path(name) / f"{row}.png")
        duplicates = PHash(verbose=False).find_duplicates(image_dir=name)
    pairs = {(int(Path(a).stem), int(Path(b).stem)) for a, others in duplicates.items() for b in others}
    return {(min(pair), max(pair)) for pair in pairs}


def others_installed() -> bool:
    """Return whether the tools to compare with are here, and say so if not."""
    missing = [name for name in ("imagehash", "imagededup") if find_spec(name) is None]
    if missing:
        print(f"{' and '.join(missing)} not installed, so nothing is compared: pip install -e '.[benchmarks]'")
    return not missing


@contextmanager
def timed(what: str) -> Iterator[Callable[[str], None]]:
    """Print a line with what was done, a result, seconds on the clock and of all processors, and the peak of memory so far."""
    said: list[str] = []
    started, worked = time.perf_counter(), time.process_time()
    yield said.append
    seconds, worked_s = time.perf_counter() - started, time.process_time() - worked
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{what:48s} {seconds:8.1f} s {worked_s:8.1f} CPU s  {peak_gb:5.2f} GB  {' '.join(said)}", flush=True)


def score(found: Found, planted: Found) -> str:
    """Return recall and precision in words."""
    right = len(found & planted)
    precision = right / len(found) if found else 1.0
    return f"recall {right / len(planted):.4f} precision {precision:.4f}"


def planted(source: Path, images: int | None) -> None:
    """Plant one twin of every image and let each tool look for them."""
    originals = pictures_of(source, images)
    pictures = originals + [plant(picture, seed) for seed, picture in enumerate(originals)]
    truth = {(row, row + len(originals)) for row in range(len(originals))}
    print(f"{len(originals)} images, each with one planted twin")
    with timed("tumorscope, frames and pairs") as say:
        say(score(tumorscope_pairs(pictures), truth))
    if not others_installed():
        return
    for turned in (False, True):
        with timed(f"imagehash phash, {8 if turned else 1} transform(s), hashing"):
            codes = imagehash_codes(pictures, turned=turned)
        for bits in HASH_BITS:
            with timed(f"  and matching at {bits} bits") as say:
                say(score(imagehash_pairs(codes, bits), truth))
    with timed("imagededup PHash, as documented") as say:
        say(score(imagededup_pairs(pictures), truth))


def real(source: Path) -> None:
    """Count what each tool finds in a set, and how much of it the others agree with."""
    pictures = pictures_of(source, None)
    with timed("tumorscope, frames and pairs") as say:
        ours = tumorscope_pairs(pictures)
        say(f"{len(ours)} pairs")
    if not others_installed():
        return
    with timed("imagehash phash, 8 transforms, hashing"):
        codes = imagehash_codes(pictures, turned=True)
    for bits in HASH_BITS:
        with timed(f"  and matching at {bits} bits") as say:
            theirs = imagehash_pairs(codes, bits)
            say(f"{len(theirs)} pairs, {len(theirs & ours)} of them ours")
    with timed("imagededup PHash, as documented") as say:
        theirs = imagededup_pairs(pictures)
        say(f"{len(theirs)} pairs, {len(theirs & ours)} of them ours")


def warped(picture: np.ndarray, seed: int) -> np.ndarray:
    """Return another head: the picture under a strong smooth warp, up to a tenth of its size."""
    rng = np.random.default_rng(seed)
    side = picture.shape[0]
    rows, columns = (cv2.resize(rng.uniform(-1, 1, (5, 5)), (side, side), interpolation=cv2.INTER_CUBIC) for _ in range(2))
    y, x = np.mgrid[0:side, 0:side]
    moved = cv2.remap(
        picture, (x + rows * side / 10).astype(np.float32), (y + columns * side / 10).astype(np.float32), cv2.INTER_LINEAR
    )
    return np.asarray(moved)


def scale(images: int, seeds: int) -> None:
    """Match as many frames as asked for: the built-in set at some seeds, under as many warps as it takes, one in eleven a twin."""
    originals = images * 10 // 11
    drawn: list[np.ndarray] = []
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as name:
            manifest = write_phantom(Path(name), seed=1000 + seed)
            drawn += [decode_record(manifest, record).pixels for record in manifest]
    frames = np.empty((images, 64, 64), dtype=np.uint8)
    twins = np.arange(originals, images)
    for row in range(originals):
        picture = drawn[row % len(drawn)] if row < len(drawn) else warped(drawn[row % len(drawn)], row)
        frames[row] = frame(picture)
        if row < len(twins):
            frames[twins[row]] = frame(plant(picture, row))
    truth = {(row, int(twin)) for row, twin in enumerate(twins)}
    with timed(f"tumorscope, matching {images:,} frames") as say:
        pairs = find_pairs(frames, [str(number) for number in range(images)]).of_kind(TWIN)
        found = {(int(a), int(b)) for a, b in zip(pairs.a, pairs.b, strict=True)}
        say(f"recall {len(found & truth) / len(truth):.4f}, {len(found - truth)} other pairs")


def main() -> None:
    """Run one benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("planted", "real", "scale"))
    parser.add_argument("source", nargs="?", type=Path)
    parser.add_argument("--images", type=int)
    parser.add_argument("--seeds", type=int, default=8)
    chosen = parser.parse_args()
    if chosen.what == "scale":
        scale(chosen.images or 100_000, chosen.seeds)
    elif chosen.source is None:
        parser.error("planted and real need a SOURCE")
    elif chosen.what == "planted":
        planted(chosen.source, chosen.images)
    else:
        real(chosen.source)


if __name__ == "__main__":
    main()
