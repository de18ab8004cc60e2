"""Moving a tumour into a scan without one, to where tumours of its class live."""

import math
from dataclasses import dataclass

import numpy as np

from tumorscope.data.counterfactual.blending import GRAIN, blended, faded, fitted_to
from tumorscope.data.counterfactual.compression import finished
from tumorscope.data.counterfactual.shapes import box, check_scan, grown, margin, pixel_unit, seam_width
from tumorscope.data.counterfactual.skull import Anatomy, study_anatomy
from tumorscope.data.counterfactual.texture import BANDS, FINE, texture_of, with_texture
from tumorscope.data.counterfactual.tumour import (
    HEALTHY,
    Surroundings,
    Tumour,
    coloured,
    draw_appearance,
    lift,
    turned,
)
from tumorscope.errors import DataError
from tumorscope.labels import TUMOUR_LABELS

_TRIES = 12
_SMALLEST_MASK = 12
_SHRINK = 0.93
_SIZES = (0.8, 2.0)
"""Smallest and largest size in a head of the same width, as a factor: other sources hold larger tumours than the donor's."""
_SELLA_ROWS = (-0.28, 0.24)
"""Where nine in ten pituitary tumours of Cheng's set lie: rows from the head's middle, in its heights."""


@dataclass(frozen=True, slots=True, eq=False)
class _Place:
    """Where a tumour goes: its turned pixels, and first row and column in the host; the mask on the host's grid."""

    tumour: Tumour
    top: int
    left: int
    mask: np.ndarray


