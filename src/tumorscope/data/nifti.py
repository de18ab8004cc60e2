"""NIfTI volumes to Scans: slices of a plane, turned as a radiologist expects them whatever way they are stored.

nibabel is imported when the first volume is read.
"""

import gzip
import io
import logging
import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tumorscope.data.grey import Convert, conversions, refuse_not_finite, to_float32
from tumorscope.data.limits import MAX_FILE_BYTES, refuse_large_file, refuse_large_volume
from tumorscope.data.slice_choice import Plane, SliceChoice
from tumorscope.errors import DecodeError
from tumorscope.scan import Scan

NIFTI_SUFFIXES = (".nii", ".nii.gz")

# Axis of the canonical volume (right, anterior, superior) along which the slices of a plane lie.
_AXES: dict[Plane, int] = {"sagittal": 0, "coronal": 1, "axial": 2}
_ALIKE = 1.01
_HEADER_BYTES = 540
_SPARE_BYTES = 2**20
_SILENT = logging.Logger("nifti", level=logging.CRITICAL)
_MILLIMETRES = {"meter": 1000.0, "micron": 0.001}
_BROKEN = (OSError, EOFError, ValueError, TypeError, LookupError, ArithmeticError, MemoryError, struct.error, zlib.error, Warning)


@dataclass(frozen=True, slots=True, eq=False)
class _Volume:
    """A volume whose axes point to the patient's right, front and head.

    Attributes:
        stored: Values as stored, shape (right, anterior, superior).
        scale: Slope and intercept of the stored values; None where they are the values.
        spacing_mm: Distance of voxel centres along the three axes; None where it is not above 0.
        plane: In which it was acquired.
    """

    stored: np.ndarray
    scale: tuple[float, float] | None
    spacing_mm: tuple[float | None, ...]
    plane: Plane


def open_nifti(path: Path, *, choice: SliceChoice) -> Iterator[Scan]:
    """Yield slices of a NIfTI-1 or NIfTI-2 volume in one file, compressed or not.

    The affine is followed to the nearest axes; nothing is resampled. Axial slices have the front of the head on top, coronal and
    sagittal ones its crown; the patient's right is on the left of axial and coronal slices, the front of the head on the left of
    sagittal ones. Slices are counted from 0, from feet to head, back to front, and left to right. Where the file has neither
    qform nor sform, columns are taken to run to the patient's left, as Analyze files have them.

    Args:
        path: A NIfTI file.
        choice: Plane and slices.

    Raises:
        DecodeError: The file is broken, truncated, no NIfTI file, of four dimensions, of colours or complex numbers, or larger than
            allowed.

    Source:
        NIfTI-1, https://nifti.nimh.nih.gov/nifti-1
    """
    volume = _read(path)
    plane = volume.plane if choice.plane == "acquired" else choice.plane
    axis = _AXES[plane]
    count = volume.stored.shape[axis]
    spacing = _in_plane(volume.spacing_mm, axis)
    convert = _whole_conversion(volume, where=str(path))
    for index in choice.of(count, where=f"{path}, {plane}"):
        pixels = _turned(volume.stored, axis, index)
        origin = f"{path}#{plane}:{index}"
        values = _scaled(pixels, volume.scale, where=origin) if volume.scale else convert(pixels)
        if values is None:
            raise DecodeError(f"{origin}: values beyond the range of 32-bit floats.")
        yield Scan(
            pixels=values,
            origin=origin,
            spacing_mm=spacing,
            slice_index=None if count == 1 else index,
        )


def _turned(stored: np.ndarray, axis: int, index: int) -> np.ndarray:
    """Return one slice, rows from top to bottom and columns from left to right as described above."""
    pixels: np.ndarray = np.moveaxis(stored, axis, 0)[index, ::-1, ::-1].T
    return pixels


def _in_plane(spacing: tuple[float | None, ...], axis: int) -> tuple[float, float] | None:
    columns, rows = (distance for place, distance in enumerate(spacing) if place != axis)
    return None if rows is None or columns is None else (rows, columns)


def _scaled(pixels: np.ndarray, scale: tuple[float, float], *, where: str) -> np.ndarray:
    values = pixels.astype(np.float64) * scale[0] + scale[1]
    refuse_not_finite(values, where=where)
    return to_float32(values, where=where)


def _whole_conversion(volume: _Volume, *, where: str) -> Convert:
    """Return the narrowest conversion that keeps all slices, so that all of them are of one type."""
    slabs = [volume.stored[..., index] for index in range(volume.stored.shape[2])] if volume.scale is None else []
    for slab in slabs:
        refuse_not_finite(slab, where=where)
    for convert in conversions(volume.stored.dtype):
        if all(convert(slab) is not None for slab in slabs):
            return convert
    raise DecodeError(f"{where}: values beyond the range of 32-bit floats.")


def _read(path: Path) -> _Volume:
    """Return a volume whose claims were checked against its file before room was made for it."""
    import nibabel

    try:
        with _content(path) as content:
            header = _header(content, path)
            shape = _shape(header, path)
            zooms = [abs(float(zoom)) for zoom in header["pixdim"][1:4]]
            header.check_fix(logger=_SILENT)
            dtype = header.get_data_dtype()
            if dtype.kind not in "uif":
                raise DecodeError(
                    f"{path}: values of type {dtype}; whole or real numbers are needed, no colours.", fault="no_numbers"
                )
            start, size = _start(header), math.prod(shape) * dtype.itemsize
            raw = _bytes(content, start, size, path)
            scale = header.get_slope_inter()
            order = nibabel.orientations.io_orientation(header.get_best_affine())
            unit = _MILLIMETRES.get(header.get_xyzt_units()[0], 1.0)
    except _known_errors() as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DecodeError(f"{path}: broken or truncated NIfTI file ({reason}).", fault="truncated") from error
    if np.isnan(order).any():
        raise DecodeError(
            f"{path}: its affine leaves an axis without direction. Repair the header's qform or sform.", fault="affine"
        )
    stored = np.frombuffer(raw, dtype=dtype).reshape(shape, order="F")
    return _canonical(stored, _scale(scale), order, [zoom * unit for zoom in zooms])


