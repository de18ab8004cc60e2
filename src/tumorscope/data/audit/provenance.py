"""Which collections the classes come from, and how far the collection alone tells the class."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

import numpy as np
from scipy.stats import rankdata
from sklearn.cluster import HDBSCAN
from sklearn.neighbors import KNeighborsClassifier

from tumorscope.data.audit.shortcuts import MOST_IMAGES, MetaFeatures
from tumorscope.data.audit.twins import COPY, TWIN, Pairs
from tumorscope.labels import LABELS, NO_TUMOUR, find_label, label_info
from tumorscope.manifest import SPLIT_WORDS, Manifest, Record

SECOND_SOURCE_IMAGES = 20
SECOND_SOURCE_SHARE = 0.05
"""A source counts for a class when it gives that many of its images, or that share of them if those are fewer."""

MOST_FOLDERS = 8

_SMALLEST_STYLE_SHARE = 0.05
_SMALLEST_STYLE = 10
_NEIGHBOURS = 10
# Ranks are spread as widely as a yes or no is: half of the standard normal's deviation.
_RANK_SPREAD = math.sqrt(12) / 2


@dataclass(frozen=True, slots=True)
class SourceTable:
    """Classes against sources.

    Attributes:
        counts: Source to images of every label, the largest source first; images without a source do not count.
        without_source: Images without one.
    """

    counts: Mapping[str, Mapping[str, int]]
    without_source: int

    @property
    def images(self) -> int:
        """Images with a source."""
        return sum(sum(row.values()) for row in self.counts.values())

    @property
    def per_label(self) -> Mapping[str, int]:
        """Images with a source of every label that has any."""
        totals = {label: sum(row[label] for row in self.counts.values()) for label in LABELS}
        return {label: count for label, count in totals.items() if count}

    @property
    def share_told(self) -> float:
        """Share of the images whose class is the most frequent one of their source, 0 to 1: what knowing the source scores."""
        return sum(max(row.values()) for row in self.counts.values()) / self.images

    @property
    def majority_share(self) -> float:
        """What always answering the most frequent class scores, 0 to 1."""
        return max(self.per_label.values()) / self.images

    @property
    def tumour_share_told(self) -> float | None:
        """As `share_told`, for tumour against none; None where the set has only one of the two."""
        none = [row[NO_TUMOUR] for row in self.counts.values()]
        some = [sum(row.values()) - row[NO_TUMOUR] for row in self.counts.values()]
        if not sum(none) or not sum(some):
            return None
        return sum(map(max, none, some)) / self.images

    def sources_of(self, label: str) -> tuple[str, ...]:
        """Return the sources that count for a class, the largest first; see `SECOND_SOURCE_SHARE`."""
        needed = min(SECOND_SOURCE_IMAGES, math.ceil(SECOND_SOURCE_SHARE * self.per_label[label]))
        found = [source for source, row in self.counts.items() if row[label] >= needed]
        return tuple(sorted(found, key=lambda source: (-self.counts[source][label], source)))

    @property
    def with_second_source(self) -> tuple[str, ...]:
        """Labels that at least two sources count for."""
        return tuple(label for label in self.per_label if len(self.sources_of(label)) > 1)

    @property
    def without_second_source(self) -> tuple[str, ...]:
        """Labels that a single source counts for."""
        return tuple(label for label in self.per_label if len(self.sources_of(label)) == 1)

    @property
    def sentences(self) -> tuple[str, ...]:
        """What a reader must know of it, the worst first."""
        found = [self._of_one_source(label) for label in self.without_second_source if self._has_its_own_source(label)]
        told = self.tumour_share_told
        if told is not None and len(self.counts) > 1:
            found.append(f"The source alone tells tumour from no tumour in {told:.1%} of the images.")
        if len(self.per_label) > 1 and len(self.counts) > 1:
            found.append(
                f"The source alone tells the class of {self.share_told:.1%} of the images; the most frequent class is "
                f"{self.majority_share:.1%}."
            )
        single = [label_info(label).display_name for label in self.without_second_source]
        if single and len(self.counts) > 1:
            found.append(
                f"Without a second source: {', '.join(single)}. There, having learned the class looks like knowing the source."
            )
        if self.without_source:
            one = self.without_source == 1
            found.append(
                f"{self.without_source:,} image{' names' if one else 's name'} no source and {'is' if one else 'are'} not counted."
            )
        return tuple(found)

    def _has_its_own_source(self, label: str) -> bool:
        row = self.counts[self.sources_of(label)[0]]
        return len(self.per_label) > 1 and row[label] == sum(row.values())

    def _of_one_source(self, label: str) -> str:
        source, total = self.sources_of(label)[0], self.per_label[label]
        count, name = self.counts[source][label], label_info(label).display_name
        of_known = " of known source" if self.without_source else ""
        which = f"{count:,} of {total:,} {name} images{of_known} come"
        if count == total and not self.without_source:
            which = f"Every {name} image comes"
        return f"{which} from {source}, which holds nothing else: a model can score by recognising the source."


def source_table(records: Iterable[Record]) -> SourceTable | None:
    """Return classes against sources, or None when no image names its source."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    without = 0
    for record in records:
        if record.label not in LABELS:
            continue
        if record.source:
            counts[record.source][record.label] += 1
        else:
            without += 1
    if not counts:
        return None
    largest_first = sorted(counts, key=lambda source: (-counts[source].total(), source))
    return SourceTable({source: {label: counts[source][label] for label in LABELS} for source in largest_first}, without)


