"""How many images of each part of a test set are answered rightly: of each source, of each plane."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tumorscope.resampling import mean_intervals, number_groups


def right_by_part(
    parts: Sequence[str], right: Sequence[bool], *, groups: Sequence[str], seed: int = 0
) -> Mapping[str, dict[str, Any]]:
    """Return the share of right answers within every part, the lowest first.

    Args:
        parts: Part of every image.
        right: Whether each answer is the truth.
        groups: Group of every image, empty where unknown: the intervals resample groups.
        seed: Of the intervals.

    Returns:
        Part to {value, interval, n}: 0 to 1, [low, high] or None, images.
    """
    names = sorted(set(parts))
    if not names:
        return {}
    hits = np.array(right, dtype=np.float64)
    columns = np.stack([np.where([part == name for part in parts], hits, np.nan) for name in names])
    intervals = mean_intervals(columns, number_groups(groups), shares=True, seed=seed)
    cells = {
        name: {"value": float(np.nanmean(column)), "interval": bounds, "n": int((~np.isnan(column)).sum())}
        for name, column, bounds in zip(names, columns, intervals, strict=True)
    }
    return dict(sorted(cells.items(), key=lambda item: (item[1]["value"], item[0])))
