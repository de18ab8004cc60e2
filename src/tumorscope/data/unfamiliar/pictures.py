"""Pictures that lie among the files of installed packages, and series made of them by cutting, mirroring and brightening."""

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np

from tumorscope.data.decode import decode_file
from tumorscope.data.preprocess import Preprocessing
from tumorscope.data.unfamiliar.drawn import as_grey, stretched
from tumorscope.errors import DataError

_PHOTOGRAPHS = (
    ("sklearn", "datasets/images/china.jpg"),
    ("sklearn", "datasets/images/flower.jpg"),
    ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
)
_TERRAINS = (
    ("matplotlib", "mpl-data/sample_data/jacksboro_fault_dem.npz", "elevation"),
    ("matplotlib", "mpl-data/sample_data/topobathy.npz", "topo"),
)
_CT = ("CT_small.dcm", "J2K_pixelrep_mismatch.dcm", "693_J2KI.dcm")
_OTHER_BODY = ("examples_overlay.dcm", "MR_small.dcm")
_ULTRASOUND = ("examples_palette.dcm", "examples_rgb_color.dcm")
_PLAIN_HEAD = ("matplotlib", "mpl-data/sample_data/s1045.ima.gz")


def photograph(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return a piece of a photograph: a temple, a flower, a portrait."""
    return _piece(_pick(_photographs(), rng), rng, size=size, smallest=0.35)


def terrain(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return a piece of an elevation map: a natural texture without a subject."""
    return _piece(_pick(_terrains(), rng), rng, size=size, smallest=0.2)


def digit(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return a handwritten digit, enlarged."""
    return _piece(_pick(_digits(), rng), rng, size=size, smallest=0.9)


def ct(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return a piece of a CT slice, of a spine or of a head."""
    return _piece(_pick(_dicom_pictures(_CT), rng), rng, size=size, smallest=0.7)


def other_body_part(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return a piece of an MRI of an abdomen or a joint."""
    return _piece(_pick(_dicom_pictures(_OTHER_BODY), rng), rng, size=size, smallest=0.7)


def ultrasound(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return a piece of an ultrasound picture."""
    return _piece(_pick(_dicom_pictures(_ULTRASOUND), rng), rng, size=size, smallest=0.6)


def plain_head(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return an MRI of a head without contrast agent, a little cut, mirrored or not, brightened or not."""
    return _piece(_plain_head(), rng, size=size, smallest=0.9)


def _piece(picture: np.ndarray, rng: np.random.Generator, *, size: int, smallest: float) -> np.ndarray:
    """Cut a square or nearly so from a picture, mirror and brighten it at random, and bring it to a size."""
    rows, columns = (max(8, round(rng.uniform(smallest, 1) * length)) for length in picture.shape)
    top, left = (int(rng.integers(0, length - part + 1)) for length, part in zip(picture.shape, (rows, columns), strict=False))
    piece = picture[top : top + rows, left : left + columns]
    if rng.random() < 0.5:
        piece = piece[:, ::-1]
    shrinks = min(piece.shape) > size
    sized = cv2.resize(np.ascontiguousarray(piece), (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    return as_grey(255 * (sized.clip(0, 255) / 255) ** rng.uniform(0.7, 1.4))


def _pick(pictures: tuple[np.ndarray, ...], rng: np.random.Generator) -> np.ndarray:
    return pictures[int(rng.integers(len(pictures)))]


def _file(package: str, name: str) -> Path:
    """Return where a file of an installed package lies, without importing the package."""
    found = find_spec(package)
    if found is None or found.origin is None:
        raise DataError(f"{package} is not installed, and {name} lies in it. Install it with pip install {package}.")
    path = Path(found.origin).parent / name
    if not path.is_file():
        raise DataError(f"{package} is installed without {name}. Install its wheel from the package index.")
    return path


@lru_cache(maxsize=1)
def _photographs() -> tuple[np.ndarray, ...]:
    return tuple(decode_file(_file(*place)).pixels for place in _PHOTOGRAPHS)


@lru_cache(maxsize=1)
def _terrains() -> tuple[np.ndarray, ...]:
    pictures = []
    for package, name, key in _TERRAINS:
        with np.load(_file(package, name)) as arrays:
            pictures.append(stretched(np.asarray(arrays[key], dtype=np.float64)))
    return tuple(pictures)


@lru_cache(maxsize=1)
def _digits() -> tuple[np.ndarray, ...]:
    from sklearn.datasets import load_digits

    return tuple(np.pad(as_grey(digit * (255 / 16)), 2) for digit in load_digits().images[:400])


@lru_cache(maxsize=4)
def _dicom_pictures(names: tuple[str, ...]) -> tuple[np.ndarray, ...]:
    return tuple(_dicom_picture(_file("pydicom", f"data/test_files/{name}")) for name in names)


def _dicom_picture(path: Path) -> np.ndarray:
    """Return a picture of pydicom's own files in the window of its grey levels, colour as the mean of its channels."""
    from pydicom import dcmread

    pixels = dcmread(path).pixel_array.astype(np.float32)
    return Preprocessing().eight_bit(pixels.mean(axis=2) if pixels.ndim == 3 else pixels)


@lru_cache(maxsize=1)
def _plain_head() -> np.ndarray:
    import gzip

    stored = np.frombuffer(gzip.decompress(_file(*_PLAIN_HEAD).read_bytes()), dtype="<u2").reshape(256, 256)
    return stretched(stored.astype(np.float64))
