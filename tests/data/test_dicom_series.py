import shutil
from pathlib import Path

import numpy as np
import pytest
from dicom_files import item, sequence, shipped, write_dicom

from tumorscope.data import dicom
from tumorscope.data.dicom_header import read_dataset
from tumorscope.data.dicom_series import Series, open_series
from tumorscope.data.slice_choice import SliceChoice
from tumorscope.errors import DecodeError

SALT = bytes(range(16))
AXIAL, CORONAL, SAGITTAL = [1, 0, 0, 0, 1, 0], [1, 0, 0, 0, 0, -1], [0, 1, 0, 0, 0, -1]
# A tilt of 30 degrees around the left-right axis; the normal is (0, -0.5, 0.866).
TILTED = [1, 0, 0, 0, 0.8660254, 0.5]
NAMES = ("q", "b", "x", "a", "m")


def slice_of(value: int) -> np.ndarray:
    return np.full((4, 5), value, dtype=np.uint16)


def write_slice_at(path: Path, value: int, *, position=None, orientation=AXIAL, number=None, uid="1.2.3", **more) -> Path:
    given = {"ImagePositionPatient": position, "ImageOrientationPatient": orientation, "InstanceNumber": number}
    known = {keyword: content for keyword, content in given.items() if content is not None}
    return write_dicom(path, slice_of(value), SeriesInstanceUID=uid, **known, **more)


def values(series: Series) -> list[int]:
    return [int(scan.pixels[0, 0]) for scan in series.scans()]


def test_slices_lie_in_geometric_order_whatever_their_names_and_numbers(tmp_path):
    for value, name in enumerate(NAMES):
        write_slice_at(tmp_path / f"{name}.dcm", value, position=[0, 0, -20 + 5 * value], number=50 - value)
    (series,) = open_series(tmp_path).series
    assert values(series) == [0, 1, 2, 3, 4]
    assert series.notes == ()
    assert values(series) == values(series)


def test_tilted_slices_are_ordered_along_their_normal(tmp_path):
    for value, name in enumerate(NAMES):
        along, sideways = 5 * value, 40 * (value % 2)
        position = [sideways, -0.5 * along + 0.8660254 * sideways, 0.8660254 * along + 0.5 * sideways]
        write_slice_at(tmp_path / f"{name}.dcm", value, position=position, orientation=TILTED)
    (series,) = open_series(tmp_path).series
    assert values(series) == [0, 1, 2, 3, 4]


def test_without_positions_numbers_count_and_the_series_says_so(tmp_path):
    for value, name in enumerate(NAMES):
        write_slice_at(tmp_path / f"{name}.dcm", value, number=10 + value, orientation=None)
    (series,) = open_series(tmp_path).series
    assert values(series) == [0, 1, 2, 3, 4]
    assert "InstanceNumber" in series.notes[0]


def test_series_are_told_apart_and_named_by_digests(tmp_path):
    write_slice_at(tmp_path / "one" / "a", 1, position=[0, 0, 0], uid="1.2.3")
    write_slice_at(tmp_path / "one" / "b", 2, position=[0, 0, 0], uid="1.2.4")
    write_slice_at(tmp_path / "two" / "c", 3, position=[0, 0, -5], uid="1.2.3")
    first, second = open_series(tmp_path, salt=SALT).series
    assert (values(first), values(second)) == ([3, 1], [2])
    assert first.name != second.name
    assert first.group == second.group
    (scan,) = second.scans(salt=SALT)
    assert (scan.series, scan.group) == (second.name, second.group)
    assert "1.2.3" not in repr(first)
    assert [series.name for series in open_series(tmp_path).series] == ["series-1", "series-2"]
    assert open_series(tmp_path).series[0].group == ""


def test_a_localiser_becomes_one_series_for_each_orientation(tmp_path):
    for number, orientation in enumerate((AXIAL, CORONAL, SAGITTAL, AXIAL)):
        write_slice_at(tmp_path / f"{number}.dcm", number, position=[0, 0, -number], orientation=orientation)
    found = open_series(tmp_path).series
    assert [values(series) for series in found] == [[3, 0], [1], [2]]
    assert all("Mixed orientation: 3" in series.notes[0] for series in found)
    assert len({series.name for series in found}) == 3


def test_several_slices_at_a_position_are_kept_in_the_order_of_their_numbers_and_said(tmp_path):
    for number, z in enumerate((0, 5, 0, 5)):
        write_slice_at(tmp_path / f"{9 - number}.dcm", number, position=[0, 0, z], number=number)
    (series,) = open_series(tmp_path).series
    assert values(series) == [0, 2, 1, 3]
    assert "2 positions" in series.notes[0]


def test_what_is_no_slice_is_reported_with_its_reason(tmp_path):
    write_slice_at(tmp_path / "a.dcm", 1, position=[0, 0, 0])
    shutil.copy(tmp_path / "a.dcm", tmp_path / "b.dcm")
    shutil.copy(shipped("CT_small.dcm"), tmp_path / "c.dcm")
    (tmp_path / "d.txt").write_text("words")
    (tmp_path / "e.dcm").symlink_to("a.dcm")
    (tmp_path / ".hidden").write_text("words")
    opened = open_series(tmp_path)
    assert [(path.name, error.fault) for path, error in opened.refused] == [
        ("b.dcm", "duplicate"),
        ("c.dcm", "modality"),
        ("d.txt", "not_a_picture"),
        ("e.dcm", "link"),
    ]
    assert len(opened.series) == 1
    with pytest.raises(DecodeError, match="no such folder"):
        open_series(tmp_path / "none")


def test_frames_of_an_enhanced_image_are_ordered_by_their_own_positions(tmp_path, monkeypatch):
    heights = (10, 0, 20)
    frames = np.stack([slice_of(value) for value in heights])
    placed = [item(PlanePositionSequence=sequence(item(ImagePositionPatient=[0, 0, z]))) for z in heights]
    shared = item(PlaneOrientationSequence=sequence(item(ImageOrientationPatient=AXIAL)))
    write_dicom(
        tmp_path / "a.dcm",
        frames,
        SeriesInstanceUID="1.2.3",
        SharedFunctionalGroupsSequence=sequence(shared),
        PerFrameFunctionalGroupsSequence=sequence(*placed),
    )
    (series,) = open_series(tmp_path).series
    assert values(series) == [0, 10, 20]
    assert [scan.slice_index for scan in series.scans()] == [1, 0, 2]
    reads = []
    monkeypatch.setattr(dicom, "read_dataset", lambda path: reads.append(path) or read_dataset(path))
    assert values(series) == [0, 10, 20]
    assert len(reads) == 1
    (middle,) = series.scans(choice=SliceChoice(slices="middle"))
    assert middle.origin == f"{tmp_path / 'a.dcm'}#0"
