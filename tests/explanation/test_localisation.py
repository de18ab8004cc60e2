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


def spot(row: int, column: int, *, size: int = 32) -> np.ndarray:
    heatmap = np.zeros((size, size), dtype=np.float32)
    heatmap[row, column] = 1.0
    return heatmap


def square(row: int, column: int, side: int, *, size: int = 32) -> np.ndarray:
    mask = np.zeros((size, size), dtype=bool)
    mask[row : row + side, column : column + side] = True
    return mask


def test_peak_distance_is_zero_inside_and_counts_to_the_nearest_tumour_pixel_outside():
    mask = square(10, 10, 4)
    assert peak_distance(spot(11, 12), mask) == 0
    assert peak_distance(spot(7, 9), mask) == pytest.approx(np.hypot(3, 1))


def test_of_two_tumours_the_nearer_counts():
    mask = square(2, 2, 3) | square(25, 25, 3)
    assert peak_distance(spot(25, 22), mask) == 3
    assert pointing_game(spot(3, 3), mask) == 1
    assert pointing_game(spot(26, 26), mask) == 1


def test_pointing_game_forgives_as_many_pixels_as_it_is_told():
    mask = square(10, 10, 4)
    assert pointing_game(spot(7, 10), mask) == 0
    assert pointing_game(spot(7, 10), mask, tolerance_px=3) == 1
    assert pointing_game(spot(7, 10), mask, tolerance_px=2.9) == 0
    assert pointing_game(np.ones((32, 32)), mask) is None


def test_overlap_is_the_one_worked_by_hand():
    heatmap = np.array([[1.0, 0.6], [0.4, 0.0]])
    mask = np.array([[True, False], [True, False]])
    assert overlap(heatmap, mask, threshold=0.5) == (pytest.approx(2 * 1 / (2 + 2)), pytest.approx(1 / 3))
    assert overlap(heatmap, mask, threshold=0.3) == (pytest.approx(2 * 2 / (3 + 2)), pytest.approx(2 / 3))
    assert overlap(np.zeros((2, 2)), mask, threshold=0.5) is None


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
    assert choose_threshold([np.zeros((4, 4))], [np.ones((4, 4), dtype=bool)]) is None
    assert choose_threshold([], []) is None


def test_tolerance_grows_with_the_image():
    small, large = square(0, 0, 2, size=112), square(0, 0, 2, size=448)
    assert localise(spot(0, 8, size=112), small, threshold=None)["pointing_game_15px"] == 1
    assert localise(spot(0, 10, size=112), small, threshold=None)["pointing_game_15px"] == 0
    assert localise(spot(0, 30, size=448), large, threshold=None)["pointing_game_15px"] == 1


def test_millimetres_are_given_where_the_size_of_a_pixel_is_known():
    found = localise(spot(0, 12), square(0, 0, 3), threshold=0.5, mm_per_px=0.5)
    assert tuple(found) == LOCALISATION
    assert found["peak_distance_px"] == 10
    assert found["peak_distance_mm"] == 5
    assert localise(spot(0, 12), square(0, 0, 3), threshold=None)["peak_distance_mm"] is None
