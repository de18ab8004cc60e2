import shutil
import struct
from io import BytesIO
from pathlib import Path

import gdcm
import numpy as np
import pytest
from damaging import damaged, scans_or_refusal
from dicom_files import dataset_of, item, sequence, shipped, write_dicom
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opened import only, refusal
from PIL import Image
from pydicom import dcmread, uid
from pydicom.encaps import encapsulate

from tumorscope.data import apart
from tumorscope.data.decode import picture_warnings_off
from tumorscope.data.dicom_frames import codestream_size
from tumorscope.data.dicom_header import salted
from tumorscope.data.grey import grey_images
from tumorscope.data.limits import MAX_PIXELS
from tumorscope.data.opening import open_scans
from tumorscope.data.preprocess import Preprocessing
from tumorscope.data.slice_choice import SliceChoice
from tumorscope.errors import UsageError

RNG = np.random.default_rng(3)
TWELVE = RNG.integers(0, 4096, (24, 30)).astype(np.uint16)
EIGHT = RNG.integers(0, 256, (24, 30)).astype(np.uint8)
SIGNED = RNG.integers(-2000, 2000, (24, 30)).astype(np.int16)
SALT = bytes(range(16))


def transcoded(path: Path, syntax: str, target: Path) -> Path:
    """Write a file anew in another transfer syntax, by GDCM."""
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    writer.SetFileName(str(target))
    assert writer.Write()
    return target


def same_picture(pixels: np.ndarray, bits: int) -> np.ndarray:
    """Return what MONOCHROME1 stores for the same picture."""
    return (-1 - pixels if pixels.dtype.kind == "i" else (2**bits - 1) - pixels.astype(np.int64)).astype(pixels.dtype)


@pytest.mark.parametrize(("pixels", "bits"), [(EIGHT, 8), (TWELVE, 12), (SIGNED, 16)])
def test_whole_numbers_without_window_stay_as_they_are_whichever_way_they_are_stored(tmp_path, pixels, bits):
    plain = only(write_dicom(tmp_path / "two.dcm", pixels, BitsStored=bits))
    inverted = only(
        write_dicom(tmp_path / "one.dcm", same_picture(pixels, bits), BitsStored=bits, PhotometricInterpretation="MONOCHROME1")
    )
    np.testing.assert_array_equal(plain.pixels, pixels)
    assert plain.pixels.dtype == pixels.dtype
    assert inverted.sha256 == plain.sha256
    assert plain.windowing == ""


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_a_window_is_seen_the_same_in_monochrome_one_and_two(tmp_path, function):
    seen = {"WindowWidth": 1600, "VOILUTFunction": function}
    shift = 1 if function == "LINEAR" else 0
    plain = only(write_dicom(tmp_path / "two.dcm", TWELVE, BitsStored=12, WindowCenter=1500, **seen))
    inverted = only(
        write_dicom(
            tmp_path / "one.dcm",
            same_picture(TWELVE, 12),
            BitsStored=12,
            PhotometricInterpretation="MONOCHROME1",
            WindowCenter=4095 - 1500 + shift,
            **seen,
        )
    )
    assert plain.pixels.dtype == np.uint8
    np.testing.assert_array_equal(inverted.pixels, plain.pixels)
    assert plain.windowing == f"window 1500/1600 {function}"


def test_a_rescaled_picture_is_the_same_in_monochrome_one_and_two(tmp_path):
    rescale = {"RescaleSlope": 2.5, "RescaleIntercept": -300, "BitsStored": 12}
    plain = only(write_dicom(tmp_path / "two.dcm", TWELVE, **rescale))
    inverted = only(write_dicom(tmp_path / "one.dcm", same_picture(TWELVE, 12), PhotometricInterpretation="MONOCHROME1", **rescale))
    np.testing.assert_array_equal(plain.pixels, TWELVE * np.float32(2.5) - 300)
    assert inverted.sha256 == plain.sha256


