"""Setting one piece of tissue into another so that neither brightness, texture nor noise shows the seam."""

import cv2
import numpy as np

_CROSS = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], dtype=np.float32) / 4
_SWEEPS = 12
_COARSEST = 6

GRAIN = 0.1
"""Of the width of a seam: what counts as grain when it is blended. More, and furrows that end at the seam are sharpened, too."""


def membrane(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return the smoothest surface through known values: each unknown pixel the mean of its four neighbours.

    Solved from coarse to fine, a few sweeps each, so it is near the exact solution and not equal to it.

    Args:
        values: float32, shape (rows, columns); what stands where nothing is known does not matter.
        known: bool, same shape, true somewhere.

    Returns:
        float32, same shape; the given values where known.

    Source:
        Pérez et al. 2003, equation 4 with a field of zero, https://doi.org/10.1145/882262.882269
    """
    rows, columns = values.shape
    weight = known.astype(np.float32)
    if min(rows, columns) > _COARSEST and not known.all():
        size = ((columns + 1) // 2, (rows + 1) // 2)
        share = cv2.resize(weight, size, interpolation=cv2.INTER_AREA)
        coarse = cv2.resize(np.where(known, values, np.float32(0)), size, interpolation=cv2.INTER_AREA)
        surface = membrane(coarse / np.maximum(share, 1e-6), share > 1e-3)
        surface = cv2.resize(surface, (columns, rows), interpolation=cv2.INTER_LINEAR)
    else:
        surface = np.full(values.shape, values[known].mean(), dtype=np.float32)
    surface = np.where(known, values, surface)
    for _ in range(_SWEEPS):
        surface = np.where(known, values, cv2.filter2D(surface, -1, _CROSS, borderType=cv2.BORDER_REPLICATE))
    return np.asarray(surface, dtype=np.float32)


def smoothed_where(values: np.ndarray, known: np.ndarray, sigma: float) -> np.ndarray:
    """Return values blurred over the known pixels alone, float32; 0 where none is near."""
    weight = known.astype(np.float32)
    total = cv2.GaussianBlur(np.where(known, values, np.float32(0)), (0, 0), sigma)
    return np.asarray(total / np.maximum(cv2.GaussianBlur(weight, (0, 0), sigma), 1e-4), dtype=np.float32)


def fitted_to(donor: np.ndarray, host: np.ndarray, *, seam: np.ndarray, sigma: float) -> np.ndarray:
    """Return the donor with a smooth field added that makes it agree with the host along the seam.

    Args:
        donor: float32, shape (rows, columns).
        host: Likewise.
        seam: bool, same shape: where both are known and should agree.
        sigma: How far differences are averaged along the seam, in pixels, so that single furrows and noise do not bleed inwards.
    """
    difference = smoothed_where(host - donor, seam, sigma)
    return np.asarray(donor + membrane(difference, seam), dtype=np.float32)


def faded(outer: np.ndarray, width: float) -> np.ndarray:
    """Return weights that rise from 0 at the border of an area to 1 at `width` pixels inside of it, float32."""
    framed = cv2.copyMakeBorder(outer.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    depth = cv2.distanceTransform(framed, cv2.DIST_L2, 5)[1:-1, 1:-1]
    return np.asarray(np.clip((depth - 0.5) / max(width, 1.0), 0, 1) * outer, dtype=np.float32)


def blended(inner: np.ndarray, host: np.ndarray, weight: np.ndarray, *, grain: float) -> np.ndarray:
    """Return both mixed by weight, with as much grain in the mixture as in each.

    A plain mean of two noises is weaker than either, which shows as a smooth rim. So what is finer than `grain` is strengthened by
    what mixing takes from it, as far as both are not the same anyway.

    Args:
        inner: float32, shape (rows, columns).
        host: Likewise.
        weight: Of `inner`, 0 to 1, same shape.
        grain: Size of what counts as texture and noise, in pixels.
    """
    inner_base, host_base = (cv2.GaussianBlur(picture, (0, 0), grain) for picture in (inner, host))
    base = host_base + weight * (inner_base - host_base)
    inner_fine, host_fine = inner - inner_base, host - host_base
    mixed = (weight > 0) & (weight < 1)
    likeness = _likeness(inner_fine[mixed], host_fine[mixed])
    total = np.sqrt(weight**2 + (1 - weight) ** 2 + np.float32(2 * likeness) * weight * (1 - weight))
    fine = (weight * inner_fine + (1 - weight) * host_fine) / total
    return np.asarray(base + fine, dtype=np.float32)


def _likeness(first: np.ndarray, second: np.ndarray) -> float:
    """Return the correlation of two details about zero, at least 0."""
    strength = float((first**2).sum() * (second**2).sum())
    return max(0.0, float((first * second).sum()) / strength**0.5) if strength > 0 else 0.0
