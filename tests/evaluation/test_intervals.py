import json
import time

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import precision_recall_fscore_support

from tumorscope.errors import EvaluationError
from tumorscope.evaluation.intervals import (
    bootstrap_intervals,
    confusion_scores,
    confusion_tables,
    group_numbers,
    resample_tables,
)
from tumorscope.evaluation.metrics import summarise
from tumorscope.labels import LABELS
from tumorscope.predictions import Predictions
from tumorscope.resampling import resample_weights

SHARES = ("precision", "recall", "f1")


def answers(truth: np.ndarray, called: np.ndarray) -> Predictions:
    return Predictions(tuple(f"{i:05}.png" for i in range(len(truth))), np.asarray(truth), np.eye(4)[called])


def bernoulli(rng: np.random.Generator, correct: np.ndarray) -> Predictions:
    truth = rng.integers(4, size=len(correct))
    return answers(truth, np.where(correct, truth, (truth + rng.integers(1, 4, size=len(correct))) % 4))


def noisy(count: int, *, seed: int, signal: float = 2.0) -> Predictions:
    rng = np.random.default_rng(seed)
    truth = rng.integers(4, size=count)
    powers = np.exp(rng.normal(size=(count, 4)) + signal * np.eye(4)[truth])
    return Predictions(tuple(f"{i:05}.png" for i in range(count)), truth, powers / powers.sum(axis=1, keepdims=True))


def leaves(value):
    """Every [low, high] or None of a nested result with its place."""
    for key, inner in value.items():
        if isinstance(inner, dict):
            yield from ((f"{key}.{place}", leaf) for place, leaf in leaves(inner))
        elif inner is None or isinstance(inner, list):
            yield key, inner


def test_accuracy_intervals_cover_the_truth_as_often_as_they_promise():
    rng = np.random.default_rng(11)
    covered = 0
    for run in range(300):
        predictions = bernoulli(rng, rng.random(150) < 0.85)
        low, high = bootstrap_intervals(predictions, groups=None, resamples=300, seed=run)["accuracy"]
        covered += low <= 0.85 <= high
    assert 0.90 <= covered / 300 <= 0.98


def test_only_intervals_by_group_cover_when_images_of_a_group_share_their_fate():
    rng = np.random.default_rng(12)
    groups = [f"patient {i // 6}" for i in range(300)]
    covered = {"grouped": 0, "alone": 0}
    for run in range(200):
        predictions = bernoulli(rng, np.repeat(rng.random(50) < 0.8, 6))
        for name, given in (("grouped", groups), ("alone", None)):
            low, high = bootstrap_intervals(predictions, groups=given, resamples=200, seed=run)["accuracy"]
            covered[name] += low <= 0.8 <= high
    assert 0.88 <= covered["grouped"] / 200 <= 0.98
    assert covered["alone"] / 200 < 0.75


def test_exact_bounds_cover_a_rare_error_that_the_bootstrap_cannot_see():
    rng = np.random.default_rng(13)
    covered = 0
    for run in range(200):
        predictions = bernoulli(rng, rng.random(40) < 0.98)
        low, high = bootstrap_intervals(predictions, groups=None, resamples=100, seed=run)["accuracy"]
        covered += low <= 0.98 <= high
    assert covered / 200 >= 0.9


def test_intervals_hold_the_numbers_they_belong_to():
    predictions = noisy(500, seed=1)
    metrics, intervals = summarise(predictions), bootstrap_intervals(predictions, groups=None)
    found = dict(leaves(intervals))
    assert len(found) == 1 + 3 + 3 + 12 + 2 + 6
    for place, (low, high) in found.items():
        value = metrics
        for key in place.split("."):
            value = value[key]
        assert low < value < high, place
        assert high - low < 0.25


def test_the_result_says_how_it_was_made_and_is_plain_json():
    intervals = bootstrap_intervals(noisy(60, seed=2), groups=["x"] * 20 + [""] * 40, resamples=150, seed=9, level=0.9)
    assert (intervals["level"], intervals["resamples"], intervals["groups"], intervals["seed"]) == (0.9, 150, 41, 9)
    assert "Clopper-Pearson" in intervals["method"]
    assert json.loads(json.dumps(intervals, allow_nan=False)) == intervals


