"""Lesions that look and sit like glioma, meningioma and pituitary adenoma, as bodies in the space of the atlas."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from tumorscope.data.phantom.atlas import Atlas, head_grid, load_atlas, soft_inside
from tumorscope.data.phantom.head import Head, Tissue

SELLA_MM = (0.0, 3.0, -33.0)
"""Where the pituitary gland lies in the atlas: x, y, z."""

_FAR = 4.0
_BLEND = np.float32(8)


@dataclass(frozen=True, slots=True, eq=False)
class Lesion:
    """One tumour of one patient.

    Attributes:
        label: One of `TUMOUR_LABELS`.
        kind: How it is built: `ring`, `patchy` or `dull` for a glioma, `solid` or `cystic` for the others.
        centres: Middles of its lobes in atlas millimetres, shape (lobes, 3).
        radii: Half axes of its lobes in millimetres, shape (lobes, 3).
        axes: Directions of the half axes, orthonormal rows, shape (3, 3).
        irregularity: How far the surface departs from the ellipsoids, relative to the radius.
        push: How far it pushes brain tissue aside, 0 to 1.
        uptake: How brightly it takes up contrast agent, 0 to 1.
        offset: Where in the atlas's texture its details start, in cells, shape (3,).
    """

    label: str
    kind: str
    centres: np.ndarray
    radii: np.ndarray
    axes: np.ndarray
    irregularity: float
    push: float
    uptake: float
    offset: np.ndarray

    @property
    def centre(self) -> np.ndarray:
        """Middle of its largest lobe in atlas millimetres, shape (3,)."""
        middle: np.ndarray = self.centres[self.radii.mean(axis=1).argmax()]
        return middle

    @property
    def size_mm(self) -> float:
        """Mean half axis of its largest lobe."""
        return float(self.radii.mean(axis=1).max())

    def pushed(self, points: np.ndarray) -> np.ndarray:
        """Return where the tissue at points came from before the tumour pushed it aside; both of shape (3, n)."""
        away = points - self.centre.astype(np.float32)[:, None]
        relative = np.einsum("ij,ij->j", away, away) / np.float32(1.6 * self.size_mm) ** 2
        result: np.ndarray = points - away * (self.push * np.exp(-relative))
        return result

    def radius(self, atlas: Atlas, points: np.ndarray) -> np.ndarray:
        """Return 0 in the middle, 1 on the surface and more outside; far points all have the same large value."""
        lobes = [-_BLEND * self._ellipsoid(points, centre, radii) for centre, radii in zip(self.centres, self.radii, strict=True)]
        radius: np.ndarray = -np.logaddexp.reduce(lobes, axis=0) / _BLEND
        near = radius < _FAR
        bumps = atlas.texture(points[:, near], cell_mm=self.size_mm / 4, offset=self.offset).clip(-2, 2)
        radius[near] *= 1 + self.irregularity * bumps
        radius[~near] = _FAR
        return radius

    def _ellipsoid(self, points: np.ndarray, centre: np.ndarray, radii: np.ndarray) -> np.ndarray:
        scaled = (self.axes / radii[:, None]).astype(np.float32) @ (points - centre.astype(np.float32)[:, None])
        radius: np.ndarray = np.sqrt(np.einsum("ij,ij->j", scaled, scaled))
        return radius

    def count_inside(self, atlas: Atlas, head: Head, points: np.ndarray) -> int:
        """Return how many of some points the tumour fills."""
        radius = self.radius(atlas, points)
        near = radius < 1.2
        share = self._share(head, radius[near], depth=atlas.head("depth", points[:, near]))
        return int((share >= 0.5).sum())

    def paint(self, atlas: Atlas, head: Head, tissue: Tissue, *, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Draw the tumour and what surrounds it.

        Args:
            atlas: The maps.
            head: The patient; gives the tumour its intensities.
            tissue: What lies at the points without the tumour, already pushed aside.
            points: In the atlas, millimetres, float32, shape (3, n).

        Returns:
            Intensities, float32, and whether the tumour fills at least half of a point, bool; both of shape (n,). Oedema,
            the cleft around a meningioma and its dural tail are drawn but are not tumour.
        """
        radius = self.radius(atlas, points)
        near = radius < _FAR
        intensity, share = tissue.intensity.copy(), np.zeros(radius.shape, dtype=np.float32)
        local = Tissue(tissue.intensity[near], tissue.depth[near], tissue.white[near])
        share[near] = self._share(head, radius[near], depth=local.depth)
        draw = {"glioma": _glioma, "meningioma": _meningioma, "pituitary": _pituitary}[self.label]
        texture = [atlas.texture(points[:, near], cell_mm=size, offset=self.offset + 20) for size in (self.size_mm / 7, 1.3)]
        around, inside = draw(self, head, local, radius[near], texture)
        intensity[near] = around + share[near] * (inside - around)
        return intensity, share >= 0.5

    def _share(self, head: Head, radius: np.ndarray, *, depth: np.ndarray) -> np.ndarray:
        softness = 1.0 if self.label == "glioma" else 0.5
        share: np.ndarray = soft_inside((radius - 1) * self.size_mm, softness_mm=softness)
        if self.label == "glioma":
            share *= soft_inside(depth + 1.5, softness_mm=0.4)
        if self.label == "meningioma":
            share *= soft_inside(depth - head.layers_mm[0] - 0.5, softness_mm=0.3)
        return share


