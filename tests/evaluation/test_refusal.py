import numpy as np
import pytest

from tumorscope.errors import EvaluationError
from tumorscope.evaluation.refusal import Scored, choose_method, kept_and_refused, mean_areas, separation


def scored(*scores, gated=()):
    return Scored(np.array(scores, dtype=float), np.isin(np.arange(len(scores)), gated))


def test_areas_and_rates_are_worked_by_hand():
    numbers = separation(scored(2, 4, 5, 6), scored(1, 3), threshold=2.5)
    assert numbers["auroc"] == pytest.approx(7 / 8)  # of eight pairs only (2, 3) stands the wrong way round
    assert numbers["aupr"] == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert numbers["fpr_at_95_tpr"] == pytest.approx(1 / 4)
    assert numbers["refused"] == pytest.approx(1 / 2)
    assert (numbers["gated"], numbers["n"]) == (0, 2)


def test_scores_that_tell_nothing_have_an_area_of_a_half():
    numbers = separation(scored(*range(50)), scored(*range(50)), threshold=-1)
    assert numbers["auroc"] == pytest.approx(0.5)
    assert numbers["fpr_at_95_tpr"] == pytest.approx(0.96)  # 48 of 50, the last of the 48 tied
    assert separation(scored(1, 1), scored(1, 1, 1), threshold=1)["refused"] == 0


def test_what_the_gate_refuses_counts_as_least_familiar():
    without = separation(scored(1, 2, 3), scored(9, 9), threshold=0.5)
    numbers = separation(scored(1, 2, 3), scored(9, 9, gated=[0, 1]), threshold=0.5)
    assert (without["auroc"], without["refused"]) == (0, 0)
    assert (numbers["auroc"], numbers["refused"], numbers["gated"]) == (1, 1, 1)
    both = separation(scored(1, 2, gated=[1]), scored(9, 9, gated=[0, 1]), threshold=0.5)
    assert both["auroc"] == pytest.approx(0.75)  # tied with the familiar one that the gate refuses too
    assert scored(9, gated=[0]).without_gate().refused(0.5).tolist() == [False]


def test_what_is_kept_and_what_is_refused_are_told_apart():
    numbers = kept_and_refused(scored(1, 5, 6, 7, 8, gated=[4]), np.array([False, True, True, False, True]), threshold=4)
    assert numbers == {
        "n": 5,
        "refused": 0.4,
        "gated": 0.2,
        "accuracy": 0.6,
        "accuracy_kept": pytest.approx(2 / 3),
        "accuracy_refused": 0.5,
        "wrong_refused": 0.5,
    }
    all_kept = kept_and_refused(scored(5, 6), np.array([True, True]), threshold=4)
    assert (all_kept["accuracy_refused"], all_kept["wrong_refused"]) == (None, None)


def test_near_sets_count_twice_in_the_mean_that_chooses():
    rows = {"noise": {"auroc": 1.0}, "text": {"auroc": 0.8}, "turned": {"auroc": 0.6}}
    assert mean_areas(rows, ["turned"]) == {
        "far": pytest.approx(0.9),
        "near": pytest.approx(0.6),
        "weighted": pytest.approx((0.9 + 2 * 0.6) / 3),
    }
    with pytest.raises(EvaluationError, match="2 far and 0 near"):
        mean_areas({"noise": {"auroc": 1.0}, "text": {"auroc": 0.8}}, [])


def test_the_best_that_is_small_enough_is_chosen_and_of_equals_the_smallest():
    weighted = {"large": 0.99, "a": 0.9001, "b": 0.9004, "worse": 0.5}
    sizes = {"large": 10**8, "a": 10, "b": 20, "worse": 0}
    assert choose_method(weighted, sizes, most_bytes=100) == "a"
    assert choose_method(weighted, sizes, most_bytes=10**9) == "large"
    with pytest.raises(EvaluationError, match="fits into 5 bytes"):
        choose_method({"a": 0.9}, sizes, most_bytes=5)


@pytest.mark.parametrize("scores", [[np.nan, 1.0], []])
def test_scores_that_mean_nothing_are_refused(scores):
    with pytest.raises(EvaluationError, match=r"score|one of each"):
        Scored(np.array(scores, dtype=float), np.zeros(len(scores), dtype=bool))
