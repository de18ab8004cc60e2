"""Which scans a report shows: by rule, never by hand."""

from collections.abc import Sequence

import numpy as np

from tumorscope.explanation.summary import OWN, MeasuredImage
from tumorscope.labels import LABELS, NO_TUMOUR
from tumorscope.predictions import Predictions


def pick_by_map(images: Sequence[MeasuredImage]) -> tuple[tuple[int, str], ...]:
    """Return of every class the scans whose maps are best, middling and worst, each with the reason why it is shown.

    Where tumours are outlined the share of the map inside the outline decides, else the probability of the answer.

    Returns:
        Places in `images`, each with a caption.
    """
    picked: list[tuple[int, str]] = []
    for label in LABELS:
        own = [place for place, image in enumerate(images) if image.label == label]
        outlined = [place for place in own if _inside(images[place]) is not None]
        ordered = sorted(outlined, key=lambda place: -(_inside(images[place]) or 0.0)) or sorted(
            own, key=lambda place: -images[place].confidence * (1 if images[place].correct else -1)
        )
        for place, word in _ends_and_middle(len(ordered)):
            image = images[ordered[place]]
            share = _inside(image)
            why = (
                f"{share:.1%} of the map inside the outline"
                if share is not None
                else f"answer with probability {image.confidence:.3f}"
            )
            picked.append((ordered[place], f"{word}: {why}"))
    return tuple(picked)


def _inside(image: MeasuredImage) -> float | None:
    return image.measures.get(OWN, {}).get("energy_inside")


def _ends_and_middle(count: int) -> tuple[tuple[int, str], ...]:
    """First, middle and last place of a list with their names; fewer where it is short, never one twice."""
    if count < 3:
        return ((0, "best"), (1, "worst"))[:count]
    return (0, "best"), (count // 2, "median"), (count - 1, "worst")


def pick_examples(predictions: Predictions, *, per_label: int = 3) -> tuple[int, ...]:
    """Return rows to show, chosen by rule: of every true label the median, best and worst correct ones, then incorrect ones.

    Correct ones are ordered by the probability of the true label; incorrect ones come with the surest mistake first.
    """
    rows: list[int] = []
    for label_index in range(len(LABELS)):
        own = np.flatnonzero(predictions.label_index == label_index)
        right = sorted(own[predictions.correct[own]], key=lambda row: predictions.probabilities[row, label_index])
        rows += [right[k] for k in _spread(len(right), per_label)]
    for label_index in range(len(LABELS)):
        own = np.flatnonzero(predictions.label_index == label_index)
        rows += _surest(predictions, own[~predictions.correct[own]])[:per_label]
    return tuple(int(row) for row in rows)


def pick_mistakes(predictions: Predictions, *, limit: int = 12) -> tuple[int, ...]:
    """Return the rows of the worst mistakes: missed tumours first, and the surest of each kind first."""
    healthy = LABELS.index(NO_TUMOUR)
    wrong = np.flatnonzero(~predictions.correct)
    missed = wrong[predictions.predicted_index[wrong] == healthy]
    others = wrong[predictions.predicted_index[wrong] != healthy]
    return tuple(int(row) for row in (*_surest(predictions, missed), *_surest(predictions, others)))[:limit]


def _spread(count: int, wanted: int) -> Sequence[int]:
    """Positions spread evenly over a sorted list, its middle and both ends among them."""
    return sorted({round(k) for k in np.linspace(0, count - 1, min(wanted, count))}, reverse=True) if count else []


def _surest(predictions: Predictions, rows: np.ndarray) -> list[int]:
    return sorted(rows.tolist(), key=lambda row: -float(predictions.probabilities[row].max()))
