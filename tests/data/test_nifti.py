import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest
from damaging import damaged, scans_or_refusal
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opened import refusal

from tumorscope.data import limits, nifti
from tumorscope.data.opening import open_scans
from tumorscope.data.slice_choice import SliceChoice
from tumorscope.errors import UsageError

RNG = np.random.default_rng(5)
# In the canonical order: right, anterior, superior.
RAS = RNG.integers(0, 200, (7, 9, 5)).astype(np.uint8)
RAS[-1, -1, -1] = 255
ZOOMS = (1.0, 1.5, 4.0)
AXIAL = SliceChoice(plane="axial")


def saved(path: Path, values: np.ndarray, affine: np.ndarray | None = None, *, kind=nibabel.Nifti1Image) -> Path:
    image = kind(values, np.diag([*ZOOMS, 1.0]) if affine is None else affine)
    image.to_filename(path)
    return path


def stored_as(codes: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the volume and affine of the same head with its axes in another order and direction."""
    order = nibabel.orientations.axcodes2ornt(codes)
    turn = nibabel.orientations.ornt_transform(nibabel.orientations.axcodes2ornt("RAS"), order)
    values = nibabel.orientations.apply_orientation(RAS, turn)
    affine = np.diag([*ZOOMS, 1.0]) @ nibabel.orientations.inv_ornt_aff(turn, RAS.shape)
    assert "".join(nibabel.aff2axcodes(affine)) == codes
    return values, affine


def tilted(affine: np.ndarray, degrees: float) -> np.ndarray:
    angle = np.deg2rad(degrees)
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return turn @ affine


def test_axial_slices_have_the_front_on_top_and_the_right_on_the_left(tmp_path):
    scans = list(open_scans(saved(tmp_path / "a.nii.gz", RAS)))
    assert len(scans) == 5
    # The marked corner is the rightmost, most anterior, highest voxel.
    assert scans[-1].pixels[0, 0] == 255
    assert (scans[-1].shape, scans[-1].spacing_mm) == ((9, 7), (1.5, 1.0))
    assert scans[2].pixels[3, 1] == RAS[7 - 1 - 1, 9 - 1 - 3, 2]
    assert scans[-1].origin == f"{tmp_path / 'a.nii.gz'}#axial:4"
    assert scans[-1].slice_index == 4


def test_coronal_and_sagittal_slices_have_the_crown_on_top(tmp_path):
    path = saved(tmp_path / "a.nii", RAS)
    coronal = list(open_scans(path, choice=SliceChoice(plane="coronal")))
    assert (len(coronal), coronal[-1].shape, coronal[-1].spacing_mm) == (9, (5, 7), (4.0, 1.0))
    assert coronal[-1].pixels[0, 0] == 255
    assert coronal[3].pixels[1, 2] == RAS[7 - 1 - 2, 3, 5 - 1 - 1]
    sagittal = list(open_scans(path, choice=SliceChoice(plane="sagittal")))
    assert (len(sagittal), sagittal[-1].shape, sagittal[-1].spacing_mm) == (7, (5, 9), (4.0, 1.5))
    assert sagittal[-1].pixels[0, 0] == 255
    assert sagittal[3].pixels[1, 2] == RAS[3, 9 - 1 - 2, 5 - 1 - 1]


@pytest.mark.parametrize("codes", ["RAS", "LPS", "LAS", "PIR", "SAL", "ASR"])
@pytest.mark.parametrize("degrees", [0, 17])
def test_the_same_head_gives_the_same_slices_however_it_is_stored(tmp_path, codes, degrees):
    values, affine = stored_as(codes)
    for plane in ("acquired", "axial", "coronal", "sagittal"):
        choice = SliceChoice(plane=plane)
        expected = [scan.sha256 for scan in open_scans(saved(tmp_path / "ras.nii", RAS), choice=choice)]
        path = saved(tmp_path / "a.nii.gz", values, tilted(affine, degrees))
        assert [scan.sha256 for scan in open_scans(path, choice=choice)] == expected


@pytest.mark.parametrize(
    ("zooms", "plane"),
    [
        ((1, 1, 5), "axial"),
        ((1, 5, 1), "coronal"),
        ((6, 1, 1), "sagittal"),
        ((1, 1, 1), "axial"),
        ((1.005, 1, 1), "axial"),
        ((2, 2, 1), "coronal"),
    ],
)
def test_the_plane_of_acquisition_is_across_the_widest_steps(tmp_path, zooms, plane):
    scan = next(open_scans(saved(tmp_path / "a.nii", RAS, np.diag([*zooms, 1.0]))))
    assert f"#{plane}:0" in scan.origin


def test_a_single_slice_is_that_slice_whatever_its_thickness(tmp_path):
    for shape in ((7, 9), (7, 9, 1), (7, 9, 1, 1)):
        values = RAS[..., 2].reshape(shape)
        (scan,) = open_scans(saved(tmp_path / "a.nii", values, np.eye(4)), choice=SliceChoice(slices="middle"))
        np.testing.assert_array_equal(scan.pixels, RAS[::-1, ::-1, 2].T)


def test_slices_are_chosen_by_number_range_or_the_middle(tmp_path):
    path = saved(tmp_path / "a.nii", RAS)
    for text, expected in (("all", [0, 1, 2, 3, 4]), ("middle", [2]), ("1-3", [1, 2, 3]), ("4", [4])):
        assert [scan.slice_index for scan in open_scans(path, choice=SliceChoice(slices=text))] == expected
    refused = refusal(path, choice=SliceChoice(slices="3-5"))
    assert refused.fault == "no_such_slice"
    assert "from 0 to 4" in str(refused)
    for text in ("5-3", "last", "-1", "1-", ""):
        with pytest.raises(UsageError):
            SliceChoice(slices=text)
    with pytest.raises(UsageError, match="oblique"):
        SliceChoice(plane="oblique")


def test_a_volume_of_one_slice_is_one_scan_of_no_number(tmp_path):
    (scan,) = open_scans(saved(tmp_path / "a.nii", RAS[:, :, :1]), choice=SliceChoice(plane="axial"))
    assert scan.slice_index is None
    assert scan.origin.endswith("#axial:0")


def test_all_slices_of_a_volume_have_one_type(tmp_path):
    values = RAS.astype(np.float32)
    assert {scan.pixels.dtype.name for scan in open_scans(saved(tmp_path / "a.nii", values))} == {"uint8"}
    values[..., 3] += 100.5
    assert {scan.pixels.dtype.name for scan in open_scans(saved(tmp_path / "b.nii", values))} == {"float32"}
    signed = RAS.astype(np.int16) - 50
    assert {scan.pixels.dtype.name for scan in open_scans(saved(tmp_path / "c.nii", signed))} == {"int16"}


def test_stored_values_are_scaled_as_the_header_says(tmp_path):
    image = nibabel.Nifti1Image(RAS.astype(np.int16), np.diag([*ZOOMS, 1.0]))
    image.header.set_slope_inter(0.5, -3)
    image.header.set_data_dtype(np.int16)
    with (tmp_path / "a.nii").open("wb") as file:
        file.write(image.header.binaryblock + bytes(4) + RAS.astype(np.int16).tobytes(order="F"))
    scan = next(open_scans(tmp_path / "a.nii"))
    np.testing.assert_array_equal(scan.pixels, RAS[::-1, ::-1, 0].T * np.float32(0.5) - 3)


def test_units_other_than_millimetres_are_converted(tmp_path):
    image = nibabel.Nifti1Image(RAS, np.diag([0.001, 0.0015, 0.004, 1.0]))
    image.header.set_xyzt_units("meter")
    image.to_filename(tmp_path / "a.nii")
    assert next(open_scans(tmp_path / "a.nii")).spacing_mm == pytest.approx((1.5, 1.0))


def test_both_versions_and_byte_orders_are_read(tmp_path):
    expected = [scan.sha256 for scan in open_scans(saved(tmp_path / "a.nii", RAS.astype(np.int16)))]
    second = saved(tmp_path / "b.nii.gz", RAS.astype(np.int16), kind=nibabel.Nifti2Image)
    assert [scan.sha256 for scan in open_scans(second)] == expected
    header = nibabel.Nifti1Header(endianness=">")
    header.set_data_dtype(np.int16)
    image = nibabel.Nifti1Image(RAS.astype(">i2"), np.diag([*ZOOMS, 1.0]), header)
    image.to_filename(tmp_path / "c.nii")
    assert [scan.sha256 for scan in open_scans(tmp_path / "c.nii")] == expected


def test_a_series_of_volumes_is_refused_with_what_to_do(tmp_path):
    refused = refusal(saved(tmp_path / "a.nii.gz", np.stack([RAS, RAS], axis=-1)))
    assert refused.fault == "four_dimensional"
    assert "(7, 9, 5, 2)" in str(refused)
    assert len(list(open_scans(saved(tmp_path / "b.nii.gz", RAS[..., None])))) == 5


def test_colours_and_complex_numbers_are_refused(tmp_path):
    colours = np.zeros((4, 4, 4), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    assert refusal(saved(tmp_path / "a.nii", colours)).fault == "no_numbers"
    assert refusal(saved(tmp_path / "b.nii", RAS.astype(np.complex64))).fault == "no_numbers"


def test_values_that_are_not_finite_are_refused(tmp_path):
    values = RAS.astype(np.float32)
    values[0, 0, 0] = np.nan
    assert "NaN" in str(refusal(saved(tmp_path / "a.nii", values)))


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_truncated_volumes_are_refused(tmp_path, name):
    path = saved(tmp_path / name, RNG.integers(0, 4000, (20, 20, 5)).astype(np.int16))
    whole = path.read_bytes()
    for length in (3, 100, 347, 400, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert refusal(path).fault in ("truncated", "not_a_picture")


def claiming(path: Path, shape: tuple[int, ...], *, dtype: type = np.uint8) -> bytes:
    header = nibabel.Nifti1Header()
    header.set_data_dtype(dtype)
    header.set_data_shape(shape)
    header["magic"], header["vox_offset"] = b"n+1", 352
    return header.binaryblock + bytes(4)


def test_claims_are_checked_before_room_is_made(tmp_path):
    path = tmp_path / "a.nii"
    path.write_bytes(claiming(path, (30000, 30000, 2)) + bytes(100))
    assert refusal(path).fault == "too_large"
    path.write_bytes(claiming(path, (4000, 4000, 30), dtype=np.float64) + bytes(100))
    assert refusal(path).fault == "too_large"
    path.write_bytes(claiming(path, (500, 500, 500)) + bytes(100))
    assert refusal(path).fault == "truncated"


def test_a_compressed_volume_that_inflates_beyond_its_claim_is_refused(tmp_path):
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(claiming(path, (4, 4, 4)) + bytes(64) + bytes(4 * 2**20)))
    assert path.stat().st_size < 10_000
    assert refusal(path).fault == "too_large"


def test_a_compressed_volume_may_not_become_larger_than_allowed(tmp_path, monkeypatch):
    monkeypatch.setattr(nifti, "MAX_FILE_BYTES", 100)
    assert refusal(saved(tmp_path / "a.nii.gz", RAS)).fault == "too_large"
    assert limits.MAX_FILE_BYTES > 100


def test_a_damaged_checksum_is_noticed(tmp_path):
    path = saved(tmp_path / "a.nii.gz", RAS)
    content = bytearray(path.read_bytes())
    content[-6] ^= 255
    path.write_bytes(content)
    assert refusal(path).fault == "truncated"


def test_a_header_without_its_values_is_refused(tmp_path):
    nibabel.Nifti1Pair(RAS, np.eye(4)).to_filename(tmp_path / "a.hdr")
    assert refusal(tmp_path / "a.hdr").fault == "pair"


def test_an_axis_without_direction_is_refused(tmp_path):
    path = saved(tmp_path / "a.nii", RAS)
    image = nibabel.load(path)
    image.header["srow_y"], image.header["sform_code"], image.header["qform_code"] = 0, 1, 0
    with (tmp_path / "b.nii").open("wb") as file:
        file.write(image.header.binaryblock + bytes(4) + RAS.tobytes(order="F"))
    assert refusal(tmp_path / "b.nii").fault == "affine"


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(seed=st.integers(0, 2**32), places=st.integers(1, 12), whole=st.booleans())
def test_damaged_bytes_end_in_scans_or_a_refusal(tmp_path, name, seed, places, whole):
    content = saved(tmp_path / name, RAS).read_bytes()
    (tmp_path / name).write_bytes(damaged(content, seed=seed, places=places, whole=whole))
    with scans_or_refusal():
        assert list(open_scans(tmp_path / name))
