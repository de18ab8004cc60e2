import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tumorscope.data.decode import decode_record, read_mask
from tumorscope.data.sources import index_source
from tumorscope.errors import DataError, SourceError
from tumorscope.labels import LABELS
from tumorscope.manifest import Manifest

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (12, 5, 6), dtype=np.uint8)
NUMBERS = np.arange(12) % 4
NAMES = [LABELS[number] for number in NUMBERS]
OBJECTS = np.array([*NAMES[:-1], None], dtype=object)


def saved(path: Path, **arrays: np.ndarray) -> Path:
    np.savez_compressed(path, **arrays)
    return path


def labels_of(manifest: Manifest) -> list[str]:
    return [record.label for record in manifest]


def refusal(path: Path, class_order: tuple[str, ...] | None = None) -> str:
    with pytest.raises(SourceError) as caught:
        index_source(path, class_order=class_order)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    assert len(message) < 600
    return message


def pixels_of(manifest: Manifest) -> np.ndarray:
    return np.stack([decode_record(manifest, record).pixels for record in manifest])


@pytest.mark.parametrize(
    ("images", "labels"),
    [("images", "labels"), ("X", "y"), ("data", "targets"), ("imgs", "class"), ("arr_0", "arr_1"), ("x", "label")],
)
def test_key_names_that_people_use_are_found_and_told(tmp_path, images, labels):
    manifest = index_source(saved(tmp_path / "set.npz", **{images: GREY, labels: NUMBERS}))
    assert labels_of(manifest) == NAMES
    assert f"images from the key {images!r} (12, 5, 6), labels from {labels!r}" in manifest.notes[0]
    np.testing.assert_array_equal(pixels_of(manifest), GREY)


@pytest.mark.parametrize(
    "labels",
    [
        NUMBERS,
        NUMBERS + 1,
        NUMBERS.astype(np.float64),
        NUMBERS.astype(">i2"),
        NUMBERS[:, None],
        np.eye(4)[NUMBERS],
        np.eye(4, dtype=bool)[NUMBERS],
        np.array(NAMES),
        np.array([name.encode() for name in NAMES]),
        np.array([name.upper() + "_tumor" if name != "notumor" else "no" for name in NAMES]),
    ],
    ids=["0-3", "1-4", "floats", "big endian", "column", "one-hot", "boolean one-hot", "names", "bytes", "spellings"],
)
def test_labels_of_every_kind_are_understood(tmp_path, labels):
    assert labels_of(index_source(saved(tmp_path / "set.npz", images=GREY, labels=labels))) == NAMES


@pytest.mark.parametrize(
    "images",
    [
        GREY[..., None],
        np.stack([GREY] * 3, axis=-1),
        np.stack([GREY] * 3, axis=1),
        GREY[:, None],
        GREY / 255,
        (GREY / 255).astype(np.float32),
        (GREY / 255).astype(np.float16),
        np.stack([GREY / 255] * 3, axis=-1),
        GREY.astype(np.float32),
        GREY.astype(np.int64),
        GREY.astype(">i4"),
        np.asfortranarray(GREY),
    ],
    ids=[
        "one channel",
        "colour",
        "channels first",
        "one channel first",
        "0-1",
        "0-1 in 32 bits",
        "0-1 in 16 bits",
        "0-1 colour",
        "0-255 floats",
        "int64",
        "big endian",
        "columns first",
    ],
)
def test_the_same_pixels_in_another_form_have_the_same_fingerprint(tmp_path, images):
    plain = index_source(saved(tmp_path / "plain.npz", images=GREY, labels=NUMBERS))
    assert index_source(saved(tmp_path / "other.npz", images=images, labels=NUMBERS)).data_fingerprint == plain.data_fingerprint


def test_floats_that_are_no_eight_bit_values_stay_floats(tmp_path):
    floats = RNG.normal(size=(12, 5, 6))
    read = pixels_of(index_source(saved(tmp_path / "set.npz", images=floats, labels=NUMBERS)))
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, floats.astype(np.float32))


