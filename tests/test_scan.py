import hashlib

import numpy as np
import pytest

from tumorscope.errors import DecodeError
from tumorscope.scan import Scan

PIXELS = np.arange(12, dtype=np.uint8).reshape(3, 4)


def test_digest_is_that_of_type_shape_and_bytes():
    expected = hashlib.sha256(b"uint8(3, 4)" + bytes(range(12))).hexdigest()
    assert Scan(pixels=PIXELS.copy(), origin="a.png").sha256 == expected


def test_digest_ignores_origin_and_spacing():
    assert Scan(PIXELS.copy(), "a.png").sha256 == Scan(PIXELS.copy(), "b.npz#x:3", spacing_mm=(1.0, 1.0)).sha256


@pytest.mark.parametrize(
    "other",
    [PIXELS.T.copy(), PIXELS.reshape(4, 3), PIXELS.astype(np.uint16), PIXELS.astype(np.float32), PIXELS[::-1]],
    ids=["transposed", "reshaped", "uint16", "float32", "upside down"],
)
def test_digest_tells_other_scans_apart(other):
    assert Scan(other, "b").sha256 != Scan(PIXELS.copy(), "a").sha256


def test_digest_is_blind_to_memory_layout_and_byte_order():
    wide = np.arange(12, dtype=np.uint16).reshape(3, 4) * 257
    digest = Scan(wide.copy(), "a").sha256
    assert Scan(wide.astype(">u2"), "b").sha256 == digest
    assert Scan(np.asfortranarray(wide), "c").sha256 == digest
    assert Scan(np.repeat(wide, 2, axis=1)[:, ::2], "d").sha256 == digest


def test_pixels_cannot_be_written():
    scan = Scan(PIXELS.copy(), "a.png")
    with pytest.raises(ValueError, match="read-only"):
        scan.pixels[0, 0] = 1


def test_shape_is_rows_then_columns():
    assert Scan(PIXELS.copy(), "a.png").shape == (3, 4)


@pytest.mark.parametrize("shape", [(4,), (0, 4), (3, 4, 3), (1, 3, 4)])
def test_other_than_two_axes_are_refused(shape):
    with pytest.raises(DecodeError, match=r"a\.png: .*two non-empty axes"):
        Scan(np.zeros(shape, dtype=np.uint8), "a.png")


@pytest.mark.parametrize("dtype", ["float64", "int64", "bool", "complex64"])
def test_other_types_are_refused_and_the_allowed_ones_named(dtype):
    with pytest.raises(DecodeError, match="uint8, uint16, int16, float32"):
        Scan(np.zeros((2, 2), dtype=dtype), "a.png")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_pixels_that_are_not_finite_are_refused(value):
    pixels = np.zeros((2, 2), dtype=np.float32)
    pixels[1, 0] = value
    with pytest.raises(DecodeError, match="NaN or infinity"):
        Scan(pixels, "a.png")


@pytest.mark.parametrize("spacing", [(0.0, 1.0), (1.0, -1.0), (np.nan, 1.0), (1.0, np.inf)])
def test_distances_that_are_none_are_refused(spacing):
    with pytest.raises(DecodeError, match=r"a\.png: spacing"):
        Scan(PIXELS.copy(), "a.png", spacing_mm=spacing)


def test_slices_are_counted_from_zero():
    assert Scan(PIXELS.copy(), "a.nii#axial:0", slice_index=0).slice_index == 0
    with pytest.raises(DecodeError, match="counted from 0"):
        Scan(PIXELS.copy(), "a.nii", slice_index=-1)
