"""Features of training images -> Familiarity, its threshold from images that no training has seen; numpy only."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from tumorscope.errors import EvaluationError
from tumorscope.evaluation.answered import Answered
from tumorscope.models.acceptance import Acceptance
from tumorscope.models.familiarity import (
    ENERGY,
    MAHALANOBIS,
    MAX_PROBABILITY,
    METHODS,
    NEAREST_NEIGHBOURS,
    NORMALISED_MAHALANOBIS,
    RELATIVE_MAHALANOBIS,
    VIM,
    Familiarity,
    residual_length,
    unit_length,
)


@dataclass(frozen=True, slots=True)
class FitChoices:
    """What is fixed before anything is fitted.

    Attributes:
        kept_share: Share of images like the calibration images that are to be kept, 0 to 1.
        directions: Directions of the covariance, and of the principal subspace of ViM, that are stored; None stores all.
        neighbours: The k of the nearest neighbours.
        shrinkage: How far the covariance is shrunk towards a multiple of the identity, 0 to 1; None as far as Ledoit and Wolf
            derive from the sample.
    """

    kept_share: float = 0.95
    directions: int | None = 64
    neighbours: int = 10
    shrinkage: float | None = None


def fit_familiarity(
    method: str,
    training: Answered,
    calibration: Answered,
    *,
    head: tuple[np.ndarray, np.ndarray] | None = None,
    choices: FitChoices = FitChoices(),
) -> Familiarity:
    """Fit one way to score familiarity, and the score below which an input is refused.

    Args:
        method: One of `METHODS`.
        training: The images that the network was trained on, with labels.
        calibration: Images that no training has seen; the promise holds for images that are exchangeable with these.
        head: Weights (4, channels) and biases (4,) of a linear head; ViM starts its subspace where all its logits are 0. None
            starts it at the mean of the training features.
        choices: Fixed beforehand.

    Raises:
        EvaluationError: There are too few images to fit on or to promise anything.
    """
    if method not in METHODS:
        raise EvaluationError(f"familiarity by {method!r}. Known: {', '.join(METHODS)}.")
    if len(training) < 2:
        raise EvaluationError(f"{len(training)} training image(s): at least 2 are needed to fit familiarity. Train on more.")
    arrays = {name: np.asarray(values, dtype=np.float32) for name, values in _FITS[method](training, head, choices).items()}
    scores = Familiarity(method, arrays, 0.0).score(calibration.features, calibration.logits)
    about = {
        "fitted_on": training.split,
        "fitted_images": len(training),
        "threshold_from": calibration.split,
        "threshold_images": len(calibration),
        "kept_share": choices.kept_share,
    }
    return Familiarity(method, arrays, threshold_keeping(scores, choices.kept_share), about)


def fit_acceptance(
    training: Answered,
    calibration: Answered,
    *,
    looks: tuple[np.ndarray, np.ndarray],
    method: str = NORMALISED_MAHALANOBIS,
    choices: FitChoices = FitChoices(),
) -> Acceptance:
    """Fit what is asked of an input: familiar grey levels and familiar features.

    Each of the two criteria may refuse half of what is given up, so together they keep `kept_share` of further images of the
    kind of the calibration images, or more. Grey levels are fitted for all labels together.

    Args:
        training: The images that the network was trained on, with labels.
        calibration: Images that no training has seen.
        looks: `look_numbers` of the training and of the calibration images, float32, shapes (n, 20).
        method: For the features: `mahalanobis` or `normalised_mahalanobis`.
        choices: Fixed beforehand.

    Raises:
        EvaluationError: There are too few images to fit on or to promise anything.
    """
    each = replace(choices, kept_share=_kept_by_each(choices.kept_share))
    of_looks = [
        replace(part, features=numbers, label_index=np.zeros(len(part), dtype=np.int64))
        for part, numbers in zip((training, calibration), looks, strict=True)
    ]
    return Acceptance(
        looks=fit_familiarity(MAHALANOBIS, *of_looks, choices=replace(each, directions=None)),
        features=fit_familiarity(method, training, calibration, choices=each),
    )


def _kept_by_each(kept_share: float) -> float:
    """Of the two criteria, each of which may refuse half of what both together may."""
    return 1 - (1 - kept_share) / 2


def moved_acceptance(acceptance: Acceptance, held: Answered, *, kept_share: float) -> Acceptance:
    """Return what was fitted on training images, its limits moved so that it keeps a share of images of another kind.

    What is familiar is still measured from the training images; only how far from them an input may lie is taken anew.

    Args:
        acceptance: Of the same network.
        held: Images that no training has seen; the promise holds for images that are exchangeable with these.
        kept_share: Share of such images to keep, 0 to 1; each of the two criteria may refuse half of the rest.

    Raises:
        EvaluationError: There are too few images to promise anything.
    """
    each = _kept_by_each(kept_share)
    scores = acceptance.looks.score(held.look_numbers, held.logits), acceptance.features.score(held.features, held.logits)
    about = {"threshold_from": held.split, "threshold_images": len(held), "kept_share": each}
    looks, features = (
        replace(part, threshold=threshold_keeping(values, each), about={**part.about, **about})
        for part, values in zip((acceptance.looks, acceptance.features), scores, strict=True)
    )
    return Acceptance(looks=looks, features=features)


def threshold_keeping(scores: np.ndarray, kept_share: float) -> float:
    """Return the score below which at most a share of 1 - `kept_share` of further images of the same kind fall, on average.

    It is the k-th smallest of n scores with k the whole part of (1 - kept_share)(n + 1): of n + 1 exchangeable scores the last
    is below the k-th smallest of the others with probability k / (n + 1) at most.

    Args:
        scores: Of images that no training has seen, float64, shape (n,).
        kept_share: 0 to 1, both excluded.

    Raises:
        EvaluationError: There are too few images for that share.

    Source:
        Vovk, Gammerman and Shafer 2005, Algorithmic learning in a random world, https://doi.org/10.1007/b106715; Bates et al.
        2023, Testing for outliers with conformal p-values, https://doi.org/10.1214/22-AOS2244
    """
    if not 0 < kept_share < 1:
        raise EvaluationError(f"a share of {kept_share} to keep. Allowed is what lies between 0 and 1, such as 0.95.")
    k = int(np.floor((1 - kept_share) * (len(scores) + 1) + 1e-9))
    if k < 1:
        needed = int(np.ceil(1 / (1 - kept_share) - 1e-9)) - 1
        raise EvaluationError(
            f"{len(scores)} calibration image(s): a promise to keep {kept_share:.0%} needs at least {needed}. Set more aside."
        )
    return float(np.sort(scores)[k - 1])


def _nothing(training: Answered, head: object, choices: FitChoices) -> dict[str, np.ndarray]:  # noqa: ARG001
    return {}


def _class_means(training: Answered) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean of every class that occurs, and the features minus their class's mean."""
    known = training.label_index >= 0
    if not known.any():
        raise EvaluationError(f"{training.split}: no image has one of the four labels. Class means need some.")
    features, labels = training.features[known].astype(np.float64), training.label_index[known]
    classes, place = np.unique(labels, return_inverse=True)
    means = np.stack([features[labels == label].mean(axis=0) for label in classes])
    return means, features - means[place]


