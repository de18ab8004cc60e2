import h5py
import numpy as np
import pytest
import scipy.io

from tumorscope.data.decode import decode_record, read_mask
from tumorscope.data.matlab import read_folds, read_slice
from tumorscope.data.stored import read_stored
from tumorscope.errors import DecodeError
from tumorscope.manifest import Manifest, Record

MAX = 1000_000
RNG = np.random.default_rng(0)
IMAGE = RNG.integers(-5, 3000, (24, 20)).astype(np.int16)
MASK = RNG.integers(0, 2, (24, 20)).astype(np.uint8)
# A square around the pixels of columns 11 to 14 and rows 5 to 7, in MATLAB's counting from 1: 12 to 15 and 6 to 8.
BORDER = np.array([[11.5, 5.5, 15.5, 5.5, 15.5, 8.5, 11.5, 8.5]]).T


def one_line_refusal(path, read=read_slice, max_pixels=MAX):
    with pytest.raises(DecodeError) as caught:
        read(path, max_pixels=max_pixels)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message


def mask_of(folder, name, shape=(24, 20)):
    record = Record(name, "glioma", mask=name)
    return read_mask(Manifest(folder, (record,)), record, shape)


def test_the_layout_of_cheng_is_read_as_matlab_shows_it(tmp_path, write_slice):
    path = write_slice(tmp_path / "1.mat", image=IMAGE, tumorMask=MASK, label=[[2.0]], PID="MR040236")
    with h5py.File(path) as file:
        assert file["cjdata/image"].shape == (20, 24)
    content = read_slice(path, max_pixels=MAX)
    np.testing.assert_array_equal(content.image, IMAGE)
    np.testing.assert_array_equal(content.mask, MASK == 1)
    assert (content.image.dtype, content.mask.dtype) == (np.int16, np.bool_)
    assert (content.label, content.patient) == (2, "MR040236")
    assert content.outline == "10.500,4.500 14.500,4.500 14.500,7.500 10.500,7.500"


def test_sixteen_bits_stay_sixteen_bits_in_the_scan(tmp_path, write_slice):
    write_slice(tmp_path / "1.mat", image=IMAGE)
    write_slice(tmp_path / "2.mat", image=IMAGE % 200)
    for name, pixels in (("1.mat", IMAGE), ("2.mat", IMAGE % 200)):
        record = Record(name, "glioma")
        scan = decode_record(Manifest(tmp_path, (record,)), record)
        assert scan.pixels.dtype == np.int16
        np.testing.assert_array_equal(scan.pixels, pixels)
        assert scan.origin == str(tmp_path / name)


@pytest.mark.parametrize("is_compressed", [True, False])
def test_older_versions_of_the_format_are_read_alike(tmp_path, is_compressed, write_slice):
    fields = {"label": 3.0, "PID": "100360", "image": IMAGE, "tumorBorder": BORDER, "tumorMask": MASK.astype(bool)}
    scipy.io.savemat(tmp_path / "old.mat", {"cjdata": fields}, do_compression=is_compressed)
    old = read_slice(tmp_path / "old.mat", max_pixels=MAX)
    new = read_slice(write_slice(tmp_path / "new.mat", image=IMAGE, tumorMask=MASK, label=[[3.0]]), max_pixels=MAX)
    np.testing.assert_array_equal(old.image, new.image)
    np.testing.assert_array_equal(old.mask, new.mask)
    assert (old.image.dtype, old.label, old.patient, old.outline) == (new.image.dtype, new.label, new.patient, new.outline)


@pytest.mark.parametrize(
    ("given", "matlab_class", "patient"),
    [
        ("100360", "char", "100360"),
        ("7", "char", "7"),
        ("MR0402\0", "char", "MR0402"),
        (" a\tb ", "char", "a b"),
        ("", "char", ""),
        (np.array([[100360.0]]), "double", "100360"),
        (None, "char", ""),
    ],
)
def test_the_patient_is_text_whatever_stores_it(tmp_path, write_slice, given, matlab_class, patient):
    path = write_slice(tmp_path / "1.mat", PID=given, classes={"PID": matlab_class})
    assert read_slice(path, max_pixels=MAX).patient == patient


