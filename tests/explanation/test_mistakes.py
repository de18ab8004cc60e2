import numpy as np
import pytest

from tumorscope.explanation.attention import FEATURES
from tumorscope.explanation.mistakes import JudgedMaps, compare_answers


def made_up(count, *, seed, effect):
    """Answers of which a fifth are wrong; the entropy of wrong ones is `effect` deviations higher."""
    rng = np.random.default_rng(seed)
    correct = rng.random(count) > 0.2
    rows = [{name: float(rng.normal()) for name in FEATURES} | {"energy_inside": None} for _ in range(count)]
    for row, right in zip(rows, correct, strict=True):
        row["entropy"] += 0 if right else effect
    confidence = np.clip(0.9 - 0.3 * ~correct + 0.1 * rng.normal(size=count), 0.3, 0.999)
    return rows, confidence, correct


def compared(rows, confidence, correct, groups, *, seed, labels=None):
    answers = np.zeros(len(rows), dtype=int) if labels is None else labels
    return compare_answers(JudgedMaps(rows, answers, confidence, correct, groups), seed=seed)


def test_a_feature_that_tells_wrong_answers_is_found_and_the_others_are_not():
    rows, confidence, correct = made_up(400, seed=0, effect=2.0)
    found = compared(rows, confidence, correct, np.arange(400), seed=0)
    assert found["features"]["entropy"]["p_value"] < 0.01
    assert found["features"]["entropy"]["difference"]["value"] == pytest.approx(2.0, abs=0.4)
    assert found["features"]["concentration"]["p_value"] > 0.01
    assert found["auroc"]["entropy"]["value"] > 0.85
    assert found["auroc"]["attention"]["value"] > 0.85
    assert found["auroc"]["together"]["value"] >= found["auroc"]["confidence"]["value"] - 0.02
    assert any("entropy" in sentence for sentence in found["sentences"])


def test_p_values_of_nothing_are_spread_evenly():
    values = []
    for seed in range(40):
        rows, confidence, correct = made_up(80, seed=seed, effect=0.0)
        values.append(compared(rows, confidence, correct, np.arange(80), seed=seed)["features"]["strength"]["p_value"])
    assert np.mean(np.array(values) < 0.1) < 0.3
    assert np.mean(np.array(values) > 0.5) > 0.25


def test_whole_patients_that_are_wrong_count_as_one_each():
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(40), 10)
    level = rng.normal(size=40)
    rows = [{name: level[group] + 0.01 * rng.normal() for name in FEATURES} for group in groups]
    correct = groups >= 8
    by_group = compared(rows, np.full(400, 0.9), correct, groups, seed=0)["features"]["strength"]
    by_image = compared(rows, np.full(400, 0.9), correct, np.arange(400), seed=0)["features"]["strength"]
    assert np.ptp(by_group["difference"]["interval"]) > 2 * np.ptp(by_image["difference"]["interval"])


def test_one_patient_who_is_wrong_throughout_is_no_evidence():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(20), 20)
    level = rng.normal(size=20)
    rows = [{name: level[group] + 0.01 * rng.normal() for name in FEATURES} for group in groups]
    found = compared(rows, np.full(400, 0.9), groups != 3, groups, seed=0)
    assert found["features"]["strength"]["p_value"] is None
    assert "of fewer than 5 groups" in found["sentences"][0]


def test_maps_that_are_all_empty_are_compared_without_falling_over():
    rows = [{**dict.fromkeys(FEATURES), "strength": 0.0} for _ in range(100)]
    found = compared(rows, np.linspace(0.5, 1, 100), np.arange(100) % 4 > 0, np.arange(100), seed=0)
    assert found["features"]["entropy"]["difference"]["value"] is None
    assert found["auroc"]["entropy"]["value"] is None


def test_too_few_wrong_answers_are_said_to_be_too_few():
    rows, confidence, _ = made_up(50, seed=0, effect=1.0)
    correct = np.ones(50, dtype=bool)
    correct[:3] = False
    found = compared(rows, confidence, correct, np.arange(50), seed=0)
    assert found["auroc"] == {}
    assert found["sentences"] == [
        "3 answers are wrong and 47 right: fewer than 10 of one kind, or of fewer than 5 groups, so nothing is said about telling "
        "them apart by their maps."
    ]


def test_without_any_wrong_answer_nothing_is_compared():
    rows, confidence, _ = made_up(30, seed=0, effect=1.0)
    found = compared(rows, confidence, np.ones(30, dtype=bool), np.arange(30), seed=0)
    assert found["features"]["entropy"]["difference"]["value"] is None
    assert found["features"]["entropy"]["correct"]["n"] == 30


def test_a_difference_between_labels_is_not_taken_for_one_between_right_and_wrong():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 600)
    correct = rng.random(600) > np.where(labels == 1, 0.4, 0.05)  # mistakes gather under the second label
    rows = [{name: float(rng.normal() + 3 * label) for name in FEATURES} for label in labels]
    confidence = rng.uniform(0.5, 1, 600)
    found = compared(rows, confidence, correct, np.arange(600), seed=0, labels=labels)
    low, high = found["features"]["entropy"]["difference"]["interval"]
    assert low < 0 < high
    assert found["features"]["entropy"]["incorrect"]["value"] > found["features"]["entropy"]["correct"]["value"] + 1
    assert found["auroc_gained"]["interval"][0] < 0.01
    assert "adds nothing" in found["sentences"][-1]
