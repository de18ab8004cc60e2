"""What a DICOM file says of itself beside its pixels: whether it is read at all, its geometry, how it is to be seen, whose it is.

pydicom is imported when the first file is read.
"""

import hashlib
import hmac
import math
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tumorscope.data.dicom_frames import printable, refuse_transfer_syntax
from tumorscope.data.limits import refuse_large_file
from tumorscope.data.windowing import LookUp, Window
from tumorscope.errors import DecodeError, UsageError

if TYPE_CHECKING:
    from pydicom import Dataset

MODALITY = "MR"
_MODALITIES = {
    "CT": "computed tomography",
    "US": "ultrasound",
    "PT": "positron emission tomography",
    "NM": "nuclear medicine",
    "CR": "computed radiography",
    "DX": "digital radiography",
    "XA": "X-ray angiography",
    "OT": "other",
    "SC": "secondary capture",
    "SR": "a report",
    "SEG": "a segmentation",
    "RTDOSE": "a radiotherapy dose",
    "RTSTRUCT": "radiotherapy structures",
    "RTPLAN": "a radiotherapy plan",
}
_DIRECTORY = "1.2.840.10008.1.3.10"
_SALT_BYTES = 16
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_BROKEN = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    AssertionError,
    RuntimeError,
    MemoryError,
    struct.error,
    zlib.error,
    Warning,
)


_QUOTED = re.compile(r"""'[^']*'|"[^"]*"|'.*$|".*$""", re.DOTALL)


@contextmanager
def dicom_refusals(path: Path) -> Iterator[None]:
    """Turn what pydicom and its decoders raise on bytes that are no DICOM file, or half of one, into DecodeError."""
    from pydicom.errors import BytesLengthException, InvalidDicomError

    try:
        yield
    except InvalidDicomError:
        raise DecodeError(f"{path}: no DICOM file; its first 132 bytes do not say so.", fault="not_a_picture") from None
    except (*_BROKEN, BytesLengthException) as error:
        # What is quoted may be the patient's.
        reason = printable(_QUOTED.sub("...", str(error)), length=200) or type(error).__name__
        raise DecodeError(f"{path}: broken or truncated DICOM file ({reason}).", fault="truncated") from error


def read_header(path: Path, *, allow_any: bool = False) -> "Dataset":
    """Return the dataset of a DICOM file without its pixels, which is enough to refuse it.

    Raises:
        DecodeError: It is no DICOM file, damaged, larger than allowed, of a transfer syntax that is not read, has no picture, is
            of another modality than MR or in colour. With `allow_any` the last two are let through.
    """
    from pydicom import dcmread

    with dicom_refusals(path):
        refuse_large_file(path, path.stat().st_size)
        dataset = dcmread(path, stop_before_pixels=True)
        if str(dataset.file_meta.get("MediaStorageSOPClassUID") or "") == _DIRECTORY:
            raise DecodeError(f"{path}: a DICOMDIR, an index of other files. Give its folder as a series.", fault="index")
        refuse_transfer_syntax(dataset, str(path))
        if not allow_any:
            _refuse_modality(dataset, path)
        if not dataset.get("Rows") or not dataset.get("Columns"):
            raise DecodeError(f"{path}: a DICOM file without a picture.", fault="no_picture")
        if not allow_any:
            _refuse_colour(dataset, path)
    return dataset


def read_dataset(path: Path) -> "Dataset":
    """Return a whole dataset; raises as `read_header`, which should have let the file through."""
    from pydicom import dcmread

    with dicom_refusals(path):
        dataset = dcmread(path)
        if not any(keyword in dataset for keyword in _PIXELS):
            raise DecodeError(f"{path}: a DICOM file without pixels, or truncated before them.", fault="truncated")
    return dataset


def _refuse_modality(dataset: "Dataset", path: Path) -> None:
    modality = printable(dataset.get("Modality") or "")
    if modality == MODALITY:
        return
    named = f"{modality} ({_MODALITIES[modality]})" if modality in _MODALITIES else modality or "missing"
    raise DecodeError(
        f"{path}: its modality is {named}, and only MR is answered. Give an MR image, or ask for any modality by name.",
        fault="modality",
    )


