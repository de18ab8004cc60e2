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


def deal_folds(numbers: np.ndarray, *, folds: int, seed: int) -> np.ndarray:
    """Return the fold of every image, from 0, int64, shape (n,): groups are dealt at random, as many to each fold as to another.

    Args:
        numbers: From `number_groups`.
        folds: How many; with fewer groups, one for each.
        seed: Of the dealing.
    """
    count = int(numbers.max()) + 1
    dealt: np.ndarray = np.random.default_rng(seed).permutation(count)[numbers] % min(folds, count)
    return dealt


def mean_intervals(
    columns: np.ndarray,
    groups: np.ndarray,
    *,
    shares: bool | Sequence[bool],
    seed: int = 0,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> list[list[float] | None]:
    """Return the bootstrap intervals of many means over the same images, all from the same draws of groups.

    Args:
        columns: float64, shape (k, n): k measures or parts of one, NaN where an image has none.
        groups: Group of every image, int64, shape (n,), from `number_groups`.
        shares: Whether the values are yes and no (1 and 0), of all rows or of each: a share of exactly 0 or 1 then takes the
            Clopper-Pearson bounds with the number of groups as trials. Other means that no draw changes get None.
        seed: Of the draws.
        resamples: How often the groups are drawn with replacement.
        level: Share of intervals meant to hold the truth.

    Returns:
        [low, high], or None where the images give none, for each row.
    """
    drawn = resampled_columns(columns, groups, resamples=resamples, seed=seed)
    found = [percentile_interval(values, level=level) for values in drawn.T]
    for row, (values, is_share) in enumerate(zip(columns, np.broadcast_to(shares, len(columns)), strict=True)):
        defined = ~np.isnan(values)
        edges = np.unique(values[defined])
        if is_share and len(edges) == 1 and edges[0] in (0, 1):
            found[row] = edge_interval(float(edges[0]), len(np.unique(groups[defined])), level=level)
    return found


def resampled_columns(columns: np.ndarray, groups: np.ndarray, *, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """Return the means of many measures over images in every resample of the groups.

    Returns:
        float64, shape (resamples, k); NaN where no image with a value was drawn. Differences of columns are paired.
    """
    count = int(groups.max()) + 1 if len(groups) else 0
    defined = ~np.isnan(columns)
    sums, images = np.zeros((count, len(columns))), np.zeros((count, len(columns)))
    np.add.at(sums, groups, np.where(defined, columns, 0.0).T)
    np.add.at(images, groups, defined.T.astype(np.float64))
    both = np.concatenate([sums, images], axis=1)
    drawn = np.concatenate([rows @ both for rows in resample_weights(count, resamples=resamples, seed=seed)])
    return divide(drawn[:, : len(columns)], drawn[:, len(columns) :], otherwise=np.nan)


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
