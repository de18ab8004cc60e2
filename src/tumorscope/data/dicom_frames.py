"""The frames of a DICOM dataset as arrays: which ways of storing them are read, and what they may claim.

pydicom is imported when the first frame is read.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from tumorscope.data.apart import decode_apart
from tumorscope.data.limits import refuse_large_volume
from tumorscope.errors import DecodeError

if TYPE_CHECKING:
    from pydicom import Dataset

_NATIVE = frozenset({"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"})
_EXTENDED = "1.2.840.10008.1.2.4.51"
# Lossless JPEG and JPEG-LS: damaged frames end the whole program inside GDCM, and keep CharLS busy for long.
_APART = frozenset({f"1.2.840.10008.1.2.4.{kind}" for kind in (57, 70, 80, 81)})
_PLUGINS = {
    "1.2.840.10008.1.2.5": "pydicom",
    "1.2.840.10008.1.2.4.50": "pillow",
    _EXTENDED: "pillow",
    "1.2.840.10008.1.2.4.90": "pillow",
    "1.2.840.10008.1.2.4.91": "pillow",
}
_RLE = "1.2.840.10008.1.2.5"
_RLE_HEADER_BYTES = 1024
_RLE_BYTES = 32 * 2**20
_DESCRIBING = ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PhotometricInterpretation")
_JP2_BOXES, _JP2_STREAM, _BOX_BYTES = b"\x00\x00\x00\x0cjP  ", b"jp2c", 8
_JPEG_SIZES = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}


def printable(value: object, *, length: int = 16) -> str:
    """Return what a file says in a form that a message of one line can hold."""
    text = "".join(character if character.isprintable() else " " for character in str(value))
    return " ".join(text.split())[:length]


def refuse_transfer_syntax(dataset: "Dataset", where: str) -> None:
    """Refuse a way of storing pixels that is not read here; deflated files could grow without limit."""
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if syntax is None:
        raise DecodeError(f"{where}: a DICOM file without transfer syntax, so its pixels cannot be told.", fault="transfer_syntax")
    if syntax not in _NATIVE | _APART | _PLUGINS.keys():
        raise DecodeError(
            f"{where}: stored as {printable(syntax.name, length=60)}, which is not read. "
            "Rewrite it with a DICOM toolkit as Explicit VR Little Endian.",
            fault="transfer_syntax",
        )


def count_frames(dataset: "Dataset", where: str) -> int:
    """Return the number of frames, claims within the limits.

    Raises:
        DecodeError: The claims are not positive or too large, or of samples or bits that are not read.
    """
    frames = int(dataset.get("NumberOfFrames") or 1)
    rows, columns = int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0)
    refuse_large_volume(where, rows, columns, frames)
    if int(dataset.get("SamplesPerPixel") or 1) not in (1, 3):
        raise DecodeError(f"{where}: {int(dataset.SamplesPerPixel)} samples per pixel; 1 or 3 are allowed.")
    if int(dataset.get("BitsAllocated") or 0) not in (8, 16, 32, 64):
        raise DecodeError(f"{where}: {dataset.get('BitsAllocated')} bits per pixel; 8, 16, 32 or 64 are read.", fault="bits")
    return frames


def read_frames(dataset: "Dataset", indices: Iterable[int], where: str) -> Iterator[np.ndarray]:
    """Yield frames as they are stored, colours as RGB.

    Args:
        dataset: With its pixel data, of a transfer syntax that is read.
        indices: Of the frames, from 0.
        where: What to name in an error.

    Returns:
        Shape (rows, columns) or (rows, columns, 3).

    Raises:
        DecodeError: A compressed frame claims another size than the dataset.
    """
    from pydicom.pixels.utils import pixel_array

    syntax = str(dataset.file_meta.TransferSyntaxUID)
    for index in indices:
        if syntax in _NATIVE:
            yield pixel_array(dataset, index=index)
            continue
        encoded = _encoded(dataset, index)
        if syntax == _RLE:
            _refuse_long_runs(dataset, encoded, index, where)
        else:
            _refuse_other_size(dataset, encoded, index, where)
        if syntax in _APART or (syntax == _EXTENDED and dataset.BitsStored != 8):
            yield pixel_array(_uncompressed(dataset, encoded, where))
        else:
            yield pixel_array(dataset, index=index, decoding_plugin=_PLUGINS[syntax])


def _encoded(dataset: "Dataset", index: int) -> bytes:
    from pydicom.encaps import get_frame

    offsets = (dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths) if "ExtendedOffsetTable" in dataset else None
    count = int(dataset.get("NumberOfFrames") or 1)
    return get_frame(dataset.PixelData, index, number_of_frames=count, extended_offsets=offsets)


def _refuse_other_size(dataset: "Dataset", encoded: bytes, index: int, where: str) -> None:
    claimed = codestream_size(encoded)
    expected = _shape(dataset)
    if claimed != expected:
        what = f"claims {claimed[0]} x {claimed[1]} pixels of {claimed[2]} samples" if claimed else "cannot be understood"
        raise DecodeError(
            f"{where}: the compressed frame {index} {what}; {expected[0]} x {expected[1]} of {expected[2]} are announced.",
            fault="truncated",
        )


def _refuse_long_runs(dataset: "Dataset", encoded: bytes, index: int, where: str) -> None:
    """Refuse a run-length encoded frame that no encoder makes that long: each of its bytes may become 64."""
    honest = int(np.prod(_shape(dataset))) * int(dataset.BitsAllocated) // 8
    if len(encoded) > min(2 * honest + _RLE_HEADER_BYTES, _RLE_BYTES):
        raise DecodeError(f"{where}: the compressed frame {index} has {len(encoded):,} bytes for {honest:,}.", fault="too_large")


def _shape(dataset: "Dataset") -> tuple[int, int, int]:
    return int(dataset.Rows), int(dataset.Columns), int(dataset.get("SamplesPerPixel") or 1)


def _uncompressed(dataset: "Dataset", encoded: bytes, where: str) -> "Dataset":
    """Return a dataset of one frame that is no longer compressed."""
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    plain = Dataset()
    for keyword in _DESCRIBING:
        if keyword in dataset:
            setattr(plain, keyword, dataset[keyword].value)
    rows, columns, samples = _shape(dataset)
    plain.SamplesPerPixel = samples
    if samples > 1:
        plain.PlanarConfiguration = 0
    decoded = decode_apart(
        encoded,
        syntax=str(dataset.file_meta.TransferSyntaxUID),
        shape=(rows, columns, samples),
        bits=(int(dataset.BitsAllocated), int(dataset.BitsStored)),
        signed=bool(dataset.PixelRepresentation),
        where=where,
    )
    plain.PixelData = decoded + bytes(len(decoded) % 2)
    plain["PixelData"].VR = "OW"
    plain.file_meta = FileMetaDataset()
    plain.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return plain


def codestream_size(encoded: bytes) -> tuple[int, int, int] | None:
    """Return rows, columns and samples per pixel that a JPEG, JPEG-LS or JPEG 2000 stream claims; None where it claims nothing.

    Source:
        ITU-T T.81, B.2.2; ITU-T T.800, A.5.1
    """
    start = encoded.find(b"\xff\x4f\xff\x51", 0, 4096)
    if encoded.startswith(_JP2_BOXES) and not _boxes_end(encoded):
        return None
    if start >= 0 and len(encoded) >= start + 42:
        sizes = [int.from_bytes(encoded[start + place : start + place + 4], "big") for place in (8, 12, 16, 20)]
        columns, rows = sizes[0] - sizes[2], sizes[1] - sizes[3]
        return rows, columns, int.from_bytes(encoded[start + 40 : start + 42], "big")
    if not encoded.startswith(b"\xff\xd8"):
        return None
    place = 2
    while place + 10 <= len(encoded) and encoded[place] == 0xFF:
        marker, length = encoded[place + 1], int.from_bytes(encoded[place + 2 : place + 4], "big")
        if marker in _JPEG_SIZES:
            rows, columns = (int.from_bytes(encoded[place + at : place + at + 2], "big") for at in (5, 7))
            return rows, columns, encoded[place + 9]
        place += 1 if marker == 0xFF else 2 + length
    return None


def _boxes_end(encoded: bytes) -> bool:
    """Return whether the boxes before a JPEG 2000 stream lead to it; pydicom follows one without length for ever.

    Source:
        ITU-T T.800, I.4
    """
    place = 12
    while encoded[place + 4 : place + _BOX_BYTES] != _JP2_STREAM:
        length = int.from_bytes(encoded[place : place + 4], "big")
        if length < _BOX_BYTES or place + length >= len(encoded):
            return False
        place += length
    return True
