"""NPY files and NPZ archives, read piece by piece; nothing that is pickled is ever loaded."""

import math
import re
import struct
import threading
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, closing
from functools import lru_cache
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy_format

from tumorscope.data.grey import Convert, colour_shares, conversions, grey_images, grey_shape, refuse_not_finite
from tumorscope.data.limits import refuse_large_volume
from tumorscope.data.slice_choice import SliceChoice
from tumorscope.errors import DecodeError
from tumorscope.scan import Scan

BROKEN_ARCHIVE = (
    OSError,
    KeyError,
    ValueError,
    EOFError,
    RuntimeError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
    tokenize.TokenError,
)
"""What reading an NPZ archive raises that is damaged, encrypted or none."""

_BROKEN_ARRAY = (*BROKEN_ARCHIVE, TypeError, ArithmeticError, SyntaxError, IndexError, MemoryError, Warning)
_CHUNK_BYTES = 16 * 2**20
_ARCHIVE_LOCK = threading.Lock()
# Of an image that stands alone in an archive, in pixels: smaller arrays beside it are matrices and labels.
_SMALLEST = 8
_MASKS = re.compile(r"(?:^|[_.-])masks?\.npy$", re.IGNORECASE)


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
            wanted = grey_shape(shape, where=where)
            _refuse_claims(shape, dtype, archive.getinfo(member).file_size, where=where)
            for convert in conversions(dtype):
                with closing(npy_chunks(archive, member)) as chunks:
                    images = _converted(chunks, convert, wanted, where=where)
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


def _refuse_claims(shape: tuple[int, ...], dtype: np.dtype, available: int, *, where: str) -> None:
    if dtype.kind not in "buif" or math.prod(shape) * dtype.itemsize > available:
        raise DecodeError(f"{where}: {dtype} of shape {shape}, which is no array of numbers or is truncated.", fault="truncated")


def npy_chunks(archive: zipfile.ZipFile, member: str) -> Generator[np.ndarray, None, None]:
    """Yield an array in pieces along its first axis."""
    with archive.open(member) as content:
        yield from _chunks(content)


