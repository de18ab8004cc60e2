"""A data set examined before anyone trains on it: Manifest -> Audit."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from tumorscope.data.audit.frames import FRAME_SIZE, frame
from tumorscope.data.audit.groups import Leaks, conflicts, count_leaks, grouped
from tumorscope.data.audit.numbering import consecutive
from tumorscope.data.audit.twins import COPY, NEIGHBOUR, TWIN, Pairs, find_pairs, find_pairs_between
from tumorscope.data.decode import decode_record, picture_warnings_off
from tumorscope.data.preprocess import Preprocessing
from tumorscope.manifest import Manifest, Record

Progress = Callable[[int, int], None]

NEIGHBOUR_INSIDE = "neighbour_inside"
"""Flag of an image of an external set that very likely lies next to a slice of the set it is external to."""


@dataclass(frozen=True, slots=True, eq=False)
class Audit:
    """All that an examination found out about a data set.

    Attributes:
        manifest: The images, each with a group and with flags for what is odd about it.
        pairs: Copies, twins and likely neighbours, by row of the manifest.
        leaks: What the test split has in training, or None without a given test split.
        conflicts: Rows of every slice whose images have different labels.
    """

    manifest: Manifest
    pairs: Pairs
    leaks: Leaks | None
    conflicts: tuple[tuple[int, ...], ...]


def audit(manifest: Manifest, *, join_neighbours: bool = False, progress: Progress | None = None) -> Audit:
    """Return what can be said about a data set before anyone trains on it.

    Args:
        manifest: Indexed images, with the source's own test split if it has one.
        join_neighbours: Whether likely neighbours belong into one group.
        progress: Called with (done, all) for one stage after the other.

    Raises:
        DecodeError: An image has vanished or changed since it was indexed.
    """
    frames = decoded_frames(manifest, progress=progress)
    numbered = consecutive([record.path for record in manifest])
    pairs = find_pairs(frames, [record.sha256 for record in manifest], numbered=numbered, progress=progress)
    examined = grouped(manifest, pairs, join_neighbours=join_neighbours)
    return Audit(manifest=examined, pairs=pairs, leaks=count_leaks(examined), conflicts=conflicts(examined, pairs))


def outside_of(
    manifest: Manifest, other: Manifest, *, progress: Progress | None = None
) -> tuple[tuple[Record, ...], Manifest | None, Pairs]:
    """Return which images of another set are in a set, and the rest of the other set.

    Args:
        manifest: The set that a model is trained on.
        other: The set that claims to be external to it.
        progress: Called with (done, all) for one stage after the other.

    Returns:
        The other set's records with a copy or twin in the first set; the other records as a manifest, those with a likely neighbour
        in the first set flagged `NEIGHBOUR_INSIDE`, or None when none is left; and the pairs, the rows of the other set counted on
        from those of the first.

    Raises:
        DecodeError: An image has vanished or changed since it was indexed.
    """
    frames = np.concatenate([decoded_frames(manifest, progress=progress), decoded_frames(other, progress=progress)])
    digests = [record.sha256 for record in (*manifest, *other)]
    pairs = find_pairs_between(frames, digests, base=len(manifest), progress=progress)
    inside = _digests_of(other, pairs.of_kind(COPY, TWIN), base=len(manifest))
    near = _digests_of(other, pairs.of_kind(NEIGHBOUR), base=len(manifest))
    rest = [
        replace(record, flags=tuple(sorted({*record.flags, NEIGHBOUR_INSIDE}))) if record.sha256 in near else record
        for record in other
        if record.sha256 not in inside
    ]
    found = tuple(record for record in other if record.sha256 in inside)
    return found, other.with_records(rest) if rest else None, pairs


def _digests_of(other: Manifest, pairs: Pairs, *, base: int) -> set[str]:
    return {other.records[row - base].sha256 for row in pairs.b.tolist()}


def decoded_frames(manifest: Manifest, *, progress: Progress | None = None) -> np.ndarray:
    """Return the frame of every image, uint8, shape (n, FRAME_SIZE, FRAME_SIZE), each image decoded once and let go again."""
    preprocessing = Preprocessing()
    frames = np.empty((len(manifest), FRAME_SIZE, FRAME_SIZE), dtype=np.uint8)

    def one(row: int) -> None:
        frames[row] = frame(preprocessing.eight_bit(decode_record(manifest, manifest.records[row]).pixels))

    with picture_warnings_off(), ThreadPoolExecutor(os.cpu_count()) as pool:
        for done, _ in enumerate(pool.map(one, range(len(manifest))), start=1):
            if progress is not None and (done % 64 == 0 or done == len(manifest)):
                progress(done, len(manifest))
    return frames
