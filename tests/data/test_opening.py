import os
import pickle
import resource
import struct
import subprocess
import sys
import time
import zipfile
import zlib
from pathlib import Path

import nibabel
import numpy as np
import pytest
from damaging import damaged, scans_or_refusal
from dicom_files import write_dicom
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opened import only, refusal
from PIL import Image

from tumorscope.data import arrays
from tumorscope.data.decode import decode_file
from tumorscope.data.limits import MAX_PIXELS
from tumorscope.data.opening import may_hold_scans, open_scans
from tumorscope.data.preprocess import Preprocessing
from tumorscope.data.slice_choice import SliceChoice
from tumorscope.scan import Scan

RNG = np.random.default_rng(11)
EIGHT = RNG.integers(0, 256, (24, 30)).astype(np.uint8)
SIXTEEN = RNG.integers(0, 40000, (24, 30)).astype(np.uint16)
STACK = RNG.integers(0, 256, (5, 24, 30)).astype(np.uint8)


def written(folder: Path, suffix: str, pixels: np.ndarray, write_slice) -> Path:
    """Write the same picture in a format."""
    path = folder / f"a.{suffix}"
    if suffix == "npy":
        np.save(path, pixels)
    elif suffix == "npz":
        np.savez_compressed(path, image=pixels)
    elif suffix in ("nii", "nii.gz"):
        nibabel.Nifti1Image(pixels.T[::-1, ::-1, None], np.eye(4)).to_filename(path)
    elif suffix == "dcm":
        write_dicom(path, pixels)
    elif suffix == "mat":
        write_slice(path, image=pixels, tumorMask=None, classes={"image": pixels.dtype.name})
    elif suffix == "webp":
        Image.fromarray(pixels).save(path, lossless=True)
    else:
        Image.fromarray(pixels).save(path)
    return path


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp", "gif", "webp", "npy", "npz", "nii", "nii.gz", "dcm", "mat"])
def test_the_same_eight_bit_picture_is_the_same_scan_in_every_format(tmp_path, write_slice, suffix):
    scan = only(written(tmp_path, suffix, EIGHT, write_slice))
    np.testing.assert_array_equal(scan.pixels, EIGHT)
    assert scan.sha256 == Scan(pixels=EIGHT, origin="x").sha256


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp", "npy", "npz", "dcm"])
def test_how_much_of_a_picture_was_in_colour_is_told_in_every_format(tmp_path, suffix):
    colour = np.repeat(EIGHT[..., None], 3, axis=2)
    colour[:6] = (200, 40, 90)
    path = tmp_path / f"a.{suffix}"
    if suffix == "npy":
        np.save(path, colour)
    elif suffix == "npz":
        np.savez(path, image=colour[None])
    elif suffix == "dcm":
        write_dicom(path, colour)
    else:
        Image.fromarray(colour).save(path)
    [scan] = open_scans(path, allow_any=True)
    assert scan.colour_share == 0.25


@pytest.mark.parametrize("suffix", ["png", "tif", "npy", "npz", "nii", "nii.gz", "dcm", "mat"])
def test_the_same_sixteen_bit_picture_is_the_same_scan_in_every_format(tmp_path, write_slice, suffix):
    scan = only(written(tmp_path, suffix, SIXTEEN, write_slice))
    np.testing.assert_array_equal(scan.pixels, SIXTEEN)
    assert scan.sha256 == Scan(pixels=SIXTEEN, origin="x").sha256


@pytest.mark.parametrize("suffix", ["tif", "npy", "npz", "nii"])
def test_the_same_picture_of_real_numbers_looks_the_same_in_every_format(tmp_path, write_slice, suffix):
    real = (SIXTEEN * 0.37 - 12.5).astype(np.float32)
    scan = only(written(tmp_path, suffix, real, write_slice))
    np.testing.assert_array_equal(scan.pixels, real)
    np.testing.assert_array_equal(Preprocessing().eight_bit(scan.pixels), Preprocessing().eight_bit(real))


def test_content_counts_and_not_the_name(tmp_path):
    Image.fromarray(EIGHT).save(tmp_path / "a.png")
    for name in ("a.dcm", "b.nii.gz", "c", "d.jpg", "e.txt"):
        (tmp_path / name).write_bytes((tmp_path / "a.png").read_bytes())
        np.testing.assert_array_equal(only(tmp_path / name).pixels, EIGHT)


def test_the_name_says_what_a_file_without_content_should_have_been(tmp_path):
    for name, words in {
        "a.nii": "NIfTI",
        "a.dcm": "DICOM",
        "a.npy": "array",
        "a.mat": "MATLAB",
        "a.png": "picture",
        "a": "no scan",
    }.items():
        (tmp_path / name).write_bytes(b"some words " * 20)
        assert words in str(refusal(tmp_path / name))
        (tmp_path / name).write_bytes(b"")
        assert refusal(tmp_path / name).fault == "empty"
    assert refusal(tmp_path / "none.png").fault == "missing"
    assert refusal(tmp_path).fault == "folder"


