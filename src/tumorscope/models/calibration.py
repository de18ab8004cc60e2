"""Calibration: what turns a model's raw answers into probabilities, sets of labels, a recommendation and a refusal; numpy only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tumorscope.data.first_look import FirstLook
from tumorscope.errors import BundleError, EvaluationError
from tumorscope.labels import LABELS
from tumorscope.models.acceptance import Acceptance
from tumorscope.models.decisions import prediction_sets, recommended_labels, scaled_probabilities
from tumorscope.predictions import Decisions

LEVEL = 0.95
"""Of the prediction set that is shown where nobody asks for another."""


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """What was fitted on images that no training had seen; without any of it, the softmax of the logits.

    Attributes:
        temperature: What the logits are divided by.
        scales: Factor of every logit after that, or None.
        offsets: What is added to every logit after that, or None.
        quantiles: Level, as text such as `0.95`, to `marginal`, the threshold of the score 1 - p, and `per_label`, the same by true
            label with None where no image had it; empty where no sets are promised.
        level: Of the set that is given, a key of `quantiles` as a number.
        conditional: Whether that set uses the thresholds by label.
        operating_point: Threshold on the tumour probability (`threshold`), and what it promises; None without one.
        label_points: Every tumour label to the same for its own probability, None for a label without images; empty without any.
        costs: Cost of every answer (columns) under every truth (rows), in the order of `LABELS`; None counts all errors alike.
        acceptance: Tells images unlike those of training; None where nothing does.
        fitted_on: The images and the wish: `split`, `n`, `per_label`, `groups`, `split_fingerprint`, `created`, `promises`,
            `scalings`, `sentences`, and `images` (short digests) where images were given for it; empty when nothing was fitted.
    """

    temperature: float = 1.0
    scales: tuple[float, ...] | None = None
    offsets: tuple[float, ...] | None = None
    quantiles: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    level: float = LEVEL
    conditional: bool = False
    operating_point: Mapping[str, Any] | None = None
    label_points: Mapping[str, Mapping[str, Any] | None] = field(default_factory=dict)
    costs: tuple[tuple[float, ...], ...] | None = None
    acceptance: Acceptance | None = None
    fitted_on: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not (np.isfinite(self.temperature) and self.temperature > 0):
            raise BundleError(f"a temperature of {self.temperature}; allowed is a number above 0. Calibrate the model again.")
        for name, values in (("scales", self.scales), ("offsets", self.offsets)):
            if values is not None and (len(values) != len(LABELS) or not np.isfinite(values).all()):
                raise BundleError(f"{name} {values}; allowed are {len(LABELS)} numbers. Calibrate the model again.")
        if self.quantiles and f"{self.level:.2f}" not in self.quantiles:
            raise BundleError(f"no prediction sets of level {self.level}. Fitted: {', '.join(self.quantiles)}.")

    @property
    def is_fitted(self) -> bool:
        """Whether anything was fitted."""
        return bool(self.fitted_on)

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Return calibrated probabilities, float64, shape (n, 4), for logits of that shape.

        Raises:
            EvaluationError: A logit is NaN or infinite.
        """
        return scaled_probabilities(logits, self.temperature, scales=self.scales, offsets=self.offsets)

    def sets(
        self,
        probabilities: np.ndarray,
        *,
        level: float | None = None,
        conditional: bool | None = None,
        keep_empty: bool = False,
    ) -> np.ndarray | None:
        """Return the prediction sets of calibrated probabilities, bool, shape (n, 4), or None where none are promised.

        Args:
            probabilities: float64, shape (n, 4).
            level: One of those fitted; None takes the calibration's own.
            conditional: Whether the promise is to hold for every true label by itself; None takes the calibration's own.
            keep_empty: Leave empty sets empty, to compare their coverage with theory; else they hold the most probable label.

        Raises:
            EvaluationError: That level was not fitted.
        """
        if not self.quantiles:
            return None
        key = f"{self.level if level is None else level:.2f}"
        if key not in self.quantiles:
            raise EvaluationError(f"no prediction sets of level {key}. Fitted: {', '.join(self.quantiles)}.")
        by_class = self.conditional if conditional is None else conditional
        return prediction_sets(probabilities, self.quantiles[key], conditional=by_class, keep_empty=keep_empty)

    def decide(self, logits: np.ndarray, features: np.ndarray, looks: Sequence[FirstLook]) -> Decisions:
        """Return what is said about images.

        Args:
            logits: float32, shape (n, 4).
            features: Pooled features before the head, float32, shape (n, channels).
            looks: What each of the pictures tells; without an `acceptance` it refuses what can be no slice of a head, and may be
                left out.

        Raises:
            EvaluationError: A logit or feature is NaN or infinite.
        """
        probabilities = self.probabilities(logits)
        point = self.operating_point
        familiarity, reasons = None, tuple(look.reason for look in looks) or ("",) * len(logits)
        if self.acceptance is not None:
            strangeness, reasons = self.acceptance.judged(looks, features, logits)
            familiarity = 1 - strangeness
        return Decisions(
            probabilities=probabilities,
            prediction_sets=self.sets(probabilities),
            recommended=probabilities.argmax(axis=1)
            if point is None
            else recommended_labels(probabilities, float(point["threshold"]), cost_matrix=self.cost_matrix),
            familiarity=familiarity,
            refused=np.array([bool(reason) for reason in reasons], dtype=bool),
            reasons=reasons,
        )

    def reached(self, probabilities: np.ndarray) -> dict[str, np.ndarray]:
        """Return, for each label with a point of its own, which images reach its threshold, bool, shape (n,)."""
        return {
            label: probabilities[:, LABELS.index(label)] >= float(point["threshold"])
            for label, point in self.label_points.items()
            if point is not None
        }

    @property
    def cost_matrix(self) -> np.ndarray | None:
        """`costs` as an array, float64, shape (4, 4)."""
        return None if self.costs is None else np.array(self.costs, dtype=np.float64)

    def to_json(self) -> dict[str, Any] | None:
        """Return everything but the arrays of `acceptance` as plain values; None when nothing was fitted."""
        if not self.is_fitted:
            return None
        return {
            "temperature": self.temperature,
            "scales": None if self.scales is None else list(self.scales),
            "offsets": None if self.offsets is None else list(self.offsets),
            "quantiles": {level: dict(values) for level, values in self.quantiles.items()},
            "level": self.level,
            "conditional": self.conditional,
            "operating_point": None if self.operating_point is None else dict(self.operating_point),
            "label_points": {label: None if point is None else dict(point) for label, point in self.label_points.items()},
            "costs": None if self.costs is None else [list(row) for row in self.costs],
            "acceptance": None if self.acceptance is None else self.acceptance.to_tensors()[1],
            "fitted_on": dict(self.fitted_on),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any] | None, tensors: Mapping[str, np.ndarray]) -> "Calibration":
        """Return what `to_json` gave.

        Args:
            content: Plain values.
            tensors: Arrays of `acceptance`, empty where it has none.

        Raises:
            BundleError: Something is missing or impossible.
        """
        if content is None:
            return cls()
        try:
            known = content["acceptance"]
            return cls(
                temperature=float(content["temperature"]),
                scales=_numbers(content["scales"]),
                offsets=_numbers(content["offsets"]),
                quantiles=content["quantiles"],
                level=float(content["level"]),
                conditional=bool(content["conditional"]),
                operating_point=content["operating_point"],
                label_points=content.get("label_points", {}),  # earlier bundles have none
                costs=None if content["costs"] is None else tuple(tuple(map(float, row)) for row in content["costs"]),
                acceptance=None if known is None else Acceptance.from_tensors(tensors, known),
                fitted_on=content["fitted_on"],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(f"the calibration is incomplete or altered ({error}). Calibrate the model again.") from error


def _numbers(values: Sequence[float] | None) -> tuple[float, ...] | None:
    return None if values is None else tuple(map(float, values))
