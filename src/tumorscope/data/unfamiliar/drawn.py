"""Pictures without a subject: noise, one grey level, gradients, text, discs."""

import cv2
import numpy as np

_WORDS = ("patient", "series", "report", "page", "date", "normal", "left", "right", "contrast", "slice", "finding", "study")


def noise(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return noise of every pixel by itself: of even distribution or Gaussian, as a coin falls."""
    if rng.random() < 0.5:
        return rng.integers(0, 256, (size, size), dtype=np.uint8)
    return as_grey(rng.normal(rng.uniform(60, 190), rng.uniform(15, 60), (size, size)))


def smooth_noise(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return Gaussian noise blurred into blobs, stretched to all grey levels."""
    blobs = cv2.GaussianBlur(rng.standard_normal((size, size)), (0, 0), rng.uniform(0.01, 0.08) * size)
    return stretched(blobs)


def one_level(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return a picture of a single grey level; black and white among them more often than chance has it."""
    level = (0, 255, int(rng.integers(1, 255)))[int(rng.integers(3))]
    return np.full((size, size), level, dtype=np.uint8)


def gradient(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return a linear or round gradient between two grey levels."""
    rows, columns = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    angle = rng.uniform(0, 2 * np.pi)
    ramp = rows * np.sin(angle) + columns * np.cos(angle) if rng.random() < 0.5 else np.hypot(rows - angle / 7, columns)
    low, high = rng.uniform(0, 90), rng.uniform(140, 255)
    return as_grey(low + (high - low) * (ramp - ramp.min()) / np.ptp(ramp))


def text(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return lines of words, dark on light or light on dark."""
    paper, ink = (235, 20) if rng.random() < 0.5 else (0, 230)
    page = np.full((size, size), paper, dtype=np.uint8)
    scale = size / 224 * rng.uniform(0.35, 0.8)
    step = max(6, round(28 * scale))
    for row in range(step, size, step):
        line = " ".join(rng.choice(_WORDS, 8)) + f" {rng.integers(1000)}"
        cv2.putText(page, line, (int(rng.integers(0, 12)), row), cv2.FONT_HERSHEY_SIMPLEX, scale, ink, 1, cv2.LINE_AA)
    return page


def discs(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return a bright ellipse with smaller ones inside on black: the outline of a head without anatomy."""
    picture = np.zeros((size, size), dtype=np.float64)
    centre = tuple(int(value) for value in size / 2 + rng.uniform(-0.05, 0.05, 2) * size)
    axes = tuple(int(value) for value in rng.uniform(0.28, 0.45, 2) * size)
    cv2.ellipse(picture, centre, axes, float(rng.uniform(-20, 20)), 0, 360, float(rng.uniform(70, 200)), cv2.FILLED)
    for _ in range(int(rng.integers(2, 9))):
        place = tuple(int(value) for value in np.array(centre) + rng.uniform(-0.5, 0.5, 2) * axes)
        small = tuple(max(1, int(value)) for value in rng.uniform(0.02, 0.12, 2) * size)
        cv2.ellipse(picture, place, small, float(rng.uniform(0, 180)), 0, 360, float(rng.uniform(20, 255)), cv2.FILLED)
    return as_grey(cv2.GaussianBlur(picture, (0, 0), size / 224) + rng.normal(0, 3, picture.shape))


def as_grey(values: np.ndarray) -> np.ndarray:
    """Return values rounded and cut to the 256 grey levels, uint8, same shape."""
    grey: np.ndarray = np.rint(values).clip(0, 255).astype(np.uint8)
    return grey


def stretched(values: np.ndarray) -> np.ndarray:
    """Return values between their 0.5 and 99.5 percentiles as all grey levels, uint8, same shape."""
    low, high = np.percentile(values, [0.5, 99.5])
    return as_grey((values - low) * (255 / max(high - low, 1e-9)))