def _known_errors() -> tuple[type[BaseException], ...]:
    from nibabel.filebasedimages import ImageFileError
    from nibabel.orientations import OrientationError
    from nibabel.spatialimages import HeaderDataError

    return (*_BROKEN, ImageFileError, HeaderDataError, OrientationError, np.linalg.LinAlgError)


def _content(path: Path) -> io.BufferedIOBase:
    with path.open("rb") as file:
        if file.read(2) == b"\x1f\x8b":
            return gzip.open(path, "rb")
    return path.open("rb")


def _header(content: io.BufferedIOBase, path: Path) -> Any:  # noqa: ANN401
    import nibabel

    start = content.read(_HEADER_BYTES)
    for size, kind in ((348, nibabel.Nifti1Header), (540, nibabel.Nifti2Header)):
        if len(start) >= 4 and size in (int.from_bytes(start[:4], "little"), int.from_bytes(start[:4], "big")):
            if len(start) < size:
                raise EOFError(f"the header ends after {len(start)} of {size} bytes")
            # Four zeros say that there are no extensions, which are of no use here.
            header = kind.from_fileobj(io.BytesIO(start[:size] + bytes(4)), check=False)
            if not bytes(header["magic"]).startswith(b"n+"):
                raise DecodeError(f"{path}: a header whose values lie in another file. Convert it to one NIfTI file.", fault="pair")
            return header
    raise DecodeError(f"{path}: no NIfTI file.", fault="not_a_picture")


def _start(header: Any) -> int:  # noqa: ANN401
    """Return where values begin; some writers leave 0 for right behind the header."""
    return max(int(header["vox_offset"]), int(header.single_vox_offset))


def _shape(header: Any, path: Path) -> tuple[int, int, int]:  # noqa: ANN401
    """Return the three sizes of a volume; more dimensions are refused unless there is one of each."""
    shape = tuple(int(size) for size in header.get_data_shape())
    if len(shape) < 2 or any(size > 1 for size in shape[3:]):
        raise DecodeError(
            f"{path}: shape {shape}; a volume of 3 dimensions is needed. Save one volume of the series as its own file.",
            fault="four_dimensional",
        )
    rows, columns, slices = (*shape, 1)[:3]
    refuse_large_volume(str(path), rows, columns, slices)
    return rows, columns, slices


def _bytes(content: io.BufferedIOBase, start: int, size: int, path: Path) -> bytes:
    """Return the values' bytes; never inflates more than the header claims and a little."""
    if not 0 <= start <= _SPARE_BYTES * 64 or size > MAX_FILE_BYTES:
        raise DecodeError(
            f"{path}: {size:,} bytes from byte {start:,}, more than the {MAX_FILE_BYTES:,} allowed.", fault="too_large"
        )
    if not isinstance(content, gzip.GzipFile):
        refuse_large_file(path, path.stat().st_size)
        if path.stat().st_size < start + size:
            raise EOFError(f"{size:,} bytes are claimed from byte {start:,}, the file has {path.stat().st_size:,}")
    content.seek(start)
    raw = content.read(size)
    if len(raw) < size:
        raise EOFError(f"it ends after {len(raw):,} of {size:,} bytes")
    # To the end, which checks the checksum of a compressed file.
    if len(content.read(_SPARE_BYTES + 1)) > _SPARE_BYTES:
        raise DecodeError(f"{path}: goes on far beyond the {size:,} bytes that its header claims.", fault="too_large")
    return raw


def _scale(scale: tuple[float | None, float | None]) -> tuple[float, float] | None:
    slope, intercept = scale
    if slope is None or intercept is None or (slope, intercept) == (1, 0):
        return None
    return float(slope), float(intercept)


def _canonical(stored: np.ndarray, scale: tuple[float, float] | None, order: np.ndarray, spacing: list[float]) -> _Volume:
    """Return a volume with its axes in the canonical order and direction."""
    import nibabel

    canonical = nibabel.orientations.apply_orientation(stored, order)
    placed = {int(axis): distance for axis, distance in zip(order[:, 0], spacing, strict=True)}
    distances = [placed[axis] for axis in range(3)]
    plane = _acquired(canonical.shape, distances)
    known = tuple(distance if 0 < distance < math.inf else None for distance in distances)
    return _Volume(stored=canonical, scale=scale, spacing_mm=known, plane=plane)


def _acquired(shape: tuple[int, ...], spacing: list[float]) -> Plane:
    """Return the plane in which a volume was acquired: across its only axis with one voxel, else the one with the widest steps."""
    single = [plane for plane, axis in _AXES.items() if shape[axis] == 1]
    if len(single) == 1:
        return single[0]
    if not all(0 < distance < math.inf for distance in spacing) or max(spacing) <= _ALIKE * min(spacing):
        return "axial"
    planes: tuple[Plane, ...] = ("axial", "coronal", "sagittal")
    return max(planes, key=lambda plane: spacing[_AXES[plane]])
