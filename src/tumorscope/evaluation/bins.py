"""Probabilities of a yes-or-no question sorted into bins, to compare what they say with what is true."""

from statistics import NormalDist
from typing import Any

import numpy as np

from tumorscope.errors import EvaluationError
from tumorscope.resampling import LEVEL

BINS = 15
EQUAL_MASS, EQUAL_WIDTH = "equal_mass", "equal_width"
BINNINGS = (EQUAL_MASS, EQUAL_WIDTH)

Question = tuple[np.ndarray, np.ndarray]
"""Confidence, float64, and truth, bool, of every image: how sure, and whether yes."""


def bin_numbers(confidence: np.ndarray, *, bins: int = BINS, binning: str = EQUAL_MASS) -> np.ndarray:
    """Return the bin of every confidence, int64, shape (n,), from 0 to `bins` - 1.

    A bin of equal width holds its upper edge. Equal confidences share a bin of equal mass, the one of the middle of their ranks.

    Raises:
        EvaluationError: Fewer than one bin, or a binning other than `BINNINGS`.
    """
    if bins < 1 or binning not in BINNINGS:
        raise EvaluationError(f"{bins} bins of {binning!r}. Allowed: at least 1 bin, of {' or '.join(BINNINGS)}.")
    if binning == EQUAL_WIDTH:
        return np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], confidence, side="left")
    ordered = np.sort(confidence)
    below, upto = np.searchsorted(ordered, confidence, side="left"), np.searchsorted(ordered, confidence, side="right")
    return (below + upto) * bins // (2 * len(confidence))


def binned_error(confidence: np.ndarray, truth: np.ndarray, bin_of: np.ndarray) -> float:
    """Return the mean over images of how far confidence and truth lie apart in the bin of each, 0 to 1."""
    return float(np.abs(np.bincount(bin_of, weights=truth - confidence)).sum() / len(truth))


def curve_points(confidence: np.ndarray, truth: np.ndarray, bin_of: np.ndarray) -> list[dict[str, Any]]:
    """Return `confidence`, `accuracy`, `n` and `interval` (Wilson) of every bin that holds images, the lowest first."""
    points = []
    for number in np.unique(bin_of):
        inside = bin_of == number
        hits, trials = int(truth[inside].sum()), int(inside.sum())
        points.append(
            {
                "confidence": float(confidence[inside].mean()),
                "accuracy": hits / trials,
                "n": trials,
                "interval": wilson_interval(hits, trials),
            }
        )
    return points


def wilson_interval(hits: int, trials: int, *, level: float = LEVEL) -> list[float]:
    """Return Wilson's interval of a share of at least one trial, [low, high]."""
    z = NormalDist().inv_cdf((1 + level) / 2)
    share, spread = hits / trials, z * z / trials
    middle = (share + spread / 2) / (1 + spread)
    half = (share * (1 - share) * spread + spread * spread / 4) ** 0.5 / (1 + spread)
    return [0.0 if hits == 0 else max(0.0, middle - half), 1.0 if hits == trials else min(1.0, middle + half)]
