"""Scan: one decoded slice with its grid and where it came from."""

import hashlib
from dataclasses import dataclass, field

import numpy as np

from tumorscope.errors import DecodeError

ALLOWED_DTYPES = ("uint8", "uint16", "int16", "float32")


@dataclass(frozen=True, slots=True, eq=False)
class Scan:
    """One grey slice, as decoded, before any preprocessing.

    The array given is itself made read-only. Geometry is (row, column).

    Attributes:
        pixels: Intensities, shape (rows, columns), dtype uint8, uint16, int16 or float32, finite, no unit.
        origin: Where it came from, for messages and outputs: a path, or `archive.npz#images:3`.
        spacing_mm: Distance between pixel centres along rows and columns in millimetres, or None when unknown.
        sha256: Hex digest of dtype, shape and pixels: the same slice in another file has the same digest.
    """

    pixels: np.ndarray
    origin: str
    spacing_mm: tuple[float, float] | None = None
    sha256: str = field(init=False)

    def __post_init__(self) -> None:
        if self.pixels.ndim != 2 or 0 in self.pixels.shape:
            raise DecodeError(f"{self.origin}: a scan needs two non-empty axes (rows, columns), got shape {self.pixels.shape}.")
        if self.pixels.dtype.name not in ALLOWED_DTYPES:
            raise DecodeError(f"{self.origin}: pixels of type {self.pixels.dtype}; allowed: {', '.join(ALLOWED_DTYPES)}.")
        if self.pixels.dtype.kind == "f" and not np.isfinite(self.pixels).all():
            raise DecodeError(f"{self.origin}: pixels hold NaN or infinity. Replace them before use.")
        pixels = np.ascontiguousarray(self.pixels, dtype=self.pixels.dtype.newbyteorder("="))
        pixels.setflags(write=False)
        digest = hashlib.sha256(f"{pixels.dtype.name}{pixels.shape}".encode())
        digest.update(pixels.data)
        object.__setattr__(self, "pixels", pixels)
        object.__setattr__(self, "sha256", digest.hexdigest())

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        rows, columns = self.pixels.shape
        return rows, columns
