import json
import math
import subprocess
import sys

import numpy as np
import pytest

from tumorscope.errors import EvaluationError
from tumorscope.evaluation.metrics import binary_questions, curves, summarise
from tumorscope.labels import LABELS
from tumorscope.predictions import Predictions

GLIOMA, MENINGIOMA, NOTUMOR, PITUITARY = range(4)


def six_images() -> Predictions:
    """Two gliomas (one called meningioma), a meningioma, two without tumour (one called glioma), a pituitary called none."""
    return Predictions(
        paths=tuple("abcdef"),
        label_index=np.array([GLIOMA, GLIOMA, MENINGIOMA, NOTUMOR, NOTUMOR, PITUITARY]),
        probabilities=np.array(
            [
                [0.7, 0.1, 0.1, 0.1],
                [0.3, 0.5, 0.1, 0.1],
                [0.2, 0.6, 0.1, 0.1],
                [0.1, 0.1, 0.7, 0.1],
                [0.4, 0.2, 0.3, 0.1],
                [0.1, 0.1, 0.6, 0.2],
            ]
        ),
    )


def random_predictions(count: int, *, seed: int, signal: float = 0.0) -> Predictions:
    rng = np.random.default_rng(seed)
    truth = rng.integers(4, size=count)
    powers = np.exp(rng.normal(size=(count, 4)) + signal * np.eye(4)[truth])
    return Predictions(tuple(f"{i}.png" for i in range(count)), truth, powers / powers.sum(axis=1, keepdims=True))


def one_hot(truth: list[int], called: list[int]) -> Predictions:
    return Predictions(tuple(f"{i}.png" for i in range(len(truth))), np.array(truth), np.eye(4)[called])


def test_six_images_give_the_counts_worked_out_by_hand():
    metrics = summarise(six_images())
    assert metrics["n"] == 6
    assert metrics["labels"] == list(LABELS)
    assert metrics["confusion_matrix"] == [[1, 1, 0, 0], [0, 1, 0, 0], [1, 0, 1, 0], [0, 0, 1, 0]]
    assert metrics["missed_tumours"] == 1
    assert metrics["tumour_sensitivity"] == pytest.approx(3 / 4)
    assert metrics["tumour_specificity"] == pytest.approx(1 / 2)


def test_six_images_give_the_scores_worked_out_by_hand():
    metrics = summarise(six_images())
    assert metrics["accuracy"] == pytest.approx(1 / 2)
    assert metrics["per_class"]["glioma"] == pytest.approx({"precision": 1 / 2, "recall": 1 / 2, "f1": 1 / 2, "support": 2})
    assert metrics["per_class"]["meningioma"] == pytest.approx({"precision": 1 / 2, "recall": 1, "f1": 2 / 3, "support": 1})
    assert metrics["per_class"]["notumor"] == pytest.approx({"precision": 1 / 2, "recall": 1 / 2, "f1": 1 / 2, "support": 2})
    assert metrics["macro"] == pytest.approx({"precision": 3 / 8, "recall": 1 / 2, "f1": 5 / 12})
    assert metrics["weighted"] == pytest.approx({"precision": 5 / 12, "recall": 1 / 2, "f1": 4 / 9})


def test_a_label_that_is_never_predicted_has_precision_zero():
    assert summarise(six_images())["per_class"]["pituitary"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 1}


def test_six_images_give_the_areas_and_errors_worked_out_by_hand():
    metrics = summarise(six_images())
    assert metrics["roc_auc"] == pytest.approx(
        {"glioma": 7 / 8, "meningioma": 1, "notumor": 7 / 8, "pituitary": 1, "macro": 15 / 16, "tumour": 7 / 8}
    )
    assert metrics["average_precision"] == pytest.approx(
        {"glioma": 5 / 6, "meningioma": 1, "notumor": 5 / 6, "pituitary": 1, "macro": 11 / 12, "tumour": 0.95}
    )
    assert metrics["log_loss"] == pytest.approx(-math.log(0.7 * 0.3 * 0.6 * 0.7 * 0.3 * 0.2) / 6)
    assert metrics["brier"] == pytest.approx(0.49)


def test_a_perfect_classifier_scores_one():
    metrics = summarise(one_hot([0, 1, 2, 3, 3], [0, 1, 2, 3, 3]))
    shares = [metrics["accuracy"], metrics["tumour_sensitivity"], metrics["tumour_specificity"]]
    shares += [*metrics["macro"].values(), *metrics["weighted"].values()]
    shares += [*metrics["roc_auc"].values(), *metrics["average_precision"].values()]
    assert shares == pytest.approx([1] * len(shares))
    assert metrics["log_loss"] == pytest.approx(0, abs=1e-12)
    assert metrics["brier"] == 0