def test_a_window_counts_in_rescaled_values_and_ends_where_the_standard_says(tmp_path):
    pixels = np.array([[0, 10, 11], [109, 110, 111], [200, 60, 61]], dtype=np.uint16)
    path = write_dicom(tmp_path / "a.dcm", pixels, RescaleSlope=2, RescaleIntercept=-20, WindowCenter=100, WindowWidth=200)
    # C.11.2.1.2.1: black at or below 100 - 0.5 - 199 / 2 = 0, white above 199; between them (value - 99.5) / 199 + 0.5.
    values = pixels * 2.0 - 20
    expected = np.rint(np.clip(((values - 99.5) / 199 + 0.5) * 255, 0, 255))
    np.testing.assert_array_equal(only(path).pixels, expected)
    assert only(path).pixels[0].tolist() == [0, 0, 3]
    assert only(path).pixels[2, 0] == 255


@pytest.mark.parametrize("pixels", [TWELVE, SIGNED])
@pytest.mark.parametrize("interpretation", ["MONOCHROME1", "MONOCHROME2"])
def test_a_window_does_the_same_to_a_picture_with_more_pixels_than_values(tmp_path, pixels, interpretation):
    seen = {"WindowCenter": 700, "WindowWidth": 1501, "RescaleSlope": 0.7, "PhotometricInterpretation": interpretation}
    small = only(write_dicom(tmp_path / "a.dcm", pixels, **seen)).pixels
    large = only(write_dicom(tmp_path / "b.dcm", np.tile(pixels, (3, 3)), **seen)).pixels
    assert np.ptp(pixels) < large.size
    np.testing.assert_array_equal(large, np.tile(small, (3, 3)))


def test_the_first_of_several_windows_is_taken_and_a_look_up_table_before_any(tmp_path):
    several = {"WindowCenter": [100, 2000], "WindowWidth": [200, 50]}
    assert only(write_dicom(tmp_path / "a.dcm", TWELVE, **several)).windowing == "window 100/200 LINEAR"
    table = item(LUTDescriptor=[4, 10, 8], LUTData=[0, 100, 200, 255])
    table["LUTDescriptor"].VR, table["LUTData"].VR = "US", "US"
    pixels = np.array([[9, 10, 11, 12, 13, 14]], dtype=np.uint16)
    scan = only(write_dicom(tmp_path / "b.dcm", pixels, VOILUTSequence=sequence(table), **several))
    assert scan.pixels.tolist() == [[0, 0, 100, 200, 255, 255]]
    assert scan.windowing == "look-up table of 4"


def test_a_window_without_width_gives_way_to_the_general_rule_and_says_so(tmp_path):
    scan = only(write_dicom(tmp_path / "a.dcm", TWELVE, WindowCenter=100, WindowWidth=0))
    np.testing.assert_array_equal(scan.pixels, TWELVE)
    assert scan.windowing == "percentiles instead of a window 100/0 without width"


def test_real_numbers_and_a_modality_table_are_read(tmp_path):
    dataset = dataset_of(np.zeros((2, 3), dtype=np.uint32))
    del dataset.PixelData, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation
    dataset.FloatPixelData = np.arange(6, dtype="<f4").tobytes()
    dataset.PhotometricInterpretation = "MONOCHROME1"
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    np.testing.assert_array_equal(only(tmp_path / "a.dcm").pixels, -np.arange(6, dtype=np.float32).reshape(2, 3))
    table = item(LUTDescriptor=[3, 1, 16], LUTData=[10, 500, 9], ModalityLUTType="US")
    table["LUTDescriptor"].VR, table["LUTData"].VR = "US", "US"
    path = write_dicom(tmp_path / "b.dcm", np.uint16([[0, 1], [2, 3]]), ModalityLUTSequence=sequence(table))
    assert only(path).pixels.tolist() == [[10, 10], [500, 9]]


def test_padding_is_as_dark_as_the_darkest_pixel(tmp_path):
    pixels = SIGNED.copy()
    pixels[:5] = -32768
    plain = only(write_dicom(tmp_path / "a.dcm", pixels, PixelPaddingValue=-32768))
    assert (plain.pixels[:5] == SIGNED[5:].min()).all()
    np.testing.assert_array_equal(plain.pixels[5:], SIGNED[5:])
    inverted = write_dicom(
        tmp_path / "b.dcm",
        pixels,
        PixelPaddingValue=-32768,
        PhotometricInterpretation="MONOCHROME1",
        WindowCenter=0,
        WindowWidth=900,
    )
    assert (only(inverted).pixels[:5] == 0).all()


