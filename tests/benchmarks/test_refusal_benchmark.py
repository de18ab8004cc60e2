"""The pieces of the benchmark run, on a network that was never trained."""

import numpy as np
import pytest
import torch

from tumorscope.data.preprocess import Preprocessing
from tumorscope.evaluation.answered import Answered
from tumorscope.models.bundle import Bundle
from tumorscope.models.familiarity import MAHALANOBIS, MAX_PROBABILITY, METHODS
from tumorscope.models.network import build


@pytest.fixture(scope="module")
def refusal(load_benchmark):
    return load_benchmark("refusal")


@pytest.fixture(scope="module")
def bundle():
    torch.manual_seed(0)
    return Bundle(build("cnn").eval(), Preprocessing(image_size=64), {}, {}, "d", "s", frozenset(), "2026-01-01T00:00:00+00:00")


def answered(count, *, seed, shift=0.0, labels=None):
    rng = np.random.default_rng(seed)
    features = (rng.normal(size=(count, 8)) + shift).astype(np.float32)
    logits = rng.normal(size=(count, 4)).astype(np.float32)
    return Answered(features, logits, np.arange(count) % 4 if labels is None else labels, "test")


def test_the_gate_and_the_network_are_asked_of_the_same_images(refusal, bundle):
    noise = np.random.default_rng(0).integers(0, 256, (70, 50), dtype=np.uint8)
    asked = refusal.ask(bundle, "two", [noise, np.zeros((40, 40), dtype=np.uint8)])
    assert asked.gated.tolist() == [True, True]
    assert asked.answered.features.shape == (2, 256)
    assert asked.looks.shape == (2, 20)


def test_what_is_kept_is_not_asked_for_again(refusal, tmp_path):
    keep, calls = refusal.Kept(tmp_path), []

    def asking():
        calls.append(1)
        return refusal.Asked(answered(5, seed=0), np.ones((5, 20)), np.array([True, False, False, False, True]))

    first, again = keep.get("plain T1 head", asking), keep.get("plain T1 head", asking)
    assert len(calls) == 1
    assert again.answered.split == "test"
    for name in ("features", "logits", "label_index"):
        assert np.array_equal(getattr(first.answered, name), getattr(again.answered, name))
    assert np.array_equal(first.gated, again.gated)
    assert np.array_equal(first.looks, again.looks)
    assert refusal.Kept(None).get("x", asking).answered.split == "test"
    assert len(calls) == 2


def test_scans_are_taken_evenly_and_no_more_than_there_are(refusal):
    assert refusal.spread(list(range(11)), 3) == [0, 5, 10]
    assert refusal.spread([1, 2], 5) == [1, 2]


def test_a_tumour_of_unstated_type_is_answered_rightly_by_any_tumour(refusal):
    logits = np.eye(4, dtype=np.float32)[[0, 2, 0, 1]]  # glioma, no tumour, glioma, meningioma
    asked = refusal.Asked(
        Answered(np.zeros((4, 3), dtype=np.float32), logits, np.array([-1, -1, 0, 0]), "x"),
        np.ones((4, 20)),
        np.zeros(4, dtype=bool),
    )
    assert refusal.correct(asked).tolist() == [True, False, True, False]


def asked(refusal, count, *, seed, shift=0.0, gated=0):
    looks = np.random.default_rng(seed + 100).normal(size=(count, 20)).astype(np.float32) + shift
    return refusal.Asked(answered(count, seed=seed, shift=shift), looks, np.arange(count) < gated)


def test_the_method_is_chosen_on_the_sets_made_for_choosing_and_the_report_has_every_set(refusal, bundle):
    fitted = refusal.fit_all(bundle, asked(refusal, 200, seed=0), asked(refusal, 60, seed=1))
    assert set(fitted) == {*METHODS, "looks", "acceptance"}
    familiar = asked(refusal, 80, seed=2)
    sets = {name: asked(refusal, 20, seed=3, shift=9, gated=5) for name in ("noise", "turned")}
    method, areas = refusal.chosen_by_rule(fitted, familiar, sets)
    assert method == MAHALANOBIS  # of those that are never wrong the smallest
    assert areas[MAHALANOBIS]["weighted"] == areas["acceptance"]["weighted"] == 1
    assert areas[MAX_PROBABILITY]["far"] < 0.9
    plain, gated = (refusal.measured(fitted, familiar, sets, gate=gate) for gate in (False, True))
    assert plain[MAHALANOBIS]["noise"]["gated"] == 0
    assert gated[MAHALANOBIS]["noise"]["gated"] == 0.25
    assert gated["acceptance"]["turned"]["refused"] == 1
    assert refusal.areas_table(plain).splitlines()[2].startswith("| noise | far | ")
    assert refusal.chosen_table(gated[MAHALANOBIS]).splitlines()[3].startswith("| turned | near | 20 | 1.000 |")
    assert refusal.milliseconds_per_image(fitted["acceptance"], familiar) >= 0
