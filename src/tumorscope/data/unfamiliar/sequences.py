"""Heads as other sequences would show them, without contrast agent, made from the MNI152 templates of nilearn's wheel."""

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache

import numpy as np

from tumorscope.data.phantom import PLANES, phantom_patient
from tumorscope.data.phantom.atlas import load_atlas
from tumorscope.data.phantom.head import draw_head
from tumorscope.data.phantom.patient import render
from tumorscope.data.phantom.scanner import Scanner, draw_scanner
from tumorscope.data.unfamiliar.drawn import as_grey
from tumorscope.labels import LABELS

INTENSITIES: Mapping[str, Mapping[str, float]] = {
    "T1": {"white": 0.55, "grey": 0.42, "fluid": 0.14, "fat": 0.9, "muscle": 0.35},
    "T2": {"white": 0.34, "grey": 0.5, "fluid": 0.95, "fat": 0.6, "muscle": 0.18},
    "FLAIR": {"white": 0.44, "grey": 0.56, "fluid": 0.1, "fat": 0.55, "muscle": 0.3},
    "PD": {"white": 0.52, "grey": 0.68, "fluid": 0.74, "fat": 0.8, "muscle": 0.5},
}
"""How bright each tissue is in a sequence without contrast agent; 1 is the upper end of the display window.

Order and rough ratios are those that textbooks show at 1.5 tesla; nothing is fitted.
"""

_SLICES_MM = 35.0


def sequence(name: str, rng: np.random.Generator, size: int) -> np.ndarray:
    """Return a slice of a synthetic healthy head as one of `INTENSITIES` would show it, uint8, shape (size, size)."""
    plain = {tissue: level * rng.uniform(0.93, 1.07) for tissue, level in INTENSITIES[name].items()}
    head = replace(
        draw_head(rng),
        contrast=0.0,
        white=plain["white"],
        grey=plain["grey"],
        fluid=plain["fluid"],
        fat=plain["fat"],
        muscle=plain["muscle"],
    )
    scanner = draw_scanner(str(rng.choice(PLANES)), rng, image_size=size)
    return render(head, scanner, None, through=_through(scanner, rng), rng=rng)[0]


def without_skull(name: str, rng: np.random.Generator, size: int) -> np.ndarray:
    """Return a slice of the averaged brain without skull as one of `INTENSITIES` would show it, uint8, shape (size, size)."""
    scanner = draw_scanner(str(rng.choice(PLANES)), rng, image_size=size)
    points = scanner.points(_through(scanner, rng))
    atlas, levels = load_atlas(), INTENSITIES[name]
    white, grey = atlas.brain("white", points), atlas.brain("grey", points)
    fluid = (atlas.head("depth", points) < 1) * (1 - white - grey).clip(0, 1)
    signal = white * levels["white"] + grey * levels["grey"] + fluid * levels["fluid"]
    return scanner.receive((signal * scanner.gain(points)).astype(np.float32).reshape(size, size), rng)


def template(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return a slice of the MNI152 T1 template itself, an average of 152 brains without contrast agent and without skull."""
    from scipy.ndimage import map_coordinates

    volume, matrix = _template()
    scanner = draw_scanner(str(rng.choice(PLANES)), rng, image_size=size)
    points = scanner.points(_through(scanner, rng))
    values = map_coordinates(volume, np.linalg.inv(matrix[:3, :3]) @ (points - matrix[:3, 3:]), order=1)
    return as_grey(255 * values.reshape(size, size))


def phantom(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return a slice of the built-in synthetic set, of any label."""
    label, number = str(rng.choice(LABELS)), int(rng.integers(1000))
    return phantom_patient(label, seed=int(rng.integers(2**31)), number=number, slices=1, image_size=size)[0].pixels


def _through(scanner: Scanner, rng: np.random.Generator) -> np.ndarray:
    """Return a point that a slice through the head contains, in millimetres."""
    point: np.ndarray = rng.uniform(-_SLICES_MM, _SLICES_MM) * scanner.axes[2] + np.array([0.0, -16.0, 10.0])
    return point


@lru_cache(maxsize=1)
def _template() -> tuple[np.ndarray, np.ndarray]:
    """Return the T1 template, 0 to 1, and the matrix from its voxels to millimetres."""
    from nilearn.datasets import load_mni152_template

    image = load_mni152_template(resolution=1)
    volume = image.get_fdata(dtype=np.float32)
    return volume / float(volume.max()), np.asarray(image.affine)
