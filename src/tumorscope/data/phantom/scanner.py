"""How a synthetic head is laid into the scanner, and what the receiver makes of its signal."""

from dataclasses import dataclass

import numpy as np

from tumorscope.data.plane import PLANES

__all__ = ["PLANES", "Scanner", "draw_scanner"]

_CENTRE_MM = (0.0, -16.0, -4.0)
_AXES = {
    "axial": ((1, 0, 0), (0, -1, 0), (0, 0, 1)),
    "coronal": ((1, 0, 0), (0, 0, -1), (0, 1, 0)),
    "sagittal": ((0, 1, 0), (0, 0, -1), (1, 0, 0)),
}
"""Directions of columns, rows and slices of each plane."""


@dataclass(frozen=True, slots=True, eq=False)
class Scanner:
    """Pose, grid and receiver of one examination.

    Attributes:
        axes: Directions of columns, rows and slices in the head, orthonormal rows, shape (3, 3).
        shift_mm: Where the middle of the image lies relative to the usual place, shape (3,).
        image_size: Rows and columns.
        pixel_mm: Distance between pixel centres.
        blur: Deviation of the point spread in pixels.
        gamma: Exponent of the display.
        noise: Deviation of the noise in each of the two receiver channels; 1 is the upper end of the display window.
        bias: Coefficients of the logarithm of the coil's gain, shape (4,).
    """

    axes: np.ndarray
    shift_mm: np.ndarray
    image_size: int
    pixel_mm: float
    blur: float
    gamma: float
    noise: float
    bias: np.ndarray

    def points(self, through: np.ndarray) -> np.ndarray:
        """Return the pixel centres of the slice through a point of the head, millimetres, float32, shape (3, pixels)."""
        half = (np.arange(self.image_size) + 0.5 - self.image_size / 2) * self.pixel_mm
        rows, columns = np.meshgrid(half, half, indexing="ij")
        origin = np.array(_CENTRE_MM) + self.shift_mm
        origin = origin + self.axes[2] * (self.axes[2] @ (through - origin))
        plane = self.axes[:2].T @ np.stack([columns.ravel(), rows.ravel()])
        points: np.ndarray = (plane + origin[:, None]).astype(np.float32)
        return points

    def gain(self, points: np.ndarray) -> np.ndarray:
        """Return the slowly varying gain of the coil, around 1, at points of shape (3, n)."""
        x, y, z = points / 100
        gain: np.ndarray = np.exp(self.bias.astype(np.float32) @ np.stack([x, y, z, x**2 + y**2 - z**2]))
        return gain

    def receive(self, signal: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Blur a slice, add the noise of a magnitude image, and bring it into the 8-bit window.

        Args:
            signal: float32, shape (image_size, image_size), at least 0; 1 is the upper end of the display window.
            rng: Where the noise comes from.

        Returns:
            uint8, same shape.
        """
        from scipy.ndimage import gaussian_filter

        blurred = gaussian_filter(signal, self.blur)
        real, imaginary = rng.standard_normal((2, *signal.shape), dtype=np.float32) * np.float32(self.noise)
        magnitude = np.hypot(blurred + real, imaginary)
        pixels: np.ndarray = np.rint(255 * magnitude.clip(0, 1) ** self.gamma).astype(np.uint8)
        return pixels


def draw_scanner(plane: str, rng: np.random.Generator, *, image_size: int) -> Scanner:
    """Draw an examination in one of `PLANES`: left and right may change sides, the head is turned by some degrees."""
    columns, rows, slices = np.array(_AXES[plane], dtype=np.float64)
    mirrored = rng.choice([-1.0, 1.0])
    turn, tilt, yaw = np.radians(rng.normal(0, [5, 3, 3]).clip(-12, 12))
    slices = _unit(slices + np.tan(tilt) * rows + np.tan(yaw) * columns)
    columns = _unit(columns - slices * (columns @ slices))
    rows = _unit(rows - slices * (rows @ slices) - columns * (rows @ columns))
    turned = np.cos(turn) * columns + np.sin(turn) * rows, np.cos(turn) * rows - np.sin(turn) * columns
    return Scanner(
        axes=np.stack([mirrored * turned[0], turned[1], slices]),
        shift_mm=rng.normal(0, 5, 3).clip(-12, 12),
        image_size=image_size,
        pixel_mm=rng.uniform(205, 262) / image_size,
        blur=rng.uniform(0.25, 0.75) * image_size / 224,
        gamma=rng.uniform(0.85, 1.25),
        noise=float(np.exp(rng.uniform(np.log(0.006), np.log(0.035)))),
        bias=rng.normal(0, 0.13, 4),
    )


def _unit(vector: np.ndarray) -> np.ndarray:
    unit: np.ndarray = vector / np.linalg.norm(vector)
    return unit
