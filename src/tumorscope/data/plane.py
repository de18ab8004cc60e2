"""The plane of a brain MRI slice, told from its pixels by a linear rule over where its edges lie and how they run.

`benchmarks/plane_rule.py` fits `plane_rule.json` from labels given by eye and prints how often the rule errs.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

import numpy as np

from tumorscope.data.audit.frames import FRAME_SIZE, frame
from tumorscope.errors import DataError

PLANES = ("axial", "coronal", "sagittal")

CELLS = 8
DIRECTIONS = 8
FEATURES = CELLS * CELLS * DIRECTIONS
"""How many numbers `plane_features` gives: an even and an odd part of the left half of the cells, each in all directions."""

RULE_FILE = "plane_rule.json"

_SMALLEST_SIDE = 16
_LEAST_CONTRAST = 8
# Scores are near 1 for what the slice is and near 0 for what it is not. On held-out blocks of slices these two limits leave one
# slice in thirty without an answer and refuse nine in ten that were turned by 90 or 270 degrees.
_LEAST_LEAD = 0.1
_MOST_TURNED = 0.65
_AT_ONCE = 256


@dataclass(frozen=True, slots=True, eq=False)
class PlaneRule:
    """The linear rule.

    Attributes:
        weights: float32, shape (FEATURES, 4): one column for each of `PLANES`, and one for slices that do not stand upright.
        offset: float32, shape (4,).
    """

    weights: np.ndarray
    offset: np.ndarray

    def __post_init__(self) -> None:
        if self.weights.shape != (FEATURES, len(PLANES) + 1) or self.offset.shape != (len(PLANES) + 1,):
            raise DataError(
                f"a plane rule with weights {self.weights.shape} and offset {self.offset.shape}: needed are "
                f"({FEATURES}, {len(PLANES) + 1}) and ({len(PLANES) + 1},). Fit it again with benchmarks/plane_rule.py."
            )

    def scores(self, features: np.ndarray) -> np.ndarray:
        """Return a score for every plane and for not standing upright: float32, shape (images, 4), about 1 for what is true."""
        result: np.ndarray = features @ self.weights + self.offset
        return result


def guess_plane(pixels: np.ndarray) -> str | None:
    """Return the plane of one slice: see `guess_planes`."""
    return guess_planes([pixels])[0]


def guess_planes(grids: Sequence[np.ndarray] | np.ndarray) -> tuple[str | None, ...]:
    """Tell the plane of every slice: one of `PLANES`, or None where it cannot be told.

    A guess, right in about 99 of 100 answers. None is for slices that are blank, smaller than 16 pixels, turned by a quarter (nine
    in ten of them) or between two planes. A mirror image has the plane of its original. A slice on its head gets None or an
    answer that is wrong in one of five. A picture that shows no head may be given any answer.

    Args:
        grids: uint8, shape (rows, columns) each, any size; proportions, margins and brightness do not matter.

    Raises:
        DataError: An array is not 8-bit and grey; `Preprocessing.eight_bit` makes it so.
    """
    guesses: list[str | None] = []
    for start in range(0, len(grids), _AT_ONCE):
        guesses += _guessed(grids[start : start + _AT_ONCE])
    return tuple(guesses)


def plane_features(frames: np.ndarray) -> np.ndarray:
    """Return what the rule looks at: how strongly edges run in each of eight directions in each of 8 by 8 cells.

    Cells are folded along the middle into what both sides share and by how much they differ, so that a mirror image has
    the same features. Neither brightness nor contrast matters, nor whether an edge goes from dark to bright.

    Args:
        frames: uint8, shape (images, FRAME_SIZE, FRAME_SIZE), from `tumorscope.data.audit.frames.frame`.

    Returns:
        float32, shape (images, FEATURES), at least 0.

    Source:
        Dalal and Triggs 2005, histograms of oriented gradients, https://doi.org/10.1109/CVPR.2005.177
    """
    strength = _edge_strength(frames.astype(np.float32))
    strength = np.sqrt(strength / (strength.mean(axis=(1, 2, 3), keepdims=True) + 1e-6))
    mirrored = strength[:, -np.arange(DIRECTIONS) % DIRECTIONS, :, ::-1]
    left = (..., slice(CELLS // 2))
    shared, differing = (strength + mirrored)[left] / 2, np.abs(strength - mirrored)[left] / 2
    return np.concatenate([part.reshape(len(frames), -1) for part in (shared, differing)], axis=1)


def decide(scores: np.ndarray) -> list[str | None]:
    """Return the plane for each row of scores, None where two planes are close or the slice seems turned."""
    planes = scores[:, : len(PLANES)]
    ordered = np.sort(planes, axis=1)
    sure = (ordered[:, -1] - ordered[:, -2] >= _LEAST_LEAD) & (scores[:, -1] < _MOST_TURNED)
    return [PLANES[best] if trusted else None for best, trusted in zip(planes.argmax(axis=1), sure, strict=True)]


@lru_cache(maxsize=1)
def shipped_rule() -> PlaneRule:
    """Return the rule that comes with the package."""
    stored = json.loads(resources.files("tumorscope.data").joinpath(RULE_FILE).read_text(encoding="utf-8"))
    weights = np.array(stored["weights"], dtype=np.float32).T * np.float32(stored["unit"])
    return PlaneRule(weights, np.array(stored["offset"], dtype=np.float32) * np.float32(stored["unit"]))


def _guessed(grids: Sequence[np.ndarray] | np.ndarray) -> list[str | None]:
    for grid in grids:
        _refuse_other_than_grey_bytes(grid)
    shown = [row for row, grid in enumerate(grids) if _shows_something(grid)]
    guesses: list[str | None] = [None] * len(grids)
    if shown:
        scores = shipped_rule().scores(plane_features(np.stack([frame(grids[row]) for row in shown])))
        for row, guess in zip(shown, decide(scores), strict=True):
            guesses[row] = guess
    return guesses


def _refuse_other_than_grey_bytes(grid: np.ndarray) -> None:
    if grid.dtype != np.uint8 or grid.ndim != 2:
        raise DataError(
            f"a slice of type {grid.dtype} and shape {grid.shape}: planes are told from uint8, (rows, columns). "
            "Preprocessing().eight_bit(pixels) brings other intensities there."
        )


def _shows_something(grid: np.ndarray) -> bool:
    return min(grid.shape) >= _SMALLEST_SIDE and int(grid.max()) - int(grid.min()) >= _LEAST_CONTRAST


def _edge_strength(frames: np.ndarray) -> np.ndarray:
    """Mean length of the gradient per direction and cell, shape (images, DIRECTIONS, CELLS, CELLS)."""
    down, right = np.gradient(frames, axis=(1, 2))
    length = np.hypot(down, right)
    direction = np.arctan2(down, right) % np.pi * (DIRECTIONS / np.pi)
    side = FRAME_SIZE // CELLS
    strengths = []
    for number in range(DIRECTIONS):
        apart = np.abs(direction - number)
        share = np.clip(1 - np.minimum(apart, DIRECTIONS - apart), 0, None)
        strengths.append((length * share).reshape(len(frames), CELLS, side, CELLS, side).mean(axis=(2, 4)))
    return np.stack(strengths, axis=1)
