"""Numbers printed elsewhere that may stand beside ours, as data with their source."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tumorscope.errors import EvaluationError
from tumorscope.labels import LABELS


@dataclass(frozen=True, slots=True)
class PublishedTable:
    """The results of one publication.

    Attributes:
        name: What a table row calls it.
        source: One sentence for the reader: who measured what on which images.
        models: Model name to numbers in the nesting of `metrics.json`; two decimals as printed, no intervals.
    """

    name: str
    source: str
    models: Mapping[str, Mapping[str, Any]]


def _scores(precision: float, recall: float, f1: float) -> dict[str, float]:
    return {"precision": precision, "recall": recall, "f1": f1}


def _results(average: float, *classes: tuple[float, float, float]) -> dict[str, Any]:
    """Nest the printed rows (precision, recall, F1 in the order of `LABELS`); accuracy and all averages were printed equal."""
    return {
        "accuracy": average,
        "macro": _scores(average, average, average),
        "weighted": _scores(average, average, average),
        "per_class": {label: _scores(*row) for label, row in zip(LABELS, classes, strict=True)},
    }


PUBLISHED: dict[str, PublishedTable] = {
    "nickparvar": PublishedTable(
        name="student report",
        source=(
            "The student report that this work starts from trained MobileNetV2 (fine-tuned from ImageNet) and a CNN from scratch "
            "on the training folder of the same image set and tested them on its test folder. Its numbers are given with two "
            "decimals, as printed there; it gives no intervals."
        ),
        models={
            "mobilenet_v2": _results(0.95, (0.96, 0.94, 0.95), (0.91, 0.91, 0.91), (0.95, 0.99, 0.97), (0.98, 0.96, 0.97)),
            "cnn": _results(0.88, (0.89, 0.82, 0.85), (0.77, 0.79, 0.78), (0.92, 0.95, 0.94), (0.93, 0.95, 0.94)),
        },
    ),
}


def published_table(key: str) -> PublishedTable:
    """Return a published table by its key.

    Raises:
        EvaluationError: Nothing is known under this key.
    """
    if key not in PUBLISHED:
        raise EvaluationError(f"no published results are known as {key!r}. Known: {', '.join(PUBLISHED)}.")
    return PUBLISHED[key]