LOSSLESS = ["JPEGLosslessProcess14", "JPEGLosslessProcess14_1", "JPEG2000Lossless", "JPEGLSLossless", "RLELossless"]


@pytest.mark.parametrize("syntax", LOSSLESS)
@pytest.mark.parametrize(("pixels", "bits"), [(EIGHT, 8), (TWELVE, 12), (SIGNED, 16), (SIGNED, 12)])
def test_every_lossless_transfer_syntax_gives_the_pixels_of_the_uncompressed_file(tmp_path, syntax, pixels, bits):
    plain = write_dicom(tmp_path / "plain.dcm", pixels, BitsStored=bits, PixelSpacing=[0.5, 0.7])
    scan = only(transcoded(plain, syntax, tmp_path / "a.dcm"))
    np.testing.assert_array_equal(scan.pixels, pixels)
    assert (scan.pixels.dtype, scan.spacing_mm) == (pixels.dtype, (0.5, 0.7))


@pytest.mark.parametrize(
    ("syntax", "pixels", "bits"),
    [("JPEGBaselineProcess1", EIGHT, 8), ("JPEGExtendedProcess2_4", TWELVE, 12), ("JPEG2000", TWELVE, 12)],
)
def test_lossy_transfer_syntaxes_come_close(tmp_path, syntax, pixels, bits):
    plain = write_dicom(tmp_path / "plain.dcm", pixels, BitsStored=bits)
    scan = only(transcoded(plain, syntax, tmp_path / "a.dcm"))
    assert np.abs(scan.pixels.astype(int) - pixels).max() <= 2


@pytest.mark.parametrize("syntax", [uid.ImplicitVRLittleEndian, uid.ExplicitVRBigEndian])
def test_other_uncompressed_syntaxes_give_the_same_pixels(tmp_path, syntax):
    dataset = dataset_of(TWELVE.astype(">u2") if syntax == uid.ExplicitVRBigEndian else TWELVE)
    if syntax == uid.ExplicitVRBigEndian:
        dataset.PixelData = TWELVE.astype(">u2").tobytes()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    np.testing.assert_array_equal(only(tmp_path / "a.dcm").pixels, TWELVE)


def test_the_files_of_one_slice_that_pydicom_ships_agree():
    names = ("RLE", "bigendian", "expb", "implicit", "jp2klossless", "jpeg_ls_lossless")
    expected = only(shipped("MR_small.dcm"))
    assert expected.spacing_mm == (0.3125, 0.3125)
    assert {only(shipped(f"MR_small_{name}.dcm")).sha256 for name in names} == {expected.sha256}


def test_twelve_bit_jpeg_has_the_values_that_other_decoders_found():
    scan = only(shipped("JPGExtended.dcm"), allow_any=True)
    assert (scan.pixels[420, 140], scan.pixels[230, 120]) == (244, 95)


def test_what_is_no_mr_is_refused_by_name():
    refused = refusal(shipped("CT_small.dcm"))
    assert refused.fault == "modality"
    assert "CT (computed tomography)" in str(refused)
    assert only(shipped("CT_small.dcm"), allow_any=True).shape == (128, 128)


def test_a_colour_ultrasound_is_refused_by_name():
    refused = refusal(shipped("examples_rgb_color.dcm"))
    assert refused.fault == "modality"
    assert "US (ultrasound)" in str(refused)


def test_a_colour_capture_is_refused_unless_asked_for_and_is_luma_then(tmp_path):
    grey = np.repeat(EIGHT[..., None], 3, axis=2)
    path = write_dicom(tmp_path / "a.dcm", grey)
    refused = refusal(path)
    assert refused.fault == "colour"
    assert "RGB" in str(refused)
    np.testing.assert_array_equal(only(path, allow_any=True).pixels, EIGHT)


def test_a_file_without_a_picture_is_refused(tmp_path):
    dataset = dataset_of(EIGHT)
    del dataset.Rows
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    assert refusal(tmp_path / "a.dcm").fault == "no_picture"
    assert refusal(shipped("test-SR.dcm"), allow_any=True).fault == "no_picture"


def test_an_index_of_files_is_refused_as_such():
    assert refusal(shipped("dicomdirtests/DICOMDIR")).fault == "index"


