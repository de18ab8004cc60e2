import json
from dataclasses import asdict

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from tumorscope.errors import EvaluationError
from tumorscope.evaluation.operating_point import (
    called_shares,
    decision_curve,
    fit_operating_point,
    most_misses,
    per_label_thresholds,
)


def test_298_tumours_cannot_promise_99_percent_and_299_can():
    scores = np.linspace(0.2, 0.9, 299)
    enough, few = (fit_operating_point(scores[:n], np.ones(n, dtype=bool)) for n in (299, 298))
    assert (enough.guaranteed, enough.threshold, enough.missed) == (True, scores[0], 0)
    assert (few.guaranteed, few.threshold, few.missed) == (False, scores[0], 0)
    assert enough.reachable_target == pytest.approx(0.05 ** (1 / 299))
    assert few.reachable_target < 0.99 < enough.reachable_target


@pytest.mark.parametrize(("n", "misses"), [(298, None), (299, 0), (472, 0), (473, 1), (627, 1), (628, 2)])
def test_how_many_may_be_missed_is_the_table_of_wilks(n, misses):
    assert most_misses(n, target=0.99, confidence=0.95) == misses


@pytest.mark.parametrize("n", [1, 30, 500, 3000])
@pytest.mark.parametrize(("target", "confidence"), [(0.5, 0.5), (0.9, 0.99), (0.99, 0.95), (0.05, 0.9)])
def test_one_more_miss_would_not_be_rejected(n, target, confidence):
    misses = most_misses(n, target=target, confidence=confidence)
    p_values = [
        binomtest(count, n, 1 - target, alternative="less").pvalue for count in ((misses or 0), (misses or 0) + 1) if count <= n
    ]
    if misses is None:
        assert p_values[0] > 1 - confidence
    else:
        assert p_values[0] <= 1 - confidence
        assert len(p_values) == 1 or p_values[1] > 1 - confidence


def test_the_reachable_target_can_be_promised_exactly():
    scores = np.linspace(0.1, 0.9, 57)
    first = fit_operating_point(scores, np.ones(57, dtype=bool))
    again = fit_operating_point(scores, np.ones(57, dtype=bool), target=first.reachable_target)
    above = fit_operating_point(scores, np.ones(57, dtype=bool), target=first.reachable_target + 1e-6)
    assert (first.guaranteed, again.guaranteed, above.guaranteed) == (False, True, False)


def test_scans_without_a_tumour_do_not_move_the_threshold():
    rng = np.random.default_rng(0)
    scores = np.concatenate([rng.beta(8, 2, 500), rng.beta(2, 8, 700)])
    truth = np.repeat([True, False], [500, 700])
    alone = fit_operating_point(scores[:500], truth[:500])
    assert fit_operating_point(scores, truth) == alone
    assert alone.missed == 1
    assert alone.threshold == np.sort(scores[:500])[1]


def test_equal_scores_are_missed_together_or_not_at_all():
    scores = np.concatenate([[0.1], np.full(50, 0.3), np.full(600, 0.8)])
    found = fit_operating_point(scores, np.ones(651, dtype=bool))
    # Two misses are allowed, but the second and third share their score with others.
    assert (found.threshold, found.missed, found.guaranteed) == (0.3, 1, True)


def test_the_promise_is_kept_in_as_many_calibrations_as_it_says():
    rng = np.random.default_rng(1)
    runs, kept = 2000, 0
    for _ in range(runs):
        found = fit_operating_point(rng.random(400), np.ones(400, dtype=bool), target=0.97)
        kept += 1 - found.threshold >= 0.97  # the sensitivity at a threshold on uniform scores
    assert kept >= binom.ppf(0.001, runs, 0.95)
    assert kept / runs < 0.99, "the threshold is not needlessly low"


def mapie_threshold(scores, truth, *, target):
    from mapie.risk_control import BinaryClassificationController

    controller = BinaryClassificationController(
        predict_function=lambda x: np.column_stack([1 - x, x]),
        risk="recall",
        target_level=target,
        confidence_level=0.95,
        list_predict_params=np.sort(scores[truth]),
        fwer_method="fixed_sequence",
    )
    return max(controller.calibrate(scores, truth.astype(int)).valid_predict_params)