def shrunk_covariance(centred: np.ndarray, shrinkage: float | None = None) -> np.ndarray:
    """Return the covariance of features, shrunk towards a multiple of the identity.

    Args:
        centred: Features minus their means, float64, shape (n, channels).
        shrinkage: 0 to 1; None as far as the source derives from the sample itself, so nothing is tuned.

    Returns:
        float64, shape (channels, channels).

    Raises:
        EvaluationError: All features are the same.

    Source:
        Ledoit and Wolf 2004, A well-conditioned estimator for large-dimensional covariance matrices,
        https://doi.org/10.1016/S0047-259X(03)00096-4
    """
    from sklearn.covariance import ledoit_wolf_shrinkage

    if not centred.any():
        raise EvaluationError(
            "the features of all images of a class are the same, so no distance means anything. Train the network."
        )
    share = float(ledoit_wolf_shrinkage(centred, assume_centered=True)) if shrinkage is None else shrinkage
    covariance: np.ndarray = (1 - share) * (centred.T @ centred) / len(centred)
    covariance[np.diag_indices_from(covariance)] += share * (centred**2).sum() / centred.size
    return covariance


def largest_directions(covariance: np.ndarray, directions: int | None) -> dict[str, np.ndarray]:
    """Return a covariance by its largest directions; all others share their mean variance.

    Args:
        covariance: float64, shape (channels, channels).
        directions: How many to store; None stores all.

    Returns:
        `basis` (channels, directions), `variances` (directions,), `rest` (1,), as `familiarity.squared_distance` takes them.
    """
    ascending, vectors = np.linalg.eigh(covariance)
    variances = np.maximum(ascending[::-1], 1e-9 * ascending[-1])
    stored = len(variances) if directions is None else min(directions, len(variances))
    rest = variances[stored:].mean() if stored < len(variances) else variances[-1]
    return {"basis": vectors[:, ::-1][:, :stored], "variances": variances[:stored], "rest": np.array([rest])}


