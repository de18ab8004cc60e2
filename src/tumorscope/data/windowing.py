"""How intensities become 8 bits: the one rule for every format, under a name that travels with a model.

A file that says how it is to be seen (a DICOM window or look-up table) is seen that way and is of 8 bits from then on. 8-bit files
stay as they are. All others are stretched between two percentiles of the slice when they are preprocessed.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from tumorscope.errors import DecodeError

Windowing = Literal["window-else-percentiles-1"]
WINDOWING: Windowing = get_args(Windowing)[0]

_FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")


def stretch(pixels: np.ndarray, *, low_percentile: float, high_percentile: float) -> np.ndarray:
    """Return intensities stretched between two of their percentiles.

    Args:
        pixels: Of one slice, any type that a Scan may have; 8 bits are returned as they are.
        low_percentile: In percent; becomes 0, as does all below.
        high_percentile: Likewise 255, and all above.

    Returns:
        uint8, same shape; all 0 where both percentiles are one value.
    """
    if pixels.dtype == np.uint8:
        return pixels
    low, high = np.percentile(pixels, [low_percentile, high_percentile])
    if high <= low:
        return np.zeros(pixels.shape, dtype=np.uint8)
    scaled = (pixels.astype(np.float32) - low) * (255 / (high - low))
    eight_bit: np.ndarray = np.rint(scaled.clip(0, 255)).astype(np.uint8)
    return eight_bit


@dataclass(frozen=True, slots=True)
class Window:
    """A DICOM window: which values are shown, from black to white.

    Attributes:
        center: In the values' unit, after rescaling.
        width: Likewise, above 0; at least 1 for LINEAR.
        function: `LINEAR`, `LINEAR_EXACT` or `SIGMOID`.

    Source:
        DICOM PS3.3, C.11.2.1.2 and C.11.2.1.3, https://dicom.nema.org/medical/dicom/current/output/chtml/part03/sect_C.11.2.html
    """

    center: float
    width: float
    function: str = "LINEAR"

    def __post_init__(self) -> None:
        if self.function not in _FUNCTIONS:
            raise DecodeError(f"a window of the unknown function {self.function[:16]!r}.", fault="window")
        if not np.isfinite((self.center, self.width)).all() or self.width <= 0 or (self.function == "LINEAR" and self.width < 1):
            raise DecodeError(f"a window {self.center:g}/{self.width:g} without width.", fault="window")

    @property
    def name(self) -> str:
        """Return what is said about a scan that was seen through it."""
        return f"window {self.center:g}/{self.width:g} {self.function}"

    def shown(self, values: np.ndarray) -> np.ndarray:
        """Return what is shown of values.

        Returns:
            float64, same shape, 0 (black) to 255 (white), not rounded, so that it can still be inverted.
        """
        values = values.astype(np.float64)
        if self.function == "SIGMOID":
            return np.asarray(255 / (1 + np.exp((-4 * (values - self.center) / self.width).clip(-700, 700))))
        if self.function == "LINEAR_EXACT":
            return np.asarray(((values - self.center) / self.width + 0.5).clip(0, 1) * 255)
        if self.width == 1:
            return np.where(values > self.center - 0.5, 255.0, 0.0)
        return np.asarray(((values - (self.center - 0.5)) / (self.width - 1) + 0.5).clip(0, 1) * 255)


@dataclass(frozen=True, slots=True, eq=False)
class LookUp:
    """A DICOM VOI look-up table: what is shown of every value.

    Attributes:
        first: The value that the first entry stands for; smaller ones are shown like it, those beyond the last like the last.
        entries: Shape (n,), any integers.
        bits: What the entries' full range is, 8 to 16.

    Source:
        DICOM PS3.3, C.11.2.1.1
    """

    first: int
    entries: np.ndarray
    bits: int

    def __post_init__(self) -> None:
        if self.entries.ndim != 1 or not self.entries.size or not 8 <= self.bits <= 16:
            raise DecodeError(f"a look-up table of {self.entries.size} entries and {self.bits} bits.", fault="window")

    @property
    def name(self) -> str:
        """Return what is said about a scan that was seen through it."""
        return f"look-up table of {len(self.entries)}"

    def shown(self, values: np.ndarray) -> np.ndarray:
        """Return what is shown of values, as `Window.shown`."""
        places = (np.floor(values.astype(np.float64)) - self.first).clip(0, len(self.entries) - 1).astype(np.int64)
        return np.asarray((self.entries[places].astype(np.float64) * (255 / (2**self.bits - 1))).clip(0, 255))
