"""How much a file may claim: refused before anything is decoded, so that a few bytes cannot fill the memory."""

import stat
from pathlib import Path

from tumorscope.errors import DecodeError

MAX_PIXELS = 64_000_000
"""Of one slice."""
MAX_SIDE = 30_000
"""Rows or columns of one slice: bringing a narrow strip of millions of rows onto a square grid would take gigabytes."""
MAX_VOXELS = 256_000_000
"""Of all slices of a volume that is held at once: 640 slices of 632 x 632."""
MAX_FILE_BYTES = 2**30
"""Of a DICOM or NIfTI file, and of what a compressed one becomes."""


def refuse_no_file(path: Path) -> int:
    """Return the size in bytes of a plain file; refuse links, pipes, devices and folders, which may lead or wait anywhere.

    Raises:
        DecodeError: It is missing or no plain file.
    """
    try:
        status = path.lstat()
    except FileNotFoundError:
        raise DecodeError(f"{path}: no such file.", fault="missing") from None
    except (OSError, ValueError) as error:
        raise DecodeError(f"{path}: cannot be looked at ({error}).") from None
    if stat.S_ISREG(status.st_mode):
        return status.st_size
    if stat.S_ISLNK(status.st_mode):
        raise DecodeError(f"{path}: a link. Give the path of the file that it leads to.", fault="link")
    if stat.S_ISDIR(status.st_mode):
        raise DecodeError(f"{path}: a folder. Give one file; the slices of a DICOM folder are opened as a series.", fault="folder")
    raise DecodeError(f"{path}: a pipe or device. Save what it holds as a file first.", fault="no_file")


def refuse_large_file(path: Path, size: int) -> None:
    """Refuse a file that is read as a whole and too large for that; raises DecodeError."""
    if size > MAX_FILE_BYTES:
        raise DecodeError(f"{path}: {size:,} bytes, more than the {MAX_FILE_BYTES:,} allowed.", fault="too_large")


def refuse_large_slice(where: str, rows: int, columns: int) -> None:
    """Refuse more than `MAX_PIXELS`, or a side beyond `MAX_SIDE`; raises DecodeError."""
    size = f"{where}: {rows} x {columns} pixels"
    if rows * columns > MAX_PIXELS:
        raise DecodeError(f"{size}, more than the {MAX_PIXELS:,} allowed.", fault="too_large")
    if max(rows, columns) > MAX_SIDE:
        raise DecodeError(f"{size}, a side longer than the {MAX_SIDE:,} allowed.", fault="too_large")


def refuse_large_volume(where: str, rows: int, columns: int, slices: int) -> None:
    """Refuse sizes that are not positive, beyond `refuse_large_slice`, or `MAX_VOXELS` in all; raises DecodeError."""
    if min(rows, columns, slices) < 1:
        raise DecodeError(f"{where}: {slices} slices of {rows} x {columns} pixels; at least one of each is needed.")
    refuse_large_slice(where, rows, columns)
    if rows * columns * slices > MAX_VOXELS:
        raise DecodeError(
            f"{where}: {slices} slices of {rows} x {columns} pixels, more than the {MAX_VOXELS:,} pixels allowed.",
            fault="too_large",
        )