def _mahalanobis(training: Answered, head: object, choices: FitChoices) -> dict[str, np.ndarray]:  # noqa: ARG001
    means, centred = _class_means(training)
    return {"means": means, **largest_directions(shrunk_covariance(centred, choices.shrinkage), choices.directions)}


def _normalised_mahalanobis(training: Answered, head: object, choices: FitChoices) -> dict[str, np.ndarray]:
    return _mahalanobis(replace(training, features=unit_length(training.features.astype(np.float64))), head, choices)


def _relative_mahalanobis(training: Answered, head: object, choices: FitChoices) -> dict[str, np.ndarray]:  # noqa: ARG001
    """The background's covariance is the shrunk one within classes plus that of the class means, so both are shrunk alike."""
    means, centred = _class_means(training)
    within = shrunk_covariance(centred, choices.shrinkage)
    known = training.features[training.label_index >= 0].astype(np.float64)
    mean = known.mean(axis=0)
    between = known - centred - mean
    background = {"mean": mean, **largest_directions(within + between.T @ between / len(between), choices.directions)}
    classes = {"means": means, **largest_directions(within, choices.directions)}
    return {**classes, **{f"background_{name}": values for name, values in background.items()}}


def _nearest_neighbours(training: Answered, head: object, choices: FitChoices) -> dict[str, np.ndarray]:  # noqa: ARG001
    if len(training) < choices.neighbours:
        raise EvaluationError(f"{len(training)} training images for {choices.neighbours} neighbours. Take fewer, or train on more.")
    return {"bank": unit_length(training.features.astype(np.float64)), "neighbours": np.array([choices.neighbours])}


def _vim(training: Answered, head: tuple[np.ndarray, np.ndarray] | None, choices: FitChoices) -> dict[str, np.ndarray]:
    features = training.features.astype(np.float64)
    channels = features.shape[1]
    directions = min(channels // 2 if choices.directions is None else choices.directions, channels - 1)
    origin = features.mean(axis=0) if head is None else -(np.linalg.pinv(head[0].astype(np.float64)) @ head[1].astype(np.float64))
    centred = features - origin
    basis = np.linalg.eigh(centred.T @ centred / len(centred))[1][:, ::-1][:, :directions]
    length = float(residual_length(features, origin, basis).mean())
    if not length > 0:
        raise EvaluationError(f"{directions} directions hold all of the features, so ViM has no residual. Take fewer directions.")
    return {"origin": origin, "basis": basis, "scale": np.array([training.logits.max(axis=1).mean() / length])}


_Fit = Callable[[Answered, tuple[np.ndarray, np.ndarray] | None, FitChoices], dict[str, np.ndarray]]
_FITS: Mapping[str, _Fit] = {
    MAX_PROBABILITY: _nothing,
    ENERGY: _nothing,
    MAHALANOBIS: _mahalanobis,
    RELATIVE_MAHALANOBIS: _relative_mahalanobis,
    NORMALISED_MAHALANOBIS: _normalised_mahalanobis,
    NEAREST_NEIGHBOURS: _nearest_neighbours,
    VIM: _vim,
}
