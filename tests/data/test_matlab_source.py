from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tumorscope.data.decode import decode_record, read_mask
from tumorscope.data.packing import pack_npz
from tumorscope.data.pixel_cache import build_pixel_cache
from tumorscope.data.preprocess import Preprocessing
from tumorscope.data.sources import index_source
from tumorscope.data.split import split_folds, split_manifest
from tumorscope.errors import SourceError
from tumorscope.manifest import read_manifest, write_manifest

# Of files 1.mat to 15.mat: five of each label, three patients of each, and each patient in one fold.
LABELS_OF = [1] * 5 + [2] * 5 + [3] * 5
PATIENTS_OF = [f"MR{label}{patient}" for label in (1, 2, 3) for patient in ("A", "A", "B", "B", "C")]
FOLDS_OF = [fold for _ in range(3) for fold in (1, 1, 2, 2, 3)]


@pytest.fixture
def folder(tmp_path, write_slice, write_folds) -> Path:
    """Cheng's set in small, unpacked as it comes: two parts with fifteen files, and `cvind.mat` and `README.txt` beside them."""
    root = tmp_path / "cheng"
    for number, (label, patient) in enumerate(zip(LABELS_OF, PATIENTS_OF, strict=True), start=1):
        part = "brainTumorDataPublic_1-7" if number <= 7 else "brainTumorDataPublic_8-15"
        write_slice(root / part / f"{number}.mat", seed=number, label=[[float(label)]], PID=patient, shape=(48, 40))
    write_folds(root / "cvind.mat", FOLDS_OF)
    (root / "README.txt").write_text("read me")
    return root


def refusal(path: Path) -> str:
    with pytest.raises(SourceError) as caught:
        index_source(path)
    message = str(caught.value)
    assert path.name in message
    assert "\n" not in message
    return message


def test_a_folder_becomes_a_manifest_with_groups_folds_and_masks(folder):
    manifest = index_source(folder)
    assert [record.path for record in manifest][:3] == [f"brainTumorDataPublic_1-7/{number}.mat" for number in (1, 2, 3)]
    assert [Path(record.path).stem for record in manifest] == [str(number) for number in range(1, 16)]
    assert manifest.counts() == {"glioma": 5, "meningioma": 5, "notumor": 0, "pituitary": 5}
    assert [record.label for record in manifest][::5] == ["meningioma", "glioma", "pituitary"]
    assert [record.group for record in manifest] == [f"cheng:{patient}" for patient in PATIENTS_OF]
    assert [record.fold for record in manifest] == [fold - 1 for fold in FOLDS_OF]
    assert all(record.mask == record.path and record.source == "cheng" and not record.split for record in manifest)
    assert manifest.knows_patients
    assert manifest.root == folder.resolve()


def test_the_notes_say_what_was_taken_for_what(folder):
    notes = index_source(folder).notes
    assert notes[0] == (
        "MATLAB files in Cheng's layout: 15 images, labels 1 = meningioma, 2 = glioma, 3 = pituitary; 9 patients by PID, which are "
        "the groups; masks: 15 x tumorMask."
    )
    assert notes[1:] == ("cvind.mat: 3 folds taken, counted from 0.", "Ignored beside the MATLAB files: 1 x .txt.")


def test_images_and_masks_of_the_manifest_fit_each_other(folder):
    manifest = index_source(folder)
    for record in manifest:
        scan = decode_record(manifest, record)
        mask = read_mask(manifest, record, scan.shape)
        assert (scan.shape, scan.pixels.dtype, scan.sha256) == ((48, 40), np.int16, record.sha256)
        # The fixture's ellipse is upright, in the upper right of the picture.
        rows, columns = np.nonzero(mask)
        assert (rows.mean(), columns.mean()) == pytest.approx((14.4, 24), abs=0.6)
        assert np.ptp(rows) > 1.5 * np.ptp(columns)


def test_files_in_one_folder_or_a_wrapping_one_or_a_single_file_are_read(tmp_path, write_slice):
    for number in (2, 10, 1):
        write_slice(tmp_path / "outer" / "inner" / "deep" / f"{number}.MAT", seed=number)
    assert [record.path for record in index_source(tmp_path / "outer" / "inner" / "deep")] == ["1.MAT", "2.MAT", "10.MAT"]
    assert [record.path for record in index_source(tmp_path / "outer")] == ["deep/1.MAT", "deep/2.MAT", "deep/10.MAT"]
    (record,) = index_source(tmp_path / "outer" / "inner" / "deep" / "2.MAT")
    assert (record.path, record.group, record.fold) == ("2.MAT", "cheng:100360", None)


