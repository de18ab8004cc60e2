"""Slices made worse as scanners, archives and people make them worse: twelve corruptions at five strengths.

Strength 1 is barely visible, 5 is what can still be read but is bad; they were chosen by eye on phantoms and scans. Lengths are
shares of the slice, so a strength means the same on every grid. `artefacts.py` holds those that happen inside the scanner.

Source:
    Hendrycks and Dietterich 2019, for corruptions at five strengths and how they are summed up, https://arxiv.org/abs/1903.12261
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import cv2
import numpy as np

from tumorscope.data.artefacts import (
    FULL,
    MATRIX,
    bias_field,
    gibbs_ringing,
    kspace_spikes,
    motion_ghosting,
    rician_noise,
)
from tumorscope.errors import DataError

STRENGTHS = (1, 2, 3, 4, 5)
_Change = Callable[[np.ndarray, float, np.random.Generator], np.ndarray]


@dataclass(frozen=True, slots=True)
class Corruption:
    """One way in which a slice gets worse.

    Attributes:
        title: What people are shown.
        change: Pixels, level and generator to pixels, all float64, not yet clipped.
        levels: Level of each of `STRENGTHS`.
        meaning: What a level is, in words.
    """

    title: str
    change: _Change
    levels: tuple[float, float, float, float, float]
    meaning: str


def corrupt(pixels: np.ndarray, name: str, strength: int, seed: int) -> np.ndarray:
    """Return a slice made worse.

    Whatever is drawn (places, directions, noise) hangs on seed and name but not on strength: with one seed, a higher strength is
    the same accident, only worse.

    Args:
        pixels: uint8, shape (rows, columns), on any grid.
        name: One of `CORRUPTIONS`.
        strength: One of `STRENGTHS`.
        seed: At least 0; the same arguments give the same pixels.

    Returns:
        uint8, same shape, a new array.

    Raises:
        DataError: An argument is outside of what is allowed.
        UsageError: The corruption needs MONAI, which is not installed.
    """
    _refuse(pixels, name, strength, seed)
    corruption = CORRUPTIONS[name]
    rng = np.random.default_rng([seed, tuple(CORRUPTIONS).index(name)])
    changed = corruption.change(pixels.astype(np.float64), corruption.levels[strength - 1], rng)
    worse: np.ndarray = np.rint(changed.clip(0, FULL)).astype(np.uint8)
    return worse


def _refuse(pixels: np.ndarray, name: str, strength: int, seed: int) -> None:
    if name not in CORRUPTIONS:
        raise DataError(f"unknown corruption {name!r}. Known: {', '.join(CORRUPTIONS)}.")
    if strength not in STRENGTHS or seed < 0:
        raise DataError(
            f"{name}: strength {strength}, seed {seed}. Allowed: strengths 1 to 5, seeds from 0; the clean slice has none."
        )
    if pixels.dtype != np.uint8 or pixels.ndim != 2 or not pixels.size:
        raise DataError(f"{name}: pixels of {pixels.dtype} {pixels.shape}. Give uint8 with two non-empty axes (rows, columns).")


def _blur(pixels: np.ndarray, level: float, _: np.random.Generator) -> np.ndarray:
    deviation = level * max(pixels.shape) / MATRIX
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), deviation, borderType=cv2.BORDER_REPLICATE))


def _contrast(pixels: np.ndarray, level: float, _: np.random.Generator) -> np.ndarray:
    mean = pixels.mean()
    flat: np.ndarray = mean + (pixels - mean) * level
    return flat


def _gamma(pixels: np.ndarray, level: float, rng: np.random.Generator) -> np.ndarray:
    """Raise to the power `level` or, by the throw of a coin, to its inverse."""
    curved: np.ndarray = FULL * (pixels / FULL) ** (level if rng.random() < 0.5 else 1 / level)
    return curved


def _downsampling(pixels: np.ndarray, level: float, _: np.random.Generator) -> np.ndarray:
    """Average down to a matrix of 256 (or the slice's own, if smaller) over `level`, and interpolate linearly back."""
    longest = max(pixels.shape)
    rows, columns = (max(1, round(size * min(longest, MATRIX) / (longest * level))) for size in pixels.shape)
    return _resized(cv2.resize(pixels, (columns, rows), interpolation=cv2.INTER_AREA), pixels.shape)


def _rotation(pixels: np.ndarray, level: float, rng: np.random.Generator) -> np.ndarray:
    """Turn around the middle by `level` degrees, one way or the other; black comes in."""
    rows, columns = pixels.shape
    degrees = level if rng.random() < 0.5 else -level
    turn = cv2.getRotationMatrix2D(((columns - 1) / 2, (rows - 1) / 2), degrees, 1)
    return np.asarray(cv2.warpAffine(pixels, turn, (columns, rows), flags=cv2.INTER_LINEAR))


def _crop(pixels: np.ndarray, level: float, rng: np.random.Generator) -> np.ndarray:
    """Lose the share `level` of rows and of columns, on which side is drawn, and stretch the rest over the grid."""
    spans = []
    for size in pixels.shape:
        kept = max(1, round(size * (1 - level)))
        first = round(rng.random() * (size - kept))
        spans.append(slice(first, first + kept))
    return _resized(np.ascontiguousarray(pixels[tuple(spans)]), pixels.shape)


def _jpeg(pixels: np.ndarray, level: float, _: np.random.Generator) -> np.ndarray:
    encoded = cv2.imencode(".jpg", pixels.astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, int(level)])[1]
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE), dtype=np.float64)


