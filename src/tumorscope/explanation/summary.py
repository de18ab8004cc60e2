"""Measures of single images to the tables of explanation.json: means with intervals, in all and by part."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tumorscope.data.plane import PLANES
from tumorscope.labels import LABELS
from tumorscope.resampling import mean_intervals, number_groups

SIZES = ("small", "medium", "large")
SIZE_LIMITS = (0.005, 0.02)
"""Shares of the image that a tumour needs to be medium, and to be large."""

UNKNOWN_PLANE = "unknown"
SHARES = ("pointing_game", "pointing_game_15px", "same_answer")
"""Measures that are yes or no for every image."""

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
        return "" if self.mask_share is None else size_of(self.mask_share)


def size_of(mask_share: float) -> str:
    """Return which of `SIZES` a tumour has that is such a share of its image."""
    return SIZES[int(np.searchsorted(SIZE_LIMITS, mask_share, side="right"))]


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
        {value, interval, n, per_class, per_plane, per_size, correct, incorrect, baselines, methods}. Each baseline has the same
        parts; each method, which may have seen fewer images, has `own`: the heatmap's value on the images that it has seen. None
        when no image has the measure.
    """
    kinds = [OWN, *(kind for kind in dict.fromkeys(kind for image in images for kind in image.measures) if kind != OWN)]
    values = {kind: _column(images, kind, metric) for kind in kinds}
    if np.isnan(values[OWN]).all():
        return None
    parts = _parts(images)
    others = [kind for kind in kinds if kind != OWN and not np.isnan(values[kind]).all()]
    known, wanted = set(methods), dict[tuple[str, ...], np.ndarray]()
    for kind in (OWN, *(kind for kind in others if kind not in known)):
        wanted |= {(kind, *path): np.where(keep, values[kind], np.nan) for path, keep in parts.items()}
    for kind in (kind for kind in others if kind in known):
        wanted[kind,] = values[kind]
        wanted[kind, "own"] = np.where(np.isnan(values[kind]), np.nan, values[OWN])
    cells = _cells(wanted, number_groups([image.group for image in images]), metric=metric, seed=seed)
    tables = {kind: _nested({path[1:]: cell for path, cell in cells.items() if path[0] == kind}) for kind in (OWN, *others)}
    return {
        **tables[OWN],
        "baselines": {kind: table for kind, table in tables.items() if kind != OWN and kind not in known},
        "methods": {kind: table for kind, table in tables.items() if kind in known},
    }


def _column(images: Sequence[MeasuredImage], kind: str, metric: str) -> np.ndarray:
    found = [image.measures.get(kind, {}).get(metric) for image in images]
    return np.array(found, dtype=np.float64)  # None becomes NaN


def _parts(images: Sequence[MeasuredImage]) -> dict[tuple[str, ...], np.ndarray]:
    """Where a part stands in a table, to the images that belong to it, bool, shape (n,)."""
    labels, planes, sizes = (
        np.array(column)
        for column in ([i.label for i in images], [i.plane or UNKNOWN_PLANE for i in images], [i.size for i in images])
    )
    correct = np.array([image.correct for image in images])
    return {
        (): np.ones(len(images), dtype=bool),
        **{("per_class", label): labels == label for label in LABELS},
        **{("per_plane", plane): planes == plane for plane in (*PLANES, UNKNOWN_PLANE)},
        **{("per_size", size): sizes == size for size in SIZES},
        ("correct",): correct,
        ("incorrect",): ~correct,
    }


def _nested(cells: Mapping[tuple[str, ...], Cell]) -> dict[str, Any]:
    """Cells by path as a table; classes, planes and sizes without images are left out."""
    table: dict[str, Any] = {}
    for path, cell in cells.items():
        if not path:
            table |= cell
        elif len(path) == 1:
            table[path[0]] = cell
        else:
            part = table.setdefault(path[0], {})
            if cell["n"]:
                part[path[1]] = cell
    return table


def _cells(
    columns: Mapping[tuple[str, ...], np.ndarray], groups: np.ndarray, *, metric: str, seed: int
) -> dict[tuple[str, ...], Cell]:
    intervals = mean_intervals(np.stack(list(columns.values())), groups, shares=metric in SHARES, seed=seed)
    found = {}
    for (path, values), interval in zip(columns.items(), intervals, strict=True):
        defined = ~np.isnan(values)
        value = float(values[defined].mean()) if defined.any() else None
        found[path] = {"value": value, "interval": interval, "n": int(defined.sum())}
    return found


def mean_cells(rows: Sequence[Measures], groups: Sequence[str], *, seed: int = 0) -> dict[str, Cell]:
    """Return {value, interval, n} of the mean of every key of rows, one row for each image, with the group of each."""
    numbers = number_groups(groups)
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {name: np.array([row.get(name) for row in rows], dtype=np.float64) for name in names}
    return {name: mean_cell(values, numbers, metric=name, seed=seed) for name, values in columns.items()}


def mean_cell(values: np.ndarray, groups: np.ndarray, *, metric: str = "", seed: int = 0) -> Cell:
    """Return {value, interval, n} of the mean over the images that have a value, None where there is none.

    Args:
        values: float64, shape (n,), NaN where an image has none.
        groups: int64, shape (n,), see `resampling.number_groups`.
        metric: What is measured; a share gets exact bounds where it is 0 or 1.
        seed: Of the interval.
    """
    return _cells({(): values}, groups, metric=metric, seed=seed)[()]
