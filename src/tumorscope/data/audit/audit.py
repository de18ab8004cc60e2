"""A data set examined before anyone trains on it: Manifest -> Audit."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tumorscope.data.audit.carrying import Carried
from tumorscope.data.audit.files import FILE_FLAGS, FileFacts
from tumorscope.data.audit.frames import FRAME_SIZE, frame
from tumorscope.data.audit.groups import Leaks, conflicts, count_leaks, grouped
from tumorscope.data.audit.looks import Looks
from tumorscope.data.audit.numbering import consecutive
from tumorscope.data.audit.provenance import SourceTable, guess_sources, source_table, with_folder_sources
from tumorscope.data.audit.shortcuts import MetaFeatures, Shortcut, meta_features, shortcut_score
from tumorscope.data.audit.threads import in_threads
from tumorscope.data.audit.twins import COPY, NEIGHBOUR, TWIN, Pairs, find_pairs, find_pairs_between
from tumorscope.data.decode import decode_record
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
        facts: What every image is as a file.
        shortcut: How far size, framing, intensity and compression alone tell the class, or None where that cannot be measured.
        sources: Classes against the collections they come from, or None when none is known.
        styles: Likewise, against clusters of style: a proposal where no collection is known, else None.
        carried: What became of the outlines that another set has of slices of this one; empty where nobody asked.
    """

    manifest: Manifest
    pairs: Pairs
    leaks: Leaks | None
    conflicts: tuple[tuple[int, ...], ...]
    facts: tuple[FileFacts, ...]
    shortcut: Shortcut | None
    sources: SourceTable | None
    styles: SourceTable | None
    carried: tuple[Carried, ...] = ()


def audit(
    manifest: Manifest,
    *,
    join_neighbours: bool = False,
    seed: int = 0,
    looks: Looks | None = None,
    progress: Progress | None = None,
) -> Audit:
    """Return what can be said about a data set before anyone trains on it.

    Args:
        manifest: Indexed images, with the source's own test split if it has one.
        join_neighbours: Whether likely neighbours belong into one group.
        seed: Of the cross-validation of the shortcut.
        looks: Taken when the images were indexed; used up. Images without one are decoded.
        progress: Called with (done, all) for one stage after the other.

    Raises:
        DecodeError: An image has vanished or changed since it was indexed.
    """
    frames, facts = _looked_at(manifest, looks or Looks(), progress=progress)
    numbered = consecutive([record.path for record in manifest])
    pairs = find_pairs(frames, [record.sha256 for record in manifest], numbered=numbered, progress=progress)
    examined = with_folder_sources(_with_file_flags(grouped(manifest, pairs, join_neighbours=join_neighbours), facts))
    features, labels = meta_features(facts), [record.label for record in examined]
    sources = source_table(examined)
    return Audit(
        manifest=examined,
        pairs=pairs,
        leaks=count_leaks(examined),
        conflicts=conflicts(examined, pairs),
        facts=facts,
        shortcut=shortcut_score(features, labels, [record.group for record in examined], seed=seed, progress=progress),
        sources=sources,
        styles=_styles(examined, features, seed=seed) if sources is None else None,
    )


def _looked_at(manifest: Manifest, looks: Looks, *, progress: Progress | None = None) -> tuple[np.ndarray, tuple[FileFacts, ...]]:
    """The frame and the facts of every image."""
    frames = np.empty((len(manifest), FRAME_SIZE, FRAME_SIZE), dtype=np.uint8)

    def one(row: int) -> FileFacts:
        look = looks.give(manifest, manifest.records[row])
        frames[row] = look.frame
        return look.facts

    return frames, tuple(in_threads(one, len(manifest), progress))


def _with_file_flags(manifest: Manifest, facts: Sequence[FileFacts]) -> Manifest:
    records = (
        replace(record, flags=tuple(sorted((set(record.flags) - set(FILE_FLAGS)) | set(fact.flags))))
        for record, fact in zip(manifest, facts, strict=True)
    )
    return manifest.with_records(records)


def _styles(manifest: Manifest, features: MetaFeatures, *, seed: int) -> SourceTable | None:
    styles = guess_sources(features, seed=seed)
    return source_table(replace(record, source=style) for record, style in zip(manifest, styles, strict=True))


def audit_groups(manifest: Manifest, *, progress: Progress | None = None) -> Manifest:
    """Return the manifest with groups and leak flags alone, without the files' own oddities; arguments as for `audit`."""
    frames = _frames(manifest, progress=progress)
    numbered = consecutive([record.path for record in manifest])
    pairs = find_pairs(frames, [record.sha256 for record in manifest], numbered=numbered, progress=progress)
    return grouped(manifest, pairs)


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
    frames = np.concatenate([_frames(manifest, progress=progress), _frames(other, progress=progress)])
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


def _frames(manifest: Manifest, *, progress: Progress | None = None) -> np.ndarray:
    """The frame of every image, uint8, shape (n, FRAME_SIZE, FRAME_SIZE)."""

    def one(row: int) -> np.ndarray:
        return frame(Preprocessing().eight_bit(decode_record(manifest, manifest.records[row]).pixels))

    return np.stack(list(in_threads(one, len(manifest), progress)))