def _chunks(content: IO[bytes], *, single: bool = False) -> Generator[np.ndarray, None, None]:
    """Yield an array in pieces along its first axis, or as one image of many."""
    shape, columns_first, dtype = read_npy_header(content)
    if columns_first:
        whole = np.frombuffer(_read(content, math.prod(shape) * dtype.itemsize), dtype=dtype).reshape(shape, order="F")
        images = whole[None] if single else whole
        step = max(1, _CHUNK_BYTES // (math.prod(images.shape[1:]) * dtype.itemsize))
        yield from (images[first : first + step] for first in range(0, len(images), step))
        return
    shape = (1, *shape) if single else shape
    item_bytes = math.prod(shape[1:]) * dtype.itemsize
    step = max(1, _CHUNK_BYTES // item_bytes)
    for first in range(0, shape[0], step):
        count = min(step, shape[0] - first)
        yield np.frombuffer(_read(content, count * item_bytes), dtype=dtype).reshape(count, *shape[1:])


def _read(content: IO[bytes], size: int) -> bytes:
    piece = content.read(size)
    if len(piece) < size:
        raise EOFError(f"it ends {size - len(piece):,} bytes too early")
    return piece


def _converted(chunks: Iterator[np.ndarray], convert: Convert, shape: tuple[int, ...], *, where: str) -> np.ndarray | None:
    """Return all pieces as one grey array, or None when a piece holds values that the conversion would change."""
    images: np.ndarray | None = None
    done = 0
    for chunk in chunks:
        refuse_not_finite(chunk, where=where)
        stored = convert(chunk)
        if stored is None:
            return None
        grey = grey_images(stored)
        images = np.empty(shape, dtype=grey.dtype) if images is None else images
        images[done : done + len(grey)] = grey
        done += len(grey)
    return images


_Opened = Callable[[], AbstractContextManager[IO[bytes]]]


def open_npy(path: Path, *, choice: SliceChoice) -> Iterator[Scan]:
    """Yield the slices of an NPY file: (rows, columns), (rows, columns, 3), (n, rows, columns) or (n, rows, columns, 3).

    Raises:
        DecodeError: The file is broken or truncated, holds no numbers, or slices beyond the limits.
    """
    try:
        yield from _slices(lambda: path.open("rb"), path.stat().st_size, where=str(path), prefix=f"{path}#", choice=choice)
    except _BROKEN_ARRAY as error:
        raise _broken(path, error) from error


def open_npz(path: Path, *, choice: SliceChoice) -> Iterator[Scan]:
    """Yield the slices of every array of pictures in an NPZ archive; masks, labels and other tables are passed over.

    Raises:
        DecodeError: As `open_npy`, or there is no such array.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            for member in _pictures(archive, path):
                key, size = member.removesuffix(".npy"), archive.getinfo(member).file_size
                where = f"{path}#{key}"

                def opened(member: str = member) -> IO[bytes]:
                    return archive.open(member)

                yield from _slices(opened, size, where=where, prefix=f"{where}:", choice=choice)
    except _BROKEN_ARRAY as error:
        raise _broken(path, error) from error


def _broken(path: Path, error: BaseException) -> DecodeError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return DecodeError(f"{path}: broken or truncated array ({reason}).", fault="truncated")


def _pictures(archive: zipfile.ZipFile, path: Path) -> list[str]:
    """Return the arrays that hold pictures: stacks of them, else single ones."""
    shapes = {}
    for member in archive.namelist():
        if member.endswith(".npy") and not _MASKS.search(member):
            shape, _, dtype = _opened(archive, member)
            if dtype.kind in "buif":
                shapes[member] = shape
    stacks = [member for member, shape in shapes.items() if len(shape) in (3, 4)]
    single = [member for member, shape in shapes.items() if len(shape) == 2 and min(shape) >= _SMALLEST]
    if not stacks and not single:
        found = ", ".join(archive.namelist()[:5]) or "nothing"
        raise DecodeError(f"{path}: no array of pictures; it holds {found}. Needed: (n, rows, columns) or (rows, columns).")
    return stacks or single


def _slices(opened: _Opened, available: int, *, where: str, prefix: str, choice: SliceChoice) -> Iterator[Scan]:
    with opened() as content:
        shape, _, dtype = read_npy_header(content)
    single = len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3))
    count, rows, columns = grey_shape((1, *shape) if single else shape, where=where)
    _refuse_claims(shape, dtype, available, where=where)
    refuse_large_volume(where, rows, columns, 1)
    wanted = choice.of(count, where=where)
    convert = _conversion(opened, dtype, single=single, where=where)
    done = 0
    with opened() as content:
        for chunk in _chunks(content, single=single):
            for index in range(max(done, wanted.start), min(done + len(chunk), wanted.stop)):
                pixels = convert(chunk[index - done : index - done + 1])
                if pixels is None:
                    raise DecodeError(f"{where}: changed while it was read. Try again.")
                yield _scan(pixels, where, prefix, None if count == 1 else index)
            done += len(chunk)
            if done >= wanted.stop:
                return


def _scan(image: np.ndarray, where: str, prefix: str, index: int | None) -> Scan:
    """Return the one image, with or without channels, that an array holds."""
    origin = where if index is None else f"{prefix}{index}"
    colour = float(colour_shares(image)[0])
    return Scan(pixels=grey_images(image)[0].copy(), origin=origin, slice_index=index, colour_share=colour)


def _conversion(opened: _Opened, dtype: np.dtype, *, single: bool, where: str) -> Convert:
    """Return the narrowest conversion that keeps every slice, so that all are of one type; reads everything once for each tried."""
    for convert in conversions(dtype):
        with opened() as content, closing(_chunks(content, single=single)) as chunks:
            if all(_kept(chunk, convert, where=where) for chunk in chunks):
                return convert
    raise DecodeError(f"{where}: values beyond the range of 32-bit floats.")


def _kept(chunk: np.ndarray, convert: Convert, *, where: str) -> bool:
    refuse_not_finite(chunk, where=where)
    return convert(chunk) is not None
