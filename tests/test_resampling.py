import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from tumorscope.resampling import (
    edge_interval,
    mean_intervals,
    number_groups,
    percentile_interval,
    resample_weights,
    resampled_columns,
    weighted_area,
)


@pytest.mark.parametrize("trials", [1, 7, 300])
@pytest.mark.parametrize("share", [0, 1])
def test_exact_bounds_are_those_of_scipy(trials, share):
    expected = binomtest(share * trials, trials).proportion_ci(0.9, method="exact")
    assert edge_interval(share, trials, level=0.9) == pytest.approx(list(expected))


def test_the_weighted_area_of_repeated_images_equals_scikit_learn_with_ties():
    rng = np.random.default_rng(8)
    truth, score = rng.random(80) < 0.4, rng.integers(0, 12, size=80) / 11
    weights = rng.integers(0, 4, size=(25, 80)).astype(float)
    areas = weighted_area(truth, score, weights=weights)
    expected = [roc_auc_score(truth, score, sample_weight=row) for row in weights]
    np.testing.assert_allclose(areas, expected)


def test_the_weighted_area_is_undefined_without_both_kinds():
    areas = weighted_area(np.array([True, False]), np.array([0.2, 0.1]), weights=np.array([[1.0, 1.0], [2.0, 0.0], [0.0, 2.0]]))
    assert areas[0] == 1
    assert np.isnan(areas[1:]).all()


def test_draws_do_not_depend_on_how_they_are_cut_into_blocks():
    whole = np.concatenate(list(resample_weights(37, resamples=50, seed=4)))
    cut = list(resample_weights(37, resamples=50, seed=4, width=300_000))
    assert [len(block) for block in cut] == [3] * 16 + [2]
    np.testing.assert_array_equal(np.concatenate(cut), whole)
    assert (whole.sum(axis=1) == 37).all()
    assert whole.mean(axis=0) == pytest.approx(np.ones(37), abs=0.6)


def test_a_percentile_interval_leaves_out_what_is_undefined():
    values = np.concatenate([np.arange(101.0), [np.nan] * 50])
    assert percentile_interval(values, level=0.9) == pytest.approx([5, 95])
    assert percentile_interval(np.full(5, np.nan), level=0.9) is None
    assert percentile_interval(np.full(5, 0.3), level=0.9) is None


def test_images_without_a_group_stand_alone_and_others_by_name():
    numbers = number_groups(["b", "", "a", "b", ""])
    assert numbers[0] == numbers[3]
    assert len(set(numbers.tolist())) == 4


def test_an_interval_of_a_mean_covers_the_truth_as_often_as_it_promises_only_by_group():
    rng = np.random.default_rng(0)
    by_group = by_image = 0
    for seed in range(200):
        groups = np.repeat(np.arange(40), 10)
        values = np.repeat(rng.normal(size=40), 10) + 0.1 * rng.normal(size=400)
        [(low, high)] = mean_intervals(values[None], groups, shares=False, resamples=300, seed=seed)
        by_group += low <= 0 <= high
        [(low, high)] = mean_intervals(values[None], np.arange(400), shares=False, resamples=300, seed=seed)
        by_image += low <= 0 <= high
    assert by_group >= 0.88 * 200
    assert by_image <= 0.6 * 200


def test_a_mean_leaves_out_what_is_undefined():
    values, groups = np.array([1.0, np.nan, 3.0, np.nan]), np.array([0, 0, 1, 2])
    means = resampled_columns(values[None], groups, resamples=500)[:, 0]
    assert set(np.round(means[~np.isnan(means)], 6)) <= {1.0, 3.0, 2.0, round(5 / 3, 6), round(7 / 3, 6)}
    assert np.isnan(means).any()
    assert mean_intervals(np.full((1, 3), np.nan), np.arange(3), shares=True) == [None]


def test_a_share_of_one_gets_exact_bounds_by_its_groups():
    groups = np.repeat(np.arange(5), 4)
    assert mean_intervals(np.ones((1, 20)), groups, shares=True) == [edge_interval(1.0, 5, level=0.95)]
    assert mean_intervals(np.zeros((1, 20)), groups, shares=False) == [None]  # twenty distances of 0 promise nothing of shares


def test_columns_are_drawn_together():
    rng = np.random.default_rng(0)
    columns = np.stack([rng.normal(size=30), rng.normal(size=30)])
    drawn = resampled_columns(columns, np.arange(30), resamples=50, seed=3)
    np.testing.assert_allclose(drawn[:, 1], resampled_columns(columns[1:], np.arange(30), resamples=50, seed=3)[:, 0])
