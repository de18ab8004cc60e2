import numpy as np
import pytest

from tumorscope.data.decode import draw_outlines
from tumorscope.data.outlines import clip_outline, trace_outlines, write_outlines

SQUARE = np.array([(2.0, 2.0), (7.0, 2.0), (7.0, 7.0), (2.0, 7.0)])


def area(points):
    x, y = points.T
    return abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


def test_a_traced_mask_drawn_again_is_the_mask():
    rows, columns = np.ogrid[:120, :90]
    mask = ((rows - 40) / 20) ** 2 + ((columns - 60) / 11) ** 2 < 1
    mask |= ((rows - 90) / 6) ** 2 + ((columns - 15) / 9) ** 2 < 1
    outlines = trace_outlines(mask)
    assert len(outlines) == 2
    drawn = draw_outlines(write_outlines(outlines), mask.shape, where="traced")
    assert (drawn ^ mask).sum() <= 0.02 * mask.sum()


@pytest.mark.parametrize("place", [(0, 0), (0, 11), (8, 0), (8, 11), (4, 5)], ids=str)
def test_a_single_pixel_is_traced_wherever_it_lies(place):
    mask = np.zeros((9, 12), dtype=bool)
    mask[place] = True
    np.testing.assert_array_equal(draw_outlines(write_outlines(trace_outlines(mask)), mask.shape, where="pixel"), mask)


def test_holes_are_filled():
    mask = np.zeros((20, 20), dtype=bool)
    mask[4:16, 4:16] = True
    whole = mask.copy()
    mask[8:12, 8:12] = False
    np.testing.assert_array_equal(draw_outlines(write_outlines(trace_outlines(mask)), mask.shape, where="ring"), whole)


def test_nothing_is_traced_around_nothing():
    assert trace_outlines(np.zeros((5, 5), dtype=bool)) == []


def test_an_outline_inside_is_left_as_it_is():
    np.testing.assert_array_equal(clip_outline(SQUARE, (20, 20)), SQUARE)


def test_what_sticks_out_is_cut_off_at_the_outer_edge_of_the_last_pixel():
    clipped = clip_outline(SQUARE + np.array((3, 0)), (20, 8))
    assert clipped[:, 0].max() == 7.5
    assert area(clipped) == pytest.approx(2.5 * 5)


def test_a_corner_is_cut_on_both_sides():
    assert area(clip_outline(SQUARE - (4, 5), (20, 20))) == pytest.approx(3.5 * 2.5)


def test_an_outline_that_leaves_twice_keeps_the_area_of_both_parts():
    fork = np.array([(2.0, 2), (12, 2), (12, 4), (4, 4), (4, 6), (12, 6), (12, 8), (2, 8)])
    clipped = clip_outline(fork, (20, 10))
    assert area(clipped) == pytest.approx(7.5 * 6 - 5.5 * 2)


@pytest.mark.parametrize("move", [(-9, 0), (30, 0), (0, -9), (0, 30)], ids=str)
def test_nothing_is_left_of_an_outline_outside(move):
    assert len(clip_outline(SQUARE + move, (20, 20))) == 0


def test_outlines_are_written_as_a_manifest_has_them():
    assert write_outlines([SQUARE[:3] - (2.04, 0), SQUARE[1:]]) == "0.0,2.0 5.0,2.0 5.0,7.0 | 7.0,2.0 7.0,7.0 2.0,7.0"