def test_copies_in_groups_widen_the_interval_about_as_theory_says():
    single = noisy(250, seed=3)
    paths = tuple(f"{path}#{copy}" for path in single.paths for copy in range(4))
    four = Predictions(paths, np.repeat(single.label_index, 4), np.repeat(single.probabilities, 4, axis=0))
    groups = [path.partition("#")[0] for path in paths]

    def width(given):
        low, high = bootstrap_intervals(four, groups=given)["accuracy"]
        return high - low

    assert width(groups) / width(None) == pytest.approx(2, rel=0.15)
    low, high = bootstrap_intervals(single, groups=None)["accuracy"]
    assert width(groups) == pytest.approx(high - low, rel=0.1)


def test_a_lower_level_is_narrower():
    predictions = noisy(300, seed=4)
    wide = bootstrap_intervals(predictions, groups=None, level=0.99)["macro"]["f1"]
    narrow = bootstrap_intervals(predictions, groups=None, level=0.5)["macro"]["f1"]
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_the_same_seed_gives_the_same_intervals_in_any_order_of_rows():
    predictions = noisy(200, seed=5)
    groups = [f"g{i % 30}" if i % 3 else "" for i in range(200)]
    order = np.random.default_rng(0).permutation(200)
    shuffled = Predictions(
        tuple(predictions.paths[i] for i in order), predictions.label_index[order], predictions.probabilities[order]
    )
    first = dict(leaves(bootstrap_intervals(predictions, groups=groups, seed=1)))
    second = dict(leaves(bootstrap_intervals(shuffled, groups=[groups[i] for i in order], seed=1)))
    other = dict(leaves(bootstrap_intervals(predictions, groups=groups, seed=2)))
    assert all(first[place] == pytest.approx(second[place]) for place in first)
    assert first != other


def test_a_perfect_score_gets_exact_bounds_by_the_number_of_groups():
    truth = np.repeat(np.arange(4), 20)
    groups = [f"g{i // 2}" for i in range(80)]
    intervals = bootstrap_intervals(answers(truth, truth), groups=groups)
    assert intervals["accuracy"] == pytest.approx(list(binomtest(40, 40).proportion_ci(0.95, method="exact")))
    assert intervals["tumour_sensitivity"] == pytest.approx(list(binomtest(30, 30).proportion_ci(0.95, method="exact")))
    by_class = list(binomtest(10, 10).proportion_ci(0.95, method="exact"))
    for shares in (*intervals["per_class"].values(), intervals["macro"]):
        assert all(shares[name] == pytest.approx(by_class) for name in SHARES)
    assert intervals["tumour_specificity"] == pytest.approx(by_class)
    assert intervals["weighted"]["recall"] == intervals["accuracy"]
    assert intervals["roc_auc"]["macro"] is None


def test_a_label_that_is_always_missed_gets_an_upper_bound():
    truth = np.repeat([0, 1, 2, 3], 10)
    called = np.where(truth == 3, 2, truth)
    intervals = bootstrap_intervals(answers(truth, called), groups=None)
    pituitary = intervals["per_class"]["pituitary"]
    assert pituitary["recall"] == pytest.approx([0, 0.3084971], abs=1e-6)
    assert pituitary["precision"] == [0, 1], "never called, so nothing is known"
    assert pituitary["f1"] == pytest.approx([0, 2 * 0.3084971 / 1.3084971], abs=1e-6)


def test_a_label_without_images_has_no_interval():
    intervals = bootstrap_intervals(answers([0, 0, 1, 1, 1, 0], [0, 1, 1, 1, 0, 0]), groups=None)
    assert set(intervals["per_class"]["notumor"].values()) == {None}
    assert intervals["tumour_specificity"] is None
    assert intervals["roc_auc"]["tumour"] is None
    assert intervals["roc_auc"]["macro"] is not None


def test_a_single_group_has_no_interval_unless_its_share_is_at_an_edge():
    intervals = bootstrap_intervals(answers([0, 0, 1, 1], [0, 1, 1, 1]), groups=["one"] * 4)
    assert intervals["accuracy"] is None
    assert intervals["per_class"]["glioma"]["recall"] is None
    assert intervals["per_class"]["meningioma"]["recall"] == pytest.approx([0.025, 1])


