"""Taking a region out of a scan and putting tissue of the same scan in its place, and finding a place for a control."""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from tumorscope.data.counterfactual.blending import GRAIN, blended, faded, fitted_to, membrane, smoothed_where
from tumorscope.data.counterfactual.compression import finished
from tumorscope.data.counterfactual.shapes import box, check_scan, grown, margin, moved, pixel_unit, seam_width
from tumorscope.data.head import head_mask

_SEARCH_SIZE = 128
_RING = 5
_CHOICES = 3
_BEARABLE = (0.5, 0.2)
"""What counts as a misfit of 1: a share of the variance around the hole, and the square of a share of the level there."""
_WORST = 4.0
_TRIES = 60
_TOLERATED = 1.25
_SMALLEST_PIECE = 5
_BACKGROUND_MORE = 0.03


def erase(pixels: np.ndarray, mask: np.ndarray, *, seed: int, avoid: np.ndarray | None = None) -> np.ndarray:
    """Return the scan with what a mask covers replaced by tissue of the same scan that fits what is around it.

    The piece comes from where the surroundings are most alike, mirrored or not, is fitted in brightness along the seam
    and blended with its grain kept. A region too large for one piece is filled with several.

    Args:
        pixels: uint8, shape (rows, columns).
        mask: bool, same shape. A few pixels more than it are replaced, since outlines are drawn by hand.
        seed: Chooses among the pieces that fit about as well.
        avoid: bool, same shape: what no tissue may come from, such as a tumour elsewhere in the scan.

    Returns:
        uint8, same shape; the same pixels, bit for bit, away from the mask. The scan as it is where the mask is empty.

    Raises:
        DataError: Shapes or types do not fit.

    Source:
        Efros and Leung 1999, https://doi.org/10.1109/ICCV.1999.790383, but whole pieces; the seam after Pérez et al. 2003.
    """
    check_scan(pixels, mask)
    if avoid is not None:
        check_scan(pixels, avoid)
    if not mask.any():
        return pixels.copy()
    unit = pixel_unit(pixels)
    fade = seam_width(unit)
    hole = grown(mask, margin(mask, unit) + fade)
    forbidden = hole if avoid is None else hole | grown(avoid, margin(avoid, unit))
    scene = _Scene(pixels.astype(np.float32), 1 - _small(head_mask(pixels)), _small(forbidden) > 0, hole, fade)
    filled = _fill(scene, hole, np.random.default_rng((seed, 1)))
    return finished(pixels, filled.pixels, hole)


@dataclass(frozen=True, slots=True, eq=False)
class _Scene:
    """A scan while holes in it are filled.

    Attributes:
        pixels: float32, shape (rows, columns), as far as filled.
        background: Share of every cell of the small grid that is not head, float32.
        forbidden: Cells of the small grid that nothing may be copied from.
        unfilled: What still shows what is to be taken out.
        fade: Width of a seam in pixels.
    """

    pixels: np.ndarray
    background: np.ndarray
    forbidden: np.ndarray
    unfilled: np.ndarray
    fade: float


@dataclass(frozen=True, slots=True)
class _Piece:
    """A place to copy from: how badly it fits, 1 being too bad; whether from the mirrored scan, and how far away in pixels."""

    misfit: float
    mirror: bool
    down: int
    right: int