def test_a_manifest_written_elsewhere_finds_images_and_masks(folder, tmp_path):
    manifest = index_source(folder)
    for place in (folder / "manifest.csv", tmp_path / "else where" / "manifest.csv"):
        write_manifest(manifest, place)
        back = read_manifest(place)
        assert back.data_fingerprint == manifest.data_fingerprint
        assert [record.fold for record in back] == [record.fold for record in manifest]
        for record in back:
            assert record.mask == record.path
            assert read_mask(back, record, decode_record(back, record).shape).any()
    assert Path(back.records[0].path).is_absolute()
    assert index_source(folder / "manifest.csv").data_fingerprint == manifest.data_fingerprint


def test_a_csv_may_name_matlab_files_and_their_labels(tmp_path, write_slice):
    write_slice(tmp_path / "1.mat", label=None)
    (tmp_path / "set.csv").write_text("path,label,mask\n1.mat,glioma,1.mat\n")
    manifest = index_source(tmp_path / "set.csv")
    assert manifest.records[0].label == "glioma"
    assert read_mask(manifest, manifest.records[0], (24, 20)).any()


def test_packed_as_npz_it_is_the_same_data(folder, tmp_path):
    manifest = index_source(folder)
    pack_npz(manifest, tmp_path / "packed")
    back = index_source(tmp_path / "packed")
    assert back.data_fingerprint == manifest.data_fingerprint
    assert [record.group for record in back] == [record.group for record in manifest]


def test_the_pixel_cache_holds_it_on_the_grid_of_the_network(folder, tmp_path):
    manifest, preprocessing = index_source(folder), Preprocessing(image_size=32)
    cache = build_pixel_cache(manifest, preprocessing, tmp_path)
    grids = np.stack([preprocessing.grid(decode_record(manifest, record)) for record in manifest])
    np.testing.assert_array_equal(cache.grids, grids)


def test_it_is_split_by_patient_and_its_folds_are_kept(folder):
    manifest = index_source(folder)
    sides = {(record.group, record.split) for record in split_manifest(manifest, validation_share=0.3, test_share=0.3)}
    assert max(Counter(group for group, _ in sides).values()) == 1
    for fold, part in enumerate(split_folds(manifest, folds=3, validation_share=0.4)):
        assert {record.fold for record in part if record.split == "test"} == {fold}


@pytest.mark.parametrize(
    ("folds", "reason"),
    [
        ([1, 2, 3], "holds 3 folds, so the images have to be 1.mat to 3.mat; here are 15 files"),
        ([*FOLDS_OF[:-1], 0], "not a list of whole numbers from 1 on"),
    ],
)
def test_folds_that_do_not_fit_are_not_taken_and_that_is_said(folder, write_folds, folds, reason):
    write_folds(folder / "cvind.mat", folds)
    manifest = index_source(folder)
    assert all(record.fold is None for record in manifest)
    note = next(note for note in manifest.notes if note.startswith("cvind.mat was not taken"))
    assert reason in note


def test_folds_need_the_numbers_and_not_only_as_many_files(folder):
    (folder / "brainTumorDataPublic_1-7" / "3.mat").rename(folder / "16.mat")
    manifest = index_source(folder)
    assert all(record.fold is None for record in manifest)
    assert any("1.mat to 15.mat; here are 15 files" in note for note in manifest.notes)


def test_folds_count_files_that_cannot_be_read(folder):
    (folder / "brainTumorDataPublic_1-7" / "1.mat").write_bytes(b"broken")
    manifest = index_source(folder)
    assert [record.fold for record in manifest] == [fold - 1 for fold in FOLDS_OF[1:]]


