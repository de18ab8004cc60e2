import numpy as np
import pytest

from tumorscope.data.input_gate import BLANK_REASON, COLOUR_REASON, INVERTED_REASON, NO_HEAD_REASON, UNIFORM_REASON, gate_reason
from tumorscope.data.phantom import phantom_patient
from tumorscope.data.unfamiliar import unfamiliar_sets
from tumorscope.labels import LABELS


@pytest.fixture(scope="module")
def heads():
    return [phantom_patient(label, seed=0, number=number, slices=1)[0].pixels for label in LABELS for number in range(3)]


def test_heads_of_every_label_and_plane_pass(heads):
    assert [gate_reason(head) for head in heads] == [""] * len(heads)


def test_an_inverted_head_is_told_to_be_one(heads):
    assert {gate_reason(255 - head) for head in heads} == {INVERTED_REASON}


def test_blank_and_nearly_blank_pictures_are_named():
    assert gate_reason(np.full((90, 80), 200, dtype=np.uint8)) == BLANK_REASON
    spot = np.zeros((90, 80), dtype=np.uint8)
    spot[40:44, 40:44] = 255
    assert gate_reason(spot) == UNIFORM_REASON
    assert gate_reason(255 - spot) == UNIFORM_REASON


def test_a_picture_in_colour_is_refused_and_one_with_a_coloured_mark_is_not(heads):
    assert gate_reason(heads[0], colour_share=0.6) == COLOUR_REASON
    assert gate_reason(heads[0], colour_share=0.001) == ""


@pytest.mark.parametrize("name", ["noise", "smooth noise", "gradients", "text", "digits"])
def test_pictures_without_a_head_are_refused(name):
    (found,) = unfamiliar_sets([], seed=0, count=10, names=[name])
    assert {gate_reason(image) for image in found.images} == {NO_HEAD_REASON}
