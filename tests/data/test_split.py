from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tumorscope.data.sources import index_source
from tumorscope.data.split import check_split, split_folds, split_manifest
from tumorscope.errors import SplitError
from tumorscope.labels import LABELS
from tumorscope.manifest import SPLITS, Manifest, Record

SHARED = Path(__file__).resolve().parents[2] / "../shared/data"


def manifest_of(*records: Record) -> Manifest:
    return Manifest(Path("nowhere"), records)


def plain(per_label: int, **changes: object) -> list[Record]:
    """Images that are all different, without groups."""
    return [
        Record(f"{label}/{number}.png", label, sha256=f"{label}{number}", **changes)
        for label in LABELS
        for number in range(per_label)
    ]


def patients(per_label: int, slices: int, **changes: object) -> list[Record]:
    """Patients of one label each, with so many slices."""
    return [
        replace(record, path=f"{record.path}/{number}", sha256=f"{record.sha256}/{number}", group=record.sha256)
        for record in plain(per_label, **changes)
        for number in range(slices)
    ]


def sides(manifest: Manifest) -> dict[str, str]:
    return {record.path: record.split for record in manifest}


def refusal(call, *arguments: object, **options: object) -> str:
    with pytest.raises(SplitError) as caught:
        call(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- one split -----------------------------------------------------------------------------------------------------------


def test_without_given_splits_each_class_is_cut_by_its_shares():
    split = split_manifest(manifest_of(*plain(50)), test_share=0.2, validation_share=0.1, calibration_share=0.25)
    for label in LABELS:
        assert [split.counts(side)[label] for side in SPLITS] == [27, 4, 9, 10]
    assert len(split.notes) >= 2


def test_one_class_alone_is_refused_and_a_missing_class_is_said():
    some = plain(10)
    assert "all images show glioma" in refusal(split_manifest, manifest_of(*some[:10]))
    notes = " ".join(split_manifest(manifest_of(*some[:20])).notes)
    assert "No image shows notumor or pituitary" in notes
    assert "No image shows" not in " ".join(split_manifest(manifest_of(*some)).notes)
    assert "No image shows notumor or pituitary" in " ".join(split_folds(manifest_of(*some[:20]), folds=2)[1].notes)


@pytest.mark.parametrize("share", [0.05, 0.15, 0.3, 0.5])
def test_any_share_is_met_to_the_image(share):
    split = split_manifest(manifest_of(*plain(100, split="train"), *given_test()), validation_share=share)
    assert all(abs(count - 100 * share) <= 1 for count in split.counts("validation").values())


def given_test() -> list[Record]:
    return [replace(record, path=f"t/{record.path}", sha256=f"t{record.sha256}") for record in plain(3, split="test")]


def test_a_rare_class_does_not_change_the_shares_of_the_others():
    records = [record for record in plain(100) if record.label != "pituitary" or record.sha256 in ("pituitary0", "pituitary1")]
    split = split_manifest(manifest_of(*records, *given_test()), validation_share=0.1)
    assert split.counts("validation") == {"glioma": 10, "meningioma": 10, "notumor": 10, "pituitary": 1}


def test_a_given_test_split_is_kept_and_validation_cut_from_the_rest():
    split = split_manifest(manifest_of(*plain(20, split="train"), *given_test()))
    assert {path for path, side in sides(split).items() if side == "test"} == {record.path for record in given_test()}
    assert split.counts("validation") == dict.fromkeys(LABELS, 2)


def test_a_given_validation_split_is_kept():
    validation = [replace(record, path=f"v/{record.path}", sha256=f"v{record.sha256}") for record in plain(2, split="validation")]
    split = split_manifest(manifest_of(*plain(20, split="train"), *validation, *given_test()))
    assert {path for path, side in sides(split).items() if side == "validation"} == {record.path for record in validation}
    split = split_manifest(manifest_of(*plain(20, split="train"), *validation))
    assert {path for path, side in sides(split).items() if side == "validation"} == {record.path for record in validation}
    assert split.counts("test")["glioma"] > 0


def test_the_same_seed_gives_the_same_split_and_another_one_another():
    manifest = manifest_of(*plain(50))
    first = sides(split_manifest(manifest, seed=1))
    assert sides(split_manifest(manifest, seed=1)) == first
    assert sides(split_manifest(manifest, seed=2)) != first


def test_a_split_depends_on_pixels_not_on_order_or_names():
    records = plain(50)
    expected = split_manifest(manifest_of(*records)).split_fingerprint
    shuffled = [replace(records[i], path=f"packed.npz#images:{i}") for i in np.random.default_rng(0).permutation(len(records))]
    assert split_manifest(manifest_of(*shuffled)).split_fingerprint == expected


@pytest.mark.parametrize("seed", range(8))
def test_groups_stay_on_one_side_whatever_the_seed(seed):
    rng = np.random.default_rng(seed)
    records = [replace(record, group=f"{record.label[0]}{rng.integers(12)}") for record in plain(60)]
    split = split_manifest(manifest_of(*records), validation_share=0.15, calibration_share=0.2, seed=seed)
    check_split(split)
    stands = defaultdict(set)
    for record in split:
        stands[record.group].add(record.split)
    assert all(len(found) == 1 for found in stands.values())
    assert all(split.counts(side)[label] for side in SPLITS for label in LABELS)


def test_groups_of_equal_size_meet_the_share():
    split = split_manifest(manifest_of(*patients(20, 5)), test_share=0.2, validation_share=0.25, calibration_share=0.25)
    assert [split.counts(side)["glioma"] for side in SPLITS] == [45, 20, 15, 20]


def test_equal_pixels_and_what_they_link_stay_together():
    records = plain(30)
    linked = [
        replace(records[0], path="a", group="p1", sha256="one"),
        replace(records[0], path="b", group="p1", sha256="two"),
        replace(records[0], path="c", group="", sha256="two"),
        replace(records[0], path="d", group="p2", sha256="two"),
        replace(records[0], path="e", group="p2", sha256="three"),
    ]
    for seed in range(10):
        found = sides(split_manifest(manifest_of(*records, *linked), seed=seed))
        assert len({found[path] for path in "abcde"}) == 1


def test_a_patient_with_two_labels_stays_together():
    records = patients(10, 4)
    mixed = [replace(record, group="both") for record in records if record.path in ("glioma/0.png/0", "notumor/3.png/1")]
    others = [record for record in records if record.path not in {one.path for one in mixed}]
    for seed in range(5):
        found = sides(split_manifest(manifest_of(*others, *mixed), seed=seed))
        assert found["glioma/0.png/0"] == found["notumor/3.png/1"]


def assert_validation_is_a_run_of_every_class(manifest, *, share):
    """Of every class, the images outside the test split in their order are train, then validation, then train."""
    for label in LABELS:
        sides = [record.split for record in manifest if record.label == label and record.split != "test"]
        held = [row for row, side in enumerate(sides) if side == "validation"]
        assert held == list(range(held[0], held[-1] + 1))
        assert len(held) == max(1, round(share * len(sides)))


def test_folds_without_groups_serve_as_the_only_known_grouping():
    records = [replace(record, fold=number % 5) for number, record in enumerate(plain(20))]
    split = split_manifest(manifest_of(*records))
    assert all((record.split == "test") == (record.fold == 4) for record in split)
    assert_validation_is_a_run_of_every_class(split, share=0.1)
    assert "fold 4 is the test split" in " ".join(split.notes)


def test_groups_come_before_folds():
    records = [replace(record, fold=number % 5) for number, record in enumerate(patients(10, 3))]
    check_split(split_manifest(manifest_of(*records)))


def test_the_published_protocol_keeps_a_leak_and_counts_it():
    test = [
        Record("t/copy", "glioma", sha256="glioma1", split="test"),
        Record("t/copy and mate", "notumor", sha256="notumor2", group="p", split="test"),
        Record("t/mate", "notumor", sha256="new1", group="p", split="test"),
        Record("t/alone", "pituitary", sha256="new2", group="q", split="test"),
    ]
    train = [replace(record, group="p" if record.sha256 in ("notumor2", "notumor3") else "") for record in plain(20, split="train")]
    split = split_manifest(manifest_of(*train, *test), protocol="published")
    assert len(split) == 84
    assert sum(record.split == "test" for record in split) == 4
    notes = " ".join(split.notes)
    assert "2 of 4 test images have exactly the pixels" in notes
    assert "2 of 4 test images have a group mate" in notes


def test_leak_free_removes_mates_and_copies_from_training_and_validation_and_keeps_the_test_whole():
    test = [
        Record("t/1", "glioma", sha256="glioma1", split="test"),
        Record("t/2", "notumor", sha256="new", group="p", split="test"),
    ]
    train = [replace(record, group="p" if record.sha256 in ("notumor2", "notumor3") else "") for record in plain(20, split="train")]
    leaking = replace(train[0], path="v", sha256="v", label="notumor", group="p", split="validation")
    fine = replace(leaking, path="w", sha256="w", group="r")
    split = split_manifest(manifest_of(*train, leaking, fine, *test), protocol="leak-free")
    assert {record.path for record in (*train, leaking)} - set(sides(split)) == {
        "glioma/1.png",
        "notumor/2.png",
        "notumor/3.png",
        "v",
    }
    assert split.counts("test") == {"glioma": 1, "meningioma": 0, "notumor": 1, "pituitary": 0}
    assert "4 " in " ".join(split.notes)
    check_split(split)


def test_leak_free_without_groups_is_refused_with_the_way_out():
    message = refusal(split_manifest, manifest_of(*plain(20)), protocol="leak-free")
    assert all(word in message for word in ("leak-free", "group", "published"))


def test_leak_free_that_leaves_no_training_image_of_a_class_is_refused():
    records = patients(6, 2)
    moved = [replace(r, split="test" if r.label == "glioma" and r.path.endswith("/0") else "train") for r in records]
    assert "glioma" in refusal(split_manifest, manifest_of(*moved), protocol="leak-free")


@pytest.mark.parametrize("count", [1, 2])
def test_a_class_too_small_for_every_split_is_refused_by_name(count):
    records = [record for record in plain(20) if record.label != "notumor"]
    few = [Record(f"few/{n}", "notumor", sha256=f"few{n}") for n in range(count)]
    message = refusal(split_manifest, manifest_of(*records, *few))
    assert "notumor" in message
    assert f"{1} image(s)" in message
    assert "leave the class out" in message


def test_many_images_of_one_patient_are_too_few():
    records = [record for record in patients(10, 3) if record.label != "glioma"]
    one = [Record(f"one/{n}", "glioma", sha256=f"one{n}", group="one") for n in range(30)]
    message = refusal(split_manifest, manifest_of(*records, *one))
    assert all(word in message for word in ("glioma", "30 image(s)", "1 group(s)"))


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"protocol": "random"}, "published, leak-free"),
        ({"validation_share": 0}, "share"),
        ({"validation_share": 1.0}, "share"),
        ({"validation_share": -0.1}, "share"),
        ({"test_share": 1.5}, "share"),
    ],
)
def test_impossible_choices_are_refused(options, word):
    assert word in refusal(split_manifest, manifest_of(*plain(20)), **options)