def test_sixteen_bits_stay_sixteen_and_their_colours_are_rounded_not_cut(tmp_path):
    wide = GREY.astype(np.uint16) * 250
    for images in (wide, np.stack([wide] * 3, axis=-1)):
        read = pixels_of(index_source(saved(tmp_path / "set.npz", images=images, labels=NUMBERS)))
        assert read.dtype == np.uint16
        np.testing.assert_array_equal(read, wide)


def test_an_array_is_judged_as_a_whole_not_piece_by_piece(tmp_path, monkeypatch):
    monkeypatch.setattr("tumorscope.data.arrays._CHUNK_BYTES", 1)
    floats = (GREY > 127).astype(np.float64)
    floats[-1] *= 200.5
    read = pixels_of(index_source(saved(tmp_path / "set.npz", images=floats, labels=NUMBERS)))
    np.testing.assert_array_equal(read, floats.astype(np.float32))


def test_integers_follow_the_order_asked_for_then_the_files_own_then_labels(tmp_path):
    backwards = LABELS[::-1]
    path = saved(
        tmp_path / "set.npz", images=GREY, labels=NUMBERS, class_names=np.array(["pituitary", "no", "meningioma", "glioma"])
    )
    asked = ("notumor", "glioma", "pituitary", "meningioma")
    assert labels_of(index_source(path)) == [backwards[number] for number in NUMBERS]
    assert labels_of(index_source(path, class_order=asked)) == [asked[number] for number in NUMBERS]
    plain = index_source(saved(tmp_path / "plain.npz", images=GREY, labels=NUMBERS))
    assert "0 = glioma, 1 = meningioma, 2 = notumor, 3 = pituitary in the order assumed" in plain.notes[0]


def test_an_asked_order_lets_a_class_be_missing(tmp_path):
    path = saved(tmp_path / "set.npz", images=GREY, labels=NUMBERS % 2)
    assert labels_of(index_source(path, class_order=LABELS)) == [LABELS[number] for number in NUMBERS % 2]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": GREY}, "no labels; it holds images"),
        ({"labels": NUMBERS}, "no images; it holds labels"),
        ({"images": GREY, "labels": np.arange(12) % 5}, r"5 classes (0, 1, 2, 3, 4); needed are the 4"),
        ({"images": GREY, "labels": np.eye(5)[np.arange(12) % 5]}, "one-hot labels of 5 classes"),
        ({"images": GREY, "labels": np.eye(4)[NUMBERS] / 2}, "not one-hot"),
        ({"images": GREY, "labels": NUMBERS - 1}, "-1, 0, 1, 2"),
        ({"images": GREY, "labels": NUMBERS % 3 + 1}, "counted from 0 or from 1"),
        ({"images": GREY, "labels": NUMBERS % 2}, "nothing says what they stand for"),
        ({"images": GREY, "labels": NUMBERS + 0.5}, "not whole"),
        ({"images": GREY, "labels": np.where(NUMBERS == 2, np.nan, NUMBERS)}, "labels hold NaN"),
        ({"images": GREY, "labels": np.array(["cat"] * 12)}, "unknown class 'cat'"),
        ({"images": GREY, "labels": NUMBERS[:-1]}, "11 labels for 12 images"),
        ({"images": GREY, "labels": np.array(3)}, "shape ()"),
        ({"images": GREY, "labels": OBJECTS}, "Python objects"),
        ({"images": OBJECTS, "labels": NUMBERS}, "Python objects"),
        ({"images": np.where(GREY > 200, np.nan, GREY), "labels": NUMBERS}, "pixels hold NaN or infinity"),
        ({"images": GREY * 1e300, "labels": NUMBERS}, "beyond the range"),
        ({"images": np.stack([GREY] * 4, axis=-1), "labels": NUMBERS}, "(12, 5, 6, 4); needed: numbers of shape"),
        ({"images": GREY.reshape(12, 30), "labels": NUMBERS}, "(12, 30); needed: numbers of shape"),
        ({"images": GREY[:0], "labels": NUMBERS[:0]}, "(0, 5, 6); needed: numbers of shape"),
        ({"images": np.array(NAMES), "labels": NUMBERS}, "needed: numbers of shape"),
        ({"images": GREY, "labels": NUMBERS, "class_names": np.array(LABELS[:3])}, "3 class names"),
        ({"images": GREY, "labels": NUMBERS, "class_names": np.array(["no", "none", "glioma", "pi"])}, "class names (no, none"),
        ({"images": GREY, "labels": NUMBERS, "class_names": OBJECTS[:4]}, "class names of type object"),
        ({"images": GREY, "labels": NUMBERS, "groups": np.arange(3)}, "one number or name per image"),
        ({"x_train": GREY, "y_train": NUMBERS, "x_test": GREY}, "images under 'x_test' but no labels"),
        ({}, "without arrays"),
    ],
)
def test_an_archive_that_is_no_data_set_is_refused_with_path_and_key(tmp_path, arrays, message):
    assert message in refusal(saved(tmp_path / "set.npz", **arrays))


