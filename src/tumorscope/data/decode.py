"""Bytes to Scan, and masks to arrays: the only file that knows image formats, but for MATLAB's, which `matlab` reads."""

import math
import struct
import threading
import warnings
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import IO, TypeVar

import numpy as np
from numpy.lib import format as npy_format
from PIL import Image, UnidentifiedImageError

from tumorscope.data.matlab import MATLAB_SUFFIX, read_slice
from tumorscope.errors import DecodeError
from tumorscope.manifest import Manifest, Record, is_outline, split_item
from tumorscope.scan import Scan

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif"})
MAX_PIXELS = 64_000_000
BROKEN_ARCHIVE = (OSError, KeyError, ValueError, EOFError, RuntimeError, struct.error, zipfile.BadZipFile, zlib.error)
"""What reading an NPZ archive raises that is damaged, encrypted or none."""

# Named, since Pillow also opens formats that run other programs (EPS).
_FORMATS = ("JPEG", "PNG", "BMP", "DIB", "TIFF", "WEBP", "GIF")
# What Pillow raises on bytes that are no picture, or half of one; a warning is an error where a program makes it one.
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, ArithmeticError, struct.error, zlib.error, Warning)
_TOO_LARGE = (Image.DecompressionBombError, Image.DecompressionBombWarning)
_CHUNK_BYTES = 16 * 2**20
_ARCHIVE_LOCK = threading.Lock()

_T = TypeVar("_T")
_Convert = Callable[[np.ndarray], np.ndarray | None]


@contextmanager
def picture_warnings_off() -> Iterator[None]:
    """Keep the libraries of formats from printing while many files are read: what they warn of is refused here, or harmless.

    Not for use inside a thread: filters of warnings are the whole program's.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")
        warnings.filterwarnings("ignore", module="pymatreader")
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield


def decode_file(path: Path) -> Scan:
    """Decode one picture file into a grey Scan.

    Colour is turned to grey by the ITU-R 601 luma; equal channels stay exactly as they are. 16-bit files keep 16 bits. An
    orientation tag is ignored: a scan is data, not a photograph.

    Raises:
        DecodeError: The file is missing, no picture, truncated, has several frames, or more than `MAX_PIXELS`.
    """
    return Scan(pixels=read_picture(path, _grey), origin=str(path))


def decode_record(manifest: Manifest, record: Record) -> Scan:
    """Decode the image of a record: a picture file, a MATLAB file in Cheng's layout, or one item of an NPZ archive.

    Raises:
        DecodeError: As `decode_file`, or the archive or its item is missing or of an unknown shape.
    """
    path, item = manifest.locate(record.path), split_item(record.path)[1]
    if path.suffix.lower() == MATLAB_SUFFIX:
        image = read_slice(path, max_pixels=MAX_PIXELS).image
        return Scan(pixels=_as_stored(image, where=str(path)), origin=str(path))
    return decode_npz_item(path, item) if item else decode_file(path)


def read_mask(manifest: Manifest, record: Record, shape: tuple[int, int]) -> np.ndarray | None:
    """Return the tumour mask of a record on its scan's grid, or None when the record has none.

    Args:
        manifest: Tells where the record's files lie.
        record: Its `mask` is the path of a picture, in which anything but 0 is tumour, of a MATLAB file, or outlines.
        shape: Rows and columns of the scan.

    Returns:
        bool, shape `shape`.

    Raises:
        DecodeError: The mask cannot be read, or its size is not the scan's.
    """
    if not record.mask:
        return None
    if is_outline(record.mask):
        return draw_outlines(record.mask, shape, where=record.path)
    path, item = manifest.locate(record.mask), split_item(record.mask)[1]
    if path.suffix.lower() == MATLAB_SUFFIX:
        mask = _matlab_mask(path, shape)
    else:
        mask = decode_npz_item(path, item).pixels > 0 if item else read_picture(path, _coloured)
    if mask.shape != shape:
        raise DecodeError(
            f"{path}: the mask has {mask.shape} rows and columns, its scan {record.path} has {shape}. Both must agree."
        )
    return mask


def _matlab_mask(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """Return the mask that a MATLAB file holds, else what its border encloses."""
    content = read_slice(path, max_pixels=MAX_PIXELS)
    if content.mask is not None:
        return content.mask
    if not content.outline:
        raise DecodeError(f"{path}: neither tumorMask nor tumorBorder, so no mask can be read from it. Leave the mask empty.")
    return draw_outlines(content.outline, shape, where=str(path))


def draw_outlines(outlines: str, shape: tuple[int, int], *, where: str) -> np.ndarray:
    """Return the area inside outlines written as `x,y x,y ... | x,y ...`, x being the column.

    Args:
        outlines: Points in pixels, pixel centres at whole numbers; at least three for each outline.
        shape: Rows and columns of the result.
        where: What to name in an error.

    Returns:
        bool, shape `shape`: pixels whose centre is inside. A drawing library would add the pixels that the border touches.

    Raises:
        DecodeError: An outline is not a list of at least three points.
    """
    inside = np.zeros(shape, dtype=bool)
    for points in parse_outlines(outlines, where=where):
        inside |= _fill(np.array(points), shape)
    return inside


def _fill(points: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return the pixels with an odd number of crossings of the polygon (x, y) to the left of their centre."""
    x, y = points.T
    next_x, next_y = np.roll(points, -1, axis=0).T
    rows, edges = np.nonzero((y <= np.arange(shape[0])[:, None]) != (next_y <= np.arange(shape[0])[:, None]))
    crossings = x[edges] + (rows - y[edges]) * (next_x - x)[edges] / (next_y - y)[edges]
    turns = np.zeros((shape[0], shape[1] + 1), dtype=np.int64)
    np.add.at(turns, (rows, np.ceil(crossings).clip(0, shape[1]).astype(np.int64)), 1)
    inside: np.ndarray = turns.cumsum(axis=1)[:, :-1] % 2 == 1
    return inside


