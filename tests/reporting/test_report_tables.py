import math

import numpy as np
import pytest

from tumorscope.explanation.attention import compare_groups
from tumorscope.labels import LABELS
from tumorscope.reporting import report_tables as tables
from tumorscope.reporting.published import PUBLISHED


def texts(row, line=0):
    return [cell.text for cell in row.lines[line].cells]


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (math.nan, "–"), (0.85, "0.850"), (1, "1.000"), (0.99961, ">0.999"), (0.9994, "0.999"), (1.2, "1.200")],
)
def test_numbers_have_three_digits_and_never_round_up_to_perfect(value, text):
    assert tables.number(value) == text


@pytest.mark.parametrize(("share", "text"), [(0.5, "50.0 %"), (1, "100.0 %"), (0.99999, ">99.9 %"), (0.9994, "99.9 %")])
def test_shares_never_round_up_to_everything(share, text):
    assert tables.percent(share) == text


@pytest.mark.parametrize(
    ("bounds", "text"), [(None, ""), ([None, 1], ""), ([0.5, 0.75], "0.500–0.750"), ([0.9999, 0.99999], ">0.999")]
)
def test_an_interval_is_empty_where_it_is_undefined(bounds, text):
    assert tables.interval(bounds) == text


def test_a_signed_interval_uses_words_so_that_signs_are_not_taken_for_dashes():
    assert tables.interval([-0.0123, 0.5], signed=True) == "−0.012 to +0.500"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.26, "0.3 s"), (59.6, "1 min 0 s"), (125, "2 min 5 s"), (3725, "1 h 2 min"), (42, "42 s")]
)
def test_run_times_have_two_units(seconds, text):
    assert tables.duration(seconds) == text


def test_the_comparison_has_the_rows_of_the_student_report(make_study):
    rows = tables.comparison_rows(make_study())
    names = ["Glioma", "Meningioma", "No tumour", "Pituitary tumour", "Accuracy", "Macro average", "Weighted average"]
    assert [row.title for row in rows] == names
    assert rows[0].note == "10 test scans"


def test_the_numbers_of_a_row_are_recall_precision_and_f1_of_every_model_and_of_the_look_up(make_study):
    glioma, *_, accuracy, _, _ = tables.comparison_rows(make_study())
    assert texts(glioma) == ["0.800", "0.889", "0.842"] * 3
    assert [cell.strong for cell in glioma.lines[0].cells] == [True, False, False] * 3
    assert [cell.interval for cell in glioma.lines[0].cells] == ["0.543–0.965", "", ""] * 2 + ["", "", ""]
    assert texts(accuracy) == ["0.850", "0.765", "0.654"]
    assert [cell.span for cell in accuracy.lines[0].cells] == [3, 3, 3]


def test_published_numbers_stand_below_ours_and_only_with_a_key(make_study):
    rows = tables.comparison_rows(make_study())
    assert rows[0].lines[1].who == "student report"
    assert texts(rows[1], 1) == ["0.91", "0.91", "0.91", "0.79", "0.77", "0.78", "–", "–", "–"]
    assert texts(rows[4], 1) == ["0.95", "0.88", "–"]
    assert all(len(row.lines) == 1 for row in tables.comparison_rows(make_study(published_key=None)))


def test_a_model_that_nobody_published_gets_dashes(make_study, make_model):
    rows = tables.comparison_rows(make_study(models=(make_model(name="other"),), lookup=None))
    assert texts(rows[0], 1) == ["–", "–", "–"]


@pytest.mark.parametrize("name", ["mobilenet_v2", "cnn"])
def test_published_f1_and_averages_fit_the_published_precision_and_recall(name):
    printed = PUBLISHED["nickparvar"].models[name]
    for label in LABELS:
        precision, recall, f1 = (printed["per_class"][label][score] for score in ("precision", "recall", "f1"))
        assert f1 == pytest.approx(2 * precision * recall / (precision + recall), abs=0.011)
    for score in ("precision", "recall", "f1"):
        mean = sum(printed["per_class"][label][score] for label in LABELS) / 4
        assert printed["macro"][score] == pytest.approx(mean, abs=0.0051)


