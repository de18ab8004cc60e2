"""Measures of single images to the tables of explanation.json: means with intervals, in all and by part."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tumorscope.data.plane import PLANES
from tumorscope.labels import LABELS
from tumorscope.resampling import mean_interval, number_groups

SIZES = ("small", "medium", "large")
SIZE_LIMITS = (0.005, 0.02)
"""Shares of the image that a tumour needs to be medium, and to be large."""


OWN = ""
"""Key of the measures of the heatmap itself among those of what it is compared with."""

Measures = Mapping[str, float | None]
Cell = dict[str, Any]


@dataclass(frozen=True, slots=True)
class MeasuredImage:
    """What was measured of one image.

    Attributes:
        path: As the manifest spells it.
        label: The truth.
        predicted: The answer.
        confidence: Probability of the answer, 0 to 1.
        group: Images that belong together; empty when unknown.
        plane: One of `PLANES`, or empty.
        mask_share: Share of the image that is tumour, None without an outline.
        measures: Kind of map to measure to value: the heatmap itself under `OWN`, baselines and other methods by name.
    """

    path: str
    label: str
    predicted: str
    confidence: float
    group: str = ""
    plane: str = ""
    mask_share: float | None = None
    measures: Mapping[str, Measures] = field(default_factory=dict)

    @property
    def correct(self) -> bool:
        """Whether the answer is the truth."""
        return self.label == self.predicted

    @property
    def size(self) -> str:
        """One of `SIZES`, or empty without an outline."""
        if self.mask_share is None:
            return ""
        return SIZES[int(np.searchsorted(SIZE_LIMITS, self.mask_share, side="right"))]


def metric_table(
    images: Sequence[MeasuredImage], metric: str, *, methods: Iterable[str] = (), seed: int = 0
) -> dict[str, Any] | None:
    """Return one measure over all images: in all, by class, plane, tumour size, right and wrong answers, and what stands beside it.

    Args:
        images: At least one.
        metric: Key of `MeasuredImage.measures`.
        methods: Kinds of maps that are other methods; every other kind counts as a baseline.
        seed: Of the intervals.

    Returns:
        {value, interval, n, per_class, per_plane, per_size, correct, incorrect, baselines, methods}, each part {value, interval,
        n}; None when no image has the measure.
    """
    numbers = number_groups([image.group for image in images])
    kinds = list(dict.fromkeys(kind for image in images for kind in image.measures))

    def values(kind: str) -> np.ndarray:
        found = [image.measures.get(kind, {}).get(metric) for image in images]
        return np.array([np.nan if value is None else value for value in found])

    def cell(keep: Sequence[bool]) -> Cell:
        return mean_cell(np.where(keep, own, np.nan), numbers, seed=seed)

    def parts(names: Sequence[str], of_image: Sequence[str]) -> dict[str, Cell]:
        cells = {name: cell([found == name for found in of_image]) for name in names}
        return {name: found for name, found in cells.items() if found["n"]}

    own = values(OWN)
    if np.isnan(own).all():
        return None
    others = {kind: mean_cell(values(kind), numbers, seed=seed) for kind in kinds if kind != OWN}
    others = {kind: found for kind, found in others.items() if found["n"]}
    return {
        **mean_cell(own, numbers, seed=seed),
        "per_class": parts(LABELS, [image.label for image in images]),
        "per_plane": parts((*PLANES, "unknown"), [image.plane or "unknown" for image in images]),
        "per_size": parts(SIZES, [image.size for image in images]),
        "correct": cell([image.correct for image in images]),
        "incorrect": cell([not image.correct for image in images]),
        "baselines": {kind: found for kind, found in others.items() if kind not in set(methods)},
        "methods": {kind: found for kind, found in others.items() if kind in set(methods)},
    }


def mean_cell(values: np.ndarray, groups: np.ndarray, *, seed: int = 0) -> Cell:
    """Return {value, interval, n} of the mean over the images that have a value, None where there is none.

    Args:
        values: float64, shape (n,), NaN where an image has none.
        groups: int64, shape (n,), see `resampling.number_groups`.
        seed: Of the interval.
    """
    defined = ~np.isnan(values)
    return {
        "value": float(values[defined].mean()) if defined.any() else None,
        "interval": mean_interval(values, groups, seed=seed),
        "n": int(defined.sum()),
    }


def mean_cells(rows: Sequence[Measures], groups: Sequence[str], *, seed: int = 0) -> dict[str, Cell]:
    """Return `mean_cell` of every key of rows, one row for each image, with the group of each."""
    numbers = number_groups(groups)
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {name: np.array([np.nan if row.get(name) is None else row[name] for row in rows], dtype=float) for name in names}
    return {name: mean_cell(values, numbers, seed=seed) for name, values in columns.items()}
