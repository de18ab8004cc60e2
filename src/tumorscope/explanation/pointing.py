"""Does a network point at the tumour: a few measures of every outlined scan, without all that an explanation takes."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tumorscope.explanation.localisation import ON_TUMOUR, on_tumour
from tumorscope.explanation.looking import Looked, Looker
from tumorscope.explanation.outlines import Outlines
from tumorscope.labels import LABELS, NO_TUMOUR

ANSWER, LIKELIEST_TUMOUR = "answer", "likeliest_tumour"
"""Whose map: the answer's, which may be “no tumour”, or the likeliest tumour's."""


def points_of(looker: Looker, looked: Looked, outlines: Outlines) -> dict[str, np.ndarray]:
    """Return what each map has to do with the outline of its scan.

    Args:
        looker: The network.
        looked: What it said of some scans.
        outlines: Of the same scans.

    Returns:
        `ANSWER` and `LIKELIEST_TUMOUR` to the values of `ON_TUMOUR`, float64, shape (n, 3); NaN for scans without an outline.
    """
    tumour = looked.probabilities.copy()
    tumour[:, LABELS.index(NO_TUMOUR)] = -1.0
    found = {}
    for name, labels in ((ANSWER, looked.predicted_index), (LIKELIEST_TUMOUR, tumour.argmax(axis=1))):
        values = np.full((len(labels), len(ON_TUMOUR)), np.nan)
        for row, (cells, mask) in enumerate(zip(looked.maps_of(labels), outlines.masks, strict=True)):
            if mask is not None:
                measured = on_tumour(looker.place(cells), mask, peak=looker.peak(cells))
                values[row] = [measured[measure] for measure in ON_TUMOUR]
        found[name] = values
    return found


def summarise_points(found: Sequence[dict[str, np.ndarray]], keep: np.ndarray) -> dict[str, Any] | None:
    """Return means over scans, and over models where there are several, as plain JSON values; None without any outline.

    Args:
        found: What `points_of` returned for each model, on the same scans.
        keep: Which scans count, bool, shape (n,).
    """
    outlined = keep & ~np.isnan(found[0][ANSWER][:, 0])
    if not outlined.any():
        return None
    means = {name: np.mean([one[name][outlined].mean(axis=0) for one in found], axis=0) for name in (ANSWER, LIKELIEST_TUMOUR)}
    return {
        "n": int(outlined.sum()),
        **{name: dict(zip(ON_TUMOUR, map(float, values), strict=True)) for name, values in means.items()},
    }
