import json

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import brier_score_loss
from sklearn.metrics import log_loss as sklearn_log_loss

from tumorscope.errors import EvaluationError
from tumorscope.evaluation.reliability import (
    calibration_summary,
    expected_calibration_error,
)
from tumorscope.labels import LABELS
from tumorscope.predictions import Predictions

PROBABILITIES = np.array([[0.9, 0.1, 0.0, 0.0], [0.8, 0.2, 0.0, 0.0], [0.4, 0.6, 0.0, 0.0], [0.3, 0.7, 0.0, 0.0]])
TRUTH = np.array([0, 1, 1, 1])


def calibrated(count, *, seed):
    """Predictions whose truth is drawn from their own probabilities."""
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet([0.4] * 4, size=count)
    truth = (rng.random(count)[:, None] > np.cumsum(probabilities, axis=1)).sum(axis=1).clip(max=3)
    return Predictions(tuple(f"{i}.png" for i in range(count)), truth, probabilities)


def too_sure(count, *, seed):
    predictions = calibrated(count, seed=seed)
    powers = predictions.probabilities**3
    return Predictions(predictions.paths, predictions.label_index, powers / powers.sum(axis=1, keepdims=True))


def test_the_calibration_error_is_worked_out_by_hand():
    # Confidences 0.9 right, 0.8 wrong, 0.6 right, 0.7 right.
    # Two bins of equal mass: {0.6, 0.7}: |2 - 1.3|; {0.8, 0.9}: |1 - 1.7|; together 1.4 of 4 images.
    assert expected_calibration_error(PROBABILITIES, TRUTH, bins=2) == pytest.approx(0.35)
    # Two bins of equal width: all in the upper: |3 - 3.0|.
    assert expected_calibration_error(PROBABILITIES, TRUTH, bins=2, binning="equal_width") == pytest.approx(0)
    # Ten: every image alone: 0.1, 0.8, 0.4, 0.3.
    assert expected_calibration_error(PROBABILITIES, TRUTH, bins=10, binning="equal_width") == pytest.approx(0.4)


def summary_of(probabilities, truth, **more):
    return calibration_summary(Predictions(tuple(map(str, range(len(truth)))), truth, probabilities), groups=None, **more)


def test_the_error_of_each_label_is_against_the_rest_and_none_without_images():
    found = summary_of(PROBABILITIES, TRUTH, bins=1)["per_label"]
    # One bin: glioma 1 image against 2.4, meningioma 3 against 1.6.
    assert found["glioma"]["equal_mass"]["ece"] == pytest.approx(0.35)
    assert found["meningioma"]["equal_width"]["ece"] == pytest.approx(0.35)
    assert (found["notumor"], found["pituitary"]) == (None, None)


def test_brier_and_log_loss_equal_scikit_learn():
    predictions = calibrated(200, seed=0)
    probabilities, truth = predictions.probabilities, predictions.label_index
    found = calibration_summary(predictions, groups=None)
    assert found["log_loss"]["value"] == pytest.approx(sklearn_log_loss(truth, probabilities, labels=range(4)))
    assert found["brier"]["value"] == pytest.approx(brier_score_loss(truth, probabilities, labels=list(range(4))))
    assert summary_of(np.eye(4)[:1], np.array([1]))["log_loss"]["value"] == pytest.approx(-np.log(np.finfo(float).eps))


def test_the_error_does_not_depend_on_the_order_of_the_images():
    predictions = calibrated(97, seed=2)
    order = np.random.default_rng(0).permutation(97)
    assert expected_calibration_error(predictions.probabilities, predictions.label_index) == pytest.approx(
        expected_calibration_error(predictions.probabilities[order], predictions.label_index[order])
    )


def test_the_curve_is_worked_out_by_hand():
    low, high = summary_of(PROBABILITIES, TRUTH, bins=2)["top_label"]["equal_mass"]["curve"]
    assert (low["confidence"], low["accuracy"], low["n"]) == (pytest.approx(0.65), 1.0, 2)
    assert (high["confidence"], high["accuracy"], high["n"]) == (pytest.approx(0.85), 0.5, 2)
    assert low["interval"] == pytest.approx(list(binomtest(2, 2).proportion_ci(0.95, method="wilson")))
    [glioma] = summary_of(PROBABILITIES, TRUTH, bins=1)["per_label"]["glioma"]["equal_mass"]["curve"]
    assert (glioma["confidence"], glioma["accuracy"]) == (pytest.approx(0.6), 0.25)