def test_a_random_classifier_scores_one_in_four():
    metrics = summarise(random_predictions(8000, seed=5))
    assert metrics["accuracy"] == pytest.approx(0.25, abs=0.02)
    assert metrics["macro"]["recall"] == pytest.approx(0.25, abs=0.02)
    assert metrics["tumour_sensitivity"] == pytest.approx(0.75, abs=0.02)
    assert metrics["roc_auc"]["macro"] == pytest.approx(0.5, abs=0.02)
    assert metrics["average_precision"]["macro"] == pytest.approx(0.25, abs=0.02)


def test_the_order_of_the_rows_changes_nothing():
    predictions = random_predictions(200, seed=1, signal=1.0)
    order = np.random.default_rng(2).permutation(200)
    shuffled = Predictions(
        tuple(predictions.paths[i] for i in order), predictions.label_index[order], predictions.probabilities[order]
    )
    first, second = summarise(predictions), summarise(shuffled)
    for name in ("roc_auc", "average_precision"):
        assert first.pop(name) == pytest.approx(second.pop(name))
    for name in ("log_loss", "brier"):
        assert first.pop(name) == pytest.approx(second.pop(name))
    assert first == second


def test_a_label_without_images_is_null_and_outside_the_macro_average():
    metrics = summarise(one_hot([0, 0, 2, 2], [0, 1, 2, 2]))
    empty = {"precision": None, "recall": None, "f1": None, "support": 0}
    assert metrics["per_class"]["meningioma"] == metrics["per_class"]["pituitary"] == empty
    assert metrics["macro"]["recall"] == pytest.approx(0.75)
    assert metrics["macro"]["precision"] == pytest.approx(1)
    assert metrics["roc_auc"]["meningioma"] is None
    assert metrics["roc_auc"]["macro"] == pytest.approx(0.875)
    assert metrics["average_precision"]["pituitary"] is None


def test_images_of_one_label_give_null_areas_and_no_warning():
    metrics = summarise(one_hot([2, 2], [2, 0]))
    assert metrics["tumour_sensitivity"] is None
    assert metrics["tumour_specificity"] == 0.5
    assert metrics["missed_tumours"] == 0
    assert set(metrics["roc_auc"].values()) == set(metrics["average_precision"].values()) == {None}
    assert curves(one_hot([2, 2], [2, 0])) == {"roc": {}, "precision_recall": {}}


def test_one_tumour_image_alone_is_enough():
    metrics = summarise(one_hot([1], [2]))
    assert metrics["tumour_sensitivity"] == 0
    assert metrics["tumour_specificity"] is None
    assert metrics["missed_tumours"] == 1


def test_the_summary_is_plain_json_without_nan():
    for predictions in (six_images(), one_hot([2, 2], [2, 0]), random_predictions(50, seed=0)):
        metrics = summarise(predictions)
        assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics


def test_single_precision_probabilities_cause_no_warning():
    exact = random_predictions(300, seed=4, signal=2.0)
    rough = Predictions(exact.paths, exact.label_index, exact.probabilities.astype(np.float32).astype(np.float64) * (1 + 1e-6))
    assert summarise(rough)["log_loss"] == pytest.approx(summarise(exact)["log_loss"], abs=1e-5)


def test_no_predictions_are_refused():
    nothing = Predictions((), np.empty(0, dtype=np.int64), np.empty((0, 4)))
    for measure in (summarise, curves):
        with pytest.raises(EvaluationError, match="nothing to measure"):
            measure(nothing)


def test_the_area_under_each_curve_is_the_area_of_the_summary():
    predictions = random_predictions(400, seed=7, signal=1.5)
    areas, points = summarise(predictions), curves(predictions)
    assert set(points["roc"]) == set(points["precision_recall"]) == {*LABELS, "tumour"}
    for name, curve in points["roc"].items():
        area = np.trapezoid(curve["true_positive_rate"], curve["false_positive_rate"])
        assert area == pytest.approx(areas["roc_auc"][name])
    for name, curve in points["precision_recall"].items():
        area = -(np.diff(curve["recall"]) * curve["precision"][:-1]).sum()
        # Points left out have the recall of a neighbour, so the steps keep their area.
        assert area == pytest.approx(areas["average_precision"][name])


def test_curves_run_from_corner_to_corner():
    points = curves(six_images())
    for curve in points["roc"].values():
        assert [curve["false_positive_rate"][0], curve["true_positive_rate"][0]] == [0, 0]
        assert [curve["false_positive_rate"][-1], curve["true_positive_rate"][-1]] == [1, 1]
    for curve in points["precision_recall"].values():
        assert [curve["recall"][0], curve["recall"][-1], curve["precision"][-1]] == [1, 0, 1]


def test_the_tumour_question_is_one_minus_no_tumour():
    truth, score = binary_questions(six_images())["tumour"]
    assert truth.tolist() == [True, True, True, False, False, True]
    np.testing.assert_allclose(score, [0.9, 0.9, 0.9, 0.3, 0.7, 0.4])


def test_importing_the_metrics_loads_no_scikit_learn():
    code = (
        "import sys, tumorscope.evaluation.comparison, tumorscope.evaluation.lookup\n"
        "print({'sklearn', 'scipy', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