def test_broken_files_and_unknown_labels_are_left_out_counted_and_named(folder, write_slice):
    part = folder / "brainTumorDataPublic_1-7"
    (part / "1.mat").write_bytes((part / "1.mat").read_bytes()[:3000])
    write_slice(part / "2.mat", label=[[4.0]])
    write_slice(part / "3.mat", label=None)
    write_slice(part / "4.mat", image=np.full((24, 20), np.nan), classes={"image": "double"})
    manifest = index_source(folder)
    assert len(manifest) == 11
    note = next(note for note in manifest.notes if note.startswith("Left out 3 of 15 MATLAB files"))
    assert "1.mat: no MATLAB file, or broken or truncated" in note
    assert "2.mat: the label in cjdata is 4. Known: 1 = meningioma, 2 = glioma, 3 = pituitary." in note
    assert "3.mat: the label in cjdata is missing or not a whole number" in note
    assert any("Left out 1 of 12 images" in note and "4.mat: pixels hold NaN" in note for note in manifest.notes)
    assert not any("\n" in note for note in manifest.notes)


def test_at_most_five_files_are_named(folder):
    for number in range(8, 15):
        (folder / "brainTumorDataPublic_8-15" / f"{number}.mat").write_bytes(b"")
    note = next(note for note in index_source(folder).notes if note.startswith("Left out 7 of 15"))
    assert sum(f"/{number}.mat" in note for number in range(8, 15)) == 5
    assert note.endswith("And 2 more.")


def test_masks_that_are_missing_or_do_not_fit_are_told(folder, write_slice):
    part = folder / "brainTumorDataPublic_1-7"
    write_slice(part / "1.mat", tumorMask=None)
    write_slice(part / "2.mat", tumorMask=None, tumorBorder=None)
    write_slice(part / "3.mat", tumorMask=np.ones((20, 24), dtype=np.uint8))
    manifest = index_source(folder)
    assert [record.mask for record in manifest][:4] == [
        f"brainTumorDataPublic_1-7/{n}.mat" if n in (1, 4) else "" for n in (1, 2, 3, 4)
    ]
    masks = "masks: 12 x tumorMask, 1 x tumorBorder, 1 x no outline, 1 x a tumorMask of another size than the image."
    assert masks in manifest.notes[0]
    assert "Taken without a mask, since it has another size than the image: brainTumorDataPublic_1-7/3.mat." in manifest.notes


def test_a_file_without_a_patient_has_no_group_and_that_is_told(folder, write_slice):
    write_slice(folder / "brainTumorDataPublic_1-7" / "1.mat", PID=None)
    write_slice(folder / "brainTumorDataPublic_1-7" / "2.mat", PID="")
    manifest = index_source(folder)
    assert [record.group for record in manifest][:3] == ["", "", "cheng:MR1B"]
    assert "No PID, so no group: brainTumorDataPublic_1-7/1.mat, brainTumorDataPublic_1-7/2.mat." in manifest.notes


def test_images_of_other_sizes_are_read(tmp_path, write_slice):
    for number, shape in ((1, (64, 64)), (2, (32, 32)), (3, (30, 50))):
        write_slice(tmp_path / f"{number}.mat", shape=shape)
    manifest = index_source(tmp_path)
    for record, shape in zip(manifest, ((64, 64), (32, 32), (30, 50)), strict=True):
        assert decode_record(manifest, record).shape == shape
        assert read_mask(manifest, record, shape).any()


def test_other_matlab_files_are_no_data_set(tmp_path, write_folds):
    write_folds(tmp_path / "folds" / "cvind.mat", [1, 2, 3])
    assert "1 of 1 MATLAB files cannot be read. The first: " in refusal(tmp_path / "folds")
    assert "no variable cjdata; it holds cvind" in refusal(tmp_path / "folds" / "cvind.mat")
    (tmp_path / "text.mat").write_text("x" * 500)
    assert "no MATLAB file" in refusal(tmp_path / "text.mat")


def test_mostly_broken_files_are_no_data_set(tmp_path, write_slice):
    write_slice(tmp_path / "set" / "1.mat")
    for number in (2, 3):
        (tmp_path / "set" / f"{number}.mat").touch()
    assert "2 of 3 MATLAB files cannot be read. The first: " in refusal(tmp_path / "set")


def test_class_folders_beside_matlab_files_come_first(tmp_path, write_slice):
    write_slice(tmp_path / "1.mat")
    (tmp_path / "glioma").mkdir()
    Image.fromarray(np.zeros((8, 9), dtype=np.uint8)).save(tmp_path / "glioma" / "a.png")
    manifest = index_source(tmp_path)
    assert [record.path for record in manifest] == ["glioma/a.png"]
    assert any("1.mat" in note for note in manifest.notes)
