import numpy as np
import pytest

from tumorscope.errors import EvaluationError
from tumorscope.evaluation.answered import Answered
from tumorscope.evaluation.familiarity_fit import (
    FitChoices,
    fit_acceptance,
    fit_familiarity,
    largest_directions,
    shrunk_covariance,
    threshold_keeping,
)
from tumorscope.models.familiarity import (
    ENERGY,
    MAHALANOBIS,
    MAX_PROBABILITY,
    METHODS,
    NEAREST_NEIGHBOURS,
    NORMALISED_MAHALANOBIS,
    RELATIVE_MAHALANOBIS,
    VIM,
)

CHANNELS = 12
WEIGHTS = np.random.default_rng(7).normal(size=(4, CHANNELS)).astype(np.float32)
BIASES = np.array([0.1, -0.2, 0.3, 0.0], dtype=np.float32)
WHOLE = FitChoices(directions=None, neighbours=3, shrinkage=0.0)


def answered(count, *, seed, split="train", distance=4.0):
    """Four clusters of correlated features, one for every label."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 4
    mixing = np.eye(CHANNELS) + np.random.default_rng(99).normal(size=(CHANNELS, CHANNELS)) / 10
    features = (rng.normal(size=(count, CHANNELS)) @ mixing + distance * np.eye(4, CHANNELS)[labels]).astype(np.float32)
    return Answered(features, features @ WEIGHTS.T + BIASES, labels, split)


@pytest.fixture(scope="module")
def training():
    return answered(400, seed=0)


@pytest.fixture(scope="module")
def calibration():
    return answered(199, seed=1, split="calibration")


def test_two_criteria_share_what_may_be_refused(training, calibration):
    rng = np.random.default_rng(0)
    looks = [rng.normal(size=(len(part), 20)).astype(np.float32) for part in (training, calibration)]
    accepted = fit_acceptance(training, calibration, looks=tuple(looks), choices=FitChoices(directions=None))
    assert accepted.looks.about["kept_share"] == pytest.approx(0.975)
    assert len(accepted.looks.arrays["means"]) == 1
    assert len(accepted.features.arrays["means"]) == 4
    strange = accepted.strangeness(looks[1], calibration.features, calibration.logits) > 1
    assert 4 <= strange.sum() <= 8  # the fifth smallest of 199 is the threshold of each, and kept
    further = answered(2000, seed=11)
    own = accepted.strangeness(rng.normal(size=(2000, 20)).astype(np.float32), further.features, further.logits)
    assert (own > 1).mean() == pytest.approx(0.05, abs=0.025)
    odd = accepted.strangeness(looks[1] + 9, calibration.features, calibration.logits)
    assert (odd > 1).all()


def test_threshold_is_the_smallest_score_but_so_many_worked_by_hand():
    scores = np.random.default_rng(0).permutation(np.arange(1.0, 100.0))
    assert threshold_keeping(scores, 0.95) == 5  # the whole part of 0.05 x 100
    assert threshold_keeping(np.arange(1.0, 20.0), 0.95) == 1
    assert threshold_keeping(np.arange(1.0, 20.0), 0.8) == 4


def test_threshold_keeps_its_promise_on_average_over_many_draws():
    rng = np.random.default_rng(3)
    refused = [(rng.exponential(size=500) < threshold_keeping(rng.exponential(size=39), 0.95)).mean() for _ in range(2000)]
    assert np.mean(refused) == pytest.approx(0.05, abs=0.003)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_keeps_95_percent_of_the_calibration_images(method, training, calibration):
    fitted = fit_familiarity(method, training, calibration, head=(WEIGHTS, BIASES), choices=FitChoices(neighbours=3, directions=6))
    refused = fitted.refused(calibration.features, calibration.logits)
    assert refused.sum() == 9  # the tenth smallest of 199 is the threshold, and kept
    assert fitted.about == {
        "fitted_on": "train",
        "fitted_images": 400,
        "threshold_from": "calibration",
        "threshold_images": 199,
        "kept_share": 0.95,
    }


def test_too_few_calibration_images_promise_nothing(training):
    few = answered(18, seed=2, split="calibration")
    with pytest.raises(EvaluationError, match=r"18 calibration image\(s\).*at least 19"):
        fit_familiarity(MAHALANOBIS, training, few)
    with pytest.raises(EvaluationError, match="between 0 and 1"):
        threshold_keeping(np.arange(30.0), 1.0)


def test_squared_distances_of_the_class_s_own_images_follow_chi_square():
    rng = np.random.default_rng(5)
    features = (rng.normal(size=(4000, 5)) @ rng.normal(size=(5, 5))).astype(np.float32)
    one = Answered(features, np.zeros((4000, 4), dtype=np.float32), np.zeros(4000, dtype=np.int64), "train")
    squared = -fit_familiarity(MAHALANOBIS, one, one, choices=WHOLE).score(one.features, one.logits)
    assert squared.mean() == pytest.approx(5, rel=0.01)
    assert squared.var() == pytest.approx(10, rel=0.15)


def test_shrinking_wholly_leaves_one_variance_for_all_and_not_at_all_the_sample_s():
    centred = np.array([[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    np.testing.assert_allclose(shrunk_covariance(centred, 1.0), np.eye(2) * 1.25)
    np.testing.assert_allclose(shrunk_covariance(centred, 0.0), np.diag([2.0, 0.5]))
    assert 0.5 < shrunk_covariance(centred)[1, 1] < 1.25


def test_stored_directions_give_the_covariance_back_and_the_others_share_the_rest():
    matrix = np.random.default_rng(0).normal(size=(5, 5))
    covariance = matrix @ matrix.T
    whole = largest_directions(covariance, None)
    np.testing.assert_allclose(whole["basis"] * whole["variances"] @ whole["basis"].T, covariance, rtol=1e-9)
    part = largest_directions(np.diag([1.0, 9.0, 3.0, 2.0]), 2)
    np.testing.assert_allclose(part["variances"], [9, 3])
    np.testing.assert_allclose(part["rest"], [1.5])
    np.testing.assert_allclose(np.abs(part["basis"]), np.eye(4)[:, [1, 2]])


def ours(method, training, other):
    fitted = fit_familiarity(method, training, training, head=(WEIGHTS, BIASES), choices=WHOLE)
    return fitted.score(other.features, other.logits)


def theirs(method, training, other):
    torch, detectors = pytest.importorskip("torch"), pytest.importorskip("pytorch_ood.detector")
    features, logits, labels = (torch.from_numpy(x) for x in (training.features, training.logits, training.label_index))
    detector = {
        MAX_PROBABILITY: lambda: detectors.MaxSoftmax(None),
        ENERGY: lambda: detectors.EnergyBased(None),
        MAHALANOBIS: lambda: detectors.Mahalanobis(None),
        RELATIVE_MAHALANOBIS: lambda: detectors.RMD(None),
        NEAREST_NEIGHBOURS: lambda: detectors.KNN(None, k=3, normalize=True),
        VIM: lambda: detectors.ViM(None, d=CHANNELS // 2, w=torch.from_numpy(WEIGHTS), b=torch.from_numpy(BIASES)),
    }[method]()
    if method in (MAX_PROBABILITY, ENERGY):
        return -detector.predict_logits(torch.from_numpy(other.logits)).numpy()
    del logits
    detector.fit_features(features, labels)
    scale = {MAHALANOBIS: 2 * len(training), RELATIVE_MAHALANOBIS: len(training)}.get(method, 1)  # its covariance is a sum
    return -scale * detector.predict_features(torch.from_numpy(other.features)).numpy()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("method", [name for name in METHODS if name != NORMALISED_MAHALANOBIS])
def test_scores_are_those_of_pytorch_ood(method, training):
    other = answered(60, seed=4, distance=1.0)
    np.testing.assert_allclose(ours(method, training, other), theirs(method, training, other), rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("method", [MAHALANOBIS, NORMALISED_MAHALANOBIS, NEAREST_NEIGHBOURS])
def test_features_far_from_all_classes_are_less_familiar(method, training, calibration):
    far = answered(50, seed=6, distance=-8.0)
    fitted = fit_familiarity(method, training, calibration, choices=FitChoices(neighbours=3))
    assert fitted.refused(far.features, far.logits).mean() > 0.9


def test_images_without_a_label_do_not_move_the_classes(training):
    rng = np.random.default_rng(8)
    stray = rng.normal(50, 1, (20, CHANNELS)).astype(np.float32)
    mixed = Answered(
        np.concatenate([training.features, stray]),
        np.concatenate([training.logits, stray @ WEIGHTS.T]),
        np.concatenate([training.label_index, np.full(20, -1)]),
        "train",
    )
    for method in (MAHALANOBIS, RELATIVE_MAHALANOBIS):
        np.testing.assert_allclose(ours(method, mixed, training), ours(method, training, training))


def test_a_label_absent_from_training_is_no_obstacle(training):
    rows = training.label_index != 2
    part = Answered(training.features[rows], training.logits[rows], training.label_index[rows], "train")
    assert fit_familiarity(MAHALANOBIS, part, training).arrays["means"].shape == (3, CHANNELS)


def test_vim_without_a_linear_head_starts_at_the_mean(training, calibration):
    fitted = fit_familiarity(VIM, training, calibration, choices=FitChoices(directions=4))
    np.testing.assert_allclose(fitted.arrays["origin"], training.features.mean(axis=0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("features", "labels", "message"),
    [
        (np.full((30, 3), np.nan), np.zeros(30), "NaN"),
        (np.ones((30, 3)), np.zeros(29), "29 labels"),
    ],
)
def test_answers_that_cannot_be_used_are_refused(features, labels, message):
    with pytest.raises(EvaluationError, match=message):
        Answered(features.astype(np.float32), np.zeros((30, 4), dtype=np.float32), labels.astype(np.int64), "train")


def test_training_images_that_tell_nothing_are_refused(training, calibration):
    same = Answered(np.ones((30, 3), dtype=np.float32), np.ones((30, 4), dtype=np.float32), np.zeros(30, dtype=np.int64), "train")
    with pytest.raises(EvaluationError, match="the same"):
        fit_familiarity(MAHALANOBIS, same, same)
    nobody = Answered(training.features, training.logits, np.full(len(training), -1), "train")
    with pytest.raises(EvaluationError, match="four labels"):
        fit_familiarity(MAHALANOBIS, nobody, calibration)
    with pytest.raises(EvaluationError, match="10 neighbours"):
        fit_familiarity(NEAREST_NEIGHBOURS, answered(5, seed=0), calibration)
    with pytest.raises(EvaluationError, match="Known"):
        fit_familiarity("guess", training, calibration)
