import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tumorscope.data.decode import decode_file, decode_record
from tumorscope.data.sources import index_source, recognise
from tumorscope.errors import DecodeError, SourceError
from tumorscope.labels import LABELS
from tumorscope.manifest import Manifest, Record


def picture(seed: int, shape: tuple[int, ...] = (8, 9)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def put(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture(seed)).save(path)
    return path


def refusal(path: Path, **options: object) -> str:
    """Return what a user sees instead of a manifest: one line that names the path."""
    with pytest.raises(SourceError) as caught:
        index_source(path, **options)
    assert "\n" not in str(caught.value)
    assert path.name in str(caught.value)
    return str(caught.value)


def split_folder(root: Path, names: tuple[str, ...] = LABELS) -> Path:
    for number, name in enumerate(names):
        put(root / "Training" / name / "0.png", number)
        put(root / "Training" / name / "1.png", 10 + number)
        put(root / "Testing" / name / "0.png", 20 + number)
    return root


def test_split_folders_with_class_folders(tmp_path):
    manifest = index_source(split_folder(tmp_path, ("glioma_tumor", "Meningioma", "no_tumor", "pituitary_tumor")))
    assert manifest.root == tmp_path.resolve()
    assert manifest.counts("train") == dict.fromkeys(LABELS, 2)
    assert manifest.counts("test") == dict.fromkeys(LABELS, 1)
    by_path = {record.path: record for record in manifest}
    record = by_path["Training/no_tumor/1.png"]
    assert (record.label, record.split) == ("notumor", "train")
    assert record.sha256 == decode_file(tmp_path / record.path).sha256
    assert "Training" in " ".join(manifest.notes)
    assert "Testing" in " ".join(manifest.notes)


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("TRAIN", "train"),
        ("training", "train"),
        ("test", "test"),
        ("Testing", "test"),
        ("val", "validation"),
        ("Valid", "validation"),
        ("VALIDATION", "validation"),
    ],
)
def test_split_folders_under_every_name(tmp_path, name, split):
    put(tmp_path / name / "glioma" / "a.png")
    assert [record.split for record in index_source(tmp_path)] == [split]


def test_class_folders_without_a_split(tmp_path):
    put(tmp_path / "healthy" / "b.PNG", 1)
    put(tmp_path / "glioma" / "deep" / "er" / "a.jpeg", 2)
    manifest = index_source(tmp_path)
    assert {(record.path, record.label, record.split) for record in manifest} == {
        ("glioma/deep/er/a.jpeg", "glioma", ""),
        ("healthy/b.PNG", "notumor", ""),
    }


def test_a_wrapping_folder_is_entered(tmp_path):
    split_folder(tmp_path / "archive" / "brain")
    manifest = index_source(tmp_path)
    assert len(manifest) == 12
    assert all(manifest.locate(record.path).is_file() for record in manifest)


def test_what_systems_leave_behind_is_ignored(tmp_path):
    put(tmp_path / "glioma" / "a.png")
    for name in (".ipynb_checkpoints/b.png", ".c.png", "._a.png", "__MACOSX/glioma/a.png"):
        put(tmp_path / "glioma" / name)
    put(tmp_path / "__MACOSX" / "unknown" / "a.png")
    put(tmp_path / ".git" / "unknown" / "a.png")
    for name in ("Thumbs.db", ".DS_Store", "glioma/Thumbs.db"):
        (tmp_path / name).write_bytes(b"x")
    assert [record.path for record in index_source(tmp_path)] == ["glioma/a.png"]


def test_other_files_are_left_out_and_noted(tmp_path):
    put(tmp_path / "glioma" / "a.png")
    (tmp_path / "README.txt").write_text("read me")
    (tmp_path / "glioma" / "ages.csv").write_text("age")
    manifest = index_source(tmp_path)
    assert len(manifest) == 1
    assert "README.txt" in " ".join(manifest.notes)
    assert ".csv" in " ".join(manifest.notes)


