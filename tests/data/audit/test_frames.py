import numpy as np
import pytest

from tumorscope.data.audit.frames import FRAME_SIZE, INVERSE, TRANSFORMS, content_box, followed_by, frame, transformed


@pytest.mark.parametrize("transform", range(len(TRANSFORMS)))
def test_every_transform_is_undone_by_its_inverse(transform):
    picture = np.arange(16).reshape(1, 4, 4)
    np.testing.assert_array_equal(transformed(transformed(picture, transform), INVERSE[transform]), picture)


def test_the_eight_transforms_of_a_picture_without_symmetry_all_differ():
    picture = np.arange(16).reshape(1, 4, 4)
    assert len({transformed(picture, transform).tobytes() for transform in range(len(TRANSFORMS))}) == 8


def test_two_transforms_one_after_the_other_are_one_of_the_eight():
    picture = np.arange(16).reshape(1, 4, 4)
    for first in range(len(TRANSFORMS)):
        for second in range(len(TRANSFORMS)):
            both = transformed(transformed(picture, first), second)
            np.testing.assert_array_equal(transformed(picture, followed_by(first, second)), both)


def test_names_say_what_a_transform_does():
    corner = np.zeros((1, 2, 2), dtype=int)
    corner[0, 0, 0] = 1
    # Counter-clockwise, the upper left corner goes to the lower left one; mirrored, to the upper right one.
    assert transformed(corner, TRANSFORMS.index("turn_90"))[0, 1, 0] == 1
    assert transformed(corner, TRANSFORMS.index("mirror"))[0, 0, 1] == 1


def test_content_box_leaves_the_margins_out():
    picture = np.zeros((200, 240), dtype=np.uint8)
    picture[40:120, 60:200] = 150
    top, bottom, left, right = content_box(picture)
    np.testing.assert_allclose([top, bottom, left, right], [40, 120, 60, 200], atol=2)


@pytest.mark.parametrize("value", [0, 255])
def test_a_picture_of_one_value_is_content_as_a_whole(value):
    assert content_box(np.full((50, 70), value, dtype=np.uint8)) == (0, 50, 0, 70)


@pytest.mark.parametrize("shape", [(9, 9), (31, 300), (512, 512)])
def test_a_frame_has_its_size_whatever_the_scan_has(shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    assert frame(pixels).shape == (FRAME_SIZE, FRAME_SIZE)
