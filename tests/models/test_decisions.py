import subprocess
import sys

import numpy as np
import pytest

from tumorscope.errors import EvaluationError
from tumorscope.labels import LABELS, NO_TUMOUR
from tumorscope.models.decisions import prediction_sets, recommended_labels, scaled_probabilities

GLIOMA, MENINGIOMA, NONE, PITUITARY = (LABELS.index(label) for label in ("glioma", "meningioma", NO_TUMOUR, "pituitary"))
QUANTILES = {"marginal": 0.7, "per_label": {"glioma": 0.7, "meningioma": 0.5, "notumor": 0.95, "pituitary": None}}


def test_a_temperature_is_worked_out_by_hand():
    logits = np.log([[8.0, 4.0, 2.0, 2.0], [1.0, 1.0, 1.0, 1.0]])
    np.testing.assert_allclose(scaled_probabilities(logits, 1.0)[0], [0.5, 0.25, 0.125, 0.125])
    # Half the logarithm is the square root.
    roots = np.sqrt([8.0, 4.0, 2.0, 2.0])
    np.testing.assert_allclose(scaled_probabilities(logits, 2.0)[0], roots / roots.sum())
    np.testing.assert_allclose(scaled_probabilities(logits, 2.0)[1], 0.25)


def test_scales_and_offsets_follow_the_temperature():
    logits = np.array([[2.0, -4.0, 6.0, 0.0]])
    scales, offsets = [1.0, 2.0, 0.5, 1.0], [0.0, 1.0, -1.0, 0.5]
    expected = np.exp([1.0, -3.0, 0.5, 0.5])
    found = scaled_probabilities(logits, 2.0, scales=scales, offsets=offsets)
    np.testing.assert_allclose(found[0], expected / expected.sum())
    np.testing.assert_allclose(
        scaled_probabilities(logits, 2.0, scales=[1] * 4, offsets=[0] * 4), scaled_probabilities(logits, 2.0)
    )


def test_large_logits_do_not_overflow_and_a_batch_equals_one_by_one():
    logits = np.array([[1e4, -1e4, 0.0, 3.0], [-900.0, -901.0, -950.0, -900.0]])
    together = scaled_probabilities(logits, 0.5)
    np.testing.assert_allclose(together.sum(axis=1), 1)
    np.testing.assert_array_equal(together, np.concatenate([scaled_probabilities(row[None], 0.5) for row in logits]))


@pytest.mark.parametrize("temperature", [0.0, -1.0, np.nan, np.inf])
def test_a_temperature_that_cannot_divide_is_refused(temperature):
    with pytest.raises(EvaluationError, match="above 0"):
        scaled_probabilities(np.zeros((1, 4)), temperature)


def test_scales_of_another_length_are_refused():
    with pytest.raises(EvaluationError, match=r"scales .* expected 4 finite numbers"):
        scaled_probabilities(np.zeros((1, 4)), 1.0, scales=[1.0, 1.0])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused_and_the_row_is_named(bad):
    rows = np.full((3, 4), 0.25)
    rows[1, 2] = bad
    with pytest.raises(EvaluationError, match="1 of 3 rows of logits hold NaN or infinity, first row 1"):
        scaled_probabilities(rows, 1.0)
    for act in (lambda: recommended_labels(rows, 0.5), lambda: prediction_sets(rows, QUANTILES, conditional=False)):
        with pytest.raises(EvaluationError, match="1 of 3 rows of probabilities hold NaN or infinity, first row 1"):
            act()


def test_logits_are_not_taken_for_probabilities():
    with pytest.raises(EvaluationError, match="Pass probabilities, not logits"):
        recommended_labels(np.array([[3.0, -1.0, 0.5, 0.2]]), 0.5)
    with pytest.raises(EvaluationError, match=r"expected \(n, 4\)"):
        recommended_labels(np.array([[0.5, 0.5]]), 0.5)


def test_a_set_holds_the_labels_within_the_quantile():
    probabilities = np.array([[0.4, 0.35, 0.25, 0.0], [0.3, 0.29, 0.21, 0.2]])
    sets = prediction_sets(probabilities, QUANTILES, conditional=False)
    assert sets.tolist() == [[True, True, False, False], [True, False, False, False]], "0.3 is within 0.7 up to rounding"


