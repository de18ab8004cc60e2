"""Scan: one decoded slice with its grid and where it came from."""

import hashlib
import math
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
        origin: Where it came from, for messages and outputs: a path, `archive.npz#images:3`, `head.nii.gz#axial:12` or
            `frames.dcm#3`; slices are counted from 0.
        spacing_mm: Distance between the centres of neighbouring rows and columns in millimetres, above 0, or None when unknown.
        slice_index: Which slice of its file it is, from 0, or None where the file holds one.
        group: Salted digest of the patient's identifier, the same for all scans of a patient; empty when unknown.
        series: Likewise of the series.
        windowing: What the file said of how its values are to be seen, applied already; empty where it said nothing.
        colour_share: Share of the area that the file shows in a clear colour, 0 to 1: grey pixels no longer tell.
        sha256: Hex digest of dtype, shape and pixels: the same slice in another file has the same digest.
    """

    pixels: np.ndarray
    origin: str
    spacing_mm: tuple[float, float] | None = None
    slice_index: int | None = None
    group: str = ""
    series: str = ""
    windowing: str = ""
    colour_share: float = 0.0
    sha256: str = field(init=False)

    def __post_init__(self) -> None:
        if self.pixels.ndim != 2 or 0 in self.pixels.shape:
            raise DecodeError(f"{self.origin}: a scan needs two non-empty axes (rows, columns), got shape {self.pixels.shape}.")
        if self.pixels.dtype.name not in ALLOWED_DTYPES:
            raise DecodeError(f"{self.origin}: pixels of type {self.pixels.dtype}; allowed: {', '.join(ALLOWED_DTYPES)}.")
        if self.pixels.dtype.kind == "f" and not np.isfinite(self.pixels).all():
            raise DecodeError(f"{self.origin}: pixels hold NaN or infinity. Replace them before use.")
        if self.spacing_mm is not None and not all(0 < spacing < math.inf for spacing in self.spacing_mm):
            raise DecodeError(f"{self.origin}: spacing {self.spacing_mm}; two distances above 0 mm are needed, or None.")
        if self.slice_index is not None and self.slice_index < 0:
            raise DecodeError(f"{self.origin}: slice {self.slice_index}; slices are counted from 0.")
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