def test_a_calibrated_model_has_the_error_that_chance_gives():
    errors, expected, rare = [], [], 0
    for seed in range(10):
        found = calibration_summary(calibrated(400, seed=seed), groups=None, seed=seed)["top_label"]["equal_mass"]
        errors.append(found["ece"])
        expected.append(found["expected_if_calibrated"])
        rare += found["as_large_if_calibrated"] < 0.05
    assert np.mean(errors) == pytest.approx(np.mean(expected), rel=0.1)
    assert np.mean(expected) > 0.03, "chance alone gives bins of 27 images an error of 3 % and more"
    assert rare <= 3


def test_more_images_have_less_error_by_chance():
    few, many = (
        calibration_summary(calibrated(count, seed=3), groups=None)["top_label"]["equal_mass"]["expected_if_calibrated"]
        for count in (100, 1600)
    )
    assert few / many == pytest.approx(4, rel=0.15)


def test_a_model_that_is_too_sure_is_told_from_chance():
    found = calibration_summary(too_sure(500, seed=4), groups=None)
    for binning in ("equal_mass", "equal_width"):
        cell = found["top_label"][binning]
        assert cell["as_large_if_calibrated"] == 0
        assert cell["interval"][0] > 2 * cell["expected_if_calibrated"]
    assert found["confidence"]["value"] > found["accuracy"]["value"]


def test_the_summary_is_plain_json_with_every_number_in_its_interval():
    predictions = calibrated(120, seed=5)
    found = calibration_summary(predictions, groups=[f"g{i // 3}" for i in range(120)], seed=1)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert (found["n"], found["groups"]) == (120, 40)
    assert list(found["per_label"]) == list(LABELS)
    for binning in ("equal_mass", "equal_width"):
        top = found["top_label"][binning]
        alone = expected_calibration_error(predictions.probabilities, predictions.label_index, binning=binning)
        assert top["ece"] == pytest.approx(alone)
        assert sum(cell["n"] for cell in top["curve"]) == 120
    assert sum(cell["brier"]["value"] for cell in found["per_label"].values()) == pytest.approx(found["brier"]["value"])
    for cell in (found["accuracy"], found["brier"], found["log_loss"], found["confidence"]):
        assert cell["interval"][0] < cell["value"] < cell["interval"][1]
    assert "not 0" in found["caveat"]


def test_copies_in_groups_widen_the_intervals():
    single = calibrated(150, seed=6)
    paths = tuple(f"{path}#{copy}" for path in single.paths for copy in range(4))
    four = Predictions(paths, np.repeat(single.label_index, 4), np.repeat(single.probabilities, 4, axis=0))
    widths = []
    for groups in ([path.partition("#")[0] for path in paths], None):
        low, high = calibration_summary(four, groups=groups)["brier"]["interval"]
        widths.append(high - low)
    assert widths[0] / widths[1] == pytest.approx(2, rel=0.15)


def test_a_label_without_images_is_none():
    found = calibration_summary(Predictions(("a", "b", "c", "d"), TRUTH, PROBABILITIES), groups=None)
    assert found["per_label"]["pituitary"] is None
    assert found["per_label"]["glioma"]["n"] == 1
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_one_image_is_enough_for_a_summary():
    found = calibration_summary(Predictions(("a",), TRUTH[:1], PROBABILITIES[:1]), groups=None)
    assert found["top_label"]["equal_mass"]["ece"] == pytest.approx(0.1)
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(EvaluationError, match="no images"):
        expected_calibration_error(np.empty((0, 4)), np.empty(0, dtype=np.int64))
    with pytest.raises(EvaluationError, match="NaN"):
        expected_calibration_error(np.full((1, 4), np.nan), np.array([0]))
    with pytest.raises(EvaluationError, match="not logits"):
        expected_calibration_error(np.ones((1, 4)), np.array([0]))


def test_settings_that_mean_nothing_are_refused():
    with pytest.raises(EvaluationError, match="at least 1 bin"):
        expected_calibration_error(PROBABILITIES, TRUTH, bins=0)
    with pytest.raises(EvaluationError, match="equal_mass or equal_width"):
        expected_calibration_error(PROBABILITIES, TRUTH, binning="quantile")
    with pytest.raises(EvaluationError, match="nothing to measure"):
        calibration_summary(Predictions((), np.empty(0, dtype=np.int64), np.empty((0, 4))), groups=None)
