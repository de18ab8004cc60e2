import json
import subprocess
import sys

import numpy as np
import pytest

from tumorscope.errors import EvaluationError
from tumorscope.evaluation.conformal import coverage_summary, fit_quantiles, quantile_rank
from tumorscope.labels import LABELS
from tumorscope.models.decisions import prediction_sets
from tumorscope.resampling import edge_interval


def with_scores(scores, label=0):
    """Probabilities whose score 1 - p of one label is given, the rest shared by the others."""
    scores = np.asarray(scores, dtype=float)
    probabilities = np.repeat(scores[:, None] / 3, 4, axis=1)
    probabilities[:, label] = 1 - scores
    return probabilities


def exchangeable(count, *, seed, signal=1.5):
    rng = np.random.default_rng(seed)
    truth = rng.integers(4, size=count)
    powers = np.exp(rng.normal(size=(count, 4)) + signal * np.eye(4)[truth])
    return powers / powers.sum(axis=1, keepdims=True), truth


def test_the_quantile_is_the_order_statistic_of_theory():
    # Of 19 scores the one at ceil(20 * 0.9) = 18 in rising order; 0.95 needs 20 images and 0.99 needs 100.
    scores = np.random.default_rng(0).permutation(np.arange(1, 20) / 20)
    found = fit_quantiles(with_scores(scores), np.zeros(19, dtype=np.int64))
    assert list(found) == ["0.9", "0.95", "0.99"]
    assert found["0.9"]["marginal"] == pytest.approx(18 / 20)
    assert found["0.9"]["per_label"]["glioma"] == found["0.9"]["marginal"]
    assert found["0.95"]["marginal"] == found["0.99"]["marginal"] == 1.0


@pytest.mark.parametrize(
    ("count", "level", "rank"),
    [
        (9, 0.9, None),
        (10, 0.9, 10),
        (19, 0.95, None),
        (20, 0.95, 20),
        (99, 0.99, None),
        (100, 0.99, 100),
        (999, 0.9, 900),
        (0, 0.9, None),
    ],
)
def test_ranks_are_worked_out_by_hand(count, level, rank):
    assert quantile_rank(count, level) == rank


def test_ranks_are_those_of_mapie_for_any_size():
    rng = np.random.default_rng(1)
    for count in (10, 11, 23, 57, 100, 101, 333, 1311):
        scores = np.sort(rng.random(count))
        for level, found in fit_quantiles(with_scores(scores), np.zeros(count, dtype=np.int64)).items():
            rank = quantile_rank(count, float(level))
            assert found["marginal"] == pytest.approx(1.0 if rank is None else scores[rank - 1])


def test_a_label_too_few_for_a_level_is_in_every_set_and_one_without_images_has_no_quantile():
    probabilities = np.concatenate([with_scores(np.full(60, 0.3)), with_scores(np.full(5, 0.2), label=1)])
    truth = np.repeat([0, 1], [60, 5])
    found = fit_quantiles(probabilities, truth)
    assert found["0.9"]["per_label"] == {"glioma": pytest.approx(0.3), "meningioma": 1.0, "notumor": None, "pituitary": None}
    assert found["0.99"]["per_label"]["glioma"] == 1.0
    assert found["0.9"]["marginal"] == pytest.approx(0.3)
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_quantiles_of_labels_cover_every_label_where_the_marginal_one_covers_the_average():
    rng = np.random.default_rng(2)
    truth = np.tile([0, 0, 0, 1], 1000)
    signal = np.where(truth == 0, 4.0, 0.5)[:, None] * np.eye(4)[truth]
    powers = np.exp(rng.normal(size=(4000, 4)) + signal)
    probabilities = powers / powers.sum(axis=1, keepdims=True)
    quantiles = fit_quantiles(probabilities[:2000], truth[:2000])["0.9"]
    covered = {}
    for conditional in (False, True):
        sets = prediction_sets(probabilities[2000:], quantiles, conditional=conditional, keep_empty=True)
        found = coverage_summary(sets, truth[2000:], groups=None)
        covered[conditional] = [found["per_label"][label]["coverage"]["by_image"]["value"] for label in LABELS[:2]]
        assert found["coverage"]["by_image"]["value"] == pytest.approx(0.9, abs=0.03)
    assert covered[False][1] < 0.75
    assert covered[True] == pytest.approx([0.9, 0.9], abs=0.04)


