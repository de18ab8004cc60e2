"""Familiarity: how far an input resembles what a model was trained on, from features and logits; numpy only."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tumorscope.errors import BundleError, EvaluationError

MAX_PROBABILITY, ENERGY = "max_probability", "energy"
MAHALANOBIS, RELATIVE_MAHALANOBIS, NORMALISED_MAHALANOBIS = "mahalanobis", "relative_mahalanobis", "normalised_mahalanobis"
NEAREST_NEIGHBOURS, VIM = "nearest_neighbours", "vim"

_PREFIX = "familiarity."
_GAUSSIAN = {"basis": "dr", "variances": "r", "rest": "1"}
_NEEDED: Mapping[str, Mapping[str, str]] = {
    MAX_PROBABILITY: {},
    ENERGY: {},
    MAHALANOBIS: {"means": "cd", **_GAUSSIAN},
    RELATIVE_MAHALANOBIS: {"means": "cd", **_GAUSSIAN}
    | {f"background_{name}": axes.replace("r", "q") for name, axes in {"mean": "d", **_GAUSSIAN}.items()},
    NORMALISED_MAHALANOBIS: {"means": "cd", **_GAUSSIAN},
    NEAREST_NEIGHBOURS: {"bank": "nd", "neighbours": "1"},
    VIM: {"origin": "d", "basis": "dr", "scale": "1"},
}
"""Method to its arrays and their axes: c classes, d channels, r and q directions, n images, 1 one number."""

METHODS: tuple[str, ...] = tuple(_NEEDED)
_Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True, slots=True, eq=False)
class Familiarity:
    """One way to score how familiar an input is, fitted, with the score below which an input is refused.

    Attributes:
        method: One of `METHODS`.
        arrays: What was fitted, float32, by name; none for the methods that read logits alone.
        threshold: Lowest score that is kept.
        about: What it was fitted on, as plain JSON values: splits, numbers of images, share kept.
    """

    method: str
    arrays: _Arrays
    threshold: float
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise BundleError(f"familiarity by {self.method!r}. Known: {', '.join(METHODS)}.")
        needed = _NEEDED[self.method]
        if set(self.arrays) != set(needed):
            raise BundleError(
                f"familiarity by {self.method} with arrays {sorted(self.arrays)}; needed: {sorted(needed)}. Calibrate again."
            )
        sizes: dict[str, int] = {"1": 1}
        for name, axes in needed.items():
            shape = self.arrays[name].shape
            if len(shape) != len(axes) or any(sizes.setdefault(axis, size) != size for axis, size in zip(axes, shape, strict=True)):
                raise BundleError(f"familiarity by {self.method}: array {name} has shape {shape}. Calibrate again.")
        if not all(np.isfinite(values).all() for values in self.arrays.values()) or not np.isfinite(self.threshold):
            raise BundleError(f"familiarity by {self.method} holds NaN or infinity. Calibrate again.")

    def score(self, features: np.ndarray, logits: np.ndarray) -> np.ndarray:
        """Return how familiar inputs are; the scale is the method's own.

        Args:
            features: Pooled penultimate features, float32, shape (n, channels).
            logits: float32, shape (n, 4).

        Returns:
            float64, shape (n,), higher for what is more familiar.

        Raises:
            EvaluationError: A value is NaN or infinite, or the shapes are another network's.
        """
        self._refuse_unusable(features, logits)
        return _SCORES[self.method](features.astype(np.float64), logits.astype(np.float64), self.arrays)

    def refused(self, features: np.ndarray, logits: np.ndarray) -> np.ndarray:
        """Return which inputs are less familiar than the threshold, bool, shape (n,); arguments and errors as for `score`."""
        below: np.ndarray = self.score(features, logits) < self.threshold
        return below

    def reasons(self, scores: np.ndarray) -> tuple[str, ...]:
        """Return for the `score` of every input why it is refused, in words for a user; empty for one that is kept."""
        return tuple(
            f"unlike the images this model was trained on (familiarity {score:.4g}, at least {self.threshold:.4g} is needed)"
            if score < self.threshold
            else ""
            for score in scores
        )

    @property
    def stored_bytes(self) -> int:
        """What the arrays add to a bundle."""
        return sum(values.nbytes for values in self.arrays.values())

    def to_tensors(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return the arrays under names fit for a safetensors file, and the rest as plain JSON values."""
        tensors = {_PREFIX + name: np.ascontiguousarray(values, dtype=np.float32) for name, values in self.arrays.items()}
        return tensors, {"method": self.method, "threshold": self.threshold, "about": dict(self.about)}

    @classmethod
    def from_tensors(cls, tensors: _Arrays, content: Mapping[str, Any]) -> "Familiarity":
        """Build from what `to_tensors` returned; tensors of other names are left alone.

        Raises:
            BundleError: Something is missing or does not fit together.
        """
        arrays = {name.removeprefix(_PREFIX): values for name, values in tensors.items() if name.startswith(_PREFIX)}
        try:
            return cls(str(content["method"]), arrays, float(content["threshold"]), dict(content["about"]))
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(f"familiarity without a usable {error}. Restore the bundle, or calibrate again.") from error

    def _refuse_unusable(self, features: np.ndarray, logits: np.ndarray) -> None:
        channels = next(
            (self.arrays[name].shape[axes.index("d")] for name, axes in _NEEDED[self.method].items() if "d" in axes), None
        )
        fits = features.ndim == 2 and logits.ndim == 2 and len(features) == len(logits) and channels in (None, features.shape[1])
        if not fits:
            raise EvaluationError(
                f"familiarity of features {features.shape} and logits {logits.shape}; needed are (n, {channels or 'channels'}) and "
                "(n, labels). Give those of the network that it was fitted for."
            )
        broken = int((~(np.isfinite(features).all(axis=1) & np.isfinite(logits).all(axis=1))).sum())
        if broken:
            raise EvaluationError(
                f"{broken} of {len(features)} inputs gave features or logits that are NaN or infinite. Check pixels and weights."
            )


