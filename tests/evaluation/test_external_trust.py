import numpy as np
import pytest

from tumorscope.evaluation.external import ExternalAnswers
from tumorscope.evaluation.external_trust import external_trust, trust_numbers
from tumorscope.predictions import Decisions


def answers() -> ExternalAnswers:
    labels = ("glioma", "tumour", "notumor", "notumor")
    return ExternalAnswers(("a", "b", "c", "d"), labels, ("x", "y", "x", "x"), ("", "", "", ""), np.full((4, 4), 0.25))


def decisions(recommended, refused, sets) -> Decisions:
    probabilities = np.full((4, 4), 0.1)
    probabilities[np.arange(4), recommended] = 0.7
    return Decisions(probabilities, np.array(sets, dtype=bool), np.array(recommended), np.zeros(4), np.array(refused, dtype=bool))


SETS = [[1, 0, 0, 0], [0, 0, 1, 1], [0, 0, 1, 0], [1, 0, 0, 0]]


def test_each_number_of_one_model_by_hand():
    found = trust_numbers(answers(), decisions([0, 2, 2, 0], [0, 1, 0, 0], SETS))
    assert found["n"] == 4
    assert found["sensitivity"] == 0.5
    assert found["specificity"] == 0.5
    assert found["coverage"] == 0.75  # the tumour of unstated type counts as held: its set names a tumour
    assert found["set_size"] == 1.25
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["refused"] == 0.25
    assert found["wrong_refused"] == 0.5
    assert found["sensitivity_kept"] == 1.0
    assert found["accuracy_kept"] == pytest.approx(2 / 3)


def test_several_models_are_averaged_and_sources_and_halves_stand_apart():
    first, second = decisions([0, 2, 2, 0], [0, 1, 0, 0], SETS), decisions([0, 3, 2, 2], [0, 0, 0, 0], SETS)
    found = external_trust(answers(), [first, second])
    assert found["models"] == 2
    assert found["sensitivity"] == 0.75
    assert found["sources"]["y"]["sensitivity"] == 0.5
    assert found["sources"]["y"]["specificity"] is None
    assert found["sources"]["y"]["ece"] is None
    assert sum(half["n"] for half in found["halves"].values() if half) == 4