def _resized(pixels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.asarray(cv2.resize(pixels, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR))


CORRUPTIONS: Mapping[str, Corruption] = MappingProxyType(
    {
        "rician_noise": Corruption(
            "Rician noise", rician_noise, (0.02, 0.045, 0.08, 0.12, 0.17), "deviation of the noise over bright tissue"
        ),
        "bias_field": Corruption("bias field", bias_field, (1.25, 1.6, 2.1, 2.8, 4.0), "highest gain over lowest"),
        "gibbs_ringing": Corruption(
            "Gibbs ringing", gibbs_ringing, (0.7, 0.52, 0.4, 0.32, 0.25), "part of k-space's radius that is kept"
        ),
        "motion_ghosting": Corruption(
            "motion ghosting", motion_ghosting, (0.08, 0.17, 0.3, 0.45, 0.65), "swing of the phase in radians"
        ),
        "kspace_spikes": Corruption(
            "k-space spikes", kspace_spikes, (0.015, 0.03, 0.055, 0.09, 0.14), "amplitude of each set of stripes over bright tissue"
        ),
        "blur": Corruption("blur", _blur, (0.6, 1.1, 1.7, 2.4, 3.2), "deviation in 256ths of the longer side"),
        "contrast": Corruption("contrast", _contrast, (0.85, 0.7, 0.55, 0.4, 0.3), "what is left of the contrast around the mean"),
        "gamma": Corruption("gamma", _gamma, (1.2, 1.4, 1.65, 2.0, 2.4), "exponent, or its inverse"),
        "downsampling": Corruption(
            "down-sampling", _downsampling, (1.4, 2.0, 2.8, 3.8, 5.0), "factor by which the matrix is smaller"
        ),
        "rotation": Corruption("rotation", _rotation, (4.0, 10.0, 18.0, 28.0, 40.0), "degrees, either way"),
        "crop": Corruption("crop", _crop, (0.05, 0.1, 0.16, 0.23, 0.32), "share of rows and of columns lost"),
        "jpeg": Corruption("JPEG", _jpeg, (60, 35, 20, 10, 7), "quality of libjpeg"),
    }
)
"""Name to corruption. New ones go to the end: what is drawn hangs on the place."""
