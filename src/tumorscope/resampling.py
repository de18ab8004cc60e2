"""Bootstrap by group: how far a number that was counted on some images can be trusted. Pure functions of arrays."""

from collections.abc import Iterator, Sequence

import numpy as np

from tumorscope.errors import EvaluationError

RESAMPLES = 2000
LEVEL = 0.95

_CELLS_AT_ONCE = 1_000_000


def refuse_settings(*, resamples: int, level: float) -> None:
    """Raise EvaluationError when a bootstrap with these settings would mean nothing."""
    if resamples < 100:
        raise EvaluationError(f"resamples {resamples}: an interval needs at least 100; {RESAMPLES} is usual.")
    if not 0 < level < 1:
        raise EvaluationError(f"level {level}: allowed is a share between 0 and 1, such as {LEVEL}.")


def resample_weights(group_count: int, *, resamples: int, seed: int, width: int = 0) -> Iterator[np.ndarray]:
    """Yield how often each group is drawn, in blocks of resamples that keep memory small.

    Args:
        group_count: Groups to draw from, and draws per resample.
        resamples: Rows over all blocks.
        seed: The same seed yields the same rows, however they are cut into blocks.
        width: Images per resample that the caller expands a row to, where more than groups.

    Yields:
        float64 whole numbers, shape (block, group_count); every row sums to `group_count`.
    """
    rng = np.random.default_rng(seed)
    block = max(1, _CELLS_AT_ONCE // max(group_count, width))
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        draws = rng.integers(group_count, size=(rows, group_count)) + np.arange(rows)[:, None] * group_count
        yield np.bincount(draws.ravel(), minlength=rows * group_count).reshape(rows, group_count).astype(np.float64)


def percentile_interval(values: np.ndarray, *, level: float) -> list[float] | None:
    """Return the middle `level` of resampled values, NaN left out, or None when all of them are equal or undefined."""
    defined = values[~np.isnan(values)]
    if not len(defined) or np.ptp(defined) < 1e-12:
        return None
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return [float(low), float(high)]


def edge_interval(share: float, trials: int, *, level: float) -> list[float]:
    """Return the Clopper-Pearson interval of a share of exactly 0 or 1; without trials it is [0, 1]."""
    bound = ((1 - level) / 2) ** (1 / trials) if trials else 0.0
    return [bound, 1.0] if share == 1 else [0.0, 1 - bound]


def number_groups(groups: Sequence[str]) -> np.ndarray:
    """Return the group of every image as a number from 0, int64, shape (n,); an image with an empty name is its own group.

    Numbers follow the names and not the rows, so that a seed draws the same groups in whatever order the images stand.
    """
    keys = [(name, -1) if name else ("", row) for row, name in enumerate(groups)]
    number = {key: i for i, key in enumerate(sorted(set(keys)))}
    return np.array([number[key] for key in keys], dtype=np.int64)


def resampled_means(values: np.ndarray, groups: np.ndarray, *, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """Return the mean of a value over images in every resample of the groups.

    Args:
        values: One per image, float64, shape (n,); NaN where an image has none.
        groups: Group of every image, int64, shape (n,), from `number_groups`.
        resamples: How often the groups are drawn with replacement.
        seed: Of the draws; the same seed draws the same groups for every value, so that differences are paired.

    Returns:
        float64, shape (resamples,); NaN where no image with a value was drawn.
    """
    defined = ~np.isnan(values)
    count = int(groups.max()) + 1 if len(groups) else 0
    sums = np.bincount(groups[defined], weights=values[defined], minlength=count)
    images = np.bincount(groups[defined], minlength=count).astype(np.float64)
    weights = resample_weights(count, resamples=resamples, seed=seed)
    drawn = np.concatenate([rows @ np.stack([sums, images], axis=1) for rows in weights])
    return divide(drawn[:, 0], drawn[:, 1], otherwise=np.nan)


def mean_interval(
    values: np.ndarray, groups: np.ndarray, *, resamples: int = RESAMPLES, seed: int = 0, level: float = LEVEL
) -> list[float] | None:
    """Return the bootstrap interval of a mean over images, or None when the images give none.

    A share of yes and no (values 0 and 1) that is exactly 0 or 1 takes the Clopper-Pearson bounds with the number of groups.
    Arguments as for `resampled_means`; groups without any value are left out of the draw.
    """
    defined = ~np.isnan(values)
    if not defined.any():
        return None
    own, numbers = values[defined], np.unique(groups[defined], return_inverse=True)[1]
    if np.isin(own, (0.0, 1.0)).all() and own.min() == own.max():
        return edge_interval(float(own[0]), int(numbers.max()) + 1, level=level)
    return percentile_interval(resampled_means(own, numbers, resamples=resamples, seed=seed), level=level)


def weighted_area(truth: np.ndarray, score: np.ndarray, *, weights: np.ndarray) -> np.ndarray:
    """Return the area under the ROC curve of many weightings of the same images at once.

    It is the chance that an image with a yes scores above one with a no; equal scores count one half.

    Args:
        truth: bool, shape (n,).
        score: A higher score says yes, float64, shape (n,).
        weights: How often each image counts, float64, shape (b, n).

    Returns:
        0 to 1, float64, shape (b,); NaN where only one kind of image has weight.
    """
    order = np.argsort(score, kind="stable")
    firsts = np.flatnonzero(np.diff(score[order], prepend=-np.inf))
    ordered = weights[:, order]
    yes = np.add.reduceat(ordered * truth[order], firsts, axis=1)
    no = np.add.reduceat(ordered, firsts, axis=1) - yes
    below = np.cumsum(no, axis=1) - no / 2
    return divide((yes * below).sum(axis=1), yes.sum(axis=1) * no.sum(axis=1), otherwise=np.nan)


def divide(above: np.ndarray, below: np.ndarray, *, otherwise: float) -> np.ndarray:
    """Return a quotient, and `otherwise` where nothing stands below; float64, the shape of `below`."""
    result: np.ndarray = np.divide(above, below, out=np.full(below.shape, otherwise), where=below > 0)
    return result