@pytest.mark.parametrize("name", ["with space", "ünïcödé 脳", os.fsdecode(b"caf\xe9"), "hash#tag"])
def test_odd_folder_and_file_names_are_read(tmp_path, name):
    put(tmp_path / name / "glioma" / "a.png").rename(tmp_path / name / "glioma" / f"{name}.png")
    manifest = index_source(tmp_path / name)
    assert [record.path for record in manifest] == [f"glioma/{name}.png"]
    assert decode_record(manifest, manifest.records[0]).sha256 == manifest.records[0].sha256


def test_links_are_followed_and_circles_left(tmp_path):
    put(tmp_path / "elsewhere" / "one" / "a.png", 1)
    put(tmp_path / "set" / "glioma" / "b.png", 2)
    (tmp_path / "set" / "notumor").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set" / "glioma" / "circle").symlink_to(tmp_path / "set" / "glioma")
    (tmp_path / "link").symlink_to(tmp_path / "set")
    manifest = index_source(tmp_path / "link")
    assert sorted(record.path for record in manifest) == ["glioma/b.png", "notumor/one/a.png"]
    assert manifest.root == (tmp_path / "set").resolve()


def test_order_is_that_of_names_whatever_the_disk_says(tmp_path):
    for number in (3, 1, 2):
        put(tmp_path / "glioma" / f"{number}.png", number)
    assert [record.path for record in index_source(tmp_path)] == ["glioma/1.png", "glioma/2.png", "glioma/3.png"]


def test_broken_files_are_left_out_counted_and_named(tmp_path):
    for number in range(20):
        put(tmp_path / "glioma" / f"good{number:02}.png", number)
    truncated = tmp_path / "glioma" / "truncated.jpg"
    Image.fromarray(picture(0, (64, 64))).save(truncated)
    truncated.write_bytes(truncated.read_bytes()[:-300])
    (tmp_path / "glioma" / "text.jpg").write_text("not a picture")
    (tmp_path / "glioma" / "empty.png").touch()
    manifest = index_source(tmp_path)
    assert len(manifest) == 20
    note = next(note for note in manifest.notes if "truncated.jpg" in note)
    assert all(word in note for word in ("3 of 23", "text.jpg", "empty.png"))
    assert not any("\n" in note for note in manifest.notes)


def test_broken_files_are_kept_as_data_with_their_fault(tmp_path):
    for number in range(8):
        put(tmp_path / "train" / "glioma" / f"good{number}.png", number)
    folder = tmp_path / "train" / "notumor"
    put(folder / "cut.png", 1).write_bytes((folder / "cut.png").read_bytes()[:60])
    (folder / "text.jpg").write_text("not a picture")
    (folder / "void.png").touch()
    Image.fromarray(picture(0)).save(folder / "two.tif", save_all=True, append_images=[Image.fromarray(picture(1))])
    manifest = index_source(tmp_path)
    assert {Path(image.path).name: image.fault for image in manifest.broken} == {
        "cut.png": "truncated",
        "text.jpg": "not_a_picture",
        "void.png": "empty",
        "two.tif": "multi_frame",
    }
    assert {(image.label, image.split) for image in manifest.broken} == {("notumor", "train")}
    assert all(Path(image.path).name in image.reason for image in manifest.broken)
    assert manifest.where(lambda record: record.label == "glioma").broken == manifest.broken


def test_at_most_five_broken_files_are_named(tmp_path):
    for number in range(10):
        put(tmp_path / "glioma" / f"good{number}.png", number)
    for number in range(8):
        (tmp_path / "glioma" / f"bad{number}.jpg").write_text("x")
    note = next(note for note in index_source(tmp_path).notes if "bad0" in note)
    assert "8 of 18" in note
    assert sum(f"bad{number}" in note for number in range(8)) == 5


def test_mostly_broken_files_are_no_data_set(tmp_path):
    put(tmp_path / "glioma" / "good.png")
    for number in range(2):
        (tmp_path / "glioma" / f"bad{number}.jpg").write_text("x")
    assert "2 of 3" in refusal(tmp_path)


