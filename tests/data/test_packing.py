from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tumorscope.data.decode import decode_record
from tumorscope.data.packing import pack_npz
from tumorscope.data.sources import index_source
from tumorscope.data.split import split_manifest
from tumorscope.errors import DataError, OutputError
from tumorscope.labels import LABELS
from tumorscope.manifest import Manifest, Record, read_manifest, write_manifest

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (12, 5, 6), dtype=np.uint8)
NUMBERS = np.arange(12) % 4
NAMES = [LABELS[number] for number in NUMBERS]


def saved(path: Path, **arrays: np.ndarray) -> Path:
    np.savez_compressed(path, **arrays)
    return path


def labels_of(manifest: Manifest) -> list[str]:
    return [record.label for record in manifest]


def pixels_of(manifest: Manifest) -> np.ndarray:
    return np.stack([decode_record(manifest, record).pixels for record in manifest])


@pytest.fixture
def folder_manifest(banded_folder: Path) -> Manifest:
    return index_source(banded_folder)


def test_packing_and_reading_back_keeps_pixels_labels_and_split(folder_manifest, tmp_path):
    paths = pack_npz(folder_manifest, tmp_path / "packed")
    assert [path.name for path in paths] == ["train.npz", "test.npz"]
    assert sorted(path.name for path in (tmp_path / "packed").iterdir()) == ["test.npz", "train.npz"]
    back = index_source(tmp_path / "packed")
    assert back.data_fingerprint == folder_manifest.data_fingerprint
    assert back.split_fingerprint == folder_manifest.split_fingerprint


def test_packing_after_the_split_keeps_the_validation_images(folder_manifest, tmp_path):
    split = split_manifest(folder_manifest)
    pack_npz(split, tmp_path / "packed")
    back = index_source(tmp_path / "packed")
    assert back.split_fingerprint == split.split_fingerprint
    assert back.counts("validation") == split.counts("validation")
    assert sum(back.counts("validation").values()) > 0


def test_packing_twice_gives_the_same_bytes(folder_manifest, tmp_path):
    first, again = pack_npz(folder_manifest, tmp_path / "first"), pack_npz(folder_manifest, tmp_path / "again")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]


@pytest.mark.parametrize("kind", ["dark 16 bits", "floats"])
def test_other_pixel_types_survive_packing(tmp_path, kind):
    pixels = GREY.astype(np.uint16) if kind == "dark 16 bits" else RNG.normal(size=GREY.shape).astype(np.float32)
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / f"{number}.tif")
    rows = [f"{number}.tif,{name}" for number, name in enumerate(NAMES)]
    (tmp_path / "set.csv").write_text("\n".join(["path,label", *rows]))
    manifest = index_source(tmp_path / "set.csv")
    pack_npz(manifest, tmp_path / "packed")
    assert index_source(tmp_path / "packed").data_fingerprint == manifest.data_fingerprint


def test_groups_and_odd_names_survive_packing(folder_manifest, tmp_path):
    grouped = folder_manifest.with_records(replace(r, group=f"Patient é #{n // 2}") for n, r in enumerate(folder_manifest))
    pack_npz(grouped, tmp_path / "packed")
    assert sorted(r.group for r in index_source(tmp_path / "packed")) == sorted(r.group for r in grouped)


def test_progress_counts_every_image_once(folder_manifest, tmp_path):
    seen = []
    pack_npz(folder_manifest, tmp_path / "packed", progress=lambda done, total: seen.append((done, total)))
    assert seen == [(number, 56) for number in range(1, 57)]


def test_images_of_two_sizes_are_refused_and_nothing_is_left(tmp_path):
    for number, size in enumerate((8, 9)):
        Image.fromarray(np.zeros((size, 8), dtype=np.uint8)).save(tmp_path / f"{number}.png")
    manifest = Manifest(tmp_path, (Record("0.png", "glioma"), Record("1.png", "notumor")))
    with pytest.raises(DataError, match=r"1\.png: \(9, 8\) uint8, but .*0\.png is \(8, 8\) uint8"):
        pack_npz(manifest, tmp_path / "packed")
    assert not list((tmp_path / "packed").iterdir())


def test_a_set_of_which_only_a_part_is_split_is_refused(folder_manifest, tmp_path):
    half = folder_manifest.with_records(replace(r, split="" if r.split == "train" else r.split) for r in folder_manifest)
    with pytest.raises(DataError, match="tumorscope split"):
        pack_npz(half, tmp_path / "packed")


def test_archives_that_would_be_read_as_parts_of_the_set_are_refused(folder_manifest, tmp_path):
    pack_npz(split_manifest(folder_manifest), tmp_path / "packed")
    with pytest.raises(OutputError, match=r"validation\.npz"):
        pack_npz(folder_manifest, tmp_path / "packed")


def test_a_place_that_is_a_file_is_refused(folder_manifest, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        pack_npz(folder_manifest, tmp_path / "file")


def test_a_manifest_of_archive_items_reads_back(tmp_path):
    manifest = index_source(saved(tmp_path / "set.npz", images=GREY, labels=NUMBERS))
    write_manifest(manifest, tmp_path / "out" / "manifest.csv")
    np.testing.assert_array_equal(pixels_of(read_manifest(tmp_path / "out" / "manifest.csv")), GREY)


def test_a_packed_file_is_plain_numpy(folder_manifest, tmp_path):
    train = folder_manifest.in_split("train")
    path, _ = pack_npz(folder_manifest, tmp_path / "packed")
    with np.load(path, allow_pickle=False) as archive:
        np.testing.assert_array_equal(archive["images"], pixels_of(train))
        assert archive["labels"].tolist() == labels_of(train)
        assert archive["paths"].tolist() == [record.path for record in train]