def _glioma(
    lesion: Lesion, head: Head, tissue: Tissue, radius: np.ndarray, texture: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    coarse, fine = texture
    reach = 1.55 + 0.2 * coarse.clip(-1.5, 1.5)
    oedema = tissue.white * soft_inside(radius - reach, softness_mm=0.12) * (0.25 if lesion.kind == "dull" else 0.85)
    around = tissue.intensity + oedema * (0.75 * head.grey - tissue.intensity)
    if lesion.kind == "dull":
        return around, head.grey * (0.66 + 0.04 * coarse + 0.03 * fine)
    core = head.grey * 0.72 + 0.04 * coarse * head.grey
    if lesion.kind == "ring":
        core = 0.5 * (head.fluid + head.grey) + 0.06 * coarse * head.grey
        rim_width = 0.3 + 0.1 * coarse.clip(-1.5, 1.5)
        takes_up = (1 - soft_inside(radius - 1 + rim_width, softness_mm=0.05)) * (0.9 + 0.2 * coarse).clip(0.3, 1)
    else:
        takes_up = (0.55 + 0.55 * coarse).clip(0, 1)
    base = core + 0.6 * takes_up * (head.grey - core)
    return around, base + lesion.uptake * head.contrast * takes_up * (head.target - base) + 0.02 * fine


def _meningioma(
    lesion: Lesion, head: Head, tissue: Tissue, radius: np.ndarray, texture: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    coarse, fine = texture
    cleft = (
        (0.35 + 0.3 * coarse).clip(0, 0.8)
        * np.exp(-(((radius - 1.07) * lesion.size_mm / 1.2) ** 2))
        * soft_inside(tissue.depth, softness_mm=0.5)
    )
    around = tissue.intensity + cleft * (head.fluid - tissue.intensity)
    tail = soft_inside(radius - 1.7, softness_mm=0.15) * np.exp(-(((tissue.depth - head.layers_mm[0]) / 1.2) ** 2))
    around = around + 0.7 * tail * head.contrast * np.clip(head.target - around, 0, None)
    base = head.grey * (1 + 0.02 * coarse)
    return around, base + lesion.uptake * head.contrast * (head.target - base) + 0.012 * fine


def _pituitary(
    lesion: Lesion, head: Head, tissue: Tissue, radius: np.ndarray, texture: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    coarse, fine = texture
    takes_up = lesion.uptake * (1 + 0.08 * coarse)
    base = head.grey * (1 + 0.04 * coarse)
    if lesion.kind == "cystic":
        cyst = soft_inside(radius - 0.55 - 0.08 * coarse, softness_mm=0.05)
        takes_up, base = takes_up * (1 - cyst), base + cyst * (0.7 * head.fluid + 0.3 * head.grey - base)
    return tissue.intensity, base + head.contrast * takes_up * (head.target - base) + 0.015 * fine


def draw_lesion(label: str, rng: np.random.Generator) -> Lesion:
    """Draw a tumour of one of `TUMOUR_LABELS`: place, shape and build."""
    return {"glioma": _draw_glioma, "meningioma": _draw_meningioma, "pituitary": _draw_pituitary}[label](rng)


def _draw_glioma(rng: np.random.Generator) -> Lesion:
    size = rng.uniform(12, 28)
    return Lesion(
        label="glioma",
        kind=str(rng.choice(["ring", "patchy", "dull"], p=[0.6, 0.3, 0.1])),
        centres=_pick(rng, _deep_white_matter()) + rng.uniform(-1, 1, (1, 3)),
        radii=size * rng.uniform(0.75, 1.25, (1, 3)),
        axes=_rotation(rng),
        irregularity=rng.uniform(0.14, 0.26),
        push=rng.uniform(0.15, 0.4),
        uptake=rng.uniform(0.75, 1.0),
        offset=rng.uniform(0, 64, 3),
    )


def _draw_meningioma(rng: np.random.Generator) -> Lesion:
    size = rng.uniform(10, 26)
    place = rng.choice(["vault", "base", "falx"], p=[0.6, 0.22, 0.18])
    if place == "falx":
        surface = _pick(rng, _falx())
        inwards = np.array([rng.choice([-1.0, 1.0]), 0, 0])
    else:
        points, normals = _dura()
        low = points[:, 2] < -5
        index = rng.choice(np.flatnonzero(low if place == "base" else ~low))
        surface, inwards = points[index], -normals[index]
    return Lesion(
        label="meningioma",
        kind="solid",
        centres=(surface + inwards * size * rng.uniform(0.45, 0.8))[None],
        radii=size * rng.uniform(0.8, 1.2, (1, 3)),
        axes=_rotation(rng),
        irregularity=rng.uniform(0.05, 0.11),
        push=rng.uniform(0.35, 0.6),
        uptake=rng.uniform(0.85, 1.0),
        offset=rng.uniform(0, 64, 3),
    )


def _draw_pituitary(rng: np.random.Generator) -> Lesion:
    size = rng.uniform(7.5, 17)
    seat = np.array(SELLA_MM) + rng.normal(0, [1.0, 1.0, 0.8]) + np.array([0, 0, 0.2 * size])
    upper = seat + np.array([rng.normal(0, 0.06), 0.05, 0.95]) * size
    kind = "cystic" if rng.random() < 0.14 else "solid"
    lobes = 2 if kind == "solid" and size > 8 and rng.random() < 0.75 else 1
    lower_radii = size * rng.uniform([0.9, 0.8, 0.75], [1.15, 1.05, 1.0])
    return Lesion(
        label="pituitary",
        kind=kind,
        centres=np.array([seat, upper])[:lobes],
        radii=np.array([lower_radii, lower_radii * rng.uniform(0.7, 1.05)])[:lobes],
        axes=np.eye(3),
        irregularity=rng.uniform(0.03, 0.08),
        push=rng.uniform(0.3, 0.5),
        uptake=rng.uniform(0.75, 1.0),
        offset=rng.uniform(0, 64, 3),
    )


def _pick(rng: np.random.Generator, points: np.ndarray) -> np.ndarray:
    picked: np.ndarray = points[rng.integers(len(points))].astype(np.float64)
    return picked


def _rotation(rng: np.random.Generator) -> np.ndarray:
    matrix: np.ndarray = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    return matrix


@lru_cache(maxsize=1)
def _deep_white_matter() -> np.ndarray:
    """Return points of the cerebrum's white matter well below the surface, shape (n, 3)."""
    atlas, points = load_atlas(), head_grid()
    x, _, z = points
    inside = (atlas.depth.ravel() < -9) & (np.abs(x) > 8) & (z > -30)
    candidates = points[:, inside]
    return candidates[:, atlas.brain("white", candidates) > 0.6].T


@lru_cache(maxsize=1)
def _dura() -> tuple[np.ndarray, np.ndarray]:
    """Return points on the brain's smoothed surface away from the sella, shape (n, 3), and the normals outwards there."""
    atlas, points = load_atlas(), head_grid()
    gradient = np.stack([axis.ravel() for axis in np.gradient(atlas.depth)])
    far = np.linalg.norm(points - np.array(SELLA_MM)[:, None], axis=0) > 30
    chosen = (np.abs(atlas.depth.ravel()) < 1) & far & (points[2] > -45) & (np.abs(points[0]) > 8)
    normals = gradient[:, chosen] / np.linalg.norm(gradient[:, chosen], axis=0)
    return points[:, chosen].T, normals.T


@lru_cache(maxsize=1)
def _falx() -> np.ndarray:
    """Return points of the midline between the hemispheres within 30 mm of the vault, shape (n, 3)."""
    atlas, points = load_atlas(), head_grid()
    depth = atlas.depth.ravel()
    return points[:, (points[0] == 0) & (depth < -3) & (depth > -28) & (points[2] > 25)].T
