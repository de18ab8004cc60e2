"""Arrays of numbers as grey values of a type that a Scan may have, and whatever is lost on the way refused."""

from collections.abc import Callable

import numpy as np

from tumorscope.errors import DecodeError

Convert = Callable[[np.ndarray], np.ndarray | None]

COLOURED = 20 / 255
"""Of the largest value, by how much the channels of a clear colour differ. Below lies what compression makes of grey."""


def as_stored(image: np.ndarray, *, where: str) -> np.ndarray:
    """Return numbers of any type in the narrowest type that keeps them; same shape.

    Raises:
        DecodeError: A value is not finite or beyond 32-bit floats; `where` is named.
    """
    refuse_not_finite(image, where=where)
    for convert in conversions(image.dtype):
        stored = convert(image)
        if stored is not None:
            return stored
    raise DecodeError(f"{where}: values beyond the range of 32-bit floats.")


def grey_shape(shape: tuple[int, ...], *, where: str) -> tuple[int, int, int]:
    """Return (n, rows, columns) of an array of images with or without channels, first or last."""
    if len(shape) == 3 and min(shape) > 0:
        return shape
    if len(shape) == 4 and min(shape) > 0 and shape[3] in (1, 3):
        return shape[:3]
    if len(shape) == 4 and min(shape) > 0 and shape[1] in (1, 3):
        return (shape[0], *shape[2:])
    raise DecodeError(f"{where}: shape {shape}; (n, rows, columns) or (n, rows, columns, 3) is needed.")


def grey_images(images: np.ndarray) -> np.ndarray:
    """Return images (n, rows, columns), by the same luma as a colour picture file, for 8 bits to the last bit."""
    if images.ndim == 3:
        return images
    channels = _channels_last(images)
    if channels.shape[3] == 1:
        return channels[..., 0]
    red, green, blue = (channels[..., channel] for channel in range(3))
    if images.dtype == np.uint8:
        wide: np.ndarray = red.astype(np.uint32) * 19595 + green.astype(np.uint32) * 38470 + blue.astype(np.uint32) * 7471
        return ((wide + 0x8000) // 0x10000).astype(np.uint8)
    grey: np.ndarray = 0.299 * red.astype(np.float64) + 0.587 * green + 0.114 * blue
    return (np.rint(grey) if images.dtype.kind == "u" else grey).astype(images.dtype)


def colour_shares(images: np.ndarray) -> np.ndarray:
    """Return the share of the area of images (n, rows, columns), or the same with channels, that is in a clear colour.

    Returns:
        0 to 1, float64, shape (n,). Floats above 1 count as up to 255, or up to their highest value.
    """
    channels = None if images.ndim == 3 else _channels_last(images)
    if channels is None or channels.shape[3] == 1:
        return np.zeros(len(images))
    if images.dtype.kind == "u":
        full = float(np.iinfo(images.dtype).max)
    else:
        channels = channels.astype(np.float32)
        full = 1.0 if channels.max() <= 1 else max(255.0, float(channels.max()))
    red, green, blue = (channels[..., channel] for channel in range(3))
    low, high = np.minimum(np.minimum(red, green), blue), np.maximum(np.maximum(red, green), blue)
    shares: np.ndarray = (high - low > COLOURED * full).mean(axis=(1, 2))
    return shares


def _channels_last(images: np.ndarray) -> np.ndarray:
    return images if images.shape[3] in (1, 3) else np.moveaxis(images, 1, -1)


def conversions(dtype: np.dtype) -> tuple[Convert, ...]:
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


def to_float32(values: np.ndarray, *, where: str) -> np.ndarray:
    """Return finite values as float32; raises DecodeError beyond the range of its numbers."""
    narrow = _to_float32(values)
    if narrow is None:
        raise DecodeError(f"{where}: values beyond the range of 32-bit floats.")
    return narrow


def refuse_not_finite(image: np.ndarray, *, where: str) -> None:
    """Raise DecodeError for NaN or infinity."""
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        raise DecodeError(f"{where}: pixels hold NaN or infinity. Replace them before use.")


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
