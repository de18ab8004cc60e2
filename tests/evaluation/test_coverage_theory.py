import json

import numpy as np
import pytest
from scipy.stats import betabinom

from tumorscope.errors import EvaluationError
from tumorscope.evaluation.conformal import coverage_summary, fit_quantiles
from tumorscope.evaluation.coverage_theory import coverage_band, repeated_coverage, split_quantiles
from tumorscope.labels import LABELS
from tumorscope.models.decisions import prediction_sets
from tumorscope.training.recipe import PROMISED_LEVELS


def exchangeable(count, *, seed, signal=1.5):
    rng = np.random.default_rng(seed)
    truth = rng.integers(4, size=count)
    powers = np.exp(rng.normal(size=(count, 4)) + signal * np.eye(4)[truth])
    return powers / powers.sum(axis=1, keepdims=True), truth


@pytest.mark.parametrize(("n_calibration", "n_test", "level"), [(10, 7, 0.9), (200, 300, 0.95), (1000, 378, 0.99)])
def test_the_band_holds_its_share_of_a_beta_binomial(n_calibration, n_test, level):
    low, high = coverage_band(n_calibration, n_test, level)
    rank = int(np.ceil((n_calibration + 1) * level - 1e-9))
    law = betabinom(n_test, rank, n_calibration + 1 - rank)
    assert [low, high] == pytest.approx([law.ppf(0.025) / n_test, law.ppf(0.975) / n_test])
    assert law.cdf(round(high * n_test)) - law.cdf(round(low * n_test) - 1) >= 0.95


def test_a_wider_share_is_a_wider_band_and_a_split_too_small_covers_everything():
    narrow, wide = coverage_band(300, 200, 0.9, share=0.5), coverage_band(300, 200, 0.9, share=0.99)
    assert wide[0] < narrow[0] < narrow[1] < wide[1]
    assert coverage_band(99, 200, 0.99) == [1.0, 1.0]


def test_coverage_of_exchangeable_images_stays_within_the_band_as_often_as_it_says():
    inside = dict.fromkeys(PROMISED_LEVELS, 0)
    for seed in range(60):
        probabilities, truth = exchangeable(500, seed=seed)
        quantiles = fit_quantiles(probabilities[:200], truth[:200])
        for level in PROMISED_LEVELS:
            sets = prediction_sets(probabilities[200:], quantiles[str(level)], conditional=False, keep_empty=True)
            low, high = coverage_band(200, 300, level)
            inside[level] += low <= sets[np.arange(300), truth[200:]].mean() <= high
    for level, count in inside.items():
        assert count / 60 >= 0.86, level  # 0.95 less three deviations of 0.03


def test_quantiles_of_many_splits_are_those_of_mapie():
    probabilities, truth = exchangeable(160, seed=1)
    splits = np.random.default_rng(2).random((5, 160)) < 0.5
    for level in (0.9, 0.95):
        for conditional in (False, True):
            found = split_quantiles(probabilities, truth, splits, level=level, conditional=conditional)
            for split, row in zip(splits, found, strict=True):
                expected = fit_quantiles(probabilities[split], truth[split], levels=[level])[str(level)]
                each = list(expected["per_label"].values()) if conditional else [expected["marginal"]] * 4
                np.testing.assert_allclose(row, each)


def test_many_splits_of_single_images_follow_the_theory():
    probabilities, truth = exchangeable(400, seed=3)
    found = repeated_coverage(probabilities, truth, groups=None, level=0.9, draws=2000, seed=4)
    # 200 images: the score at ceil(201 * 0.9) = 181, so the mean is 181 / 201.
    assert found["theory"]["mean"] == pytest.approx(181 / 201)
    assert found["coverage"]["mean"] == pytest.approx(found["theory"]["mean"], abs=0.003)
    assert found["coverage"]["sd"] == pytest.approx(found["theory"]["sd"], rel=0.07)
    assert found["theory"]["sd"] == pytest.approx(betabinom(200, 181, 20).std() / 200)
    assert found["in_band"] >= 0.935
    assert (found["n_calibration"], found["n_test"]) == (200, 200)