def test_codes_of_characters_without_their_class_are_text(tmp_path, write_slice):
    path = write_slice(tmp_path / "1.mat", PID="MR040236")
    with h5py.File(path, "r+") as file:
        del file["cjdata/PID"].attrs["MATLAB_class"]
    assert read_slice(path, max_pixels=MAX).patient == "MR040236"


@pytest.mark.parametrize(
    ("given", "label"), [([[3.0]], 3), ([[0.0]], 0), ([[1.5]], None), ([[np.nan]], None), ([[1.0, 2.0]], None), (None, None)]
)
def test_a_label_is_a_whole_number_or_none(tmp_path, write_slice, given, label):
    assert read_slice(write_slice(tmp_path / "1.mat", label=given), max_pixels=MAX).label == label


def test_the_mask_lies_on_the_image_that_is_not_square(tmp_path, write_slice):
    write_slice(tmp_path / "1.mat", image=IMAGE, tumorMask=MASK)
    np.testing.assert_array_equal(mask_of(tmp_path, "1.mat"), MASK == 1)


def test_a_border_without_a_mask_is_filled_x_being_the_column(tmp_path, write_slice):
    write_slice(tmp_path / "1.mat", image=IMAGE, tumorMask=None, tumorBorder=BORDER)
    wanted = np.zeros((24, 20), dtype=bool)
    wanted[5:8, 11:15] = True
    np.testing.assert_array_equal(mask_of(tmp_path, "1.mat"), wanted)


def test_a_mask_wins_over_a_border(tmp_path, write_slice):
    write_slice(tmp_path / "1.mat", image=IMAGE, tumorMask=MASK, tumorBorder=BORDER)
    np.testing.assert_array_equal(mask_of(tmp_path, "1.mat"), MASK == 1)


@pytest.mark.parametrize(
    "border",
    [None, np.ones((3, 1)), np.ones((4, 1)), np.full((8, 1), np.nan), np.zeros((0, 0))],
    ids=["none", "3", "4", "nan", "0"],
)
def test_neither_mask_nor_border_is_refused_where_a_mask_is_asked_for(tmp_path, write_slice, border):
    write_slice(tmp_path / "1.mat", tumorMask=None, tumorBorder=border)
    with pytest.raises(DecodeError, match="neither tumorMask nor tumorBorder"):
        mask_of(tmp_path, "1.mat")


def test_a_mask_of_another_size_is_refused(tmp_path, write_slice):
    write_slice(tmp_path / "1.mat", image=IMAGE, tumorMask=MASK.T)
    with pytest.raises(DecodeError, match=r"the mask has \(20, 24\) rows and columns, its scan 1.mat has \(24, 20\)"):
        mask_of(tmp_path, "1.mat")


def test_what_is_no_matlab_file_is_refused(tmp_path, write_slice):
    (tmp_path / "text.mat").write_text("patient,label\n" * 40)
    (tmp_path / "empty.mat").touch()
    (tmp_path / "picture.mat").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(2000))
    for name in ("text", "empty", "picture"):
        assert "no MATLAB file" in one_line_refusal(tmp_path / f"{name}.mat")
    assert "no such file" in one_line_refusal(tmp_path / "none.mat")
    assert "not a file" in one_line_refusal(tmp_path)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.95])
def test_half_a_file_is_refused(tmp_path, write_slice, share):
    path = write_slice(tmp_path / "1.mat", shape=(64, 64))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    assert "truncated" in one_line_refusal(path)