def parse_outlines(outlines: str, *, where: str) -> list[list[tuple[float, float]]]:
    """Return the points of outlines written as `x,y x,y ... | x,y ...`; raises as `draw_outlines`."""
    parsed = []
    for outline in outlines.split("|"):
        try:
            points = [(float(x), float(y)) for x, y in (point.split(",") for point in outline.split())]
        except ValueError:
            raise DecodeError(f"{where}: the outline {outline.strip()[:40]!r} is not a list of `x,y` points.") from None
        if len(points) < 3:
            raise DecodeError(f"{where}: an outline with {len(points)} point(s); at least 3 are needed.")
        parsed.append(points)
    return parsed


def decode_npz_item(path: Path, item: str) -> Scan:
    """Return one image of an NPZ archive; `item` is `KEY:ROW`.

    Raises:
        DecodeError: The archive, key or row is missing, or its pixels are no picture.
    """
    key, _, row = item.rpartition(":")
    images = npz_array(path, key)
    if not row.isdecimal() or int(row) >= len(images):
        raise DecodeError(f"{path}: no item {item}; the array {key!r} holds {len(images)} images.")
    return Scan(pixels=images[int(row)], origin=f"{path}#{item}")


def npz_array(path: Path, key: str) -> np.ndarray:
    """Return the images of an NPZ archive, grey, in a type that a Scan may have; kept for the next item of the same archive.

    Read piece by piece: colours and wide floats are never held as a whole.

    Returns:
        Shape (n, rows, columns).

    Raises:
        DecodeError: The archive cannot be read, or holds no such array of pictures.
    """
    try:
        stat = path.stat()
    except OSError as error:
        raise DecodeError(f"{path}: cannot be read ({error.strerror}).") from error
    with _ARCHIVE_LOCK:
        return _npz_array(path, key, (stat.st_mtime_ns, stat.st_size))


@lru_cache(maxsize=4)
def _npz_array(path: Path, key: str, _version: tuple[int, int]) -> np.ndarray:
    where = f"{path}, array {key!r}"
    try:
        with zipfile.ZipFile(path) as archive:
            member = f"{key}.npy" if f"{key}.npy" in archive.namelist() else key
            shape, _, dtype = _opened(archive, member)
            grey_shape = _grey_shape(shape, where=where)
            if dtype.kind not in "buif" or math.prod(shape) * dtype.itemsize > archive.getinfo(member).file_size:
                raise DecodeError(f"{where}: {dtype} of shape {shape}, which is no array of numbers or is truncated.")
            for convert in _conversions(dtype):
                with closing(npy_chunks(archive, member)) as chunks:
                    images = _converted(chunks, convert, grey_shape, where=where)
                if images is not None:
                    return images
    except BROKEN_ARCHIVE as error:
        raise DecodeError(f"{where}: cannot be read ({error}).") from error
    raise DecodeError(f"{where}: values beyond the range of 32-bit floats.")


