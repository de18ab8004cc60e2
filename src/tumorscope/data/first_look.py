"""What a picture tells before any network sees it: whether it can be a slice of a head, and how it looks in numbers."""

from dataclasses import dataclass

import numpy as np

from tumorscope.data.audit.appearance import appearance
from tumorscope.data.audit.frames import framed
from tumorscope.data.input_gate import reason_of
from tumorscope.data.look_numbers import numbers_of


@dataclass(frozen=True, slots=True, eq=False)
class FirstLook:
    """What one picture tells.

    Attributes:
        numbers: `look_numbers`, float32, shape (20,).
        reason: Why it cannot be a slice of a head, in words; empty where it can.
    """

    numbers: np.ndarray
    reason: str


def first_look(pixels: np.ndarray, *, colour_share: float = 0.0) -> FirstLook:
    """Return what a picture tells.

    Args:
        pixels: The scan as shown, uint8, shape (rows, columns): `Preprocessing.eight_bit`.
        colour_share: `Scan.colour_share`.
    """
    content = framed(pixels)
    look = appearance(pixels, content)
    return FirstLook(numbers_of(look, content), reason_of(look, pixels, colour_share=colour_share))