def test_a_file_without_cjdata_is_refused_with_what_it_holds(tmp_path, write_folds):
    assert "no variable cjdata; it holds cvind" in one_line_refusal(write_folds(tmp_path / "cvind.mat", [1, 2]))
    scipy.io.savemat(tmp_path / "other.mat", {"volume": IMAGE, "age": 3})
    assert "no variable cjdata; it holds volume, age" in one_line_refusal(tmp_path / "other.mat")
    scipy.io.savemat(tmp_path / "4.mat", {"volume": IMAGE}, format="4")
    assert "no variable cjdata; it holds volume" in one_line_refusal(tmp_path / "4.mat")
    scipy.io.savemat(tmp_path / "plain.mat", {"cjdata": IMAGE})
    assert "cjdata is no struct" in one_line_refusal(tmp_path / "plain.mat")


def test_a_file_without_an_image_in_rows_and_columns_is_refused(tmp_path, write_slice):
    path = write_slice(tmp_path / "1.mat", image=None)
    assert "cjdata holds PID, label, tumorBorder, tumorMask but no image" in one_line_refusal(path)
    path = write_slice(tmp_path / "2.mat", image=np.ones((3, 4, 5), dtype=np.int16))
    assert "the image is int16 of shape (3, 4, 5)" in one_line_refusal(path)
    path = write_slice(tmp_path / "3.mat", image="text", classes={"image": "char"})
    assert "the image is <U4 of shape ()" in one_line_refusal(path)


def test_a_huge_array_is_refused_unread(tmp_path, write_slice):
    path = write_slice(tmp_path / "1.mat")
    with h5py.File(path, "r+") as file:
        file["cjdata"].create_dataset("huge", shape=(10**7, 10**7), dtype=np.int16, chunks=(1, 1000))
    assert "cjdata/huge has 100,000,000,000,000 values, more than the 1,000,000 allowed" in one_line_refusal(path)


def test_damaged_bytes_end_in_a_slice_or_a_refusal_never_in_another_error(tmp_path, write_slice):
    new = write_slice(tmp_path / "new.mat", shape=(40, 40)).read_bytes()
    fields = {"label": 3.0, "PID": "100360", "image": IMAGE, "tumorBorder": BORDER, "tumorMask": MASK}
    scipy.io.savemat(tmp_path / "old.mat", {"cjdata": fields}, do_compression=True)
    path, rng, messages = tmp_path / "a.mat", np.random.default_rng(7), []
    scipy.io.savemat(tmp_path / "plain.mat", {"cjdata": fields})
    for whole in (new, (tmp_path / "old.mat").read_bytes(), (tmp_path / "plain.mat").read_bytes()):
        for _ in range(100):
            damaged = np.frombuffer(whole, dtype=np.uint8).copy()
            places = rng.integers(0, min(len(damaged), 1500), 4)
            damaged[places] = rng.integers(0, 256, 4)
            path.write_bytes(damaged.tobytes())
            try:
                read_slice(path, max_pixels=MAX)
            except DecodeError as error:
                messages.append(str(error))
    assert messages
    assert not any("\n" in message for message in messages)


def test_folds_are_whole_numbers_from_1_on(tmp_path, write_folds, write_slice):
    assert read_folds(write_folds(tmp_path / "cvind.mat", [1, 5, 2]), max_pixels=MAX).tolist() == [1, 5, 2]
    for number, folds in enumerate(([1, 2.5], [0, 1], [1, np.nan])):
        path = write_folds(tmp_path / f"{number}.mat", folds)
        assert "not a list of whole numbers" in one_line_refusal(path, read_folds)
    assert "no variable cvind; it holds cjdata" in one_line_refusal(write_slice(tmp_path / "a.mat"), read_folds)


def test_how_it_is_stored_is_told(tmp_path, write_slice):
    path, record = write_slice(tmp_path / "1.mat"), Record("1.mat", "glioma")
    manifest = Manifest(tmp_path, (record,))
    stored = read_stored(manifest, record, decode_record(manifest, record))
    assert (stored.file_format, stored.mode, stored.file_bytes) == ("MATLAB", "int16", path.stat().st_size)
    assert (stored.jpeg_quality, stored.colour_share) == (None, 0)
