"""Counterfactual scans as PNG files with masks and a manifest, made once for the same parents and seed."""

import csv
import hashlib
import io
import json
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from tumorscope.data.counterfactual.making import SHARES, Counterfactual, Workshop, parents_of
from tumorscope.data.decode import mask_version
from tumorscope.errors import ManifestError
from tumorscope.manifest import SLICE_GROUP, Manifest, Record, read_manifest, write_manifest
from tumorscope.scan import Scan
from tumorscope.storage import write_atomically

COUNTERFACTUAL_VERSION = 2
"""Counts up whenever the same parents and seed give other pixels, so that no old cache is taken for a new one."""

COUNTERFACTUAL = "counterfactual"
"""Flag of the records of edited scans; their kind is another flag."""

_MANIFEST_FILE = "manifest.csv"
_PARENTS_FILE = "parents.csv"
_AT_ONCE = 64


def write_counterfactuals(
    manifest: Manifest,
    folder: Path,
    *,
    seed: int,
    count: int,
    shares: Mapping[str, float] = SHARES,
    progress: Callable[[int, int], None] | None = None,
) -> Manifest:
    """Write counterfactual scans below a folder, or return those that an earlier call wrote.

    They lie in a folder named by the digests of all parents, seed, count, shares and `COUNTERFACTUAL_VERSION`; its manifest is
    written last. A transplant belongs to its host's group; `parents.csv` names both parents, all of them training images.

    Args:
        manifest: Training images only, with their `sha256`.
        folder: Where; made when missing.
        seed: The same seed gives the same pixels.
        count: How many, at least 1.
        shares: As of `counterfactuals`.
        progress: Called with the scans done and the scans in all.

    Returns:
        One record for each: split `train`, source and group of the edited scan, flags `counterfactual` and the kind.

    Raises:
        SplitError: An image is not in the training split.
        DataError: There is nothing to make them of, or nothing has room.
        OutputError: The folder cannot be written.
    """
    workshop = Workshop(manifest, seed=seed, shares=shares)
    if count < 1:
        raise ManifestError(f"{count} counterfactual scans: at least 1 is needed.")
    place = folder / f"counterfactual-{_key(manifest, seed=seed, count=count, shares=shares)}"
    stored = place / _MANIFEST_FILE
    if stored.is_file():
        found = read_manifest(stored)
        if all(found.locate(name).is_file() for record in found for name in (record.path, record.mask) if name):
            return found
    records: list[Record] = []
    rows: list[tuple[str, ...]] = []

    def one(number: int) -> tuple[Record, tuple[str, ...]]:
        made = workshop.make(number)
        return _write(made, parents_of(manifest, made), place, f"{number:05d}-{made.kind}.png"), made.parents

    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        for first in range(0, count, _AT_ONCE):
            for record, parents in pool.map(one, range(first, min(count, first + _AT_ONCE))):
                records.append(record)
                rows.append((record.path, *parents))
                if progress is not None:
                    progress(len(records), count)
    _write_parents(rows, place / _PARENTS_FILE)
    return write_manifest(Manifest(place, tuple(records)), stored)


def _key(manifest: Manifest, *, seed: int, count: int, shares: Mapping[str, float]) -> str:
    """Return what tells one order of scans from another; the order of records counts, since draws follow it."""
    order = {"version": COUNTERFACTUAL_VERSION, "seed": seed, "count": count, "shares": dict(shares)}
    digest = hashlib.sha256(json.dumps(order, sort_keys=True).encode())
    for record in manifest:
        if not record.sha256:
            raise ManifestError(f"{record.path}: no sha256, so its edits cannot be stored. Run `tumorscope index` on the source.")
        mask = mask_version(manifest, record)
        digest.update("\t".join((record.path, record.sha256, record.label, mask, record.group, record.source)).encode())
    return digest.hexdigest()[:16]


def _write(made: Counterfactual, parents: list[Record], place: Path, name: str) -> Record:
    path, mask = f"scans/{name}", f"masks/{name}" if made.mask.any() else ""
    write_atomically(place / path, _png(made.pixels), sync=False)
    if mask:
        write_atomically(place / mask, _png(made.mask.astype(np.uint8) * np.uint8(255)), sync=False)
    edited = parents[0]
    return Record(
        path=path,
        label=made.label,
        sha256=Scan(pixels=made.pixels, origin=path).sha256,
        group=edited.group or f"{SLICE_GROUP}{edited.sha256[:16]}",
        split="train",
        source=edited.source,
        mask=mask,
        flags=tuple(sorted((COUNTERFACTUAL, made.kind))),
    )


def _png(pixels: np.ndarray) -> bytes:
    _, encoded = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 3])
    return encoded.tobytes()


def _write_parents(rows: list[tuple[str, ...]], path: Path) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("path", "edited", "donor"))
    writer.writerows((*row, "")[:3] for row in rows)
    write_atomically(path, text.getvalue())
