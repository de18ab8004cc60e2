"""DICOM files as scanners write them, written anew; no patient's."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid


def item(**elements: Any) -> Dataset:
    """Return a dataset of these elements."""
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def sequence(*items: Dataset) -> Sequence:
    return Sequence(items)


def dataset_of(pixels: np.ndarray, **elements: Any) -> Dataset:
    """Return an MR image of whole numbers, shape (rows, columns), (frames, rows, columns) or with 3 samples at the end."""
    samples = 3 if pixels.ndim > 2 and pixels.shape[-1] == 3 else 1
    grid = pixels.shape[:-1] if samples == 3 else pixels.shape
    bits = pixels.dtype.itemsize * 8
    usual: Mapping[str, Any] = {
        "SOPClassUID": MRImageStorage,
        "SOPInstanceUID": generate_uid(),
        "Modality": "MR",
        "PatientID": "P-1",
        "PatientName": "Doe^Jane",
        "Rows": grid[-2],
        "Columns": grid[-1],
        "SamplesPerPixel": samples,
        "PhotometricInterpretation": "RGB" if samples == 3 else "MONOCHROME2",
        "BitsAllocated": bits,
        "BitsStored": bits,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
    }
    dataset = item(**(dict(usual) | elements))
    dataset.HighBit = dataset.BitsStored - 1
    if samples == 3:
        dataset.PlanarConfiguration = 0
    if len(grid) == 3:
        dataset.NumberOfFrames = grid[0]
    raw = np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("<")).tobytes()
    dataset.PixelData = raw + bytes(len(raw) % 2)
    dataset["PixelData"].VR = "OW"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset


def write_dicom(path: Path, pixels: np.ndarray, **elements: Any) -> Path:
    """Write such an image as a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset_of(pixels, **elements).save_as(path, enforce_file_format=True)
    return path


def shipped(name: str) -> Path:
    """Return a file that lies in pydicom's package; nothing is fetched."""
    path = Path(pydicom.__file__).parent / "data" / "test_files" / name
    assert path.is_file()
    return path