def test_files_that_may_hold_scans_are_known_by_suffix_or_as_dicom(tmp_path):
    names = ["a.JPG", "a.nii.gz", "A.NII", "a.dcm", "a.npz", "a.mat", "a.txt", "a.gz", "a", "a.csv"]
    assert [may_hold_scans(tmp_path / name) for name in names] == [True] * 6 + [False] * 4
    write_dicom(tmp_path / "IM.0001", EIGHT)
    (tmp_path / "IM.0002").symlink_to("IM.0001")
    assert [may_hold_scans(tmp_path / name) for name in ("IM.0001", "IM.0002")] == [True, False]


@pytest.mark.parametrize("pixels", [EIGHT, SIXTEEN, SIXTEEN.astype(np.float32)])
def test_a_tiff_that_is_stored_as_a_negative_is_turned_back(tmp_path, pixels):
    path = tmp_path / "a.tif"
    negative = -pixels if pixels.dtype.kind == "f" else np.iinfo(pixels.dtype).max - pixels
    path.write_bytes(tiff_of(negative, white_is_zero=True))
    np.testing.assert_array_equal(only(path).pixels, pixels)
    path.write_bytes(tiff_of(pixels, white_is_zero=False))
    np.testing.assert_array_equal(only(path).pixels, pixels)


def tiff_of(pixels: np.ndarray, *, white_is_zero: bool) -> bytes:
    """Return an uncompressed TIFF file of one strip."""
    raw, (rows, columns) = pixels.tobytes(), pixels.shape
    numbers = {256: columns, 257: rows, 258: 8 * pixels.itemsize, 259: 1, 262: int(not white_is_zero), 273: 8, 277: 1, 278: rows}
    numbers |= {279: len(raw), 339: 3 if pixels.dtype.kind == "f" else 1}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in numbers.items())
    return b"II*\0" + struct.pack("<I", 8 + len(raw)) + raw + struct.pack("<H", len(numbers)) + entries + bytes(4)


def test_pages_of_a_tiff_are_slices(tmp_path):
    pages = [Image.fromarray(page) for page in STACK]
    path = tmp_path / "a.tif"
    pages[0].save(path, save_all=True, append_images=pages[1:])
    scans = list(open_scans(path))
    np.testing.assert_array_equal([scan.pixels for scan in scans], STACK)
    assert (scans[3].origin, scans[3].slice_index) == (f"{path}#3", 3)
    assert only(path, choice=SliceChoice(slices="middle")).slice_index == 2


def test_a_smaller_copy_beside_a_tiff_page_is_passed_over(tmp_path):
    path = tmp_path / "a.tif"
    small = Image.fromarray(EIGHT[::2, ::2])
    small.encoderinfo = {"tiffinfo": {254: 1}}
    Image.fromarray(EIGHT).save(path, save_all=True, append_images=[small])
    scan = only(path)
    np.testing.assert_array_equal(scan.pixels, EIGHT)
    assert scan.slice_index is None


def test_moving_pictures_are_refused(tmp_path):
    pages = [Image.fromarray(page) for page in STACK]
    for suffix in ("gif", "png", "webp"):
        pages[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=pages[1:])
        assert refusal(tmp_path / f"a.{suffix}").fault == "multi_frame"


@pytest.mark.parametrize("suffix", ["npy", "npz"])
@pytest.mark.parametrize("layout", ["plain", "channel", "colour", "columns first"])
def test_arrays_of_three_dimensions_are_slices(tmp_path, monkeypatch, suffix, layout):
    monkeypatch.setattr(arrays, "_CHUNK_BYTES", 2 * STACK[0].nbytes)
    stored = {
        "plain": STACK,
        "channel": STACK[..., None],
        "colour": np.repeat(STACK[..., None], 3, axis=3),
        "columns first": np.asfortranarray(STACK),
    }[layout]
    path = tmp_path / f"a.{suffix}"
    if suffix == "npy":
        np.save(path, stored)
    else:
        np.savez(path, images=stored, labels=np.arange(5), masks=STACK > 9, one_hot=np.eye(5))
    scans = list(open_scans(path))
    np.testing.assert_array_equal([scan.pixels for scan in scans], STACK)
    assert scans[3].origin == (f"{path}#3" if suffix == "npy" else f"{path}#images:3")
    assert [scan.slice_index for scan in open_scans(path, choice=SliceChoice(slices="1-2"))] == [1, 2]


def test_one_colour_picture_in_an_array_is_one_slice(tmp_path):
    np.save(tmp_path / "a.npy", np.repeat(EIGHT[..., None], 3, axis=2))
    np.testing.assert_array_equal(only(tmp_path / "a.npy").pixels, EIGHT)


