"""DICOM and NIfTI files as images of a data set: class folders of them, and a CSV that names slices of volumes."""

import re

import nibabel
import numpy as np
import pytest
from dicom_files import write_dicom

from tumorscope.data.decode import decode_record
from tumorscope.data.home import SALT_FILE, installation_salt
from tumorscope.data.nifti import open_nifti
from tumorscope.data.slice_choice import SliceChoice
from tumorscope.data.sources import index_source
from tumorscope.errors import OutputError, SourceError, UsageError

RNG = np.random.default_rng(3)


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    place = tmp_path / "home"
    monkeypatch.setenv("TUMORSCOPE_HOME", str(place))
    return place


def picture():
    return RNG.integers(0, 4000, (24, 30)).astype(np.uint16)


def test_dicom_files_in_class_folders_bring_their_patients_as_digests(tmp_path):
    pictures = {}
    for number, (label, patient) in enumerate([("glioma", "Doe^1"), ("glioma", "Doe^1"), ("notumor", "Roe^2"), ("pituitary", "")]):
        path = tmp_path / "set" / label / f"{number}.dcm"
        pictures[f"{label}/{number}.dcm"] = picture()
        write_dicom(path, pictures[f"{label}/{number}.dcm"], PatientID=patient)
    manifest = index_source(tmp_path / "set")
    groups = [record.group for record in manifest]
    assert groups[0] == groups[1] != groups[2]
    assert re.fullmatch(r"patient-[0-9a-f]{32}", groups[0])
    assert groups[3] == ""
    assert "Patients were taken from the PatientID of DICOM files, as salted digests: 2." in manifest.notes
    for record in manifest:
        np.testing.assert_array_equal(decode_record(manifest, record).pixels, pictures[record.path])
    assert [record.group for record in index_source(tmp_path / "set")] == groups, "the secret is kept"


def test_a_csv_names_slices_of_volumes_and_frames(tmp_path):
    volume = RNG.integers(0, 255, (12, 10, 6)).astype(np.uint8)
    nibabel.Nifti1Image(volume, np.diag([1, 1, 4, 1])).to_filename(tmp_path / "sub-07.nii.gz")
    (tmp_path / "all.csv").write_text("path,label\nsub-07.nii.gz#axial:2,glioma\nsub-07.nii.gz#sagittal:4,notumor\n")
    manifest = index_source(tmp_path / "all.csv")
    assert [record.group for record in manifest] == ["sub-07", "sub-07"]
    for record, choice in zip(manifest, (SliceChoice("axial", "2"), SliceChoice("sagittal", "4")), strict=True):
        [scan] = open_nifti(tmp_path / "sub-07.nii.gz", choice=choice)
        assert record.sha256 == scan.sha256
        assert record.path.endswith(scan.origin.rpartition("/")[2])


def test_a_volume_without_a_slice_is_refused_with_what_to_write(tmp_path):
    (tmp_path / "glioma").mkdir()
    nibabel.Nifti1Image(np.zeros((12, 10, 6), dtype=np.uint8), np.eye(4)).to_filename(tmp_path / "glioma" / "a.nii")
    with pytest.raises(SourceError, match=r"holds several slices.*Give a CSV that names each.*a\.nii#axial:0"):
        index_source(tmp_path)


@pytest.mark.parametrize("item", ["oblique:2", "axial:9"])
def test_a_slice_that_is_not_there_is_refused(tmp_path, item):
    nibabel.Nifti1Image(np.zeros((12, 10, 6), dtype=np.uint8), np.eye(4)).to_filename(tmp_path / "a.nii")
    (tmp_path / "all.csv").write_text(f"path,label\na.nii#{item},glioma\n")
    with pytest.raises(SourceError, match=r"oblique is no plane|slices 9 were asked for"):
        index_source(tmp_path / "all.csv")


def test_the_secret_is_the_users_alone_and_a_damaged_one_is_refused(home):
    salt = installation_salt()
    assert len(salt) == 32
    assert (home / SALT_FILE).stat().st_mode & 0o077 == 0
    assert installation_salt() == salt
    assert [path.name for path in home.iterdir()] == [SALT_FILE]
    (home / SALT_FILE).write_bytes(b"short")
    with pytest.raises(UsageError, match="5 bytes instead of 32"):
        installation_salt()


def test_a_place_that_cannot_hold_the_secret_is_named(home):
    home.write_text("a file")
    with pytest.raises(OutputError, match="home"):
        installation_salt()
