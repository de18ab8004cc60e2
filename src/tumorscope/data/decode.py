"""Picture files to Scan, the image of a record whatever its format, and masks to arrays."""

import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TypeVar, cast, get_args

import numpy as np
from PIL import Image, ImageChops, UnidentifiedImageError

from tumorscope.data.arrays import npz_array
from tumorscope.data.dicom import DICOM_SUFFIXES, open_dicom
from tumorscope.data.grey import COLOURED, as_stored
from tumorscope.data.limits import MAX_PIXELS, MAX_VOXELS, refuse_large_slice
from tumorscope.data.matlab import MATLAB_SUFFIX, read_slice
from tumorscope.data.nifti import NIFTI_SUFFIXES, open_nifti
from tumorscope.data.slice_choice import Plane, SliceChoice
from tumorscope.errors import DecodeError
from tumorscope.manifest import Manifest, Record, is_outline, split_item
from tumorscope.scan import Scan

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif"})

# Named, since Pillow also opens formats that run other programs (EPS).
_FORMATS = ("JPEG", "PNG", "BMP", "DIB", "TIFF", "WEBP", "GIF")
_GREY_MODES = ("1", "L", "I", "F")
# What Pillow raises on bytes that are no picture, or half of one; a warning is an error where a program makes it one.
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, ArithmeticError, struct.error, zlib.error, Warning)
_TOO_LARGE = (Image.DecompressionBombError, Image.DecompressionBombWarning)

_T = TypeVar("_T")


@contextmanager
def picture_warnings_off() -> Iterator[None]:
    """Keep the libraries of formats from printing while many files are read: what they warn of is refused here, or harmless.

    Not for use inside a thread: filters of warnings are the whole program's.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")
        warnings.filterwarnings("ignore", module="pydicom")
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield


def decode_file(path: Path) -> Scan:
    """Decode one picture file into a grey Scan.

    Colour is turned to grey by the ITU-R 601 luma; equal channels stay exactly as they are. 16-bit files keep 16 bits. An
    orientation tag is ignored: a scan is data, not a photograph.

    Raises:
        DecodeError: The file is missing, no picture, truncated, has several frames, or more than `MAX_PIXELS`.
    """
    return read_picture(path, lambda image: _scan(image, str(path)))


def decode_record(manifest: Manifest, record: Record, *, salt: bytes | None = None) -> Scan:
    """Decode the image of a record: a picture, a MATLAB file in Cheng's layout, an item of an NPZ archive, a slice of a volume.

    Args:
        manifest: Tells where the record's file lies.
        record: One of its records.
        salt: Makes `Scan.group` of the PatientID of a DICOM file; without it that is empty.

    Raises:
        DecodeError: As `decode_file`, or the item is missing or of an unknown shape, or one of several slices is not named.
    """
    path, item = manifest.locate(record.path), split_item(record.path)[1]
    if path.suffix.lower() == MATLAB_SUFFIX:
        return decode_matlab(path)
    if is_dicom(path) or is_nifti(path):
        return _decode_slice(path, item, salt)
    return decode_npz_item(path, item) if item else decode_file(path)


def is_dicom(path: Path) -> bool:
    """Return whether a file is DICOM by its name."""
    return path.suffix.lower() in DICOM_SUFFIXES


def is_nifti(path: Path) -> bool:
    """Return whether a file is NIfTI by its name."""
    return path.name.lower().endswith(NIFTI_SUFFIXES)


def _decode_slice(path: Path, item: str, salt: bytes | None) -> Scan:
    """Return the only slice of a DICOM or NIfTI file, or the one that `item` names."""
    plane, _, number = item.rpartition(":")
    if plane not in ("", *get_args(Plane)):
        raise DecodeError(f"{path}#{item}: {plane} is no plane. Known: {', '.join(get_args(Plane))}.")
    choice = SliceChoice(plane=cast(Plane, plane or "acquired"), slices=number or "all")
    opened = open_dicom(path, choice=choice, salt=salt) if is_dicom(path) else open_nifti(path, choice=choice)
    scans = list(islice(opened, 2))
    if len(scans) > 1:
        raise DecodeError(
            f"{path}: holds several slices, and nothing says which of them are meant. Give a CSV that names each in its column "
            f"path, the first of them as {scans[0].origin}.",
            fault="multi_frame",
        )
    return scans[0]


def decode_matlab(path: Path) -> Scan:
    """Return the image of a MATLAB file in Cheng's layout.

    Raises:
        DecodeError: The file cannot be read, or its image is no picture.
    """
    image = read_slice(path, max_pixels=MAX_PIXELS).image
    refuse_large_slice(str(path), *image.shape[:2])
    return Scan(pixels=as_stored(image, where=str(path)), origin=str(path))


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


def mask_version(manifest: Manifest, record: Record) -> str:
    """Return what changes when a record's mask does: its cell, with size and time of change of the file that it names."""
    if not record.mask or is_outline(record.mask):
        return record.mask
    try:
        status = manifest.locate(record.mask).stat()
    except OSError:
        return record.mask
    return f"{record.mask}\t{status.st_size}\t{status.st_mtime_ns}"


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