def test_all_slices_of_an_array_have_one_type(tmp_path):
    values = STACK.astype(np.float64)
    np.save(tmp_path / "a.npy", values)
    assert {scan.pixels.dtype.name for scan in open_scans(tmp_path / "a.npy")} == {"uint8"}
    values[3] *= 1.7
    np.save(tmp_path / "a.npy", values)
    assert {scan.pixels.dtype.name for scan in open_scans(tmp_path / "a.npy")} == {"float32"}
    values[3, 2, 1] = np.inf
    np.save(tmp_path / "a.npy", values)
    assert "infinity" in str(refusal(tmp_path / "a.npy"))


class Trap:
    def __reduce__(self):
        return os.mkdir, ("sprung",)


def test_nothing_that_is_pickled_is_loaded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save(tmp_path / "a.npy", np.array([[Trap(), Trap()]], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "a.npz", images=np.array([[[Trap()]]], dtype=object))
    (tmp_path / "b.npy").write_bytes(pickle.dumps(Trap()))
    for name in ("a.npy", "a.npz", "b.npy"):
        refusal(tmp_path / name)
    assert not (tmp_path / "sprung").exists()


def header_of(shape: tuple[int, ...], descr: str = "|u1") -> bytes:
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text) + 1) + text + b"\n"


def test_arrays_that_claim_more_than_there_is_or_may_be_are_refused(tmp_path):
    path = tmp_path / "a.npy"
    for shape in ((20_000, 20_000), (2**40, 4, 4), (-1, 4, 4), (0, 4, 4), (4,), (2, 2, 2, 2, 2)):
        path.write_bytes(header_of(shape) + bytes(50))
        refusal(path)
        with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
            archive.writestr("images.npy", header_of(shape) + bytes(50))
        refusal(tmp_path / "a.npz")
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", header_of((1, 9000, 9000)) + bytes(9000**2))
    assert refusal(tmp_path / "a.npz").fault == "too_large"


@pytest.mark.parametrize("suffix", ["png", "tif", "npy", "npz", "nii", "nii.gz", "dcm", "mat"])
def test_truncated_files_of_every_format_are_refused(tmp_path, write_slice, suffix):
    path = written(tmp_path, suffix, SIXTEEN, write_slice)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    refusal(path)


def test_links_pipes_and_devices_are_refused(tmp_path):
    Image.fromarray(EIGHT).save(tmp_path / "a.png")
    (tmp_path / "b.png").symlink_to("a.png")
    (tmp_path / "c.png").symlink_to("nowhere.png")
    os.mkfifo(tmp_path / "d.png")
    assert refusal(tmp_path / "b.png").fault == "link"
    assert refusal(tmp_path / "c.png").fault == "link"
    assert refusal(tmp_path / "d.png").fault == "no_file"
    assert refusal(Path("/dev/zero")).fault == "no_file"


def png_of(side: int) -> bytes:
    """Return a black PNG of few kilobytes, whose rows end early."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    packer, rows = zlib.compressobj(9), bytearray()
    for _ in range(side // 12):
        rows += packer.compress(bytes(1 + side // 8))
    rows += packer.flush()
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", bytes(rows)) + chunk(b"IEND", b"")


def test_a_picture_of_twenty_thousand_pixels_a_side_is_refused_at_once_and_without_memory(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png_of(20_000))
    assert path.stat().st_size < 5_000
    refusal(path)
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    refused = refusal(path)
    assert refused.fault == "too_large"
    assert f"{MAX_PIXELS:,}" in str(refused)
    assert time.process_time() - start < 0.5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 10_000


@pytest.mark.parametrize("suffix", ["png", "tif", "npy", "npz", "mat"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(seed=st.integers(0, 2**32), places=st.integers(1, 12), whole=st.booleans())
def test_damaged_bytes_end_in_scans_or_a_refusal(tmp_path, write_slice, suffix, seed, places, whole):
    path = written(tmp_path, suffix, SIXTEEN, write_slice)
    path.write_bytes(damaged(path.read_bytes(), seed=seed, places=places, whole=whole))
    with scans_or_refusal():
        assert list(open_scans(path))


def test_opening_a_picture_costs_little_more_than_decoding_it(tmp_path):
    smooth = np.asarray(Image.fromarray(EIGHT).resize((224, 224), Image.Resampling.BICUBIC))
    paths = [tmp_path / f"{number}.jpg" for number in range(40)]
    for path in paths:
        Image.fromarray(smooth).save(path)

    def cost(decode) -> float:
        start = time.process_time()
        for path in paths:
            decode(path)
        return time.process_time() - start

    pairs = [(cost(decode_file), cost(only)) for _ in range(7)]
    assert min(opened for _, opened in pairs) < 1.5 * min(decoded for decoded, _ in pairs)


def test_the_libraries_of_formats_are_imported_for_their_first_file_only():
    code = (
        "import sys, tumorscope.data.opening, tumorscope.data.dicom_series\n"
        "print([name for name in ('pydicom', 'nibabel', 'gdcm', 'h5py', 'scipy', 'pymatreader', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
