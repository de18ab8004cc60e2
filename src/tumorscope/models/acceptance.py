"""Acceptance: whether a model should answer an input at all, by three criteria, and if not, why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tumorscope.data.first_look import FirstLook
from tumorscope.errors import BundleError
from tumorscope.models.familiarity import MAHALANOBIS, NORMALISED_MAHALANOBIS, Familiarity

_LOOKS, _FEATURES = "looks.", "features."
_DISTANCES = (MAHALANOBIS, NORMALISED_MAHALANOBIS)


@dataclass(frozen=True, slots=True, eq=False)
class Acceptance:
    """What is asked of an input before its answer counts.

    The first criterion, `data.input_gate`, holds for all models and needs no numbers here.

    Attributes:
        looks: Familiarity of `data.look_numbers`: grey levels unlike those of the training images.
        features: Familiarity of the network's features: a content unlike theirs.
    """

    looks: Familiarity
    features: Familiarity

    def __post_init__(self) -> None:
        for part in (self.looks, self.features):
            if part.method not in _DISTANCES or not part.threshold < 0:
                raise BundleError(
                    f"acceptance by {part.method} with threshold {part.threshold:g}: needed is {' or '.join(_DISTANCES)} with "
                    "a threshold below 0. Calibrate again."
                )

    def strangeness(self, looks: np.ndarray, features: np.ndarray, logits: np.ndarray) -> np.ndarray:
        """Return how strange inputs are: the larger of two squared distances, each in units of the largest that is kept.

        Args:
            looks: `look_numbers` of the scans, float32, shape (n, 20).
            features: Pooled penultimate features, float32, shape (n, channels).
            logits: float32, shape (n, 4).

        Returns:
            float64, shape (n,), at least 0; above 1 an input is refused.

        Raises:
            EvaluationError: As `Familiarity.score`.
        """
        return self._strangeness(self.looks.score(looks, logits), self.features.score(features, logits))

    def judged(self, looks: Sequence[FirstLook], features: np.ndarray, logits: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
        """Return how strange scans are, see `strangeness`, and why each is refused, in words; empty for one that is kept.

        Args:
            looks: What each of the pictures tells.
            features: Of the same scans, float32, shape (n, channels).
            logits: Of the same scans, float32, shape (n, 4).

        Raises:
            EvaluationError: As `Familiarity.score`.
        """
        grey = self.looks.score(np.stack([look.numbers for look in looks]), logits)
        content = self.features.score(features, logits)
        odd = "grey levels unlike those of the images this model was trained on"
        told = zip(looks, grey < self.looks.threshold, self.features.reasons(content), strict=True)
        reasons = tuple(look.reason or (odd if strange else third) for look, strange, third in told)
        return self._strangeness(grey, content), reasons

    def _strangeness(self, grey: np.ndarray, content: np.ndarray) -> np.ndarray:
        strangeness: np.ndarray = np.maximum(grey / self.looks.threshold, content / self.features.threshold)
        return strangeness

    @property
    def stored_bytes(self) -> int:
        """What the arrays add to a bundle."""
        return self.looks.stored_bytes + self.features.stored_bytes

    def to_tensors(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return the arrays under names fit for a safetensors file, and the rest as plain JSON values."""
        tensors: dict[str, np.ndarray] = {}
        content: dict[str, Any] = {}
        for prefix, part in ((_LOOKS, self.looks), (_FEATURES, self.features)):
            arrays, rest = part.to_tensors()
            tensors |= {prefix + name: values for name, values in arrays.items()}
            content[prefix.rstrip(".")] = rest
        return tensors, content

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, np.ndarray], content: Mapping[str, Any]) -> "Acceptance":
        """Build from what `to_tensors` returned; tensors of other names are left alone.

        Raises:
            BundleError: Something is missing or does not fit together.
        """
        parts = []
        for prefix in (_LOOKS, _FEATURES):
            arrays = {name.removeprefix(prefix): values for name, values in tensors.items() if name.startswith(prefix)}
            parts.append(Familiarity.from_tensors(arrays, content.get(prefix.rstrip("."), {})))
        return cls(*parts)
