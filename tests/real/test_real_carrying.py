"""Outlines carried over to twins planted in a set whose outlines are known."""

from pathlib import Path

import numpy as np
import pytest

from tumorscope.data.audit.carrying import ALIGNED, CARRIED

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

SOURCE = Path(__file__).parents[3] / "shared" / "data" / "blocked.csv"


@pytest.fixture(scope="module")
def carrying(load_benchmark):
    return load_benchmark("carrying")


@pytest.fixture(scope="module")
def sample(carrying):
    return carrying.sampled(SOURCE, 150)


@pytest.mark.parametrize("cut", [0.0, 0.4])
def test_carried_outlines_are_the_true_ones_to_a_fraction_of_a_pixel(carrying, sample, cut):
    measured = carrying.measure(sample, cut=cut)
    ious = [one.iou for one in measured if one.iou is not None]
    found = [one for one in measured if one.carried is not None]
    assert len(found) >= (0.97 if cut == 0 else 0.75) * len(measured)
    assert all(one.carried.outcome == CARRIED for one in found)
    assert np.median(ious) > 0.98
    assert np.quantile(ious, 0.05) > 0.95


def test_neither_a_neighbouring_slice_nor_a_mirrored_one_correlates_enough(carrying, sample):
    following, mirrored = carrying.correlations_of_wrong_pairs(sample)
    assert max(following + mirrored) < ALIGNED
