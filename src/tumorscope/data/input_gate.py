"""Whether a picture can be a slice of a head at all, judged before any network sees it."""

import numpy as np

from tumorscope.data.audit.appearance import Appearance, appearance
from tumorscope.data.audit.files import BLANK, COLOUR_SHARE, NOT_BRAIN_MRI, UNIFORM, picture_flags
from tumorscope.data.audit.frames import framed

BLANK_REASON = "blank: all pixels have the same grey level"
UNIFORM_REASON = "empty: next to nothing but one grey level"
INVERTED_REASON = "black and white look exchanged: no head on a dark background, but one when the picture is inverted"
COLOUR_REASON = "a picture in colour: give the scan in grey, as it left the scanner"
NO_HEAD_REASON = "no head found: no round outline with the texture of tissue on a dark background"


def gate_reason(pixels: np.ndarray, *, colour_share: float = 0.0) -> str:
    """Return why a picture cannot be a slice of a head, in words for a user; empty where it can.

    The criteria are those of the audit of a data set, set so that one real scan in a thousand is warned of. They know shape and
    grey levels and no anatomy, so what passes may still be unfamiliar: see `models.familiarity`.

    Args:
        pixels: The scan as shown, uint8, shape (rows, columns): `Preprocessing.eight_bit`.
        colour_share: `Scan.colour_share`, since grey pixels no longer tell that there was colour.
    """
    return reason_of(appearance(pixels, framed(pixels)), pixels, colour_share=colour_share)


def reason_of(look: Appearance, pixels: np.ndarray, *, colour_share: float = 0.0) -> str:
    """Return the same as `gate_reason` for a picture whose appearance is known."""
    if colour_share >= COLOUR_SHARE:
        return COLOUR_REASON
    flags = picture_flags(look)
    if BLANK in flags:
        return BLANK_REASON
    if UNIFORM in flags:
        return UNIFORM_REASON
    if NOT_BRAIN_MRI in flags:
        return NO_HEAD_REASON if {NOT_BRAIN_MRI, UNIFORM} & set(_flags(255 - pixels)) else INVERTED_REASON
    return ""


def _flags(pixels: np.ndarray) -> tuple[str, ...]:
    return picture_flags(appearance(pixels, framed(pixels)))
