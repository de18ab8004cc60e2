"""`predict` of volumes and DICOM series: slices in order, a summary at the end, and going on after a kill."""

import csv
import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
from command_line import invoke
from dicom_files import shipped, write_dicom

from tumorscope.errors import DecodeError, SourceError, UsageError
from tumorscope.finding import Finding
from tumorscope.finding_summary import NOTE, SliceSummary

GOLDEN = Path(__file__).parents[1] / "golden" / "cnn-0.1"
NAMES = ("q", "b", "x", "a", "m")
AXIAL = [1, 0, 0, 0, 1, 0]


def predict(*arguments):
    return invoke("predict", *arguments, "--model", GOLDEN)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def names(records):
    return [Path(record["path"]).name for record in records]


def unfinished(out, content):
    out.write_bytes(content)
    stamp = out.with_name(f"{out.name}.run.json")
    stamp.write_text(json.dumps({**json.loads(stamp.read_text()), "finished": False}))


@pytest.fixture
def volume(tmp_path):
    """Four axial slices of 32 x 24 pixels."""
    values = np.random.default_rng(0).integers(0, 200, (24, 32, 4)).astype(np.uint8)
    nibabel.Nifti1Image(values, np.diag([1.0, 1.0, 4.0, 1.0])).to_filename(tmp_path / "head.nii.gz")
    return tmp_path / "head.nii.gz"


def write_series(folder, *, uid="1.2.3", seed=0):
    """Write five slices whose places are in the order of `NAMES`, which is neither that of the names nor of the numbers."""
    pixels = np.random.default_rng(seed).integers(0, 200, (len(NAMES), 32, 24)).astype(np.uint16)
    for place, name in enumerate(NAMES):
        where = {"ImagePositionPatient": [0, 0, 5 * place], "ImageOrientationPatient": AXIAL, "InstanceNumber": 90 - place}
        write_dicom(folder / f"{name}.dcm", pixels[place], SeriesInstanceUID=uid, **where)


@pytest.fixture
def folder(tmp_path):
    """Two series of five slices, a CT, notes that nobody means to be read."""
    write_series(tmp_path / "scans" / "one")
    write_series(tmp_path / "scans" / "two", uid="1.2.4", seed=1)
    shutil.copy(shipped("CT_small.dcm"), tmp_path / "scans" / "ct.dcm")
    (tmp_path / "scans" / "notes.txt").write_text("words")
    return tmp_path / "scans"


def test_a_volume_prints_a_line_for_every_slice_and_then_its_summary(volume):
    printed = predict(volume).stdout.splitlines()
    assert [line.partition(": ")[0] for line in printed[:4]] == [f"{volume}#axial:{number}" for number in range(4)]
    assert printed[4].startswith("4 slices: ")
    assert printed[5].startswith(f"Most suspicious slice: {volume}#axial:")
    assert printed[6] == NOTE
    assert NOTE not in predict(volume, "--slices", "middle").stdout


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--slices", "1-2"], ["axial:1", "axial:2"]),
        (["--slices", "3", "--plane", "coronal"], ["coronal:3"]),
        (["--slices", "middle"], ["axial:2"]),
    ],
)
def test_wanted_slices_of_a_plane_are_answered_for(volume, tmp_path, options, expected):
    predict(volume, *options, "-o", tmp_path / "out.jsonl")
    found = [record["path"].partition("#")[2] for record in lines(tmp_path / "out.jsonl") if "summary" not in record]
    assert found == expected


def test_the_summary_in_an_output_is_that_of_its_findings_and_tables_have_none(volume, tmp_path):
    for suffix in ("jsonl", "csv", "parquet"):
        predict(volume, "-o", tmp_path / f"out.{suffix}")
    *findings, last = lines(tmp_path / "out.jsonl")
    assert last == {
        "path": str(volume),
        "summary": json.loads(json.dumps(SliceSummary.of([Finding.from_json(one) for one in findings]).to_json())),
    }
    paths = [record["path"] for record in findings]
    with (tmp_path / "out.csv").open(newline="") as file:
        assert [row["path"] for row in csv.DictReader(file)] == paths
    assert pytest.importorskip("pyarrow.parquet").read_table(tmp_path / "out.parquet")["path"].to_pylist() == paths


def test_a_folder_of_series_is_answered_for_in_geometric_order_with_a_summary_each(folder, tmp_path):
    out = tmp_path / "out.jsonl"
    result = predict(folder, "--series", "-o", out)
    records = lines(out)
    order = [f"{name}.dcm" for name in NAMES]
    assert names(records) == ["ct.dcm", *order, "scans#series-1", *order, "scans#series-2"]
    assert "CT" in records[0]["error"]
    assert [record["summary"]["slices"] for record in records if "summary" in record] == [5, 5]
    for start in (1, 7):
        findings = [Finding.from_json(record) for record in records[start : start + 5]]
        assert records[start + 5]["summary"] == json.loads(json.dumps(SliceSummary.of(findings).to_json()))
    assert result.exit_code == 1
    assert "1 files could not be read" in result.stderr