def test_an_unknown_class_folder_is_refused_by_name(tmp_path):
    split_folder(tmp_path, (*LABELS, "metastasis"))
    message = refusal(tmp_path)
    assert all(word in message for word in ("metastasis", *LABELS))


def test_an_unknown_folder_beside_known_classes_is_refused(tmp_path):
    put(tmp_path / "glioma" / "a.png")
    put(tmp_path / "cyst" / "a.png")
    assert "cyst" in refusal(tmp_path)


def test_class_folders_beside_split_folders_are_refused(tmp_path):
    split_folder(tmp_path)
    put(tmp_path / "glioma" / "a.png")
    assert "glioma" in refusal(tmp_path)


def test_what_is_no_data_set_is_refused_with_what_was_expected(tmp_path):
    assert "no such file or folder" in refusal(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    assert "empty folder" in refusal(tmp_path / "empty")
    put(tmp_path / "loose" / "a.png")
    assert "no class folders" in refusal(tmp_path / "loose")
    (tmp_path / "hollow" / "glioma").mkdir(parents=True)
    assert "no images" in refusal(tmp_path / "hollow")
    (tmp_path / "hollow2" / "Training" / "glioma").mkdir(parents=True)
    assert "no images" in refusal(tmp_path / "hollow2")
    (tmp_path / "set.zip").write_bytes(b"PK")
    assert "CSV" in refusal(tmp_path / "set.zip")
    put(tmp_path / "others" / "cyst" / "a.png")
    put(tmp_path / "others" / "abscess" / "a.png")
    message = refusal(tmp_path / "others")
    assert all(word in message for word in ("abscess", "cyst", "glioma"))


def test_progress_is_told_for_every_image(tmp_path):
    split_folder(tmp_path)
    calls = []
    index_source(tmp_path, progress=lambda done, whole: calls.append((done, whole)))
    assert calls == [(number, 12) for number in range(1, 13)]


def test_whoever_needs_pixels_sees_every_decoded_image_and_may_refuse_it(tmp_path):
    split_folder(tmp_path)
    seen = {}

    def look(manifest, record, scan):
        seen[record.path] = record.sha256 == scan.sha256
        if record.path.startswith("Testing/no"):
            raise DecodeError(f"{record.path}: changed.", fault="missing")

    manifest = index_source(tmp_path, seen=look)
    assert len(seen) == 12
    assert all(seen.values())
    assert [image.fault for image in manifest.broken] == ["missing"] * len(manifest.broken)
    assert {record.path for record in manifest} | {image.path for image in manifest.broken} == set(seen)
    assert manifest.broken


def test_the_published_test_split_is_recognised_by_its_counts():
    counts = {"glioma": 300, "meningioma": 306, "notumor": 405, "pituitary": 300}
    records = [Record(f"{label}{n}", label, split="test") for label, count in counts.items() for n in range(count)]
    assert recognise(Manifest(Path("nowhere"), tuple(records))) == "nickparvar"
    assert recognise(Manifest(Path("nowhere"), tuple(records[1:]))) is None
    assert recognise(Manifest(Path("nowhere"), tuple(replace(record, split="train") for record in records))) is None


def test_patients_are_taken_from_bids_names(tmp_path):
    names = ("sub-01/slice1.png", "sub-01/slice2.png", "sub-02_T1w.png", "nosub-03.png")
    for number, name in enumerate(names):
        path = tmp_path / "glioma" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8), number, dtype=np.uint8)).save(path)
    manifest = index_source(tmp_path)
    assert {record.path: record.group for record in manifest} == {
        "glioma/nosub-03.png": "",
        "glioma/sub-01/slice1.png": "sub-01",
        "glioma/sub-01/slice2.png": "sub-01",
        "glioma/sub-02_T1w.png": "sub-02",
    }
    assert "Patients were taken from BIDS names: 2 subjects." in manifest.notes