def test_groups_spread_coverage_beyond_the_theory():
    single, truth = exchangeable(80, seed=5)
    noise = np.random.default_rng(6).random((800, 4)) * 1e-3
    probabilities = np.repeat(single, 10, axis=0) + noise
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    groups = [f"p{i // 10}" for i in range(800)]
    found = repeated_coverage(probabilities, np.repeat(truth, 10), groups=groups, level=0.9, draws=300)
    assert found["coverage"]["sd"] > 2 * found["theory"]["sd"]
    assert found["in_band"] < 0.7


def test_a_group_is_never_on_both_sides_and_sizes_vary_with_groups():
    probabilities, truth = exchangeable(60, seed=7)
    groups = ["big"] * 40 + [f"p{i}" for i in range(20)]
    found = repeated_coverage(probabilities, truth, groups=groups, level=0.9, calibration_share=1 / 21, draws=400)
    # One group of 21 is drawn: 40 images once in 21, else a single image, for which everything is in the set.
    assert found["n_calibration"] == pytest.approx((40 + 20) / 21, abs=1.3)
    assert found["coverage"]["high"] == 1.0
    assert found["theory"]["mean"] > 0.99


def test_each_draw_equals_one_calibration_done_by_itself():
    probabilities, truth = exchangeable(90, seed=8)
    for conditional in (False, True):
        found = repeated_coverage(probabilities, truth, groups=None, level=0.9, draws=6, seed=9, conditional=conditional)
        places = np.random.default_rng(9).permuted(np.tile(np.arange(90), (6, 1)), axis=1)
        coverages, sizes, gliomas = [], [], []
        for split in places < 45:
            quantiles = fit_quantiles(probabilities[split], truth[split], levels=[0.9])["0.9"]
            sets = prediction_sets(probabilities[~split], quantiles, conditional=conditional, keep_empty=True)
            one = coverage_summary(sets, truth[~split], groups=None)
            coverages.append(one["coverage"]["by_image"]["value"])
            sizes.append(one["size"]["by_image"]["value"])
            gliomas.append(one["per_label"]["glioma"]["coverage"]["by_image"]["value"])
        assert found["coverage"]["mean"] == pytest.approx(np.mean(coverages))
        assert found["size"]["mean"] == pytest.approx(np.mean(sizes))
        assert found["per_label"]["glioma"]["coverage"]["sd"] == pytest.approx(np.std(gliomas))


def test_labels_have_a_theory_only_where_quantiles_are_theirs():
    probabilities, truth = exchangeable(800, seed=10)
    some = truth != 3
    for conditional in (False, True):
        found = repeated_coverage(probabilities[some], truth[some], groups=None, level=0.9, draws=400, conditional=conditional)
        assert (found["theory"] is None) == conditional
        assert found["per_label"]["pituitary"] is None
        for label in LABELS[:3]:
            cell = found["per_label"][label]
            assert (cell["theory"] is not None) == conditional
            if conditional:
                assert cell["coverage"]["mean"] == pytest.approx(cell["theory"]["mean"], abs=0.006)
        assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_the_same_seed_gives_the_same_draws():
    probabilities, truth = exchangeable(50, seed=11)
    first, same, other = (
        repeated_coverage(probabilities, truth, groups=None, level=0.9, draws=20, seed=seed) for seed in (1, 1, 2)
    )
    assert first == same
    assert first["coverage"] != other["coverage"]


def test_settings_that_mean_nothing_are_refused():
    probabilities, truth = exchangeable(20, seed=12)
    with pytest.raises(EvaluationError, match="at least 2 of each"):
        repeated_coverage(probabilities, truth, groups=["one"] * 20, level=0.9)
    with pytest.raises(EvaluationError, match="calibration_share 1"):
        repeated_coverage(probabilities, truth, groups=None, level=0.9, calibration_share=1)
    with pytest.raises(EvaluationError, match=r"level 1\.5"):
        coverage_band(10, 10, 1.5)
    with pytest.raises(EvaluationError, match="no images"):
        coverage_band(0, 10, 0.9)
    with pytest.raises(EvaluationError, match="NaN"):
        repeated_coverage(np.full((4, 4), np.nan), np.zeros(4, dtype=np.int64), groups=None, level=0.9)
