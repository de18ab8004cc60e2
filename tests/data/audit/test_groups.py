from pathlib import Path

import numpy as np
import pytest

from tumorscope.data.audit.groups import LABEL_CONFLICT, conflicts, count_leaks, grouped
from tumorscope.data.audit.twins import KINDS, Pairs
from tumorscope.manifest import (
    COPY_IN_TRAIN,
    MATE_IN_TRAIN,
    NEIGHBOUR_IN_TRAIN,
    SLICE_GROUP,
    TWIN_IN_TRAIN,
    Manifest,
    Record,
)


def manifest(*rows):
    """Rows of (label, split, group, digest)."""
    records = tuple(
        Record(path=f"{row}.png", label=label, split=split, group=group, sha256=digest)
        for row, (label, split, group, digest) in enumerate(rows)
    )
    return Manifest(root=Path(), records=records)


def pairs(*found):
    a, b, kind = zip(*found, strict=True) if found else ((), (), ())
    numbers = np.array([KINDS.index(name) for name in kind], dtype=np.int8)
    count = len(found)
    ends = np.array(a, dtype=np.int64), np.array(b, dtype=np.int64)
    return Pairs(*ends, numbers, np.zeros(count, dtype=np.int8), np.ones(count, dtype=np.float32))


def test_twins_of_twins_share_a_group_and_neighbours_only_on_request():
    images = manifest(*[("glioma", "", "", f"digest{row}") for row in range(4)])
    chain = pairs((0, 1, "twin"), (1, 2, "twin"), (2, 3, "neighbour"))
    apart = [record.group for record in grouped(images, chain)]
    assert len(set(apart[:3])) == 1
    assert apart[3] != apart[0]
    assert len({record.group for record in grouped(images, chain, join_neighbours=True)}) == 1


def test_a_patient_keeps_the_name_and_takes_in_the_twins_of_all_slices():
    images = manifest(
        ("glioma", "", "patient-7", "a"), ("glioma", "", "patient-7", "b"), ("glioma", "", "", "c"), ("glioma", "", "", "d")
    )
    names = [record.group for record in grouped(images, pairs((1, 2, "twin")))]
    assert names[:3] == ["patient-7"] * 3
    assert names[3].startswith(SLICE_GROUP)


def test_two_patients_with_one_slice_become_one_group():
    images = manifest(("glioma", "", "p2", "a"), ("glioma", "", "p1", "b"), ("glioma", "", "p2", "c"))
    assert [record.group for record in grouped(images, pairs((0, 1, "twin")))] == ["p1"] * 3


def test_group_names_depend_on_pixels_and_not_on_the_order():
    rows = [("glioma", "", "", "x"), ("notumor", "", "", "y"), ("glioma", "", "", "z")]
    forwards = {r.sha256: r.group for r in grouped(manifest(*rows), pairs((0, 2, "twin")))}
    backwards = {r.sha256: r.group for r in grouped(manifest(*rows[::-1]), pairs((0, 2, "twin")))}
    assert forwards == backwards


def test_auditing_twice_changes_nothing():
    images = manifest(("glioma", "train", "", "a"), ("glioma", "test", "", "b"), ("glioma", "test", "", "c"))
    found = pairs((0, 1, "twin"))
    once = grouped(images, found)
    assert grouped(once, found).records == once.records


def test_every_kind_of_leak_is_flagged_on_the_test_image():
    images = manifest(
        ("glioma", "train", "", "a"),
        ("glioma", "test", "", "a"),
        ("glioma", "test", "", "b"),
        ("glioma", "test", "", "c"),
        ("glioma", "test", "p", "d"),
        ("glioma", "train", "p", "e"),
        ("notumor", "test", "", "f"),
    )
    marked = grouped(images, pairs((0, 1, "copy"), (0, 2, "twin"), (2, 3, "neighbour")))
    assert [record.flags for record in marked] == [
        (),
        (COPY_IN_TRAIN, TWIN_IN_TRAIN),
        (TWIN_IN_TRAIN,),
        (NEIGHBOUR_IN_TRAIN,),
        (MATE_IN_TRAIN,),
        (),
        (),
    ]
    leaks = count_leaks(marked)
    assert leaks is not None
    assert leaks.images == {"glioma": 4, "meningioma": 0, "notumor": 1, "pituitary": 0}
    assert leaks.flagged[TWIN_IN_TRAIN]["glioma"] == 2
    assert leaks.twin_free == {"glioma": 2, "meningioma": 0, "notumor": 1, "pituitary": 0}
    assert leaks.share_in_training == pytest.approx(2 / 5)


def test_twins_within_the_test_split_are_no_leak():
    images = manifest(("glioma", "train", "", "a"), ("glioma", "test", "", "b"), ("glioma", "test", "", "c"))
    assert all(record.flags == () for record in grouped(images, pairs((1, 2, "twin"))))


def test_without_a_test_split_there_are_no_leaks_to_count():
    images = manifest(("glioma", "", "", "a"), ("glioma", "", "", "b"))
    assert count_leaks(grouped(images, pairs((0, 1, "twin")))) is None


def test_twins_with_different_labels_are_flagged_and_named():
    images = manifest(("glioma", "", "", "a"), ("pituitary", "", "", "b"), ("glioma", "", "", "c"), ("glioma", "", "", "d"))
    found = pairs((0, 1, "twin"), (2, 3, "twin"))
    assert [LABEL_CONFLICT in record.flags for record in grouped(images, found)] == [True, True, False, False]
    assert conflicts(images, found) == ((0, 1),)


def test_a_tumour_of_unstated_type_contradicts_no_tumour_and_no_type():
    images = manifest(("tumour", "", "", "a"), ("glioma", "", "", "b"), ("tumour", "", "", "c"), ("notumor", "", "", "d"))
    assert conflicts(images, pairs((0, 1, "twin"), (2, 3, "twin"))) == ((2, 3),)


def test_test_images_of_unstated_type_are_counted_among_the_leaks():
    images = manifest(("glioma", "train", "", "a"), ("tumour", "test", "", "a"), ("tumour", "test", "", "b"))
    leaks = count_leaks(grouped(images, pairs((0, 1, "copy"))))
    assert leaks.images["tumour"] == 2
    assert leaks.twin_free["tumour"] == 1
    assert leaks.share_in_training == 0.5
