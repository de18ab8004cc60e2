import numpy as np
import pytest

from tumorscope.data.preprocess import Preprocessing
from tumorscope.data.windowing import WINDOWING, LookUp, Window, stretch
from tumorscope.errors import DecodeError, RecipeError


def test_a_linear_window_follows_the_worked_example_of_the_standard():
    # C.11.2.1.2.1, centre 2048, width 4096: 0 is black, 4095 is white, and steps are equal.
    shown = Window(2048, 4096).shown(np.array([-5, 0, 4095, 9000]))
    np.testing.assert_allclose(shown, [0, 0, 255, 255])
    # Centre 0, width 100: black at or below -50, white above 49.
    np.testing.assert_allclose(Window(0, 100).shown(np.array([-50, 49, -0.5])), [0, 255, 127.5])


def test_a_linear_window_of_width_one_is_a_threshold():
    assert Window(10, 1).shown(np.array([9, 9.5, 10])).tolist() == [0, 0, 255]


def test_an_exact_window_reaches_half_its_width_to_both_sides():
    shown = Window(100, 50, "LINEAR_EXACT").shown(np.array([74, 75, 100, 125, 126]))
    np.testing.assert_allclose(shown, [0, 0, 127.5, 255, 255])


def test_a_sigmoid_is_grey_at_its_centre_and_never_overflows():
    shown = Window(100, 4, "SIGMOID").shown(np.array([-1e30, 99, 100, 101, 1e30]))
    np.testing.assert_allclose(shown, [0, 255 / (1 + np.e), 127.5, 255 / (1 + 1 / np.e), 255], atol=1e-9)


def test_windows_that_mean_nothing_are_refused():
    for center, width, function in (
        (0, 0, "LINEAR"),
        (0, 0.5, "LINEAR"),
        (0, -4, "SIGMOID"),
        (np.nan, 5, "LINEAR"),
        (0, 5, "CUBIC"),
    ):
        with pytest.raises(DecodeError) as caught:
            Window(center, width, function)
        assert caught.value.fault == "window"
    assert Window(0, 0.5, "LINEAR_EXACT").width == 0.5


def test_a_look_up_table_is_scaled_by_its_bits_and_holds_its_ends():
    table = LookUp(-1, np.array([0, 2048, 4095]), 12)
    np.testing.assert_allclose(table.shown(np.array([-9, -1, 0, 0.9, 1, 50])), [0, 0, 127.53, 127.53, 255, 255], atol=0.01)
    for entries, bits in ((np.array([]), 12), (np.array([1]), 7), (np.array([1]), 17)):
        with pytest.raises(DecodeError):
            LookUp(0, entries, bits)


def test_percentiles_are_black_and_white_and_eight_bits_stay():
    pixels = np.arange(201, dtype=np.int16) - 100
    eight_bit = stretch(pixels[None], low_percentile=0.5, high_percentile=99.5)[0]
    assert (eight_bit[1], eight_bit[100], eight_bit[199]) == (0, 128, 255)
    assert stretch(pixels.astype(np.uint8), low_percentile=40, high_percentile=60) is not None
    np.testing.assert_array_equal(stretch(np.uint8([[3, 200]]), low_percentile=40, high_percentile=60), [[3, 200]])
    assert not stretch(np.full((3, 3), 700, dtype=np.uint16), low_percentile=0.5, high_percentile=99.5).any()


def test_a_bundle_carries_the_name_of_the_rule_and_old_ones_mean_the_same():
    content = Preprocessing().to_json()
    assert content["windowing"] == WINDOWING
    old = {key: value for key, value in content.items() if key != "windowing"}
    assert Preprocessing.from_json(old) == Preprocessing()
    with pytest.raises(RecipeError, match="unheard-of-2"):
        Preprocessing.from_json(content | {"windowing": "unheard-of-2"})
