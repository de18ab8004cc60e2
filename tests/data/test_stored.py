import io

import numpy as np
import pytest
from PIL import Image

from tumorscope.data.stored import jpeg_quality, read_stored
from tumorscope.errors import DecodeError
from tumorscope.labels import LABELS
from tumorscope.manifest import Manifest, Record
from tumorscope.scan import Scan

GREY = np.tile(np.arange(0, 240, 2, dtype=np.uint8), (100, 1))


SCAN = Scan(pixels=GREY, origin="test")


def stored(path):
    record = Record(path.name, LABELS[0])
    return read_stored(Manifest(path.parent, (record,)), record, SCAN)


def in_colours(share, *, shape=(96, 96)):
    """A grey picture whose upper part, of the given share, is red."""
    pixels = np.full((*shape, 3), 90, dtype=np.uint8)
    pixels[: round(share * shape[0])] = (200, 30, 30)
    return pixels


@pytest.mark.parametrize("quality", [1, 10, 49, 50, 75, 90, 95, 100])
def test_the_quality_of_a_jpeg_is_read_from_its_table(quality):
    stream = io.BytesIO()
    Image.fromarray(GREY).save(stream, "JPEG", quality=quality)
    assert jpeg_quality(Image.open(stream).quantization[0]) == quality


@pytest.mark.parametrize(
    ("name", "mode", "expected"),
    [("a.jpg", "L", ("JPEG", "L")), ("a.png", "RGBA", ("PNG", "RGBA")), ("a.bmp", "L", ("BMP", "L")), ("a.png", "P", ("PNG", "P"))],
)
def test_format_and_mode_are_told_as_stored_whatever_the_name(tmp_path, name, mode, expected):
    Image.fromarray(GREY).convert(mode).save(tmp_path / name)
    renamed = (tmp_path / name).rename(tmp_path / "b.jpg")
    found = stored(renamed)
    assert (found.file_format, found.mode) == expected
    assert found.file_bytes == renamed.stat().st_size
    assert (found.jpeg_quality is None) == (expected[0] != "JPEG")
    assert found.colour_share == 0


def test_sixteen_bits_are_told(tmp_path):
    Image.fromarray(GREY.astype(np.uint16) * 200).save(tmp_path / "a.png")
    assert stored(tmp_path / "a.png").mode == "I;16"


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp"])
def test_the_coloured_share_is_that_of_the_area(tmp_path, name):
    Image.fromarray(in_colours(0.25)).save(tmp_path / name)
    assert stored(tmp_path / name).colour_share == pytest.approx(0.25, abs=0.03)


def test_grey_stored_in_colour_has_no_colour_even_when_compressed_hard(tmp_path):
    noisy = np.random.default_rng(0).integers(0, 256, (96, 96), dtype=np.uint8)
    Image.fromarray(np.stack([noisy] * 3, axis=-1)).save(tmp_path / "a.jpg", quality=20)
    assert stored(tmp_path / "a.jpg").colour_share == 0


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64, np.int64])
@pytest.mark.parametrize("first", [True, False])
def test_colours_of_an_archive_are_told_image_by_image(tmp_path, dtype, first):
    images = np.stack([in_colours(0), in_colours(0.5)])
    scaled = {"u": images.astype(dtype) * (np.iinfo(dtype).max // 255 if np.dtype(dtype).kind == "u" else 1)}.get(
        np.dtype(dtype).kind, images.astype(dtype)
    )
    scaled = scaled / 255 if dtype is np.float32 else scaled
    np.savez(tmp_path / "a.npz", images=np.moveaxis(scaled, -1, 1) if first else scaled)
    records = tuple(Record(f"a.npz#images:{row}", LABELS[0]) for row in range(2))
    found = [read_stored(Manifest(tmp_path, records), record, SCAN) for record in records]
    assert [one.colour_share for one in found] == [0, 0.5]
    assert {one.mode for one in found} == {f"{scaled.dtype.name}x3"}
    assert found[0].file_format == "NPZ"
    assert found[0].file_bytes is None


@pytest.mark.parametrize("shape", [(2, 8, 8), (2, 8, 8, 1), (2, 1, 8, 8)])
def test_a_grey_archive_has_no_colours(tmp_path, shape):
    np.savez(tmp_path / "a.npz", images=np.zeros(shape, dtype=np.uint8))
    record = Record("a.npz#images:1", LABELS[0])
    found = read_stored(Manifest(tmp_path, (record,)), record, SCAN)
    assert (found.mode, found.colour_share) == ("uint8", 0)


def test_a_file_that_vanished_is_told(tmp_path):
    with pytest.raises(DecodeError, match="no such file") as caught:
        stored(tmp_path / "none.png")
    assert caught.value.fault == "missing"
    record = Record("none.npz#images:1", LABELS[0])
    with pytest.raises(DecodeError, match="none"):
        read_stored(Manifest(tmp_path, (record,)), record, SCAN)


def test_a_matlab_file_has_the_type_of_its_scan(tmp_path):
    (tmp_path / "1.mat").write_bytes(b"not looked at")
    found = stored(tmp_path / "1.mat")
    assert (found.file_format, found.mode, found.file_bytes, found.colour_share) == ("MATLAB", "uint8", 13, 0)
