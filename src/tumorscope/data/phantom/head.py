"""One synthetic person without a lesion: shape, tissue intensities and scanner, drawn from a seed and laid over the atlas."""

from dataclasses import dataclass

import numpy as np

from tumorscope.data.phantom.atlas import Atlas, smooth_minimum, soft_inside

_WAVES = 2


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """What differs from person to person and from scanner to scanner, whatever the label.

    Attributes:
        scale: Size relative to the template along x, y, z, shape (3,).
        wave_mm: Amplitudes of the deformation in millimetres, shape (waves, 3).
        wave_frequency: Its spatial frequencies per millimetre, shape (waves, 3).
        wave_phase: Its phases, shape (waves, 3).
        layers_mm: Thickness of outer fluid, skull and scalp.
        sharpness: Exponent that turns the template's averaged tissue shares into one person's.
        fluid_gain: How much fluid there is in furrows and ventricles, relative to the template.
        furrow_gain: How much furrows differ from the template, 0 to 1.
        white: Intensity of white matter; 1 is the upper end of the display window.
        grey: Intensity of grey matter.
        fluid: Intensity of cerebrospinal fluid.
        fat: Intensity of fat.
        muscle: Intensity of muscle.
        target: Intensity of fully enhancing tissue.
        marrow: Intensity of the marrow between the tables of the skull, relative to fat.
        contrast: Uptake of contrast agent, about 0 in a plain T1 scan and up to 1 after injection.
        offsets: Where in the atlas's texture this person's details start, in cells, shape (4, 3).
    """

    scale: np.ndarray
    wave_mm: np.ndarray
    wave_frequency: np.ndarray
    wave_phase: np.ndarray
    layers_mm: tuple[float, float, float]
    sharpness: float
    fluid_gain: float
    furrow_gain: float
    white: float
    grey: float
    fluid: float
    fat: float
    muscle: float
    target: float
    marrow: float
    contrast: float
    offsets: np.ndarray

    @property
    def shell_mm(self) -> float:
        """Distance from the brain's surface to the skin over the vault in millimetres."""
        return sum(self.layers_mm)

    def to_template(self, points: np.ndarray) -> np.ndarray:
        """Map points of this head, in millimetres, to where they lie in the atlas; both of shape (3, n)."""
        angles = 2 * np.pi * (self.wave_frequency @ points + self.wave_phase[:, :1])
        moved = points / self.scale[:, None] + self.wave_mm.T @ np.sin(angles, dtype=np.float32)
        result: np.ndarray = moved.astype(np.float32)
        return result

    def from_template(self, point: np.ndarray) -> np.ndarray:
        """Map one point of the atlas, shape (3,), to where it lies in this head."""
        found = point.astype(np.float32)
        for _ in range(8):
            found = found + point - self.to_template(found[:, None])[:, 0]
        return found


