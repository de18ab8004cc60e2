"""Bundle and images to heatmaps, their measures and the examples that a report shows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from tumorscope.data.dataset import batches, normalise
from tumorscope.data.decode import decode_record, read_mask
from tumorscope.data.pixel_cache import PixelCache
from tumorscope.data.preprocess import Preprocessing
from tumorscope.explanation.attention import compare_groups, measure
from tumorscope.explanation.placement import place
from tumorscope.labels import LABELS, NO_TUMOUR
from tumorscope.manifest import Manifest, Record
from tumorscope.models.bundle import Bundle
from tumorscope.models.grad_cam import grad_cam
from tumorscope.models.network import CellGrid
from tumorscope.predictions import Predictions

BATCH_SIZE = 32
CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """The Grad-CAM of the predicted label for every image of a split.

    Attributes:
        paths: Image of each map, as the manifest spells it.
        maps: Raw maps, float32, shape (n, cell rows, cell columns), at least 0.
        cells: Where the cells lie on the network's grid.
        measures: What each map attends to, see `attention.measure`.
        attention: Their means over correct and over incorrect predictions, see `attention.compare_groups`.
    """

    paths: tuple[str, ...]
    maps: np.ndarray
    cells: CellGrid
    measures: tuple[dict[str, float | None], ...]
    attention: dict[str, dict[str, Any]]


def explain(
    bundle: Bundle,
    cache: PixelCache,
    predictions: Predictions,
    *,
    split: str = "test",
    device: torch.device = CPU,
    progress: Callable[[int, int], None] | None = None,
) -> Explanation:
    """Return where a model looked when it made its predictions.

    Args:
        bundle: The trained model.
        cache: Decoded images, preprocessed as the bundle asks.
        predictions: Of the same model for the same split, in the same order.
        split: Which images.
        device: Of torch.
        progress: Called with (done, all) after every batch.
    """
    records = cache.manifest.in_split(split).records
    maps = _predicted_maps(bundle, cache, predictions, split=split, device=device, progress=progress)
    cells = bundle.network.cell_grid()
    measures = tuple(
        _measure(bundle.preprocessing, cells, cache.manifest, record, heatmap)
        for record, heatmap in zip(records, maps, strict=True)
    )
    return Explanation(
        paths=predictions.paths,
        maps=maps,
        cells=cells,
        measures=measures,
        attention=compare_groups(measures, predictions.correct),
    )


def _predicted_maps(
    bundle: Bundle,
    cache: PixelCache,
    predictions: Predictions,
    *,
    split: str,
    device: torch.device,
    progress: Callable[[int, int], None] | None,
) -> np.ndarray:
    network = bundle.network.eval().to(device).to(memory_format=torch.channels_last)
    maps: list[np.ndarray] = []
    done = 0
    with torch.inference_mode():
        for images, _ in batches(cache, split, batch_size=BATCH_SIZE):
            feature_map = network.features(normalise(images.to(device).float() / 255, bundle.preprocessing))
            chosen = torch.from_numpy(predictions.predicted_index[done : done + len(images)])
            maps.append(grad_cam(feature_map, network.head).cpu()[torch.arange(len(images)), chosen].numpy())
            done += len(images)
            if progress is not None:
                progress(done, len(predictions))
    return np.concatenate(maps)


def _measure(
    preprocessing: Preprocessing, cells: CellGrid, manifest: Manifest, record: Record, heatmap: np.ndarray
) -> dict[str, float | None]:
    """Measure one map on the network's grid, where every scan has the same size."""
    size = preprocessing.image_size
    placed = place(heatmap, stride=cells.stride, start=cells.start, preprocessing=preprocessing, shape=(size, size))
    mask = None
    if record.mask:
        drawn = read_mask(manifest, record, decode_record(manifest, record).shape)
        mask = None if drawn is None else preprocessing.grid_mask(drawn)
    return measure(placed, mask)


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