@pytest.mark.parametrize("target", [0.9, 0.97])
def test_the_threshold_is_the_one_that_mapie_controls(target):
    rng = np.random.default_rng(2)
    scores, truth = np.concatenate([rng.beta(6, 2, 256), rng.beta(2, 6, 200)]), np.repeat([True, False], [256, 200])
    assert fit_operating_point(scores, truth, target=target).threshold == mapie_threshold(scores, truth, target=target)


def test_of_200_tumours_mapie_counts_12_misses_as_13():
    # 200 * (1 - 188 / 200) is a little more than 12 and rounded up there, which a power of two as above never is.
    scores = np.linspace(0.2, 0.9, 200)
    found = fit_operating_point(scores, np.ones(200, dtype=bool), target=0.9)
    assert (found.missed, found.threshold) == (12, scores[12])
    assert mapie_threshold(scores, np.ones(200, dtype=bool), target=0.9) == scores[11]


def test_what_a_threshold_does_is_worked_out_by_hand():
    called = np.array([True, True, False, False, True, False])
    found = called_shares(called, np.array([True, True, True, False, False, False]), np.arange(6))
    assert found["sensitivity"]["value"] == pytest.approx(2 / 3)
    assert found["specificity"]["value"] == pytest.approx(2 / 3)
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_a_sensitivity_of_one_has_exact_bounds_by_the_number_of_groups():
    found = called_shares(np.ones(12, dtype=bool), np.ones(12, dtype=bool), np.arange(12) // 3)
    assert found["sensitivity"]["interval"] == pytest.approx(list(binomtest(4, 4).proportion_ci(0.95, method="exact")))
    assert found["specificity"] == {"value": None, "interval": None}


def test_every_tumour_label_has_a_point_of_its_own_and_none_without_images():
    rng = np.random.default_rng(3)
    truth = np.repeat([0, 1, 2], 100)
    powers = np.exp(rng.normal(size=(300, 4)) + 2 * np.eye(4)[truth])
    probabilities = powers / powers.sum(axis=1, keepdims=True)
    found = per_label_thresholds(probabilities, truth, target=0.9)
    assert list(found) == ["glioma", "meningioma", "pituitary"]
    assert found["pituitary"] is None
    assert found["glioma"] == fit_operating_point(probabilities[:, 0], truth == 0, target=0.9)
    assert found["meningioma"].n_tumours == 100
    assert json.loads(json.dumps(asdict(found["glioma"]))) == asdict(found["glioma"])


def test_net_benefit_is_worked_out_by_hand():
    scores, truth = np.array([0.9, 0.3, 0.25, 0.1]), np.array([True, True, False, False])
    found = decision_curve(scores, truth, [0.2, 0.5])
    # At 0.2 a false alarm weighs 1 / 4: two found and one false alarm; at 0.5 it weighs 1: one found.
    assert found["model"] == pytest.approx([(2 - 1 / 4) / 4, 1 / 4])
    assert found["treat_all"] == pytest.approx([(2 - 2 / 4) / 4, 0])
    assert found["treat_none"] == [0, 0]
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_a_model_that_calls_everything_is_treating_all():
    truth = np.random.default_rng(4).random(50) < 0.4
    found = decision_curve(np.ones(50), truth, np.linspace(0.05, 0.95, 19))
    assert found["model"] == pytest.approx(found["treat_all"])


def test_what_cannot_be_fitted_is_refused():
    yes = np.ones(2, dtype=bool)
    for scores, truth, message in (
        (np.array([0.5, np.nan]), yes, "without NaN"),
        (np.array([0.5, 1.5]), yes, "from 0 to 1"),
        (np.empty(0), np.empty(0, dtype=bool), "no images"),
        (np.array([0.5, 0.5]), np.array([1, 0]), "expected bool"),
        (np.array([0.5]), yes, r"expected both as \(n,\)"),
        (np.array([0.5, 0.5]), ~yes, "none of the 2 images shows a tumour"),
    ):
        with pytest.raises(EvaluationError, match=message):
            fit_operating_point(scores, truth)
    for settings, message in (({"target": 1.0}, "target 1"), ({"confidence": 95}, "confidence 95")):
        with pytest.raises(EvaluationError, match=message):
            fit_operating_point(np.array([0.5, 0.6]), yes, **settings)
    with pytest.raises(EvaluationError, match="threshold 1"):
        decision_curve(np.array([0.5, 0.6]), yes, [0.5, 1.0])
