import numpy as np
import pytest

from tumorscope.explanation.attention import peak_of
from tumorscope.explanation.baselines import BASELINES, baseline_map


@pytest.fixture
def picture():
    """A dim disc with a bright spot near its upper left."""
    rows, columns = np.mgrid[:112, :112]
    grid = np.where((rows - 56) ** 2 + (columns - 56) ** 2 < 45**2, 80, 0)
    grid[30:42, 25:37] = 250
    return grid.astype(np.uint8)


@pytest.mark.parametrize("name", BASELINES)
def test_every_baseline_is_a_map_of_the_pictures_size(name, picture):
    found = baseline_map(name, picture)
    assert found.shape == picture.shape
    assert found.dtype == np.float32
    assert found.min() >= 0


def test_the_spot_in_the_middle_never_saw_the_picture(picture):
    np.testing.assert_array_equal(baseline_map("centred_gaussian", picture), baseline_map("centred_gaussian", picture[::-1]))
    row, column = peak_of(baseline_map("centred_gaussian", picture))
    assert row in (55, 56)
    assert column in (55, 56)


def test_the_brightest_region_is_found_and_edges_are_where_it_ends(picture):
    row, column = peak_of(baseline_map("brightest_region", picture))
    assert abs(row - 35.5) <= 2
    assert abs(column - 30.5) <= 2
    edges = baseline_map("edges", picture)
    assert edges[36, 25] > edges[56, 56]