def test_images_called_by_a_label_that_no_image_has_keep_precision_and_bounds_in_step():
    predictions = answers([0] * 8 + [1] * 8, [0] * 7 + [3] + [1] * 8)
    intervals = bootstrap_intervals(predictions, groups=None)
    assert summarise(predictions)["macro"]["precision"] == 1
    assert intervals["macro"]["precision"][0] == pytest.approx((0.025 ** (1 / 7) + 0.025 ** (1 / 8)) / 2)
    assert set(intervals["per_class"]["pituitary"].values()) == {None}


def test_vectorised_scores_equal_scikit_learn_on_random_confusion_matrices():
    rng = np.random.default_rng(6)
    counts = rng.integers(0, 6, size=(40, 4, 4)).astype(float)
    counts[:, 0, 0] += 1
    counts[::4, :, 2] = 0
    counts[1::4, 3] = 0
    for matrix in counts:
        rows, columns = np.nonzero(matrix)
        repeats = matrix[rows, columns].astype(int)
        metrics = summarise(answers(np.repeat(rows, repeats), np.repeat(columns, repeats)))
        for path, values in confusion_scores(matrix[None]).items():
            expected = metrics
            for key in path:
                expected = expected[key]
            assert values[0] == pytest.approx(np.nan if expected is None else expected, nan_ok=True), path


def test_many_matrices_at_once_equal_one_by_one_where_all_labels_have_images():
    counts = np.random.default_rng(7).integers(1, 9, size=(30, 4, 4)).astype(float)
    together = confusion_scores(counts)
    for i, matrix in enumerate(counts):
        rows, columns = np.indices((4, 4)).reshape(2, -1)
        truth, called = np.repeat(rows, matrix.ravel().astype(int)), np.repeat(columns, matrix.ravel().astype(int))
        for average in ("macro", "weighted"):
            expected = precision_recall_fscore_support(truth, called, average=average, zero_division=0.0)[:3]
            assert [together[average, name][i] for name in SHARES] == pytest.approx(list(expected))


def test_an_average_is_undefined_in_a_resample_that_lost_one_of_its_labels():
    counts = np.stack([np.eye(4), np.diag([1.0, 1, 1, 0])])
    macro = confusion_scores(counts)["macro", "recall"]
    assert macro[0] == 1
    assert np.isnan(macro[1])


def test_resampled_tables_add_up_drawn_groups():
    tables = np.diag([1.0, 10.0, 100.0])[:, None]
    resampled = resample_tables(tables, resamples=40, seed=0)
    weights = np.concatenate(list(resample_weights(3, resamples=40, seed=0)))
    np.testing.assert_array_equal(resampled[:, 0], weights * [1, 10, 100])


def test_tables_of_the_groups_add_up_to_the_confusion_matrix():
    predictions = noisy(90, seed=9)
    numbers = group_numbers(predictions, [f"g{i % 7}" for i in range(90)])
    tables = confusion_tables(predictions, numbers)
    assert tables.shape == (7, 4, 4)
    assert tables.sum(axis=0).tolist() == summarise(predictions)["confusion_matrix"]


def test_an_image_without_a_group_is_its_own_even_if_a_group_bears_its_name():
    predictions = Predictions(("a", "b", "c", "d"), np.array([0, 1, 2, 3]), np.eye(4))
    numbers = group_numbers(predictions, ["b", "", "b", ""])
    assert numbers[0] == numbers[2]
    assert len(set(numbers.tolist())) == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"groups": ["a"]}, "1 groups for 30 predictions"),
        ({"groups": None, "resamples": 10}, "at least 100"),
        ({"groups": None, "level": 95}, "between 0 and 1"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings, message):
    with pytest.raises(EvaluationError, match=message):
        bootstrap_intervals(noisy(30, seed=0), **settings)


def test_no_predictions_have_no_intervals():
    with pytest.raises(EvaluationError, match="nothing to measure"):
        bootstrap_intervals(Predictions((), np.empty(0, dtype=np.int64), np.empty((0, 4))), groups=None)


def test_a_test_set_of_1311_images_takes_a_moment():
    predictions = noisy(1311, seed=10)
    start = time.process_time()
    bootstrap_intervals(predictions, groups=None)
    assert time.process_time() - start < 4, "0.4 s when this was written"


def test_every_label_has_its_place():
    assert list(bootstrap_intervals(noisy(80, seed=0), groups=None, resamples=100)["per_class"]) == list(LABELS)
