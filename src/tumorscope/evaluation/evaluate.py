"""Answers to Predictions, and never on images the model was trained on."""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from tumorscope.errors import EvaluationError
from tumorscope.evaluation.answered import Answered
from tumorscope.evaluation.answering import answer_scans
from tumorscope.manifest import Manifest
from tumorscope.models.bundle import Bundle
from tumorscope.models.bundle_files import short_digest
from tumorscope.models.calibration import Calibration
from tumorscope.predictions import Decisions, Predictions

CPU = torch.device("cpu")


def predictions_of(calibration: Calibration, answered: Answered, paths: Sequence[str]) -> Predictions:
    """Return what a calibration makes of a network's answers to images of these paths; an unfitted one decides nothing."""
    decisions = calibration.decide(answered.logits, answered.features, answered.looks)
    return Predictions(
        paths=tuple(paths),
        label_index=answered.label_index,
        probabilities=decisions.probabilities,
        decisions=decisions if calibration.is_fitted else None,
    )


def deciding(bundle: Bundle, *, device: torch.device = CPU) -> Callable[[Sequence[np.ndarray]], Decisions]:
    """Return a model as a function of scans as shown, uint8, each of shape (rows, columns), to what it decides about them."""

    def decide(scans: Sequence[np.ndarray]) -> Decisions:
        answered = answer_scans(bundle, scans, split="images", device=device)
        return bundle.calibration.decide(answered.logits, answered.features, answered.looks)

    return decide


def refuse_seen_images(bundle: Bundle, manifest: Manifest, split: str) -> None:
    """Raise when a model was trained on, or its epoch chosen by, images of a split.

    A test image whose pixels also stand in training is refused unless the manifest is the very one the model was trained
    from: there the published protocol may hold such copies, which are counted and reported instead (`count_copies`). What the
    model that it started from has seen is refused there too.

    Raises:
        EvaluationError: It was.
    """
    records = manifest.in_split(split).records
    same_split = manifest.split_fingerprint == bundle.split_fingerprint
    if same_split and split == "test":
        refuse_inherited(bundle.trained_on, manifest, name=bundle.name)
        return
    seen = [record.path for record in records if bundle.has_seen(record.sha256)]
    if seen:
        raise EvaluationError(
            f"{len(seen)} of {len(records)} {split} images were in the training or validation of this {bundle.name} "
            f"(first: {seen[0]}). Evaluate on images it has not seen, or split again and train again."
        )


def inherited(seen: frozenset[str], manifest: Manifest, split: str = "test") -> tuple[str, ...]:
    """Return the paths of the images of a split that only another training has seen: that of the model a training starts from.

    Args:
        seen: `trained_on` of the trained bundle, or of the one that it starts from.
        manifest: Of the training; a copy of one of its own training or validation images does not count.
        split: `test`, or another split.
    """
    own = {short_digest(record.sha256) for record in manifest if record.split in ("train", "validation")}
    others = seen - own
    return tuple(record.path for record in manifest if record.split == split and short_digest(record.sha256) in others)


def refuse_inherited(seen: frozenset[str], manifest: Manifest, *, name: str) -> None:
    """Raise when test images were in the training of the model that a network of this name starts from; see `inherited`.

    Raises:
        EvaluationError: They were.
    """
    paths = inherited(seen, manifest)
    if paths:
        count = sum(record.split == "test" for record in manifest)
        raise EvaluationError(
            f"{len(paths)} of {count} test images were in the training of the model that this {name} starts from (first: "
            f"{paths[0]}), so a number on them would be one of memory. Take --init imagenet or none, or test on images that it has "
            "not seen: leave these out of the test split, or give other ones with --test."
        )


def count_copies(bundle: Bundle, manifest: Manifest, split: str = "test") -> int:
    """Return how many images of a split have exactly the pixels of an image the model was trained on."""
    return sum(bundle.has_seen(record.sha256) for record in manifest.in_split(split))