def log_sum_exp(logits: np.ndarray) -> np.ndarray:
    """Return the logarithm of the sum of exponentials over the last axis, float64, without overflow."""
    largest = logits.max(axis=-1, keepdims=True)
    result: np.ndarray = largest[..., 0] + np.log(np.exp(logits - largest).sum(axis=-1))
    return result


def squared_distance(features: np.ndarray, mean: np.ndarray, arrays: _Arrays, *, prefix: str = "") -> np.ndarray:
    """Return the squared Mahalanobis distance to a mean under a covariance that is stored by its largest directions.

    All directions that are not stored share one variance, `rest`, so the distance needs the few stored ones and the length of
    what remains: the covariance of probabilistic principal components.

    Args:
        features: float64, shape (n, channels).
        mean: Shape (channels,).
        arrays: `basis` (channels, directions; orthonormal), `variances` (directions,), `rest` (1,), after `prefix`.

    Source:
        Tipping and Bishop 1999, Probabilistic principal component analysis, https://doi.org/10.1111/1467-9868.00196
    """
    basis, variances, rest = (arrays[prefix + name].astype(np.float64) for name in ("basis", "variances", "rest"))
    centred = features - mean
    along = centred @ basis
    remains = np.clip((centred**2).sum(axis=1) - (along**2).sum(axis=1), 0, None)
    distance: np.ndarray = (along**2 / variances).sum(axis=1) + remains / rest
    return distance


def residual_length(features: np.ndarray, origin: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Return the length of what is left of features outside of a subspace through an origin, float64, shape (n,)."""
    centred = features - origin
    length: np.ndarray = np.sqrt(np.clip((centred**2).sum(axis=1) - ((centred @ basis) ** 2).sum(axis=1), 0, None))
    return length


def unit_length(features: np.ndarray) -> np.ndarray:
    """Return features, shape (n, channels), divided by their length; what is all zeros stays so."""
    unit: np.ndarray = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    return unit


def _max_probability(features: np.ndarray, logits: np.ndarray, arrays: _Arrays) -> np.ndarray:  # noqa: ARG001
    """Hendrycks and Gimpel 2017, https://arxiv.org/abs/1610.02136."""
    probability: np.ndarray = np.exp(logits.max(axis=1) - log_sum_exp(logits))
    return probability


def _energy(features: np.ndarray, logits: np.ndarray, arrays: _Arrays) -> np.ndarray:  # noqa: ARG001
    """Liu et al. 2020 at temperature 1, sign turned, https://arxiv.org/abs/2010.03759."""
    return log_sum_exp(logits)


def _nearest_class(features: np.ndarray, arrays: _Arrays) -> np.ndarray:
    nearest: np.ndarray = np.min([squared_distance(features, mean, arrays) for mean in arrays["means"].astype(np.float64)], axis=0)
    return nearest


def _mahalanobis(features: np.ndarray, logits: np.ndarray, arrays: _Arrays) -> np.ndarray:  # noqa: ARG001
    """Lee et al. 2018, equation 2, https://arxiv.org/abs/1807.03888."""
    return -_nearest_class(features, arrays)


def _relative_mahalanobis(features: np.ndarray, logits: np.ndarray, arrays: _Arrays) -> np.ndarray:  # noqa: ARG001
    """Ren et al. 2021, equation 3, https://arxiv.org/abs/2106.09022."""
    background = squared_distance(features, arrays["background_mean"].astype(np.float64), arrays, prefix="background_")
    relative: np.ndarray = background - _nearest_class(features, arrays)
    return relative


def _normalised_mahalanobis(features: np.ndarray, logits: np.ndarray, arrays: _Arrays) -> np.ndarray:  # noqa: ARG001
    """Mueller and Hein 2025, https://arxiv.org/abs/2505.18032: the same on features of length 1."""
    return -_nearest_class(unit_length(features), arrays)


def _nearest_neighbours(features: np.ndarray, logits: np.ndarray, arrays: _Arrays) -> np.ndarray:  # noqa: ARG001
    """Sun et al. 2022, equation 3, https://arxiv.org/abs/2204.06507: minus the distance to the k-th nearest on the sphere."""
    bank, k = arrays["bank"].astype(np.float64), int(arrays["neighbours"][0])
    own = unit_length(features)
    squared = (own**2).sum(axis=1)[:, None] + (bank**2).sum(axis=1) - 2 * own @ bank.T
    distance: np.ndarray = -np.sqrt(np.clip(np.partition(squared, k - 1, axis=1)[:, k - 1], 0, None))
    return distance


def _vim(features: np.ndarray, logits: np.ndarray, arrays: _Arrays) -> np.ndarray:
    """Wang et al. 2022, equation 6 on the scale of logits, https://arxiv.org/abs/2203.10807."""
    origin, basis = arrays["origin"].astype(np.float64), arrays["basis"].astype(np.float64)
    score: np.ndarray = log_sum_exp(logits) - float(arrays["scale"][0]) * residual_length(features, origin, basis)
    return score


_SCORES: Mapping[str, Callable[[np.ndarray, np.ndarray, _Arrays], np.ndarray]] = {
    MAX_PROBABILITY: _max_probability,
    ENERGY: _energy,
    MAHALANOBIS: _mahalanobis,
    RELATIVE_MAHALANOBIS: _relative_mahalanobis,
    NORMALISED_MAHALANOBIS: _normalised_mahalanobis,
    NEAREST_NEIGHBOURS: _nearest_neighbours,
    VIM: _vim,
}
