import csv

import numpy as np
import pytest
from scipy.stats import binomtest

from tumorscope.errors import EvaluationError
from tumorscope.evaluation.comparison import COLUMNS, comparison_rows, paired_comparison, write_comparison
from tumorscope.evaluation.intervals import bootstrap_intervals
from tumorscope.evaluation.metrics import summarise
from tumorscope.labels import LABELS
from tumorscope.predictions import Predictions


def answers(truth, called) -> Predictions:
    return Predictions(tuple(f"{i:04}.png" for i in range(len(truth))), np.asarray(truth), np.eye(4)[np.asarray(called)])


def with_errors(count: int, *, wrong: slice) -> Predictions:
    truth = np.arange(count) % 4
    called = truth.copy()
    called[wrong] = (called[wrong] + 1) % 4
    return answers(truth, called)


def result_of(predictions: Predictions) -> dict:
    return {**summarise(predictions), "intervals": bootstrap_intervals(predictions, groups=None, resamples=100)}


def test_rows_stand_model_by_model_with_the_look_up_last_and_once():
    baseline = result_of(with_errors(40, wrong=slice(0, 20)))
    results = {
        "mobilenet_v2": {**result_of(with_errors(40, wrong=slice(0, 4))), "lookup_baseline": baseline},
        "cnn": {**result_of(with_errors(40, wrong=slice(0, 9))), "lookup_baseline": baseline},
    }
    rows = comparison_rows(results)
    names = [*LABELS, "macro", "weighted", "accuracy"]
    assert [(row["model"], row["class"]) for row in rows] == [
        (model, name) for model in ("mobilenet_v2", "cnn", "lookup_baseline") for name in names
    ]
    assert all(tuple(row) == COLUMNS for row in rows)


def test_rows_hold_the_numbers_and_intervals_of_their_results():
    result = result_of(with_errors(40, wrong=slice(0, 7)))
    rows = {row["class"]: row for row in comparison_rows({"cnn": result})}
    meningioma = rows["meningioma"]
    assert meningioma["recall"] == result["per_class"]["meningioma"]["recall"] == 0.8
    assert [meningioma["recall_low"], meningioma["recall_high"]] == result["intervals"]["per_class"]["meningioma"]["recall"]
    assert meningioma["support"] == 10
    assert meningioma["accuracy"] is None
    assert rows["macro"]["f1"] == result["macro"]["f1"]
    assert rows["weighted"]["precision_low"] == result["intervals"]["weighted"]["precision"][0]
    assert rows["accuracy"]["accuracy"] == 33 / 40
    assert rows["accuracy"]["accuracy_high"] == result["intervals"]["accuracy"][1]
    assert rows["accuracy"]["precision"] is None
    assert rows["macro"]["support"] == rows["accuracy"]["support"] == 40


def test_images_whose_slice_is_not_in_training_have_columns_of_their_own():
    everything, part = with_errors(40, wrong=slice(0, 8)), with_errors(12, wrong=slice(0, 4))
    (first, *_, last) = comparison_rows({"cnn": {**result_of(everything), "twin_free": result_of(part)}})
    # Of the 10 gliomas 2 are wrong, of the 3 new ones 1.
    assert (first["recall"], first["twin_free_recall"], first["twin_free_support"]) == (0.8, pytest.approx(2 / 3), 3)
    assert (last["accuracy"], last["twin_free_accuracy"], last["twin_free_support"]) == (0.8, pytest.approx(8 / 12), 12)
    assert last["twin_free_accuracy_low"] <= 8 / 12 <= last["twin_free_accuracy_high"]


def test_rows_do_without_intervals_and_undefined_values():
    rows = {row["class"]: row for row in comparison_rows({"cnn": summarise(answers([0, 0, 1], [0, 1, 1]))})}
    assert rows["pituitary"]["recall"] is None
    assert rows["pituitary"]["support"] == 0
    assert rows["glioma"]["recall_low"] is None


def test_results_of_other_images_are_refused():
    results = {"a": summarise(answers([0, 1, 2], [0, 1, 2])), "b": summarise(answers([0, 1, 1], [0, 1, 2]))}
    with pytest.raises(EvaluationError, match=r"a was tested on .* and b on"):
        comparison_rows(results)


def test_look_ups_that_differ_between_models_are_refused():
    result = summarise(answers([0, 1, 2], [0, 1, 2]))
    other = summarise(answers([0, 1, 2], [0, 1, 1]))
    with pytest.raises(EvaluationError, match="look-up baseline of b"):
        comparison_rows({"a": {**result, "lookup_baseline": result}, "b": {**result, "lookup_baseline": other}})


def test_the_table_reads_back_as_it_was_written(tmp_path):
    rows = comparison_rows({"cnn": result_of(with_errors(40, wrong=slice(0, 7)))})
    write_comparison(tmp_path / "comparison.csv", rows)
    with (tmp_path / "comparison.csv").open(newline="") as file:
        again = list(csv.DictReader(file))
    assert [path.name for path in tmp_path.iterdir()] == ["comparison.csv"]
    for row, cells in zip(rows, again, strict=True):
        for name, value in row.items():
            assert cells[name] == ("" if value is None else str(value))
            if isinstance(value, float):
                assert float(cells[name]) == value