def test_a_label_without_a_quantile_is_in_every_set():
    sets = prediction_sets(np.array([[0.96, 0.02, 0.02, 0.0], [0.2, 0.55, 0.05, 0.2]]), QUANTILES, conditional=True)
    assert sets.tolist() == [[True, False, False, True], [False, True, True, True]]


def test_an_empty_set_becomes_the_most_probable_label_unless_it_is_kept():
    probabilities = np.array([[0.1, 0.2, 0.25, 0.45], [0.9, 0.1, 0.0, 0.0]])
    strict = {**QUANTILES, "marginal": 0.2}
    assert prediction_sets(probabilities, strict, conditional=False)[:, PITUITARY].tolist() == [True, False]
    kept = prediction_sets(probabilities, strict, conditional=False, keep_empty=True)
    assert kept.sum(axis=1).tolist() == [0, 1]


def test_quantiles_that_are_none_are_refused():
    probabilities = np.full((1, 4), 0.25)
    with pytest.raises(EvaluationError, match="calibrate the model again"):
        prediction_sets(probabilities, {"marginal": 0.5}, conditional=True)
    with pytest.raises(EvaluationError, match="from 0 to 1"):
        prediction_sets(probabilities, {"marginal": 1.5, "per_label": {}}, conditional=False)


def test_the_operating_point_overrides_the_most_probable_label():
    probabilities = np.array([[0.1, 0.15, 0.7, 0.05], [0.02, 0.01, 0.95, 0.02], [0.3, 0.3, 0.0, 0.4]])
    assert recommended_labels(probabilities, 0.2).tolist() == [MENINGIOMA, NONE, PITUITARY]
    assert recommended_labels(probabilities, None).tolist() == [NONE, NONE, PITUITARY]


def test_a_score_at_the_threshold_is_a_tumour():
    probabilities = np.array([[0.25, 0.0, 0.75, 0.0]])
    assert recommended_labels(probabilities, 0.25).tolist() == [GLIOMA]
    assert recommended_labels(probabilities, 0.2500001).tolist() == [NONE]


def test_costs_choose_among_tumours_and_without_a_threshold_among_all():
    probabilities = np.array([[0.5, 0.2, 0.2, 0.1]])
    costs = 1.0 - np.eye(4)
    costs[MENINGIOMA, GLIOMA] = 5  # expected: glioma 0.2 * 5 + 0.2 + 0.1 = 1.3, meningioma 0.8, pituitary 0.9
    assert recommended_labels(probabilities, 0.1, cost_matrix=costs).tolist() == [MENINGIOMA]
    missed = 1.0 - np.eye(4)
    missed[[GLIOMA, MENINGIOMA, PITUITARY], NONE] = 20
    doubtful = np.array([[0.06, 0.02, 0.9, 0.02]])
    # A missed tumour costs 20 * 0.1 = 2, a false alarm called glioma 0.94.
    assert recommended_labels(doubtful, None, cost_matrix=missed).tolist() == [GLIOMA]
    assert recommended_labels(doubtful, 0.5, cost_matrix=missed).tolist() == [GLIOMA]
    assert recommended_labels(doubtful, 0.5).tolist() == [NONE]


def test_a_threshold_near_one_does_not_hide_the_most_probable_tumour():
    """Calibration images that were told apart with ease put it there."""
    rows = np.array([[0.7, 0.1, 0.1, 0.1], [0.2, 0.1, 0.6, 0.1]])
    assert recommended_labels(rows, 0.98).tolist() == [GLIOMA, NONE]


def test_costs_and_thresholds_that_are_none_are_refused():
    probabilities = np.full((1, 4), 0.25)
    with pytest.raises(EvaluationError, match="4 rows"):
        recommended_labels(probabilities, 0.5, cost_matrix=[[0, 1], [1, 0]])
    with pytest.raises(EvaluationError, match="at least 0"):
        recommended_labels(probabilities, 0.5, cost_matrix=-np.eye(4))
    with pytest.raises(EvaluationError, match="from 0 to 1"):
        recommended_labels(probabilities, 1.5)


def test_deciding_loads_neither_torch_nor_what_fits():
    code = (
        "import sys, tumorscope.models.decisions\n"
        "print({'torch', 'scipy', 'sklearn', 'mapie', 'tumorscope.evaluation'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
