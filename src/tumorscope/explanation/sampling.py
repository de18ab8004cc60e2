"""Which images are measured where not all can be: spread evenly, never by hand."""

from collections.abc import Sequence

import numpy as np

from tumorscope.data.pixel_cache import PixelCache
from tumorscope.errors import EvaluationError


def spread(cache: PixelCache, split: str, limit: int | None) -> np.ndarray:
    """Return rows of a split in the manifest's order, of each class at most `limit`, spread evenly over it; int64.

    Raises:
        EvaluationError: The split has no images.
    """
    rows = cache.rows(split)
    if not len(rows):
        raise EvaluationError(f"no image is in the {split} split, so nothing can be explained. Choose another split.")
    if limit is None:
        return rows
    labels = cache.label_index[rows]
    return np.sort(np.concatenate([evenly(rows[labels == label], limit) for label in np.unique(labels)]))


def sample_of(labels: Sequence[str], count: int) -> np.ndarray:
    """Return places of at most `count` images, every class by its share of all, spread evenly over it; int64.

    The sample looks like the whole, right and wrong answers alike, so that a mean over it is an estimate of the mean over all.
    """
    order = np.argsort(np.array(labels), kind="stable")
    return np.sort(evenly(order, count))


def evenly(rows: np.ndarray, count: int) -> np.ndarray:
    """Return at most `count` of some rows, spread evenly over them."""
    if len(rows) <= count:
        return rows
    return rows[[place * len(rows) // count for place in range(count)]]
