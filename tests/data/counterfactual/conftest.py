"""Heads drawn in a few lines: bright scalp, dark skull, grainy tissue, black background."""

from collections.abc import Callable

import numpy as np
import pytest

Head = Callable[..., np.ndarray]
Blob = Callable[..., np.ndarray]


def ellipse(shape: tuple[int, int], centre: tuple[float, float], radii: tuple[float, float]) -> np.ndarray:
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    inside: np.ndarray = ((rows - centre[0]) / radii[0]) ** 2 + ((columns - centre[1]) / radii[1]) ** 2 <= 1
    return inside


@pytest.fixture
def blob() -> Blob:
    """An ellipse as a mask: `blob(shape, centre, radii)`."""
    return ellipse


@pytest.fixture
def head() -> Head:
    """A head that fills most of the picture: `head(seed=0, size=192, level=110)`."""

    def draw(*, seed: int = 0, size: int = 192, level: float = 110.0) -> np.ndarray:
        rng = np.random.default_rng(seed)
        shape, centre = (size, size), (size * 0.5, size * 0.5)
        picture = np.zeros(shape)
        for share, value in ((0.46, 1.8 * level), (0.42, 0.2 * level), (0.4, level)):
            picture[ellipse(shape, centre, (size * share, size * share * 0.8))] = value
        picture += rng.normal(0, 5, shape) * (picture > 0)
        return np.asarray(picture.clip(0, 255).astype(np.uint8))

    return draw