def _refuse_colour(dataset: "Dataset", path: Path) -> None:
    interpretation = printable(dataset.get("PhotometricInterpretation") or "")
    if int(dataset.get("SamplesPerPixel") or 1) > 1 or not interpretation.startswith("MONOCHROME"):
        raise DecodeError(
            f"{path}: in colour ({interpretation or 'unnamed'}), which no MR scanner writes; a capture of a screen perhaps. "
            "Give the grey original, or ask for any picture by name.",
            fault="colour",
        )


def salted(kind: str, identifier: object, salt: bytes | None) -> str:
    """Return a name that stands for an identifier and does not tell it: the same for the same identifier and salt.

    Args:
        kind: What the name begins with.
        identifier: Such as PatientID; spaces around it do not count.
        salt: At least 16 random bytes that are kept where the identifiers are; without it names could be found by trying.

    Returns:
        `kind-` and 32 hexadecimal digits of the HMAC-SHA-256; empty without an identifier or a salt.

    Raises:
        UsageError: The salt is too short.
    """
    if salt is not None and len(salt) < _SALT_BYTES:
        raise UsageError(f"a salt of {len(salt)} bytes; at least {_SALT_BYTES} are needed, from a random source.")
    text = str(identifier or "").strip()
    if not text or salt is None:
        return ""
    return f"{kind}-{hmac.new(salt, text.encode(errors='replace'), hashlib.sha256).hexdigest()[:32]}"


def of_frame(dataset: "Dataset", index: int, group: str) -> "Dataset":
    """Return the functional group of a frame, its own or the shared one; the dataset itself where there is none."""
    frames: Sequence[Any] = dataset.get("PerFrameFunctionalGroupsSequence") or []
    shared: Sequence[Any] = dataset.get("SharedFunctionalGroupsSequence") or []
    for functional in (*frames[index : index + 1], *shared[:1]):
        items = functional.get(group)
        if items:
            item: Dataset = items[0]
            return item
    return dataset


def spacing_of(dataset: "Dataset", index: int) -> tuple[float, float] | None:
    """Return the distances between rows and between columns of a frame in millimetres; None where they are not above 0."""
    spacing = numbers(of_frame(dataset, index, "PixelMeasuresSequence").get("PixelSpacing"))
    return (spacing[0], spacing[1]) if len(spacing) == 2 and all(0 < distance < math.inf for distance in spacing) else None


def numbers(value: object) -> list[float]:
    """Return one or several decimal numbers of an element; none where it is missing or empty."""
    if value is None or value == "":
        return []
    return (
        [float(number) for number in value] if isinstance(value, Sequence) and not isinstance(value, str) else [float(str(value))]
    )


def rescaling_of(dataset: "Dataset", index: int) -> tuple[float, float]:
    """Return slope and intercept of a frame; 1 and 0 where it has none."""
    item = of_frame(dataset, index, "PixelValueTransformationSequence")
    slope, intercept = numbers(item.get("RescaleSlope")), numbers(item.get("RescaleIntercept"))
    return (slope or [1.0])[0], (intercept or [0.0])[0]


def view_of(dataset: "Dataset", index: int) -> Window | LookUp | None:
    """Return how a frame is to be seen: its first VOI look-up table, else its first window; None where it has neither.

    Raises:
        DecodeError: With the fault `window`: it has one that means nothing.
    """
    item = of_frame(dataset, index, "FrameVOILUTSequence")
    tables = item.get("VOILUTSequence")
    if tables:
        return _look_up(tables[0], little_endian=dataset.original_encoding[1] is not False)
    centers, widths = numbers(item.get("WindowCenter")), numbers(item.get("WindowWidth"))
    if not centers or not widths:
        return None
    return Window(centers[0], widths[0], str(item.get("VOILUTFunction") or "LINEAR"))


def _look_up(item: "Dataset", *, little_endian: bool) -> LookUp:
    count, first, bits = (int(number) for number in item.LUTDescriptor)
    count, data = count or 65536, item.LUTData
    if isinstance(data, bytes):
        wide = len(data) >= 2 * count
        data = np.frombuffer(data[: count * (2 if wide else 1)], dtype=("<u2" if little_endian else ">u2") if wide else "u1")
    return LookUp(first, np.atleast_1d(np.asarray(data, dtype=np.int64))[:count], bits)
