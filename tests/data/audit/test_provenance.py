from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from tumorscope.data.audit.provenance import guess_sources, source_table, with_folder_sources, with_sources_of
from tumorscope.data.audit.shortcuts import MetaFeatures
from tumorscope.data.audit.twins import KINDS, Pairs
from tumorscope.manifest import Manifest, Record


def records(**counts):
    """Records by keyword `SOURCE_LABEL=COUNT`."""
    return [
        Record(f"{name}{number}.png", name.split("_")[1], source=name.split("_")[0])
        for name, count in counts.items()
        for number in range(count)
    ]


def test_a_class_with_a_source_of_its_own_is_told():
    table = source_table(records(a_glioma=60, a_pituitary=40, b_notumor=100))
    assert table.counts["a"] == {"glioma": 60, "meningioma": 0, "notumor": 0, "pituitary": 40}
    assert table.per_label == {"glioma": 60, "notumor": 100, "pituitary": 40}
    assert table.share_told == 0.8
    assert table.majority_share == 0.5
    assert table.tumour_share_told == 1
    assert table.without_second_source == ("glioma", "notumor", "pituitary")
    assert table.with_second_source == ()
    assert table.sentences[0] == (
        "Every no tumour image comes from b, which holds nothing else: a model can score by recognising the source."
    )
    assert "100.0%" in table.sentences[1]


@pytest.mark.parametrize(
    ("first", "second", "enough"), [(1000, 20, True), (1000, 19, False), (95, 5, True), (96, 4, False), (9, 1, True)]
)
def test_a_second_source_counts_from_twenty_images_or_a_twentieth_on(first, second, enough):
    table = source_table(records(a_glioma=first, b_glioma=second, a_notumor=50, b_notumor=50))
    assert ("glioma" in table.with_second_source) is enough
    assert ("glioma" in table.without_second_source) is not enough


def test_sources_that_hold_all_classes_alike_tell_nothing():
    table = source_table(records(a_glioma=30, a_notumor=30, b_glioma=30, b_notumor=30))
    assert table.share_told == table.majority_share == table.tumour_share_told == 0.5
    assert table.without_second_source == ()
    assert not any("recognising" in sentence for sentence in table.sentences)


def test_a_few_images_from_elsewhere_are_counted_in_the_sentence():
    table = source_table(records(a_glioma=400, a_notumor=5, b_notumor=995))
    assert table.sentences[0].startswith("995 of 1,000 no tumour images come from b, which holds nothing else")


def test_where_some_images_name_no_source_nothing_is_said_of_every_image():
    table = source_table([*records(a_glioma=30, b_notumor=30), Record("x.png", "notumor")])
    assert table.sentences[0].startswith("30 of 30 glioma images of known source come from a, which holds nothing else")


def test_one_source_tells_no_class():
    table = source_table(records(a_glioma=30, a_notumor=30))
    assert not any("alone" in sentence for sentence in table.sentences)
    assert source_table(records(a_glioma=30)).tumour_share_told is None


def test_images_without_a_source_are_left_out_and_said():
    table = source_table([*records(a_glioma=3), Record("x.png", "notumor")])
    assert (table.images, table.without_source) == (3, 1)
    assert table.sentences[-1].startswith("1 image names no source and is not counted")
    assert source_table([Record("x.png", "notumor")]) is None


def collections(*, apart, count=300, seed=0):
    """Two collections whose measurements lie so many deviations apart, stored in the same mode."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((count, 5))
    values[count // 3 :, :4] += apart
    names = tuple(f"f{number}" for number in range(5))
    return MetaFeatures(names, values), [0] * (count // 3) + [1] * (count - count // 3)


def test_collections_that_lie_apart_are_found_and_the_largest_is_named_first():
    features, truth = collections(apart=8)
    found = guess_sources(features, seed=0)
    assert adjusted_rand_score(truth, found) > 0.8
    assert max(set(found), key=found.count) == "style-1"
    assert {"style-1", "style-2"} <= set(found) <= {"style-1", "style-2", ""}


def test_one_cloud_is_not_cut_into_sources():
    features, _ = collections(apart=0)
    assert set(guess_sources(features, seed=0)) == {""}


def test_unknown_values_and_words_are_taken(monkeypatch):
    monkeypatch.setattr("tumorscope.data.audit.provenance.MOST_IMAGES", 150)
    features, truth = collections(apart=8)
    values = np.concatenate([features.values, np.array(truth)[:, None]], axis=1)
    values[::7, 4] = np.nan
    found = guess_sources(MetaFeatures((*features.names, "mode"), values, {"mode": ("L", "RGB")}), seed=0)
    assert len(found) == 300
    assert adjusted_rand_score(truth, found) > 0.9


def test_few_images_are_not_guessed_about():
    features, _ = collections(apart=8, count=15)
    assert guess_sources(features, seed=0) == ("",) * 15
    assert guess_sources(MetaFeatures((), np.empty((50, 0))), seed=0) == ("",) * 50


def between(*found):
    a, b = (np.array(side, dtype=np.int64) for side in zip(*found, strict=True))
    zeros = np.zeros(len(found), dtype=np.int8)
    return Pairs(a, b, np.full(len(found), KINDS.index("twin"), dtype=np.int8), zeros, np.ones(len(found), dtype=np.float32))


def test_sources_are_found_through_twins_with_another_set_and_hold_for_the_whole_group():
    rows = [("s1", ""), ("s1", ""), ("s2", ""), ("s3", ""), ("s2", "own")]
    mine = Manifest(Path(), tuple(Record(f"{n}.png", "glioma", f"d{n}", group=g, source=s) for n, (g, s) in enumerate(rows)))
    other = Manifest(Path(), (Record("cheng/1.png", "glioma"), Record("br35h/2.png", "notumor")))
    found = with_sources_of(mine, other, between((0, 5), (2, 6)), name="both")
    assert [record.source for record in found] == ["cheng", "cheng", "br35h", "", "own"]
    assert "3 of 5 images was taken from both" in found.notes[-1]


def test_another_set_that_tells_no_sources_is_one_source_and_neighbours_tell_nothing():
    mine = Manifest(Path(), tuple(Record(f"{n}.png", "glioma", f"d{n}") for n in range(3)))
    other = Manifest(Path(), (Record("1.png", "glioma"), Record("2.png", "glioma")))
    pairs = between((0, 3), (1, 4))
    pairs.kind[1] = KINDS.index("neighbour")
    assert [record.source for record in with_sources_of(mine, other, pairs, name="other")] == ["other", "", ""]


def folder_sources(*paths, source=""):
    records = tuple(Record(path=path, label="glioma", source=source) for path in paths)
    return [record.source for record in with_folder_sources(Manifest(Path(), records))]


def test_collections_are_told_by_the_first_folder_that_is_neither_split_nor_class():
    paths = ("set/cheng/Training/glioma/1.png", "set/br35h/no/2.png")
    assert folder_sources(*paths) == ["cheng", "br35h"]


@pytest.mark.parametrize(
    "paths",
    [
        ("Training/glioma/1.png", "Testing/no_tumor/2.png"),
        ("one/glioma/1.png", "one/no/2.png"),
        ("cheng/1.png", "2.png"),
        tuple(f"patient-{number}/1.png" for number in range(30)),
    ],
)
def test_folders_that_tell_no_collections_apart_are_no_sources(paths):
    assert set(folder_sources(*paths)) == {""}


def test_given_sources_stay():
    assert folder_sources("a/1.png", "b/2.png", source="mine") == ["mine", "mine"]