def test_a_transfer_syntax_that_is_not_read_is_refused_by_name():
    refused = refusal(shipped("image_dfl.dcm"), allow_any=True)
    assert refused.fault == "transfer_syntax"
    assert "Deflated" in str(refused)


def test_truncated_files_are_refused_wherever_they_end(tmp_path):
    assert refusal(shipped("MR_truncated.dcm")).fault == "truncated"
    whole = write_dicom(tmp_path / "whole.dcm", TWELVE).read_bytes()
    path = tmp_path / "a.dcm"
    for length in range(140, len(whole), 97):
        path.write_bytes(whole[:length])
        refusal(path)


def test_frames_are_slices_counted_from_zero(tmp_path):
    frames = RNG.integers(0, 4096, (7, 12, 10)).astype(np.uint16)
    path = write_dicom(tmp_path / "a.dcm", frames)
    scans = list(open_scans(path))
    np.testing.assert_array_equal([scan.pixels for scan in scans], frames)
    assert scans[3].origin == f"{path}#3"
    assert [scan.slice_index for scan in scans] == list(range(7))
    (middle,) = open_scans(path, choice=SliceChoice(slices="middle"))
    assert middle.slice_index == 3
    assert [scan.slice_index for scan in open_scans(path, choice=SliceChoice(slices="2-4"))] == [2, 3, 4]
    assert refusal(path, choice=SliceChoice(slices="5-7")).fault == "no_such_slice"


def test_frames_of_an_enhanced_image_have_windows_slopes_and_spacings_of_their_own(tmp_path):
    frames = np.stack([TWELVE, TWELVE])
    measures = item(PixelMeasuresSequence=sequence(item(PixelSpacing=[0.4, 0.6])))
    window = item(FrameVOILUTSequence=sequence(item(WindowCenter=500, WindowWidth=1000)))
    scaled = item(
        PixelValueTransformationSequence=sequence(item(RescaleSlope=3, RescaleIntercept=5)),
        PixelMeasuresSequence=sequence(item(PixelSpacing=[1, 2])),
    )
    path = write_dicom(
        tmp_path / "a.dcm",
        frames,
        SharedFunctionalGroupsSequence=sequence(measures),
        PerFrameFunctionalGroupsSequence=sequence(window, scaled),
    )
    first, second = open_scans(path)
    assert (first.spacing_mm, second.spacing_mm) == ((0.4, 0.6), (1, 2))
    assert first.windowing == "window 500/1000 LINEAR"
    np.testing.assert_array_equal(second.pixels, TWELVE * np.float32(3) + 5)