def transplant(
    donor_pixels: np.ndarray, donor_mask: np.ndarray, host_pixels: np.ndarray, *, label: str, seed: int, healthy: bool = False
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return a scan with the tumour of another one in it, and where the tumour is.

    A meningioma is turned to lie against the inner border of the skull, a pituitary tumour goes to the midline at the height of the
    sella, a glioma inside the tissue. The tumour is rescaled by the ratio of the heads, brought to the host's level and
    grain, fitted along the seam and blended.

    Args:
        donor_pixels: uint8, shape (rows, columns).
        donor_mask: bool, same shape: the tumour, or any region that is to be moved.
        host_pixels: uint8, any shape.
        label: One of `TUMOUR_LABELS`: tells the place.
        seed: Draws place, turn, size and appearance.
        healthy: Whether what is moved is no tumour, so that its contrast is kept. A tumour's is kept, exaggerated, weakened, or
            made evenly bright or dark, and never too faint to be seen.

    Returns:
        uint8 scan and bool mask, both of the host's shape; None when either shows no head, the mask is empty, or nothing has room.

    Raises:
        DataError: Shapes or types do not fit, or the label is none of a tumour.
    """
    check_scan(donor_pixels, donor_mask)
    check_scan(host_pixels)
    if label not in TUMOUR_LABELS:
        raise DataError(f"a transplant of {label!r}: nobody knows where that lives. Allowed: {', '.join(TUMOUR_LABELS)}.")
    donor, host = study_anatomy(donor_pixels), study_anatomy(host_pixels)
    if donor is None or host is None or not donor_mask.any():
        return None
    rng = np.random.default_rng((seed, 3))
    tumour = lift(donor_pixels, donor_mask, donor)
    appearance = HEALTHY if healthy else draw_appearance(rng)
    scale = host.width / donor.width * math.exp(rng.uniform(*np.log(_SIZES)))
    for attempt in range(_TRIES):
        place = _PLACES[label](tumour, host, scale * _SHRINK**attempt, rng)
        if place is not None and place.mask.sum() >= _SMALLEST_MASK:
            return _set_in(place, host_pixels, host, appearance, rng)
    return None


def _at(tumour: Tumour, host: Anatomy, middle: tuple[float, float], *, within: np.ndarray, share: float) -> _Place | None:
    """Return a tumour with its middle at a point, cut to an area, or None when less than a share of it lies there."""
    rows, columns = np.nonzero(tumour.mask)
    if not len(rows):
        return None
    top, left = round(middle[0] - rows.mean()), round(middle[1] - columns.mean())
    rows, columns = rows + top, columns + left
    fits = (rows >= 0) & (rows < host.head.shape[0]) & (columns >= 0) & (columns < host.head.shape[1])
    mask = np.zeros_like(host.head)
    mask[rows[fits], columns[fits]] = True
    mask &= within
    return _Place(tumour, top, left, mask) if mask.sum() >= share * len(rows) else None


def _glioma_place(tumour: Tumour, host: Anatomy, scale: float, rng: np.random.Generator) -> _Place | None:
    """Return a place inside the tissue, near to where the tumour lay in its own head, on either side."""
    moved = turned(tumour, scale=scale, angle=rng.uniform(-0.35, 0.35), mirror=bool(rng.integers(2)))
    row, column = (np.array(moved.place).clip(-0.8, 0.8) + rng.normal(0, 0.15, 2)) * host.radius
    return _at(moved, host, (host.centre[0] + row, host.centre[1] + column), within=host.inside, share=0.98)


def _pituitary_place(tumour: Tumour, host: Anatomy, scale: float, rng: np.random.Generator) -> _Place | None:
    """Return a place on the midline, at the height at which the tumour lay in its own head."""
    moved = turned(tumour, scale=scale, angle=rng.uniform(-0.15, 0.15), mirror=bool(rng.integers(2)))
    row = float(np.clip(moved.place[0] * 0.5 + rng.normal(0, 0.03), *_SELLA_ROWS)) * 2 * host.radius
    column = float(rng.normal(0, 0.02)) * host.width
    return _at(moved, host, (host.centre[0] + row, host.centre[1] + column), within=host.inside, share=0.98)


def _meningioma_place(tumour: Tumour, host: Anatomy, scale: float, rng: np.random.Generator) -> _Place | None:
    """Return a place at the inner border of the skull, the tumour turned as it lay against its own and flattened there."""
    rows, columns = np.nonzero(host.inside & ~grown(host.inside, -1.5))
    upper = rows < host.centre[0] + 0.6 * host.radius
    if not upper.any():
        return None
    chosen = int(rng.choice(np.flatnonzero(upper)))
    border = np.array([rows[chosen], columns[chosen]], dtype=np.float64)
    inwards = _inwards(host.inside, border, reach=0.25 * host.radius)
    outwards = math.atan2(-inwards[0], -inwards[1])
    mirror = bool(rng.integers(2))
    own = math.pi - tumour.outwards if mirror else tumour.outwards
    moved = turned(tumour, scale=scale, angle=outwards - own, mirror=mirror)
    middle_rows, middle_columns = np.nonzero(moved.mask)
    if not len(middle_rows):
        return None
    along = (middle_rows - middle_rows.mean()) * -inwards[0] + (middle_columns - middle_columns.mean()) * -inwards[1]
    middle = border + inwards * (float(along.max()) * rng.uniform(0.75, 0.95))
    return _at(moved, host, (middle[0], middle[1]), within=host.inside, share=0.8)


def _inwards(inside: np.ndarray, border: np.ndarray, *, reach: float) -> np.ndarray:
    """Return the direction from a point of a border to the middle of what lies inside near to it, as a unit vector."""
    first = np.maximum(0, (border - reach).astype(int))
    last = (border + reach).astype(int) + 1
    near = np.argwhere(inside[first[0] : last[0], first[1] : last[1]]) + first
    step = near.mean(axis=0) - border
    return np.asarray(step / max(float(np.linalg.norm(step)), 1e-6))


_PLACES = {"glioma": _glioma_place, "meningioma": _meningioma_place, "pituitary": _pituitary_place}


def _set_in(
    place: _Place, pixels: np.ndarray, host: Anatomy, appearance: str, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return the host with the tumour blended into it, and the mask."""
    unit = pixel_unit(pixels)
    fade = seam_width(unit)
    patch = grown(place.mask, margin(place.mask, unit) + fade / 2) & grown(host.inside, fade / 2)
    seam = grown(patch, fade) & ~patch & host.inside
    window = box(patch | seam, around=round(3 * fade))
    here = pixels[window].astype(np.float32)
    values = here[seam[window]] if seam.any() else np.array([host.level])
    around = Surroundings(max(8.0, float(np.median(values))), float(values.std()))
    donor = _in_window(place, window, coloured(place.tumour, around, appearance, rng))
    tissue = seam[window] | patch[window]
    bands = len(BANDS) if appearance == HEALTHY else FINE
    sample = np.ascontiguousarray(here[::-1, ::-1])
    donor = with_texture(donor, patch[window], wanted=texture_of(here, tissue), sample=sample, bands=bands)
    if seam.any():
        donor = fitted_to(donor, here, seam=seam[window], sigma=max(fade, 0.15 * math.sqrt(int(place.mask.sum()))))
    content = blended(donor, here, faded(patch[window], fade), grain=GRAIN * fade)
    whole = pixels.astype(np.float32)
    whole[window] = content
    return finished(pixels, whole, patch), place.mask


def _in_window(place: _Place, window: tuple[slice, slice], content: np.ndarray) -> np.ndarray:
    """Return a tumour's intensities on the window of the host, its rim continued where the window is larger."""
    rows = np.arange(window[0].start, window[0].stop) - place.top
    columns = np.arange(window[1].start, window[1].stop) - place.left
    rows, columns = rows.clip(0, content.shape[0] - 1), columns.clip(0, content.shape[1] - 1)
    return np.asarray(content[rows[:, None], columns[None, :]])
