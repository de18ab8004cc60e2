"""DICOM files to Scans: MR images of one or many frames, seen as their window says, with the patient's name left behind.

pydicom is imported when the first file is read.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tumorscope.data.dicom_frames import count_frames, read_frames
from tumorscope.data.dicom_header import (
    dicom_refusals,
    read_dataset,
    read_header,
    rescaling_of,
    salted,
    spacing_of,
    view_of,
)
from tumorscope.data.grey import colour_shares, grey_images, refuse_not_finite, to_float32
from tumorscope.data.slice_choice import SliceChoice
from tumorscope.errors import DecodeError
from tumorscope.scan import Scan

if TYPE_CHECKING:
    from pydicom import Dataset

DICOM_SUFFIXES = frozenset({".dcm", ".dicom", ".ima"})


def open_dicom(path: Path, *, choice: SliceChoice, allow_any: bool = False, salt: bytes | None = None) -> Iterator[Scan]:
    """Yield the frames of a DICOM file in the order in which they are stored.

    Values are rescaled, then seen through the file's first VOI look-up table or window, which gives 8 bits; without one they keep
    what they are, for the general rule of `windowing`. MONOCHROME1 is inverted, padding becomes black. Overlays are ignored.

    Args:
        path: A file of DICOM PS3.10.
        choice: Which frames.
        allow_any: Let other modalities than MR and colours through, the latter as luma.
        salt: Makes `Scan.group` of PatientID and `Scan.series` of SeriesInstanceUID; without it both are empty.

    Raises:
        DecodeError: As `read_header`, or the pixels are broken, truncated or larger than allowed.
    """
    header = read_header(path, allow_any=allow_any)
    with dicom_refusals(path):
        count = count_frames(header, str(path))
        wanted = choice.of(count, where=str(path))
    yield from read_slices(path, wanted, salt=salt)


def read_slices(path: Path, indices: range | tuple[int, ...], *, salt: bytes | None) -> Iterator[Scan]:
    """Yield some of the frames of a file that `read_header` let through; raises as `open_dicom`."""
    dataset = read_dataset(path)
    with dicom_refusals(path):
        count = count_frames(dataset, str(path))
        group = salted("patient", dataset.get("PatientID"), salt)
        series = salted("series", dataset.get("SeriesInstanceUID"), salt)
        for index, stored in zip(indices, read_frames(dataset, indices, str(path)), strict=True):
            origin = str(path) if count == 1 else f"{path}#{index}"
            pixels, windowing, colour = _seen(dataset, index, stored, where=origin)
            yield Scan(
                pixels=pixels,
                origin=origin,
                spacing_mm=spacing_of(dataset, index),
                slice_index=None if count == 1 else index,
                group=group,
                series=series,
                windowing=windowing,
                colour_share=colour,
            )


def _seen(dataset: "Dataset", index: int, stored: np.ndarray, *, where: str) -> tuple[np.ndarray, str, float]:
    """Return the pixels of a frame, what was done to them beyond the general rule, and how much of them was in colour."""
    if stored.ndim == 3 or dataset.PhotometricInterpretation == "PALETTE COLOR":
        colours = _colours(dataset, stored, where=where)[None]
        return grey_images(colours)[0], "luma", float(colour_shares(colours)[0])
    inverted = dataset.PhotometricInterpretation == "MONOCHROME1"
    padding = _padding(dataset, stored)
    try:
        view, note = view_of(dataset, index), ""
    except DecodeError as error:
        if error.fault != "window":
            raise
        view, note = None, f"percentiles instead of {str(error).rstrip('.')}"
    if view is None:
        return _blackened(_unseen(dataset, index, stored, inverted=inverted, where=where), padding), note, 0.0

    def eight_bit(values: np.ndarray) -> np.ndarray:
        shown = view.shown(_rescaled(dataset, index, values, where=where))
        rounded: np.ndarray = np.rint(255 - shown if inverted else shown).astype(np.uint8)
        return rounded

    return _blackened(_each_value_once(stored, eight_bit), padding, black=0), view.name, 0.0


def _each_value_once(stored: np.ndarray, convert: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Return converted values; whole numbers in a short range by a table of all of them, which takes a fraction of the time."""
    if stored.dtype.kind not in "iu":
        return convert(stored)
    lowest, highest = int(stored.min()), int(stored.max())
    if highest - lowest >= stored.size:
        return convert(stored)
    table = convert(np.arange(lowest, highest + 1).astype(stored.dtype))
    pixels: np.ndarray = table[stored.astype(np.int64) - lowest]
    return pixels


def _colours(dataset: "Dataset", stored: np.ndarray, *, where: str) -> np.ndarray:
    from pydicom.pixels.processing import apply_color_lut

    colours = apply_color_lut(stored, dataset)[..., :3] if stored.ndim == 2 else stored
    if colours.ndim != 3 or colours.dtype not in (np.uint8, np.uint16):
        raise DecodeError(f"{where}: colours of {colours.dtype}; 8 or 16 bits are read.", fault="colour")
    return np.asarray(colours)


def _rescaled(dataset: "Dataset", index: int, stored: np.ndarray, *, where: str) -> np.ndarray:
    """Return a frame after its modality transform: as stored where that changes nothing, else float64."""
    from pydicom.pixels.processing import apply_modality_lut

    refuse_not_finite(stored, where=where)
    if dataset.get("ModalityLUTSequence"):
        return np.asarray(apply_modality_lut(stored, dataset), dtype=np.float64)
    slope, intercept = rescaling_of(dataset, index)
    if (slope, intercept) == (1, 0):
        return stored
    values = stored.astype(np.float64) * slope + intercept
    refuse_not_finite(values, where=where)
    return values


def _unseen(dataset: "Dataset", index: int, stored: np.ndarray, *, inverted: bool, where: str) -> np.ndarray:
    """Return a frame that no window was given for in a type that a Scan may have, MONOCHROME1 inverted.

    Whole numbers are inverted within the range of their bits, so that the same picture stored either way has the same pixels.
    """
    bits, curved = int(dataset.get("BitsStored") or 16), bool(dataset.get("ModalityLUTSequence"))
    whole = stored.dtype.kind in "iu" and not curved
    if inverted and whole:
        stored = (-1 if stored.dtype.kind == "i" else 2**bits - 1) - stored.astype(np.int64)
    values = _rescaled(dataset, index, stored, where=where)
    if inverted and not whole:
        values = -values
    if values.dtype.kind == "f" or int(dataset.BitsAllocated) > 16:
        return to_float32(values, where=where)
    if dataset.PixelRepresentation == 1:
        return values.astype(np.int16)
    return values.astype(np.uint8 if bits <= 8 else np.uint16)


def _padding(dataset: "Dataset", stored: np.ndarray) -> np.ndarray | None:
    """Return where a frame is padded, or None where nothing is."""
    value = dataset.get("PixelPaddingValue")
    if value is None or stored.dtype.kind not in "iu":
        return None
    limit = dataset.get("PixelPaddingRangeLimit")
    low, high = sorted((int(value), int(value if limit is None else limit)))
    padding: np.ndarray = (stored >= low) & (stored <= high)
    return padding if padding.any() else None


def _blackened(pixels: np.ndarray, padding: np.ndarray | None, *, black: int | None = None) -> np.ndarray:
    """Return pixels with padding as dark as the darkest of the others."""
    if padding is None or padding.all():
        return pixels
    pixels = pixels.copy()
    pixels[padding] = pixels[~padding].min() if black is None else black
    return pixels