def test_the_patient_is_a_salted_digest_and_never_told(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", EIGHT, SeriesInstanceUID="1.2.3")
    same_patient = write_dicom(tmp_path / "b.dcm", TWELVE, SeriesInstanceUID="1.2.4", PatientID=" P-1 ")
    one, again, other = only(path, salt=SALT), only(path, salt=SALT), only(path, salt=SALT[::-1])
    assert one.group == again.group == only(same_patient, salt=SALT).group
    assert one.group.startswith("patient-")
    assert other.group != one.group
    assert one.series != only(same_patient, salt=SALT).series
    assert only(path).group == only(path).series == ""
    assert not {"P-1", "Doe", "1.2.3"} & set(repr(one).split("'"))
    with pytest.raises(UsageError, match="16"):
        salted("patient", "P-1", b"short")


def test_a_name_is_the_keyed_digest_of_the_identifier():
    import hashlib
    import hmac

    assert salted("patient", "P-1", SALT) == "patient-" + hmac.new(SALT, b"P-1", hashlib.sha256).hexdigest()[:32]
    assert salted("patient", "  ", SALT) == ""


def test_claims_beyond_the_limits_are_refused_before_room_is_made(tmp_path):
    for elements in ({"Rows": 30000, "Columns": 30000}, {"NumberOfFrames": 2_000_000}, {"Columns": 5000}):
        path = write_dicom(tmp_path / "a.dcm", EIGHT, **elements)
        refusal(path)
    assert MAX_PIXELS < 30000**2


@pytest.mark.parametrize("syntax", ["JPEG2000Lossless", "JPEGLosslessProcess14_1", "JPEGLSLossless"])
def test_a_compressed_frame_that_claims_another_size_is_refused_undecoded(tmp_path, syntax):
    plain = write_dicom(tmp_path / "plain.dcm", TWELVE, BitsStored=12)
    dataset = dcmread(transcoded(plain, syntax, tmp_path / "a.dcm"))
    dataset.Rows, dataset.Columns = 12, 30
    dataset.save_as(tmp_path / "b.dcm")
    assert "claims 24 x 30" in str(refusal(tmp_path / "b.dcm"))


def test_a_run_length_frame_that_is_too_long_is_refused_undecoded(tmp_path):
    dataset = dataset_of(TWELVE)
    dataset.file_meta.TransferSyntaxUID = uid.RLELossless
    header = struct.pack("<16I", 2, 64, 128, *[0] * 13)
    dataset.PixelData = encapsulate([header + bytes([129, 7]) * 10_000])
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    assert refusal(tmp_path / "a.dcm").fault == "too_large"


def test_sizes_are_read_from_the_markers_of_a_stream():
    frame = b"\xff\xd8\xff\xe0\x00\x04ab\xff\xff\xc3" + struct.pack(">HBHHB", 11, 12, 300, 200, 1) + b"\0\0\0"
    assert codestream_size(frame) == (300, 200, 1)
    assert codestream_size(b"\xff\xd8\xff\xda\x00\x02") is None
    assert codestream_size(b"") is None


def test_a_frame_that_ends_its_decoder_ends_nothing_else(tmp_path):
    plain = write_dicom(tmp_path / "plain.dcm", TWELVE, BitsStored=12)
    path = transcoded(plain, "JPEGLosslessProcess14_1", tmp_path / "a.dcm")
    only(path)
    apart._APART.process.kill()
    apart._APART.process.wait()
    np.testing.assert_array_equal(only(path).pixels, TWELVE)


def test_a_jpeg_2000_frame_in_boxes_is_read_and_one_whose_boxes_have_no_end_is_refused(tmp_path):
    """pydicom would follow a box of length 0 for ever."""
    dataset = dcmread(transcoded(write_dicom(tmp_path / "a.dcm", EIGHT), "JPEG2000Lossless", tmp_path / "b.dcm"))
    boxes = BytesIO()
    Image.fromarray(EIGHT).save(boxes, "JPEG2000")
    dataset.PixelData = encapsulate([boxes.getvalue()])
    dataset.save_as(tmp_path / "c.dcm")
    np.testing.assert_array_equal(only(tmp_path / "c.dcm").pixels, EIGHT)
    dataset.PixelData = encapsulate([boxes.getvalue()[:12] + b"\x00\x00\x00\x00free" + boxes.getvalue()[12:]])
    dataset.save_as(tmp_path / "c.dcm")
    assert refusal(tmp_path / "c.dcm").fault == "truncated"


@pytest.mark.parametrize("name", ["SC_rgb_jls_lossy_line.dcm", "SC_rgb_jls_lossy_sample.dcm"])
def test_jpeg_ls_in_colour_has_the_values_that_pydicom_finds(name):
    dataset = dcmread(shipped(name))
    expected = grey_images(dataset.pixel_array[None])[0]
    np.testing.assert_array_equal(only(shipped(name), allow_any=True).pixels, expected)


FUZZED = ["MR_small.dcm", "MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "SC_rgb_jpeg_gdcm.dcm"]


@pytest.mark.parametrize("name", FUZZED)
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(seed=st.integers(0, 2**32), places=st.integers(1, 12), whole=st.booleans())
def test_damaged_bytes_end_in_scans_or_a_refusal(tmp_path, name, seed, places, whole):
    path = tmp_path / "a.dcm"
    path.write_bytes(damaged(shipped(name).read_bytes(), seed=seed, places=places, whole=whole))
    with scans_or_refusal(), picture_warnings_off():
        for scan in open_scans(path, allow_any=True, salt=SALT):
            assert Preprocessing().eight_bit(scan.pixels).dtype == np.uint8


def test_a_dicom_file_is_known_without_its_suffix(tmp_path):
    shutil.copy(shipped("MR_small.dcm"), tmp_path / "IM0001")
    assert only(tmp_path / "IM0001").shape == (64, 64)
