"""The pieces of the benchmark run, on images too small for its figures to mean anything."""

import numpy as np
import pytest
import torch

from tumorscope.models.network import NETWORKS


@pytest.fixture(scope="module")
def heatmaps(load_benchmark):
    return load_benchmark("heatmaps")


@pytest.fixture
def images():
    return torch.randn(5, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", NETWORKS)
def test_maps_do_not_change_the_prediction_and_are_those_of_torchcam(heatmaps, images, name):
    network = heatmaps.waking(name, "none", images)
    predicted, maps = heatmaps.predict_with_maps(network, images, 2)
    assert torch.equal(predicted, heatmaps.predict(network, images, 2))
    theirs = heatmaps.maps_of_torchcam(network, images)
    assert theirs.max() > 0
    torch.testing.assert_close(maps.clone(), theirs, rtol=1e-3, atol=1e-4 * float(theirs.max()))


def test_both_packages_agree_with_ours_and_every_job_is_timed(heatmaps, images, monkeypatch):
    pytest.importorskip("pytorch_grad_cam")
    network = heatmaps.waking("cnn", "none", images)
    heatmaps.check_equal(network, images[:2])
    lines = heatmaps.beside_prediction("cnn", network, images, 1)
    assert len(lines) == 1 + 8 + 3
    monkeypatch.setattr(heatmaps, "maps_of_torchcam", lambda network, images: torch.rand(len(images), 4, 4))
    with pytest.raises(AssertionError):
        heatmaps.check_equal(network, images[:2])


def test_ratio_is_taken_within_repetitions_and_the_first_does_not_count(heatmaps):
    assert heatmaps.ratio([2.0, 9.0, 40.0], [1.0, 3.0, 10.0]) == 3.0
    calls = []
    seconds = heatmaps.timed({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 3)
    assert (len(calls), len(seconds["a"]), len(seconds["b"])) == (8, 3, 3)


def test_verdict_says_whether_a_target_was_met(heatmaps):
    assert "at most 1.05: met" in heatmaps.verdict("cost", 1.05, limit=1.05, at_most=True)
    assert "at least 2: MISSED" in heatmaps.verdict("gain", 1.9, limit=2.0, at_most=False)


def test_as_many_maps_are_placed_as_asked_for(heatmaps, monkeypatch):
    shapes = []
    monkeypatch.setattr(heatmaps, "place", lambda heatmap, **given: shapes.append((heatmap.shape, given["shape"])))
    assert heatmaps.seconds_to_place(3, shape=(40, 30)) >= 0
    assert shapes == [((7, 7), (40, 30))] * 3
    assert np.isfinite(heatmaps.seconds_to_place(1))