def with_folder_sources(manifest: Manifest) -> Manifest:
    """Return the manifest with the collection of every image that names none taken from its folder, where folders tell any apart.

    The first folder that is neither a split nor a class, below what all paths share: `cheng` of `cheng/12.jpg`. Folders that
    hold a patient each are no collections: more than `MOST_FOLDERS` of them mean nothing.
    """
    if any(record.source for record in manifest):
        return manifest
    folders = [_telling_folders(record.path) for record in manifest]
    shared = next((depth for depth, parts in enumerate(zip(*folders, strict=False)) if len(set(parts)) > 1), min(map(len, folders)))
    names = [parts[shared] if len(parts) > shared else "" for parts in folders]
    if not 2 <= len(set(names)) <= MOST_FOLDERS or "" in names:
        return manifest
    note = f"Sources were taken from the folders {', '.join(sorted(set(names)))}."
    records = (replace(record, source=name) for record, name in zip(manifest, names, strict=True))
    return manifest.with_records(records, note=note)


def with_sources_of(manifest: Manifest, other: Manifest, pairs: Pairs, *, name: str) -> Manifest:
    """Return the manifest with the collection of every image that names none taken from another set that holds its slice.

    What another set says of one image holds for its whole group: a slice, or a patient, comes from one collection.

    Args:
        manifest: Images with groups.
        other: Another set; where its images name no source and its folders tell none either, it is one collection.
        pairs: Copies and twins, `a` a row of the manifest, `b` of the other set, counted on from those of the manifest.
        name: What to call the other set.
    """
    known = with_folder_sources(other)
    votes: dict[str, Counter[str]] = defaultdict(Counter)
    same = pairs.of_kind(COPY, TWIN)
    for a, b in zip(same.a.tolist(), same.b.tolist(), strict=True):
        votes[_kept_together(manifest.records[a])][known.records[b - len(manifest)].source or name] += 1
    found = {group: counter.most_common(1)[0][0] for group, counter in votes.items()}
    records = [replace(r, source=r.source or found.get(_kept_together(r), "")) for r in manifest]
    filled = sum(new.source != old.source for new, old in zip(records, manifest, strict=True))
    note = f"The source of {filled:,} of {len(manifest):,} images was taken from {name}, which holds the same slice or patient."
    return manifest.with_records(records, note=note if filled else None)


def _kept_together(record: Record) -> str:
    return record.group or record.sha256


def _telling_folders(path: str) -> list[str]:
    """Folders of a path that are neither a split nor a class."""
    parts = PurePosixPath(path).parts[:-1]
    return [part for part in parts if part.lower() not in SPLIT_WORDS and find_label(part) is None]


def guess_sources(features: MetaFeatures, *, seed: int) -> tuple[str, ...]:
    """Return a proposed source for every image: a cluster of framing, resolution, intensity and compression.

    A proposal to look at, not a finding. Where collections lie as they were published it finds them; where somebody brought all
    images to one size and compression, it finds little more than who was stored in colour. `differences` over the images with a
    style says what it is.

    Args:
        features: Of every image.
        seed: Of the draw where there are more than `MOST_IMAGES`; the others then join their nearest drawn image.

    Returns:
        `style-1` for the largest cluster and so on; empty for an image that fits none, and for all when there are not two.

    Source:
        Campello et al. 2013, https://doi.org/10.1007/978-3-642-37456-2_14
    """
    smallest = max(_SMALLEST_STYLE, round(_SMALLEST_STYLE_SHARE * min(len(features), MOST_IMAGES)))
    if len(features) < 2 * smallest or not features.names:
        return ("",) * len(features)
    places = _placed(features)
    drawn = np.sort(np.random.default_rng(seed).permutation(len(features))[:MOST_IMAGES])
    number = HDBSCAN(min_cluster_size=smallest, min_samples=_NEIGHBOURS, copy=True).fit_predict(places[drawn])
    if len(drawn) < len(features):
        number = KNeighborsClassifier(1).fit(places[drawn], number).predict(places)
    by_size = [cluster for cluster, _ in Counter(number[number >= 0].tolist()).most_common()]
    names = {cluster: f"style-{place}" for place, cluster in enumerate(by_size, start=1)}
    return tuple(names.get(cluster, "") for cluster in number.tolist())


def _placed(features: MetaFeatures) -> np.ndarray:
    """Return every image as a point: measurements as ranks, words and whether a measurement is known as yes or no."""
    axes = []
    for column, name in enumerate(features.names):
        values = features.values[:, column]
        if name in features.words:
            axes += [(values == code).astype(np.float64) for code in range(len(features.words[name]))]
            continue
        known = ~np.isnan(values)
        if not known.all():
            axes.append(known.astype(np.float64))
        rank = np.full(len(values), 0.5)
        rank[known] = rankdata(values[known]) / max(1, known.sum())
        axes.append((rank - 0.5) * _RANK_SPREAD)
    return np.stack(axes, axis=1)