def open_picture(path: Path, *, choice: SliceChoice) -> Iterator[Scan]:
    """Yield the one slice of a picture file, or the pages of a TIFF file; smaller copies and masks among its pages are passed over.

    Raises:
        DecodeError: As `decode_file`, but for TIFF files with several pages.
    """
    with _opened(path) as image:
        pages = _pages(image) if image.format == "TIFF" else None
        if pages is None or len(pages) == 1:
            _refuse_frames(path, 1 if pages else getattr(image, "n_frames", 1))
            yield _scan(image, str(path))
            return
        total = 0
        for index in choice.of(len(pages), where=str(path)):
            image.seek(pages[index])
            _refuse_huge(path, image)
            total += image.width * image.height
            if total > MAX_VOXELS:
                raise DecodeError(f"{path}: its pages hold more than the {MAX_VOXELS:,} pixels allowed.", fault="too_large")
            yield _scan(image, f"{path}#{index}", index)


def _pages(image: Image.Image) -> list[int]:
    """Return the pages that are pictures of their own, by the tag NewSubfileType; all of them where none is."""
    count, own = getattr(image, "n_frames", 1), []
    for page in range(count) if count > 1 else ():
        image.seek(page)
        if not int(getattr(image, "tag_v2", {}).get(254, 0)) & 0b101:
            own.append(page)
    if count > 1:
        image.seek(own[0] if own else 0)
    return own or list(range(count))


def read_picture(path: Path, read: Callable[[Image.Image], _T]) -> _T:
    """Return what `read` makes of an opened picture file, whose pixels are not decoded yet; raises as `decode_file`."""
    with _opened(path) as image:
        _refuse_frames(path, getattr(image, "n_frames", 1))
        return read(image)


def _refuse_frames(path: Path, count: int) -> None:
    if count > 1:
        raise DecodeError(f"{path}: holds {count} frames; one slice per file is needed.", fault="multi_frame")


def _refuse_huge(path: Path, image: Image.Image) -> None:
    refuse_large_slice(str(path), image.height, image.width)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open a picture file, and turn what goes wrong with it into refusals."""
    try:
        if not path.is_file() and path.exists():
            raise DecodeError(f"{path}: not a file. The path of a picture is needed.")
        with Image.open(path, formats=_FORMATS) as image:
            _refuse_huge(path, image)
            yield image
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
    pixels = np.asarray(image) if is_grey(image) else np.asarray(image.convert("RGB"))
    coloured: np.ndarray = (pixels.reshape(*pixels.shape[:2], -1) != 0).any(axis=2)
    return coloured


def _white_is_zero(image: Image.Image) -> bool:
    """Return whether a TIFF page is stored as a negative, which Pillow minds for 8 bits alone."""
    return image.format == "TIFF" and getattr(image, "tag_v2", {}).get(262) == 0


def _highest(image: Image.Image) -> int:
    """Return the highest value of a TIFF page of 12 or 16 bits."""
    bits: tuple[int, ...] = getattr(image, "tag_v2", {}).get(258, (16,))
    return 4095 if bits == (12,) else 65535


def _grey(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I;16"):
        words = np.asarray(image).astype(np.uint16)
        return np.uint16(_highest(image)) - words if _white_is_zero(image) else words
    if image.mode in ("I", "F"):
        values = np.asarray(image)
        return as_stored(-values if _white_is_zero(image) else values, where=str(getattr(image, "filename", "picture")))
    if image.mode == "1":
        return np.asarray(image).astype(np.uint8) * 255
    if image.mode == "L":
        return np.asarray(image, dtype=np.uint8)
    return np.asarray(_in_colour(image).convert("L"))


def _scan(image: Image.Image, origin: str, index: int | None = None) -> Scan:
    colour = 0.0 if is_grey(image) else picture_colour(image)
    return Scan(pixels=_grey(image), origin=origin, slice_index=index, colour_share=colour)


def is_grey(image: Image.Image) -> bool:
    """Return whether a picture is stored without colours."""
    return image.mode in _GREY_MODES or image.mode.startswith("I;16")


def picture_colour(image: Image.Image) -> float:
    """Return the share of a picture's area that is in a clear colour, 0 to 1."""
    red, green, blue = _in_colour(image).split()[:3]
    spread = ImageChops.difference(red, green)
    for pair in ((green, blue), (red, blue)):
        spread = ImageChops.lighter(spread, ImageChops.difference(*pair))
    return sum(spread.histogram()[round(COLOURED * 255) + 1 :]) / (image.width * image.height)


def _in_colour(image: Image.Image) -> Image.Image:
    """By way of RGB: from CMYK there is no straight way to grey, and palettes with transparency warn without the A."""
    return image if image.mode == "RGB" else image.convert("RGBA" if image.mode in ("P", "PA", "LA") else "RGB")
