"""How often the plane told from pixels is wrong, on real slices whose planes were seen by eye (`planes.csv`)."""

import time
from pathlib import Path

import numpy as np
import pytest

from tumorscope.data.plane import PLANES, decide, guess_planes, shipped_rule

pytestmark = pytest.mark.real

PROJECT = Path(__file__).resolve().parents[2]
DATA = PROJECT / "../shared/data"


@pytest.fixture(scope="module")
def plane_rule(load_benchmark):
    return load_benchmark("plane_rule")


@pytest.fixture(scope="module")
def slices(plane_rule):
    return plane_rule.read_labelled(DATA)


@pytest.fixture(scope="module")
def held_out(plane_rule, slices):
    return plane_rule.held_out_scores(slices)


def answered_and_wrong(planes: np.ndarray, guesses: list[str | None]) -> tuple[float, float]:
    """Share of the slices that get an answer, and share of the answers that are wrong."""
    answers = [(PLANES[plane], guess) for plane, guess in zip(planes, guesses, strict=True) if guess is not None]
    return len(answers) / len(planes), sum(plane != guess for plane, guess in answers) / len(answers)


def test_slices_of_held_out_blocks_are_told_apart(slices, held_out):
    own = slices.sources == "cheng"
    answered, wrong = answered_and_wrong(slices.planes[own], decide(held_out[1][0][own]))
    assert own.sum() >= 400
    assert answered >= 0.95
    assert wrong <= 0.02


def test_the_shipped_rule_holds_on_sources_it_was_not_fitted_on(slices):
    other = slices.part(np.isin(slices.sources, ["nickparvar", "br35h-yes-probe"]))
    answered, wrong = answered_and_wrong(other.planes, list(guess_planes(other.pictures)))
    assert len(other.planes) >= 200
    assert answered >= 0.9
    assert wrong <= 0.02


def test_quarter_turns_are_mostly_left_open(slices, held_out):
    for quarters in (1, 3):
        answered, _ = answered_and_wrong(slices.planes, decide(held_out[1][quarters]))
        assert answered <= 0.1


def test_the_shipped_rule_is_the_one_that_the_labels_give(held_out):
    np.testing.assert_allclose(shipped_rule().weights, held_out[0].weights, atol=2e-3)


def test_five_thousand_slices_take_less_than_20_seconds(slices):
    started = time.process_time()
    guess_planes(slices.pictures)
    assert (time.process_time() - started) / len(slices.pictures) * 5000 < 20
