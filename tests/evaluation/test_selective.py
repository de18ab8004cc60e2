import json

import numpy as np
import pytest
from scipy.stats import binomtest

from tumorscope.errors import EvaluationError
from tumorscope.evaluation.selective import selective_summary


def answers(count, *, seed):
    rng = np.random.default_rng(seed)
    confidence = rng.random(count)
    return confidence, rng.random(count) < confidence


def test_the_curve_is_worked_out_by_hand():
    # From the surest: right, wrong, right, wrong. Risks 0, 1/2, 1/3, 2/4; ideally 0, 0, 1/3, 1/2.
    found = selective_summary(np.array([0.6, 0.9, 0.8, 0.7]), np.array([False, True, False, True]), groups=None, coverages=[0.5])
    assert found["risk"]["value"] == 0.5
    assert found["aurc"]["value"] == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 2) / 4)
    assert found["excess_aurc"]["value"] == pytest.approx(1 / 2 / 4)
    assert found["accuracy_at"]["0.5"]["value"] == 0.5
    assert (found["accuracy_at"]["0.5"]["n"], found["accuracy_at"]["0.5"]["threshold"]) == (2, 0.8)
    assert found["curve"]["risk"][-1] == 0.5
    assert found["curve"]["coverage"][-1] == 1
    assert found["curve"]["risk"][0] == 0


def test_equal_confidences_count_with_the_mean_of_their_errors_in_any_order():
    confidence = np.array([0.9, 0.5, 0.5, 0.5, 0.5])
    correct = np.array([True, True, False, True, False])
    found = selective_summary(confidence, correct, groups=None)
    # Risks: 0, 0.5 / 2, 1 / 3, 1.5 / 4, 2 / 5.
    assert found["aurc"]["value"] == pytest.approx((0 + 0.25 + 1 / 3 + 0.375 + 0.4) / 5)
    turned = selective_summary(confidence[::-1], correct[::-1], groups=None)
    assert turned["aurc"]["value"] == pytest.approx(found["aurc"]["value"])


def test_a_score_that_says_nothing_leaves_the_risk_and_a_perfect_one_has_no_excess():
    correct = np.arange(200) % 5 > 0
    useless = selective_summary(np.full(200, 0.7), correct, groups=None)
    assert useless["aurc"]["value"] == pytest.approx(0.2)
    assert useless["accuracy_at"]["0.8"]["value"] == pytest.approx(0.8)
    perfect = selective_summary(correct + np.arange(200) / 1000, correct, groups=None)
    assert perfect["excess_aurc"]["value"] == pytest.approx(0)
    assert perfect["accuracy_at"]["0.8"]["value"] == 1
    # Large n: risk + (1 - risk) ln(1 - risk).
    assert perfect["aurc"]["value"] == pytest.approx(0.2 + 0.8 * np.log(0.8), abs=0.002)


def test_accuracy_rises_as_the_least_sure_are_left_out():
    found = selective_summary(*answers(2000, seed=0), groups=None)
    kept = [found["accuracy_at"][name]["value"] for name in ("0.95", "0.9", "0.8")]
    assert 1 - found["risk"]["value"] < kept[0] < kept[1] < kept[2]
    # The accuracy above the confidence c is (1 + c) / 2.
    assert kept == pytest.approx([(1 + c) / 2 for c in (0.05, 0.1, 0.2)], abs=0.03)


def test_intervals_hold_the_values_and_widen_with_copies_in_groups():
    confidence, correct = answers(200, seed=1)
    widths = []
    for groups in ([f"p{i // 4}" for i in range(800)], None):
        found = selective_summary(np.repeat(confidence, 4), np.repeat(correct, 4), groups=groups, seed=2)
        for cell in (found["risk"], found["aurc"], found["excess_aurc"], *found["accuracy_at"].values()):
            assert cell["interval"][0] < cell["value"] < cell["interval"][1]
        low, high = found["accuracy_at"]["0.9"]["interval"]
        widths.append(high - low)
    assert widths[0] / widths[1] == pytest.approx(2, rel=0.2)


def test_an_accuracy_of_one_has_exact_bounds_by_the_number_of_groups():
    correct = np.arange(20) > 0
    found = selective_summary(np.arange(20) / 20, correct, groups=None)
    expected = list(binomtest(18, 18).proportion_ci(0.95, method="exact"))
    assert found["accuracy_at"]["0.9"]["interval"] == pytest.approx(expected)
    everything = selective_summary(np.arange(20) / 20, np.ones(20, dtype=bool), groups=[f"p{i // 2}" for i in range(20)])
    assert everything["risk"]["interval"] == pytest.approx(list(binomtest(0, 10).proportion_ci(0.95, method="exact")))
    assert everything["aurc"] == {"value": 0.0, "interval": None}


def test_the_result_is_plain_json_even_for_one_image():
    for count in (1, 30):
        found = selective_summary(*answers(count, seed=3), groups=None)
        assert json.loads(json.dumps(found, allow_nan=False)) == found


@pytest.mark.parametrize(
    ("confidence", "correct", "message"),
    [
        (np.array([0.5, np.nan]), np.array([True, False]), "1 of 2 images is NaN"),
        (np.array([0.5, 0.6]), np.array([1, 0]), "and bool"),
        (np.array([0.5]), np.array([True, False]), r"both as \(n,\)"),
        (np.empty(0), np.empty(0, dtype=bool), "no images"),
    ],
)
def test_what_cannot_be_ranked_is_refused(confidence, correct, message):
    with pytest.raises(EvaluationError, match=message):
        selective_summary(confidence, correct, groups=None)
    with pytest.raises(EvaluationError, match="coverage 90"):
        selective_summary(np.array([0.5]), np.array([True]), groups=None, coverages=[90])