# --- folds ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("folds", [2, 3, 5])
def test_every_image_is_a_test_image_exactly_once(folds):
    parts = split_folds(manifest_of(*patients(12, 3)), folds=folds, validation_share=0.2)
    tested = Counter(record.path for part in parts for record in part if record.split == "test")
    assert len(parts) == folds
    assert len(tested) == 4 * 12 * 3
    assert set(tested.values()) == {1}


def test_folds_are_stratified_by_whole_groups():
    parts = split_folds(manifest_of(*patients(10, 3)), folds=5)
    for number, part in enumerate(parts):
        check_split(part)
        assert part.counts("test") == dict.fromkeys(LABELS, 6)
        assert all(part.counts("validation").values())
        assert all((record.fold == number) == (record.split == "test") for record in part)


def test_all_parts_agree_on_the_folds_and_on_the_data():
    manifest = manifest_of(*plain(20))
    parts = split_folds(manifest, folds=4, seed=3)
    assert len({tuple((record.path, record.fold) for record in part) for part in parts}) == 1
    assert {part.data_fingerprint for part in parts} == {manifest.data_fingerprint}
    assert len({part.split_fingerprint for part in parts}) == 4
    assert [part.split_fingerprint for part in split_folds(manifest, folds=4, seed=3)] == [p.split_fingerprint for p in parts]


