"""The look-up baseline: answer with the label of the most similar training image. Nothing is learned."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tumorscope.errors import EvaluationError
from tumorscope.evaluation.intervals import bootstrap_intervals
from tumorscope.evaluation.metrics import summarise
from tumorscope.evaluation.twin_free import summarise_part
from tumorscope.labels import LABELS
from tumorscope.predictions import Predictions

_BLOCK = 512
_FLAT = 1e-3
"""Deviation in grey values below which an image counts as constant: far above rounding, far below one pixel of value 1."""


def lookup_baseline(
    plain: Predictions, mirrored: Predictions, *, groups: Sequence[str], twin_free: np.ndarray | None = None, seed: int = 0
) -> dict[str, Any]:
    """Return what a look-up without any training scores: the column that every model stands beside.

    Args:
        plain: `lookup_predictions` of the test images.
        mirrored: Likewise, with `mirrored` set.
        groups: Group of every row, as for `bootstrap_intervals`.
        twin_free: `twin_free_rows` of the plain look-up.
        seed: Of the intervals.

    Returns:
        `summarise` of the plain look-up with its `intervals` and `twin_free` (`summarise_part`), and `mirrored`: the same without
        intervals of the one that may mirror images.

    Raises:
        EvaluationError: As `summarise` and `bootstrap_intervals`.
    """
    intervals = bootstrap_intervals(plain, groups=groups, seed=seed)
    result = {**summarise(plain), "intervals": intervals, "mirrored": summarise(mirrored)}
    if twin_free is not None:
        result["twin_free"] = summarise_part(plain, twin_free, groups=groups, seed=seed)
        result["mirrored"]["twin_free"] = summarise(mirrored.where(twin_free)) if twin_free.any() else None
    return result


def lookup_predictions(
    train_grids: np.ndarray,
    train_label_index: np.ndarray,
    *,
    test_grids: np.ndarray,
    test_paths: Sequence[str],
    test_label_index: np.ndarray,
    mirrored: bool = False,
) -> Predictions:
    """Return the label of the most similar training image, as if it were sure of it: probability 1.

    Args:
        train_grids: As for `nearest`.
        train_label_index: Labels of the training images as positions in `LABELS`, int64, shape (m,).
        test_grids: As for `nearest`.
        test_paths: Image of each test row, no path twice.
        test_label_index: Their true labels, int64, shape (n,).
        mirrored: As for `nearest`.

    Raises:
        EvaluationError: As `nearest`, or labels that do not fit the images.
    """
    if len(train_grids) != len(train_label_index):
        raise EvaluationError(f"{len(train_grids)} training images and {len(train_label_index)} labels do not fit together.")
    index, _ = nearest(train_grids, test_grids, mirrored=mirrored)
    probabilities = np.eye(len(LABELS))[np.asarray(train_label_index)[index]]
    return Predictions(paths=tuple(test_paths), label_index=np.asarray(test_label_index), probabilities=probabilities)


def nearest(
    train_grids: np.ndarray, test_grids: np.ndarray, *, mirrored: bool = False, size: int = 64
) -> tuple[np.ndarray, np.ndarray]:
    """Return the most similar training image of every test image.

    Similarity is the cosine of the images, reduced to `size` by area means and less their own mean, so brightness and contrast do
    not matter. A constant image is like nothing: similarity 0. Of equally similar images the first counts.

    Args:
        train_grids: Preprocessed images, uint8, shape (m, side, side), at least one; may be memory-mapped, read in blocks.
        test_grids: Likewise, uint8, shape (n, side, side).
        mirrored: Whether the left-right mirror image of a training image may match too.
        size: Rows and columns of the reduced images, in pixels.

    Returns:
        Position of the training image, int64, shape (n,), and its similarity, float32, shape (n,), -1 to 1.

    Raises:
        EvaluationError: No training image, or images that are not square or not of one size.
    """
    _refuse_shapes(train_grids, test_grids)
    queries = np.concatenate([np.empty((0, size * size), np.float32), *(block for _, block in _reduced(test_grids, size=size))])
    best = np.full(len(test_grids), -np.inf, dtype=np.float32)
    index = np.zeros(len(test_grids), dtype=np.int64)
    for start, block in _reduced(train_grids, size=size):
        similarity = queries @ block.T
        if mirrored:
            flipped = np.ascontiguousarray(block.reshape(-1, size, size)[:, :, ::-1]).reshape(block.shape)
            np.maximum(similarity, queries @ flipped.T, out=similarity)
        candidate = similarity.argmax(axis=1)
        value = similarity[np.arange(len(queries)), candidate]
        better = value > best
        index[better], best[better] = start + candidate[better], value[better]
    return index, best.clip(-1, 1)


def _refuse_shapes(train_grids: np.ndarray, test_grids: np.ndarray) -> None:
    shapes = f"training images {train_grids.shape}, test images {test_grids.shape}"
    if train_grids.ndim != 3 or test_grids.ndim != 3 or train_grids.shape[1:] != test_grids.shape[1:]:
        raise EvaluationError(f"{shapes}: the look-up needs (images, side, side) with one side for both. Preprocess both alike.")
    if train_grids.shape[1] != train_grids.shape[2]:
        raise EvaluationError(f"{shapes}: the look-up needs square images. Preprocess them first.")
    if not len(train_grids):
        raise EvaluationError(f"{shapes}: nothing to look up in. Give at least one training image.")


def _reduced(grids: np.ndarray, *, size: int) -> Iterator[tuple[int, np.ndarray]]:
    """First position and unit vectors, float32 (block, size * size), of one block of images after the other."""
    side = grids.shape[1]
    weights = _area_weights(side, size)
    for start in range(0, len(grids), _BLOCK):
        pixels = np.asarray(grids[start : start + _BLOCK], dtype=np.float32)
        narrow = (pixels.reshape(-1, side) @ weights.T).reshape(-1, side, size)
        small = (weights @ narrow).reshape(len(pixels), -1)
        small -= small.mean(axis=1, keepdims=True)
        norm = np.linalg.norm(small, axis=1, keepdims=True)
        yield start, np.divide(small, norm, out=np.zeros_like(small), where=norm > _FLAT * size)


def _area_weights(side: int, size: int) -> np.ndarray:
    """Share of every input pixel in the mean of every output pixel, float32, shape (size, side)."""
    edges_in, edges_out = np.arange(side + 1), np.arange(size + 1) * (side / size)
    low = np.maximum(edges_in[None, :-1], edges_out[:-1, None])
    high = np.minimum(edges_in[None, 1:], edges_out[1:, None])
    overlap = np.clip(high - low, 0, None)
    weights: np.ndarray = (overlap / overlap.sum(axis=1, keepdims=True)).astype(np.float32)
    return weights
