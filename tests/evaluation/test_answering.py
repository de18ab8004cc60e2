import numpy as np
import pytest
import torch

from tumorscope.data.preprocess import Preprocessing
from tumorscope.errors import EvaluationError
from tumorscope.evaluation.answering import answer_grids, linear_head
from tumorscope.models.bundle import Bundle
from tumorscope.models.network import build


def bundle_of(name):
    torch.manual_seed(0)
    network = build(name).eval()
    return Bundle(network, Preprocessing(image_size=64), {}, {}, "d", "s", frozenset(), "2026-01-01T00:00:00+00:00")


@pytest.mark.parametrize(("name", "channels"), [("mobilenet_v2", 1280), ("cnn", 256)])
def test_answers_are_those_of_the_network(name, channels):
    bundle = bundle_of(name)
    grids = np.random.default_rng(0).integers(0, 256, (6, 64, 64), dtype=np.uint8)
    done = []
    answered = answer_grids(bundle, grids, split="test", label_index=np.arange(6) % 4, progress=lambda *at: done.append(at))
    with torch.inference_mode():
        expected = bundle.network.answer(torch.from_numpy(bundle.preprocessing.normalise(grids)))
    assert answered.features.shape == (6, channels)
    np.testing.assert_allclose(answered.features, expected.features.numpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(answered.logits, expected.logits.numpy(), rtol=1e-4, atol=1e-5)
    assert answered.label_index.tolist() == [0, 1, 2, 3, 0, 1]
    assert done[-1] == (6, 6)


def test_labels_that_nobody_knows_are_so_marked_and_no_images_are_refused():
    bundle = bundle_of("cnn")
    assert answer_grids(bundle, np.zeros((1, 64, 64), dtype=np.uint8), split="x").label_index.tolist() == [-1]
    with pytest.raises(EvaluationError, match="no images"):
        answer_grids(bundle, np.zeros((0, 64, 64), dtype=np.uint8), split="x")


def test_only_a_head_of_one_linear_layer_is_linear():
    head = linear_head(bundle_of("mobilenet_v2"))
    assert head is not None
    assert [part.shape for part in head] == [(4, 1280), (4,)]
    assert linear_head(bundle_of("cnn")) is None
