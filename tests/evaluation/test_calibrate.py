import numpy as np
import pytest

from tumorscope.errors import EvaluationError
from tumorscope.evaluation.answered import Answered
from tumorscope.evaluation.calibrate import calibrate
from tumorscope.labels import LABELS
from tumorscope.training.recipe import Promises


def calibrated(training, held, **promises):
    return calibrate(training, held, Promises(**promises), split_fingerprint="f", created="2026-01-01T00:00:00+00:00")


def test_a_model_that_is_twice_too_sure_is_given_a_temperature_of_two(answered):
    found = calibrated(answered(split="train"), answered(4000, seed=1))
    assert found.temperature == pytest.approx(2.0, rel=0.08)
    assert found.scales is None
    assert found.fitted_on["split"] == "calibration"
    assert found.fitted_on["n"] == 4000
    assert found.fitted_on["groups"] == 2000
    assert found.fitted_on["sentences"] == []


def test_what_is_promised_holds_on_images_that_were_not_seen(answered):
    found = calibrated(answered(split="train"), answered(3000, seed=1), sensitivity=0.95)
    new = answered(6000, seed=2)
    decisions = found.decide(new.logits, new.features, new.looks)
    held = decisions.prediction_sets[np.arange(6000), new.label_index].mean()
    assert held == pytest.approx(0.95, abs=0.015)
    tumour = new.label_index != LABELS.index("notumor")
    assert (decisions.recommended[tumour] != LABELS.index("notumor")).mean() >= 0.94
    assert found.operating_point["guaranteed"]
    assert decisions.refused.mean() == pytest.approx(0.05, abs=0.02)
    far = np.full((50, 6), -30, dtype=np.float32)
    strange = found.decide(new.logits[:50], far, new.looks[:50])
    assert strange.refused.all()
    assert (strange.familiarity < 0).all()
    assert all("unlike the images" in reason or "grey levels" in reason for reason in strange.reasons)


def test_the_recall_of_every_tumour_class_can_be_promised_by_itself(answered):
    found = calibrated(answered(split="train"), answered(3000, seed=1), sensitivity=0.95)
    new = answered(6000, seed=2)
    reached = found.reached(found.probabilities(new.logits))
    assert list(reached) == ["glioma", "meningioma", "pituitary"]
    for label, over in reached.items():
        point = found.label_points[label]
        assert point["guaranteed"]
        assert over[new.label_index == LABELS.index(label)].mean() >= 0.93
        assert 0 < point["threshold"] < 1


def test_a_tiny_split_promises_little_and_says_so(answered):
    found = calibrated(answered(split="train"), answered(12, seed=1))
    assert not found.operating_point["guaranteed"]
    assert found.quantiles["0.99"]["marginal"] == 1.0
    assert found.sets(np.array([[0.97, 0.01, 0.01, 0.01]]), level=0.99).all()
    assert found.acceptance is None
    assert any("Only 12 images" in sentence for sentence in found.fitted_on["sentences"])


def test_an_absent_class_cannot_be_ruled_out_by_class_and_is_named(answered):
    found = calibrated(answered(split="train"), answered(500, seed=1, labels=(0, 2, 3)))
    assert found.quantiles["0.95"]["per_label"]["meningioma"] is None
    assert found.sets(np.array([[0.0, 0.0, 1.0, 0.0]]), conditional=True)[0, 1]
    assert found.label_points["meningioma"] is None
    assert list(found.reached(np.full((1, 4), 0.25))) == ["glioma", "pituitary"]
    assert any("None of them shows meningioma" in sentence for sentence in found.fitted_on["sentences"])


def test_without_a_tumour_there_is_no_operating_point(answered):
    found = calibrated(answered(split="train"), answered(300, seed=1, labels=(2,)))
    assert found.operating_point is None
    new = answered(10, seed=2)
    decisions = found.decide(new.logits, new.features, new.looks)
    assert decisions.recommended.tolist() == decisions.probabilities.argmax(axis=1).tolist()


def test_validation_images_are_a_last_resort_and_are_said(answered):
    found = calibrated(answered(split="train"), answered(300, seed=1, split="validation"))
    [sentence] = found.fitted_on["sentences"]
    assert "300 validation images" in sentence
    assert "choose its epoch" in sentence


def test_answers_with_nan_or_of_other_lengths_are_refused(answered):
    good = answered(10)
    broken = good.logits.copy()
    broken[3, 1] = np.nan
    with pytest.raises(EvaluationError, match="calibration: features or logits hold NaN"):
        Answered(good.features, broken, good.label_index, "calibration")
    with pytest.raises(EvaluationError, match="do not belong"):
        Answered(good.features, good.logits[:5], good.label_index, "calibration")
    with pytest.raises(EvaluationError, match="3 groups for 10"):
        Answered(good.features, good.logits, good.label_index, "calibration", ("a", "b", "c"))