def test_the_manifests_own_folds_decide_and_a_run_of_every_class_validates():
    records = [replace(record, fold=10 + number % 3) for number, record in enumerate(plain(12))]
    parts = split_folds(manifest_of(*records), folds=3)
    original = {record.path: record.fold - 10 for record in records}
    for number, part in enumerate(parts):
        assert all((record.split == "test") == (original[record.path] == number) for record in part)
        assert_validation_is_a_run_of_every_class(part, share=0.1)


def test_calibration_is_cut_from_training_by_group_and_is_none_where_its_share_is_none():
    manifest = manifest_of(*patients(20, 4))
    split = split_manifest(manifest, calibration_share=0.2)
    assert all(split.counts("calibration").values())
    assert 0.1 < sum(split.counts("calibration").values()) / sum(split.counts("train").values()) < 0.35
    of_group = {(record.group, record.split) for record in split}
    assert len(of_group) == len({group for group, _ in of_group})
    without = split_manifest(manifest)
    assert not any(without.counts("calibration").values())
    kept = {path for path, side in sides(without).items() if side in ("validation", "test")}
    assert kept == {path for path, side in sides(split).items() if side in ("validation", "test")}


def test_data_too_small_for_a_calibration_split_go_without_and_say_so():
    split = split_manifest(manifest_of(*patients(3, 4)), calibration_share=0.2)
    assert not any(split.counts("calibration").values())
    assert "No calibration split was cut" in " ".join(split.notes)
    check_split(split)