def test_a_series_is_printed_and_what_is_refused_is_said_beside(folder):
    result = predict(folder, "--series", "--limit", "1", "--slices", "1-3")
    printed = result.stdout.splitlines()
    assert [Path(line.partition(": ")[0]).name for line in printed[:3]] == ["b.dcm", "x.dcm", "a.dcm"]
    assert printed[3].startswith("3 slices: ")
    assert "ct.dcm" in result.stderr
    assert result.exit_code == 1


def test_other_modalities_are_let_through_when_asked(folder):
    with pytest.raises(DecodeError, match="CT"):
        predict(folder / "ct.dcm")
    assert predict(folder / "ct.dcm", "--any-modality").exit_code == 0
    result = predict(folder, "--series", "--any-modality")
    assert result.exit_code == 0
    assert "1 slices: " in result.stdout


def test_a_slice_that_cannot_be_decoded_is_an_error_and_the_summary_says_that_it_lacks(folder, tmp_path):
    broken = folder / "one" / "q.dcm"
    broken.write_bytes(broken.read_bytes()[:-500])
    out = tmp_path / "out.jsonl"
    predict(folder, "--series", "-o", out)
    whole, records = out.read_bytes(), lines(out)
    assert names(records)[:7] == ["ct.dcm", "b.dcm", "x.dcm", "a.dcm", "m.dcm", "q.dcm", "scans#series-1"]
    assert "error" in records[5]
    assert (records[6]["summary"]["slices"], records[6]["summary"]["unread"]) == (4, 1)
    unfinished(out, b"".join(whole.splitlines(keepends=True)[:6]))  # the series without its summary
    assert predict(folder, "--series", "-o", out).exit_code == 1
    assert out.read_bytes() == whole


def test_a_series_without_a_slice_that_can_be_read_is_one_error(folder, tmp_path):
    for path in (folder / "one").iterdir():
        path.write_bytes(path.read_bytes()[:-500])
    predict(folder, "--series", "-o", tmp_path / "out.jsonl")
    error = lines(tmp_path / "out.jsonl")[1]
    assert (error["path"], set(error)) == (f"{folder}#series-1", {"path", "error"})
    assert "none of its 5 slices" in error["error"]


@pytest.mark.parametrize(("suffix", "cuts"), [("jsonl", [0.004, 0.3, 0.7, 0.999, 1.0]), ("csv", [0.6])])
def test_series_cut_short_anywhere_are_gone_on_with_to_the_same_bytes(folder, tmp_path, suffix, cuts):
    out = tmp_path / f"out.{suffix}"
    predict(folder, "--series", "-o", out)
    whole = out.read_bytes()
    for kept in cuts:
        unfinished(out, whole[: int(len(whole) * kept)])
        result = predict(folder, "--series", "-o", out)
        assert out.read_bytes() == whole
        assert result.exit_code == 1
    assert whole.count(b'"summary"') == (2 if suffix == "jsonl" else 0)


def test_only_whole_series_are_taken_over(folder, tmp_path):
    out = tmp_path / "out.jsonl"
    predict(folder, "--series", "-o", out)
    unfinished(out, b"".join(out.read_bytes().splitlines(keepends=True)[:9]))  # the CT, one series, two slices
    assert "2 series and files that are in none are answered for already" in predict(folder, "--series", "-o", out).stderr
    write_series(folder / "three", uid="1.2.5")
    with pytest.raises(UsageError, match="another folder"):
        predict(folder, "--series", "-o", out)
    with pytest.raises(UsageError, match="another options"):
        predict(folder, "-o", out)


def test_maps_of_series_are_written_and_not_taken_for_scans(folder):
    out = folder / "out.jsonl"
    for _ in range(2):
        predict(folder, "--series", "-o", out, "--heatmaps", "overlay")
    records = lines(out)
    assert len(records) == 13
    assert all((folder / record["files"]["overlay"]).is_file() for record in records if "files" in record)


def test_what_is_no_folder_of_series_is_refused(volume, tmp_path):
    with pytest.raises(UsageError, match="--series takes folders"):
        predict(volume, "--series")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="no DICOM files"):
        predict(tmp_path / "empty", "--series")
    with pytest.raises(UsageError, match="5-2"):
        predict(volume, "--slices", "5-2")
    with pytest.raises(DecodeError, match="counted from 0 to 3"):
        predict(volume, "--slices", "9")