@pytest.mark.parametrize("order", [("glioma",), ("glioma", "glioma", "notumor", "pituitary"), (*LABELS, "glioma")])
def test_an_order_that_does_not_name_each_label_once_is_refused(tmp_path, order):
    with pytest.raises(SourceError, match=r"--classes .*give each of"):
        index_source(saved(tmp_path / "set.npz", images=GREY, labels=NUMBERS), class_order=order)


def test_a_damaged_archive_is_refused(tmp_path):
    whole = saved(tmp_path / "whole.npz", images=GREY, labels=NUMBERS).read_bytes()
    for name, content in {
        "half": whole[: len(whole) // 2],
        "empty": b"",
        "text": b"path,label\n",
        "hole": whole[:150] + bytes(100) + whole[250:],
    }.items():
        path = tmp_path / f"{name}.npz"
        path.write_bytes(content)
        assert "read" in refusal(path)


def test_damaged_bytes_end_in_a_manifest_or_a_refusal_never_in_another_error(tmp_path):
    whole = np.frombuffer(saved(tmp_path / "whole.npz", images=GREY, labels=NUMBERS).read_bytes(), dtype=np.uint8)
    path, rng, refused = tmp_path / "set.npz", np.random.default_rng(1), 0
    for _ in range(200):
        damaged = whole.copy()
        damaged[rng.integers(0, len(damaged), 3)] = rng.integers(0, 256, 3)
        path.write_bytes(damaged.tobytes())
        try:
            index_source(path)
        except DataError:
            refused += 1
    assert refused > 50


def test_several_splits_in_one_file_are_told_apart(tmp_path):
    manifest = index_source(
        saved(
            tmp_path / "set.npz",
            x_train=GREY[:4],
            y_train=NUMBERS[:4],
            X_val=GREY[4:8],
            y_val=NUMBERS[4:8],
            test_x=GREY[8:],
            test_y=NUMBERS[8:],
        )
    )
    assert [record.split for record in manifest] == ["train"] * 4 + ["validation"] * 4 + ["test"] * 4
    assert [manifest.records[row].path for row in (0, 4, 8)] == ["set.npz#x_train:0", "set.npz#X_val:0", "set.npz#test_x:0"]


def pair(folder: Path, names: Sequence[str] = ("train.npz", "test.npz")) -> Path:
    folder.mkdir(exist_ok=True)
    for number, name in enumerate(names):
        saved(folder / name, images=GREY[number * 4 : number * 4 + 4], labels=NUMBERS[:4])
    return folder


@pytest.mark.parametrize("given", ["", "train.npz", "test.npz"])
def test_a_pair_is_read_whole_by_its_folder_or_by_either_file(tmp_path, given):
    manifest = index_source(pair(tmp_path / "set") / given)
    assert [record.split for record in manifest] == ["test"] * 4 + ["train"] * 4


def test_siblings_belong_together_by_the_rest_of_their_names(tmp_path):
    pair(tmp_path / "set", ("brain_train.npz", "brain-test.npz", "liver_train.npz"))
    manifest = index_source(tmp_path / "set" / "brain_train.npz")
    assert {record.path.split("#")[0] for record in manifest} == {"brain_train.npz", "brain-test.npz"}


def test_a_name_that_says_two_splits_says_none(tmp_path):
    manifest = index_source(saved(tmp_path / "train_test_split.npz", images=GREY, labels=NUMBERS))
    assert {record.split for record in manifest} == {""}


def test_other_archives_beside_a_pair_are_told_and_hidden_ones_are_not_there(tmp_path):
    folder = pair(tmp_path / "set", ("train.npz", "test.npz", "extra.npz"))
    (folder / "._train.npz").write_bytes(b"left by an operating system")
    assert index_source(folder).notes[0] == "Ignored beside the NPZ files named for a split: extra.npz."


@pytest.mark.parametrize("names", [("train.npz", "training.npz"), ("a.npz", "b.npz")])
def test_a_folder_of_archives_that_could_mean_two_things_is_refused(tmp_path, names):
    assert names[0] in refusal(pair(tmp_path / "set", names)) or "none named for train or test" in refusal(tmp_path / "set")


def test_a_suffix_in_capitals_is_read(tmp_path):
    pair(tmp_path / "set", ("a.npz",))
    (tmp_path / "set" / "a.npz").rename(tmp_path / "set" / "A.NPZ")
    assert len(index_source(tmp_path / "set")) == 4


def test_groups_are_read(tmp_path):
    path = saved(tmp_path / "set.npz", images=GREY, labels=NUMBERS, groups=np.arange(12) // 3)
    assert [record.group for record in index_source(path)] == [str(number // 3) for number in range(12)]


@pytest.mark.parametrize("word", ["val", "valid", "validation"])
def test_npz_validation_files_under_every_name(tmp_path, word):
    for split in ("train", word, "test"):
        np.savez(tmp_path / f"{split}.npz", images=GREY, labels=NUMBERS)
    assert sorted({record.split for record in index_source(tmp_path)}) == ["test", "train", "validation"]


def test_pickled_images_are_never_loaded(tmp_path):
    class Trap:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "sprung"),))

    images = np.empty(8, dtype=object)
    images[:] = [Trap() for _ in range(8)]
    np.savez(tmp_path / "bad.npz", images=images, labels=NUMBERS)
    assert "objects" in refusal(tmp_path / "bad.npz")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("masks", [GREY > 200, (GREY > 200).astype(np.float32), (GREY > 200)[..., None] * np.uint8(255)])
def test_masks_beside_the_images_become_masks_of_the_manifest(tmp_path, masks):
    saved(tmp_path / "train.npz", images=GREY, labels=np.array(NAMES), masks=masks)
    saved(tmp_path / "test.npz", x_test=GREY[::-1], y_test=np.array(NAMES), mask_test=(GREY > 200)[::-1])
    manifest = index_source(tmp_path)
    assert [record.mask for record in manifest.in_split("train")][:2] == ["train.npz#masks:0", "train.npz#masks:1"]
    assert "masks from 'mask_test'" in " ".join(manifest.notes)
    for record in manifest:
        scan = decode_record(manifest, record)
        np.testing.assert_array_equal(read_mask(manifest, record, scan.shape), scan.pixels > 200)


def test_masks_that_do_not_fit_the_images_are_refused(tmp_path):
    for number, masks in enumerate((GREY[1:], GREY[:, 1:])):
        path = saved(tmp_path / f"{number}.npz", images=GREY, labels=np.array(NAMES), masks=masks)
        assert f"key 'masks': masks of shape {masks.shape} for images of shape (12, 5, 6)" in refusal(path)


def test_signed_sixteen_bits_stay_as_they_are(tmp_path):
    for number, images in enumerate((GREY.astype(np.int16), GREY.astype(">i2") - 1000)):
        manifest = index_source(saved(tmp_path / f"{number}.npz", images=images, labels=np.array(NAMES)))
        pixels = pixels_of(manifest)
        assert pixels.dtype == np.int16
        np.testing.assert_array_equal(pixels, images)