def test_a_given_calibration_split_is_kept():
    given = [replace(record, path=f"c/{record.path}", sha256=f"c{record.sha256}") for record in plain(3, split="calibration")]
    split = split_manifest(manifest_of(*plain(30, split="train"), *given), calibration_share=0.3)
    assert {path for path, side in sides(split).items() if side == "calibration"} == {record.path for record in given}


def test_folds_of_unknown_patients_have_runs_for_validation_and_for_calibration():
    records = [replace(record, fold=number % 3) for number, record in enumerate(plain(60))]
    for part in split_folds(manifest_of(*records), folds=3, validation_share=0.1, calibration_share=0.25):
        check_split(part)
        for label in LABELS:
            left = [record.split for record in part if record.label == label and record.split not in ("test", "validation")]
            held = [row for row, side in enumerate(left) if side == "calibration"]
            assert held == list(range(held[0], held[-1] + 1))
            assert len(held) == round(0.25 * len(left))


def test_a_group_in_calibration_and_training_or_test_is_refused():
    split = split_manifest(manifest_of(*patients(20, 4)), calibration_share=0.2)
    mates = next(record.group for record in split if record.split == "calibration")
    for side in ("train", "test"):
        moved = False
        records = []
        for record in split:
            if record.group == mates and not moved:
                record, moved = replace(record, split=side), True
            records.append(record)
        with pytest.raises(SplitError, match=mates):
            check_split(manifest_of(*records), allow_published_leak=side == "train")


def test_own_folds_with_groups_cut_validation_by_group():
    records = [replace(record, fold=int(record.group[-1]) % 5) for record in patients(10, 3)]
    for part in split_folds(manifest_of(*records), folds=5, validation_share=0.25):
        check_split(part)
        assert part.counts("validation") == dict.fromkeys(LABELS, 6)


def test_two_own_folds_still_leave_images_to_train_on():
    records = [replace(record, fold=number % 2) for number, record in enumerate(plain(20))]
    for part in split_folds(manifest_of(*records), folds=2):
        check_split(part)


def test_another_number_of_folds_than_the_manifests_is_refused_with_both():
    records = [replace(record, fold=number % 3) for number, record in enumerate(plain(12))]
    message = refusal(split_folds, manifest_of(*records), folds=5)
    assert "3" in message
    assert "5" in message


def test_a_fold_column_with_gaps_is_refused():
    records = [replace(record, fold=number % 3) for number, record in enumerate(plain(12))]
    records[7] = replace(records[7], fold=None)
    assert records[7].path in refusal(split_folds, manifest_of(*records), folds=3)


def test_a_group_in_two_own_folds_is_refused():
    records = [replace(record, fold=number % 3) for number, record in enumerate(patients(9, 2))]
    assert "group" in refusal(split_folds, manifest_of(*records), folds=3)


def test_given_splits_are_ignored_for_folds_and_that_is_told():
    parts = split_folds(manifest_of(*plain(20, split="train"), *given_test()), folds=3)
    assert sum(record.split == "test" for part in parts for record in part) == 4 * 23
    assert any("ignored" in note for note in parts[0].notes)


def test_more_folds_than_a_class_has_groups_are_refused():
    message = refusal(split_folds, manifest_of(*patients(4, 6)), folds=5)
    assert all(word in message for word in ("glioma", "4 group(s)", "5"))


@pytest.mark.parametrize("folds", [1, 0, -3])
def test_fewer_than_two_folds_are_refused(folds):
    assert "at least 2" in refusal(split_folds, manifest_of(*plain(20)), folds=folds)


# --- the guard -----------------------------------------------------------------------------------------------------------


