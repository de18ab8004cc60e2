"""How an image is stored: format, mode, compression, colour. Pixels are decoded only where they may be coloured, and then small."""

import os
import threading
import zipfile
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from tumorscope.data.arrays import BROKEN_ARCHIVE, npy_chunks, read_npy_header
from tumorscope.data.decode import is_dicom, is_grey, is_nifti, picture_colour, read_picture
from tumorscope.data.grey import colour_shares
from tumorscope.data.matlab import MATLAB_SUFFIX
from tumorscope.errors import DecodeError
from tumorscope.manifest import Manifest, Record, split_item
from tumorscope.scan import Scan

# The luminance table of ITU-T T.81, annex K.1, in rows; encoders scale it by their quality setting.
_LUMINANCE = np.array(
    (
        *(16, 11, 10, 16, 24, 40, 51, 61),
        *(12, 12, 14, 19, 26, 58, 60, 55),
        *(14, 13, 16, 24, 40, 57, 69, 56),
        *(14, 17, 22, 29, 51, 87, 80, 62),
        *(18, 22, 37, 56, 68, 109, 103, 77),
        *(24, 35, 55, 64, 81, 104, 113, 92),
        *(49, 64, 78, 87, 103, 121, 120, 101),
        *(72, 92, 95, 98, 112, 100, 103, 99),
    )
)
_ARCHIVE_LOCK = threading.Lock()


@dataclass(frozen=True, slots=True)
class Stored:
    """How an image is stored.

    Attributes:
        file_format: Such as `JPEG`, `NPZ`, `MATLAB` or `DICOM`.
        mode: Such as `L`, `RGB` or `I;16`; of an array its type, with `x3` behind it where it has three channels.
        file_bytes: Size of the file in bytes; None for one of several images in it.
        jpeg_quality: 1 to 100, estimated from the quantisation table; None where it is no JPEG.
        colour_share: Share of the area whose channels differ by more than compression makes them, 0 to 1.
    """

    file_format: str
    mode: str
    file_bytes: int | None
    jpeg_quality: int | None
    colour_share: float


def read_stored(manifest: Manifest, record: Record, scan: Scan) -> Stored:
    """Return how the image of a record is stored.

    A grey file is opened and not decoded; a JPEG in colour is decoded at an eighth of its size.

    Args:
        manifest: Tells where the record's file lies.
        record: One of its records.
        scan: The record's image, decoded.

    Raises:
        DecodeError: As `decode_record`.
    """
    path, item = manifest.locate(record.path), split_item(record.path)[1]
    if path.suffix.lower() == MATLAB_SUFFIX:
        return Stored("MATLAB", scan.pixels.dtype.name, _stat(path).st_size, None, 0.0)
    if is_dicom(path) or is_nifti(path):
        kind, size = "DICOM" if is_dicom(path) else "NIFTI", None if item else _stat(path).st_size
        return Stored(kind, scan.pixels.dtype.name, size, None, scan.colour_share)
    if not item:
        return read_picture(path, lambda image: _of_picture(image, path.stat().st_size))
    key, _, row = item.rpartition(":")
    version = _stat(path).st_mtime_ns
    with _ARCHIVE_LOCK:
        dtype, colour = _colour_of_array(path, key, version)
    return Stored("NPZ", dtype, None, None, 0.0 if colour is None else float(colour[int(row)]))


def _stat(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError as error:
        raise DecodeError(f"{path}: cannot be read ({error.strerror}).", fault="missing") from error


def jpeg_quality(table: list[int] | tuple[int, ...]) -> int:
    """Return the quality setting whose scaling of the standard luminance table comes closest to a table.

    Args:
        table: 64 divisors of the luminance, 1 to 255, in any order.

    Returns:
        1 to 100.
    """
    return int(np.abs(_table_sums() - sum(table)).argmin()) + 1


@lru_cache(maxsize=1)
def _table_sums() -> np.ndarray:
    quality = np.arange(1, 101)[:, None]
    scale = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    return np.asarray(((_LUMINANCE * scale + 50) // 100).clip(1, 255).sum(axis=1))


def _of_picture(image: Image.Image, file_bytes: int) -> Stored:
    tables = getattr(image, "quantization", None)
    mode, file_format = image.mode, image.format or ""
    return Stored(
        file_format=file_format,
        mode=mode,
        file_bytes=file_bytes,
        jpeg_quality=jpeg_quality(tables[0]) if file_format == "JPEG" and tables else None,
        colour_share=0.0 if is_grey(image) else _colour_of_picture(image),
    )


def _colour_of_picture(image: Image.Image) -> float:
    if image.format == "JPEG":
        image.draft(image.mode, (max(1, image.width // 8), max(1, image.height // 8)))
    return picture_colour(image)


@lru_cache(maxsize=8)
def _colour_of_array(path: Path, key: str, _version: int) -> tuple[str, np.ndarray | None]:
    """Return the type of an archive's array, and the colour share of each of its images unless they have one channel."""
    member = f"{key}.npy"
    try:
        with zipfile.ZipFile(path) as archive:
            with archive.open(member) as content:
                shape, _, dtype = read_npy_header(content)
            axis = 3 if len(shape) == 4 and shape[3] in (1, 3) else 1
            if len(shape) == 3 or shape[axis] == 1:
                return dtype.name, None
            with closing(npy_chunks(archive, member)) as chunks:
                shares = [colour_shares(chunk) for chunk in chunks]
    except BROKEN_ARCHIVE as error:
        raise DecodeError(f"{path}, array {key!r}: cannot be read ({error}).") from error
    return f"{dtype.name}x3", np.concatenate(shares)