def read_npy_header(content: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Return shape, whether columns come first, and type of an array that is read from its start."""
    version = npy_format.read_magic(content)
    read = npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
    shape, columns_first, dtype = read(content)
    return shape, columns_first, dtype


def _opened(archive: zipfile.ZipFile, member: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    with archive.open(member) as content:
        return read_npy_header(content)


def npy_chunks(archive: zipfile.ZipFile, member: str) -> Generator[np.ndarray, None, None]:
    """Yield an array in pieces along its first axis."""
    with archive.open(member) as content:
        shape, columns_first, dtype = read_npy_header(content)
        item_bytes = math.prod(shape[1:]) * dtype.itemsize
        step = max(1, _CHUNK_BYTES // item_bytes)
        if columns_first:
            whole = np.frombuffer(content.read(), dtype=dtype).reshape(shape, order="F")
            yield from (whole[first : first + step] for first in range(0, shape[0], step))
            return
        for first in range(0, shape[0], step):
            count = min(step, shape[0] - first)
            piece = content.read(count * item_bytes)
            if len(piece) < count * item_bytes:
                raise EOFError(f"it ends after {first} of {shape[0]} images")
            yield np.frombuffer(piece, dtype=dtype).reshape(count, *shape[1:])


def _converted(chunks: Iterator[np.ndarray], convert: _Convert, shape: tuple[int, ...], *, where: str) -> np.ndarray | None:
    """Return all pieces as one grey array, or None when a piece holds values that the conversion would change."""
    images: np.ndarray | None = None
    done = 0
    for chunk in chunks:
        _refuse_not_finite(chunk, where=where)
        stored = convert(chunk)
        if stored is None:
            return None
        grey = _grey_chunk(stored)
        images = np.empty(shape, dtype=grey.dtype) if images is None else images
        images[done : done + len(grey)] = grey
        done += len(grey)
    return images


def _grey_shape(shape: tuple[int, ...], *, where: str) -> tuple[int, int, int]:
    """Return (n, rows, columns) of an array of images with or without channels, first or last."""
    if len(shape) == 3 and 0 not in shape:
        return shape
    if len(shape) == 4 and 0 not in shape and shape[3] in (1, 3):
        return shape[:3]
    if len(shape) == 4 and 0 not in shape and shape[1] in (1, 3):
        return (shape[0], *shape[2:])
    raise DecodeError(f"{where}: shape {shape}; (n, rows, columns) or (n, rows, columns, 3) is needed.")


def _grey_chunk(images: np.ndarray) -> np.ndarray:
    """Return images (n, rows, columns), by the same luma as a colour picture file, for 8 bits to the last bit."""
    if images.ndim == 3:
        return images
    channels = images if images.shape[3] in (1, 3) else np.moveaxis(images, 1, -1)
    if channels.shape[3] == 1:
        return channels[..., 0]
    red, green, blue = (channels[..., channel] for channel in range(3))
    if images.dtype == np.uint8:
        wide: np.ndarray = red.astype(np.uint32) * 19595 + green.astype(np.uint32) * 38470 + blue.astype(np.uint32) * 7471
        return ((wide + 0x8000) // 0x10000).astype(np.uint8)
    grey: np.ndarray = 0.299 * red.astype(np.float64) + 0.587 * green + 0.114 * blue
    return (np.rint(grey) if images.dtype.kind == "u" else grey).astype(images.dtype)


def _conversions(dtype: np.dtype) -> tuple[_Convert, ...]:
    """Return ways to a type that a Scan may have, the narrowest first; each returns None where it would lose something.

    8 and 16 bits stay. Floats from 0 to 1 in steps of 1/255, and whole numbers up to 255, become the 8-bit values they were.
    """
    if dtype == np.bool_:
        return (lambda image: image.astype(np.uint8) * 255,)
    if dtype.kind == "u" and dtype.itemsize <= 2:
        return (lambda image: image.astype(f"u{dtype.itemsize}", copy=False),)
    if dtype.kind == "i" and dtype.itemsize == 2:
        return (lambda image: image.astype(np.int16, copy=False),)
    if dtype.kind == "f":
        return _from_unit, _from_bytes, _to_float32
    return _from_bytes, _from_words, _to_float32


def _from_unit(image: np.ndarray) -> np.ndarray | None:
    if image.min() < 0 or image.max() > 1:
        return None
    scaled = image.astype(np.promote_types(image.dtype, np.float32)) * 255
    whole = np.rint(scaled)
    allowed = max(1e-3, 255 * float(np.finfo(image.dtype).eps))
    return whole.astype(np.uint8) if np.abs(scaled - whole).max() <= allowed else None


def _from_bytes(image: np.ndarray) -> np.ndarray | None:
    if image.min() < 0 or image.max() > 255:
        return None
    narrow = image.astype(np.uint8)
    return narrow if np.array_equal(narrow, image) else None


def _from_words(image: np.ndarray) -> np.ndarray | None:
    return image.astype(np.uint16) if image.min() >= 0 and image.max() <= 65535 else None


def _to_float32(image: np.ndarray) -> np.ndarray | None:
    limit = np.finfo(np.float32).max
    return image.astype(np.float32) if image.min() >= -limit and image.max() <= limit else None


def _refuse_not_finite(image: np.ndarray, *, where: str) -> None:
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        raise DecodeError(f"{where}: pixels hold NaN or infinity. Replace them before use.")


def _as_stored(image: np.ndarray, *, where: str) -> np.ndarray:
    _refuse_not_finite(image, where=where)
    for convert in _conversions(image.dtype):
        stored = convert(image)
        if stored is not None:
            return stored
    raise DecodeError(f"{where}: values beyond the range of 32-bit floats.")


def read_picture(path: Path, read: Callable[[Image.Image], _T]) -> _T:
    """Return what `read` makes of an opened picture file, whose pixels are not decoded yet; raises as `decode_file`."""
    try:
        if path.exists() and not path.is_file():
            raise DecodeError(f"{path}: not a file. The path of a picture is needed.")
        with Image.open(path, formats=_FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise DecodeError(
                    f"{path}: {image.width} x {image.height} pixels, more than the {MAX_PIXELS:,} allowed.", fault="too_large"
                )
            if getattr(image, "n_frames", 1) > 1:
                raise DecodeError(
                    f"{path}: holds {getattr(image, 'n_frames', 1)} frames; one slice per file is needed.", fault="multi_frame"
                )
            return read(image)
    except FileNotFoundError:
        raise DecodeError(f"{path}: no such file.", fault="missing") from None
    except PermissionError:
        raise DecodeError(f"{path}: no permission to read it.") from None
    except UnidentifiedImageError:
        what, fault = ("not a picture that can be read", "not_a_picture") if path.stat().st_size else ("an empty file", "empty")
        raise DecodeError(f"{path}: {what}. Needed: {', '.join(sorted(IMAGE_SUFFIXES))}.", fault=fault) from None
    except _TOO_LARGE:
        raise DecodeError(f"{path}: more than the {MAX_PIXELS:,} pixels allowed.", fault="too_large") from None
    except _BROKEN as error:
        raise DecodeError(f"{path}: broken or truncated picture ({error}).", fault="truncated") from error


def decode_in_colour(path: Path) -> np.ndarray:
    """Return a picture file in colour, to be shown and not measured: uint8, shape (rows, columns, 3); raises as `decode_file`."""
    return read_picture(path, lambda image: np.asarray(image.convert("RGBA" if image.mode == "P" else "RGB").convert("RGB")))


def _coloured(image: Image.Image) -> np.ndarray:
    """Whether a pixel is anything but black: a faint red is black as a grey value, but it marks a tumour."""
    pixels = (
        np.asarray(image)
        if image.mode in ("1", "L", "I", "F") or image.mode.startswith("I;16")
        else np.asarray(image.convert("RGB"))
    )
    coloured: np.ndarray = (pixels.reshape(*pixels.shape[:2], -1) != 0).any(axis=2)
    return coloured


def _grey(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I;16"):
        return np.asarray(image).astype(np.uint16)
    if image.mode in ("I", "F"):
        return _as_stored(np.asarray(image), where=str(getattr(image, "filename", "picture")))
    if image.mode == "1":
        return np.asarray(image).astype(np.uint8) * 255
    if image.mode == "L":
        return np.asarray(image, dtype=np.uint8)
    # By way of RGB: from CMYK there is no straight way, and palettes with transparency warn without the A.
    colour = image if image.mode == "RGB" else image.convert("RGBA" if image.mode == "P" else "RGB")
    return np.asarray(colour.convert("L"))