def good() -> list[Record]:
    return [
        replace(record, split=side, path=f"{side}/{record.path}", group=f"{side} {record.sha256}")
        for side in SPLITS
        for record in plain(2)
    ]


def test_split_refuses_a_group_on_both_sides():
    records = good()
    records[0], records[-1] = replace(records[0], group="p7"), replace(records[-1], group="p7")
    message = refusal(check_split, manifest_of(*records))
    assert all(word in message for word in ("p7", records[0].path, records[-1].path))
    check_split(manifest_of(*records), allow_published_leak=True)


def test_a_group_in_training_and_validation_is_never_allowed():
    records = good()
    records[0], records[9] = replace(records[0], group="p7"), replace(records[9], group="p7")
    assert (records[0].split, records[9].split) == ("train", "validation")
    assert "p7" in refusal(check_split, manifest_of(*records), allow_published_leak=True)


def test_at_most_three_groups_are_named():
    records = [replace(record, group=record.sha256) for record in good()]
    message = refusal(check_split, manifest_of(*records))
    assert message.startswith("8 group(s)") or "8 group(s)" in message
    assert sum(f"group {record.group}" in message for record in records[:8]) == 3


def test_images_without_a_group_share_none():
    check_split(manifest_of(*(replace(record, group="") for record in good())))


@pytest.mark.parametrize("side", ["train", "validation", "test"])
def test_an_empty_split_is_refused(side):
    records = [record for record in good() if record.split != side]
    assert side in refusal(check_split, manifest_of(*records))


def test_an_image_without_a_split_is_refused():
    records = good()
    records[3] = replace(records[3], split="")
    assert "without a split" in refusal(check_split, manifest_of(*records))


def test_a_label_that_training_does_not_know_is_refused():
    records = [record for record in good() if (record.label, record.split) != ("notumor", "train")]
    assert "notumor" in refusal(check_split, manifest_of(*records))


def test_a_set_of_three_labels_is_fine():
    check_split(manifest_of(*(record for record in good() if record.label != "notumor")))


@pytest.mark.real
def test_the_published_split_of_nickparvar_is_kept_with_its_copies_counted():
    manifest = index_source(SHARED / "nickparvar")
    split = split_manifest(manifest)
    assert split.counts("test") == {"glioma": 300, "meningioma": 306, "notumor": 405, "pituitary": 300}
    assert sum(split.counts("validation").values()) == pytest.approx(571, abs=4)
    assert any("216 of 1311" in note for note in split.notes)
    known = {record.sha256 for record in split if record.split == "train"}
    assert not any(record.sha256 in known for record in split if record.split == "validation")


def test_a_run_for_validation_takes_the_copies_of_its_images_along():
    records = [replace(record, fold=number % 3) for number, record in enumerate(plain(24))]
    for copy, of in ((8, 40), (12, 60)):  # the same class, far apart
        records[copy] = replace(records[copy], sha256=records[of].sha256, group="slice-x")
        records[of] = replace(records[of], group="slice-x")
    for seed in range(12):
        for part in split_folds(manifest_of(*records), folds=3, validation_share=0.3, seed=seed):
            sides = {record.sha256: set() for record in part}
            for record in part:
                sides[record.sha256].add(record.split)
            assert all(len(found) == 1 for found in sides.values())


def test_runs_differ_by_seed_and_leave_every_class_in_training():
    records = [replace(record, fold=number % 3) for number, record in enumerate(plain(12))]
    splits = set()
    for seed in range(6):
        part = split_folds(manifest_of(*records), folds=3, seed=seed)[0]
        assert min(part.counts("train").values()) > 0
        splits.add(tuple(record.split for record in part))
    assert len(splits) > 2


def test_large_clusters_of_copies_do_not_swell_validation():
    """Half of a class in clusters of 30 copies, as in scans saved over and over: a tenth is still a tenth."""
    records = [replace(record, fold=number % 5) for number, record in enumerate(plain(200))]
    copies = [row for row, record in enumerate(records) if record.label == LABELS[0]][::2]
    for place, row in enumerate(copies):
        records[row] = replace(records[row], group=f"slice-{place // 30}", fold=1)
    for seed in range(6):
        for part in split_folds(manifest_of(*records), folds=5, validation_share=0.1, seed=seed):
            outside = sum(record.split != "test" for record in part)
            held = sum(record.split == "validation" for record in part)
            assert 0.05 * outside <= held <= 0.11 * outside
