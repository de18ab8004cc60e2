import json

import numpy as np
import pytest
from sklearn.metrics import log_loss as sklearn_log_loss

from tumorscope.errors import EvaluationError
from tumorscope.evaluation.temperature import BOUNDS, compare_scalings, fit_temperature, fit_vector_scaling
from tumorscope.models.decisions import scaled_probabilities, softmax


def log_loss(probabilities, truth):
    return sklearn_log_loss(truth, probabilities, labels=range(4))


def drawn(count, *, seed, temperature=1.0, scales=1.0, offsets=0.0):
    """Logits of a model that is too sure by `temperature`, with labels drawn from the probabilities that are right."""
    rng = np.random.default_rng(seed)
    right = rng.normal(size=(count, 4)) * 2
    cumulated = np.cumsum(softmax(right), axis=1)
    labels = (rng.random(count)[:, None] > cumulated).sum(axis=1).clip(max=3)
    return (right - np.asarray(offsets)) / np.asarray(scales) * temperature, labels


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_the_temperature_that_made_a_model_too_sure_is_found(temperature):
    logits, labels = drawn(20_000, seed=1, temperature=temperature)
    assert fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.03)


def test_a_temperature_is_worked_out_by_hand():
    # Three of four right with one margin: the share of right answers must be 3 / 4, so exp(m / T) / (exp(m / T) + 3) = 3 / 4.
    logits = np.array([[5.0, 0.0, 0.0, 0.0]] * 4)
    found = fit_temperature(logits, np.array([0, 0, 0, 1]))
    assert found == pytest.approx(5 / np.log(9))


def test_no_temperature_nearby_has_a_lower_log_loss():
    logits, labels = drawn(300, seed=2, temperature=1.7)
    best = fit_temperature(logits, labels)
    losses = [log_loss(scaled_probabilities(logits, best * factor), labels) for factor in (0.99, 1.0, 1.01)]
    assert min(losses) == losses[1]


def test_a_split_without_a_mistake_does_not_make_the_model_certain():
    logits = np.array([[4.0, 0.0, 0.0, 0.0]] * 98)
    temperature = fit_temperature(logits, np.zeros(98, dtype=np.int64))
    # Right 98 times of 98 counts as 99 of 100.
    assert scaled_probabilities(logits[:1], temperature)[0, 0] == pytest.approx(0.99)


@pytest.mark.parametrize("margin", [1e-3, 1.0, 1e5])
@pytest.mark.parametrize("count", [1, 2, 500])
def test_tiny_and_separable_splits_stay_within_the_bounds(margin, count):
    logits = np.eye(4)[np.arange(count) % 4] * margin
    for labels in (np.arange(count) % 4, (np.arange(count) + 1) % 4):
        assert BOUNDS[0] <= fit_temperature(logits, labels) <= BOUNDS[1]
        scales, offsets = fit_vector_scaling(logits, labels)
        assert np.isfinite([*scales, *offsets]).all()


def test_answers_that_are_all_wrong_and_sure_take_the_upper_bound():
    assert fit_temperature(np.array([[9.0, 0.0, 0.0, 0.0]] * 5), np.ones(5, dtype=np.int64)) == BOUNDS[1]


def test_logits_that_say_nothing_leave_the_temperature_at_one():
    assert fit_temperature(np.full((6, 4), 3.0), np.array([0, 1, 2, 3, 0, 1])) == 1.0


@pytest.mark.parametrize("fit", [fit_temperature, fit_vector_scaling])
@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (np.array([[0.0, np.nan, 0.0, 0.0]]), np.array([1]), "NaN or infinity"),
        (np.array([[0.0, np.inf, 0.0, 0.0]]), np.array([1]), "NaN or infinity"),
        (np.empty((0, 4)), np.empty(0, dtype=np.int64), "no images"),
        (np.zeros((2, 4)), np.array([1]), "Give one per image"),
        (np.zeros((1, 4)), np.array([4]), "from 0 to 3"),
        (np.zeros((1, 4)), np.array([1.0]), "whole numbers"),
        (np.zeros((1, 3)), np.array([1]), r"expected \(n, 4\)"),
    ],
)
def test_what_cannot_be_fitted_is_refused(fit, logits, labels, message):
    with pytest.raises(EvaluationError, match=message):
        fit(logits, labels)


