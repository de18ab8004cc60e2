"""One door for every file that may hold scans: what it is, is told by its content, and its name only says what to expect."""

import os
import zlib
from collections.abc import Iterator
from pathlib import Path

from tumorscope.data.arrays import open_npy, open_npz
from tumorscope.data.decode import IMAGE_SUFFIXES, decode_matlab, open_picture
from tumorscope.data.dicom import DICOM_SUFFIXES, open_dicom
from tumorscope.data.limits import refuse_no_file
from tumorscope.data.matlab import MATLAB_SUFFIX
from tumorscope.data.nifti import NIFTI_SUFFIXES, open_nifti
from tumorscope.data.slice_choice import SliceChoice
from tumorscope.errors import DecodeError
from tumorscope.scan import Scan

SCAN_SUFFIXES = IMAGE_SUFFIXES | DICOM_SUFFIXES | {".npy", ".npz", MATLAB_SUFFIX, *NIFTI_SUFFIXES}
"""Of files that are worth opening in a folder; what a file is, is told by its content."""

_HEAD_BYTES = 1024
_ALL = SliceChoice()
_PICTURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"GIF8", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_HDF5 = b"\x89HDF\r\n\x1a\n"
_MAGIC_AT = {348: 344, 540: 4}


def may_hold_scans(path: Path) -> bool:
    """Return whether a file is worth opening in a folder of all sorts: by its suffix, or by the mark of DICOM behind any name."""
    if path.suffix.lower() in SCAN_SUFFIXES or path.name.lower().endswith(NIFTI_SUFFIXES):
        return True
    try:
        refuse_no_file(path)
        return _by_content(_head(path)) == "dicom"
    except DecodeError:
        return False


def open_scans(path: Path, *, choice: SliceChoice = _ALL, allow_any: bool = False, salt: bytes | None = None) -> Iterator[Scan]:
    """Yield every slice that a file holds, one at a time.

    JPEG, PNG, BMP, WebP and GIF files hold one slice; TIFF, NPY, NPZ, NIfTI and DICOM files one or many; MATLAB files one, in the
    layout of Cheng's set. Nothing is read before the first slice is asked for.

    Args:
        path: A plain file; links, pipes and devices are refused.
        choice: Which plane of a volume and which slices of a file with several.
        allow_any: Let DICOM files of other modalities than MR and colour DICOM files through.
        salt: At least 16 bytes; makes names for the patient and the series of a DICOM file, which are not told otherwise.

    Raises:
        DecodeError: The file is missing, of no known format, broken, truncated, larger than allowed, or refused by name.
    """
    size = refuse_no_file(path)
    found = _format(path, size)
    if found == "picture":
        yield from open_picture(path, choice=choice)
    elif found == "dicom":
        yield from open_dicom(path, choice=choice, allow_any=allow_any, salt=salt)
    elif found == "nifti":
        yield from open_nifti(path, choice=choice)
    elif found == "npy":
        yield from open_npy(path, choice=choice)
    elif found == "npz":
        yield from open_npz(path, choice=choice)
    else:
        yield decode_matlab(path)


def _format(path: Path, size: int) -> str:
    """Return the format of a file, by its first bytes, else by its suffix."""
    if not size:
        raise DecodeError(f"{path}: an empty file. Needed: {_known()}.", fault="empty")
    found = _by_content(_head(path)) or _by_suffix(path)
    if found is None:
        raise DecodeError(f"{path}: no scan that can be read. Needed: {_known()}.", fault="not_a_picture")
    return found


def _head(path: Path) -> bytes:
    """Return the first bytes of a file, without the cost of a buffered one."""
    try:
        file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        try:
            return os.read(file, _HEAD_BYTES)
        finally:
            os.close(file)
    except PermissionError:
        raise DecodeError(f"{path}: no permission to read it.") from None
    except OSError as error:
        raise DecodeError(f"{path}: cannot be read ({error.strerror}).") from error


def _by_content(head: bytes) -> str | None:
    # First, since a DICOM file may begin like a TIFF file on purpose.
    if head[128:132] == b"DICM":
        return "dicom"
    if head.startswith(_PICTURES) or (head.startswith(b"RIFF") and head[8:12] == b"WEBP"):
        return "picture"
    if head.startswith(b"\x93NUMPY"):
        return "npy"
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "npz"
    if head.startswith((b"MATLAB ", _HDF5)) or head[512:520] == _HDF5:
        return "matlab"
    return "nifti" if _is_nifti(_inflated(head) if head.startswith(b"\x1f\x8b") else head) else None


def _is_nifti(head: bytes) -> bool:
    sizes = {int.from_bytes(head[:4], order) for order in ("little", "big")}
    return any(size in sizes and head[at : at + 2] in (b"n+", b"ni") for size, at in _MAGIC_AT.items())


def _inflated(head: bytes) -> bytes:
    try:
        return zlib.decompressobj(wbits=31).decompress(head, _HEAD_BYTES)
    except zlib.error:
        return b""


def _by_suffix(path: Path) -> str | None:
    """Return the format whose own refusal says best what is wrong with a file of no known content."""
    name, suffix = path.name.lower(), path.suffix.lower()
    if name.endswith(NIFTI_SUFFIXES):
        return "nifti"
    if suffix in DICOM_SUFFIXES:
        return "dicom"
    known = {".npy": "npy", ".npz": "npz", MATLAB_SUFFIX: "matlab"} | dict.fromkeys(IMAGE_SUFFIXES, "picture")
    return known.get(suffix)


def _known() -> str:
    return f"{', '.join(sorted(SCAN_SUFFIXES))}, or DICOM without suffix"
