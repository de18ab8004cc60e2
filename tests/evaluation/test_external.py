import csv

import numpy as np
import pytest

from tumorscope.errors import EvaluationError
from tumorscope.evaluation.external import ExternalAnswers, summarise_external, write_external_predictions
from tumorscope.labels import LABELS, NO_TUMOUR
from tumorscope.predictions import COLUMNS


def answers(rows):
    """Rows of (label, source, probability of a tumour); whatever is a tumour is called glioma."""
    labels, sources, scores = zip(*rows, strict=True)
    probabilities = np.zeros((len(rows), 4))
    probabilities[:, LABELS.index("glioma")] = scores
    probabilities[:, LABELS.index(NO_TUMOUR)] = 1 - np.array(scores)
    paths = tuple(f"{row}.png" for row in range(len(rows)))
    return ExternalAnswers(paths, labels, sources, ("",) * len(rows), probabilities)


ROWS = [
    ("glioma", "a", 0.9),
    ("tumour", "b", 0.2),
    ("tumour", "b", 0.7),
    ("notumor", "a", 0.1),
    ("notumor", "a", 0.6),
]


def test_a_tumour_of_unstated_type_counts_for_sensitivity_only():
    found = summarise_external(answers(ROWS))
    assert found["tumour_sensitivity"] == pytest.approx(2 / 3)
    assert (found["missed_tumours"], found["false_alarms"]) == (1, 1)
    assert found["tumour_specificity"] == 0.5
    assert found["recall"] == {"glioma": 1.0, "notumor": 0.5}
    assert found["labels"] == {"glioma": 1, "notumor": 2, "tumour": 2}
    assert found["confusion"]["tumour"] == [1, 0, 1, 0]


def test_the_area_counts_the_pairs_in_the_right_order():
    # Of 3 x 2 pairs only (0.2, 0.6) stands the wrong way round.
    assert summarise_external(answers(ROWS))["roc_auc"] == pytest.approx(5 / 6)


def test_equal_scores_are_a_coin():
    rows = [("glioma", "", 0.4)] * 3 + [("notumor", "", 0.4)] * 5
    assert summarise_external(answers(rows))["roc_auc"] == 0.5


def test_sensitivity_at_a_specificity_takes_its_threshold_on_the_scans_without_a_tumour():
    healthy = [("notumor", "", 0.05 * number) for number in range(10)]
    # Nine of ten scans without a tumour stay at or below 0.40.
    found = summarise_external(answers([*healthy, ("glioma", "", 0.39), ("tumour", "", 0.41), ("tumour", "", 0.9)]))
    assert found["sensitivity_at_specificity"] == {"specificity": 0.9, "value": pytest.approx(2 / 3)}


def test_sources_are_measured_by_themselves_and_against_each_other():
    found = summarise_external(answers(ROWS))
    assert found["sources"]["b"]["tumour_sensitivity"] == 0.5
    assert found["sources"]["b"]["tumour_specificity"] is None
    assert found["between"] == {"a": {"a": 1.0}, "b": {"a": 0.75}}


def test_one_source_needs_no_table_of_sources():
    found = summarise_external(answers([("glioma", "a", 0.9), ("notumor", "a", 0.1)]))
    assert (found["sources"], found["between"]) == ({}, {})


def test_intervals_hold_the_value_and_never_claim_certainty():
    rng = np.random.default_rng(0)
    rows = [("glioma", "", 0.5 + 0.5 * x) for x in rng.random(40)] + [("notumor", "", x) for x in rng.random(40)]
    found = summarise_external(answers(rows))
    low, high = found["intervals"]["roc_auc"]
    assert low < found["roc_auc"] < high
    assert found["tumour_sensitivity"] == 1.0
    assert found["intervals"]["tumour_sensitivity"][0] == pytest.approx(0.025 ** (1 / 40))


def test_tumours_alone_have_no_specificity():
    found = summarise_external(answers([("tumour", "", 0.9)]))
    assert (found["tumour_specificity"], found["roc_auc"], found["sensitivity_at_specificity"]["value"]) == (None, None, None)


def test_predictions_have_the_columns_of_every_other_table_of_predictions(tmp_path):
    write_external_predictions(answers(ROWS), tmp_path / "external.csv")
    with (tmp_path / "external.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert [row["label"] for row in rows] == [label for label, _, _ in ROWS]
    assert (rows[1]["predicted"], float(rows[1]["p_notumor"])) == ("notumor", 0.8)


def test_an_unknown_label_is_refused():
    with pytest.raises(EvaluationError, match="sarcoma"):
        answers([("sarcoma", "", 0.5)])