def test_vector_scaling_finds_scales_and_offsets():
    true_scales, true_offsets = [0.5, 1.0, 1.5, 1.0], [0.8, -0.8, 0.0, 0.0]
    logits, labels = drawn(20_000, seed=3, scales=true_scales, offsets=true_offsets)
    temperature = fit_temperature(logits, labels)
    scales, offsets = fit_vector_scaling(logits, labels)
    np.testing.assert_allclose(np.array(scales) / temperature, true_scales, atol=0.1)
    np.testing.assert_allclose(np.array(offsets) - np.mean(offsets), true_offsets, atol=0.1)


def test_a_label_without_images_keeps_its_scale_near_one():
    logits, labels = drawn(4000, seed=4)
    some = labels != 3
    scales, offsets = fit_vector_scaling(logits[some], labels[some])
    assert np.isfinite([*scales, *offsets]).all()
    assert offsets[3] < min(offsets[:3])
    few_scales, few_offsets = fit_vector_scaling(logits[:4], labels[:4])
    np.testing.assert_allclose([*few_scales, *few_offsets], [1] * 4 + [0] * 4, atol=1.2)


def test_vector_scaling_is_taken_where_it_earns_it_and_not_where_it_does_not():
    skewed = compare_scalings(*drawn(3000, seed=5, scales=[0.4, 1.0, 1.8, 1.0], offsets=[1, -1, 0, 0]), groups=None)
    assert skewed["chosen"] == "vector"
    assert skewed["differences"]["vector_minus_temperature"]["interval"][1] < 0
    plain = compare_scalings(*drawn(1000, seed=6, temperature=2.0), groups=None)
    assert plain["chosen"] == "temperature"
    assert plain["log_loss"]["temperature"]["value"] < plain["log_loss"]["none"]["value"]


def test_vector_scaling_never_learns_to_withhold_a_label_that_it_does_not_see():
    logits, labels = drawn(3000, seed=5, scales=[0.4, 1.0, 1.8, 1.0], offsets=[1, -1, 0, 0])
    seen = labels != 0
    found = compare_scalings(logits[seen], labels[seen], groups=None)
    assert found["differences"]["vector_minus_temperature"]["interval"][1] < 0
    assert found["chosen"] == "temperature"


def test_images_of_a_group_are_never_on_both_sides():
    # Each label is one group: the fold that holds it is answered by scalings that never saw it, and its offset is then too low.
    logits, labels = drawn(400, seed=7)
    split = compare_scalings(logits, labels, groups=[f"patient {label}" for label in labels])
    loose = compare_scalings(logits, labels, groups=None)
    assert (split["groups"], split["folds"], loose["groups"], loose["folds"]) == (4, 4, 400, 5)
    assert split["log_loss"]["vector"]["value"] > loose["log_loss"]["vector"]["value"] + 0.1
    assert split["log_loss"]["none"]["value"] == pytest.approx(loose["log_loss"]["none"]["value"])


def test_the_comparison_is_plain_json_and_the_same_for_the_same_seed():
    logits, labels = drawn(60, seed=8)
    found = compare_scalings(logits, labels, groups=[f"g{i % 9}" for i in range(60)], seed=3)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert compare_scalings(logits, labels, groups=[f"g{i % 9}" for i in range(60)], seed=3) == found


def test_one_group_alone_compares_nothing():
    logits, labels = drawn(20, seed=9)
    found = compare_scalings(logits, labels, groups=["one"] * 20)
    assert found["chosen"] == "temperature"
    assert found["log_loss"]["vector"] == {"value": None, "interval": None}
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_groups_that_do_not_fit_are_refused():
    with pytest.raises(EvaluationError, match="2 groups for 20 images"):
        compare_scalings(*drawn(20, seed=9), groups=["a", "b"])
