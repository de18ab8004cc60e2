from itertools import pairwise

import numpy as np
import pytest

from tumorscope.data.audit.carrying import ALIGNED
from tumorscope.data.audit.frames import TRANSFORMS, transformed
from tumorscope.data.audit.registration import register

CORNERS = np.array([(60.0, 40.0), (160.0, 45.0), (150.0, 180.0), (70.0, 170.0)])


@pytest.mark.parametrize("transform", range(len(TRANSFORMS)))
def test_a_point_goes_where_its_pixel_went(draw_slice, transform):
    picture = draw_slice(3)[:200]
    marked = np.zeros(picture.shape, dtype=np.uint8)
    marked[120, 70] = 1
    found = register(picture, np.ascontiguousarray(transformed(picture, transform)), transform)
    row, column = np.argwhere(transformed(marked, transform))[0]
    np.testing.assert_allclose(found.moved(np.array([[70.0, 120.0]])), [[column, row]], atol=0.1)
    assert found.correlation > 0.999


@pytest.mark.parametrize("change", [{"quality": 50}, {"scale": 0.4}, {"gamma": 0.7}, {"gamma": 1.4}, {"margin": 12}], ids=str)
def test_points_follow_what_people_do_to_pictures_to_less_than_half_a_pixel(draw_slice, edited, change):
    picture = draw_slice(5)
    found = register(picture, edited(picture, **change), 0)
    cut = picture.shape[0] - 2 * change.get("margin", 0)
    scale = round(cut * change.get("scale", 1.0)) / cut
    expected = (CORNERS - change.get("margin", 0) + 0.5) * scale - 0.5
    np.testing.assert_allclose(found.moved(CORNERS), expected, atol=0.5)
    assert found.correlation > ALIGNED


def test_a_picture_cut_into_the_head_is_found_in_the_whole_one(draw_slice):
    picture = draw_slice(7)
    found = register(picture, picture[36:, 50:], 0)
    np.testing.assert_allclose(found.moved(CORNERS), CORNERS - (50, 36), atol=0.3)
    assert found.correlation > ALIGNED


def test_other_slices_and_mirrored_ones_correlate_less_than_what_is_needed(slices):
    others = [register(one, two, 0).correlation for one, two in pairwise(slices)]
    mirrored = [register(one, one, transform).correlation for one in slices[:3] for transform in range(4, len(TRANSFORMS))]
    assert max(others + mirrored) < ALIGNED - 0.1


@pytest.mark.parametrize("value", [0, 255])
def test_pictures_without_detail_correlate_with_nothing(slices, value):
    flat = np.full((60, 80), value, dtype=np.uint8)
    assert register(flat, flat, 0).correlation == 0.0
    assert register(slices[0], flat, 0).correlation == 0.0
    assert register(flat, slices[0], 3).correlation == 0.0