def draw_head(rng: np.random.Generator) -> Head:
    """Draw a person and a scanner's contrast."""
    injected = rng.random() < 0.92
    white = rng.uniform(0.36, 0.54)
    return Head(
        scale=rng.normal(1, 0.03, 3).clip(0.93, 1.07).astype(np.float32),
        wave_mm=rng.normal(0, 1.8, (_WAVES, 3)).astype(np.float32),
        wave_frequency=rng.normal(0, 0.006, (_WAVES, 3)).clip(-0.009, 0.009).astype(np.float32),
        wave_phase=rng.random((_WAVES, 3)).astype(np.float32),
        layers_mm=(rng.uniform(1, 3), rng.uniform(5, 8), rng.uniform(4, 8)),
        sharpness=rng.uniform(1.3, 2.2),
        fluid_gain=float(np.exp(rng.normal(0, 0.35))),
        furrow_gain=rng.uniform(0.1, 0.3),
        white=white,
        grey=white * rng.uniform(0.66, 0.86),
        fluid=white * rng.uniform(0.2, 0.4),
        fat=rng.uniform(0.6, 0.95),
        muscle=white * rng.uniform(0.55, 0.8),
        target=rng.uniform(0.85, 1.05),
        marrow=rng.uniform(0.08, 0.45),
        contrast=rng.uniform(0.65, 1.0) if injected else rng.uniform(0.0, 0.15),
        offsets=rng.uniform(0, 64, (4, 3)),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Tissue:
    """What lies at some points of a head.

    Attributes:
        intensity: float32, shape (n,).
        depth: Distance outwards from the brain's surface in millimetres, float32, shape (n,).
        white: Share of white matter, float32, shape (n,).
    """

    intensity: np.ndarray
    depth: np.ndarray
    white: np.ndarray


def skin_distance(atlas: Atlas, head: Head, points: np.ndarray) -> np.ndarray:
    """Return the distance outwards from the skin in millimetres at points of the atlas."""
    return smooth_minimum(atlas.head("vault", points) - head.shell_mm, atlas.head("face", points), blend_mm=12)


def draw_tissue(atlas: Atlas, head: Head, points: np.ndarray, *, pushed: np.ndarray, skin_mm: np.ndarray) -> Tissue:
    """Compose the tissue at points inside the head.

    Args:
        atlas: The maps.
        head: The person.
        points: In the atlas, millimetres, float32, shape (3, n).
        pushed: Where the brain tissue at each point came from before a lesion pushed it aside; `points` without a lesion.
        skin_mm: `skin_distance` at `points`.
    """
    depth = atlas.head("depth", points)
    inner = soft_inside(depth - head.layers_mm[0], softness_mm=0.4)
    intensity, white = np.zeros_like(depth), np.zeros_like(depth)
    brain, shell = inner > 0.01, inner < 0.99
    mixed, white[brain] = _brain(atlas, head, pushed[:, brain])
    intensity[brain] = inner[brain] * mixed
    around = _around_brain(atlas, head, points[:, shell], depth=depth[shell], skin_mm=skin_mm[shell])
    intensity[shell] += (1 - inner[shell]) * around
    near = depth < head.layers_mm[0] + 6
    uptake = head.contrast * _uptake(atlas, head, points[:, near], depth=depth[near])
    intensity[near] += uptake * np.clip(head.target - intensity[near], 0, None)
    return Tissue(intensity, depth, white * inner)


def _brain(atlas: Atlas, head: Head, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the intensity of brain and fluid, and the share of white matter."""
    white, grey = atlas.brain("white", points), atlas.brain("grey", points)
    furrows = head.furrow_gain * atlas.texture(points, cell_mm=2.2, offset=head.offsets[0])
    fluid = (1 - white - grey).clip(0.02, 1) * head.fluid_gain * np.exp(furrows * 2)
    grey = grey.clip(0.001, 1) * np.exp(-furrows)
    shares = [share**head.sharpness for share in (white, grey, fluid)]
    total = shares[0] + shares[1] + shares[2]
    fine = 1 + 0.025 * atlas.texture(points, cell_mm=1.5, offset=head.offsets[1])
    mixed = (shares[0] * head.white + shares[1] * head.grey) * fine + shares[2] * head.fluid
    return mixed / total, shares[0] / total


def _around_brain(atlas: Atlas, head: Head, points: np.ndarray, *, depth: np.ndarray, skin_mm: np.ndarray) -> np.ndarray:
    """Return the intensity of skull, scalp, face and neck."""
    fluid_mm, skull_mm, scalp_mm = head.layers_mm
    strands = atlas.texture(points, cell_mm=1.6, offset=head.offsets[1])
    from_table = atlas.head("vault", points) - fluid_mm - skull_mm
    marrow = soft_inside(np.abs(from_table + 0.45 * skull_mm) - 0.2 * skull_mm, softness_mm=0.5)
    thick = soft_inside(from_table + 1.3 * skull_mm, softness_mm=1.0) * soft_inside(fluid_mm + 2 - depth, softness_mm=0.5)
    bone = head.fat * (0.04 + head.marrow * np.maximum(marrow, thick) * (1 + 0.4 * strands).clip(0, 2))
    scalp = 1 - soft_inside(skin_mm + scalp_mm, softness_mm=0.6)
    soft = scalp * _scalp(head, skin_mm) + (1 - scalp) * _below_skull(atlas, head, points, strands=strands)
    mixed: np.ndarray = soft + soft_inside(from_table, softness_mm=0.4) * (bone - soft)
    return mixed


def _scalp(head: Head, skin_mm: np.ndarray) -> np.ndarray:
    skin = soft_inside(-1.6 - skin_mm, softness_mm=0.4)
    return head.fat * (1 - 0.45 * skin)


def _below_skull(atlas: Atlas, head: Head, points: np.ndarray, *, strands: np.ndarray) -> np.ndarray:
    """Return the intensity of face and neck: muscle in strands, fat, marrow and what gives no signal."""
    layers = atlas.texture(points, cell_mm=3.5, offset=head.offsets[0])
    fat = np.clip(atlas.head("fat", points) + 0.35 * np.exp(-((layers / 0.2) ** 2)) + 0.1 * strands.clip(0, 2), 0, 1)
    void = atlas.head("void", points)
    mixed: np.ndarray = (head.muscle * (1 + 0.12 * strands) * (1 - fat) + head.fat * fat) * (1 - void)
    return mixed


def _uptake(atlas: Atlas, head: Head, points: np.ndarray, *, depth: np.ndarray) -> np.ndarray:
    """Return where contrast agent gathers in health: dura, falx, sinuses and vessels as thin winding tubes."""
    x, _, z = points
    fluid_mm = head.layers_mm[0]
    dura = 0.25 * np.exp(-(((depth - fluid_mm) / 0.8) ** 2))
    upper = 1 / (1 + np.exp(-(z - 5) / 5))
    falx = 0.28 * upper * np.exp(-((x / 0.8) ** 2)) * soft_inside(depth - fluid_mm, softness_mm=0.4)
    sinus = 0.7 * upper * np.exp(-((x / 3.2) ** 2) - (((depth - fluid_mm) / 2.5) ** 2))
    first = atlas.texture(points, cell_mm=6, offset=head.offsets[2])
    second = atlas.texture(points, cell_mm=6, offset=head.offsets[3])
    vessels = 0.5 * np.exp(-(first**2 + second**2) / 0.012) * soft_inside(depth - fluid_mm, softness_mm=0.4)
    uptake: np.ndarray = np.max([dura, falx, sinus, vessels, atlas.head("enhancing", points)], axis=0)
    return uptake
