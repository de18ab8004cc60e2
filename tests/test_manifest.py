from dataclasses import replace
from pathlib import Path

import pytest

from tumorscope.errors import ManifestError, OutputError
from tumorscope.manifest import COLUMNS, Manifest, Record, is_outline, read_manifest, split_item, write_manifest

RECORDS = (
    Record("a/1.png", "glioma", sha256="aa", group="p1", split="train", fold=0, source="here", mask="1,2 3,4 5.5,6"),
    Record("a/2.png", "notumor", sha256="bb", split="test", fold=3),
    Record("m.npz#images:0", "pituitary", sha256="cc", group="p,3", split="validation", mask="m/3.png", flags=("copy", "dark")),
    Record("with space, ünïcödé.png", "meningioma", sha256="dd"),
)


def manifest_of(*records: Record, root: Path = Path("nowhere")) -> Manifest:
    return Manifest(root, records or RECORDS)


def test_a_manifest_reads_back_as_it_was_written(tmp_path):
    written = write_manifest(manifest_of(root=tmp_path), tmp_path / "manifest.csv")
    read = read_manifest(tmp_path / "manifest.csv")
    assert read.records == written.records == RECORDS
    assert read.root == written.root == tmp_path.resolve()


def test_paths_outside_of_the_folder_are_written_absolute_and_outlines_stay(tmp_path):
    (tmp_path / "run").mkdir()
    written = write_manifest(manifest_of(root=tmp_path / "data"), tmp_path / "run" / "manifest.csv")
    read = read_manifest(tmp_path / "run" / "manifest.csv")
    assert read.records == written.records
    assert read.records[0].path == (tmp_path / "data" / "a" / "1.png").as_posix()
    assert read.records[0].mask == RECORDS[0].mask
    assert read.locate(read.records[2].path) == tmp_path / "data" / "m.npz"
    assert read.locate(read.records[2].mask) == tmp_path / "data" / "m" / "3.png"


def test_a_folder_with_its_manifest_can_be_moved(tmp_path):
    first = tmp_path / "first"
    (first / "a").mkdir(parents=True)
    (first / "a" / "1.png").touch()
    write_manifest(manifest_of(RECORDS[0], root=first), first / "manifest.csv")
    first.rename(tmp_path / "second")
    read = read_manifest(tmp_path / "second" / "manifest.csv")
    assert read.locate(read.records[0].path).is_file()


def test_nothing_is_left_behind_where_writing_fails(tmp_path):
    (tmp_path / "manifest.csv").mkdir()
    with pytest.raises(OutputError, match=r"manifest\.csv"):
        write_manifest(manifest_of(root=tmp_path), tmp_path / "manifest.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.csv"]


def test_a_file_name_that_is_not_unicode_is_refused_when_written(tmp_path):
    odd = replace(RECORDS[1], path="scan-\udcff.png")
    with pytest.raises(ManifestError, match="not Unicode"):
        write_manifest(manifest_of(odd, root=tmp_path), tmp_path / "manifest.csv")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"path": ""}, "empty path"),
        ({"label": "yes"}, "unknown label 'yes'"),
        ({"split": "Testing"}, "unknown split 'Testing'"),
        ({"fold": -1}, "fold -1"),
    ],
)
def test_a_row_that_no_manifest_may_hold_cannot_be_built(changes, message):
    with pytest.raises(ManifestError, match=message):
        replace(RECORDS[0], **changes)


def test_a_path_twice_is_refused():
    with pytest.raises(ManifestError, match=r"a/1\.png"):
        manifest_of(RECORDS[0], RECORDS[1], replace(RECORDS[0], label="notumor"))


def test_a_manifest_without_images_is_refused():
    with pytest.raises(ManifestError, match="without images"):
        Manifest(Path("nowhere"), ())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\na.png,glioma\n", "no column sha256"),
        (",".join(COLUMNS) + "\n", "without images"),
        ("path,label,sha256,fold\na.png,glioma,aa,two\n", "row 2: fold 'two'"),
        ("path,label,sha256\na.png,glioma,aa\nb.png,sarcoma,bb\n", "row 3: b.png: unknown label"),
    ],
)
def test_a_bad_file_is_refused_with_its_path_in_one_line(tmp_path, text, message):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(ManifestError, match=message) as caught:
        read_manifest(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_or_binary_file_is_refused(tmp_path):
    with pytest.raises(ManifestError, match="no such manifest"):
        read_manifest(tmp_path / "none.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00path")
    with pytest.raises(ManifestError, match="not a CSV"):
        read_manifest(tmp_path / "binary.csv")


def test_data_fingerprint_is_blind_to_paths_order_and_split():
    moved = (replace(record, path=f"elsewhere/{number}", split="", fold=None) for number, record in enumerate(RECORDS))
    assert manifest_of(*reversed(list(moved))).data_fingerprint == manifest_of().data_fingerprint


@pytest.mark.parametrize("changes", [{"sha256": "ee"}, {"label": "glioma"}])
def test_data_fingerprint_changes_with_pixels_and_labels(changes):
    assert manifest_of(*RECORDS[:3], replace(RECORDS[3], **changes)).data_fingerprint != manifest_of().data_fingerprint


def test_data_fingerprint_counts_copies():
    copy = replace(RECORDS[0], path="copy.png")
    assert manifest_of(*RECORDS, copy).data_fingerprint != manifest_of().data_fingerprint


@pytest.mark.parametrize("changes", [{"split": "test"}, {"fold": 1}, {"label": "glioma"}])
def test_split_fingerprint_changes_with_sides_and_labels(changes):
    assert manifest_of(*RECORDS[:3], replace(RECORDS[3], **changes)).split_fingerprint != manifest_of().split_fingerprint


def test_no_fingerprint_without_digests():
    with pytest.raises(ManifestError, match=r"a/1\.png: no sha256"):
        _ = manifest_of(replace(RECORDS[0], sha256="")).data_fingerprint


def test_counts_are_in_the_order_of_labels():
    assert list(manifest_of().counts().items()) == [("glioma", 1), ("meningioma", 1), ("notumor", 1), ("pituitary", 1)]
    assert list(manifest_of().counts("test").values()) == [0, 0, 1, 0]


def test_one_split_is_taken_or_its_absence_told():
    assert manifest_of().in_split("test").records == (RECORDS[1],)
    with pytest.raises(ManifestError, match="no image is in the test split"):
        manifest_of(RECORDS[0]).in_split("test")


def test_notes_are_added_never_replaced():
    manifest = manifest_of().with_records(RECORDS, note="one").with_records(RECORDS).with_records(RECORDS, note="two")
    assert manifest.notes == ("one", "two")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a.png", ("a.png", "")),
        ("a#1.png", ("a#1.png", "")),
        ("train.npz#images:7", ("train.npz", "images:7")),
        ("a#b/train.NPZ#x:7", ("a#b/train.NPZ", "x:7")),
        ("train.npz", ("train.npz", "")),
    ],
)
def test_only_an_archive_has_items(path, expected):
    assert split_item(path) == expected


@pytest.mark.parametrize(
    ("mask", "expected"),
    [("1,2 3,4 5,6", True), ("-1.5,2 3,4 5,6 | 7,8 9,1 2,3", True), ("masks/1.png", False), ("a,b.png", False), ("", False)],
)
def test_outlines_are_told_from_paths(mask, expected):
    assert is_outline(mask) is expected
