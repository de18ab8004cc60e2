import numpy as np
import pytest

from tumorscope.explanation.localisation import (
    LOCALISATION,
    choose_threshold,
    localise,
    overlap,
    peak_distance,
    pixel_average_precision,
    pointing_game,
)


def square(row: int, column: int, side: int, *, size: int = 32) -> np.ndarray:
    mask = np.zeros((size, size), dtype=bool)
    mask[row : row + side, column : column + side] = True
    return mask


def test_peak_distance_is_zero_inside_and_counts_to_the_nearest_tumour_pixel_outside():
    mask = square(10, 10, 4)
    assert peak_distance((11, 12), mask) == 0
    assert peak_distance((7, 9), mask) == pytest.approx(np.hypot(3, 1))
    assert peak_distance((13.4, 10), mask) == 0  # the pixel that it falls into
    assert peak_distance((13.6, 10), mask) == 1
    assert peak_distance((-3, 10), square(0, 10, 2)) == 0
    assert peak_distance((5, 5), np.zeros((8, 8), dtype=bool)) is None


def test_millimetres_of_oblong_pixels_choose_the_tumour_that_is_nearest_in_millimetres():
    mask = square(0, 10, 1) | square(6, 0, 1)
    assert peak_distance((0, 0), mask) == 6
    assert peak_distance((0, 0), mask, pixel_size=(2.0, 0.5)) == 5


def test_of_two_tumours_the_nearer_counts():
    mask = square(2, 2, 3) | square(25, 25, 3)
    assert peak_distance((25, 22), mask) == 3
    assert pointing_game((3, 3), mask) == 1
    assert pointing_game((26, 26), mask) == 1


def test_pointing_game_forgives_as_many_pixels_as_it_is_told():
    mask = square(10, 10, 4)
    assert pointing_game((7, 10), mask) == 0
    assert pointing_game((7, 10), mask, tolerance_px=3) == 1
    assert pointing_game((7, 10), mask, tolerance_px=2.9) == 0


def test_a_map_without_a_peak_misses_and_counts():
    mask = square(10, 10, 4)
    found = localise(np.zeros((32, 32)), mask, peak=None, threshold=0.5)
    assert (found["pointing_game"], found["pointing_game_15px"], found["dice"], found["energy_inside"]) == (0, 0, 0, 0)
    assert found["peak_distance_px"] is None
    assert found["pixel_average_precision"] == pytest.approx(mask.mean())


def test_overlap_is_the_one_worked_by_hand():
    heatmap = np.array([[1.0, 0.6], [0.4, 0.0]])
    mask = np.array([[True, False], [True, False]])
    assert overlap(heatmap, mask, threshold=0.5) == (pytest.approx(2 * 1 / (2 + 2)), pytest.approx(1 / 3))
    assert overlap(heatmap, mask, threshold=0.3) == (pytest.approx(2 * 2 / (3 + 2)), pytest.approx(2 / 3))
    assert overlap(np.zeros((2, 2)), mask, threshold=0.5) == (0, 0)


def test_a_map_that_never_saw_the_image_scores_about_the_share_of_the_mask():
    mask = square(0, 0, 60, size=120)
    found = pixel_average_precision(np.random.default_rng(0).random((120, 120)), mask)
    assert found == pytest.approx(mask.mean(), abs=0.02)
    assert pixel_average_precision(mask.astype(float), mask) == 1
    assert pixel_average_precision(mask.astype(float), np.zeros_like(mask)) is None


def test_threshold_is_the_one_at_which_maps_are_as_large_as_their_tumours():
    rows, columns = np.mgrid[:64, :64]
    heatmap = np.exp(-((rows - 32) ** 2 + (columns - 32) ** 2) / 200)
    assert choose_threshold([heatmap] * 3, [heatmap >= 0.7] * 3) == pytest.approx(0.7)
    assert choose_threshold([], []) is None


def test_tolerance_grows_with_the_image():
    def lenient(column, size):
        mask = square(0, 0, 2, size=size)
        return localise(np.ones(mask.shape), mask, peak=(0, column), threshold=None)["pointing_game_15px"]

    assert [lenient(8, 112), lenient(10, 112), lenient(30, 448), lenient(33, 448)] == [1, 0, 1, 0]


def test_millimetres_are_given_where_the_size_of_a_pixel_is_known():
    heatmap = np.ones((32, 32))
    found = localise(heatmap, square(0, 0, 3), peak=(0, 12), threshold=0.5, pixel_mm=(0.5, 0.5))
    assert tuple(found) == LOCALISATION
    assert found["peak_distance_px"] == 10
    assert found["peak_distance_mm"] == 5
    assert localise(heatmap, square(0, 0, 3), peak=(0, 12), threshold=None)["peak_distance_mm"] is None