def test_undefined_numbers_are_dashes_everywhere(make_study, make_model, make_metrics):
    nothing = dict.fromkeys(make_metrics())
    study = make_study(models=(make_model(metrics=nothing),), lookup=None, paired=None, published_key=None)
    assert {text for row in tables.comparison_rows(study) for text in texts(row)} == {"–"}
    assert {text for row in tables.tumour_rows(study) for text in texts(row)} == {"–"}
    assert {text for row in tables.further_rows(study) for text in texts(row)} == {"–"}
    assert tables.model_sentences(study) == ("MobileNetV2 was tested on 40 scans: accuracy –.",)


def test_an_undefined_number_has_no_interval(make_study, make_model, make_metrics):
    study = make_study(models=(make_model(metrics=make_metrics(accuracy=None)),), lookup=None, paired=None, published_key=None)
    (cell,) = tables.comparison_rows(study)[4].lines[0].cells
    assert (cell.text, cell.interval) == ("–", "")
    assert "(accuracy –)" in tables.model_sentences(study)[0]


def test_a_model_is_summed_up_in_one_sentence_from_the_confusion_matrix(make_study):
    first, second = tables.model_sentences(make_study())
    assert first == (
        "MobileNetV2 named the right class for 34 of 40 test scans (accuracy 0.850, 95 % interval 0.712–0.932). It missed 3 of 30 "
        "tumours, and saw a tumour in 1 of 10 scans without one."
    )
    assert second.startswith("CNN from scratch named")


def test_tumours_found_and_missed_are_counted_for_every_column(make_study):
    rows = tables.tumour_rows(make_study())
    assert [row.title for row in rows] == ["MobileNetV2", "CNN from scratch", "Look-up baseline"]
    assert texts(rows[0]) == ["0.900", "3 of 30", "0.900", "1 of 10"]


def test_the_paired_comparison_reads_as_sentences(make_study):
    first, accuracy, recall = tables.paired_sentences(make_study())
    assert "only MobileNetV2 was right on 7 and only CNN from scratch on 2" in first
    assert "probability 0.180" in first
    assert accuracy == "Accuracy, MobileNetV2 minus CNN from scratch: +0.085 (95 % interval −0.012 to +0.123)."
    assert recall == "Macro recall, MobileNetV2 minus CNN from scratch: –."


@pytest.mark.parametrize(("p_value", "text"), [(1e-9, "below 0.001"), (0.04, "0.040"), (None, "–")])
def test_a_tiny_probability_is_not_printed_as_zero(make_study, p_value, text):
    paired = {"a": "cnn", "b": "mobilenet_v2", "a_only": 1, "b_only": 0, "p_value": p_value}
    (sentence,) = tables.paired_sentences(make_study(paired=paired))
    assert f"probability {text} (" in sentence


def test_attention_has_a_row_for_right_and_wrong_answers_where_it_was_compared(make_study, make_model):
    models = (
        make_model(),
        make_model(name="cnn", attention=None),
        make_model(name="x", attention={"correct": {"n": 2}, "incorrect": None}),
    )
    rows = tables.attention_rows(make_study(models=models))
    assert [(row.title, row.note) for row in rows] == [
        ("MobileNetV2", "right answers"),
        ("MobileNetV2", "wrong answers"),
        ("x", "right answers"),
    ]
    assert texts(rows[0]) == ["34", "0.247", "–", "–", "0.358", "–"]


def test_every_column_of_attention_is_a_measure_that_is_taken():
    taken = compare_groups([{"energy_inside": 0.5, "mask_share": 0.1, "pointing_game": 1.0}], np.array([True]))["correct"]
    assert set(tables.ATTENTION) <= set(taken)
    assert taken["pointing_game"] == 1.0


def test_where_maps_point_on_an_external_set_is_said_where_it_was_measured():
    pointing = {"pointing_game": 0.25, "pointing_game_15px": 0.5, "energy_inside": 0.125}
    found = {"mobilenet_v2": {"heatmaps": {"n": 4, "answer": pointing}}, "cnn": {"heatmaps": None}, "lookup_baseline": {}}
    (sentence,) = tables.external_sentences(found)
    assert all(part in sentence for part in ("4 scans", "MobileNetV2", "0.250", "0.500", "0.125"))
