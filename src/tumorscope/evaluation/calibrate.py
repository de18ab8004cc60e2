"""Raw answers to images that no training has seen, to a Calibration."""

from collections import Counter
from dataclasses import asdict
from math import ceil
from typing import Any, Literal

from tumorscope.evaluation.answered import Answered
from tumorscope.evaluation.conformal import fit_quantiles
from tumorscope.evaluation.familiarity_fit import FitChoices, fit_acceptance, moved_acceptance
from tumorscope.evaluation.operating_point import OperatingPoint, fit_operating_point, per_label_thresholds
from tumorscope.evaluation.temperature import NONE, VECTOR, compare_scalings, fit_temperature, fit_vector_scaling
from tumorscope.labels import LABELS, NO_TUMOUR
from tumorscope.manifest import CALIBRATION
from tumorscope.models.acceptance import Acceptance
from tumorscope.models.calibration import Calibration
from tumorscope.models.decisions import scaled_probabilities
from tumorscope.resampling import number_groups
from tumorscope.training.recipe import Promises

SLACK = 1e-6
"""By how much the threshold lies below the score of the tumour that sets it: another engine rounds otherwise, and must find it."""

FEW = 100
Refusal = Literal["none", "as it was", "fitted"]
LOCAL = "local"
"""The split of images that were given to calibrate on, in what is stored."""


def calibrate(
    known: Answered | Acceptance | None,
    held: Answered,
    promises: Promises,
    *,
    split_fingerprint: str,
    created: str,
    seed: int = 0,
) -> Calibration:
    """Return what is fitted on images that no training has seen.

    Temperature scaling is taken, unless none or vector scaling is clearly better on groups it was not fitted on.

    Args:
        known: Images that the network was trained on, or a sample of them; or what was fitted on them before, whose limits are
            then moved to keep the promised share of `held`; None where nobody knows, so that strange images are not refused.
        held: Images that it was not trained on; everything that is promised is fitted on them.
        promises: What is promised.
        split_fingerprint: Of the manifest.
        created: When, as ISO 8601 text.
        seed: Of the comparison of scalings.

    Raises:
        EvaluationError: There are no images.
    """
    logits, truth = held.logits, held.label_index
    scalings = compare_scalings(logits, truth, groups=held.groups, seed=seed)
    temperature, scales, offsets = 1.0 if scalings["chosen"] == NONE else fit_temperature(logits, truth), None, None
    if scalings["chosen"] == VECTOR:
        scales, offsets = (tuple(map(float, values)) for values in fit_vector_scaling(logits, truth))
    probabilities = scaled_probabilities(logits, temperature, scales=scales, offsets=offsets)
    acceptance = _acceptance(known, held, promises)
    none = LABELS.index(NO_TUMOUR)
    wish = {"target": promises.sensitivity, "confidence": promises.confidence}
    point = fit_operating_point(1 - probabilities[:, none], truth != none, **wish) if (truth != none).any() else None
    return Calibration(
        temperature=temperature,
        scales=scales,
        offsets=offsets,
        quantiles={f"{float(level):.2f}": values for level, values in fit_quantiles(probabilities, truth).items()},
        level=promises.level,
        conditional=promises.conditional,
        operating_point=_stored_point(point),
        label_points={label: _stored_point(found) for label, found in per_label_thresholds(probabilities, truth, **wish).items()},
        costs=promises.costs,
        acceptance=acceptance,
        fitted_on=_fitted_on(
            held,
            promises,
            scalings,
            split_fingerprint=split_fingerprint,
            created=created,
            refusal="none" if acceptance is None else "as it was" if acceptance is known else "fitted",
        ),
    )


def _stored_point(point: OperatingPoint | None) -> dict[str, Any] | None:
    return None if point is None else asdict(point) | {"threshold": max(0.0, point.threshold - SLACK)}


def _acceptance(known: Answered | Acceptance | None, held: Answered, promises: Promises) -> Acceptance | None:
    """Fit what tells images unlike those of training; too few of them to keep the promised share leave it as it was, or None."""
    few = len(held) < ceil(2 / (1 - promises.kept))
    if isinstance(known, Acceptance):
        return known if few else moved_acceptance(known, held, kept_share=promises.kept)
    if known is None or few:
        return None
    if len(known) < FEW:
        return None
    looks = known.look_numbers, held.look_numbers
    return fit_acceptance(known, held, looks=looks, choices=FitChoices(kept_share=promises.kept))


def _fitted_on(
    held: Answered, promises: Promises, scalings: dict[str, Any], *, split_fingerprint: str, created: str, refusal: Refusal
) -> dict[str, Any]:
    counted = Counter(LABELS[label] for label in held.label_index)
    return {
        "split": held.split,
        "n": len(held),
        "per_label": {label: counted[label] for label in LABELS},
        "groups": int(number_groups(held.groups).max()) + 1,
        "split_fingerprint": split_fingerprint,
        "created": created,
        "promises": promises.model_dump(mode="json"),
        "scalings": scalings,
        "sentences": list(fit_sentences(held.split, counted, refusal=refusal)),
    }


def fit_sentences(split: str, counted: Counter[str], *, refusal: Refusal = "fitted") -> tuple[str, ...]:
    """Return what a user must know of the images that a calibration was fitted on.

    Args:
        split: Which split they are.
        counted: Images of every label.
        refusal: Of what is unlike the training images: `none`, `fitted` now, or `as it was` before.
    """
    n = sum(counted.values())
    sentences = []
    if split == LOCAL:
        sentences.append(
            f"Fitted on {n} labelled images that were given for it: what is promised is about images like those, and no others."
        )
    elif split != CALIBRATION:
        sentences.append(
            f"There is no calibration split, so the {n} {split} images were used, by which a training may choose its epoch: what "
            "is promised may be too good. Give calibration_share in the recipe to set images aside."
        )
    if n < FEW:
        sentences.append(f"Only {n} images were there to fit on, so every promise below is a rough one.")
    if refusal == "as it was":
        sentences.append("They are too few to say how far from the training images a scan may lie: that limit is the old one.")
    if refusal == "none":
        sentences.append(
            "Images unlike those of training are not refused: nothing is known of these, or too few were there to fit on."
        )
    absent = [label for label in LABELS if not counted[label]]
    if absent:
        sentences.append(f"None of them shows {' or '.join(absent)}: nothing is promised for that class.")
    return tuple(sentences)