def test_mcnemar_counts_the_images_that_only_one_model_got_right():
    # a errs on 0-3, b on 2-11: a alone is right on 4-11, b alone on 0-1.
    comparison = paired_comparison(with_errors(40, wrong=slice(0, 4)), with_errors(40, wrong=slice(2, 12)), groups=None)
    mcnemar = comparison["mcnemar"]
    assert (mcnemar["only_a_correct"], mcnemar["only_b_correct"]) == (8, 2)
    # Two-sided: twice (1 + 10 + 45) / 1024.
    assert mcnemar["p_value"] == pytest.approx(112 / 1024)
    assert mcnemar["p_value"] == pytest.approx(binomtest(8, 10).pvalue)


def test_the_differences_are_those_worked_out_by_hand():
    truth = [0, 0, 1, 1, 2, 2, 2, 3]
    a, b = answers(truth, [0, 0, 1, 1, 2, 2, 0, 2]), answers(truth, [0, 2, 1, 2, 2, 2, 2, 3])
    differences = paired_comparison(a, b, groups=None)["differences"]
    assert differences["accuracy"]["difference"] == pytest.approx(6 / 8 - 6 / 8)
    assert differences["macro_recall"]["a"] == pytest.approx((1 + 1 + 2 / 3 + 0) / 4)
    assert differences["macro_recall"]["b"] == pytest.approx((1 / 2 + 1 / 2 + 1 + 1) / 4)
    assert differences["tumour_sensitivity"]["difference"] == pytest.approx(4 / 5 - 3 / 5)
    low, high = differences["accuracy"]["interval"]
    assert low < 0 < high


def test_a_clear_difference_has_an_interval_away_from_zero_and_swapping_turns_it_round():
    a, b = with_errors(400, wrong=slice(0, 20)), with_errors(400, wrong=slice(0, 80))
    forth, back = paired_comparison(a, b, groups=None), paired_comparison(b, a, groups=None)
    low, high = forth["differences"]["accuracy"]["interval"]
    assert 0 < low < 0.15 < high
    assert back["differences"]["accuracy"]["interval"] == pytest.approx([-high, -low])
    assert forth["mcnemar"]["p_value"] == back["mcnemar"]["p_value"] < 1e-10


def test_pairing_is_narrower_than_two_intervals_of_their_own():
    a, b = with_errors(400, wrong=slice(0, 80)), with_errors(400, wrong=slice(0, 90))
    low, high = paired_comparison(a, b, groups=None)["differences"]["accuracy"]["interval"]
    alone = bootstrap_intervals(a, groups=None)["accuracy"]
    assert high - low < (alone[1] - alone[0]) / 2


def test_groups_widen_the_interval_of_a_difference():
    a, b = with_errors(400, wrong=slice(0, 20)), with_errors(400, wrong=slice(0, 80))
    groups = [f"g{i // 10}" for i in range(400)]
    alone = paired_comparison(a, b, groups=None)["differences"]["accuracy"]["interval"]
    grouped = paired_comparison(a, b, groups=groups)
    low, high = grouped["differences"]["accuracy"]["interval"]
    assert high - low > 2 * (alone[1] - alone[0])
    assert grouped["groups"] == 40


def test_a_model_against_itself_shows_no_difference():
    a = with_errors(40, wrong=slice(0, 9))
    comparison = paired_comparison(a, a, groups=None)
    assert comparison["mcnemar"] == {"only_a_correct": 0, "only_b_correct": 0, "p_value": 1.0}
    assert comparison["differences"]["accuracy"]["difference"] == 0
    assert comparison["differences"]["accuracy"]["interval"] is None


def test_mcnemar_keeps_its_error_rate_when_two_models_are_equally_good():
    rng = np.random.default_rng(1)
    truth = np.arange(60) % 4
    false_alarms = 0
    for _ in range(300):
        a, b = (answers(truth, np.where(rng.random(60) < 0.7, truth, (truth + 1) % 4)) for _ in "ab")
        false_alarms += paired_comparison(a, b, groups=None, resamples=100)["mcnemar"]["p_value"] < 0.05
    assert false_alarms / 300 <= 0.06


def test_the_second_model_may_stand_in_another_order():
    a, b = with_errors(40, wrong=slice(0, 4)), with_errors(40, wrong=slice(2, 12))
    order = np.random.default_rng(0).permutation(40)
    shuffled = Predictions(tuple(b.paths[i] for i in order), b.label_index[order], b.probabilities[order])
    assert paired_comparison(a, shuffled, groups=None) == paired_comparison(a, b, groups=None)


def test_images_without_tumour_leave_sensitivity_undefined():
    a, b = answers([2, 2, 2, 2], [2, 2, 0, 2]), answers([2, 2, 2, 2], [2, 1, 0, 2])
    sensitivity = paired_comparison(a, b, groups=None)["differences"]["tumour_sensitivity"]
    assert set(sensitivity.values()) == {None}


def test_models_that_saw_other_images_are_refused():
    with pytest.raises(EvaluationError, match="only one of the two models saw it"):
        paired_comparison(answers([0, 1], [0, 1]), answers([0, 1, 2], [0, 1, 2]), groups=None)


def test_models_with_other_true_labels_are_refused():
    with pytest.raises(EvaluationError, match=r"^0001\.png: its true label differs"):
        paired_comparison(answers([0, 1], [0, 1]), answers([0, 2], [0, 1]), groups=None)
