import numpy as np
import pytest
from PIL import Image

from tumorscope.data.audit.files import file_facts
from tumorscope.data.audit.shortcuts import MetaFeatures, differences, meta_features, shortcut_score, word_feature
from tumorscope.data.decode import decode_record
from tumorscope.labels import LABELS
from tumorscope.manifest import Manifest, Record

NOBODY = ("",) * 10_000


def random_features(count, columns=6, *, seed=0):
    rng = np.random.default_rng(seed)
    return MetaFeatures(tuple(f"f{number}" for number in range(columns)), rng.standard_normal((count, columns)))


def labels_of(count):
    return [LABELS[number % 4] for number in range(count)]


@pytest.mark.parametrize("seed", range(3))
def test_features_that_know_nothing_score_chance(seed):
    """Recall of a blind answer is 1/4 in each class; its standard error over 300 images is 0.025, that of the mean 0.0125."""
    found = shortcut_score(random_features(1200, seed=seed), labels_of(1200), NOBODY[:1200], seed=seed)
    assert found.chance == found.majority_share == 0.25
    assert found.balanced_accuracy == pytest.approx(0.25, abs=0.05)
    assert max(found.single.values()) < 0.33
    assert found.differences[0].gap < 0.2


def test_a_feature_that_is_the_class_scores_one():
    features = random_features(200)
    features.values[:, 3] = [LABELS.index(label) for label in labels_of(200)]
    found = shortcut_score(features, labels_of(200), NOBODY[:200], seed=0)
    assert found.accuracy > 0.97
    assert found.balanced_accuracy > 0.97
    assert next(iter(found.single)) == "f3"
    assert found.single["f3"] == 1
    assert found.differences[0].feature == "f3"
    assert found.differences[0].gap == 1
    assert "25%" in found.sentence


def test_progress_is_told_after_every_model_and_ends_with_all():
    told = []
    shortcut_score(random_features(80, columns=3), labels_of(80), NOBODY[:80], seed=0, progress=lambda *step: told.append(step))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_feature_of_the_group_alone_is_not_counted():
    """Each group has a number of its own and a class drawn at random: learned by heart it tells all, of a new group nothing."""
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(120), 5)
    labels = [LABELS[number] for number in rng.integers(0, 4, 120)[group]]
    number = rng.standard_normal(120)[group]
    features = MetaFeatures(("number",), number[:, None])
    by_group = shortcut_score(features, labels, [f"g{name}" for name in group], seed=0)
    by_image = shortcut_score(features, labels, NOBODY[:600], seed=0)
    assert by_image.balanced_accuracy > 0.9
    assert by_group.balanced_accuracy < 0.4


def test_the_rare_class_counts_as_much_as_the_frequent_one():
    labels = ["glioma"] * 950 + ["notumor"] * 50
    found = shortcut_score(random_features(1000), labels, NOBODY[:1000], seed=0)
    assert found.majority_share == 0.95
    assert found.balanced_accuracy == pytest.approx(0.5, abs=0.1)
    assert set(found.recall) == {"glioma", "notumor"}


def test_the_same_seed_gives_the_same_score():
    features, labels = random_features(200), labels_of(200)
    first, again = (shortcut_score(features, labels, NOBODY[:200], seed=7) for _ in range(2))
    assert first == again


def test_nothing_is_scored_where_nothing_can_be_measured():
    features = random_features(40)
    assert shortcut_score(features, ["glioma"] * 40, NOBODY[:40], seed=0) is None
    assert shortcut_score(features, ["glioma"] * 39 + ["notumor"], NOBODY[:40], seed=0) is None
    assert shortcut_score(features, labels_of(40), ["one patient"] * 40, seed=0) is None
    assert shortcut_score(MetaFeatures((), np.empty((40, 0))), labels_of(40), NOBODY[:40], seed=0) is None


def test_two_groups_are_enough():
    features = word_feature("source", ["a", "b"] * 10)
    found = shortcut_score(features, ["glioma", "notumor"] * 10, [f"g{number // 10}" for number in range(20)], seed=0)
    assert found.accuracy == 1


def test_a_difference_names_the_word_and_the_share_of_both_sides():
    modes = ["RGB"] * 49 + ["L"] + ["RGB"] * 3 + ["L"] * 97
    labels = ["notumor"] * 50 + ["glioma"] * 50 + ["pituitary"] * 50
    (found,) = differences(word_feature("colour mode", modes), labels)
    assert (found.label, found.what) == ("notumor", "RGB")
    assert (found.share, found.share_of_others) == pytest.approx((0.98, 0.03))
    assert found.sentence == "colour mode: RGB in 98% of notumor, in 3% of the others"


def test_a_difference_names_the_bound_that_parts_best():
    values = np.array([1.0, 2, 3, 4, 10, 11, 12, np.nan])
    labels = ["glioma"] * 4 + ["notumor"] * 4
    (found,) = differences(MetaFeatures(("margin",), values[:, None]), labels)
    assert found.sentence == "margin: at most 4 in 100% of glioma, in 0% of the others"
    (turned,) = differences(MetaFeatures(("margin",), -values[:, None]), labels)
    assert turned.sentence == "margin: more than -10 in 100% of glioma, in 0% of the others"


@pytest.fixture
def stored_heads(tmp_path, draw_slice):
    """Heads of one kind, half of them without a tumour by name and stored in another way."""

    def facts(*, side, border):
        records = []
        for number in range(48):
            healthy = number % 2 == 1
            image = Image.fromarray(draw_slice(number))
            if healthy and side:
                image = image.resize((side, side))
            pixels = np.pad(np.asarray(image), border if healthy else 0)
            Image.fromarray(pixels).save(tmp_path / f"{number}.png")
            records.append(Record(f"{number}.png", "notumor" if healthy else LABELS[number // 2 % 2]))
        manifest = Manifest(tmp_path, tuple(records))
        return [file_facts(manifest, record, decode_record(manifest, record)) for record in manifest], [r.label for r in manifest]

    return facts


@pytest.mark.parametrize(("side", "border", "feature"), [(200, 0, {"rows", "columns"}), (0, 24, {"rows", "columns", "top margin"})])
def test_another_size_or_border_of_one_class_is_a_shortcut(stored_heads, side, border, feature):
    facts, labels = stored_heads(side=side, border=border)
    binary = ["notumor" if label == "notumor" else "tumour" for label in labels]
    found = shortcut_score(meta_features(facts), binary, NOBODY[:48], seed=0)
    assert found.balanced_accuracy > 0.95
    assert next(iter(found.single)) in feature | {"bottom margin", "left margin", "right margin", "bits per pixel", "mean grey"}
    assert all(found.single[name] > 0.95 for name in feature)


def test_heads_stored_alike_are_no_shortcut(stored_heads):
    facts, labels = stored_heads(side=0, border=0)
    binary = ["notumor" if label == "notumor" else "tumour" for label in labels]
    found = shortcut_score(meta_features(facts), binary, NOBODY[:48], seed=0)
    assert found.balanced_accuracy < 0.75
    assert "rows" not in found.single
    assert "colour mode" not in found.single
