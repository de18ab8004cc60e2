"""MATLAB files in the layout of Cheng's set: what `cjdata` and `cvind` hold, in any version of the format.

The libraries that read them work in a process of their own, since damaged bytes can end the whole program inside them. Cheng's own
files are of version 7.3.
"""

import io
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tumorscope.data.apart import matlab_apart
from tumorscope.errors import DecodeError

MATLAB_SUFFIX = ".mat"

_NEEDED = "Needed: a MATLAB file of any version with the struct cjdata and its fields label, PID, image, tumorBorder and tumorMask"


@dataclass(frozen=True, slots=True, eq=False)
class MatlabSlice:
    """One file of Cheng's set. Only the image is sure to be there and whole; the rest is as the file has it.

    Attributes:
        image: Intensities, any type of number, shape (rows, columns), turned as MATLAB shows them.
        label: The field `label`, 1 meningioma, 2 glioma, 3 pituitary tumour; None when it is missing or no whole number.
        patient: The field `PID`, empty when it is missing.
        mask: Tumour, bool, of whatever shape the file has it, or None.
        outline: The field `tumorBorder` as a manifest spells it, `x,y x,y ...`; empty when it is missing or not pairs of numbers.
    """

    image: np.ndarray
    label: int | None
    patient: str
    mask: np.ndarray | None
    outline: str

    def __post_init__(self) -> None:
        if self.image.ndim != 2 or 0 in self.image.shape or self.image.dtype.kind not in "buif":
            raise ValueError(f"image is {self.image.dtype} of shape {self.image.shape}; needed are numbers in rows and columns")


def read_slice(path: Path, *, max_pixels: int) -> MatlabSlice:
    """Read one file of Cheng's set.

    Args:
        path: A MATLAB file.
        max_pixels: Largest array that is read.

    Raises:
        DecodeError: The file cannot be read, or holds no `cjdata` with an image.
    """
    fields = _read_variable(path, "cjdata", max_pixels)
    if not isinstance(fields, dict):
        raise DecodeError(f"{path}: cjdata is no struct with fields. {_NEEDED}.")
    if "image" not in fields:
        raise DecodeError(f"{path}: cjdata holds {', '.join(sorted(map(str, fields))) or 'nothing'} but no image. {_NEEDED}.")
    try:
        return MatlabSlice(
            image=np.asarray(fields["image"]),
            label=_whole(fields.get("label")),
            patient=_text(fields.get("PID")),
            mask=_mask(fields.get("tumorMask")),
            outline=_outline(fields.get("tumorBorder")),
        )
    except ValueError as error:
        raise DecodeError(f"{path}: the {error}.") from error


def read_folds(path: Path, *, max_pixels: int) -> np.ndarray:
    """Return the numbers in the variable `cvind`: the fold of every image of Cheng's set, counted from 1, shape (n,).

    Raises:
        DecodeError: The file cannot be read, or holds no such numbers.
    """
    folds = np.atleast_1d(np.asarray(_read_variable(path, "cvind", max_pixels)))
    if folds.dtype.kind not in "uif" or folds.ndim != 1 or not (folds == np.rint(folds)).all() or (folds < 1).any():
        raise DecodeError(f"{path}: cvind is not a list of whole numbers from 1 on.")
    return folds.astype(np.int64)


def _read_variable(path: Path, name: str, max_pixels: int) -> np.ndarray | dict[str, np.ndarray]:
    """Return one variable of a file, or the fields of one that is a struct; what is no numbers and no text is an empty list."""
    _refuse_closed(path)
    answer = matlab_apart(path, name, max_pixels=max_pixels)
    if answer.content is None:
        needed = f" {_NEEDED}." if name == "cjdata" and answer.fault == "no_picture" else ""
        what = f"no MATLAB file, or broken or truncated ({answer.reason})" if answer.fault == "truncated" else answer.reason
        raise DecodeError(f"{path}: {what}.{needed}", fault=answer.fault)
    with np.load(io.BytesIO(answer.content), allow_pickle=False) as content:
        if "value" in content:
            return np.asarray(content["value"])
        return {key.removeprefix("struct."): content[key] for key in content.files}


def _refuse_closed(path: Path) -> None:
    try:
        with path.open("rb"):
            return
    except FileNotFoundError:
        raise DecodeError(f"{path}: no such file.", fault="missing") from None
    except IsADirectoryError:
        raise DecodeError(f"{path}: not a file. The path of a MATLAB file is needed.") from None
    except OSError as error:
        raise DecodeError(f"{path}: cannot be read ({error.strerror}).") from None


def _whole(value: object) -> int | None:
    number = np.asarray(value)
    if number.size != 1 or number.dtype.kind not in "uif":
        return None
    return int(number.item()) if float(number.item()).is_integer() else None


def _text(value: object) -> str:
    """Return text, a number, or codes of characters as text."""
    whole = _whole(value)
    if whole is not None:
        return str(whole)
    array = np.asarray(value)
    if array.dtype == np.uint16:
        return _text("".join(chr(code) for code in array.ravel().tolist()))
    if array.dtype.kind != "U":
        return ""
    text = re.sub(r"[\s\0]+", " ", "".join(array.ravel().tolist())).strip()
    return text.encode(errors="replace").decode()


def _mask(value: object) -> np.ndarray | None:
    mask = np.asarray(value)
    return mask != 0 if mask.size and mask.dtype.kind in "buif" else None


def _outline(value: object) -> str:
    """Return the points x1, y1, x2, y2, ... of a border, x being the column; MATLAB counts both from 1."""
    border = np.asarray(value)
    if border.dtype.kind not in "uif" or border.size < 6 or border.size % 2 or not np.isfinite(border).all():
        return ""
    points = border.ravel().astype(np.float64).reshape(-1, 2) - 1
    return " ".join(f"{x:.3f},{y:.3f}" for x, y in points.tolist())