def test_sets_that_are_never_empty_cover_at_least_as_much():
    probabilities, truth = exchangeable(600, seed=3, signal=5)
    quantiles = fit_quantiles(probabilities[:300], truth[:300])["0.9"]
    kept, filled = (
        coverage_summary(
            prediction_sets(probabilities[300:], quantiles, conditional=False, keep_empty=keep), truth[300:], groups=None
        )
        for keep in (True, False)
    )
    assert kept["empty"] > 0
    assert filled["empty"] == 0
    assert filled["coverage"]["by_image"]["value"] > kept["coverage"]["by_image"]["value"]


def test_coverage_is_worked_out_by_hand():
    sets = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1]], dtype=bool)
    found = coverage_summary(sets, np.array([0, 0, 0, 1, 2]), groups=["p", "p", "p", "q", ""])
    assert (found["n"], found["groups"], found["sizes"]) == (5, 3, [1, 2, 1, 0, 1])
    assert found["coverage"]["by_image"]["value"] == pytest.approx(3 / 5)
    assert found["coverage"]["by_group"]["value"] == pytest.approx((2 / 3 + 0 + 1) / 3)
    assert found["size"]["by_image"]["value"] == pytest.approx(8 / 5)
    assert found["size"]["by_group"]["value"] == pytest.approx((4 / 3 + 0 + 4) / 3)
    assert (found["singletons"], found["singletons_right"], found["empty"]) == (0.4, 0.5, 0.2)
    assert found["per_label"]["glioma"]["coverage"]["by_image"]["value"] == pytest.approx(2 / 3)
    assert (found["per_label"]["glioma"]["n"], found["per_label"]["glioma"]["groups"]) == (3, 1)
    assert found["per_label"]["notumor"]["coverage"]["by_image"]["interval"] == edge_interval(1.0, 1, level=0.95)
    assert found["per_label"]["pituitary"] is None
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_a_size_that_is_always_one_is_not_taken_for_a_share():
    found = coverage_summary(np.eye(4, dtype=bool), np.arange(4), groups=None)
    assert found["size"]["by_image"] == {"value": 1.0, "interval": None}
    assert found["coverage"]["by_image"] == {"value": 1.0, "interval": edge_interval(1.0, 4, level=0.95)}


def test_groups_that_are_all_covered_by_half_are_not_taken_for_an_edge():
    sets = np.tile([[1, 0, 0, 0], [0, 1, 0, 0]], (5, 1)).astype(bool)
    found = coverage_summary(sets, np.zeros(10, dtype=np.int64), groups=[f"p{i // 2}" for i in range(10)])
    assert found["coverage"]["by_group"] == {"value": 0.5, "interval": None}


def test_what_cannot_be_fitted_or_counted_is_refused():
    good = np.full((1, 4), 0.25)
    for probabilities, truth, message in (
        (np.full((1, 4), np.nan), np.array([0]), "NaN"),
        (np.empty((0, 4)), np.empty(0, dtype=np.int64), "no images"),
        (good, np.array([7]), "from 0 to 3"),
    ):
        with pytest.raises(EvaluationError, match=message):
            fit_quantiles(probabilities, truth)
    with pytest.raises(EvaluationError, match="level 95"):
        fit_quantiles(good, np.array([0]), levels=[95])
    with pytest.raises(EvaluationError, match="expected bool"):
        coverage_summary(good, np.array([0]), groups=None)
    with pytest.raises(EvaluationError, match="no images"):
        coverage_summary(np.empty((0, 4), dtype=bool), np.empty(0, dtype=np.int64), groups=None)


def test_importing_what_measures_loads_nothing_heavy():
    code = (
        "import sys\n"
        "from tumorscope.evaluation import conformal, coverage_theory, operating_point, reliability, selective, temperature\n"
        "print({'sklearn', 'scipy', 'mapie', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
