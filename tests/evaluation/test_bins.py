import numpy as np
import pytest
from scipy.stats import binomtest

from tumorscope.evaluation.bins import bin_numbers, binned_error, curve_points, wilson_interval


def test_bins_of_equal_mass_hold_equally_many_and_keep_equal_confidences_together():
    scores = np.random.default_rng(1).random(150)
    assert np.bincount(bin_numbers(scores, bins=15)).tolist() == [10] * 15
    tied = bin_numbers(np.array([0.2] * 5 + [1.0] * 95), bins=10)
    assert len(set(tied[:5].tolist())) == len(set(tied[5:].tolist())) == 1
    assert tied[0] != tied[-1]


def test_a_bin_of_equal_width_holds_its_upper_edge():
    assert bin_numbers(np.array([0.0, 0.25, 0.250001, 1.0]), bins=4, binning="equal_width").tolist() == [0, 0, 1, 3]


def test_wilson_equals_scipy():
    for hits, trials in ((0, 5), (3, 7), (40, 40), (250, 300)):
        expected = binomtest(hits, trials).proportion_ci(0.95, method="wilson")
        assert wilson_interval(hits, trials) == pytest.approx(list(expected))


@pytest.mark.parametrize("binning", ["equal_mass", "equal_width"])
def test_bins_do_not_depend_on_the_order_of_the_images(binning):
    rng = np.random.default_rng(2)
    scores, order = rng.random(97).round(1), rng.permutation(97)
    np.testing.assert_array_equal(bin_numbers(scores, binning=binning)[order], bin_numbers(scores[order], binning=binning))


def test_empty_bins_are_left_out_of_the_curve_and_of_the_error():
    scores, truth = np.array([0.05, 0.95, 0.95]), np.array([False, True, False])
    bin_of = bin_numbers(scores, bins=10, binning="equal_width")
    assert bin_of.tolist() == [0, 9, 9]
    assert [point["n"] for point in curve_points(scores, truth, bin_of)] == [1, 2]
    assert binned_error(scores, truth, bin_of) == pytest.approx((0.05 + 0.9) / 3)
