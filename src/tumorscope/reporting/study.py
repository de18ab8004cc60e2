"""The nouns that a study report is rendered from: finished results only, checked when they are built."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tumorscope.errors import EvaluationError
from tumorscope.labels import LABELS
from tumorscope.predictions import Predictions
from tumorscope.reporting.published import published_table

MODEL_TITLES = {"mobilenet_v2": "MobileNetV2", "cnn": "CNN from scratch"}
REQUIRED_METRICS = ("accuracy", "macro", "weighted", "per_class", "confusion_matrix", "tumour_sensitivity", "tumour_specificity")


@dataclass(frozen=True, slots=True, eq=False)
class ExplainedScan:
    """One test scan with the model's answer and where it looked.

    Attributes:
        path: Image, as its manifest spells it.
        pixels: The scan as shown, uint8, shape (rows, columns).
        heatmap: Raw Grad-CAM of the predicted label on the scan's grid, float32, shape (rows, columns), at least 0, no unit.
        mask: Where the tumour lies, bool, shape (rows, columns), or None when unknown.
        label: The truth, one of `LABELS`.
        predicted: The answer, one of `LABELS`.
        probability: Of the answer, 0 to 1.
        index: Row of the scan in the model's predictions.
    """

    path: str
    pixels: np.ndarray
    heatmap: np.ndarray
    mask: np.ndarray | None
    label: str
    predicted: str
    probability: float
    index: int

    def __post_init__(self) -> None:
        _check_maps(self.path, self.pixels, self.heatmap[None], self.mask)
        _check_labels((self.label, self.predicted), where=self.path)
        if not 0 <= self.probability <= 1:
            raise EvaluationError(f"{self.path}: probability {self.probability}; allowed: 0 to 1.")

    @property
    def correct(self) -> bool:
        """Whether the answer is the truth."""
        return self.label == self.predicted


@dataclass(frozen=True, slots=True, eq=False)
class FourMaps:
    """One scan with the maps of all labels.

    Attributes:
        path: Image, as its manifest spells it.
        pixels: The scan as shown, uint8, shape (rows, columns).
        heatmaps: Raw maps on the scan's grid in the order of `LABELS`, float32, shape (4, rows, columns), at least 0, no unit.
        mask: Where the tumour lies, bool, shape (rows, columns), or None when unknown.
        label: The truth, one of `LABELS`.
        probabilities: Of the labels in their order, shape (4,), each 0 to 1.
    """

    path: str
    pixels: np.ndarray
    heatmaps: np.ndarray
    mask: np.ndarray | None
    label: str
    probabilities: np.ndarray

    def __post_init__(self) -> None:
        if len(self.heatmaps) != len(LABELS) or np.shape(self.probabilities) != (len(LABELS),):
            raise EvaluationError(
                f"{self.path}: {len(self.heatmaps)} maps and probabilities of shape {np.shape(self.probabilities)}; "
                f"allowed: {len(LABELS)} of each, one per label."
            )
        _check_maps(self.path, self.pixels, self.heatmaps, self.mask)
        _check_labels((self.label,), where=self.path)
        if not ((self.probabilities >= 0) & (self.probabilities <= 1)).all():
            raise EvaluationError(f"{self.path}: probabilities {self.probabilities}; allowed: 0 to 1.")

    @property
    def predicted(self) -> str:
        """The answer: the label with the highest probability, the first of equals."""
        return LABELS[int(np.argmax(self.probabilities))]


@dataclass(frozen=True, slots=True, eq=False)
class ModelResult:
    """Everything that is known of one trained model.

    Attributes:
        name: The model as commands spell it: `mobilenet_v2` or `cnn`.
        metrics: Content of `metrics.json`; a value that is undefined is None.
        history: One row per epoch: epoch, train_loss, train_accuracy, validation_loss, validation_accuracy, learning_rate,
            images_per_s, duration_s. In a cross-validation that of the first fold.
        predictions: Answers for the test set.
        examples: Correct and incorrect answers of every class, in the order in which they are shown.
        mistakes: Worst mistakes first: missed tumours, then by probability of the wrong answer.
        attention: `correct` and `incorrect`, each n and the means of energy_inside, mask_share, pointing_game, concentration and
            centre_distance, any of them None or missing; None when not compared.
        curves: `roc`: label or `tumour` to (false positive rate, true positive rate); `pr`: to (recall, precision).
        best_epoch: Epoch whose weights were kept, or None when not recorded.
        explanation: Content of `explanation.json`, or None when the maps were not measured.
        trust: Content of `trust.json`, or None when the model is not calibrated.
        started_from: Where its weights started, or empty when not recorded.
    """

    name: str
    metrics: Mapping[str, Any]
    history: tuple[Mapping[str, Any], ...]
    predictions: Predictions
    examples: tuple[ExplainedScan, ...] = ()
    mistakes: tuple[ExplainedScan, ...] = ()
    attention: Mapping[str, Mapping[str, Any]] | None = None
    curves: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    best_epoch: int | None = None
    explanation: Mapping[str, Any] | None = None
    trust: Mapping[str, Any] | None = None
    started_from: str = ""

    def __post_init__(self) -> None:
        missing = [name for name in REQUIRED_METRICS if name not in self.metrics]
        if missing:
            raise EvaluationError(f"{self.name}: no {', '.join(missing)} in the metrics. Run `tumorscope evaluate` again.")
        right = next((scan for scan in self.mistakes if scan.correct), None)
        if right is not None:
            raise EvaluationError(f"{self.name}: {right.path} is among the mistakes, but its answer is right.")

    @property
    def title(self) -> str:
        """What people call the model."""
        return MODEL_TITLES.get(self.name, self.name)


@dataclass(frozen=True, slots=True, eq=False)
class AugmentationExamples:
    """What training does to one scan: uint8 pictures on the network's grid.

    Attributes:
        original: Shape (h, w).
        flips: Horizontal flip alone, shape (k, h, w).
        rotations: Rotation alone, shape (k, h, w).
        combined: The recipe's full augmentation, shape (k, h, w); k may be 0.
    """

    original: np.ndarray
    flips: np.ndarray
    rotations: np.ndarray
    combined: np.ndarray

    def __post_init__(self) -> None:
        for name in ("flips", "rotations", "combined"):
            array: np.ndarray = getattr(self, name)
            if array.ndim != 3 or array.shape[1:] != self.original.shape:
                raise EvaluationError(f"augmentation examples: {name} has shape {array.shape}, the original {self.original.shape}.")
        if any(array.dtype != np.uint8 for array in (self.original, self.flips, self.rotations, self.combined)):
            raise EvaluationError("augmentation examples: allowed are uint8 pictures only.")


@dataclass(frozen=True, slots=True, eq=False)
class Study:
    """One finished experiment: data, models, results, and how they came about.

    Attributes:
        title: Name of the page.
        created: When it ended, ISO 8601.
        protocol: How the test set was chosen: `published`, `leak-free` or `regroup`.
        headline: Sentences that a reader must know before any number.
        counts: Split to label to number of images.
        notes: What was decided while reading the data, in sentences.
        models: At least one, no name twice.
        lookup: Metrics of the one-nearest-neighbour baseline, where known with `intervals` and `mirrored`, or None.
        augmentation: Examples, or None.
        recipe_text: Every training choice, as TOML.
        data_fingerprint: Digest of pixels and labels.
        split_fingerprint: Digest of pixels, labels, splits and folds.
        versions: Package to version.
        durations_s: Stage to run time in seconds.
        published_key: Published table that may stand beside these results, a key of `published.PUBLISHED`, or None.
        paired: Comparison on the same scans: a, b, a_only, b_only, p_value, differences {name: {value, interval}}, and
            where known method (a sentence); or None.
        synthetic: Whether the scans are made up.
        folds: Number of folds of a cross-validation, or None.
        audit: Content of `audit.json`, or None when the data were not audited.
        external: External set to model (or `lookup_baseline`) to the content of its external metrics.
    """

    title: str
    created: str
    protocol: str
    headline: tuple[str, ...]
    counts: Mapping[str, Mapping[str, int]]
    notes: tuple[str, ...]
    models: tuple[ModelResult, ...]
    lookup: Mapping[str, Any] | None
    augmentation: AugmentationExamples | None
    recipe_text: str
    data_fingerprint: str
    split_fingerprint: str
    versions: Mapping[str, str]
    durations_s: Mapping[str, float]
    published_key: str | None = None
    paired: Mapping[str, Any] | None = None
    synthetic: bool = False
    folds: int | None = None
    audit: Mapping[str, Any] | None = None
    external: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [model.name for model in self.models]
        if not names or len(set(names)) != len(names):
            raise EvaluationError(f"{self.title}: models {names}; a report needs at least one model and no name twice.")
        if self.published_key is not None:
            published_table(self.published_key)
        for split, counts in self.counts.items():
            _check_labels(counts, where=f"counts of the {split} split")


def _check_labels(labels: Mapping[str, Any] | tuple[str, ...], *, where: str) -> None:
    unknown = [label for label in labels if label not in LABELS]
    if unknown:
        raise EvaluationError(f"{where}: unknown label {unknown[0]!r}. Allowed: {', '.join(LABELS)}.")


def _check_maps(path: str, pixels: np.ndarray, heatmaps: np.ndarray, mask: np.ndarray | None) -> None:
    """Refuse maps, of shape (n, rows, columns), or a mask that do not lie on the scan."""
    if pixels.ndim != 2 or 0 in pixels.shape or pixels.dtype != np.uint8:
        raise EvaluationError(f"{path}: pixels of type {pixels.dtype} and shape {pixels.shape}; allowed: uint8 (rows, columns).")
    for name, array in (("heatmap", heatmaps[0]), ("mask", mask)):
        if array is not None and array.shape != pixels.shape:
            raise EvaluationError(
                f"{path}: the {name} has shape {array.shape}, the scan {pixels.shape}. Map it onto the scan first."
            )
    if heatmaps.dtype.kind != "f" or not np.isfinite(heatmaps).all() or (heatmaps < 0).any():
        raise EvaluationError(f"{path}: a heatmap needs finite floating values of at least 0. Hand over the raw Grad-CAM.")
    if mask is not None and mask.dtype != np.bool_:
        raise EvaluationError(f"{path}: a mask of type {mask.dtype}; allowed: bool.")
