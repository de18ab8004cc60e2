import numpy as np
import pytest
from safetensors.numpy import load, save

from tumorscope.data.first_look import first_look
from tumorscope.data.input_gate import BLANK_REASON, COLOUR_REASON
from tumorscope.data.look_numbers import LOOK_NAMES, look_numbers
from tumorscope.errors import BundleError
from tumorscope.models.acceptance import Acceptance
from tumorscope.models.familiarity import ENERGY, MAHALANOBIS, Familiarity

LOGITS = np.zeros((1, 4), dtype=np.float32)


def distance_to(point, threshold):
    """The squared distance to a point is at most minus the threshold."""
    size = len(point)
    arrays = {"means": np.array([point]), "basis": np.eye(size), "variances": np.ones(size), "rest": np.ones(1)}
    return Familiarity(MAHALANOBIS, {name: value.astype(np.float32) for name, value in arrays.items()}, threshold)


@pytest.fixture
def head():
    """A textured ellipse on black."""
    y, x = np.mgrid[-1.2:1.2:128j, -1.2:1.2:128j]
    tissue = np.random.default_rng(0).normal(120, 25, (128, 128))
    return np.where(y**2 + x**2 < 1, tissue, 2).clip(0, 255).astype(np.uint8)


@pytest.fixture
def acceptance(head):
    return Acceptance(looks=distance_to(look_numbers(head), -0.5), features=distance_to([1.0, 0.0], -4.0))


def test_strangeness_is_the_larger_of_two_distances_in_units_of_what_is_kept(acceptance, head):
    looks, features = look_numbers(head)[None], np.array([[1, 1]], dtype=np.float32)
    assert acceptance.strangeness(looks, features, LOGITS) == pytest.approx(1 / 4)
    moved = looks.copy()
    moved[0, 0] += 1
    assert acceptance.strangeness(moved, features, LOGITS) == pytest.approx(1 / 0.5)


def test_every_refusal_names_the_first_criterion_that_failed(acceptance, head):
    near, far = np.array([[1, 1]], dtype=np.float32), np.array([[9, 9]], dtype=np.float32)
    dim = (head // 3).astype(np.uint8)

    def reason(scan, features, **more):
        return acceptance.judged([first_look(scan, **more)], features, LOGITS)[1][0]

    assert reason(head, near) == ""
    assert reason(np.zeros_like(head), far) == BLANK_REASON
    assert reason(head, near, colour_share=0.5) == COLOUR_REASON
    assert "grey levels" in reason(dim, near)
    assert "familiarity -145" in reason(head, far)


def test_what_is_stored_reads_back_the_same(acceptance):
    tensors, content = acceptance.to_tensors()
    loaded = Acceptance.from_tensors(load(save(tensors | {"head.weight": np.zeros(2, dtype=np.float32)})), content)
    looks = np.random.default_rng(1).random((3, len(LOOK_NAMES)), dtype=np.float32)
    features = np.random.default_rng(2).random((3, 2), dtype=np.float32)
    given = looks, features, LOGITS.repeat(3, 0)
    np.testing.assert_array_equal(loaded.strangeness(*given), acceptance.strangeness(*given))
    assert loaded.stored_bytes == acceptance.stored_bytes
    with pytest.raises(BundleError, match="without a usable 'method'"):
        Acceptance.from_tensors(tensors, {"looks": content["looks"]})


def test_scores_that_are_no_distances_are_refused(acceptance):
    with pytest.raises(BundleError, match="energy"):
        Acceptance(looks=acceptance.looks, features=Familiarity(ENERGY, {}, -1.0))
    with pytest.raises(BundleError, match="threshold 0"):
        Acceptance(looks=distance_to([0.0, 1.0], 0.0), features=acceptance.features)
