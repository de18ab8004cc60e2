"""MATLAB files as Cheng's set has them, written anew."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

Written = Callable[..., Path]


def put(group: h5py.Group, name: str, array: np.ndarray, matlab_class: str) -> None:
    """Write one variable as MATLAB 7.3 does: turned, large ones in compressed pieces, its class as an attribute."""
    pieces = {"chunks": True, "compression": "gzip", "compression_opts": 3} if array.size > 1000 else {}
    empty = array.size == 0
    data = np.array(array.shape, dtype=np.uint64) if empty else array.T
    dataset = group.create_dataset(name, data=data, **pieces)
    dataset.attrs["MATLAB_class"] = np.bytes_(matlab_class)
    if matlab_class in ("char", "logical"):
        dataset.attrs["MATLAB_int_decode"] = np.int32(2 if matlab_class == "char" else 1)
    if empty:
        dataset.attrs["MATLAB_empty"] = np.uint8(1)


def characters(text: str) -> np.ndarray:
    return np.array([[ord(character) for character in text]], dtype=np.uint16).reshape(1, -1)


def write_variables(path: Path, write: Callable[[h5py.File], None]) -> Path:
    """Write an HDF5 file behind the 512 bytes with which MATLAB 7.3 files begin."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w", userblock_size=512) as file:
        write(file)
    header = b"MATLAB 7.3 MAT-file, Platform: PCWIN64, Created on: Mon Jan 01 00:00:00 2018 HDF5 schema 1.00 ."
    with path.open("r+b") as file:
        file.write(header.ljust(116) + bytes(8) + (0x0200).to_bytes(2, "little") + b"IM")
    return path


MATLAB_CLASSES = {"label": "double", "PID": "char", "image": "int16", "tumorBorder": "double", "tumorMask": "logical"}


def ellipse(shape: tuple[int, int]) -> np.ndarray:
    """A mask that is none of its own flips or turns."""
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    mask: np.ndarray = ((rows - shape[0] * 0.3) / (shape[0] * 0.2)) ** 2 + ((columns - shape[1] * 0.6) / (shape[1] * 0.1)) ** 2 <= 1
    return mask


@pytest.fixture
def write_slice() -> Written:
    """Write one file of Cheng's layout; a field given as None is left out, others replace the usual content."""

    def write(path: Path, *, seed: int = 0, shape: tuple[int, int] = (24, 20), classes: dict[str, str] | None = None, **given: Any):
        rng = np.random.default_rng(seed)
        border = np.array([[11.5, 5.5, 15.5, 5.5, 15.5, 8.5, 11.5, 8.5]]).T
        usual = {"label": np.array([[1.0]]), "PID": characters("100360"), "tumorBorder": border}
        usual |= {"image": rng.integers(0, 3000, shape).astype(np.int16), "tumorMask": ellipse(shape).astype(np.uint8)}
        given = {name: characters(value) if isinstance(value, str) else value for name, value in given.items()}

        def fill(file: h5py.File) -> None:
            group = file.create_group("cjdata")
            group.attrs["MATLAB_class"] = np.bytes_("struct")
            for name, value in (usual | given).items():
                if value is not None:
                    put(group, name, np.asarray(value), (MATLAB_CLASSES | (classes or {})).get(name, "double"))

        return write_variables(path, fill)

    return write


@pytest.fixture
def write_folds() -> Written:
    """Write `cvind.mat`, a column of fold numbers."""

    def write(path: Path, folds: list[float]):
        return write_variables(path, lambda file: put(file, "cvind", np.array([folds]).T, "double"))

    return write
