"""What must stay together: clusters of one slice, joined with patients where the source knows them; and who leaks into training."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from tumorscope.data.audit.twins import COPY, NEIGHBOUR, TWIN, Pairs
from tumorscope.labels import LABELS, NO_TUMOUR, UNSTATED_TUMOUR
from tumorscope.manifest import LEAK_FLAGS, SLICE_GROUP, TWIN_IN_TRAIN, Manifest, Record

LABEL_CONFLICT = "label_conflict"


@dataclass(frozen=True, slots=True)
class Leaks:
    """How many test images have something of theirs on the training side.

    Attributes:
        images: Test images of every label; of tumours of unstated type only where there are any.
        flagged: Flag of `LEAK_FLAGS` to images of every label that have it.
        twin_free: Test images of every label whose slice is not in training.
    """

    images: Mapping[str, int]
    flagged: Mapping[str, Mapping[str, int]]
    twin_free: Mapping[str, int]

    @property
    def share_in_training(self) -> float:
        """Share of the test images that show the same slice as a training image, 0 to 1."""
        return 1 - sum(self.twin_free.values()) / sum(self.images.values())


def slice_clusters(count: int, pairs: Pairs) -> np.ndarray:
    """Return a number for every image, equal for images of one slice: joined by copies and twins, directly or by way of others.

    Args:
        count: Images.
        pairs: Found among them.

    Returns:
        int64, shape (count,).
    """
    same = pairs.of_kind(COPY, TWIN)
    links = coo_array((np.ones(len(same), dtype=bool), (same.a, same.b)), shape=(count, count))
    return np.asarray(connected_components(links, directed=False)[1], dtype=np.int64)


def grouped(manifest: Manifest, pairs: Pairs, *, join_neighbours: bool = False) -> Manifest:
    """Return the manifest with a group for every image, and leaks and contradicting labels flagged.

    A group joins the images of a patient where the source names patients, all images of one slice, and on request likely
    neighbours. Groups of a known patient keep that name; others are named after the pixels of a member, so the same images
    get the same name in any folder.

    Args:
        manifest: Indexed images.
        pairs: `find_pairs` of them.
        join_neighbours: Whether likely neighbours are joined as well.
    """
    clusters = slice_clusters(len(manifest), pairs)
    flags = _leak_flags(manifest, pairs, clusters)
    for row in _conflicting(manifest, clusters):
        flags[row].add(LABEL_CONFLICT)
    names = _group_names(manifest, pairs if join_neighbours else pairs.of_kind(COPY, TWIN))
    own = {*LEAK_FLAGS, LABEL_CONFLICT}
    records = (
        replace(record, group=name, flags=tuple(sorted((set(record.flags) - own) | flags[row])))
        for row, (record, name) in enumerate(zip(manifest, names, strict=True))
    )
    return manifest.with_records(records)


def count_leaks(manifest: Manifest) -> Leaks | None:
    """Return what the flags of a grouped manifest say of its test split, or None when it has none."""
    test = [record for record in manifest if record.split == "test"]
    if not test:
        return None

    labels = (*LABELS, UNSTATED_TUMOUR) if any(record.label == UNSTATED_TUMOUR for record in test) else LABELS

    def per_label(records: list[Record]) -> dict[str, int]:
        counter = Counter(record.label for record in records)
        return {label: counter[label] for label in labels}

    return Leaks(
        images=per_label(test),
        flagged={flag: per_label([record for record in test if flag in record.flags]) for flag in LEAK_FLAGS},
        twin_free=per_label([record for record in test if TWIN_IN_TRAIN not in record.flags]),
    )


def conflicts(manifest: Manifest, pairs: Pairs) -> tuple[tuple[int, ...], ...]:
    """Return the rows of every slice whose images have labels that cannot all be right.

    A tumour of unstated type contradicts no type, but it contradicts that there is no tumour.
    """
    clusters = slice_clusters(len(manifest), pairs)
    members: dict[int, list[int]] = {}
    for row in _conflicting(manifest, clusters):
        members.setdefault(int(clusters[row]), []).append(row)
    return tuple(tuple(rows) for rows in members.values())


def _conflicting(manifest: Manifest, clusters: np.ndarray) -> list[int]:
    labels: dict[int, set[str]] = {}
    for record, cluster in zip(manifest, clusters.tolist(), strict=True):
        labels.setdefault(cluster, set()).add(record.label)
    return [row for row, cluster in enumerate(clusters.tolist()) if _contradict(labels[cluster])]


def _contradict(labels: set[str]) -> bool:
    stated = labels - {UNSTATED_TUMOUR}
    return len(stated) > 1 or (UNSTATED_TUMOUR in labels and NO_TUMOUR in labels)


def _leak_flags(manifest: Manifest, pairs: Pairs, clusters: np.ndarray) -> list[set[str]]:
    test = np.array([record.split == "test" for record in manifest])
    flags: list[set[str]] = [set() for _ in manifest]
    if not test.any():
        return flags
    pixels = {record.sha256 for record in manifest if record.split != "test"}
    patients = {record.group for record in manifest if record.split != "test" and _names_patient(record.group)}
    known = np.zeros(len(manifest), dtype=bool)
    known[clusters[~test]] = True
    near = np.zeros(len(manifest), dtype=bool)
    neighbours = pairs.of_kind(NEIGHBOUR)
    ends = clusters[neighbours.a], clusters[neighbours.b]
    for one, other in (ends, ends[::-1]):
        near[one[known[other]]] = True
    for row in np.flatnonzero(test).tolist():
        record = manifest.records[row]
        holds = (record.sha256 in pixels, bool(known[clusters[row]]), bool(near[clusters[row]]), record.group in patients)
        flags[row] = {flag for flag, true in zip(LEAK_FLAGS, holds, strict=True) if true}
    return flags


def _names_patient(group: str) -> bool:
    return bool(group) and not group.startswith(SLICE_GROUP)


def _group_names(manifest: Manifest, joining: Pairs) -> list[str]:
    patients: dict[str, int] = {}
    first = [patients.setdefault(r.group, row) if _names_patient(r.group) else row for row, r in enumerate(manifest)]
    rows = np.concatenate([joining.a, np.arange(len(manifest))])
    others = np.concatenate([joining.b, np.array(first, dtype=np.int64)])
    links = coo_array((np.ones(len(rows), dtype=bool), (rows, others)), shape=(len(manifest), len(manifest)))
    number = connected_components(links, directed=False)[1].tolist()
    named: dict[int, str] = {}
    for record, group in zip(manifest, number, strict=True):
        # The smallest patient's name sorts before any slice's, whatever the order of the rows.
        candidate = record.group if _names_patient(record.group) else f"{SLICE_GROUP}{record.sha256[:16]}"
        named[group] = min(named.get(group, candidate), candidate, key=lambda name: (not _names_patient(name), name))
    return [named[group] for group in number]
