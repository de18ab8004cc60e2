import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load, save

from tumorscope.errors import BundleError, EvaluationError
from tumorscope.models.familiarity import (
    ENERGY,
    MAHALANOBIS,
    MAX_PROBABILITY,
    METHODS,
    NEAREST_NEIGHBOURS,
    NORMALISED_MAHALANOBIS,
    RELATIVE_MAHALANOBIS,
    VIM,
    Familiarity,
)

MEANS = {"means": [[0, 0], [4, 0]]}
WIDE_IN_X = {"basis": [[1, 0], [0, 1]], "variances": [4, 1], "rest": [1]}
BACKGROUND = {
    "background_mean": [2, 0],
    "background_basis": [[1, 0], [0, 1]],
    "background_variances": [8, 1],
    "background_rest": [1],
}
BANK = {"bank": [[1, 0], [0, 1]], "neighbours": [1]}
ALONG_X = {"origin": [0, 0], "basis": [[1], [0]], "scale": [2]}
ARRAYS = {
    MAX_PROBABILITY: {},
    ENERGY: {},
    MAHALANOBIS: MEANS | WIDE_IN_X,
    RELATIVE_MAHALANOBIS: MEANS | WIDE_IN_X | BACKGROUND,
    NORMALISED_MAHALANOBIS: MEANS | WIDE_IN_X,
    NEAREST_NEIGHBOURS: BANK,
    VIM: ALONG_X,
}
LOGITS = np.zeros((1, 4), dtype=np.float32)


def familiarity(method, arrays=None, threshold=0.0):
    given = ARRAYS[method] if arrays is None else arrays
    return Familiarity(method, {name: np.array(value, dtype=np.float32) for name, value in given.items()}, threshold)


def score(method, point, arrays=None):
    return float(familiarity(method, arrays).score(np.array([point], dtype=np.float32), LOGITS)[0])


def test_mahalanobis_is_the_distance_to_the_nearest_class_worked_by_hand():
    assert score(MAHALANOBIS, (0, 0)) == 0
    assert score(MAHALANOBIS, (2, 1)) == pytest.approx(-(2**2 / 4 + 1**2 / 1))
    assert score(MAHALANOBIS, (4, 2)) == pytest.approx(-(0 + 2**2))
    assert score(MAHALANOBIS, (10, 0)) == pytest.approx(-(6**2 / 4))


def test_directions_that_are_not_stored_share_one_variance():
    stored_x_alone = MEANS | {"basis": [[1], [0]], "variances": [4], "rest": [1]}
    for point in ((2, 1), (4, 2), (-3, 5)):
        assert score(MAHALANOBIS, point, stored_x_alone) == pytest.approx(score(MAHALANOBIS, point))


def test_relative_mahalanobis_takes_the_distance_to_the_background_off():
    assert score(RELATIVE_MAHALANOBIS, (4, 2)) == pytest.approx((2**2 / 8 + 2**2) - 2**2)
    assert score(RELATIVE_MAHALANOBIS, (2, 0)) == pytest.approx(0 - 2**2 / 4)


def test_normalised_mahalanobis_knows_directions_and_no_lengths():
    assert score(NORMALISED_MAHALANOBIS, (3, 4)) == pytest.approx(-(0.6**2 / 4 + 0.8**2))
    assert score(NORMALISED_MAHALANOBIS, (30, 40)) == pytest.approx(score(NORMALISED_MAHALANOBIS, (3, 4)))
    assert score(NORMALISED_MAHALANOBIS, (0, 0)) == 0


def test_nearest_neighbours_measure_on_the_unit_sphere():
    assert score(NEAREST_NEIGHBOURS, (5, 0)) == 0
    assert score(NEAREST_NEIGHBOURS, (1, 1)) == pytest.approx(-np.sqrt(2 - np.sqrt(2)))
    assert score(NEAREST_NEIGHBOURS, (5, 0), BANK | {"neighbours": [2]}) == pytest.approx(-np.sqrt(2))


def test_scores_of_logits_alone_are_worked_by_hand():
    assert score(MAX_PROBABILITY, (0, 0)) == pytest.approx(0.25)
    assert score(ENERGY, (0, 0)) == pytest.approx(np.log(4))
    sure = np.array([[1000, 0, 0, 0]], dtype=np.float32)
    assert familiarity(ENERGY).score(np.zeros((1, 2), dtype=np.float32), sure) == pytest.approx(1000)
    assert familiarity(MAX_PROBABILITY).score(np.zeros((1, 2), dtype=np.float32), sure) == pytest.approx(1)


