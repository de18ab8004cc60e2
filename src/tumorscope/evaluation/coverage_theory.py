"""What theory expects of the coverage of prediction sets, and many splits of the same images to compare with it."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tumorscope.errors import EvaluationError
from tumorscope.evaluation.conformal import quantile_rank
from tumorscope.evaluation.inputs import checked_groups, checked_probabilities, refuse_nothing, refuse_share
from tumorscope.labels import LABELS
from tumorscope.models.decisions import ROUNDING

_CELLS_AT_ONCE = 1_000_000


def coverage_band(n_calibration: int, n_test: int, level: float, *, share: float = 0.95) -> list[float]:
    """Return within which coverage on `n_test` images lies with probability `share`, empty sets kept and no scores equal.

    Over draws of both splits the number of covered images is beta-binomial, whatever the model; equal scores raise coverage.

    Args:
        n_calibration: Images that the quantile was fitted on, at least 1.
        n_test: Images that coverage is counted on, at least 1.
        level: Promised rate.
        share: Of draws within the band; as much is left out above as below.

    Returns:
        [low, high]; [1, 1] where the calibration split is too small for the level.

    Raises:
        EvaluationError: No images in one of the splits, or a level or share outside of 0 to 1.

    Source:
        Angelopoulos and Bates 2021, section 3.2 and appendix C, https://arxiv.org/abs/2107.07511
    """
    refuse_nothing(min(max(n_calibration, 0), max(n_test, 0)))
    refuse_share(level, name="level")
    refuse_share(share, name="share")
    return [count / n_test for count in _band_counts(n_calibration, n_test, level, share=share)]


def repeated_coverage(
    probabilities: np.ndarray,
    label_index: np.ndarray,
    *,
    groups: Sequence[str] | None,
    level: float,
    calibration_share: float = 0.5,
    draws: int = 500,
    seed: int = 0,
    conditional: bool = False,
) -> dict[str, Any]:
    """Return coverage and set size over many splits of pooled images, by group, beside what theory expects.

    Where every group is one image and no scores are equal, coverage follows the theory exactly; larger groups spread it. Empty sets
    stay empty.

    Args:
        probabilities: Of images that no training has seen, shape (n, 4).
        label_index: True labels as positions in `LABELS`, int64, shape (n,).
        groups: Group of every image, empty where unknown; None makes each image its own.
        level: Promised rate.
        calibration_share: Of the groups, drawn for calibration; coverage is counted on the others.
        draws: How many splits, at least 2.
        seed: Of the draws.
        conditional: Take the quantile of each label, as in `prediction_sets`.

    Returns:
        `coverage` {mean, sd, low, high: the middle 95 % of the draws}, `size` {mean, sd}, `theory` {mean, sd} of the coverage,
        `in_band` (share of draws within `coverage_band`), `per_label` {label: `coverage`, `size`, and `theory` where the quantiles
        are each label's; None without images}; `theory` and `in_band` over all are None for those. Then `n`, `groups`,
        `n_calibration` and `n_test` (means), `level`, `calibration_share`, `draws`, `conditional`, `seed`.

    Raises:
        EvaluationError: As `fit_quantiles`, fewer than two groups, or settings outside of the above.
    """
    probabilities, label_index = checked_probabilities(probabilities, label_index)
    refuse_share(level, name="level")
    refuse_share(calibration_share, name="calibration_share")
    numbers = checked_groups(groups, len(probabilities))
    count = int(numbers.max()) + 1
    if count < 2 or draws < 2:
        raise EvaluationError(f"{count} groups and {draws} draws: repeated coverage needs at least 2 of each.")
    splits = _splits(count, share=calibration_share, draws=draws, seed=seed)[:, numbers]
    return {
        **_repeated(probabilities, label_index, splits, level=level, conditional=conditional),
        "n": len(probabilities),
        "groups": count,
        "n_calibration": float(splits.sum(axis=1).mean()),
        "n_test": float((~splits).sum(axis=1).mean()),
        "level": level,
        "calibration_share": calibration_share,
        "draws": draws,
        "conditional": conditional,
        "seed": seed,
    }


def split_quantiles(
    probabilities: np.ndarray, label_index: np.ndarray, calibration: np.ndarray, *, level: float, conditional: bool
) -> np.ndarray:
    """Return what `fit_quantiles` gives for many calibration splits at once.

    Args:
        probabilities: Shape (n, 4).
        label_index: Shape (n,).
        calibration: Which images each split calibrates on, bool, shape (draws, n).
        level: Promised rate.
        conditional: Whether each label has its own quantile.

    Returns:
        Quantile of every label, float64, shape (draws, 4); 1 where a split has too few images for the level, or none.
    """
    scores = 1 - probabilities[np.arange(len(label_index)), label_index]
    if not conditional:
        return np.repeat(_order_statistics(scores, calibration, level=level)[:, None], len(LABELS), axis=1)
    return np.stack(
        [_order_statistics(scores[rows], calibration[:, rows], level=level) for rows in _rows_of_labels(label_index)], axis=1
    )


def _order_statistics(scores: np.ndarray, chosen: np.ndarray, *, level: float) -> np.ndarray:
    ordered = np.sort(np.where(chosen, scores, np.inf), axis=1)
    ranks = [quantile_rank(count, level) for count in chosen.sum(axis=1).tolist()]
    return np.array([1.0 if rank is None else row[rank - 1] for row, rank in zip(ordered, ranks, strict=True)])


def _rows_of_labels(label_index: np.ndarray) -> list[np.ndarray]:
    return [np.flatnonzero(label_index == i) for i in range(len(LABELS))]


def _splits(count: int, *, share: float, draws: int, seed: int) -> np.ndarray:
    """Which groups each draw calibrates on, bool, shape (draws, count); at least one on either side."""
    taken = min(max(round(share * count), 1), count - 1)
    places = np.random.default_rng(seed).permuted(np.tile(np.arange(count), (draws, 1)), axis=1)
    splits: np.ndarray = places < taken
    return splits


def _repeated(
    probabilities: np.ndarray, label_index: np.ndarray, splits: np.ndarray, *, level: float, conditional: bool
) -> dict[str, Any]:
    everything = np.arange(len(label_index))
    block = max(1, _CELLS_AT_ONCE // len(label_index))
    parts = [
        _covered_and_sizes(probabilities, label_index, splits[start : start + block], level=level, conditional=conditional)
        for start in range(0, len(splits), block)
    ]
    covered, sizes = (np.concatenate(values) for values in zip(*parts, strict=True))
    whole = _over_draws(covered, sizes, splits, everything, level=None if conditional else level)
    per_label = {
        label: _over_draws(covered, sizes, splits, rows, level=level if conditional else None) if len(rows) else None
        for label, rows in zip(LABELS, _rows_of_labels(label_index), strict=True)
    }
    return {**whole, "per_label": per_label}


def _covered_and_sizes(
    probabilities: np.ndarray, label_index: np.ndarray, splits: np.ndarray, *, level: float, conditional: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Whether the set of every image holds the truth, and its labels, in every draw; bool and int8, shape (draws, n)."""
    limits = split_quantiles(probabilities, label_index, splits, level=level, conditional=conditional) + ROUNDING
    covered = 1 - probabilities[np.arange(len(label_index)), label_index] <= limits[:, label_index]
    sizes = np.zeros(splits.shape, dtype=np.int8)
    for i in range(len(LABELS)):
        sizes += 1 - probabilities[:, i] <= limits[:, i : i + 1]
    return covered, sizes


def _over_draws(
    covered: np.ndarray, sizes: np.ndarray, splits: np.ndarray, rows: np.ndarray, *, level: float | None
) -> dict[str, Any]:
    """Means over the test images among `rows` of every draw that has any; theory only where a level is given."""
    held = ~splits[:, rows]
    tested = held.sum(axis=1)
    drawn = tested > 0
    if not drawn.any():
        return {"coverage": None, "size": None, "theory": None, "in_band": None}
    hits = (covered[:, rows] & held).sum(axis=1)[drawn]
    tested, calibrated = tested[drawn], splits[:, rows].sum(axis=1)[drawn]
    coverage, size = hits / tested, (sizes[:, rows] * held).sum(axis=1)[drawn] / tested
    low, high = np.quantile(coverage, [0.025, 0.975])
    return {
        "coverage": {"mean": float(coverage.mean()), "sd": float(coverage.std()), "low": float(low), "high": float(high)},
        "size": {"mean": float(size.mean()), "sd": float(size.std())},
        **_expected(hits, calibrated, tested, level=level),
    }


def _expected(hits: np.ndarray, calibrated: np.ndarray, tested: np.ndarray, *, level: float | None) -> dict[str, Any]:
    """Mean and deviation of coverage over splits of these sizes, and the share of draws within the band of theirs."""
    if level is None:
        return {"theory": None, "in_band": None}
    sizes, of_draw = np.unique(np.stack([calibrated, tested], axis=1), axis=0, return_inverse=True)
    means, variances, inside = np.empty(len(sizes)), np.empty(len(sizes)), np.empty(len(hits), dtype=bool)
    for i, (n_calibration, n_test) in enumerate(sizes.tolist()):
        means[i], variances[i] = _moments(n_calibration, n_test, level)
        low, high = _band_counts(n_calibration, n_test, level, share=0.95)
        inside[of_draw == i] = (hits[of_draw == i] >= low) & (hits[of_draw == i] <= high)
    spread = float(np.sqrt(variances[of_draw].mean() + means[of_draw].var()))
    return {"theory": {"mean": float(means[of_draw].mean()), "sd": spread}, "in_band": float(inside.mean())}


def _moments(n_calibration: int, n_test: int, level: float) -> tuple[float, float]:
    """Mean and variance of beta-binomial coverage."""
    rank = quantile_rank(n_calibration, level)
    if rank is None:
        return 1.0, 0.0
    mean = rank / (n_calibration + 1)
    return mean, mean * (1 - mean) * (n_calibration + 1 + n_test) / (n_test * (n_calibration + 2))


def _band_counts(n_calibration: int, n_test: int, level: float, *, share: float) -> tuple[int, int]:
    """Fewest and most covered images within the band."""
    from scipy.stats import betabinom

    rank = quantile_rank(n_calibration, level)
    if rank is None:
        return n_test, n_test
    chances = np.cumsum(betabinom.pmf(np.arange(n_test + 1), n_test, rank, n_calibration + 1 - rank))
    low, high = np.searchsorted(chances, [(1 - share) / 2, (1 + share) / 2])
    return int(low), int(min(high, n_test))
