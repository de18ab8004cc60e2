import numpy as np
import pytest

from tumorscope.explanation.attention import (
    FEATURES,
    attention_features,
    centre_distance,
    compare_groups,
    concentration,
    energy_inside,
    entropy,
    peak_of,
)


def test_energy_inside_is_the_share_of_the_map_in_the_mask():
    heatmap = np.array([[1.0, 2.0], [3.0, 4.0]])
    assert energy_inside(heatmap, np.array([[False, False], [True, True]])) == pytest.approx(0.7)


def test_random_map_has_as_much_energy_inside_as_the_mask_covers():
    rng = np.random.default_rng(0)
    mask = np.zeros((200, 200), dtype=bool)
    mask[:50, :80] = True
    assert energy_inside(rng.random((200, 200)), mask) == pytest.approx(mask.mean(), abs=0.005)


def test_peak_is_the_first_of_equals_and_a_flat_map_has_none():
    heatmap = np.zeros((3, 3))
    heatmap[1, 2] = heatmap[2, 0] = 1
    assert peak_of(heatmap) == (1, 2)
    assert peak_of(np.full((3, 3), 0.5)) is None


def test_entropy_runs_from_a_single_pixel_to_a_flat_map():
    single = np.zeros((4, 4))
    single[0, 0] = 3.0
    half = np.zeros((4, 4))
    half[:1] = 1.0  # 4 of 16 pixels: entropy log 4, half of log 16
    assert entropy(np.ones((4, 4))) == pytest.approx(1.0)
    assert entropy(single) == 0
    assert entropy(half) == pytest.approx(0.5)


def test_concentration_is_the_gini_index():
    half = np.zeros((2, 5))
    half[0] = 1.0
    assert concentration(np.ones((4, 4))) == pytest.approx(0)
    assert concentration(half) == pytest.approx(0.5)  # half the pixels share everything evenly
    single = np.zeros((10, 10))
    single[3, 3] = 2.0
    assert concentration(single) == pytest.approx(0.99)


def test_centre_distance_is_zero_in_the_middle_and_one_in_a_corner():
    middle, corner = np.zeros((5, 5)), np.zeros((5, 5))
    middle[2, 2] = corner[0, 4] = 1.0
    assert centre_distance(middle) == pytest.approx(0.0)
    assert centre_distance(corner) == pytest.approx(1.0)


def test_empty_map_gives_no_number():
    empty = np.zeros((4, 4))
    assert energy_inside(empty, np.ones((4, 4), dtype=bool)) is None
    assert attention_features(empty) == {"concentration": None, "entropy": None, "centre_distance": None, "strength": 0.0}
    assert tuple(attention_features(np.ones((4, 4)))) == FEATURES


def test_groups_are_compared_over_the_images_that_have_the_measure():
    rows = [
        {"energy_inside": 1.0, "mask_share": 0.1, "entropy": 0.2},
        {"energy_inside": None, "mask_share": None, "entropy": 0.4},
        {"energy_inside": 0.25, "mask_share": 0.1, "entropy": 0.5},
    ]
    result = compare_groups(rows, np.array([True, True, False]))
    assert result["correct"]["n"] == 2
    assert result["correct"]["with_mask"] == 1
    assert result["correct"]["energy_inside"] == 1.0
    assert result["correct"]["entropy"] == pytest.approx(0.3)
    assert result["incorrect"]["energy_inside"] == 0.25
    assert compare_groups([], np.array([], dtype=bool))["correct"]["concentration"] is None