def test_vim_takes_what_lies_outside_of_the_subspace_off_the_energy():
    assert score(VIM, (7, 3)) == pytest.approx(np.log(4) - 2 * 3)


def test_a_batch_equals_one_by_one():
    features = np.random.default_rng(0).normal(size=(6, 2)).astype(np.float32)
    logits = np.random.default_rng(1).normal(size=(6, 4)).astype(np.float32)
    for method in METHODS:
        whole = familiarity(method).score(features, logits)
        parts = [float(familiarity(method).score(features[i : i + 1], logits[i : i + 1])[0]) for i in range(6)]
        assert whole.dtype == np.float64
        np.testing.assert_allclose(whole, parts, rtol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_what_is_stored_beside_a_bundle_reads_back_the_same(method):
    arrays = {name: np.array(value, dtype=np.float32) for name, value in ARRAYS[method].items()}
    fitted = Familiarity(method, arrays, -1.25, {"threshold_from": "calibration", "threshold_images": 40})
    tensors, content = fitted.to_tensors()
    others = {"head.weight": np.zeros(3, dtype=np.float32)}
    loaded = Familiarity.from_tensors(load(save(tensors | others)), content)
    assert (loaded.method, loaded.threshold, loaded.about) == (method, -1.25, fitted.about)
    points = np.array([[1, 2], [3, -4]], dtype=np.float32)
    np.testing.assert_array_equal(loaded.score(points, LOGITS.repeat(2, 0)), fitted.score(points, LOGITS.repeat(2, 0)))
    assert loaded.stored_bytes == fitted.stored_bytes == sum(array.nbytes for array in tensors.values())


def test_only_what_is_below_the_threshold_is_refused_and_told_why():
    fitted = familiarity(MAHALANOBIS, threshold=-4.0)
    points = np.array([[4, 2], [4, 3]], dtype=np.float32)
    assert fitted.refused(points, LOGITS.repeat(2, 0)).tolist() == [False, True]
    kept, refused = fitted.reasons(fitted.score(points, LOGITS.repeat(2, 0)))
    assert kept == ""
    assert "unlike the images" in refused
    assert "-9" in refused
    assert "-4" in refused


@pytest.mark.parametrize("method", METHODS)
def test_nan_in_features_or_logits_is_an_error_and_no_answer(method):
    good, bad = np.ones((2, 2), dtype=np.float32), np.array([[1, 1], [np.nan, 1]], dtype=np.float32)
    with pytest.raises(EvaluationError, match="1 of 2 inputs"):
        familiarity(method).score(bad, LOGITS.repeat(2, 0))
    with pytest.raises(EvaluationError, match="2 of 2 inputs"):
        familiarity(method).refused(good, np.full((2, 4), np.inf, dtype=np.float32))


def test_features_of_another_network_are_refused():
    with pytest.raises(EvaluationError, match=r"\(1, 3\).*\(n, 2\)"):
        familiarity(MAHALANOBIS).score(np.ones((1, 3), dtype=np.float32), LOGITS)
    with pytest.raises(EvaluationError, match="logits"):
        familiarity(ENERGY).score(np.ones((2, 3), dtype=np.float32), LOGITS)


@pytest.mark.parametrize(
    ("method", "arrays", "message"),
    [
        ("guess", {}, "Known: max_probability"),
        (MAHALANOBIS, MEANS, "needed: "),
        (MAHALANOBIS, MEANS | WIDE_IN_X | {"variances": [1, 2, 3]}, "variances has shape"),
        (MAHALANOBIS, MEANS | WIDE_IN_X | {"means": [[0, 0, 0]]}, "has shape"),
        (VIM, ALONG_X | {"scale": [np.nan]}, "NaN"),
    ],
)
def test_arrays_that_do_not_fit_together_are_refused(method, arrays, message):
    with pytest.raises(BundleError, match=message):
        familiarity(method, arrays)


def test_a_stored_part_without_its_threshold_is_refused():
    tensors, content = familiarity(MAHALANOBIS).to_tensors()
    with pytest.raises(BundleError, match="threshold"):
        Familiarity.from_tensors(tensors, {key: value for key, value in content.items() if key != "threshold"})
    with pytest.raises(BundleError, match="needed"):
        Familiarity.from_tensors({}, content)


def test_a_prediction_needs_no_torch_for_it():
    code = "import sys, tumorscope.models.acceptance; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
