import numpy as np
import pytest

from tumorscope.explanation.attention import centre_distance, compare_groups, concentration, energy_inside, measure, peak_inside


def test_energy_inside_is_the_share_of_the_map_in_the_mask():
    heatmap = np.array([[1.0, 2.0], [3.0, 4.0]])
    assert energy_inside(heatmap, np.array([[False, False], [True, True]])) == pytest.approx(0.7)


def test_random_map_has_as_much_energy_inside_as_the_mask_covers():
    rng = np.random.default_rng(0)
    mask = np.zeros((200, 200), dtype=bool)
    mask[:50, :80] = True
    assert energy_inside(rng.random((200, 200)), mask) == pytest.approx(mask.mean(), abs=0.005)


def test_peak_inside_asks_only_where_the_highest_pixel_lies():
    heatmap = np.zeros((3, 3))
    heatmap[1, 2] = 1
    mask = np.zeros((3, 3), dtype=bool)
    assert peak_inside(heatmap, mask) == 0.0
    mask[1, 2] = True
    assert peak_inside(heatmap, mask) == 1.0


def test_concentration_runs_from_a_flat_map_to_a_single_pixel():
    single = np.zeros((4, 4))
    single[0, 0] = 3.0
    half = np.zeros((4, 4))
    half[:1] = 1.0  # 4 of 16 pixels: entropy log 4, half of log 16
    assert concentration(np.ones((4, 4))) == pytest.approx(0.0)
    assert concentration(single) == pytest.approx(1.0)
    assert concentration(half) == pytest.approx(0.5)


def test_centre_distance_is_zero_in_the_middle_and_one_in_a_corner():
    middle, corner = np.zeros((5, 5)), np.zeros((5, 5))
    middle[2, 2] = corner[0, 4] = 1.0
    assert centre_distance(middle) == pytest.approx(0.0)
    assert centre_distance(corner) == pytest.approx(1.0)


def test_empty_map_and_missing_or_empty_mask_give_no_number():
    empty = np.zeros((4, 4))
    mask = np.ones((4, 4), dtype=bool)
    assert energy_inside(empty, mask) is None
    assert peak_inside(empty, mask) is None
    assert concentration(empty) is None
    assert centre_distance(empty) is None
    assert measure(np.ones((4, 4)), None)["energy_inside"] is None
    assert measure(np.ones((4, 4)), np.zeros((4, 4), dtype=bool))["mask_share"] is None


def test_groups_are_compared_over_the_images_that_have_the_measure():
    blob = np.zeros((4, 4))
    blob[0, 0] = 1.0
    mask = np.zeros((4, 4), dtype=bool)
    mask[0, 0] = True
    result = compare_groups(
        [measure(blob, mask), measure(blob, None), measure(np.ones((4, 4)), mask)], np.array([True, True, False])
    )
    assert result["correct"]["n"] == 2
    assert result["correct"]["with_mask"] == 1
    assert result["correct"]["energy_inside"] == 1.0
    assert result["incorrect"]["energy_inside"] == pytest.approx(1 / 16)
    assert compare_groups([], np.array([], dtype=bool))["correct"]["concentration"] is None
