"""A head to put lesions in: the MNI152 tissue maps of nilearn's wheel with a skull, a scalp and a face drawn around them.

Points are MNI millimetres in columns, x to the right, y forward, z up: arrays of shape (3, n), float32.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from nibabel import Nifti1Image

_BRAIN_ORIGIN_MM = (-98.0, -134.0, -72.0)
_HEAD_ORIGIN_MM = (-110.0, -150.0, -134.0)
_HEAD_SHAPE = (111, 141, 126)
_HEAD_STEP_MM = 2.0
_NOISE_SIZE = 64
_FURROW_MM = 9.0
_VAULT_MM = 30.0
_CORD_BELOW_MM = -71.0

_FACE_MM = (
    ((0, 46, -62), (62, 50, 66)),
    ((0, 92, -46), (15, 20, 19)),
    ((0, 52, -108), (46, 46, 26)),
    ((0, 4, -78), (62, 48, 56)),
    ((0, -30, -120), (58, 52, 110)),
    ((0, -62, -78), (46, 36, 50)),
)
"""Ellipsoids (centre, radii) whose union is what the head has below the skull."""

_FAT_MM = (
    ((-32, 56, -36), (18, 26, 17), 0.9),
    ((32, 56, -36), (18, 26, 17), 0.9),
    ((0, -12, -52), (12, 8, 15), 0.6),
    ((-30, 62, -108), (14, 20, 7), 0.6),
    ((30, 62, -108), (14, 20, 7), 0.6),
    ((0, 84, -108), (18, 9, 9), 0.6),
    ((0, 52, -72), (22, 30, 3), 0.5),
    ((0, -20, -84), (9, 9, 8), 0.55),
    ((0, -22, -104), (11, 9, 8), 0.55),
    ((0, -23, -122), (11, 9, 8), 0.55),
    ((-54, 12, -70), (12, 16, 24), 0.45),
    ((54, 12, -70), (12, 16, 24), 0.45),
    ((0, -80, -100), (18, 6, 34), 0.55),
)
"""Ellipsoids (centre, radii, share of fat): orbits, bone marrow and fat between the muscles."""

_VOID_MM = (
    ((-32, 68, -36), (12, 12, 12), 0.75),
    ((32, 68, -36), (12, 12, 12), 0.75),
    ((0, 24, -46), (15, 12, 9), 1.0),
    ((-6, 60, -44), (5, 28, 20), 0.95),
    ((6, 60, -44), (5, 28, 20), 0.95),
    ((-29, 56, -66), (14, 17, 15), 1.0),
    ((29, 56, -66), (14, 17, 15), 1.0),
    ((0, 6, -78), (11, 7, 17), 1.0),
    ((0, 2, -112), (10, 7, 26), 1.0),
    ((0, 78, -4), (18, 4, 10), 0.9),
    ((-48, -26, -40), (16, 16, 11), 0.85),
    ((48, -26, -40), (16, 16, 11), 0.85),
    ((0, 58, -84), (18, 26, 3), 0.9),
)
"""Ellipsoids (centre, radii, share without signal): eyes, air cells, airway and dense bone."""

_ENHANCING_MM = (
    ((0, 3, -33), (6.5, 4.5, 3.6), 0.85),
    ((0, 2, -27), (1.3, 1.3, 6), 0.7),
    ((-11, -1, -33), (3.5, 9, 6), 0.6),
    ((11, -1, -33), (3.5, 9, 6), 0.6),
    ((-34, -80, -22), (24, 4, 4), 0.55),
    ((34, -80, -22), (24, 4, 4), 0.55),
    ((-54, -56, -32), (3.5, 20, 5), 0.55),
    ((54, -56, -32), (3.5, 20, 5), 0.55),
    ((-24, -42, 6), (4, 8, 5), 0.7),
    ((24, -42, 6), (4, 8, 5), 0.7),
    ((0, -30, 2), (3.2, 3.5, 2.8), 0.7),
    ((0, -17, -28), (1.8, 1.8, 9), 0.8),
    ((0, -48, 8), (2, 10, 2.2), 0.8),
)
"""Ellipsoids (centre, radii, strength) that take up contrast agent in health: gland and stalk, venous sinuses, choroid plexus."""

_SELLA_MM = ((0, 2, -25), (12, 10, 11))
"""Ellipsoid of fluid above and around the gland, which the smoothed surface of the brain leaves out."""


@dataclass(frozen=True, slots=True, eq=False)
class Atlas:
    """Maps of the head, each float32 and read-only.

    Attributes:
        white: Share of white matter at 1 mm, 0 to 1.
        grey: Share of grey matter at 1 mm, 0 to 1.
        depth: Distance outwards from the smoothed surface of the brain at 2 mm, in millimetres, negative inside.
        vault: Likewise from a far smoother surface that bridges the hollows of the skull base, without the spinal cord.
        face: Likewise from the surface of face and neck.
        fat: Share of fat or marrow in face and neck at 2 mm, 0 to 1.
        void: Share without signal in face and neck at 2 mm, 0 to 1.
        enhancing: Uptake of contrast agent in health at 2 mm, 0 to 1.
        noise: Periodic random texture, mean 0, deviation 1, features about 4 cells wide.
    """

    white: np.ndarray
    grey: np.ndarray
    depth: np.ndarray
    vault: np.ndarray
    face: np.ndarray
    fat: np.ndarray
    void: np.ndarray
    enhancing: np.ndarray
    noise: np.ndarray

    def brain(self, name: str, points: np.ndarray) -> np.ndarray:
        """Return `white` or `grey` at points; below the template the spinal cord goes straight on."""
        moved = points - np.array(_BRAIN_ORIGIN_MM, dtype=np.float32)[:, None]
        moved[2] = np.maximum(moved[2], _CORD_BELOW_MM - _BRAIN_ORIGIN_MM[2])
        return _interpolate(getattr(self, name), moved, mode="constant")

    def head(self, name: str, points: np.ndarray) -> np.ndarray:
        """Return `depth`, `vault`, `face`, `fat`, `void` or `enhancing` at points."""
        moved = (points - np.array(_HEAD_ORIGIN_MM, dtype=np.float32)[:, None]) / np.float32(_HEAD_STEP_MM)
        return _interpolate(getattr(self, name), moved, mode="nearest")

    def texture(self, points: np.ndarray, *, cell_mm: float, offset: np.ndarray) -> np.ndarray:
        """Return the random texture at points, `cell_mm` per cell, moved by an offset in cells of shape (3,)."""
        moved = points / np.float32(cell_mm) + offset.astype(np.float32)[:, None]
        return _interpolate(self.noise, moved, mode="grid-wrap")


def _interpolate(volume: np.ndarray, coordinates: np.ndarray, *, mode: str) -> np.ndarray:
    from scipy.ndimage import map_coordinates

    values: np.ndarray = map_coordinates(volume, coordinates, order=1, mode=mode, prefilter=False, output=np.float32)
    return values


@lru_cache(maxsize=1)
def load_atlas() -> Atlas:
    """Return the atlas; reads the templates from the installed nilearn on the first call, which takes about five seconds."""
    from nilearn.datasets import load_mni152_gm_template, load_mni152_template, load_mni152_wm_template

    brain = _on_head_grid(_volume(load_mni152_template(resolution=1)) > 0.05)
    points = head_grid()
    sella = ellipsoid_distance(points, *_SELLA_MM).reshape(_HEAD_SHAPE)
    fat, void, enhancing = (_soft_union(points, table) for table in (_FAT_MM, _VOID_MM, _ENHANCING_MM))
    maps = {
        "white": _volume(load_mni152_wm_template(resolution=1)),
        "grey": _volume(load_mni152_gm_template(resolution=1)),
        "depth": smooth_minimum(_smooth_depth(_with_cord(brain), _FURROW_MM), sella, blend_mm=4),
        "vault": _smooth_depth(brain, _VAULT_MM),
        "face": _face_distance(points),
        "fat": fat * (1 - void),
        "void": void,
        "enhancing": enhancing,
        "noise": _noise(),
    }
    for volume in maps.values():
        volume.setflags(write=False)
    return Atlas(**maps)


def _volume(image: "Nifti1Image") -> np.ndarray:
    return np.ascontiguousarray(image.get_fdata(dtype=np.float32))


def _on_head_grid(brain: np.ndarray) -> np.ndarray:
    coarse = brain[::2, ::2, ::2]
    first = [int((brain_mm - head_mm) / _HEAD_STEP_MM) for brain_mm, head_mm in zip(_BRAIN_ORIGIN_MM, _HEAD_ORIGIN_MM, strict=True)]
    inside = np.zeros(_HEAD_SHAPE, dtype=bool)
    inside[tuple(slice(start, start + size) for start, size in zip(first, coarse.shape, strict=True))] = coarse
    return inside


def _with_cord(brain: np.ndarray) -> np.ndarray:
    """Let the lowest slice that the template has go straight on down."""
    lowest = int((_BRAIN_ORIGIN_MM[2] - _HEAD_ORIGIN_MM[2]) / _HEAD_STEP_MM) + 1
    longer = brain.copy()
    longer[:, :, :lowest] = brain[:, :, lowest : lowest + 1]
    return longer


def _smooth_depth(inside: np.ndarray, closing_mm: float) -> np.ndarray:
    """Close the furrows of a body and return the distance outwards from its surface in millimetres."""
    from scipy.ndimage import distance_transform_edt, gaussian_filter

    closing = closing_mm / _HEAD_STEP_MM
    padding = int(closing) + 1
    grown = distance_transform_edt(~np.pad(inside, padding)) <= closing
    closed = (distance_transform_edt(grown) > closing)[(slice(padding, -padding),) * 3]
    depth = distance_transform_edt(~closed) - distance_transform_edt(closed)
    smoothed: np.ndarray = gaussian_filter((depth * _HEAD_STEP_MM).astype(np.float32), closing_mm / 10)
    return smoothed


def head_grid() -> np.ndarray:
    """Return the points of the 2 mm maps, shape (3, cells), in the order of their ravelled cells."""
    axes = [
        np.arange(size, dtype=np.float32) * np.float32(_HEAD_STEP_MM) + np.float32(start)
        for size, start in zip(_HEAD_SHAPE, _HEAD_ORIGIN_MM, strict=True)
    ]
    return np.stack(np.meshgrid(*axes, indexing="ij")).reshape(3, -1)


def ellipsoid_distance(points: np.ndarray, centre: tuple[float, ...], radii: tuple[float, ...]) -> np.ndarray:
    """Return the distance outwards from an ellipsoid in millimetres, roughly: exact for a sphere."""
    scaled = (points - np.array(centre, dtype=np.float32)[:, None]) / np.array(radii, dtype=np.float32)[:, None]
    radius: np.ndarray = np.sqrt(np.einsum("ij,ij->j", scaled, scaled))
    return (radius - 1) * np.float32(min(radii))


def _face_distance(points: np.ndarray) -> np.ndarray:
    distance = np.full(points.shape[1], 1e3, dtype=np.float32)
    for centre, radii in _FACE_MM:
        distance = smooth_minimum(distance, ellipsoid_distance(points, centre, radii), blend_mm=14)
    return distance.reshape(_HEAD_SHAPE)


def _soft_union(points: np.ndarray, table: tuple[tuple[Any, Any, float], ...]) -> np.ndarray:
    share = np.zeros(points.shape[1], dtype=np.float32)
    for centre, radii, strength in table:
        share = np.maximum(share, strength * soft_inside(ellipsoid_distance(points, centre, radii), softness_mm=0.7))
    return share.reshape(_HEAD_SHAPE)


def smooth_minimum(first: np.ndarray, second: np.ndarray, *, blend_mm: float) -> np.ndarray:
    """Return the distance to the union of two bodies with a rounded joint."""
    joint = np.clip(blend_mm - np.abs(first - second), 0, None)
    union: np.ndarray = np.minimum(first, second) - joint**2 / (4 * blend_mm)
    return union


def soft_inside(distance_mm: np.ndarray, *, softness_mm: float) -> np.ndarray:
    """Return 1 well inside, 0 well outside and 0.5 at distance 0, as float32."""
    inside: np.ndarray = 1 / (1 + np.exp(np.clip(distance_mm / softness_mm, -30, 30), dtype=np.float32))
    return inside


def _noise() -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    white = np.random.default_rng(0).standard_normal((_NOISE_SIZE,) * 3)
    smooth: np.ndarray = gaussian_filter(white, 1.5, mode="wrap").astype(np.float32)
    smooth /= smooth.std()
    return smooth
