"""Slices for the audit's tests: drawn, not photographed, and each with detail of its own."""

import io

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from tumorscope.data.audit.frames import transformed


def _draw_slice(seed, *, size=224):
    """A bright ellipse with random texture on black: two seeds share the outline and nothing else."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    head = (rows / 0.8) ** 2 + (columns / 0.65) ** 2 < 1
    texture = sum(gaussian_filter(rng.standard_normal((size, size)), sigma) * sigma for sigma in (3, 6, 14))
    tissue = 120 + 45 * texture / texture.std()
    return np.where(head, tissue.clip(30, 250), 0).astype(np.uint8)


def _edited(pixels, *, transform=0, quality=60, scale=1.0, gamma=1.0, margin=0):
    """The same slice as somebody else would store it."""
    picture = pixels[margin : len(pixels) - margin, margin : len(pixels) - margin]
    changed = 255 * (transformed(picture, transform) / 255.0) ** gamma
    side = round(len(picture) * scale)
    image = Image.fromarray(changed.astype(np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream))


@pytest.fixture(scope="session")
def draw_slice():
    """What draws the slice of a seed, uint8, shape (size, size)."""
    return _draw_slice


@pytest.fixture(scope="session")
def edited():
    """What stores a slice as somebody else would."""
    return _edited


@pytest.fixture(scope="session")
def slices():
    """Twelve different slices, uint8."""
    return [_draw_slice(seed) for seed in range(12)]