def _fill(scene: _Scene, hole: np.ndarray, rng: np.random.Generator) -> _Scene:
    """Fill a hole by one piece or, where none fits, by halves, the first of which reaches under the seam of the second."""
    pieces = _pieces(scene, hole)
    rows, columns = box(hole)
    height, width = rows.stop - rows.start, columns.stop - columns.start
    small = max(height, width) < _SMALLEST_PIECE * scene.fade
    if pieces and pieces[0].misfit <= (_WORST if small else 1):
        good = [piece for piece in pieces if piece.misfit <= pieces[0].misfit * _TOLERATED]
        return _set_in(scene, hole, good[int(rng.integers(len(good)))])
    if small:
        return _smooth_over(scene, hole, rng)
    half = hole.copy()
    if height >= width:
        half[(rows.start + rows.stop) // 2 :] = False
    else:
        half[:, (columns.start + columns.stop) // 2 :] = False
    scene = _fill(scene, grown(half, 1.25 * scene.fade) & hole, rng)
    return _fill(scene, hole & ~half, rng)


def _ring(scene: _Scene, hole: np.ndarray, width: float) -> np.ndarray:
    """Return what is known just around a hole."""
    around = grown(hole, width)
    around &= ~(hole | scene.unfilled)
    return around


def _pieces(scene: _Scene, hole: np.ndarray) -> list[_Piece]:
    """Return the best places to copy from, best first, each from another part of the scan; none where nothing has room."""
    pixels, background, forbidden = _small(scene.pixels), scene.background, scene.forbidden
    shrink = hole.shape[0] / pixels.shape[0]
    hole_small = _small(hole) > 0
    ring = grown(hole_small, _RING) & ~hole_small & (_small(scene.unfilled) == 0)
    rows, columns = box(grown(hole_small, _RING))
    wanted, ring_here, hole_here = pixels[rows, columns], ring[rows, columns], hole_small[rows, columns]
    if not ring_here.any():
        return []
    level, spread = float(wanted[ring_here].mean()), float(wanted[ring_here].var())
    bearable = _BEARABLE[0] * spread + (_BEARABLE[1] * level) ** 2 + 1
    allowed = float((background * ring).sum() / max(1, ring.sum())) + _BACKGROUND_MORE
    found = []
    for mirror in (False, True):
        flip = slice(None, None, -1 if mirror else 1)
        misfit = _misfit(pixels[:, flip], wanted, ring_here) + _oddness(pixels[:, flip], wanted, ring_here, hole_here)
        taken = _correlated(forbidden[:, flip], hole_here | ring_here)
        outside = _correlated(background[:, flip], hole_here) / max(1, hole_here.sum())
        misfit[(taken > 0.5) | (outside > allowed)] = np.inf
        found += [
            _Piece(value / bearable, mirror, round((row - rows.start) * shrink), round((column - columns.start) * shrink))
            for value, row, column in _lowest(misfit, apart=4)
        ]
    return sorted(found, key=lambda piece: piece.misfit)[:_CHOICES]


def _small(array: np.ndarray) -> np.ndarray:
    """Return a scan or the coverage of a mask on the small grid on which places are looked for, float32."""
    shrink = max(1.0, max(array.shape) / _SEARCH_SIZE)
    size = (round(array.shape[1] / shrink), round(array.shape[0] / shrink))
    wide = array.astype(np.uint8) * np.uint8(255) if array.dtype == np.bool_ else array
    small = cv2.resize(wide, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    return small / np.float32(255) if array.dtype == np.bool_ else small


def _correlated(picture: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Return the sums of a picture under a kernel, for every place where the kernel lies inside."""
    return cv2.matchTemplate(
        np.ascontiguousarray(picture, dtype=np.float32), np.ascontiguousarray(kernel, dtype=np.float32), cv2.TM_CCORR
    )


def _misfit(picture: np.ndarray, wanted: np.ndarray, ring: np.ndarray) -> np.ndarray:
    """Return the mean squared difference under a ring for every place; what a constant would make up for counts a quarter."""
    weight = ring.astype(np.float32)
    count = max(1.0, float(weight.sum()))
    level = float(wanted[ring].mean())
    picture, wanted = picture - level, (wanted - level) * weight
    square = (_correlated(picture**2, weight) - 2 * _correlated(picture, wanted) + float((wanted**2).sum())) / count
    shift = _correlated(picture, weight) / count - float(wanted.sum()) / count
    return np.asarray(np.maximum(square, 0) - 0.75 * shift**2, dtype=np.float32)


def _oddness(picture: np.ndarray, wanted: np.ndarray, ring: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """Return by how much the tissue of every place departs from the ring's level more than the ring does: sinuses, ventricles."""
    level, spread = float(wanted[ring].mean()), float(wanted[ring].var())
    inside = _correlated((picture - level) ** 2, hole) / max(1, hole.sum())
    return np.asarray(np.maximum(0, inside - spread), dtype=np.float32)


def _lowest(misfit: np.ndarray, *, apart: int) -> list[tuple[float, int, int]]:
    """Return the lowest finite values with row and column, no two of them near each other."""
    misfit = misfit.copy()
    result = []
    for _ in range(_CHOICES):
        row, column = np.unravel_index(int(misfit.argmin()), misfit.shape)
        value = float(misfit[row, column])
        if not np.isfinite(value):
            break
        result.append((value, int(row), int(column)))
        misfit[max(0, row - apart) : row + apart + 1, max(0, column - apart) : column + apart + 1] = np.inf
    return result


def _set_in(scene: _Scene, hole: np.ndarray, piece: _Piece) -> _Scene:
    """Copy a piece into a hole, fitted to the known seam and blended there."""
    seam = _ring(scene, hole, scene.fade + 1)
    window = box(hole | seam, around=round(3 * scene.fade))
    source = scene.pixels[:, ::-1] if piece.mirror else scene.pixels
    shift = np.array([[1, 0, -piece.right - window[1].start], [0, 1, -piece.down - window[0].start]], dtype=np.float32)
    host = scene.pixels[window]
    donor = cv2.warpAffine(
        np.ascontiguousarray(source), shift, host.shape[::-1], flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT_101
    )
    if seam.any():
        donor = fitted_to(donor, host, seam=seam[window], sigma=scene.fade)
    weight = faded((hole | scene.unfilled)[window], scene.fade) * hole[window]
    return _with(scene, hole, window, blended(donor, host, weight, grain=GRAIN * scene.fade))


def _smooth_over(scene: _Scene, hole: np.ndarray, rng: np.random.Generator) -> _Scene:
    """Fill a hole by a smooth surface and noise as strong as that around: for scans in which no tissue has room."""
    window = box(hole, around=round(8 * scene.fade))
    host, known = scene.pixels[window], ~(scene.unfilled | hole)[window]
    if not known.any():
        known = ~hole[window]
    surface = membrane(smoothed_where(host, known, scene.fade), known)
    fine = (host - cv2.GaussianBlur(host, (0, 0), scene.fade / 2))[known]
    noise = cv2.GaussianBlur(rng.standard_normal(host.shape, dtype=np.float32), (0, 0), 0.7)
    inner = surface + noise * np.float32(np.median(np.abs(fine)) * 1.48 / noise.std())
    weight = faded((hole | scene.unfilled)[window], scene.fade) * hole[window]
    return _with(scene, hole, window, blended(inner, host, weight, grain=GRAIN * scene.fade))


def _with(scene: _Scene, hole: np.ndarray, window: tuple[slice, slice], content: np.ndarray) -> _Scene:
    pixels = scene.pixels.copy()
    pixels[window] = np.where(hole[window], content, pixels[window])
    return replace(scene, pixels=pixels, unfilled=scene.unfilled & ~hole)


def place_elsewhere(mask: np.ndarray, pixels: np.ndarray, *, seed: int) -> np.ndarray | None:
    """Return a region as large and of the same shape elsewhere in the head, for controls of an edit.

    The mirrored place on the other side of the head where it is free, mirrored in shape too; else one drawn from the free ones.

    Args:
        mask: bool, shape (rows, columns).
        pixels: uint8, same shape.
        seed: Draws the place.

    Returns:
        bool, same shape, with as many pixels as the mask, clear of it and on no black background; None where there is no room.

    Raises:
        DataError: Shapes or types do not fit.
    """
    check_scan(pixels, mask)
    head = head_mask(pixels)
    if not mask.any() or not head.any():
        return None
    unit = pixel_unit(pixels)
    free = grown(head, -max(1.0, 4 * unit)) & ~grown(mask, 2 * margin(mask, unit) + 8 * unit)
    mirror = _mirrored(mask, head)
    if mirror is not None and not (mirror & ~free).any():
        return mirror
    rng = np.random.default_rng((seed, 2))
    places = [place for shape in (mask, np.ascontiguousarray(mask[:, ::-1])) for place in _random_places(shape, free, rng)]
    return max(places, key=lambda place: _share_of_tissue(pixels, place, head), default=None)


def _mirrored(mask: np.ndarray, head: np.ndarray) -> np.ndarray | None:
    """Return a mask mirrored at the upright line through the middle of the head, or None when it leaves the scan."""
    columns = np.flatnonzero(head.any(axis=0))
    return moved(np.ascontiguousarray(mask[:, ::-1]), 0, int(columns[0] + columns[-1]) - (mask.shape[1] - 1))


def _random_places(shape: np.ndarray, free: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """Return a mask moved to where all of it is free, a few times; looked for on a small grid and checked on the scan's own."""
    shrink = max(1, max(shape.shape) // _SEARCH_SIZE)
    rows, columns = box(shape)
    kernel = shape[rows, columns][shrink // 2 :: shrink, shrink // 2 :: shrink]
    if not kernel.size:
        kernel = np.ones((1, 1), dtype=bool)
    places = np.argwhere(_correlated(~free[::shrink, ::shrink], kernel) < 0.5)
    found: list[np.ndarray] = []
    for index in rng.permutation(len(places))[:_TRIES]:
        row, column = places[index] * shrink
        place = moved(shape, int(row) - rows.start, int(column) - columns.start)
        if place is not None and not (place & ~free).any():
            found.append(place)
        if len(found) == _CHOICES:
            break
    return found


def _share_of_tissue(pixels: np.ndarray, place: np.ndarray, head: np.ndarray) -> float:
    """Return how much of a place is about as bright as the head's upper half usually is: brain, and not air, bone or fat."""
    rows, _ = box(head)
    upper = pixels[rows.start : (rows.start + rows.stop) // 2][head[rows.start : (rows.start + rows.stop) // 2]]
    level = float(np.median(upper))
    return float((np.abs(pixels[place] - level) < 0.4 * level).mean())
