"""A tumour lifted out of a scan: turned, rescaled, and brought to the contrast and grain of another scan."""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from tumorscope.data.counterfactual.shapes import box, grown, margin, pixel_unit
from tumorscope.data.counterfactual.skull import Anatomy

APPEARANCES: tuple[str, ...] = ("as_is", "exaggerated", "weakened", "bright", "dark")
"""How a tumour's own contrast may be varied: other scans hold other sequences, with contrast agent and without."""

_SHARES = (0.36, 0.14, 0.14, 0.2, 0.16)
_FAINTEST = (0.18, 0.9)
"""Least root mean square contrast of a tumour: in levels of the tissue around it, and in its standard deviations."""

HEALTHY = "healthy"


@dataclass(frozen=True, slots=True, eq=False)
class Tumour:
    """A tumour with a rim of what surrounds it.

    Attributes:
        pixels: Intensities, float32, shape (rows, columns).
        mask: bool, same shape.
        level: Usual intensity of the tissue around it, above 0.
        place: Where its middle lay in the head: rows and columns from the head's middle, in half head sizes.
        outwards: Direction towards the nearest part of the skull, in radians, 0 along columns, a quarter turn along rows.
    """

    pixels: np.ndarray
    mask: np.ndarray
    level: float
    place: tuple[float, float]
    outwards: float


def lift(pixels: np.ndarray, mask: np.ndarray, anatomy: Anatomy) -> Tumour:
    """Return a tumour as it lies in its scan, with a rim wide enough to turn and blend it.

    Args:
        pixels: uint8, shape (rows, columns).
        mask: bool, same shape, not empty.
        anatomy: Of the scan.
    """
    unit = pixel_unit(pixels)
    rim = round(2 * margin(mask, unit) + 8 * unit) + 2
    window = box(mask, around=rim)
    ring = grown(mask, rim)[window] & ~grown(mask, margin(mask, unit))[window] & anatomy.inside[window]
    around = pixels[window][ring] if ring.any() else np.array([anatomy.level])
    rows, columns = np.nonzero(mask)
    middle = (float(rows.mean()), float(columns.mean()))
    place = ((middle[0] - anatomy.centre[0]) / anatomy.radius, (middle[1] - anatomy.centre[1]) / anatomy.radius)
    return Tumour(
        pixels=pixels[window].astype(np.float32),
        mask=mask[window],
        level=max(8.0, float(np.median(around))),
        place=place,
        outwards=_outwards(anatomy, middle),
    )


def _outwards(anatomy: Anatomy, middle: tuple[float, float]) -> float:
    """Return the direction from a point to the nearest place that is not inside the skull, in radians."""
    rows, columns = np.nonzero(grown(anatomy.inside, 1.5) & ~anatomy.inside)
    if not len(rows):
        return -math.pi / 2
    nearest = int(((rows - middle[0]) ** 2 + (columns - middle[1]) ** 2).argmin())
    return math.atan2(rows[nearest] - middle[0], columns[nearest] - middle[1])


def turned(tumour: Tumour, *, scale: float, angle: float, mirror: bool) -> Tumour:
    """Return a tumour mirrored left-right, then turned, then rescaled about its middle.

    Args:
        tumour: What to turn.
        scale: Above 0; what is shrunk is averaged.
        angle: In radians, from the columns towards the rows.
        mirror: Whether to mirror.
    """
    outwards = tumour.outwards
    pixels: np.ndarray = tumour.pixels
    mask: np.ndarray = tumour.mask.astype(np.float32)
    if mirror:
        pixels, mask, outwards = pixels[:, ::-1], mask[:, ::-1], math.pi - outwards
    if scale < 1:
        size = (max(3, round(pixels.shape[1] * scale)), max(3, round(pixels.shape[0] * scale)))
        pixels, mask = (cv2.resize(np.ascontiguousarray(array), size, interpolation=cv2.INTER_AREA) for array in (pixels, mask))
        scale = 1.0
    rows, columns = mask.shape
    cosine, sine = math.cos(angle) * scale, math.sin(angle) * scale
    height = math.ceil(abs(sine) * columns + abs(cosine) * rows)
    width = math.ceil(abs(cosine) * columns + abs(sine) * rows)
    across = (width - 1) / 2 - (cosine * (columns - 1) - sine * (rows - 1)) / 2
    down = (height - 1) / 2 - (sine * (columns - 1) + cosine * (rows - 1)) / 2
    matrix = np.array([[cosine, -sine, across], [sine, cosine, down]])
    pixels = cv2.warpAffine(pixels, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    mask = cv2.warpAffine(mask, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
    row, column = tumour.place
    return Tumour(
        pixels, np.asarray(mask >= 0.5), tumour.level, (row, -column if mirror else column), (outwards + angle) % (2 * math.pi)
    )


def draw_appearance(rng: np.random.Generator) -> str:
    """Draw one of `APPEARANCES`."""
    return str(rng.choice(APPEARANCES, p=_SHARES))


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the tissue is like that a tumour goes into: its usual intensity, above 0, and the standard deviation."""

    level: float
    spread: float


def coloured(tumour: Tumour, around: Surroundings, appearance: str, rng: np.random.Generator) -> np.ndarray:
    """Return the tumour's intensities for other tissue, its contrast kept in proportion, or varied, but never too faint to see.

    Args:
        tumour: Turned and rescaled already.
        around: The tissue that it goes into.
        appearance: One of `APPEARANCES`, or `healthy` for a region without a tumour, which may be faint.
        rng: Draws how far it is varied.

    Returns:
        float32, shape of the tumour.
    """
    level = around.level
    contrast = (tumour.pixels - tumour.level) * np.float32(level / tumour.level)
    sigma = max(0.7, 0.06 * math.sqrt(int(tumour.mask.sum())))
    inner = np.clip(2 * cv2.GaussianBlur(tumour.mask.astype(np.float32), (0, 0), sigma), 0, 1)
    own = float(contrast[tumour.mask].mean()) if tumour.mask.any() else 0.0
    varied = _varied(contrast, own, level, appearance, rng)
    if appearance != HEALTHY and tumour.mask.any():
        seen = math.sqrt(float((varied[tumour.mask] ** 2).mean()))
        needed = max(_FAINTEST[0] * level, _FAINTEST[1] * around.spread)
        varied = varied * np.float32(np.clip(needed / max(seen, 1e-6), 1, 4))
    return np.asarray(level + contrast + inner * (varied - contrast), dtype=np.float32)


def _varied(contrast: np.ndarray, own: float, level: float, appearance: str, rng: np.random.Generator) -> np.ndarray:
    """Return the contrast of the tumour, given by pixel and as its mean, as it is to be."""
    headroom = 235 - level
    if appearance == "exaggerated":
        return contrast * np.float32(rng.uniform(1.3, 2.0))
    if appearance == "weakened":
        return contrast * np.float32(rng.uniform(0.4, 0.7))
    if appearance == "bright":
        wanted = min(level * rng.uniform(0.4, 1.0), max(headroom, 0.2 * level))
        return np.float32(wanted) + 0.3 * (contrast - np.float32(own))
    if appearance == "dark":
        return np.float32(-level * rng.uniform(0.3, 0.6)) + 0.3 * (contrast - np.float32(own))
    return contrast
